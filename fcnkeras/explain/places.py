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
