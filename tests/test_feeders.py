import io

import numpy as np
import pytest
from PIL import Image
from resampling import noise, reference

from fcnkeras import feeders
from fcnkeras import placement as geometry
from fcnkeras.feeders import FEEDERS, fed_shape, get_feeder, place
from fcnkeras.images import ImageError, open_picture, probe

NAMES = sorted(FEEDERS)


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


def test_three_crops_would_leave_a_gap_beyond_three_to_one():
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


STRIPS = [(1, 20_000), (20_000, 1), (3, 60_000)]


@pytest.mark.parametrize(("width", "height"), STRIPS)
@pytest.mark.parametrize("name", ["squash", "crop", "pad"])
def test_extreme_strips_fit_into_a_box(name, width, height):
    fed = FEEDERS[name](Image.new("RGB", (width, height), (9, 9, 9)), 336)
    assert fed.arrays.shape == (1, 336, 336, 3)
    assert fed.mask.sum() == (336 if name == "pad" else 336 * 336)


@pytest.mark.parametrize(("width", "height"), STRIPS)
@pytest.mark.parametrize("name", ["native", "multicrop"])
def test_extreme_strips_are_refused_before_memory_is_taken(tmp_path, name, width, height):
    path = tmp_path / "strip.png"
    Image.new("RGB", (width, height), (9, 9, 9)).save(path)
    # 20000 x 336 x 336 pixels, 6.8 GB: either way the same number.
    match = rf"^cannot read {path}: {name} would make .* more than the limit of 50,000,000 \(max_"
    with pytest.raises(ImageError, match=match):
        FEEDERS[name](open_picture(path), 336)
    with pytest.raises(ImageError, match=f"a picture of {width} x {height} pixels: {name} would"):
        fed_shape(name, width, height, 336)
    with pytest.raises(ImageError, match=r"cannot read b\.png: "):
        fed_shape(name, width, height, 336, path="b.png")
    # Every pixel is there at a smaller size, or with another limit.
    fed = FEEDERS[name](open_picture(path), 16, max_pixels=16 * 16 * 20_000)
    assert fed.arrays.shape[0] * fed.arrays.shape[1] * fed.arrays.shape[2] == 16 * 16 * 20_000
    assert (fed.arrays == 9).all()
    with pytest.raises(ImageError, match="limit of 5,119,999"):
        FEEDERS[name](open_picture(path), 16, max_pixels=16 * 16 * 20_000 - 1)


def test_a_strip_of_a_hundred_million_pixels_is_refused_at_once():
    with pytest.raises(ImageError, match="multicrop would make 100000000 crops of 224 x 224"):
        place("multicrop", 1, 100_000_000, 224)


def test_the_limit_on_what_is_fed_may_be_set_for_all(monkeypatch):
    monkeypatch.setattr(geometry, "MAX_FED_PIXELS", 99)
    picture = Image.new("RGB", (20, 20))
    for name in NAMES:
        with pytest.raises(ImageError, match=r"10 x 10 pixels of its 20 x 20, more than .* 99 "):
            FEEDERS[name](picture, 10)
        assert FEEDERS[name](picture, 9).arrays.shape == (1, 9, 9, 3)
    with pytest.raises(ValueError, match="max_pixels must be a positive int, got 0"):
        feeders.pad(picture, 9, max_pixels=0)


def test_pictures_that_others_opened_are_turned_once(tmp_path):
    """Pillow turns a TIFF by itself when it decodes it, and no other format."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for suffix in (".tif", ".png", ".jpg"):
        path = tmp_path / f"picture{suffix}"
        Image.new("RGB", (30, 20), (77, 77, 77)).save(path, exif=exif)
        opened = Image.open(path)
        for picture in (opened, opened):  # decoded by the first
            fed = feeders.native(picture, 20)
            assert fed.arrays.shape == (1, 30, 20, 3)
            # The top left corner of the upright picture is the bottom left one of the file.
            assert fed.placements[0].to_original([0, 0], stored=True).tolist() == [0, 20]
