"""Colours: modes, depths, transparency and profiles."""

import itertools
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import profiles
import pytest
from PIL import Image
from raw_pictures import GREY, GREY_ALPHA, RGB, RGBA, grey_tiff, png

from fcnkeras import colour, images
from fcnkeras.images import open_picture

WHITE_IS_ZERO, BLACK_IS_ZERO = 0, 1  # photometric interpretations of TIFF


def grey16(mode: str = "I;16") -> Image.Image:
    # 257 is what one 8-bit level is worth: 0, 100 and 255 exactly, and 100.6.
    values = np.array([[0, 25700], [65535, 25854]])
    if mode == "I":
        return Image.fromarray(values.astype(np.int32))
    if mode == "I;16B":
        return Image.frombytes(mode, (2, 2), values.astype(">u2").tobytes())
    return Image.fromarray(values.astype(np.uint16))


@pytest.mark.parametrize(
    ("image", "suffix"),
    [
        (grey16(), ".png"),
        (grey16(), ".tif"),
        (grey16("I;16B"), ".tif"),
        (grey16("I"), ".tif"),
        (grey16("I"), ".pgm"),
    ],
)
def test_16_bit_greys_are_scaled_not_clipped(tmp_path, image, suffix):
    path = tmp_path / f"grey{suffix}"
    image.save(path)
    picture = np.asarray(open_picture(path))
    assert picture[..., 0].tolist() == [[0, 100], [255, 101]]
    assert np.ptp(picture, axis=2).max() == 0


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 100.0, 255.0], [0, 100, 255]),
        ([0.0, 257.0, 65535.0], [0, 1, 255]),
        ([-2.0, 0.0, 2.0], [0, 128, 255]),
        ([1.0, float("nan"), 0.0], [255, 0, 0]),
    ],
)
def test_float_greys_are_scaled_from_the_range_in_use(tmp_path, values, expected):
    path = tmp_path / "grey.tif"
    Image.fromarray(np.array([values], dtype=np.float32)).save(path)
    assert np.asarray(open_picture(path))[0, :, 0].tolist() == expected


def test_alpha_is_composited_on_white(tmp_path):
    # Half-transparent red, opaque green, and noise that is fully transparent.
    pixels = np.array([[[200, 0, 0, 51], [0, 150, 0, 255], [13, 77, 201, 0]]], dtype=np.uint8)
    path = tmp_path / "alpha.png"
    Image.fromarray(pixels).save(path)
    # 51/255 = 1/5: 255 - (255 - 200)/5 = 244 and 255 - 255/5 = 204.
    expected = [[244, 204, 204], [0, 150, 0], [255, 255, 255]]
    assert np.asarray(open_picture(path))[0].tolist() == expected
    np.testing.assert_array_equal(np.asarray(images.decode(path, "rgba")), pixels)


def test_palette_transparency_and_animation(tmp_path):
    first = Image.new("P", (2, 1))
    first.putpalette([255, 0, 0, 0, 0, 255])
    first.putdata([0, 1])
    second = Image.new("P", (2, 1), 1)
    second.putpalette([255, 0, 0, 0, 0, 255])
    path = tmp_path / "animation.gif"
    first.save(path, save_all=True, append_images=[second], transparency=1)
    assert np.asarray(open_picture(path))[0].tolist() == [[255, 0, 0], [255, 255, 255]]
    path = tmp_path / "palette.png"
    first.save(path, transparency=bytes([255, 0]))
    assert np.asarray(open_picture(path))[0].tolist() == [[255, 0, 0], [255, 255, 255]]


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("1", 1, (255, 255, 255)),
        ("L", 90, (90, 90, 90)),
        ("LA", (90, 0), (255, 255, 255)),
        ("RGBa", (0, 0, 0, 0), (255, 255, 255)),
        ("La", (0, 0), (255, 255, 255)),
        ("CMYK", (0, 255, 255, 0), (255, 0, 0)),
        ("YCbCr", (255, 128, 128), (255, 255, 255)),
    ],
)
def test_modes(mode, colour, expected):
    image = Image.new(mode, (3, 2), colour)
    assert images.to_rgb(image).getpixel((0, 0)) == expected


def test_cmyk_tiff(tmp_path):
    path = tmp_path / "print.tif"
    Image.new("CMYK", (3, 2), (255, 0, 0, 0)).save(path)
    assert open_picture(path).getpixel((0, 0)) == (0, 255, 255)


