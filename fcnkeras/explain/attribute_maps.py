"""Attribute activation maps: what every block and place contributes to a score, exactly.

A head that joins the means of several blocks' maps, brings them to length 1 and weighs them is
linear once that length is known: score - bias = sum over blocks of the mean over places of
(w . F) / |g|. The same holds for the plain pooled head, and for every head that has only pooling,
joining, scaling and one linear layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from keras import ops

from fcnkeras.convert.forms import op_name
from fcnkeras.convert.graph import Call, Ref
from fcnkeras.explain import parts, places
from fcnkeras.explain.cam import relative_error
from fcnkeras.explain.gradients import gradient_function
from fcnkeras.explain.network import CallFunction, Network, call_layer
from fcnkeras.explain.pixels import spread
from fcnkeras.explain.saliency import Maps
from fcnkeras.explain.targets import Target

Array = np.ndarray
# Of the score, and of all contributions without their signs, whose rounding is in their sum.
_TOLERANCE, _ROUNDING = 1e-3, 1e-4


def attribute_map(
    network: Network,
    target: Target,
    inputs: Sequence[Any],
    *,
    layers: Sequence[str] | None = None,
) -> Maps:
    """The contributions of every block and place to a score, with their signs.

    Args:
        network, target, inputs: see `fcnkeras.explain.saliency`.
        layers: the layers whose maps contribute; by default those whose pooled maps the head reads.

    Returns:
        `parts`: of each layer a map at its own resolution, whose mean over the places is what the
        layer contributes; `values`: their sum, (n, height, width) in pixels of what was fed. Its
        mean, and the bias, which `biases` tells, make the score; `completeness` says how exactly.

    Raises:
        ValueError: the head is not linear behind its pooled maps, or no such layer.
    """
    number = target.place[0] if target.place else 0
    if layers is None:
        refs = parts.pooled_maps(network, number)
    else:
        refs = [network.layer_output(name) for name in layers]
    values = network.values(inputs)
    frozen = _frozen_scaling(network, refs, values)
    outputs_of = network.behind(refs, values, frozen)

    def score_of(*maps: Any) -> Any:
        return target.score(outputs_of(*maps))

    maps = [values[ref] for ref in refs]
    shapes = [tuple(each.shape) for each in maps]
    scores, slopes = gradient_function(score_of, shapes, len(maps))(*maps)
    biases = ops.convert_to_numpy(score_of(*map(ops.zeros_like, maps)))
    size = np.shape(inputs[0])[1:3]
    found: dict[str, Maps] = {}
    total = np.zeros((len(np.asarray(inputs[0])), *size), "float32")
    sums, size_of_all = np.zeros(len(scores)), 0.0
    for ref, slope in zip(refs, slopes, strict=True):
        cells = (ops.convert_to_numpy(ops.cast(values[ref], "float32")) * slope).sum(axis=-1)
        each = cells.sum(axis=(1, 2), dtype="float64")
        sums += each.sum() if network.join else each
        size_of_all += float(np.abs(cells).sum())
        # So that the mean over the places, of several crops too, is the contribution.
        cells = cells * (cells[0].size * (len(cells) if network.join else 1))
        centres = places.centres(network.graph, ref, values)
        found[network.layer_name(ref)] = Maps(cells, scores, True, centres)
        total += spread(cells, size, centres, keep_mean=True)
    _check(network, target, sums, biases, scores, size_of_all)
    error = relative_error(sums + biases, scores)
    return Maps(total, scores, True, completeness=error, parts=found, biases=biases)


def _check(
    network: Network, target: Target, sums: Array, biases: Array, scores: Array, size_of_all: float
) -> None:
    allowed = _TOLERANCE * np.maximum(np.abs(scores), np.abs(biases)) + _ROUNDING * size_of_all
    if (np.abs(sums + biases - scores) > np.maximum(allowed, 1e-9)).any():
        raise ValueError(
            "Attribute maps need a head of pooling, joining, scaling to length 1 and one linear "
            f"layer. That of '{network.model.name}' gives {scores[0]:.4g} for {target.name}, of "
            f"which {float(sums[0] + biases[0]):.4g} add up: use grad-cam or integrated-gradients."
        )


def _frozen_scaling(
    network: Network, refs: Sequence[Ref], values: Mapping[Ref, Any]
) -> CallFunction:
    """Calls layers as they are, except that what only scales its input, picture by picture, such as
    L2 normalisation, scales it as it did in `values`."""
    ratios: dict[int, Any] = {}
    for call in network.calls_behind(refs):
        if len(call.inputs) == 1 and call.args and not getattr(call.layer, "weights", ()):
            ratio = _ratio(values[call.inputs[0]], values[call.outputs[0]])
            if ratio is not None:
                ratios[id(call)] = ratio

    def call_frozen(call: Call, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        if id(call) in ratios:
            return ops.multiply(ops.cast(args[0], "float32"), ratios[id(call)])
        if op_name(call.layer) in ("Divide", "TrueDivide") and len(call.inputs) == 2:
            args = (args[0], values[call.inputs[1]])
        return call_layer(call, args, kwargs)

    return call_frozen


def _ratio(given: Any, made: Any) -> Array | None:
    """The factor between two tensors, one for each vector of channels; None if there is none."""
    if tuple(given.shape) != tuple(made.shape) or given.shape[-1] < 2:
        return None
    x, y = (ops.convert_to_numpy(ops.cast(each, "float32")) for each in (given, made))
    ratio = (x * y).sum(axis=-1, keepdims=True) / np.maximum((x * x).sum(-1, keepdims=True), 1e-30)
    exact = "float32" in str(made.dtype)
    near = np.abs(ratio * x - y) <= (1e-5 if exact else 1e-2) * np.abs(y).max()
    return ratio if near.all() else None
