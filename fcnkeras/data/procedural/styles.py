"""The task "styles": one kind of scene and one kind of palette, painted in five ways.

Colours and scenes are drawn alike for all classes, so only the handling of the paint tells them
apart. The textures are fine and keep their true proportions: a round dot that is bent becomes a
dab. How strongly a picture shows its style varies, so some pictures stay doubtful.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image

from fcnkeras.data.procedural.canvas import Array, Canvas, noise, palette, stroke, to_image
from fcnkeras.data.procedural.proportions import MAX_ASPECT

MIN_SHORT_SIDE, MAX_SHORT_SIDE = 112, 144


def draw(class_name: str, rng: np.random.Generator, colours: Array | None = None) -> Image.Image:
    """Paint one picture in the style `class_name`, of an aspect from 1:3 to 3:1, log-uniform.

    Its six `colours`, an array (6, 3), are those of a random palette by default.
    """
    short = rng.uniform(MIN_SHORT_SIDE, MAX_SHORT_SIDE)
    a = rng.uniform(-1, 1)
    long, short = round(short * MAX_ASPECT ** abs(a)), round(short)
    width, height = (long, short) if a >= 0 else (short, long)
    colours = palette(rng, 6) if colours is None else colours
    scene = _scene(rng, colours, np.array([width, height]) / short)
    plain = to_image(scene).resize((width, height), Image.Resampling.BICUBIC)
    styled = STYLES[class_name](rng, scene, colours, width, height)
    weave = 6 * noise(rng, width, height, (width // 2, height // 2))[:, :, None]
    return Image.blend(plain, to_image(styled + weave), rng.uniform(0.45, 1.0))


def _scene(rng: np.random.Generator, colours: Array, extent: Array) -> Array:
    """A small landscape: sky, sun, hills and water or meadow; an array (rows, cols, 3), 0-255."""
    cols, rows = np.rint(extent * 48).astype(int).tolist()
    y, x = np.mgrid[0:rows, 0:cols] / 48
    shade = (y / extent[1])[:, :, None]
    scene = (1 - shade) * colours[0] + shade * colours[1]
    sun = np.hypot(x - rng.uniform(0, extent[0]), y - rng.uniform(0, 0.5) * extent[1])
    scene = np.where((sun < rng.uniform(0.08, 0.2))[:, :, None], colours[5], scene)
    horizon = rng.uniform(0.35, 0.75) * extent[1]
    for layer in (2, 3, 4):
        hills = rng.uniform(0.05, 0.25) * noise(rng, cols, 1, (int(rng.integers(2, 7)), 1))[0]
        under = (y > horizon + hills)[:, :, None]
        scene = np.where(under, colours[layer] * (0.8 + 0.4 * shade), scene)
        horizon += rng.uniform(0.08, 0.3) * extent[1]
    return scene + 18 * noise(rng, cols, rows, (cols // 5, rows // 5))[:, :, None]


def _sample(scene: Array, points: Array, extent: Array) -> Array:
    """The scene's colours at `points`, an array (points, 2) in short sides."""
    rows, cols = scene.shape[:2]
    at = points / extent * [cols, rows]
    x, y = np.clip(at.astype(int), 0, [cols - 1, rows - 1]).T
    return scene[y, x]


def _extent(width: int, height: int) -> Array:
    return np.array([width, height]) / min(width, height)


def _impressionist(
    rng: np.random.Generator, scene: Array, colours: Array, width: int, height: int
) -> Array:
    """Short dabs that follow a slowly turning direction."""
    extent = _extent(width, height)
    canvas = Canvas(scene, width, height)
    count = int(rng.uniform(350, 550) * extent.prod() ** 0.8)
    starts = rng.uniform(-0.03, 1, (count, 2)) * extent
    turning = np.pi * noise(rng, 32, 32, (2, 2))
    row, col = np.clip((starts / extent * 32).astype(int), 0, 31)[:, ::-1].T
    angles = rng.uniform(0, np.pi) + turning[row, col] + rng.normal(0, 0.25, count)
    touches = _sample(scene, starts, extent) + rng.normal(0, rng.uniform(12, 28), (count, 3))
    long, wide = rng.uniform(0.055, 0.1), rng.uniform(0.016, 0.028)
    lengths = long * rng.uniform(0.7, 1.3, count)
    canvas.polygons(stroke(starts, angles, lengths, wide, 0.4), touches)
    return canvas.pixels()


