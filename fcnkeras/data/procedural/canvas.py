"""What every generated picture is painted with: a canvas, colours, noise and outlines.

Lengths are fractions of the canvas' short side, so a square canvas is the unit square; x runs to
the right, y down. Colours are arrays of 3 numbers, RGB, 0-255.
"""

import colorsys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Array = NDArray[np.floating[Any]]
SUPERSAMPLING = 2  # Pillow's outlines are jagged: paint at twice the size, then average


class Canvas:
    """A picture in the making, `width` × `height` pixels, painted at `SUPERSAMPLING` times that.

    Args:
        ground: float array (rows, cols, 3) of any size, RGB 0-255, stretched over the canvas.
        width: width of the finished picture, in pixels.
        height: height of the finished picture, in pixels.
    """

    def __init__(self, ground: Array, width: int, height: int) -> None:
        self.size = (width, height)
        self.unit = SUPERSAMPLING * min(width, height)
        large = (SUPERSAMPLING * width, SUPERSAMPLING * height)
        self.picture = to_image(ground).resize(large, Image.Resampling.BICUBIC)
        self._draw = ImageDraw.Draw(self.picture)

    def polygon(self, outline: Array, colour: Array, edge: Array | None = None) -> None:
        """Fill the closed `outline`, an array (points, 2); with `edge`, also draw its line."""
        points = np.rint(outline * self.unit).astype(int).ravel().tolist()
        self._draw.polygon(points, fill=_rgb(colour), outline=None if edge is None else _rgb(edge))

    def dots(self, centres: Array, radii: Array, colours: Array) -> None:
        """Paint one disc at each of `centres`, an array (dots, 2)."""
        low = np.rint((centres - radii[:, None]) * self.unit).astype(int)
        high = np.rint((centres + radii[:, None]) * self.unit).astype(int)
        for box, colour in zip(np.hstack([low, high]).tolist(), colours, strict=True):
            self._draw.ellipse(box, fill=_rgb(colour))

    def soften(self, radius: float) -> None:
        """Blur everything painted so far by `radius`, a fraction of the short side."""
        self.picture = self.picture.filter(ImageFilter.GaussianBlur(radius * self.unit))
        self._draw = ImageDraw.Draw(self.picture)

    def pixels(self) -> Array:
        """The picture so far at its final size: float array (height, width, 3), 0-255."""
        return np.asarray(self.picture.reduce(SUPERSAMPLING), dtype=np.float64)


def _rgb(colour: Array) -> tuple[int, int, int]:
    red, green, blue = np.clip(np.rint(colour), 0, 255).astype(int).tolist()
    return red, green, blue


def to_image(pixels: Array) -> Image.Image:
    """A float array (rows, cols, 3), RGB 0-255, as an 8-bit picture."""
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


def noise(rng: np.random.Generator, width: int, height: int, cells: tuple[int, int]) -> Array:
    """Smooth noise in -1…1, an array (height, width), with `cells` (across, down) waves."""
    grid = rng.uniform(-1, 1, (cells[1] + 1, cells[0] + 1)).astype(np.float32)
    smooth = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(smooth, dtype=np.float64), -1, 1)


def palette(rng: np.random.Generator, colours: int) -> Array:
    """Random colours that go together, an array (colours, 3): one or two hues, all brightnesses."""
    base, spread = rng.uniform(0, 1), rng.uniform(0.04, 0.2)
    hues = base + rng.normal(0, spread, colours) + 0.5 * (rng.uniform(size=colours) < 0.3)
    saturations = rng.uniform(0.15, 0.85, colours)
    values = rng.permutation(np.linspace(0.25, 0.95, colours)) + rng.uniform(-0.08, 0.05, colours)
    hsv = zip(hues % 1.0, saturations, values, strict=True)
    return 255.0 * np.array([colorsys.hsv_to_rgb(*map(float, colour)) for colour in hsv])


def contrasting(rng: np.random.Generator, colour: Array, least: float) -> Array:
    """A random colour at least `least` (Euclidean, RGB 0-255) from `colour`."""
    best = rng.uniform(10, 245, 3)
    for _ in range(20):
        if np.linalg.norm(best - colour) >= least:
            break
        other = rng.uniform(10, 245, 3)
        best = max(best, other, key=lambda c: float(np.linalg.norm(c - colour)))
    return best


def round_outline(points: int = 64) -> Array:
    """A circle with the box -1…1."""
    angles = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def stroke(start: Array, angle: float, length: float, width: float, bend: float) -> Array:
    """The outline of a brush stroke, tapered at its ends: an array (points, 2)."""
    along = np.linspace(0, 1, 7)
    direction = angle + bend * (along - 0.5)
    steps = np.stack([np.cos(direction), np.sin(direction)], axis=1) * length / 6
    spine = start + np.cumsum(steps, axis=0)
    normal = np.stack([-np.sin(direction), np.cos(direction)], axis=1)
    half = 0.5 * width * np.array([0.3, 0.85, 1, 1, 1, 0.85, 0.3])[:, None] * normal
    return np.concatenate([spine + half, (spine - half)[::-1]])
