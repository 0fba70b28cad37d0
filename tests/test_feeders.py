import io
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from fcnkeras import feeders
from fcnkeras.feeders import FEEDERS, fed_shape, get_feeder, place
from fcnkeras.images import open_picture, probe

NAMES = sorted(FEEDERS)
sides = st.integers(1, 80)
sizes = st.integers(1, 40)
long_sides = st.tuples(st.integers(1, 2000), st.floats(1, 12), st.booleans())


def shaped(long_side: tuple[int, float, bool]) -> tuple[int, int]:
    """(width, height) of a picture with an aspect ratio between 1:12 and 12:1."""
    short, ratio, tall = long_side
    long = max(short, int(short * ratio))
    return (short, long) if tall else (long, short)


def noise(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", NAMES)
@given(width=sides, height=sides, size=sizes)
@settings(max_examples=40, deadline=None)
def test_fed_shape_tells_what_the_feeder_gives(name, width, height, size):
    fed = FEEDERS[name](Image.new("RGB", (width, height), (9, 9, 9)), size)
    shape = fed_shape(name, width, height, size)
    assert fed.arrays.shape == (*shape, 3)
    assert fed.arrays.dtype == np.uint8
    assert fed.mask.shape == shape
    assert fed.mask.dtype == np.bool_
    assert len(fed.placements) == shape[0]
    # Real pixels are exactly those of the picture; black was added nowhere else.
    np.testing.assert_array_equal(fed.mask, (fed.arrays == 9).all(axis=-1))
    np.testing.assert_array_equal(~fed.mask, (fed.arrays == 0).all(axis=-1))
    if name != "pad":
        assert fed.mask.all()


@given(long_side=long_sides, size=st.integers(1, 1000))
@settings(max_examples=200, deadline=None)
def test_no_side_is_short_of_its_target(long_side, size):
    width, height = shaped(long_side)
    for name in ("squash", "crop", "pad", "multicrop"):
        assert fed_shape(name, width, height, size)[1:] == (size, size)
    _, fed_height, fed_width = fed_shape("native", width, height, size)
    exact = Fraction(size * max(width, height), min(width, height))
    assert min(fed_height, fed_width) == size
    assert exact <= max(fed_height, fed_width) < exact + 1
    assert (fed_width >= fed_height) == (width >= height)


def test_the_older_rounding_was_short_in_628_of_11_800_pairs():
    pairs = [(side, size) for side in range(50, 3000) for size in (224, 299, 336, 448)]
    assert len(pairs) == 11_800
    short = [(side, size) for side, size in pairs if int(side * (size / side)) < size]
    assert len(short) == 628  # the negative control
    for name in ("crop", "multicrop", "native"):
        ours = []
        for side, size in pairs:
            for placement in place(name, side + 1, side, size):
                width, height = placement.fed_size
                if placement.content != (0, 0, width, height) or min(width, height) < size:
                    ours.append((side, size))
        assert ours == []
    for side, size in short[::40]:
        for fed in (feeders.center_crop, feeders.multi_crop, feeders.native):
            assert fed(Image.new("RGB", (side, side), (255, 255, 255)), size).arrays.min() == 255


def covered(intervals: list[tuple[float, float]], length: float) -> bool:
    """Whether the sorted intervals leave no gap in 0 ... length."""
    reached = 0.0
    for start, end in intervals:
        if start > reached + 1e-6:
            return False
        reached = max(reached, end)
    return reached >= length - 1e-6


@given(long_side=long_sides, size=st.integers(1, 500))
@example(long_side=(100, 12.0, False), size=224)
@example(long_side=(100, 3.01, True), size=299)
@settings(max_examples=200, deadline=None)
def test_multi_crop_loses_no_pixel(long_side, size):
    width, height = shaped(long_side)
    placements = place("multicrop", width, height, size)
    corners = [p.to_original([(0, 0), p.fed_size]) for p in placements]
    along = int(height > width)
    short, long = sorted((width, height))
    intervals = [(each[0, along], each[1, along]) for each in corners]
    assert covered(intervals, long)
    assert intervals[0][0] == pytest.approx(0, abs=1e-6)
    assert intervals[-1][1] == pytest.approx(long, abs=1e-6)
    for each in corners:
        assert each[:, 1 - along] == pytest.approx([0, short], abs=1e-6)
    steps = np.diff([start for start, _ in intervals])
    assert np.ptp(steps) < 1e-6 if len(steps) else width == height
    assert len(placements) == (1 if width == height else max(3, -(-long // short)))


def test_three_crops_leave_a_gap_beyond_three_to_one():
    assert covered([(0, 100), (100, 200), (200, 300)], 300)
    assert not covered([(0, 100), (105, 205), (210, 310)], 310)
    assert fed_shape("multicrop", 300, 100, 50) == (3, 50, 50)
    assert fed_shape("multicrop", 301, 100, 50) == (4, 50, 50)
    assert fed_shape("multicrop", 100, 1200, 50) == (12, 50, 50)
    assert fed_shape("multicrop", 101, 100, 50) == (3, 50, 50)
    assert fed_shape("multicrop", 100, 100, 50) == (1, 50, 50)


@pytest.mark.parametrize(("width", "height"), [(95, 10), (10, 31), (12, 11)])
def test_every_pixel_can_be_seen_in_some_crop(width, height):
    for x in range(width):
        for y in range(height):
            dot = np.zeros((height, width, 3), np.uint8)
            dot[y, x] = 255
            fed = feeders.multi_crop(Image.fromarray(dot), 20)
            assert fed.arrays.max() > 100, (x, y)


points = st.tuples(st.floats(0, 1), st.floats(0, 1))


@pytest.mark.parametrize("name", NAMES)
@given(long_side=long_sides, size=st.integers(1, 600), point=points)
@settings(max_examples=60, deadline=None)
def test_placement_round_trip(name, long_side, size, point):
    width, height = shaped(long_side)
    there = np.array(point) * (width, height)
    for placement in place(name, width, height, size):
        back = placement.to_original(placement.to_fed(there))
        assert np.abs(back - there).max() < 1e-6


def centre_of_light(array: np.ndarray) -> np.ndarray:
    """(x, y) of the centroid, pixel centres at + 0.5."""
    light = array[..., 0].astype(float)
    light *= light > 60  # leave out the faint ripples of the resampling filter
    rows, columns = np.indices(light.shape) + 0.5
    return np.array([(light * columns).sum(), (light * rows).sum()]) / light.sum()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [50, 130, 331])
@pytest.mark.parametrize(("width", "height"), [(311, 200), (150, 463)])
@pytest.mark.parametrize("place_of_dot", [(0.56, 0.45), (0.4, 0.54), (0.12, 0.9)])
def test_a_dot_is_found_where_the_placement_says(name, size, width, height, place_of_dot):
    x, y = (round(share * side) for share, side in zip(place_of_dot, (width, height), strict=True))
    picture = np.zeros((height, width, 3), np.uint8)
    picture[y - 4 : y + 5, x - 4 : x + 5] = 255
    fed = FEEDERS[name](Image.fromarray(picture), size)
    seen = 0
    for array, placement in zip(fed.arrays, fed.placements, strict=True):
        expected = placement.to_fed((x + 0.5, y + 0.5))
        margin = 5 * max(placement.scale)
        inside = (expected > margin) & (expected < np.array(placement.fed_size) - margin)
        if not inside.all():
            continue  # cut off in this crop
        seen += 1
        found = centre_of_light(array)
        assert np.abs(found - expected).max() < 0.5
        assert np.abs(placement.to_original(found) - (x + 0.5, y + 0.5)).max() < 0.5 / min(
            placement.scale
        )
        # Negative control: with the axes swapped it would be elsewhere.
        assert np.abs(found - expected[::-1]).max() > 0.5
    assert seen or (name in ("crop", "multicrop") and place_of_dot == (0.12, 0.9))


def test_pad_by_hand():
    # 300 x 200 into 224: 224 x 149.33, so 149 rows, 37 black ones above and 38 below.
    fed = feeders.pad(Image.fromarray(noise(300, 200)), 224)
    assert fed.mask.sum() == 224 * 149
    assert fed.mask[0, 37:186].all()
    assert fed.arrays[0, :37].max() == 0
    assert fed.arrays[0, 186:].max() == 0
    assert fed.placements[0].offset == (0, 37)
    # 4 x 1000 into 100: 0.4 columns, but never less than one.
    thin = feeders.pad(Image.fromarray(noise(4, 1000)), 100)
    assert thin.mask.sum() == 100
    assert thin.mask[0, :, 49].all()


@given(width=sides, height=sides, size=sizes)
@settings(max_examples=100, deadline=None)
def test_pad_mask_has_the_area_of_the_picture(width, height, size):
    mask = feeders.pad(Image.new("RGB", (width, height)), size).mask[0]
    scale = Fraction(size, max(width, height))
    drawn_width, drawn_height = mask.any(axis=0).sum(), mask.any(axis=1).sum()
    assert mask.sum() == drawn_width * drawn_height
    for drawn, side in ((drawn_width, width), (drawn_height, height)):
        assert abs(int(drawn) - side * scale) <= Fraction(1, 2) or (drawn == 1 and side * scale < 1)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    assert size - 1 - rows[-1] - rows[0] in (0, 1)
    assert size - 1 - columns[-1] - columns[0] in (0, 1)


def bicubic(distance: np.ndarray) -> np.ndarray:
    """Keys' kernel with a = -1/2."""
    x = np.abs(distance)
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def resampling_matrix(length: int, start: float, end: float, size: int) -> np.ndarray:
    """(size, length): weights of the pixels of one axis, widened to the reduction."""
    step = (end - start) / size
    centres = start + (np.arange(size) + 0.5) * step
    weights = bicubic((np.arange(length) + 0.5 - centres[:, None]) / max(step, 1.0))
    return weights / weights.sum(axis=1, keepdims=True)


def reference(picture: np.ndarray, box: tuple[float, float, float, float], size: int) -> np.ndarray:
    rows = resampling_matrix(picture.shape[0], box[1], box[3], size)
    columns = resampling_matrix(picture.shape[1], box[0], box[2], size)
    return np.moveaxis(rows @ np.moveaxis(picture.astype(float), 2, 0) @ columns.T, 0, 2)


@pytest.mark.parametrize(
    ("width", "height", "size"), [(90, 61, 40), (61, 90, 40), (50, 41, 97), (64, 64, 32)]
)
def test_crop_equals_a_numpy_reference(width, height, size):
    picture = noise(width, height) // 2 + 64  # room for the kernel to overshoot in
    short = min(width, height)
    left, top = (width - short) / 2, (height - short) / 2
    fed = feeders.center_crop(Image.fromarray(picture), size).arrays[0].astype(float)
    # Pillow rounds to 8 bits after each axis.
    assert np.abs(fed - reference(picture, (left, top, left + short, top + short), size)).max() < 2
    if width != height:  # negative controls: half a pixel aside, and the other axis
        aside = (left + 0.5, top + 0.5, left + short, top + short)
        assert np.abs(fed - reference(picture, aside, size)).max() > 8


def test_middle_one_of_three_crops_is_the_central_one():
    picture = Image.fromarray(noise(170, 90))
    crops = feeders.multi_crop(picture, 64).arrays
    np.testing.assert_array_equal(crops[1], feeders.center_crop(picture, 64).arrays[0])
    assert np.abs(crops[0].astype(int) - crops[2]).max() > 50


def test_native_size_is_fed_unchanged():
    picture = noise(48, 32)
    for name, expected in [
        ("native", [picture]),
        ("crop", [picture[:, 8:40]]),
        ("multicrop", [picture[:, :32], picture[:, 8:40], picture[:, 16:]]),
    ]:
        np.testing.assert_array_equal(FEEDERS[name](Image.fromarray(picture), 32).arrays, expected)


def test_boxes_that_are_not_square():
    picture = noise(60, 20)
    # A box of 20 rows and 30 columns: the picture is two boxes long, three crops are shown.
    crops = feeders.multi_crop(Image.fromarray(picture), (20, 30)).arrays
    np.testing.assert_array_equal(crops, [picture[:, :30], picture[:, 15:45], picture[:, 30:]])
    # For a box of 20 x 80 the picture is too tall: one third of it is cut off at every place.
    tall = place("multicrop", 60, 20, (20, 80))
    assert [p.offset[0] for p in tall] == [0, 0, 0]
    assert [p.offset[1] for p in tall] == pytest.approx([0, -10 / 3, -20 / 3])
    assert fed_shape("squash", 60, 20, (7, 5)) == (1, 7, 5)
    assert feeders.pad(Image.fromarray(picture), (20, 80)).mask.sum() == 60 * 20


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("name", NAMES)
def test_reduced_jpegs_are_fed_as_whole_ones(tmp_path, name, orientation):
    small = Image.fromarray(noise(9, 6)).resize((1003, 669), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "picture.jpg"
    small.save(path, quality=95, exif=exif)
    reduced = open_picture(path, least=64)
    assert min(reduced.size) == 168  # 1/4, rounded up
    from_reduced, from_whole = FEEDERS[name](reduced, 64), FEEDERS[name](open_picture(path), 64)
    assert from_reduced.placements == from_whole.placements
    assert from_reduced.arrays.shape[:3] == fed_shape(name, *probe(path), 64)
    difference = np.abs(from_reduced.arrays.astype(int) - from_whole.arrays)
    assert difference.mean() < 1
    assert difference.max() < 12


def test_large_reductions_stay_near_the_exact_result():
    smooth = Image.fromarray(noise(40, 30)).resize((800, 600), Image.Resampling.BICUBIC)
    fed = feeders.squash(smooth, 40).arrays[0].astype(float)
    exact = reference(np.asarray(smooth), (0, 0, 800, 600), 40)
    assert np.abs(fed - exact).mean() < 1


def test_feeders_take_pictures_of_any_mode_and_orientation():
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (30, 20), 77).save(stream, "PNG", exif=exif)
    fed = feeders.native(Image.open(stream), 20)
    assert fed.arrays.shape == (1, 30, 20, 3)
    assert (fed.arrays == 77).all()
    clear = feeders.squash(Image.new("RGBA", (4, 4), (0, 0, 0, 0)), 4)
    assert (clear.arrays == 255).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [0, -3, 2.5, "224", None, True, (2, 0), (2, 3, 4)])
def test_bad_sizes(name, size):
    with pytest.raises(ValueError, match="size must be a positive int"):
        FEEDERS[name](Image.new("RGB", (4, 4)), size)


def test_other_bad_input():
    with pytest.raises(TypeError, match="takes a PIL image, got ndarray"):
        feeders.squash(noise(4, 4), 4)
    with pytest.raises(ValueError, match="one of squash, crop, pad, multicrop, native, got 'warp'"):
        get_feeder("warp")
    with pytest.raises(ValueError, match="width must be a positive int, got 0"):
        fed_shape("pad", 0, 10, 224)
    with pytest.raises(ValueError, match="got 'warp'"):
        fed_shape("warp", 10, 10, 224)
    assert get_feeder("crop") is feeders.center_crop
