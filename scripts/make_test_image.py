"""Paints `test_image.jpg`, a lake in the evening, of which nobody else holds a right.

    python scripts/make_test_image.py

The picture is not square (640 x 427), so that it shows what a feeder does to it.
"""

from pathlib import Path

import numpy as np

from fcnkeras.data.procedural.canvas import Array, Canvas, noise, stroke, to_image
from fcnkeras.files import write_atomically

OUT = Path(__file__).resolve().parents[1] / "test_image.jpg"
WIDTH, HEIGHT = 640, 427
RIGHT = WIDTH / HEIGHT  # the short side is 1
HORIZON = 0.56
SUN = np.array([1.0, 0.4])

SKY = np.array([[52, 62, 120], [128, 92, 150], [236, 138, 112], [253, 208, 140]], dtype=float)
FAR_HILLS = np.array([110, 86, 140], dtype=float)
NEAR_HILLS = np.array([62, 60, 104], dtype=float)
TRUNK = np.array([38, 30, 44], dtype=float)
LEAVES = np.array([[58, 66, 58], [92, 84, 52], [150, 104, 54], [36, 46, 54]], dtype=float)


def sky_colours(height: Array) -> Array:
    """The sky's colour at a height: 0 the top, 1 the horizon."""
    stops = np.linspace(0, 1, len(SKY))
    return np.stack([np.interp(height, stops, SKY[:, band]) for band in range(3)], axis=-1)


def colours_at(points: Array) -> Array:
    """What the light does at each of `points`: the sky with its glow, below it the reflection."""
    x, y = points.T
    water = y > HORIZON
    mirrored = np.where(water, 2 * HORIZON - y, y)
    colours = sky_colours(np.clip(mirrored / HORIZON, 0, 1))
    glow = np.exp(-(np.hypot(x - SUN[0], 1.3 * (mirrored - SUN[1])) ** 2) / 0.05)
    path = np.where(
        water, np.exp(-((x - SUN[0]) ** 2) / (0.003 + 0.02 * np.clip(y - HORIZON, 0, 1))), 0
    )
    light = np.clip(glow + 0.8 * path, 0, 1)[:, None]
    colours = (1 - 0.75 * light) * colours + 0.75 * light * np.array([255, 226, 160])
    return np.where(water[:, None], colours * [0.78, 0.82, 0.95], colours)


def dab(rng: np.random.Generator, canvas: Canvas, count: int, low: float, high: float) -> None:
    """Dabs between two heights: tilted in the sky, level on the water."""
    starts = rng.uniform([-0.05, low], [RIGHT, high], (count, 2))
    starts = starts[np.argsort(rng.uniform(size=count))]
    tilt = 0.5 * np.sin(4 * starts[:, 0] + 6 * starts[:, 1]) * (starts[:, 1] < HORIZON)
    colours = colours_at(starts + np.array([0.02, 0])) + rng.normal(0, 9, (count, 3))
    lengths = rng.uniform(0.03, 0.085, count)
    canvas.polygons(stroke(starts, tilt, lengths, 0.013, 0.3), colours)


def hills(rng: np.random.Generator, canvas: Canvas, height: float, colour: Array) -> None:
    """A ridge above the horizon, and its fainter reflection."""
    x = np.linspace(0, RIGHT, 160)
    ridge = height * (0.75 + 0.6 * noise(rng, 160, 1, (5, 1))[0] + 0.08 * rng.normal(size=160))
    for sign, shade in ((-1, 1.0), (0.7, 1.15)):
        line = np.stack([x, HORIZON + sign * np.clip(ridge, 0.01, None)], axis=1)
        canvas.polygon(np.concatenate([[[0, HORIZON]], line, [[RIGHT, HORIZON]]]), colour * shade)


