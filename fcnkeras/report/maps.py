"""Maps of a fully convolutional network, laid over the picture they belong to.

A location of such a map is not a patch of the picture but the verdict of a whole window of the
network's native size, so a map is not stretched over the picture: each location stands at the
centre of its window, and pixels between centres are interpolated.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fcnkeras.explain.overlay import colours as colours
from fcnkeras.explain.overlay import overlay as overlay
from fcnkeras.explain.pixels import spread

Array = npt.NDArray[Any]


def window_centres(count: int, length: int, window: float) -> Array:
    """Where the windows of a row (or column) of a map have their centres.

    Args:
        count: Locations along the side.
        length: The picture's side in pixels.
        window: The window's side in pixels.

    Returns:
        float64, shape `(count,)`: distances in pixels from the picture's edge; the first window
        touches one edge and the last one the other. A single window sits in the middle.

    Raises:
        ValueError: Several locations, but the picture is no longer than one window.
    """
    if count < 1 or window <= 0:
        raise ValueError(
            f"A map has at least one location, and a window a length; received {count} and "
            f"{window}."
        )
    if count == 1:
        return np.array([length / 2.0])
    if length <= window:
        raise ValueError(
            f"{count} windows of {window} pixels need a side longer than {window}; received a "
            f"side of {length} pixels."
        )
    return window / 2.0 + np.arange(count) * ((length - window) / (count - 1))


def upsample(map2d: Array, height: int, width: int, window: float | tuple[float, float]) -> Array:
    """Brings a map to the picture's size, between the centres of its windows.

    Args:
        map2d: Shape `(rows, cols)`, one value for each location.
        height: The picture's height in pixels.
        width: The picture's width in pixels.
        window: The network's native window in pixels: the side of a square, or height and width.

    Returns:
        float32, shape `(height, width)`: bilinear between window centres; pixels beyond the
        outermost centres take the value of the nearest one.

    Raises:
        ValueError: The map is not a matrix, or the picture is too small for its locations.

    Example:
        >>> upsample(np.array([[0.0, 4.0]]), height=1, width=6, window=2).tolist()
        [[0.0, 0.5, 1.5, 2.5, 3.5, 4.0]]
    """
    map2d = np.asarray(map2d, dtype=np.float64)
    if map2d.ndim != 2:
        raise ValueError(f"A map has the shape (rows, cols); received {map2d.shape}.")
    window_height, window_width = _pair(window)
    rows = window_centres(map2d.shape[0], height, window_height)
    columns = window_centres(map2d.shape[1], width, window_width)
    return spread(map2d[None], (height, width), (rows, columns))[0]


def _pair(window: float | tuple[float, float]) -> tuple[float, float]:
    return window if isinstance(window, tuple) else (window, window)


def peak(
    map2d: Array, height: int, width: int, window: float | tuple[float, float]
) -> tuple[float, float]:
    """Where the window of the highest location has its centre.

    Args:
        map2d: Shape `(rows, cols)`.
        height: The picture's height in pixels.
        width: The picture's width in pixels.
        window: The network's native window in pixels: the side of a square, or height and width.

    Returns:
        `(y, x)` in pixels from the upper left corner; of equal locations the first in reading
        order.
    """
    row, column = np.unravel_index(int(np.argmax(map2d)), map2d.shape)
    window_height, window_width = _pair(window)
    y = window_centres(map2d.shape[0], height, window_height)[row]
    x = window_centres(map2d.shape[1], width, window_width)[column]
    return float(y), float(x)