def test_16_bit_colours_keep_their_high_byte(tmp_path):
    path = tmp_path / "deep.png"
    path.write_bytes(png(np.array([[[0, 25700, 65535], [257, 255, 65279]]]), RGB, 16))
    assert np.asarray(open_picture(path))[0].tolist() == [[0, 100, 255], [1, 0, 254]]
    # 32896 = 128 * 257: 255 - (255 - 200) * 128 / 255.
    path.write_bytes(png(np.array([[[51400, 0, 0, 32896], [51400, 0, 0, 65535]]]), RGBA, 16))
    assert np.asarray(open_picture(path))[0].tolist() == [[227, 127, 127], [200, 0, 0]]
    path.write_bytes(png(np.array([[[25700, 65535], [25700, 0]]]), GREY_ALPHA, 16))
    assert np.asarray(open_picture(path))[0, :, 0].tolist() == [100, 255]


def test_one_16_bit_colour_may_stand_for_transparent(tmp_path):
    path = tmp_path / "key.png"
    path.write_bytes(png(np.array([[25700, 25701]]), GREY, 16, tRNS=struct.pack(">H", 25700)))
    assert np.asarray(open_picture(path))[0].tolist() == [[255] * 3, [100] * 3]
    assert np.asarray(images.decode(path, "rgba"))[0, :, 3].tolist() == [0, 255]
    key = (200 * 257, 100 * 257, 7)
    path.write_bytes(png(np.array([[key, (0, 0, 0)]]), RGB, 16, tRNS=struct.pack(">3H", *key)))
    assert np.asarray(open_picture(path))[0].tolist() == [[255] * 3, [0] * 3]


@pytest.mark.parametrize(
    ("kind", "pixels", "key"),
    [(GREY, [[90, 0]], struct.pack(">H", 90)), (RGB, [[[90, 8, 7], [0] * 3]], b"\0Z\0\x08\0\x07")],
)
def test_one_8_bit_colour_may_stand_for_transparent(tmp_path, kind, pixels, key):
    path = tmp_path / "key.png"
    path.write_bytes(png(np.array(pixels), kind, tRNS=key))
    assert np.asarray(open_picture(path))[0].tolist() == [[255] * 3, [0] * 3]


def test_tiff_greys_of_12_bits_and_with_white_at_zero(tmp_path):
    path = tmp_path / "grey.tif"
    # 0xfff and 0x647 = 1607: 1607 * 255 / 4095 = 100.07.
    path.write_bytes(grey_tiff(bytes([0xFF, 0xF6, 0x47]), 2, 12, BLACK_IS_ZERO))
    assert np.asarray(open_picture(path))[0, :, 0].tolist() == [255, 100]
    values = np.array([0, 25700, 65535], "<u2").tobytes()
    path.write_bytes(grey_tiff(values, 3, 16, BLACK_IS_ZERO))
    assert np.asarray(open_picture(path))[0, :, 0].tolist() == [0, 100, 255]
    path.write_bytes(grey_tiff(values, 3, 16, WHITE_IS_ZERO))
    assert np.asarray(open_picture(path))[0, :, 0].tolist() == [255, 155, 0]


@pytest.mark.parametrize("value", [70_000.0, -3.0, float("nan"), float("inf")])
def test_greys_that_are_all_the_same_or_no_numbers(tmp_path, value):
    path = tmp_path / "flat.tif"
    Image.fromarray(np.full((2, 3), value, np.float32)).save(path)
    assert np.unique(np.asarray(open_picture(path))).size == 1


def test_infinity_does_not_take_the_place_of_the_largest_number(tmp_path):
    path = tmp_path / "hot.tif"
    Image.fromarray(np.array([[0, 0.5, 1, np.inf]], np.float32)).save(path)
    assert np.asarray(open_picture(path))[0, :, 0].tolist() == [0, 128, 255, 255]