def tree(rng: np.random.Generator, canvas: Canvas, foot: Array, height: float) -> None:
    """A tree that leans over the water: a trunk, boughs, and leaves as dabs."""
    lean = -np.pi / 2 + 0.16
    canvas.polygon(stroke(foot, lean, height, 0.03, 0.25), TRUNK)
    root = np.array([[-0.03, 0.02], [0, -0.2], [0.016, -0.2], [0.035, 0.02]])
    canvas.polygon(foot + root, TRUNK)
    tips = []
    for level in np.linspace(0.4, 1, 9):
        start = foot + level * height * np.array([np.cos(lean), np.sin(lean)])
        angle = lean + rng.choice([-1, 1]) * rng.uniform(0.5, 1.1)
        length = height * rng.uniform(0.2, 0.42) * (1.3 - 0.6 * level)
        canvas.polygon(stroke(start, angle, length, 0.012, 0.3), TRUNK)
        tips.append(start + 0.8 * length * np.array([np.cos(angle), np.sin(angle)]))
    for tip in tips:
        spots = tip + rng.normal(0, [0.055, 0.035], (110, 2))
        colours = LEAVES[rng.integers(0, len(LEAVES), 110)] + rng.normal(0, 10, (110, 3))
        lengths = rng.uniform(0.012, 0.03, 110)
        canvas.polygons(stroke(spots, rng.uniform(0, 6.3, 110), lengths, 0.01, 0.4), colours)


def boat(canvas: Canvas, at: Array) -> None:
    """A small boat with a sail, before the sun's path."""
    hull = np.array([[-0.06, 0], [0.065, 0], [0.045, 0.022], [-0.042, 0.022]])
    sail = np.array([[0.004, -0.13], [0.004, -0.008], [0.056, -0.012]])
    jib = np.array([[-0.003, -0.115], [-0.003, -0.008], [-0.036, -0.01]])
    canvas.polygon(at + sail, np.array([250, 232, 206]))
    canvas.polygon(at + jib, np.array([226, 186, 168]))
    canvas.polygon(at + hull, np.array([58, 36, 48]))
    canvas.polygon(at + sail * [1, -0.5] + [0, 0.024], np.array([206, 170, 160]))


def main() -> None:
    rng = np.random.default_rng(7)
    y, x = np.mgrid[0:60, 0:90]
    points = np.stack([x / 89 * RIGHT, y / 59], axis=-1).reshape(-1, 2)
    canvas = Canvas(colours_at(points).reshape(60, 90, 3), WIDTH, HEIGHT)
    dab(rng, canvas, 2200, -0.02, HORIZON)
    turn = np.linspace(0, 2 * np.pi, 40)
    disc = SUN + 0.05 * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    canvas.polygon(disc, np.array([255, 242, 206]))
    hills(rng, canvas, 0.13, FAR_HILLS)
    hills(rng, canvas, 0.07, NEAR_HILLS)
    dab(rng, canvas, 1500, HORIZON + 0.06, 1.02)
    boat(canvas, np.array([0.83, 0.7]))
    bank = np.stack([np.linspace(0, 0.62, 30), 1 - 0.16 * np.linspace(1, 0, 30) ** 0.6], axis=1)
    canvas.polygon(np.concatenate([[[0, 1.02]], bank, [[0.62, 1.02]]]), np.array([44, 46, 50]))
    tree(rng, canvas, np.array([0.13, 0.93]), 0.62)
    reeds = np.stack([rng.uniform(0, 0.6, 90), np.full(90, 1.01)], axis=1)
    lean = -np.pi / 2 + rng.normal(0, 0.2, 90)
    canvas.polygons(stroke(reeds, lean, rng.uniform(0.05, 0.17, 90), 0.007, 0.5), LEAVES[[1] * 90])
    weave = 5 * noise(rng, WIDTH, HEIGHT, (WIDTH // 3, HEIGHT // 3))[:, :, None]
    picture = to_image(canvas.pixels() + weave)
    write_atomically(OUT, lambda path: picture.save(path, quality=88, optimize=True))
    print(f"{OUT}: {OUT.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