def _pointillist(
    rng: np.random.Generator, scene: Array, colours: Array, width: int, height: int
) -> Array:
    """Round dots whose colours scatter around the scene's."""
    extent = _extent(width, height)
    canvas = Canvas(0.5 * scene + 0.5 * scene.mean(axis=(0, 1)), width, height)
    radius = rng.uniform(0.011, 0.02)
    count = int(min(0.3 / radius**2, 1100) * extent.prod() ** 0.8)
    centres = rng.uniform(0, 1, (count, 2)) * extent
    touches = _sample(scene, centres, extent) + rng.normal(0, rng.uniform(18, 36), (count, 3))
    canvas.dots(centres, radius * rng.uniform(0.8, 1.2, count), touches)
    return canvas.pixels()


def _cubist(
    rng: np.random.Generator, scene: Array, colours: Array, width: int, height: int
) -> Array:
    """Facets with straight edges, each shaded from one side to the other."""
    extent = _extent(width, height)
    y, x = np.mgrid[0:height, 0:width] / min(width, height)
    points = np.stack([x, y], axis=-1).reshape(-1, 2)
    count = int(rng.integers(9, 20) * extent.prod() ** 0.7)
    seeds = rng.uniform(0, 1, (count, 2)) * extent
    tilt = rng.normal(0, 0.35, (2, 2)) + np.eye(2)  # lengthens all facets in one direction
    bent_seeds = seeds @ tilt
    # the squared distance to each seed, less |point|², which is the same for all of them
    facet = ((bent_seeds**2).sum(axis=1)[:, None] - 2 * bent_seeds @ (points @ tilt).T).argmin(
        axis=0
    )
    slopes = rng.normal(0, 130, (count, 2))
    shading = (points * slopes[facet]).sum(axis=1) - (seeds * slopes).sum(axis=1)[facet]
    faces = _sample(scene, seeds, extent) + rng.normal(0, 25, (count, 1))
    return (faces[facet] + np.clip(shading, -45, 45)[:, None]).reshape(height, width, 3)


def _colour_field(
    rng: np.random.Generator, scene: Array, colours: Array, width: int, height: int
) -> Array:
    """A few large planes, one above or beside the other, with soft edges."""
    extent = _extent(width, height)
    canvas = Canvas(np.broadcast_to(colours[0], (2, 2, 3)), width, height)
    axis = int(rng.integers(0, 2))
    cuts = np.sort(rng.uniform(0.05, 0.95, int(rng.integers(2, 5)))) * extent[axis]
    margin = rng.uniform(0, 0.12, 2)
    for start, stop, colour in zip(cuts[:-1], cuts[1:], colours[1:], strict=False):
        low, high = margin.copy(), extent - margin
        low[axis], high[axis] = start, stop
        box = np.array([low, [high[0], low[1]], high, [low[0], high[1]]])
        canvas.polygon(box, colour)
    canvas.soften(rng.uniform(0.005, 0.04))
    cells = (int(14 * extent[0]), int(14 * extent[1]))
    return canvas.pixels() + 12 * noise(rng, width, height, cells)[:, :, None]


def _ink_wash(
    rng: np.random.Generator, scene: Array, colours: Array, width: int, height: int
) -> Array:
    """Wet strokes that bleed into the paper, and a few dry dark ones over them."""
    extent = _extent(width, height)
    paper = scene.mean(axis=(0, 1)) * 0.4 + 0.6 * scene
    canvas = Canvas(paper, width, height)
    for wet in (True, False):
        for _ in range(int(rng.integers(8, 16) * extent.prod())):
            start = rng.uniform(-0.1, 1, 2) * extent
            colour = _sample(scene, start[None], extent)[0] * rng.uniform(0.3, 0.9)
            length, broad = rng.uniform(0.15, 0.6), rng.uniform(0.04, 0.12)
            wide = broad if wet else 0.12 * broad
            canvas.polygon(
                stroke(start, rng.uniform(0, 6.3), length, wide, rng.normal(0, 1.5)), colour
            )
        if wet:
            canvas.soften(rng.uniform(0.015, 0.035))
    return canvas.pixels()


Style = Callable[[np.random.Generator, Array, Array, int, int], Array]
STYLES: dict[str, Style] = {
    "colour_field": _colour_field,
    "cubist": _cubist,
    "impressionist": _impressionist,
    "ink_wash": _ink_wash,
    "pointillist": _pointillist,
}
CLASSES = tuple(STYLES)
