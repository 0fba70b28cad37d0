"""Maps of gradients: how much each pixel of the picture moves the score.

Every function takes a `Network`, a `Target` and the network's inputs, of which the first are the
pictures, (n, height, width, channels) float in the network's pixel range.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from keras import layers, ops

from fcnkeras.convert.forms import activation_name
from fcnkeras.convert.graph import Call
from fcnkeras.explain.gradients import gradient_function
from fcnkeras.explain.network import CallFunction, Network, call_layer
from fcnkeras.explain.targets import Target

Array = np.ndarray


@dataclass(frozen=True)
class Maps:
    """Maps of one target.

    Attributes:
        values: (n, rows, columns) float32, one map for each picture.
        scores: (n,) float32, the number that is explained; (1,) for crops that are joined.
        signed: whether values below zero mean "against".
        centres: where rows and columns of the map have their centres, in pixels of what the
            network was fed; None for maps of its pixels.
        completeness: how far the map is from adding up to the score, relative to the score; None
            for methods that do not add up.
        decided: the (crop, y, x) that decided under a max pooling, in pixels of what was fed.
        parts: maps whose sum `values` is, by name, at their own resolutions.
        biases: what of each score the parts leave over, (n,).
    """

    values: Array
    scores: Array
    signed: bool = False
    centres: tuple[Array, Array] | None = None
    completeness: float | None = None
    decided: tuple[int, float, float] | None = None
    parts: dict[str, Maps] = field(default_factory=dict)
    biases: Array | None = None


def input_gradients(
    network: Network, target: Target, inputs: Sequence[Any], call: CallFunction = call_layer
) -> tuple[Array, Array]:
    """The scores (n,), and their gradient with respect to the pictures, of the pictures' shape."""
    outputs_of = network.behind(network.graph.inputs, {}, call)
    given = network.tensors(inputs)
    shapes = [ref.shape for ref in network.graph.inputs]
    if target.place is None:
        key = target.key

        def score_of(*tensors: Any) -> Any:
            return target.score(outputs_of(*tensors))

    else:
        # Which unit it is goes in as well, so that one compiled function serves all classes.
        key, index = target.place
        units = int(network.graph.outputs[key].shape[-1] or 0)
        given.append(ops.convert_to_tensor(np.arange(units) == index, "float32"))
        shapes.append((units,))

        def score_of(*tensors: Any) -> Any:
            return ops.matmul(outputs_of(*tensors[:-1]).scores[key], tensors[-1])

    function = network.kept((key, call), lambda: gradient_function(score_of, shapes))
    scores, (found,) = function(*given)
    return scores, found.astype("float32")


def saliency(network: Network, target: Target, inputs: Sequence[Any]) -> Maps:
    """The absolute gradient of the score, the largest over the channels.

    Source: Simonyan, Vedaldi, Zisserman, "Deep Inside Convolutional Networks", 2013.
    """
    scores, found = input_gradients(network, target, inputs)
    return Maps(np.abs(found).max(axis=-1), scores)


def guided_backpropagation(network: Network, target: Target, inputs: Sequence[Any]) -> Maps:
    """The saliency of a gradient that passes a ReLU only where it is positive itself.

    ReLU and ReLU6 count, as layers, as operations and as arguments of other layers.

    Raises:
        ValueError: the network has no ReLU, so that the map would be a plain saliency.

    Source: Springenberg et al., "Striving for Simplicity", 2014.
    """
    if not any(is_relu(layer) for layer in network.graph.layers()):
        raise ValueError(
            f"Guided backpropagation needs a network with ReLUs. '{network.model.name}' has none."
        )
    scores, found = input_gradients(network, target, inputs, _call_guided)
    return Maps(np.abs(found).max(axis=-1), scores)


def smoothgrad(
    network: Network,
    target: Target,
    inputs: Sequence[Any],
    *,
    samples: int = 25,
    noise: float = 0.15,
    seed: int = 0,
) -> Maps:
    """The saliency of the mean gradient over noisy copies of the picture.

    Args:
        network, target, inputs: see above.
        samples: number of copies.
        noise: the noise's standard deviation, as a share of the range of each picture's values.
        seed: of the noise, which is the same on every backend.

    Source: Smilkov et al., "SmoothGrad: removing noise by adding noise", 2017.
    """
    if samples < 1 or noise < 0:
        raise ValueError(
            f"`samples` must be at least 1 and `noise` not below 0. Received: {samples}, {noise}"
        )
    pictures = np.asarray(inputs[0], "float32")
    spread = pictures.max(axis=(1, 2, 3), keepdims=True) - pictures.min(
        axis=(1, 2, 3), keepdims=True
    )
    rng = np.random.default_rng(seed)
    total = np.zeros_like(pictures)
    for _ in range(samples):
        noisy = pictures + noise * spread * rng.standard_normal(pictures.shape, "float32")
        total += input_gradients(network, target, [noisy, *inputs[1:]])[1]
    scores = ops.convert_to_numpy(target.score(network.outputs(inputs)))
    return Maps(np.abs(total / samples).max(axis=-1), scores)


