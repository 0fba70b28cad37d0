"""The attributes of generated paintings, measured in their pixels."""

import itertools

import numpy as np
import pytest
from PIL import Image

from fcnkeras.data.art import HARMONIES
from fcnkeras.data.columns import WHEEL
from fcnkeras.data.procedural import paintings
from fcnkeras.data.procedural.paintings import Composition, colour_of, paint, random_composition
from fcnkeras.tasks.metrics import srcc

PLAIN = Composition(1, 1, 1, 1, 10, 10, "red", "complementary")


def rng(*keys: int) -> np.random.Generator:
    return np.random.default_rng([*keys, 77])


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture, dtype=np.float64) / 255


def luma(picture: Image.Image) -> np.ndarray:
    return pixels(picture) @ [0.299, 0.587, 0.114]


def hues(picture: Image.Image) -> np.ndarray:
    """Degrees of the pixels that have a colour, by the hexagon's own formula."""
    red, green, blue = pixels(picture).reshape(-1, 3).T
    clear = pixels(picture).reshape(-1, 3)
    clear = clear.max(axis=1) - clear.min(axis=1) > 0.06
    degrees = np.degrees(np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue))
    return degrees[clear] % 360


def marks(picture: Image.Image) -> np.ndarray:
    """Where the marks are, which cover less than the ground, in a picture of great contrast."""
    values = luma(picture)
    bright = values > (values.max() + values.min()) / 2
    return bright if bright.mean() < 0.5 else ~bright


@pytest.fixture(scope="module")
def gallery() -> list[tuple[Composition, Image.Image]]:
    compositions = [random_composition(rng(0, number)) for number in range(120)]
    return [(each, paint(each, rng(1, i))) for i, each in enumerate(compositions)]


def labels(gallery: list[tuple[Composition, Image.Image]], name: str) -> np.ndarray:
    return np.array([getattr(composition, name) for composition, _ in gallery], dtype=float)


def test_a_painting_depends_on_its_composition_and_random_numbers_alone():
    composition = random_composition(rng(3))
    first, again, other = (paint(composition, rng(seed)) for seed in (1, 1, 2))
    assert first.mode == "RGB"
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


def test_attributes_are_drawn_evenly_and_by_themselves():
    drawn = [random_composition(rng(number)) for number in range(2600)]
    for index, values in enumerate([*[range(1, 11)] * 6, (*WHEEL, "black"), HARMONIES]):
        counts = [sum(each[index] == value for each in drawn) for value in values]
        expected = len(drawn) / len(values)
        assert sum(counts) == len(drawn)
        assert np.abs(np.array(counts) - expected).max() < 4.5 * np.sqrt(expected)
    table = np.array([[*each[:6], HARMONIES.index(each.harmony)] for each in drawn], dtype=float)
    between = np.corrcoef(table.T) - np.eye(table.shape[1])
    assert np.abs(between).max() < 4.5 / np.sqrt(len(drawn))


def test_sizes_and_aspects(gallery):
    sizes = np.array([picture.size for _, picture in gallery])
    assert sizes.min() >= 96
    assert sizes.min(axis=1).max() <= 144
    aspects = sizes[:, 0] / sizes[:, 1]
    assert aspects.min() > 0.5
    assert aspects.min() < 0.65
    assert aspects.max() > 1.5
    assert aspects.max() < 2


@pytest.mark.parametrize("relief", [0.0, 0.1])
def test_a_colour_has_the_hue_saturation_and_luma_asked_for(relief):
    for hue, share, value in itertools.product((0, 45, 200, 330), (0.0, 0.5, 1.0), (0.2, 0.7)):
        colour = colour_of(hue, share, value, relief)
        assert colour @ [0.299, 0.587, 0.114] / 255 == pytest.approx(value)
        assert colour.min() - 255 * relief > -1e-9
        assert colour.max() + 255 * relief < 255 + 1e-9
        if share:
            hsv = Image.new("RGB", (1, 1), tuple(np.rint(colour).astype(int))).convert("HSV")
            turn = hsv.getpixel((0, 0))[0] * 360 / 255 - hue
            assert abs((turn + 180) % 360 - 180) < 6  # both are rounded to 8 bits
        if share == 1:  # it could not be purer: one more step of lightening or darkening clips
            edge = min(colour.min() - 255 * relief, 255 - colour.max() - 255 * relief)
            assert edge == pytest.approx(0, abs=1e-9)


