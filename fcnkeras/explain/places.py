"""Where the cells of a map lie in the picture that the network was fed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from keras import layers

from fcnkeras.convert.graph import Call, Graph, Ref

Array = np.ndarray
_Line = tuple[float, float]
"""The centre of the first cell and the way from one to the next, in pixels."""


def centres(graph: Graph, ref: Ref, values: Mapping[Ref, Any]) -> tuple[Array, Array]:
    """The centres of what the cells of a map see, in pixels of the network's input.

    A convolution or pooling looks at the middle of its window, wherever its padding puts that; a
    network that does not pad its borders leaves them out. Behind a layer that changes the size
    of a map in a way that is not known, cells are taken to cover the picture evenly.

    Args:
        graph: of the network.
        ref: a map, (n, rows, columns, channels).
        values: of every tensor.

    Returns:
        The rows' centres (rows,) and the columns' (columns,), float64: 0 is the picture's edge, the
        first pixel's centre 0.5.
    """
    picture = graph.inputs[0]
    sizes = {r: tuple(v.shape)[1:3] for r, v in values.items() if len(v.shape) == 4}
    found = []
    for axis in (0, 1):
        lines: dict[Ref, _Line] = {picture: (0.5, 1.0)}
        for call in graph.calls:
            (out,) = call.outputs[:1]
            if out in sizes:
                lines[out] = _line(call, axis, lines, sizes, sizes[picture][axis])
        first, step = lines[ref]
        found.append(first + step * np.arange(sizes[ref][axis]))
    return found[0], found[1]


def _line(
    call: Call, axis: int, lines: Mapping[Ref, _Line], sizes: Mapping[Ref, Any], length: int
) -> _Line:
    """The cells of what a call returns, from those of what it reads."""
    layer, size = call.layer, sizes[call.outputs[0]][axis]
    given = [ref for ref in call.inputs if ref in lines]
    if given and not isinstance(layer, layers.Conv2DTranspose):
        first, step = lines[given[0]]
        if (window := getattr(layer, "kernel_size", getattr(layer, "pool_size", None))) is not None:
            return _window_line(layer, window[axis], axis, sizes[given[0]][axis], size, first, step)
        if isinstance(layer, layers.ZeroPadding2D):
            return first - step * layer.padding[axis][0], step
        if isinstance(layer, layers.Cropping2D):
            return first + step * layer.cropping[axis][0], step
        if isinstance(layer, layers.UpSampling2D):
            finer = step / layer.size[axis]
            return first - step / 2 + finer / 2, finer
        # Layers that bring a map to the places of another name that last.
        same = [ref for ref in given if sizes[ref][axis] == size]
        if same:
            return lines[same[-1]]
    return length / size / 2, length / size


def _window_line(
    layer: Any, window: int, axis: int, length: int, size: int, first: float, step: float
) -> _Line:
    stride = layer.strides[axis]
    reach = (window - 1) * getattr(layer, "dilation_rate", (1, 1))[axis]
    before = max((size - 1) * stride + reach + 1 - length, 0) // 2 if layer.padding == "same" else 0
    return first + step * (reach / 2 - before), step * stride


def weights(places: Array, length: int) -> Array:
    """The share of each cell in each pixel of a side, (length, cells): linear between the centres,
    beyond the outermost ones those. Rows sum to 1."""
    middles = np.arange(length) + 0.5
    return np.stack([np.interp(middles, places, one) for one in np.eye(len(places))], axis=1)


def spread(
    cells: Array, size: tuple[int, int], centres: tuple[Array, Array], *, keep_mean: bool = False
) -> Array:
    """Brings maps from their cells to the pixels of what the network was fed.

    Args:
        cells: (n, rows, columns).
        size: (height, width) in pixels.
        centres: see `centres`.
        keep_mean: lets every cell count the same in the pixels' mean, so that this is the mean of
            the cells; else pixels near a centre have the cell's own value.

    Returns:
        (n, height, width) float32.
    """
    rows, columns = (weights(at, side) for at, side in zip(centres, size, strict=True))
    if keep_mean:
        rows, columns = (w / w.sum(axis=0) * (len(w) / w.shape[1]) for w in (rows, columns))
    return (rows @ np.asarray(cells, "float64") @ columns.T).astype("float32")