def integrated_gradients(
    network: Network,
    target: Target,
    inputs: Sequence[Any],
    *,
    baseline: float | Array = 0.0,
    tolerance: float = 0.01,
    steps: int = 128,
) -> Maps:
    """The gradient, integrated on the straight way from a baseline, times the way.

    The map's sum should be the difference between the scores of picture and baseline. As that is
    known between any two points of the way, points are added where the trapezoids between them are
    farthest from it, until the whole is near enough.

    Args:
        network, target, inputs: see above. The pictures are taken one by one, or as crops of one.
        baseline: the picture where the way begins: a number for every pixel, or an array.
        tolerance: of the sum, relative to that difference.
        steps: the most gradients to take for a picture; what is missing then is told by
            `completeness`.

    Returns:
        Signed maps, summed over the channels; `completeness` is that of the worst picture.

    Source: Sundararajan, Taly, Yan, "Axiomatic Attribution for Deep Networks", 2017; the choice of
    points is ours.
    """
    if steps < 2 or tolerance <= 0:
        raise ValueError(
            f"`steps` must be at least 2 and `tolerance` above 0. Received: {steps}, {tolerance}"
        )
    pictures = np.asarray(inputs[0], "float32")
    start = np.broadcast_to(np.asarray(baseline, "float32"), pictures.shape)
    parts = [slice(None)] if network.join else [slice(n, n + 1) for n in range(len(pictures))]
    found, scores, errors = [], [], []
    for part in parts:
        rest = [np.asarray(each)[part] for each in inputs[1:]]
        way = pictures[part] - start[part]

        def at(t: float, part: slice = part, way: Array = way, rest: list = rest) -> _Point:
            value, slope = input_gradients(network, target, [start[part] + t * way, *rest])
            return _Point(t, float(value[0]), slope, float((slope * way).sum(dtype="float64")))

        points = _path(at, tolerance, steps)
        mean = sum((b.t - a.t) / 2 * (a.slope + b.slope) for a, b in _pairs(points))
        whole = points[-1].score - points[0].score
        errors.append(abs(_trapezoids(points) - whole) / max(abs(whole), 1e-12))
        found.append((mean * way).sum(axis=-1))
        scores.append(points[-1].score)
    return Maps(
        np.concatenate(found).astype("float32"),
        np.array(scores, "float32"),
        signed=True,
        completeness=max(errors),
    )


@dataclass(frozen=True)
class _Point:
    """A point of the way: its place from 0 to 1, its score, its gradient, and that along the
    way."""

    t: float
    score: float
    slope: Array
    rise: float


def _pairs(points: list[_Point]) -> list[tuple[_Point, _Point]]:
    return list(itertools.pairwise(points))


def _trapezoids(points: list[_Point]) -> float:
    return sum((b.t - a.t) / 2 * (a.rise + b.rise) for a, b in _pairs(points))


def _path(at: Any, tolerance: float, steps: int) -> list[_Point]:
    """Points from 0 to 1 that are dense where the score bends."""
    points = [at(0.0), at(0.25), at(0.5), at(0.75), at(1.0)] if steps >= 5 else [at(0.0), at(1.0)]
    while len(points) < steps:
        whole = points[-1].score - points[0].score
        if abs(_trapezoids(points) - whole) <= tolerance * abs(whole):
            break
        errors = [
            abs((b.t - a.t) / 2 * (a.rise + b.rise) - (b.score - a.score))
            for a, b in _pairs(points)
        ]
        # The worse half of the error, so that a few wild places do not take all the points.
        order = np.argsort(errors)[::-1]
        share = np.cumsum(np.take(errors, order)) / max(sum(errors), 1e-30)
        chosen = order[: int(np.searchsorted(share, 0.5)) + 1][: steps - len(points)]
        new = [at((points[i].t + points[i + 1].t) / 2) for i in chosen]
        points = sorted([*points, *new], key=lambda point: point.t)
    return points


def is_relu(layer: Any) -> bool:
    """Whether a layer or operation ends in a ReLU or ReLU6; leaky ones are none."""
    if isinstance(layer, layers.ReLU):
        return not layer.negative_slope
    return activation_name(layer) in ("relu", "relu6")


def _call_guided(call: Call, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    result = call_layer(call, args, kwargs)
    return _positive_gradient(result) if is_relu(call.layer) else result


@ops.custom_gradient
def _positive_gradient(activations: Any) -> tuple[Any, Any]:
    """Passes a ReLU's output on; only what is positive of the gradient comes back."""

    def gradient(*args: Any, upstream: Any = None) -> Any:
        upstream = args[0] if upstream is None else upstream
        # At a kink backends differ in the ReLU's own gradient; behind an inactive one it is zero.
        passes = ops.logical_and(upstream > 0, activations > 0)
        return ops.where(passes, upstream, ops.zeros_like(upstream))

    return activations, gradient
