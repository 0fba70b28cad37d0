import io
import os
import pickle
import struct
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fcnkeras import images
from fcnkeras.images import ImageError, extent, is_picture_name, open_picture, probe

# From the EXIF standard: which visual side the stored row 0 and column 0 are.
STORED = {
    1: lambda u: u,  # row 0 is the top, column 0 the left
    2: lambda u: u[:, ::-1],  # top, right
    3: lambda u: u[::-1, ::-1],  # bottom, right
    4: lambda u: u[::-1],  # bottom, left
    5: lambda u: u.transpose(1, 0, 2),  # left, top
    6: lambda u: u[:, ::-1].transpose(1, 0, 2),  # right, top
    7: lambda u: u[::-1, ::-1].transpose(1, 0, 2),  # right, bottom
    8: lambda u: u[::-1].transpose(1, 0, 2),  # left, bottom
}


def random_blocks(rows: int, columns: int, block: int = 8, seed: int = 0) -> np.ndarray:
    blocks = np.random.default_rng(seed).integers(0, 256, (rows, columns, 3), dtype=np.uint8)
    return blocks.repeat(block, axis=0).repeat(block, axis=1)


def save_oriented(path: Path, upright: np.ndarray, orientation: int, **options) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(STORED[orientation](upright))
    Image.fromarray(stored).save(path, exif=exif, **options)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("suffix", "options"), [(".png", {}), (".tif", {}), (".webp", {"lossless": True})]
)
def test_every_orientation_gives_the_same_upright_picture(tmp_path, orientation, suffix, options):
    upright = random_blocks(3, 5)
    path = tmp_path / f"picture{suffix}"
    save_oriented(path, upright, orientation, **options)
    picture = open_picture(path)
    assert picture.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(picture), upright)
    np.testing.assert_array_equal(np.asarray(images.upright(picture)), upright)
    assert probe(path) == (40, 24)


def test_the_orientations_differ_as_stored():
    upright = random_blocks(4, 4)
    assert len({STORED[orientation](upright).tobytes() for orientation in STORED}) == 8


@pytest.mark.parametrize("orientation", range(1, 9))
def test_jpeg_at_reduced_scale_keeps_orientation_and_place(tmp_path, orientation):
    # Sides that do not divide by 8: the last row and column of the reduced picture are partial.
    smooth = Image.fromarray(random_blocks(5, 7, 1)).resize((701, 501), Image.Resampling.BICUBIC)
    path = tmp_path / "picture.jpg"
    save_oriented(path, np.asarray(smooth), orientation, quality=95)
    reduced = open_picture(path, least=(80, 60))
    assert reduced.size == (176, 126)  # 1/4; 1/8 would leave 88 x 63, less than twice 80 x 60
    known = extent(reduced)
    assert known.original_size == (701, 501)
    assert known.box[2] - known.box[0] == 701 / 4
    assert known.box[3] - known.box[1] == 501 / 4
    full = open_picture(path)
    assert full.size == (701, 501)
    small = [
        np.asarray(picture.resize((80, 60), Image.Resampling.BICUBIC, box), dtype=float)
        for picture, box in ((reduced, known.box), (full, None))
    ]
    assert np.abs(small[0] - small[1]).mean() < 1
    # Negative control: a picture turned another way is far off.
    assert np.abs(small[0] - small[1][::-1]).mean() > 10


@pytest.mark.parametrize(
    ("least", "size"),
    [(None, (800, 400)), (25, (100, 50)), (26, (200, 100)), (100, (400, 200)), (101, (800, 400))],
)
def test_least_leaves_twice_the_wanted_short_side(tmp_path, least, size):
    path = tmp_path / "picture.jpg"
    Image.new("RGB", (800, 400)).save(path)
    picture = open_picture(path, least=least)
    assert picture.size == size
    assert extent(picture).original_size == (800, 400)


def test_least_counts_in_displayed_orientation(tmp_path):
    path = tmp_path / "picture.jpg"
    save_oriented(path, np.zeros((800, 400, 3), np.uint8), 6)
    assert open_picture(path, least=(100, 200)).size == (200, 400)
    assert open_picture(path, least=(200, 100)).size == (400, 800)


def test_extent_is_forgotten_by_derived_pictures(tmp_path):
    path = tmp_path / "picture.jpg"
    Image.new("RGB", (800, 400)).save(path)
    cut = open_picture(path, least=50).crop((0, 0, 60, 40))
    assert extent(cut).original_size == (60, 40)


def grey16(mode: str = "I;16") -> Image.Image:
    # 257 is what one 8-bit level is worth: 0, 100 and 255 exactly, and 100.6.
    values = np.array([[0, 25700], [65535, 25854]])
    if mode == "I":
        return Image.fromarray(values.astype(np.int32))
    return Image.fromarray(values.astype(np.uint16))


