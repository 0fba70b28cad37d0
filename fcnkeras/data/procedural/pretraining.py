"""The task "pretraining": other shapes and textures than the other tasks', for starting weights.

Each shape comes in three proportions: even, tall and wide. Pictures are square and show the
shape undistorted at a size that a 64-pixel network can read, so a network learns to see shapes,
their proportions and textures, but neither the classes nor the frames of the other tasks.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image

from fcnkeras.data.procedural.canvas import Array, Canvas, noise, palette, stroke, to_image
from fcnkeras.data.procedural.proportions import (
    MIN_ELONGATION,
    ground,
    paint_target,
    scraps,
    strokes,
)

SIDE = 80


def star(points: int, inner: float) -> Array:
    """A star's outline of 2 · `points` corners, every other one at `inner` of the radius."""
    angles = np.arange(2 * points) * np.pi / points - np.pi / 2
    radii = np.where(np.arange(2 * points) % 2 == 0, 1.0, inner)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def _heart() -> Array:
    t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return np.stack([x, y], axis=1)


def _crescent() -> Array:
    outer = np.linspace(np.pi / 3, 5 * np.pi / 3, 32)
    inner = outer[::-1]
    far = np.stack([np.cos(outer), np.sin(outer)], axis=1)
    near = np.stack([0.45 * np.cos(inner) + 0.3, np.sin(inner)], axis=1)
    return np.concatenate([far, near])


def _drop() -> Array:
    t = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    return np.stack([np.sin(t) * np.sin(t / 2) ** 1.5, np.cos(t)], axis=1)


def _boxed(outline: Array) -> Array:
    """Stretch an outline to the box -1…1."""
    low, high = outline.min(axis=0), outline.max(axis=0)
    return 2 * (outline - low) / (high - low) - 1


_CROSS = [[-1, -3], [1, -3], [1, -1], [3, -1], [3, 1], [1, 1], [1, 3], [-1, 3], [-1, 1], [-3, 1]]
_CROSS += [[-3, -1], [-1, -1]]
_ARROW = [[-3, -1], [0, -1], [0, -3], [3, 0], [0, 3], [0, 1], [-3, 1]]

SHAPES: dict[str, Array] = {
    name: _boxed(np.asarray(outline, dtype=np.float64))
    for name, outline in {
        "arrow": _ARROW,
        "crescent": _crescent(),
        "cross": _CROSS,
        "drop": _drop(),
        "half_disc": star(32, 1.0)[:33],
        "heart": _heart(),
        "hexagon": star(3, 1.0),
        "star": star(5, 0.5),
        "triangle": [[0, -1], [1, 1], [-1, 1]],
    }.items()
}
PROPORTIONS = ("even", "tall", "wide")


def _waves(rng: np.random.Generator, x: Array, y: Array) -> Array:
    bend = rng.uniform(0.5, 1.5) * np.sin(rng.uniform(6, 16) * x + rng.uniform(0, 6))
    return np.sin(rng.uniform(20, 55) * y + bend)


def _stripes(rng: np.random.Generator, x: Array, y: Array) -> Array:
    angle = rng.uniform(0, np.pi)
    return np.sin(rng.uniform(20, 60) * (x * np.cos(angle) + y * np.sin(angle)))


def _marble(rng: np.random.Generator, x: Array, y: Array) -> Array:
    rows, cols = x.shape
    bent = x + 0.35 * noise(rng, cols, rows, (4, 4)) + 0.12 * noise(rng, cols, rows, (12, 12))
    return np.sin(rng.uniform(12, 28) * bent)


def _cloud(rng: np.random.Generator, x: Array, y: Array) -> Array:
    rows, cols = x.shape
    octaves = [noise(rng, cols, rows, (n, n)) * 4 / n for n in (4, 8, 16, 32)]
    return np.sum(octaves, axis=0)


def _speckle(rng: np.random.Generator, x: Array, y: Array) -> Array:
    rows, cols = x.shape
    cells = int(rng.integers(20, 40))
    return 3 * (noise(rng, cols, rows, (cells, cells)) > rng.uniform(0.1, 0.5)) - 1.5


def _scales(rng: np.random.Generator, x: Array, y: Array) -> Array:
    count = rng.uniform(6, 12)
    row = np.floor(y * count)
    across = (x * count + 0.5 * (row % 2)) % 1.0 - 0.5
    return np.sin(9 * np.hypot(across, y * count - row))


TEXTURES: dict[str, Callable[[np.random.Generator, Array, Array], Array]] = {
    "cloud": _cloud,
    "marble": _marble,
    "scales": _scales,
    "speckle": _speckle,
    "stripes": _stripes,
    "waves": _waves,
}
CLASSES = tuple(
    sorted([f"{shape}_{p}" for shape in SHAPES for p in PROPORTIONS] + ["hatching", *TEXTURES])
)


def draw(class_name: str, rng: np.random.Generator) -> Image.Image:
    """Paint one square picture of `class_name`, `SIDE` pixels wide."""
    if class_name in TEXTURES:
        return _paint_texture(class_name, rng)
    colours = palette(rng, 5)
    canvas = Canvas(ground(rng, colours), SIDE, SIDE)
    if class_name == "hatching":
        _hatch(rng, canvas, colours)
        return to_image(canvas.pixels())
    strokes(rng, canvas, colours)
    _place(rng, canvas, class_name)
    scraps(rng, canvas, colours)
    weave = 1 + 0.05 * noise(rng, SIDE, SIDE, (SIDE // 3, SIDE // 3))
    return to_image(canvas.pixels() * weave[:, :, None])


def _place(rng: np.random.Generator, canvas: Canvas, class_name: str) -> None:
    """Paint the shape inside the middle 80 %, so that a crop to 64 pixels seldom cuts it."""
    shape, _, proportion = class_name.rpartition("_")
    elongation = rng.uniform(MIN_ELONGATION, 1.4)
    p = {"even": rng.uniform(-0.06, 0.06), "tall": -elongation, "wide": elongation}[proportion]
    half = 0.5 * rng.uniform(0.22, 0.72) * np.array([3.0 ** min(p, 0.0), 3.0 ** min(-p, 0.0)])
    centre = rng.uniform(0.1 + half, 0.9 - half)
    outline = SHAPES[shape] * rng.choice([-1, 1], size=2)
    paint_target(rng, canvas, centre, half, outline)


def _paint_texture(class_name: str, rng: np.random.Generator) -> Image.Image:
    """Mix two of a palette's colours by a texture's waves, over an uneven ground."""
    colours = palette(rng, 5)
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    waves = TEXTURES[class_name](rng, x, y)[:, :, None]
    mixed = 1 / (1 + np.exp(-rng.uniform(1, 4) * waves))
    uneven = 30 * noise(rng, SIDE, SIDE, (3, 3))[:, :, None]
    return to_image(mixed * colours[0] + (1 - mixed) * colours[1] + uneven)


def _hatch(rng: np.random.Generator, canvas: Canvas, colours: Array) -> None:
    """Many thin crossing strokes."""
    angle = rng.uniform(0, np.pi)
    for i in range(int(rng.integers(40, 110))):
        start = rng.uniform(-0.2, 1, 2)
        turned = angle + (i % 2) * np.pi / 2 + rng.normal(0, 0.1)
        outline = stroke(start, turned, rng.uniform(0.1, 0.5), rng.uniform(0.006, 0.02), 0.2)
        canvas.polygon(outline, colours[3 + i % 2])
