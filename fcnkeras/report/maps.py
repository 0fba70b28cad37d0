"""Maps of a fully convolutional network, laid over the picture they belong to.

A location of such a map is not a patch of the picture but the verdict of a whole window of the
network's native size, so a map is not stretched over the picture: each location stands at the
centre of its window, and pixels between centres are interpolated.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from fcnkeras.report.plots import load_matplotlib

SEQUENTIAL = "viridis"
DIVERGING = "coolwarm"

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
    rows = _weights(window_centres(map2d.shape[0], height, window_height), height)
    columns = _weights(window_centres(map2d.shape[1], width, window_width), width)
    return (rows @ map2d @ columns.T).astype(np.float32)


def _pair(window: float | tuple[float, float]) -> tuple[float, float]:
    return window if isinstance(window, tuple) else (window, window)


def _weights(centres: Array, length: int) -> Array:
    """The share of each centre in each pixel, shape `(length, centres)`; rows sum to 1."""
    middles = np.arange(length) + 0.5
    unit = np.eye(len(centres))
    return np.stack([np.interp(middles, centres, column) for column in unit], axis=1)


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


def colours(heat: Array, low: float, high: float, *, signed: bool = False) -> Array:
    """Turns values into perceptually even colours: viridis, or blue-grey-red when signed.

    Args:
        heat: Values of any shape.
        low: The value of the darkest colour.
        high: The value of the brightest one. With `signed` the scale reaches equally far on
            both sides, as far as the larger of `|low|` and `|high|`, and zero is in the middle.
        signed: Whether the sign carries a meaning.

    Returns:
        uint8 RGB, shape `heat.shape + (3,)`. Where `low == high` everything has the middle
        colour.
    """
    if signed:
        high = max(abs(low), abs(high))
        low = -high
    span = high - low
    position = (np.asarray(heat, np.float64) - low) / span if span > 0 else np.full(heat.shape, 0.5)
    table = load_matplotlib().colormaps[DIVERGING if signed else SEQUENTIAL]
    return table(np.clip(position, 0, 1), bytes=True)[..., :3]


def overlay(
    picture: Array,
    heat: Array,
    *,
    low: float | None = None,
    high: float | None = None,
    signed: bool = False,
    alpha: float = 0.6,
    mark: tuple[float, float] | None = None,
) -> Image.Image:
    """Lays a map over its picture.

    Args:
        picture: uint8 RGB, shape `(height, width, 3)`.
        heat: The map at the picture's size, shape `(height, width)`, see `upsample`.
        low: The value of the first colour; the map's least by default.
        high: The value of the last colour; the map's largest by default.
        signed: Use diverging colours with zero in the middle.
        alpha: Opacity of the map, 0 to 1.
        mark: `(y, x)` of a place to be ringed, see `peak`.

    Returns:
        An RGB picture of the same size.

    Raises:
        ValueError: Picture and map have different sizes, or the map holds NaN or infinity.
    """
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.shape[:2] != heat.shape:
        raise ValueError(
            "The map must have the picture's height and width, and the picture three channels; "
            f"received a picture of shape {picture.shape} and a map of shape {heat.shape}."
        )
    if not np.isfinite(heat).all():
        raise ValueError("A map must be finite; received NaN or infinity.")
    low = float(heat.min()) if low is None else low
    high = float(heat.max()) if high is None else high
    coloured = colours(heat, low, high, signed=signed)
    blended = Image.blend(
        Image.fromarray(np.ascontiguousarray(picture)), Image.fromarray(coloured), alpha
    )
    if mark is not None:
        _ring(blended, *mark)
    return blended


def _ring(picture: Image.Image, y: float, x: float) -> None:
    """Draws a white ring between two black ones, seen on any colour."""
    draw = ImageDraw.Draw(picture)
    radius = max(4.0, 0.035 * min(picture.size))
    line = max(1, round(radius / 5))
    for offset, colour in ((line, "black"), (-line, "black"), (0, "white")):
        r = radius + offset
        draw.ellipse((x - r, y - r, x + r, y + r), outline=colour, width=line + (colour == "black"))
