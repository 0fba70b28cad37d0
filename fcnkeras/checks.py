"""What Pillow does not notice in a file: wrong checksums, and scans without end."""

import os
import re
import zlib
from collections.abc import Iterator
from typing import BinaryIO

# Photographs have ten scans or so. Every scan goes over all pixels, even where it holds no data.
_MAX_SCANS = 100
_JPEG_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")  # those that no coded data hold
_BLOCK = 1 << 20


class RefusedError(ValueError):
    """A reason of our own not to read a file; the message is the reason."""


def check_scans(stream: BinaryIO) -> None:
    """Refuses a JPEG of more scans than any photograph has, which may take hours."""
    start = stream.tell()
    stream.seek(0)
    data = stream.read()
    stream.seek(start)
    scans, position = 0, 2
    while (marker := _JPEG_MARKER.search(data, position)) and marker[1] != b"\xd9":
        scans += marker[1] == b"\xda"
        position = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2])
    if scans > _MAX_SCANS:
        raise RefusedError(f"it has {scans} scans, more than the limit of {_MAX_SCANS}")


def check_sums(stream: BinaryIO) -> None:
    """Compares the checksums of a PNG's own pixels, which Pillow's decoder leaves out."""
    position = stream.tell()
    stream.seek(8)
    while len(start := stream.read(8)) == 8 and (name := start[4:]) != b"IEND":
        length = int.from_bytes(start[:4])
        if name != b"IDAT":
            stream.seek(length + 4, os.SEEK_CUR)
            continue
        found = zlib.crc32(name)
        for block in _blocks(stream, length):
            found = zlib.crc32(block, found)
        stored = stream.read(4)
        if len(stored) == 4 and int.from_bytes(stored) != found:
            raise RefusedError("its data are damaged (a checksum does not fit)")
    stream.seek(position)


def _blocks(stream: BinaryIO, length: int) -> Iterator[bytes]:
    """Reads `length` bytes, or as many as there are: a damaged file may claim any number."""
    while length and (block := stream.read(min(length, _BLOCK))):
        length -= len(block)
        yield block