@pytest.mark.parametrize(
    ("suffix", "options"),
    [(".webp", {"lossless": True, "exact": True}), (".tif", {}), (".tga", {}), (".ico", {})],
)
def test_alpha_of_other_formats(tmp_path, suffix, options):
    pixels = np.zeros((16, 16, 4), np.uint8)
    pixels[:8] = 200, 0, 0, 51  # 255 - (255 - 200) / 5 and 255 - 255 / 5, as for PNG
    pixels[8:] = 0, 150, 0, 255
    path = tmp_path / f"alpha{suffix}"
    Image.fromarray(pixels).save(path, **options)
    picture = np.asarray(open_picture(path))
    assert (picture[:8] == (244, 204, 204)).all()
    assert (picture[8:] == (0, 150, 0)).all()


def test_bmp_and_a_palette_without_transparency(tmp_path):
    picture = Image.new("P", (2, 1))
    picture.putpalette([9, 8, 7, 250, 251, 252])
    picture.putpixel((1, 0), 1)
    for suffix in (".bmp", ".png", ".gif", ".tif"):
        path = tmp_path / f"palette{suffix}"
        picture.save(path)
        assert np.asarray(open_picture(path))[0].tolist() == [[9, 8, 7], [250, 251, 252]]


# A table of 16 x 16 colours, among them all that differ most from one profile to another.
COLOURS = np.random.default_rng(5).integers(0, 256, (16, 16, 3), dtype=np.uint8)


def with_profile(path: Path, pixels: np.ndarray, profile: bytes, mode: str | None = None) -> Path:
    Image.fromarray(pixels, mode).save(path, icc_profile=profile)
    return path


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".jpg"])
@pytest.mark.parametrize("exponent", [1.0, 1.8, 2.2])
def test_a_profile_is_brought_to_srgb(tmp_path, suffix, exponent):
    blocks = COLOURS.repeat(8, axis=0).repeat(8, axis=1)
    options = {".jpg": {"quality": 100, "subsampling": 0}, ".webp": {"lossless": True}}
    stored = []
    path = tmp_path / f"picture{suffix}"
    for profile in (profiles.rgb(curve=profiles.gamma(exponent)), None):
        Image.fromarray(blocks).save(path, icc_profile=profile, **options.get(suffix, {}))
        stored.append(np.asarray(open_picture(path)))
    # The primaries are those of sRGB: only the curves differ.
    expected = 255 * profiles.linear_to_srgb((stored[1] / 255) ** exponent)
    assert np.abs(stored[0] - expected).max() < 1.5
    # Negative control: without the profile it would be far off.
    assert np.abs(stored[1] - expected).max() > 5


def test_primaries_are_brought_to_srgb(tmp_path):
    swapped = profiles.rgb((profiles.BLUE, profiles.GREEN, profiles.RED))
    picture = np.asarray(open_picture(with_profile(tmp_path / "a.png", COLOURS, swapped)))
    np.testing.assert_allclose(picture, COLOURS[..., ::-1], atol=1)


def test_a_profile_that_is_srgb_costs_nothing():
    picture = Image.fromarray(COLOURS)
    picture.info["icc_profile"] = profiles.rgb()  # a table, where Pillow's own has a formula
    assert colour.to_rgb(picture) is picture
    picture.info["icc_profile"] = profiles.rgb(curve=profiles.gamma(2.2))
    assert colour.to_rgb(picture) is not picture  # the negative control


def test_a_profile_is_applied_once(tmp_path):
    path = with_profile(tmp_path / "a.png", COLOURS, profiles.rgb(curve=profiles.gamma(1)))
    once = colour.to_rgb(Image.open(path))
    assert colour.to_rgb(once) is once
    np.testing.assert_array_equal(open_picture(path), once)


def test_grey_profiles(tmp_path):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    path = with_profile(tmp_path / "a.png", grey, profiles.grey(profiles.gamma(1)))
    expected = 255 * profiles.linear_to_srgb(grey / 255)
    for mode in ("rgb", "grayscale"):
        picture = np.asarray(images.decode(path, mode)).reshape(16, 16, -1)
        assert np.abs(picture - expected[..., None]).max() < 1.5
    with_profile(path, grey, profiles.grey(profiles.SRGB_CURVE))
    np.testing.assert_array_equal(images.decode(path, "grayscale"), grey)


