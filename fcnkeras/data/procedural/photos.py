"""Generated photographs whose qualities are known: landscapes with a tower, well or badly taken.

The qualities are AADB's eleven attributes, from 0 (not at all) to 1 (wholly):

| quality | what it rules |
|---|---|
| balancing_elements | how large a second tower is, across from the first |
| color_harmony | how near to each other the hues are |
| content | how many ranges of hills there are |
| depth_of_field | how blurred all but the tower is |
| light | how bright the picture is |
| motion_blur | how far the camera moved |
| object | how large the tower is |
| repetition | how many posts stand along the lower edge |
| rule_of_thirds | how far the tower is from the middle, up to a third of the width from the edge |
| symmetry | how far the hills mirror each other |
| vivid_color | how saturated the colours are |
"""

from collections.abc import Mapping

import numpy as np
from PIL import Image

from fcnkeras.data.procedural.canvas import Array, Canvas, noise, to_image
from fcnkeras.data.procedural.paintings import colour_of

QUALITIES = (
    "balancing_elements",
    "color_harmony",
    "content",
    "depth_of_field",
    "light",
    "motion_blur",
    "object",
    "repetition",
    "rule_of_thirds",
    "symmetry",
    "vivid_color",
)
MIN_SHORT_SIDE, MAX_SHORT_SIDE = 96, 128
MAX_ASPECT = 1.8


def random_qualities(rng: np.random.Generator) -> dict[str, float]:
    """Each quality by itself, uniform from 0 to 1."""
    return dict(zip(QUALITIES, rng.uniform(size=len(QUALITIES)).tolist(), strict=True))


def photograph(qualities: Mapping[str, float], rng: np.random.Generator) -> Image.Image:
    """Takes one picture.

    Args:
        qualities: each of `QUALITIES`, 0 to 1.
        rng: where all else comes from; the same state gives the same pixels.

    Returns:
        An RGB picture, broader than high, short side `MIN_SHORT_SIDE` to `MAX_SHORT_SIDE`.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> photograph(random_qualities(rng), rng).mode
        'RGB'
    """
    height = int(rng.integers(MIN_SHORT_SIDE, MAX_SHORT_SIDE + 1))
    aspect = rng.uniform(1.2, MAX_ASPECT)
    width = round(height * aspect)
    paints = _paints(rng, qualities)
    canvas = Canvas(_landscape(rng, qualities, paints, width, height), width, height)
    canvas.soften(0.03 * qualities["depth_of_field"])
    side, middle = rng.choice([-1, 1]), aspect / 2
    place = side * aspect / 6 * qualities["rule_of_thirds"]
    size = 0.12 + 0.33 * qualities["object"]
    other = size * qualities["balancing_elements"]
    _tower(canvas, middle - side * aspect / 3, other, paints[-1])
    _tower(canvas, middle + place, size, paints[-1])
    posts = round(16 * qualities["repetition"])
    for x in (np.arange(posts) + 0.5) / max(posts, 1) * aspect:
        _box(canvas, (x - 0.012, 0.88), (x + 0.012, 0.98), paints[-2])
    return to_image(_exposed(canvas.pixels(), qualities, rng))


def _paints(rng: np.random.Generator, qualities: Mapping[str, float]) -> Array:
    """Sky, six ranges of hills from far to near, posts and towers: (9, 3), RGB 0-255."""
    spread = 15 + 165 * (1 - qualities["color_harmony"])
    hues = rng.uniform(0, 360) + rng.permutation(np.linspace(-spread, spread, 9))
    saturation = 0.05 + 0.85 * qualities["vivid_color"]
    lumas = [0.85, 0.7, 0.62, 0.54, 0.47, 0.4, 0.34, 0.1, 0.16]
    colours = zip(hues.tolist(), lumas, strict=True)
    return np.array([colour_of(hue, saturation, luma) for hue, luma in colours])


def _landscape(
    rng: np.random.Generator,
    qualities: Mapping[str, float],
    paints: Array,
    width: int,
    height: int,
) -> Array:
    """Hills under the sky, an array (height, width, 3), RGB 0-255."""
    y = (np.arange(height) / height)[:, None]
    picture = np.broadcast_to(paints[0], (height, width, 3)) + 25 * y[:, :, None]
    ranges = 1 + round(5 * qualities["content"])
    tops = np.linspace(0.4, 0.8, ranges + 1)[:-1]
    for top, paint in zip(tops, paints[-2 - ranges : -2], strict=True):
        hills = 0.1 * noise(rng, width, 1, (6, 1))[0]
        even, odd = (hills + hills[::-1]) / 2, (hills - hills[::-1]) / 2
        share = qualities["symmetry"]
        profile = top + np.sqrt(2) * (share * even + (1 - share) * odd)
        picture = np.where((y > profile)[:, :, None], paint, picture)
    grain = noise(rng, width, height, (width // 3, height // 3))
    return picture + 8 * grain[:, :, None]


def _tower(canvas: Canvas, x: float, size: float, paint: Array) -> None:
    if size < 0.03:
        return
    _box(canvas, (x - 0.14 * size, 0.8 - size), (x + 0.14 * size, 0.8), paint)
    roof = np.array([[x - 0.22 * size, 0.8 - size], [x + 0.22 * size, 0.8 - size]])
    canvas.polygon(np.vstack([roof, [x, 0.8 - 1.35 * size]]), 1.6 * paint)


def _box(canvas: Canvas, low: tuple[float, float], high: tuple[float, float], paint: Array) -> None:
    canvas.polygon(np.array([low, (high[0], low[1]), high, (low[0], high[1])]), paint)


def _exposed(pixels: Array, qualities: Mapping[str, float], rng: np.random.Generator) -> Array:
    """Moves the camera sideways, lets the light in, and adds the sensor's noise."""
    length = 1 + round(0.12 * len(pixels) * qualities["motion_blur"])
    padded = np.pad(pixels, ((0, 0), (length // 2, length - 1 - length // 2), (0, 0)), mode="edge")
    sums = np.cumsum(np.pad(padded, ((0, 0), (1, 0), (0, 0))), axis=1)
    moved = (sums[:, length:] - sums[:, :-length]) / length
    light = 0.25 + 0.85 * qualities["light"]
    return light * moved + rng.normal(0, 2, moved.shape)