@pytest.mark.parametrize(
    ("image", "suffix"),
    [(grey16(), ".png"), (grey16(), ".tif"), (grey16("I"), ".tif"), (grey16("I"), ".pgm")],
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


def good_bytes(kind: str = "JPEG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(random_blocks(20, 30)).save(stream, kind)
    return stream.getvalue()


def png_of_declared_size(width: int, height: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + header + data + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("cut.jpg", good_bytes()[:-600], "the file is truncated"),
        ("cut.png", good_bytes("PNG")[:400], "the file is truncated"),
        ("cut.gif", good_bytes("GIF")[:2000], "the file is truncated"),
        ("empty.jpg", b"", "the file is empty"),
        ("text.jpg", b"This is no picture.\n" * 50, "it is not a picture"),
        ("zeros.jpg", bytes(5000), "it is not a picture"),
        ("bomb.png", png_of_declared_size(100_000, 100_000), "100000 x 100000 pixels, more than"),
        ("large.png", png_of_declared_size(14_500, 14_000), "14500 x 14000 pixels, more than"),
        ("hollow.png", png_of_declared_size(100, 100), "truncated"),
        ("script.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript"),
    ],
)
def test_damaged_files_give_a_reason(tmp_path, name, content, reason):
    path = tmp_path / name
    path.write_bytes(content)
    for read in (open_picture, probe):
        with pytest.raises(ImageError, match=r"^cannot read ") as caught:
            read(path)
        assert reason in caught.value.reason
        assert str(caught.value) == f"cannot read {path}: {caught.value.reason}"


def test_what_is_no_file_gives_a_reason(tmp_path):
    with pytest.raises(ImageError, match="no such file"):
        open_picture(tmp_path / "missing.jpg")
    (tmp_path / "folder.jpg").mkdir()
    with pytest.raises(ImageError, match="folder"):
        open_picture(tmp_path / "folder.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")  # opening it would wait for a writer for ever
    with pytest.raises(ImageError, match="not a regular file"):
        open_picture(tmp_path / "pipe.jpg")
    with pytest.raises(ImageError, match="null"):
        open_picture("a\0b.jpg")


def test_too_little_memory_gives_a_reason(tmp_path, monkeypatch):
    path = tmp_path / "picture.png"
    path.write_bytes(good_bytes("PNG"))

    def fail(_image: Image.Image) -> None:
        raise MemoryError

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    with pytest.raises(ImageError, match="more memory than there is"):
        open_picture(path)


def test_a_wrong_ending_is_no_hindrance(tmp_path):
    path = tmp_path / "really_a_png.jpg"
    path.write_bytes(good_bytes("PNG"))
    np.testing.assert_array_equal(np.asarray(open_picture(path)), random_blocks(20, 30))


def test_damaged_metadata_is_no_hindrance(tmp_path):
    path = tmp_path / "picture.jpg"
    Image.fromarray(random_blocks(2, 3)).save(path, exif=b"Exif\0\0II*\0\xff\xff\xff\xff broken")
    assert open_picture(path).size == (24, 16)
    exif = Image.Exif()
    exif[0x0112] = 77
    Image.fromarray(random_blocks(2, 3)).save(path, exif=exif)
    assert open_picture(path).size == (24, 16)


@pytest.mark.parametrize("pillows_limit", [1000, 70_000])
def test_the_limit_is_ours_not_pillows(tmp_path, monkeypatch, pillows_limit):
    """Pillow refuses above twice its limit and warns above once; tests turn warnings to errors."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillows_limit)
    path = tmp_path / "picture.png"
    Image.new("RGB", (300, 300)).save(path)
    assert open_picture(path).size == (300, 300)
    assert pillows_limit == Image.MAX_IMAGE_PIXELS
    with pytest.raises(ImageError, match=r"300 x 300 pixels, more than the limit of 89,999"):
        open_picture(path, max_pixels=89_999)
    assert open_picture(path, max_pixels=90_000).size == (300, 300)


def test_warnings_are_silenced_only_while_reading(tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(good_bytes("PNG"))
    before = list(warnings.filters)
    threads = [
        threading.Thread(target=lambda: [open_picture(path) for _ in range(5)]) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(warnings.filters) == before


def test_streams_pictures_and_errors_can_be_passed_on(tmp_path):
    stream = io.BytesIO(good_bytes())
    stream.read(7)
    picture = pickle.loads(pickle.dumps(open_picture(stream, least=20)))
    assert extent(picture).original_size == (240, 160)
    with pytest.raises(ImageError, match="cannot read <stream>: "):
        open_picture(io.BytesIO(b"nothing"))
    error = pickle.loads(pickle.dumps(ImageError("a.jpg", "it is torn")))
    assert (error.path, error.reason) == ("a.jpg", "it is torn")
    assert str(error) == "cannot read a.jpg: it is torn"


@pytest.mark.parametrize("least", [0, -1, 2.5, (3,), (3, 0), "336"])
def test_bad_least(least):
    with pytest.raises(ValueError, match="least must be a positive int"):
        open_picture("never_opened.jpg", least=least)


def test_bad_limit_and_colour_mode():
    with pytest.raises(ValueError, match="max_pixels must be at least 1, got 0"):
        open_picture("never_opened.jpg", max_pixels=0)
    with pytest.raises(ValueError, match=r"color_mode must be one of .*got 'cmyk'"):
        images.decode("never_opened.jpg", "cmyk")


def test_is_picture_name():
    assert is_picture_name("a/b.JPG")
    assert is_picture_name(Path("scan.tiff"))
    assert not is_picture_name("notes.txt")
    assert not is_picture_name("jpg")
