"""What holds of every feeder, for any picture and size."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from resampling import noise, reference

from fcnkeras import feeders
from fcnkeras.feeders import FEEDERS, fed_shape, place
from fcnkeras.images import open_picture
from fcnkeras.placement import Placement

NAMES = sorted(FEEDERS)
sides = st.integers(1, 80)
sizes = st.integers(1, 40)
shares = st.tuples(st.floats(0, 1), st.floats(0, 1))
long_sides = st.tuples(st.integers(1, 2000), st.floats(1, 12), st.booleans())


def shaped(long_side: tuple[int, float, bool]) -> tuple[int, int]:
    """(width, height) of a picture with an aspect ratio between 1:12 and 12:1."""
    short, ratio, tall = long_side
    long = max(short, int(short * ratio))
    return (short, long) if tall else (long, short)


@pytest.mark.parametrize("name", NAMES)
@given(width=sides, height=sides, size=sizes)
@settings(max_examples=40, deadline=None, derandomize=True)
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
@settings(max_examples=200, deadline=None, derandomize=True)
def test_no_side_is_short_of_its_target(long_side, size):
    width, height = shaped(long_side)
    for name in ("squash", "crop", "pad", "multicrop"):
        assert fed_shape(name, width, height, size)[1:] == (size, size)
    _, fed_height, fed_width = fed_shape("native", width, height, size)
    exact = Fraction(size * max(width, height), min(width, height))
    assert min(fed_height, fed_width) == size
    assert exact <= max(fed_height, fed_width) < exact + 1
    assert (fed_width >= fed_height) == (width >= height)


def covered(intervals: list[tuple[float, float]], length: float) -> bool:
    """Whether the sorted intervals leave no gap in 0 ... length."""
    reached = 0.0
    for start, end in intervals:
        if start > reached + 1e-6:
            return False
        reached = max(reached, end)
    return reached >= length - 1e-6


def test_a_gap_is_found():
    """The negative control of the tests with `covered`."""
    assert covered([(0, 100), (100, 200), (200, 300)], 300)
    assert not covered([(0, 100), (105, 205), (210, 310)], 310)


@given(long_side=long_sides, size=st.integers(1, 500))
@example(long_side=(100, 12.0, False), size=224)
@example(long_side=(100, 3.01, True), size=299)
@settings(max_examples=200, deadline=None, derandomize=True)
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


@given(width=sides, height=sides, size=sizes)
@settings(max_examples=100, deadline=None, derandomize=True)
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


@given(long_side=st.tuples(st.integers(1, 12), st.floats(1, 12), st.booleans()), share=shares)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_native_and_multi_crop_show_any_pixel(long_side, share):
    """Not what they say, but what they draw: one bright pixel anywhere can be seen."""
    width, height = shaped(long_side)
    x, y = np.minimum(np.array(share) * (width, height), (width - 1, height - 1)).astype(int)
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[y, x] = 255
    dot = Image.fromarray(pixels)
    for feed in (feeders.native, feeders.multi_crop):
        assert feed(dot, 24).arrays.max() > 100


def test_a_single_crop_loses_pixels():
    """The negative control of the test above."""
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[5, 1] = 255
    assert feeders.center_crop(Image.fromarray(pixels), 24).arrays.max() == 0


@pytest.mark.parametrize("name", NAMES)
@given(
    long_side=long_sides,
    size=st.integers(1, 600),
    grid=st.lists(shares, min_size=1, max_size=12),
    orientation=st.integers(1, 8),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_placement_round_trip(name, long_side, size, grid, orientation):
    """There and back again, for whole arrays of points, upright and as the file stores them."""
    width, height = shaped(long_side)
    there = np.array(grid) * (width, height)
    for upright in place(name, width, height, size):
        placement = Placement(
            upright.original_size, upright.fed_size, upright.scale, upright.offset, orientation
        )
        for stored in (False, True):
            fed = placement.to_fed(there, stored=stored)
            assert np.abs(placement.to_original(fed, stored=stored) - there).max() < 1e-6
            one_by_one = [placement.to_fed(point, stored=stored) for point in there]
            np.testing.assert_array_equal(fed, one_by_one)
        # From the centre of a pixel to the whole pixel that a user would name, and back.
        pixels = np.floor(placement.to_fed(there))
        back = placement.to_original(pixels + 0.5)
        assert (np.abs(back - there) <= (0.5 + 1e-6) / np.array(placement.scale)).all()
        assert placement.to_fed(there[None, None]).shape == (1, 1, len(grid), 2)


# Where the four corners of the upright picture lie in the pixels of the file: the EXIF standard's
# own words, row 0 and column 0 being these sides of the picture.
SIDES = {1: "top left", 2: "top right", 3: "bottom right", 4: "bottom left",
         5: "left top", 6: "right top", 7: "right bottom", 8: "left bottom"}  # fmt: skip


@given(orientation=st.integers(1, 8), width=st.integers(1, 300), height=st.integers(1, 300))
@settings(deadline=None, derandomize=True)
def test_points_are_found_in_the_pixels_of_the_file(orientation, width, height):
    placement = Placement((width, height), (width, height), (1.0, 1.0), orientation=orientation)
    row, column = SIDES[orientation].split()
    x, y = 0.3 * width, 0.2 * height
    distance = {"left": x, "right": width - x, "top": y, "bottom": height - y}
    expected = [distance[column], distance[row]]
    assert placement.to_original([x, y], stored=True) == pytest.approx(expected)
    assert placement.to_fed(expected, stored=True) == pytest.approx([x, y])


@given(
    orientation=st.integers(1, 8),
    width=st.integers(1, 60),
    height=st.integers(1, 60),
    suffix=st.sampled_from([".png", ".tif", ".webp"]),
    seed=st.integers(0, 9),
)
@settings(max_examples=80, deadline=None, derandomize=True)
def test_every_orientation_is_fed_as_the_same_picture(
    tmp_path_factory, orientation, width, height, suffix, seed
):
    upright = noise(width, height, seed)
    # Row 0 of what is stored is the side named first, column 0 the one named second.
    row, column = SIDES[orientation].split()
    swap = row in ("left", "right")
    stored = upright.transpose(1, 0, 2) if swap else upright
    stored = stored[::-1] if row in ("bottom", "right") else stored
    stored = stored[:, ::-1] if column in ("bottom", "right") else stored
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path_factory.getbasetemp() / f"oriented{suffix}"
    options = {"lossless": True} if suffix == ".webp" else {}
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif, **options)
    picture = open_picture(path)
    np.testing.assert_array_equal(picture, upright)
    for name in NAMES:
        fed = FEEDERS[name](picture, 16)
        plain = FEEDERS[name](Image.fromarray(upright), 16)
        np.testing.assert_array_equal(fed.arrays, plain.arrays)
        assert {placement.orientation for placement in fed.placements} == {orientation}
        # A pixel of the file is found where the upright picture has it.
        pixels = fed.placements[0].to_original(np.array([[8.0, 8.0]]), stored=True)
        assert (pixels >= 0).all()
        assert (pixels <= stored.shape[1::-1]).all()


@given(width=st.integers(2, 90), height=st.integers(2, 90), size=st.integers(1, 90))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_crop_equals_a_numpy_reference(width, height, size):
    short = min(width, height)
    assume(short < 6 * size)  # beyond, whole pixels are averaged first
    picture = noise(width, height) // 2 + 64  # room for the kernel to overshoot in
    left, top = (width - short) / 2, (height - short) / 2
    fed = feeders.center_crop(Image.fromarray(picture), size).arrays[0].astype(float)
    # Pillow rounds to 8 bits after each axis.
    assert np.abs(fed - reference(picture, (left, top, left + short, top + short), size)).max() < 2
