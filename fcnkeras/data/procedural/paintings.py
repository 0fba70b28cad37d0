"""Abstract paintings whose composition is known: the eight attributes of `data.art.COMPOSITION`.

A painting is a quilt of textured fields, the ground, with flat marks on it. Each attribute is drawn
by itself and rules one thing, so that none can contradict another:

| attribute | from 1 | to 10 |
|---|---|---|
| variety_texture | all fields are plain | the fields share all ten of `TEXTURES` |
| variety_shape | all marks are discs | the marks share all ten of `SHAPES` |
| variety_size | all marks have one area | ten areas, the greatest 11 times the least |
| variety_color | all paints are equally saturated | ten steps from nearly grey to pure |
| contrast | ground and marks are of nearly one luma | 56 % of the way from black to white apart |
| repetition | marks are strewn and turned anyhow | marks stand upright in rows and columns |

A variety of k is k textures, shapes, areas or saturations, as evenly shared as can be. Areas and
saturations spread from the middle; textures are the first k of a row from smooth to rough, and
shapes of one from round to spiky. To tell any k kinds from any other would be harder: a small
network learns nothing of it from 2000 paintings.

The primary colour is the hue of the ground, one of the twelve of `WHEEL`, or black. The marks have
the other hues of the harmony, at the angles of `ANGLES` from the primary hue, to either side; of a
monochromatic painting its only one. On a black ground the marks have all hues of the harmony.
Variety of colour is therefore not the number of hues, which the harmony rules, and contrast is one
of luma alone. Neither the mean luma nor which of ground and marks is darker tells of any attribute.
"""

import colorsys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fcnkeras.data.art import HARMONIES
from fcnkeras.data.columns import WHEEL
from fcnkeras.data.procedural.canvas import Array, Canvas, noise, round_outline, to_image
from fcnkeras.data.procedural.pretraining import SHAPES as OTHER_SHAPES
from fcnkeras.data.procedural.pretraining import star
from fcnkeras.data.procedural.proportions import ANGULAR_OUTLINE

MIN_SHORT_SIDE, MAX_SHORT_SIDE = 96, 144
MAX_ASPECT = 1.8
ROWS = 4  # of marks along the short side; there is at least one column more
FIELD_ROWS = 3
COVER = 0.27  # the share of its cell that a mark covers, on average
SIZE_STEP = 1.143  # from one side length to the next, of ten
SATURATION_STEP = 0.095
GAPS = (0.10, 0.56)  # between the lumas of ground and marks, of 1, for a contrast of 1 and 10
RELIEF = 0.14  # how far the roughest texture lightens and darkens a field
BLACK_RELIEF = 0.08
BLACK_LUMA = 0.08

ANGLES: dict[str, tuple[int, ...]] = {
    "analogous": (30, -30),
    "complementary": (180,),
    "monochromatic": (),
    "split complementary": (150, -150),
    "tetradic": (60, 180, 240),
    "triadic": (120, -120),
}
"""Of each harmony the hues beside the primary one, in degrees from it."""

_LUMA = np.array([0.299, 0.587, 0.114])


class Composition(NamedTuple):
    """What a painting shows: the six scores from 1 to 10, a hue's name or "black", a harmony."""

    variety_texture: int
    variety_shape: int
    variety_size: int
    variety_color: int
    contrast: int
    repetition: int
    primary_color: str
    harmony: str


def random_composition(rng: np.random.Generator) -> Composition:
    """Each attribute by itself, each of its values as likely as the others."""
    texture, shape, size, colour, contrast, repetition = rng.integers(1, 11, 6).tolist()
    primary = (*WHEEL, "black")[rng.integers(len(WHEEL) + 1)]
    harmony = HARMONIES[rng.integers(len(HARMONIES))]
    return Composition(texture, shape, size, colour, contrast, repetition, primary, harmony)


