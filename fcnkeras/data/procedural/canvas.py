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

    def polygon(self, outline: Array, colour: Array) -> None:
        """Fill the closed `outline`, an array (points, 2)."""
        self.polygons(outline[None], colour[None])

    def polygons(self, outlines: Array, colours: Array) -> None:
        """Fill each of the closed `outlines`, an array (polygons, points, 2), in its colour."""
        points = np.rint(outlines * self.unit).astype(int).reshape(len(outlines), -1).tolist()
        for outline, colour in zip(points, _inks(colours), strict=True):
            self._draw.polygon(outline, fill=colour)

    def dots(self, centres: Array, radii: Array, colours: Array) -> None:
        """Paint one disc at each of `centres`, an array (dots, 2)."""
        low = np.rint((centres - radii[:, None]) * self.unit).astype(int)
        high = np.rint((centres + radii[:, None]) * self.unit).astype(int)
        for box, colour in zip(np.hstack([low, high]).tolist(), _inks(colours), strict=True):
            self._draw.ellipse(box, fill=colour)

    def soften(self, radius: float) -> None:
        """Blur everything painted so far by `radius`, a fraction of the short side."""
        self.picture = self.picture.filter(ImageFilter.GaussianBlur(radius * self.unit))
        self._draw = ImageDraw.Draw(self.picture)

    def pixels(self) -> Array:
        """The picture so far at its final size: float array (height, width, 3), 0-255."""
        return np.asarray(self.picture.reduce(SUPERSAMPLING), dtype=np.float64)


def _inks(colours: Array) -> list[tuple[int, ...]]:
    return [tuple(c) for c in np.clip(np.rint(colours), 0, 255).astype(int).tolist()]


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


def stroke(
    start: Array, angle: Array | float, length: Array | float, width: float, bend: float
) -> Array:
    """Outlines of brush strokes, tapered at the ends.

    Args:
        start: array (..., 2), where each stroke begins.
        angle: array (...), its direction in radians.
        length: array (...).
        width: where it is broadest.
        bend: by how much it turns from end to end, in radians.

    Returns:
        Array (..., 10, 2).
    """
    along = np.linspace(0, 1, 5)
    direction = np.asarray(angle)[..., None] + bend * (along - 0.5)
    towards = np.stack([np.cos(direction), np.sin(direction)], axis=-1)
    aside = np.stack([-towards[..., 1], towards[..., 0]], axis=-1)
    steps = towards * np.asarray(length)[..., None, None] / 4
    spine = start[..., None, :] + np.cumsum(steps, axis=-2) - steps[..., :1, :]
    half = 0.5 * width * np.array([0.3, 0.95, 1, 0.95, 0.3])[:, None] * aside
    return np.concatenate([spine + half, (spine - half)[..., ::-1, :]], axis=-2)
