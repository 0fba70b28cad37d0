"""Pictures written byte by byte, of kinds that Pillow does not write."""

import struct
import zlib

import numpy as np

PNG_START = b"\x89PNG\r\n\x1a\n"
GREY, RGB, GREY_ALPHA, RGBA = 0, 2, 4, 6  # the kinds of colour in a PNG


def chunk(name: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    check = struct.pack(">I", zlib.crc32(name + data))
    return struct.pack(">I", len(data)) + name + data + check


def png_of(
    width: int, height: int, rows: bytes, kind: int = RGB, depth: int = 8, **chunks: bytes
) -> bytes:
    """A PNG that declares this size, whatever `rows` hold; `chunks` stand before the pixels."""
    return (
        PNG_START
        + chunk(b"IHDR", struct.pack(">2I5B", width, height, depth, kind, 0, 0, 0))
        + b"".join(chunk(name.encode(), data) for name, data in chunks.items())
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def png(pixels: np.ndarray, kind: int, depth: int = 8, **chunks: bytes) -> bytes:
    """A PNG of (height, width) or (height, width, channels)."""
    height, width = pixels.shape[:2]
    levels = pixels.astype(">u2" if depth == 16 else "u1")
    rows = b"".join(b"\0" + row.tobytes() for row in levels)
    return png_of(width, height, rows, kind, depth, **chunks)


def icon(inside: bytes) -> bytes:
    """An icon that declares 48 x 48 pixels, whatever the PNG inside has."""
    entry = struct.pack("<4B2H2I", 48, 48, 0, 0, 1, 32, len(inside), 22)
    return struct.pack("<3H", 0, 1, 1) + entry + inside


def tiff(data: bytes, tags: dict[int, int]) -> bytes:
    """A TIFF of one strip, `data`, with these tags beside those that say where it is."""
    tags = {259: 1, 273: 8, 277: 1, 279: len(data)} | tags
    entries = [struct.pack("<HHII", tag, 4, 1, tags[tag]) for tag in sorted(tags)]
    directory = 8 + len(data) + len(data) % 2
    return (
        struct.pack("<2sHI", b"II", 42, directory)
        + data.ljust(directory - 8, b"\0")
        + struct.pack("<H", len(tags))
        + b"".join(entries)
        + bytes(4)
    )


def grey_tiff(data: bytes, width: int, bits: int, photometric: int) -> bytes:
    """A TIFF of one row of greys."""
    return tiff(data, {256: width, 257: 1, 258: bits, 262: photometric, 278: 1})