def test_contrast_is_the_spread_of_luma(gallery):
    spread = [np.subtract(*np.percentile(luma(picture), [97, 3])) for _, picture in gallery]
    assert srcc(labels(gallery, "contrast"), np.array(spread)) > 0.95
    others = paintings.Composition._fields[:4]
    for other in others:  # it rules nothing else, nor they the contrast
        assert abs(srcc(labels(gallery, other), np.array(spread))) < 0.3


def test_the_primary_hue_is_that_of_most_pixels(gallery):
    errors = []
    for composition, picture in gallery:
        dark = (pixels(picture).max(axis=2) < 0.25).mean()
        if composition.primary_color == "black":
            assert dark > 0.5
            continue
        assert dark < 0.5 or composition.contrast > 5
        counts, _ = np.histogram((hues(picture) + 15) % 360, bins=12, range=(0, 360))
        found = hues(picture)
        near = np.abs((found - 30 * counts.argmax() + 180) % 360 - 180) < 15
        turns = np.exp(1j * np.radians(found[near])).mean()
        wanted = 30 * WHEEL.index(composition.primary_color)
        errors.append(abs((np.degrees(np.angle(turns)) - wanted + 180) % 360 - 180))
    assert len(errors) > 80
    assert max(errors) < 15
    assert np.mean(errors) < 3


@pytest.mark.parametrize(
    ("harmony", "beside"),
    [
        ("analogous", [[30, 330]]),
        ("complementary", [[180]]),
        ("monochromatic", [[]]),
        ("split complementary", [[150, 210]]),
        ("tetradic", [[60, 180, 240], [120, 180, 300]]),
        ("triadic", [[120, 240]]),
    ],
)
@pytest.mark.parametrize("primary", ["red", "blue-cyan"])
def test_the_other_hues_follow_the_harmony(harmony, beside, primary):
    found = set()
    for seed in range(6):
        picture = paint(PLAIN._replace(harmony=harmony, primary_color=primary), rng(seed))
        turned = hues(picture) - 30 * WHEEL.index(primary)
        counts, _ = np.histogram((turned + 15) % 360, bins=12, range=(0, 360))
        found.add(tuple(np.flatnonzero(counts > 0.04 * counts.sum()) * 30))
    assert found == {(0, *sorted(each)) for each in beside}


def test_a_black_ground_carries_all_hues_of_the_harmony():
    picture = paint(PLAIN._replace(harmony="complementary", primary_color="black"), rng(5))
    counts, _ = np.histogram((hues(picture) + 15) % 360, bins=12, range=(0, 360))
    first, second = np.argsort(counts)[-2:]
    assert counts[[first, second]].sum() > 0.9 * counts.sum()
    assert abs(first - second) == 6


def purity(picture: Image.Image) -> np.ndarray:
    """The chroma of each pixel, of the greatest that its hue has at its luma."""
    values = pixels(picture).reshape(-1, 3)
    chroma = values.max(axis=1) - values.min(axis=1)
    clear = chroma > 0.02
    bright = luma(picture).ravel()[clear]
    pure = (values[clear] - values[clear].min(axis=1, keepdims=True)) / chroma[clear, None]
    own = pure @ [0.299, 0.587, 0.114]
    return chroma[clear] / np.minimum(bright / own, (1 - bright) / (1 - own))


def test_variety_of_colour_is_the_spread_of_saturation(gallery):
    hued = [pair for pair in gallery if pair[0].primary_color != "black"]
    spread = np.array([np.subtract(*np.percentile(purity(p), [92, 8])) for _, p in hued])
    assert srcc(labels(hued, "variety_color"), spread) > 0.9
    assert abs(srcc(labels(hued, "contrast"), spread)) < 0.3


@pytest.fixture
def large(monkeypatch):
    """Squares of 300 pixels without textures, four rows of five marks."""
    monkeypatch.setattr(paintings, "MIN_SHORT_SIDE", 300)
    monkeypatch.setattr(paintings, "MAX_SHORT_SIDE", 300)
    monkeypatch.setattr(paintings, "MAX_ASPECT", 1.0)
    monkeypatch.setattr(paintings, "RELIEF", 0.0)