def test_profiles_leave_transparency_alone(tmp_path):
    linear = profiles.gamma(1)
    path = tmp_path / "a.png"
    Image.new("RGBA", (2, 2), (64, 128, 200, 51)).save(path, icc_profile=profiles.rgb(curve=linear))
    # 255 * linear_to_srgb(64 / 255) = 137.2, and so on.
    assert images.decode(path, "rgba").getpixel((0, 0)) == (137, 188, 229, 51)
    assert open_picture(path).getpixel((0, 0)) == pytest.approx((231, 242, 250), abs=1)
    Image.new("LA", (2, 2), (64, 51)).save(path, icc_profile=profiles.grey(linear))
    assert images.decode(path, "rgba").getpixel((0, 0)) == (137, 137, 137, 51)


# CIELAB under D50 of paper, of the red of sRGB and of its blue; every other overprint is black.
INKS = dict.fromkeys(itertools.product((0, 1), repeat=4), (0.0, 0.0, 0.0))
INKS |= {
    (0, 0, 0, 0): (100, 0, 0),
    (1, 0, 0, 0): (54.3, 80.8, 69.9),
    (0, 0, 1, 0): (29.6, 68.3, -112.0),
}


@pytest.mark.parametrize("suffix", [".tif", ".jpg"])
def test_cmyk_with_and_without_a_profile(tmp_path, suffix):
    # A press whose cyan prints red and whose yellow prints blue.
    inks = [(0, 0, 0, 0), (255, 0, 0, 0), (0, 0, 255, 0), (0, 0, 0, 255)]
    pixels = np.repeat(np.array([inks], np.uint8), 16, axis=1).repeat(16, axis=0)
    path = tmp_path / f"print{suffix}"
    expected = {
        profiles.cmyk(INKS): [(255, 255, 255), (255, 0, 0), (0, 0, 255), (0, 0, 0)],
        None: [(255, 255, 255), (0, 255, 255), (255, 255, 0), (0, 0, 0)],
    }
    for profile, colours in expected.items():
        options = {"quality": 100} if suffix == ".jpg" else {}
        Image.fromarray(pixels, "CMYK").save(path, icc_profile=profile, **options)
        middle = np.asarray(open_picture(path), dtype=int)[8, 8::16]
        np.testing.assert_allclose(middle, colours, atol=8)


def test_cielab_tiff(tmp_path):
    path = tmp_path / "lab.tif"
    Image.new("LAB", (3, 2), (138, 208, 198)).save(path)  # L 54.1, a 80, b 70: sRGB's red
    assert open_picture(path).getpixel((0, 0)) == pytest.approx((255, 0, 0), abs=10)


LINEAR = profiles.rgb(curve=profiles.gamma(1))
BROKEN = {
    "empty": b"",
    "nonsense": b"no profile at all" * 20,
    "cut": LINEAR[:200],
    "without tags": profiles.profile(b"RGB ", b"XYZ ", {}),
    "zeros behind the header": LINEAR[:128] + bytes(len(LINEAR) - 128),
    "wild offsets": LINEAR[:132] + b"\xff" * 84 + LINEAR[216:],
    "for greys": profiles.grey(profiles.gamma(1)),
    "for inks": profiles.cmyk(INKS),
    "of an unknown space": profiles.profile(b"NOPE", b"XYZ ", {}),
}


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("name", BROKEN)
def test_broken_and_foreign_profiles_are_ignored(tmp_path, name, suffix):
    path = with_profile(tmp_path / f"a{suffix}", COLOURS, BROKEN[name])
    np.testing.assert_array_equal(open_picture(path), COLOURS)


@pytest.mark.parametrize("profile", ["a text", 3, (1, 2), [b"unhashable"]])
def test_what_is_no_profile_is_ignored(profile):
    picture = Image.fromarray(COLOURS)
    picture.info["icc_profile"] = profile
    assert colour.to_rgb(picture) is picture


def test_flipped_bits_in_a_profile_stop_no_picture():
    rng = np.random.default_rng(6)
    for _ in range(300):
        damaged = bytearray(LINEAR)
        for position in rng.integers(0, len(damaged), 4):
            damaged[position] ^= 1 << rng.integers(0, 8)
        picture = Image.fromarray(COLOURS)
        picture.info["icc_profile"] = bytes(damaged)
        assert colour.to_rgb(picture).mode == "RGB"


def test_threads_may_share_a_profile(tmp_path):
    path = with_profile(tmp_path / "a.png", COLOURS, LINEAR)
    alone = np.asarray(open_picture(path))
    with ThreadPoolExecutor(8) as pool:
        for picture in pool.map(open_picture, [path] * 200):
            np.testing.assert_array_equal(picture, alone)
