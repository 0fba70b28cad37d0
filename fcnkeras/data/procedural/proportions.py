"""The task "proportions": circle, ellipse, rectangle or square, each in its true proportions.

How a picture is made, so that bending it to a square destroys the class exactly:

1. A *square* canvas is painted: ground, strokes, scraps and one target, round or angular. The
   target's box has the aspect 3^s with s uniform on [-1, 1), its longer side is a fraction u of
   the canvas, and both centre coordinates have one distribution. Nothing on this canvas, nor the
   random numbers behind it, depends on whether the target is to be regular (circle, square) or
   elongated (ellipse, rectangle).
2. Only now the class chooses a *frame* of the aspect 3^a, and the canvas is stretched to it; the
   target then has the true aspect 3^(s + a). Regular: a = -s. Elongated: a = wrap(d - s) on
   [-1, 1) with d uniform on [t, 2 - t], so the target is at least 3^t : 1, either way.

In both cases a is uniform on [-1, 1): frames from 1:3 to 3:1, log-uniform, and the frame alone
says nothing. Squashing the picture back to any square gives back the canvas, from which the class
cannot be told: 50 % is the best that anyone can do (round against angular remains visible).
The frame is never smaller than the canvas, else its short side alone would lose detail, and
blur along one axis would tell how the picture was bent. For the same reason all textures are
painted on the canvas and stretched with it: grain with square pixels would be a ruler.
"""

import numpy as np
from PIL import Image

from fcnkeras.data.procedural.canvas import (
    Array,
    Canvas,
    contrasting,
    noise,
    palette,
    round_outline,
    stroke,
    to_image,
)

CLASSES = ("circle", "ellipse", "rectangle", "square")
CANVAS = 128  # side of the canvas, and the least side of a picture, in pixels
MAX_SHORT_SIDE = 144
MAX_ASPECT = 3.0
MIN_ELONGATION = 0.42  # t: 3^0.42 = 1.59
TARGET_SIDE = (0.34, 0.54)  # u: the longer side of the target's box on the canvas

ANGULAR_OUTLINE = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])


def draw(class_name: str, rng: np.random.Generator) -> Image.Image:
    """Paint one picture of `class_name`; its short side is `CANVAS` to `MAX_SHORT_SIDE` pixels."""
    s = rng.uniform(-1, 1)
    outline = round_outline() if class_name in ("circle", "ellipse") else ANGULAR_OUTLINE
    canvas = paint(rng, outline, s)
    a = frame_aspect(class_name, s, rng)
    short = rng.uniform(CANVAS, MAX_SHORT_SIDE)
    long = round(short * MAX_ASPECT ** abs(a))
    short = round(short)
    return canvas.resize((long, short) if a >= 0 else (short, long), Image.Resampling.BICUBIC)


def frame_aspect(class_name: str, s: float, rng: np.random.Generator) -> float:
    """The frame's log₃(width / height) for a target that has log₃ aspect `s` on the canvas."""
    if class_name in ("circle", "square"):
        return -s
    d = rng.uniform(MIN_ELONGATION, 2 - MIN_ELONGATION)
    return (d - s + 1) % 2 - 1


def paint(rng: np.random.Generator, outline: Array, s: float, side: int = CANVAS) -> Image.Image:
    """Paint the square canvas: the target `outline` (box -1…1) with log₃ aspect `s`, and the rest.

    Args:
        rng: where every random number comes from.
        outline: array (points, 2).
        s: log₃ of the width of the target's box over its height, -1…1.
        side: side of the canvas in pixels.

    Returns:
        The picture, RGB, `side` × `side`.
    """
    colours = palette(rng, 5)
    canvas = Canvas(ground(rng, colours), side, side)
    strokes(rng, canvas, colours)
    place(rng, canvas, outline, s)
    scraps(rng, canvas, colours)
    weave = 1 + 0.05 * noise(rng, side, side, (side // 3, side // 3))
    return to_image(canvas.pixels() * weave[:, :, None])


def ground(rng: np.random.Generator, colours: Array) -> Array:
    """The ground: two or three colours that run into each other, an array (32, 32, 3)."""
    cells = int(rng.integers(1, 4))
    first = 0.5 + 0.5 * noise(rng, 32, 32, (cells, cells))[:, :, None]
    second = 0.5 * np.clip(noise(rng, 32, 32, (3, 3)), 0, 1)[:, :, None]
    mixed = first * colours[0] + (1 - first) * colours[1]
    return (1 - second) * mixed + second * colours[2]


def strokes(rng: np.random.Generator, canvas: Canvas, colours: Array) -> None:
    """Long strokes that follow one direction, roughly, in the ground's colours."""
    angle, turn = rng.uniform(0, np.pi), rng.uniform(0.1, 0.9)
    for _ in range(int(rng.integers(12, 30))):
        colour = colours[rng.integers(0, 3)] + rng.normal(0, 12, 3)
        start, bend = rng.uniform(-0.15, 1.0, 2), rng.normal(0, 0.8)
        length, width = rng.uniform(0.15, 0.5), rng.uniform(0.012, 0.05)
        outline = stroke(start, angle + rng.normal(0, turn), length, width, bend)
        canvas.polygon(outline, colour)


def place(rng: np.random.Generator, canvas: Canvas, outline: Array, s: float) -> None:
    """Paint the target, wholly inside the canvas, its centre mostly near a third or the middle."""
    u = rng.uniform(*TARGET_SIDE)
    half = 0.5 * u * np.array([3.0 ** min(s, 0.0), 3.0 ** min(-s, 0.0)])
    anchors = rng.choice([1 / 3, 1 / 2, 1 / 2, 2 / 3], size=2)
    centre = np.clip(anchors + rng.normal(0, 0.03, 2), half + 0.03, 0.97 - half)
    paint_target(rng, canvas, centre, half, outline)


def paint_target(
    rng: np.random.Generator, canvas: Canvas, centre: Array, half: Array, outline: Array
) -> None:
    """Fill `outline` (box -1…1), scaled by `half`, in a colour that stands out, some with a rim."""
    around = np.asarray(canvas.picture.resize((1, 1), Image.Resampling.BOX), dtype=np.float64)
    colour = contrasting(rng, around[0, 0], 110)
    if rng.uniform() < 0.4:
        canvas.polygon(centre + outline * half, colour * rng.uniform(0.3, 0.7))
        half = half * rng.uniform(0.8, 0.93)
    canvas.polygon(centre + outline * half, colour)


def scraps(rng: np.random.Generator, canvas: Canvas, colours: Array) -> None:
    """Over everything: a few thin lines and small splinters with three corners."""
    for _ in range(int(rng.integers(1, 5))):
        start, angle = rng.uniform(0, 0.9, 2), rng.uniform(0, 2 * np.pi)
        length, width = rng.uniform(0.1, 0.45), rng.uniform(0.006, 0.016)
        colour = colours[rng.integers(0, 5)]
        canvas.polygon(stroke(start, angle, length, width, rng.normal(0, 1.2)), colour)
    for _ in range(int(rng.integers(2, 6))):
        corners = rng.uniform(0, 1, 2) + rng.uniform(-0.07, 0.07, (3, 2))
        canvas.polygon(corners, colours[rng.integers(0, 5)])
