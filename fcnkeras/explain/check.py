"""Whether a map tells something of the network and its decision, or only of the picture.

Two questions are asked of a map. Does it change when the network forgets what it learned? An edge
detector's map does not. And does what it marks matter: does the answer go when the marked pixels
go, and come when they come?
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from fcnkeras.convert.graph import Call, Graph, run, trace
from fcnkeras.convert.surgery import clone_layers, move_weights
from fcnkeras.explain import pixels
from fcnkeras.explain.network import Network
from fcnkeras.explain.saliency import Maps
from fcnkeras.explain.targets import Target

Array = np.ndarray
LAYERS = ("top", "all")


def randomised(model: keras.Model, layers: str = "all", seed: int = 0) -> keras.Model:
    """A copy of a model whose weights lost their order: in each of them the same values stand at
    other places, so that activations keep their scale.

    Args:
        model: it is only read.
        layers: "top": the last layer with weights before each output; "all": every layer.
        seed: of the new order.

    Source: Adebayo et al., "Sanity Checks for Saliency Maps", 2018, with another order in place of
    a new draw.
    """
    if layers not in LAYERS:
        raise ValueError(f"`layers` must be 'top' or 'all'. Received: {layers!r}")
    graph = trace(model)
    clones = clone_layers(graph)

    def call_clone(call: Call, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        return clones[id(call.layer)](*args, **kwargs)

    inputs = [keras.Input(ref.shape[1:], dtype=ref.dtype) for ref in graph.inputs]
    values = run(graph, inputs, call_clone)
    outputs = keras.tree.pack_sequence_as(graph.structure, [values[r] for r in graph.outputs])
    copy = keras.Model(inputs if len(inputs) > 1 else inputs[0], outputs, name=model.name)
    move_weights(graph.layers(), clones)
    chosen = _last_layers(graph) if layers == "top" else list(graph.layers())
    rng = np.random.default_rng(seed)
    for layer in chosen:
        for weight in getattr(clones[id(layer)], "weights", ()):
            values_of = ops.convert_to_numpy(weight.value)
            if np.issubdtype(values_of.dtype, np.floating):
                weight.assign(rng.permutation(values_of.ravel()).reshape(values_of.shape))
    return copy


def _last_layers(graph: Graph) -> list[Any]:
    found = {}
    for ref in graph.outputs:
        calls = graph.before({ref}).calls
        call = next(c for c in reversed(calls) if getattr(c.layer, "weights", ()))
        found[id(call.layer)] = call.layer
    return list(found.values())


def rank_correlation(one: Array, other: Array) -> float:
    """Spearman's rank correlation of two maps, -1 to 1; 0 if one of them is the same everywhere."""
    ranks = [_ranks(np.asarray(each, "float64").ravel()) for each in (one, other)]
    deviations = [each - each.mean() for each in ranks]
    lengths = [float(np.sqrt((each**2).sum())) for each in deviations]
    if min(lengths) == 0:
        return 0.0
    return float((deviations[0] * deviations[1]).sum() / (lengths[0] * lengths[1]))


def _ranks(values: Array) -> Array:
    """Ranks from 0; equal values share the mean of theirs."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = counts.cumsum()
    return (ends - (counts + 1) / 2)[places]


@dataclass(frozen=True)
class Curve:
    """How a score moves while pixels go or come, the marked ones first.

    Attributes:
        shares: of the pixels, from 0 to 1.
        scores: the number that is explained, behind its activation for a class.
        area: the mean of the scores, by the trapezoid rule.
    """

    shares: Array
    scores: Array

    @property
    def area(self) -> float:
        return float(((self.scores[1:] + self.scores[:-1]) / 2 * np.diff(self.shares)).sum())


def deletion_and_insertion(
    network: Network, target: Target, inputs: Sequence[Any], heat: Array, *, steps: int = 20
) -> tuple[Curve, Curve]:
    """The score while the pixels that a map marks are replaced, and while they are put back.

    Args:
        network, target: see `fcnkeras.explain.saliency`.
        inputs: the network's inputs, for one picture or the crops of one.
        heat: (n, height, width), of the pictures' size; the highest pixels count first.
        steps: how many times a share of the pixels is replaced.

    Returns:
        Deletion, where pixels turn into the picture's mean colour: the lower its area, the better.
        Insertion, where they appear in a strongly blurred picture: the higher, the better.

    Source: Petsiuk, Das, Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box
    Models", 2018.
    """
    pictures = np.asarray(inputs[0], "float32")
    order = np.argsort(-np.asarray(heat).ravel(), kind="stable")
    shares = np.linspace(0, 1, steps + 1)
    mean = np.broadcast_to(pictures.mean(axis=(0, 1, 2)), pictures.shape)
    curves = []
    for start, end in ((pictures, mean), (_blurred(pictures), pictures)):
        stages = []
        for share in shares:
            changed = np.zeros(order.size, bool)
            changed[order[: round(share * order.size)]] = True
            stages.append(np.where(changed.reshape(*pictures.shape[:3], 1), end, start))
        scores = _answers(network, target, stages, inputs[1:])
        curves.append(Curve(shares, scores))
    return curves[0], curves[1]


def _answers(network: Network, target: Target, stages: list[Array], others: Sequence) -> Array:
    """The number that is explained, for each stage of the picture or of its crops."""
    if network.join is None:
        # All at once; what else the network takes is the same for all.
        rest = [np.repeat(np.asarray(each), len(stages), axis=0) for each in others]
        return _answer(network, target, [np.concatenate(stages), *rest])
    return np.array([_answer(network, target, [stage, *others])[0] for stage in stages])


def _answer(network: Network, target: Target, inputs: list) -> Array:
    outputs = network.outputs(inputs)
    if target.place is None:
        return ops.convert_to_numpy(target.score(outputs))
    number, index = target.place
    return ops.convert_to_numpy(outputs.values[number])[:, index]


def _blurred(pictures: Array, cells: int = 8) -> Array:
    """Pictures in which only what is coarser than an eighth of a side is left."""
    size = pictures.shape[1:3]
    edges = [np.linspace(0, side, min(cells, side) + 1).astype(int)[:-1] for side in size]
    coarse = np.add.reduceat(np.add.reduceat(pictures, edges[0], axis=1), edges[1], axis=2)
    widths = [np.diff([*edge, side]) for edge, side in zip(edges, size, strict=True)]
    coarse /= np.outer(*widths)[None, :, :, None]
    centres = [edge + width / 2 for edge, width in zip(edges, widths, strict=True)]
    channels = [
        pixels.spread(coarse[..., c], size, (centres[0], centres[1]))
        for c in range(pictures.shape[3])
    ]
    return np.stack(channels, axis=-1)


def edges(network: Network, target: Target, inputs: Sequence[Any]) -> Maps:
    """A map that knows nothing of the network: how much each pixel differs from its neighbours.

    What a sanity check must tell from a real method.
    """
    pictures = np.asarray(inputs[0], "float32").mean(axis=-1)
    down, across = np.gradient(pictures, axis=(1, 2))
    scores = ops.convert_to_numpy(target.score(network.outputs(inputs)))
    return Maps(np.hypot(down, across).astype("float32"), scores)
