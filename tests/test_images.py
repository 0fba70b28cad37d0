import io
import os
import pickle
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from raw_pictures import icon, png_of

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


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_of_greys_is_turned_too(tmp_path, orientation):
    """One that Pillow would map into memory, and then turn wrongly, if it opened it by name."""
    upright = random_blocks(3, 5)[..., :1]
    stored = np.ascontiguousarray(STORED[orientation](upright)[..., 0])
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / "picture.tif", exif=exif)
    picture = np.asarray(open_picture(tmp_path / "picture.tif"))
    np.testing.assert_array_equal(picture, upright.repeat(3, axis=2))


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


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_extent_tells_how_the_file_stores_the_picture(tmp_path, suffix):
    path = tmp_path / f"picture{suffix}"
    save_oriented(path, random_blocks(3, 5), 8)
    known = extent(open_picture(path))
    assert (known.original_size, known.orientation, known.path) == ((40, 24), 8, path)
    # The same for a picture that was opened, and not yet decoded, by others.
    turned = images.upright(Image.open(path))
    assert (turned.size, extent(turned).orientation) == ((40, 24), 8)
    assert images.upright(turned) is turned
    assert extent(Image.new("RGB", (3, 2))) == extent(Image.new("L", (3, 2)))
    assert extent(Image.new("RGB", (3, 2))).path is None


def test_extent_is_forgotten_by_derived_pictures(tmp_path):
    path = tmp_path / "picture.jpg"
    Image.new("RGB", (800, 400)).save(path)
    cut = open_picture(path, least=50).crop((0, 0, 60, 40))
    assert extent(cut).original_size == (60, 40)


def good_bytes(kind: str = "JPEG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(random_blocks(20, 30)).save(stream, kind)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("cut.jpg", good_bytes()[:-600], "the file is truncated"),
        ("cut.png", good_bytes("PNG")[:400], "the file is truncated"),
        ("cut.gif", good_bytes("GIF")[:2000], "the file is truncated"),
        ("empty.jpg", b"", "the file is empty"),
        ("text.jpg", b"This is no picture.\n" * 50, "it is not a picture"),
        ("zeros.jpg", bytes(5000), "it is not a picture"),
        ("bomb.png", png_of(100_000, 100_000, bytes(1000)), "100000 x 100000 pixels, more than"),
        ("large.png", png_of(14_500, 14_000, bytes(1000)), "14500 x 14000 pixels, more than"),
        ("hollow.png", png_of(100, 100, bytes(1000)), "truncated"),
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


def png_with_stale_checksum(chunk: bytes) -> bytes:
    """Sound in itself; only the checksum behind one chunk is another's."""
    data = bytearray(good_bytes("PNG"))
    start = data.index(chunk)
    length = int.from_bytes(data[start - 4 : start])
    data[start + 4 + length] ^= 1
    return bytes(data)


def test_checksums_of_png(tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(png_with_stale_checksum(b"IDAT"))
    np.asarray(Image.open(path))  # Pillow alone does not look
    with pytest.raises(ImageError, match="a checksum does not fit"):
        open_picture(path)
    path.write_bytes(png_with_stale_checksum(b"IEND"))  # behind the last pixel
    np.testing.assert_array_equal(np.asarray(open_picture(path)), random_blocks(20, 30))


def progressive(scans: int, tail: bytes = b"") -> bytes:
    """A picture whose last scan is repeated until there are so many, with a thumbnail of its own
    scans in the metadata."""
    stream = io.BytesIO()
    thumbnail = b"Exif\0\0" + b"\xff\xda\0\x08" * 500
    Image.new("L", (16, 16), 90).save(stream, "JPEG", progressive=True, exif=thumbnail)
    data = stream.getvalue()
    body = data.index(b"\xff\xc2")
    last = data.rindex(b"\xff\xda")
    missing = scans - data.count(b"\xff\xda", body)
    return data[:last] + data[last:-2] * (1 + missing) + b"\xff\xd9" + tail


def test_too_many_scans_are_refused(tmp_path):
    path = tmp_path / "picture.jpg"
    path.write_bytes(progressive(100, tail=b"\xff\xda\0\x08" * 500))
    assert np.ptp(np.asarray(open_picture(path))) == 0
    path.write_bytes(progressive(101))
    with pytest.raises(ImageError, match="it has 101 scans, more than the limit of 100"):
        open_picture(path)


def test_an_icon_may_not_hold_more_than_it_declares(tmp_path):
    path = tmp_path / "icon.ico"
    inside = png_of(300, 300, b"".join(b"\0" + bytes(900) for _ in range(300)))
    path.write_bytes(icon(inside))
    assert open_picture(path).size == (300, 300)
    with pytest.raises(ImageError, match="300 x 300 pixels, more than the limit of 9,000"):
        open_picture(path, max_pixels=9000)


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


def test_the_limit_may_be_set_for_all(tmp_path, monkeypatch):
    path = tmp_path / "picture.png"
    Image.new("RGB", (30, 30)).save(path)
    monkeypatch.setattr(images, "MAX_PIXELS", 899)
    for read in (open_picture, probe):
        with pytest.raises(ImageError, match=r"more than the limit of 899 \(max_pixels\)"):
            read(path)
    assert open_picture(path, max_pixels=900).size == (30, 30)


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
