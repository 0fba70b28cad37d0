"""Class maps: what a fully convolutional network says at every place, before its decision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from fcnkeras.explain import parts, places
from fcnkeras.explain.cam import relative_error
from fcnkeras.explain.gradients import gradient_function
from fcnkeras.explain.network import Network, Outputs
from fcnkeras.explain.saliency import Maps
from fcnkeras.explain.targets import Target

Array = np.ndarray


def class_map(network: Network, target: Target, inputs: Sequence[Any]) -> Maps:
    """The network's own score of the target at every place.

    Under average pooling the mean over the places is the score, which `completeness` proves; under
    max pooling one place is the score, which `decided` tells. Targets that are made of several
    scores are computed for each place alone and do not add up.

    Args:
        network: one that pools a map of scores, as those of `to_fcn` do.
        target: of one output.
        inputs: see `fcnkeras.explain.saliency`.

    Returns:
        Signed maps, (n, rows, columns). The centre of a cell is that of the window that it sees.

    Raises:
        ValueError: the network does not pool a map of scores.
    """
    number = target.place[0] if target.place else 0
    pool = parts.pooling_of(network, number)
    if pool is None or (target.place is None and len(network.names) > 1):
        raise ValueError(
            "A class map needs a model that pools a map of scores, "
            "`to_fcn(model, pooling='avg')` or 'max', and a target of one output. "
            f"Received: '{network.model.name}', {target.name}"
        )
    ref, others = pool.inputs[0], pool.inputs[1:]
    values = network.values(inputs)
    found = ops.convert_to_numpy(ops.cast(values[ref], "float32"))
    centres = places.centres(network.graph, ref, values)
    scores = ops.convert_to_numpy(target.score(network.outputs(inputs)))
    if target.place is None:
        return Maps(_each_place(network, number, target, found), scores, True, centres)
    index = target.place[1]

    def pooled(cells: Any) -> Any:
        # The masks of a masked pooling stay as they are.
        result = pool.layer([cells, *(values[r] for r in others)] if others else cells)
        result = network.joined(ops.cast(result, "float32"))
        return result[:, index]

    _, (shares,) = gradient_function(pooled, [found.shape])(found)
    cells = found[..., index]
    if parts.pooling_mode(pool.layer) == "max":
        return Maps(cells, scores, True, centres, decided=_decided(shares[..., index], centres))
    sums = (cells * shares[..., index]).sum(axis=(1, 2), dtype="float64")
    totals = sums.sum(keepdims=True) if network.join else sums
    return Maps(cells, scores, True, centres, completeness=relative_error(totals, scores))


def _each_place(network: Network, number: int, target: Target, found: Array) -> Array:
    """The target at every place, as if that place were the whole picture."""
    flat = ops.convert_to_tensor(found.reshape(-1, found.shape[-1]))
    ending = network.endings[number]
    outputs = Outputs(network.names, (flat,), (ending.squash(flat),))
    return ops.convert_to_numpy(target.score(outputs)).reshape(found.shape[:3])


def _decided(shares: Array, centres: tuple[Array, Array]) -> tuple[int, float, float]:
    crop, row, column = np.unravel_index(int(shares.argmax()), shares.shape)
    return int(crop), float(centres[0][row]), float(centres[1][column])