def paint(composition: Composition, rng: np.random.Generator) -> Image.Image:
    """Paints one picture.

    Args:
        composition: what it shows.
        rng: where all else comes from; the same state gives the same pixels.

    Returns:
        An RGB picture, short side `MIN_SHORT_SIDE` to `MAX_SHORT_SIDE`, log-uniform aspects from
        1 : `MAX_ASPECT` to `MAX_ASPECT` : 1.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> paint(random_composition(rng), rng).mode
        'RGB'
    """
    short = int(rng.integers(MIN_SHORT_SIDE, MAX_SHORT_SIDE + 1))
    a = rng.uniform(-1, 1)
    long = round(short * MAX_ASPECT ** abs(a))
    width, height = (long, short) if a >= 0 else (short, long)
    black = composition.primary_color == "black"
    luma, marks_luma = _lumas(rng, composition.contrast, black)
    hue = 30.0 * (rng.integers(12) if black else WHEEL.index(composition.primary_color))
    side = rng.choice([-1, 1])
    hues = hue + side * np.array(ANGLES[composition.harmony], dtype=np.float64)
    if black or not len(hues):
        hues = np.append(hues, hue)
    saturations = 0.525 + SATURATION_STEP * _steps(composition.variety_color)
    ground = _ground(
        rng,
        (width, height),
        textures=composition.variety_texture,
        hue=hue,
        saturations=np.zeros(1) if black else saturations,
        luma=luma,
        relief=BLACK_RELIEF if black else RELIEF,
    )
    canvas = Canvas(ground, width, height)
    _marks(rng, canvas, composition, hues=hues, saturations=saturations, luma=marks_luma)
    weave = 255 * 0.012 * noise(rng, width, height, (width // 2, height // 2))
    return to_image(canvas.pixels() + weave[:, :, None])


def colour_of(hue: float, saturation: float, luma: float, relief: float = 0.0) -> Array:
    """A colour by what a painter varies.

    Args:
        hue: degrees, that of HSV.
        saturation: of the greatest chroma that the hue has at this luma, 0 to 1.
        luma: 0.299 R + 0.587 G + 0.114 B, of 1.
        relief: by how much it shall bear being lightened and darkened without clipping.

    Returns:
        Array (3,), RGB 0-255.
    """
    pure = np.array(colorsys.hsv_to_rgb(hue / 360 % 1, 1, 1))
    own = pure @ _LUMA
    chroma = min((luma - relief) / own, (1 - luma - relief) / (1 - own))
    return 255 * (luma + saturation * max(chroma, 0) * (pure - own))


def _lumas(rng: np.random.Generator, contrast: int, black: bool) -> tuple[float, float]:
    """The lumas of ground and marks."""
    gap = GAPS[0] + (GAPS[1] - GAPS[0]) * (contrast - 1) / 9
    if black:
        return BLACK_LUMA, BLACK_LUMA + gap
    middle, sign = rng.uniform(0.45, 0.55), rng.choice([-0.5, 0.5])
    return middle + sign * gap, middle - sign * gap


def _steps(count: int) -> Array:
    """So many whole steps around 0."""
    return np.arange(count) - (count - 1) / 2


def _shared(rng: np.random.Generator, values: NDArray[Any], places: int) -> NDArray[Any]:
    """The values dealt to the places, each to as many as the others, or one more."""
    dealt = np.resize(rng.permutation(values), places)
    return rng.permutation(dealt)


def _ground(
    rng: np.random.Generator,
    size: tuple[int, int],
    *,
    textures: int,
    relief: float,
    hue: float,
    saturations: Array,
    luma: float,
) -> Array:
    """The quilt of fields, an array (height, width, 3), RGB 0-255."""
    width, height = size
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / min(size)
    centres = _lattice(rng, size, FIELD_ROWS, jitter=0.3)
    field = np.argmin([(x - cx) ** 2 + (y - cy) ** 2 for cx, cy in centres], axis=0)
    texture_of = _shared(rng, np.arange(textures), len(centres))
    paints = np.array(
        [
            colour_of(hue + rng.normal(0, 3), saturation, luma, relief / 3)
            for saturation in _shared(rng, saturations, len(centres))
        ]
    )
    waves = [texture(rng, x, y) for texture in list(TEXTURES.values())[:textures]]
    roughness = relief * np.linspace(0.2, 1, len(TEXTURES))[texture_of[field]]
    rough = roughness * np.choose(texture_of[field], waves)
    return paints[field] + 255 * rough[:, :, None]


def _marks(
    rng: np.random.Generator,
    canvas: Canvas,
    composition: Composition,
    *,
    hues: Array,
    saturations: Array,
    luma: float,
) -> None:
    """The marks on the ground, in rows and columns that are the more upset, the less repetition."""
    upset = (10 - composition.repetition) / 9
    centres = _lattice(rng, canvas.size, ROWS, jitter=0.45 * upset)
    count = len(centres)
    outlines = list(SHAPES.values())[: composition.variety_shape]
    shapes = _shared(rng, np.arange(len(outlines)), count)
    sides = SIZE_STEP ** _steps(composition.variety_size)
    sides *= np.sqrt(COVER / np.mean(sides**2)) / ROWS
    angles = rng.uniform(-np.pi, np.pi, count) * upset
    paints = zip(
        _shared(rng, hues, count),
        _shared(rng, saturations, count),
        _shared(rng, sides, count),
        shapes,
        angles,
        centres,
        strict=True,
    )
    for hue, saturation, side, shape, angle, centre in paints:
        cos, sin = np.cos(angle), np.sin(angle)
        outline = side * outlines[shape] @ np.array([[cos, sin], [-sin, cos]])
        canvas.polygon(centre + outline, colour_of(hue + rng.normal(0, 3), saturation, luma))


def _lattice(rng: np.random.Generator, size: tuple[int, int], rows: int, *, jitter: float) -> Array:
    """Points in rows and columns, each moved by up to `jitter` of a cell: (points, 2)."""
    extent = np.array(size) / min(size)
    cells = np.maximum(np.rint(extent * rows), rows).astype(int)
    cells[np.argmax(extent)] += 1
    x, y = np.meshgrid(*((np.arange(n) + 0.5) / n for n in cells))
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    return (points + rng.uniform(-jitter, jitter, points.shape) / cells) * extent


def _of_area_1(outline: Array) -> Array:
    """An outline moved to its centre and scaled so that shapes differ in nothing but form."""
    x, y = outline.T
    cross = x * np.roll(y, -1) - np.roll(x, -1) * y
    area = 0.5 * cross.sum()
    following = np.roll(outline, -1, axis=0)
    centre = ((outline + following) * cross[:, None]).sum(axis=0) / (6 * area)
    return (outline - centre) / np.sqrt(abs(area))


SHAPES: dict[str, Array] = {
    name: _of_area_1(outline)
    for name, outline in {
        "disc": round_outline(32),
        "half_disc": OTHER_SHAPES["half_disc"],
        "square": ANGULAR_OUTLINE,
        "heart": OTHER_SHAPES["heart"],
        "triangle": OTHER_SHAPES["triangle"],
        "arrow": OTHER_SHAPES["arrow"],
        "cross": OTHER_SHAPES["cross"],
        "crescent": OTHER_SHAPES["crescent"],
        "star": star(5, 0.4),
        "sun": star(8, 0.45),
    }.items()
}
"""The outlines of marks, arrays (points, 2) around (0, 0), each of area 1; round to spiky."""

Texture = Callable[[np.random.Generator, Array, Array], Array]


def _wave(x: Array, count: float) -> Array:
    """So many waves along a short side."""
    return np.sin(2 * np.pi * count * x)


def _zigzag(rng: np.random.Generator, x: Array, y: Array) -> Array:
    return _wave(y + 0.15 * np.abs((6 * x) % 1 - 0.5), 9)


def _scales(rng: np.random.Generator, x: Array, y: Array) -> Array:
    row = np.floor(6 * y)
    across = (6 * x + 0.5 * (row % 2)) % 1 - 0.5
    return np.sin(8 * np.hypot(across, 6 * y - row))


def _speckle(rng: np.random.Generator, x: Array, y: Array) -> Array:
    rows, cols = x.shape
    cells = 30 * np.array([cols, rows]) // min(rows, cols)
    return np.clip(2.5 * noise(rng, cols, rows, (int(cells[0]), int(cells[1]))), -1, 1)


TEXTURES: dict[str, Texture] = {
    "plain": lambda rng, x, y: np.zeros_like(x),
    "speckle": _speckle,
    "upright": lambda rng, x, y: _wave(x, 13),
    "dots": lambda rng, x, y: np.clip(1.5 * _wave(x, 12) + 1.5 * _wave(y, 12) - 0.3, -0.7, 1),
    "checks": lambda rng, x, y: np.clip(3 * _wave(x, 6) * _wave(y, 6), -1, 1),
    "level": lambda rng, x, y: _wave(y, 10),
    "zigzag": _zigzag,
    "diagonal": lambda rng, x, y: _wave(x + y, 6),
    "grid": lambda rng, x, y: 1 - 2 * np.maximum(_wave(x, 6), _wave(y, 6)).clip(0) ** 2,
    "scales": _scales,
}
"""What lightens (1) and darkens (-1) a field, from where it is in short sides; smooth to rough."""