def cells(picture: Image.Image) -> np.ndarray:
    """The masks of the marks of such a picture with repetition 10, (20, 58, 58)."""
    mask = marks(picture)
    assert mask.shape == (300, 300)
    return np.array(
        [
            mask[75 * row + 8 : 75 * row + 66, 60 * column + 1 : 60 * column + 59]
            for row, column in itertools.product(range(4), range(5))
        ]
    )


@pytest.mark.parametrize("count", [1, 2, 5, 10])
def test_variety_of_shape_is_the_number_of_shapes(count, large):
    masks = cells(paint(PLAIN._replace(variety_shape=count), rng(count)))
    different: list[np.ndarray] = []
    for mask in masks:
        if all((mask != other).mean() > 0.05 for other in different):
            different.append(mask)
    assert len(different) == count


@pytest.mark.parametrize("count", [1, 2, 5, 10])
def test_variety_of_size_is_the_number_of_sizes(count, large, monkeypatch):
    monkeypatch.setattr(paintings, "SHAPES", {"disc": paintings.SHAPES["disc"]})
    monkeypatch.setattr(paintings, "COVER", 0.1)  # so that the largest stay in their cells
    picture = paint(PLAIN._replace(variety_size=count), rng(count))
    areas = np.sort(np.sqrt(cells(picture).mean(axis=(1, 2))))
    steps = areas[1:] / areas[:-1] > 1.06
    assert steps.sum() + 1 == count


@pytest.mark.parametrize("count", [1, 4, 10])
def test_variety_of_texture_is_the_number_of_textures(count, monkeypatch):
    flat = {name: lambda rng, x, y: np.ones_like(x) for name in paintings.TEXTURES}
    monkeypatch.setattr(paintings, "TEXTURES", flat)  # the rougher, the lighter
    monkeypatch.setattr(paintings, "COVER", 1e-6)
    monkeypatch.setattr(
        paintings, "noise", lambda rng, width, height, cells: np.zeros((height, width))
    )
    picture = paint(PLAIN._replace(variety_texture=count), rng(count))
    levels = luma(picture) * 9 / (0.8 * paintings.RELIEF)  # 1 apart
    counts = np.unique(np.rint(levels - np.median(levels)), return_counts=True)[1]
    assert (counts > 0.025 * counts.sum()).sum() == count


def test_a_greater_variety_of_texture_is_rougher():
    scores, rough = np.tile(np.arange(1, 11), 4), []
    for number, score in enumerate(scores):
        picture = paint(PLAIN._replace(variety_texture=int(score)), rng(number))
        values = luma(picture)
        steps = np.abs(np.diff(values, axis=0))[~marks(picture)[1:]]
        rough.append(np.percentile(steps, 80))  # without the edges of marks
    assert srcc(scores.astype(float), np.array(rough)) > 0.8


def test_repetition_is_how_far_marks_stand_in_rows_and_columns(monkeypatch):
    scores = np.tile(np.arange(1, 11), 8)
    regular = []
    for number, score in enumerate(scores):
        picture = paint(PLAIN._replace(repetition=int(score)), rng(number))
        mask = marks(picture)
        regular.append(mask.mean(axis=0).std() + mask.mean(axis=1).std())
    assert srcc(scores.astype(float), np.array(regular)) > 0.8


def test_textures_differ_from_each_other_and_do_not_shift_the_mean():
    y, x = np.mgrid[0:128, 0:128].astype(np.float32) / 128
    waves = [texture(rng(0), x, y) for texture in paintings.TEXTURES.values()]
    assert len(waves) == len(paintings.SHAPES) == 10
    for wave in waves:
        assert wave.shape == x.shape
        assert abs(wave).max() <= 1
        assert abs(wave.mean()) < 0.25
    for one, other in itertools.combinations(waves, 2):
        assert np.abs(one - other).mean() > 0.3


def test_shapes_have_one_area():
    for outline in paintings.SHAPES.values():
        canvas = paintings.Canvas(np.zeros((2, 2, 3)), 300, 300)
        canvas.polygon(0.5 + outline / 4, np.full(3, 255.0))
        assert canvas.pixels()[..., 0].mean() / 255 == pytest.approx(1 / 16, rel=0.06)
