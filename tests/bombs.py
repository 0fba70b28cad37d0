"""Files made to do harm: absurd sizes, bombs, loops, programs, and what is no picture at all."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from damage import Damaged, Good
from raw_pictures import GREY, PNG_START, chunk, icon, png_of, tiff

LIMIT = 200_000_000
# Where some formats declare their size: a mark, the offsets of width and height from it, the code.
_DECLARED = {
    "jpeg_baseline": (b"\xff\xc0", 7, 5, ">H"),
    "jpeg_progressive": (b"\xff\xc2", 7, 5, ">H"),
    "png_rgb": (b"IHDR", 4, 8, ">I"),
    "png_palette": (b"IHDR", 4, 8, ">I"),
    "gif_still": (b"GIF8", 6, 8, "<H"),
    "bmp_rgb": (b"BM", 18, 22, "<i"),
    "tga_runs": (b"", 12, 14, "<H"),
    "sgi": (b"\x01\xda", 6, 8, ">H"),
    "dds": (b"DDS ", 16, 12, "<I"),
    "jp2": (b"ihdr", 8, 4, ">I"),
    "tiff_raw": (b"II", 18, 30, "<I"),  # the values of the first two entries of its directory
}


def absurd_sizes(good: dict[str, Good]) -> Iterator[Damaged]:
    """Good files that declare other sizes, from nothing to the largest number."""
    for name in _DECLARED.keys() & good.keys():
        mark, to_width, to_height, code = _DECLARED[name]
        data, suffix = good[name].data, good[name].suffix
        start = data.index(mark)
        top = {"H": 0xFFFF, "I": 0xFFFFFFFF, "i": 0x7FFFFFFF}[code[1]]
        for width, height in ((0, 0), (0, 48), (64, 0), (1, 1), (64, 47), (65, 48), (9000, 9000),
                              (64, top), (top, 48), (top, top), (top // 2, top // 2)):  # fmt: skip
            damaged = bytearray(data)
            struct.pack_into(code, damaged, start + to_width, width)
            struct.pack_into(code, damaged, start + to_height, height)
            if mark == b"IHDR":
                struct.pack_into(">I", damaged, start + 17, zlib.crc32(damaged[start : start + 17]))
            # In a GIF the frame decides, and the screen grows with it.
            allowed = "refused or sized" if width * height else "refused or same"
            if width * height > LIMIT:
                allowed = "refused"
            file = f"{name}-{width}x{height}{suffix}"
            yield Damaged(file, bytes(damaged), allowed, name, (width, height))


def bombs(good: dict[str, Good]) -> Iterator[Damaged]:
    """Small files that ask for much memory or time."""
    huge = zlib.compress(bytes(100_000_000))
    small = good["png_rgb"].data
    header, rest = small[:33], small[33:]

    def beside(name: str, data: bytes) -> bytes:
        return header + chunk(name.encode(), data) + rest

    # 13,000 x 13,000 is below the limit: it is read, or refused for want of memory.
    allowed = png_of(13_000, 13_000, bytes(13_000 * 13_001), GREY)
    yield Damaged("bomb-below.png", allowed, "refused or sized", size=(13_000, 13_000))
    yield Damaged("bomb-above.png", png_of(15_000, 15_000, bytes(1 << 20), GREY), "refused")
    yield Damaged("bomb-short.png", png_of(13_000, 13_000, bytes(1 << 20)), "refused")
    text = beside("zTXt", b"Comment\0\0" + huge)
    yield Damaged("bomb-text.png", text, "refused or same", "png_rgb")
    profile = beside("iCCP", b"profile\0\0" + huge)
    yield Damaged("bomb-profile.png", profile, "refused or same", "png_rgb")
    frames = beside("acTL", struct.pack(">II", 0xFFFFFFFF, 0))
    yield Damaged("bomb-frames.png", frames, "refused or same", "png_rgb")
    lengths = PNG_START + struct.pack(">I", 0x7FFFFFFF) + small[12:]
    yield Damaged("bomb-length.png", lengths, "refused")
    yield Damaged("bomb-icon.ico", icon(png_of(60_000, 60_000, bytes(1 << 20))), "refused")
    yield Damaged("bomb-scans.jpg", _many_scans(good["jpeg_progressive"].data, 5000), "refused")
    frame = b"\x2c" + struct.pack("<4HB", 0, 0, 0xFFFF, 0xFFFF, 0)
    screen = b"GIF89a" + struct.pack("<HHBBB", 10, 10, 0x80, 0, 0) + bytes(6)
    yield Damaged("bomb-frame.gif", screen + frame + b"\x02\x02\x44\x01\0\x3b", "refused or read")
    vp8l = struct.pack("<BI", 0x2F, 0x0FFFFFFF) + bytes(40)
    webp = b"RIFF" + struct.pack("<I", 12 + len(vp8l)) + b"WEBPVP8L" + struct.pack("<I", len(vp8l))
    yield Damaged("bomb-size.webp", webp + vp8l, "refused")
    yield from _tiff_bombs(good["tiff_raw"].data)
    yield Damaged("bomb-digits.ppm", b"P6 99999999999999999999 1 255\n" + bytes(99), "refused")
    yield Damaged("bomb-plain.ppm", b"P3 3 3 255\n" + b"9" * 1_000_000, "refused")
    yield Damaged("bomb-header.ppm", b"P6\n#" + b"x" * 1_000_000, "refused")
    yield Damaged("bomb-zero.ppm", b"P6 3 3 0\n" + bytes(27), "refused")
    yield Damaged("bomb-runs.tga", struct.pack("<BBB9xHHBB", 0, 0, 10, 14_000, 14_000, 24, 0)
                  + b"\xff\1\2\3" * 1000, "refused")  # fmt: skip
    yield Damaged("bomb-xpm.xpm", b'/* XPM */\n"99999 99999 2 1",\n' * 9, "refused")
    yield Damaged("bomb-icns.icns", b"icns" + struct.pack(">I", 0x7FFFFFFF) + bytes(99), "refused")


def _tiff_bombs(raw: bytes) -> Iterator[Damaged]:
    count = struct.unpack_from("<H", raw, 8)[0]
    loop = bytearray(raw)
    struct.pack_into("<I", loop, 10 + 12 * count, 8)  # the next directory is this one
    yield Damaged("bomb-loop.tif", bytes(loop), "same", "tiff_raw")
    for entry in range(count):
        many = bytearray(raw)
        struct.pack_into("<I", many, 10 + 12 * entry + 4, 0xFFFFFFF0)
        yield Damaged(f"bomb-count{entry}.tif", bytes(many), "refused or read")
    square = {256: 9000, 257: 9000, 258: 8, 262: 1}
    deflated = zlib.compress(bytes(1 << 20))
    strip = tiff(deflated, square | {259: 8, 278: 9000})
    yield Damaged("bomb-strip.tif", strip, "refused or sized", size=(9000, 9000))
    tiles = {322: 0xFFFFFFF0, 323: 0xFFFFFFF0, 324: 8, 325: len(deflated), 259: 8}
    yield Damaged("bomb-tiles.tif", tiff(deflated, square | tiles), "refused")
    tiles |= {322: 60_000, 323: 60_000}
    yield Damaged("bomb-tile.tif", tiff(deflated, square | tiles), "refused or read")


def _many_scans(jpeg: bytes, scans: int) -> bytes:
    """8000 x 8000 pixels, and scans that hold nothing: each goes over all of them."""
    start = jpeg.index(b"\xff\xc2")
    data = bytearray(jpeg)
    struct.pack_into(">HH", data, start + 5, 8000, 8000)
    first = bytes(data[: data.index(b"\xff\xda")])
    return first + b"\xff\xda\0\x08\x01\x01\0\0\0\1" * scans + b"\xff\xd9"


def no_pictures() -> Iterator[Damaged]:
    """Other files, programs among them, under the names of pictures."""
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(pwned.txt) (w) file closefile\n"
    caption = struct.pack(">BBBH", 0x1C, 3, 60, 2) + b"\1\0"
    size = struct.pack(">BBBHH", 0x1C, 3, 20, 2, 9) + struct.pack(">BBBHH", 0x1C, 3, 30, 2, 9)
    inside = struct.pack(">BBBH", 0x1C, 8, 10, len(script)) + script
    contents = {
        "script.eps": script,
        "script.jpg": script,
        "script.iim": caption + size + struct.pack(">BBBHB", 0x1C, 3, 120, 1, 1) + inside,
        "empty.jpg": b"",
        "byte.png": b"\x89",
        "newline.gif": b"\n",
        "text.jpg": b"This is no picture.\n" * 50,
        "page.png": b"<!doctype html><img src=a.png>" * 40,
        "drawing.svg.png": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
        "paper.jpg": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n" * 20,
        "archive.jpg": b"PK\3\4" + bytes(200),
        "film.jpg": b"\0\0\0\x18ftypmp42" + bytes(400),
        "pickle.tif": b"\x80\4cos\nsystem\n(S'echo'\ntR." * 3,
        "object.bmp": b"\x7fELF" + bytes(500),
        "spaces.ppm": b" " * 5000,
        "ones.tif": b"\xff" * 5000,
    }
    starts = (
        *(b"\xff\xd8\xff\xe0", PNG_START, b"GIF89a", b"II*\0", b"MM\0*", b"RIFF\0\0\0\0WEBPVP8 "),
        *(b"BM", b"P6", b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51", b"\0\0\0\x20ftypavif"),
        *(b"\0\0\1\0", b"icns", b"8BPS", b"DDS ", b"qoif", b"BLP2", b"\x0a\5\1\x08", b"\x01\xda"),
        *(b"SIMPLE", b"P3", b"Pf", b"\xd7\xcd\xc6\x9a", b"gimp", b"\x59\xa6\x6a\x95", b"#define"),
    )
    for number, start in enumerate(starts):
        contents[f"start{number}.jpg"] = start
        contents[f"start{number}.png"] = start + bytes(2000)
        contents[f"start{number}.tif"] = start + b"\xff" * 2000
    for name, data in contents.items():
        yield Damaged(f"other-{name}", data, "refused")


def made_to_harm(good: dict[str, Good]) -> list[Damaged]:
    """All of these files."""
    return [*absurd_sizes(good), *bombs(good), *no_pictures()]
