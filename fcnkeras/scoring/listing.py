"""Which pictures are scored: folders, patterns, files and lists, as a stream in a fixed order.

Paths are bytes, as the operating system has them: a file name need not be UTF-8, and may hold any
byte but a slash and NUL.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from fcnkeras.images import is_picture_name
from fcnkeras.scoring import remote

Listed = tuple[bytes, str | None]
"""A path, and why it could not be looked into, or None."""

_BLOCK = 1 << 16


def list_pictures(sources: Iterable[str | bytes | os.PathLike]) -> Iterator[Listed]:
    """The pictures of some sources.

    Args:
        sources: each a file, which is taken whatever its name; a folder, of which every picture (by
            its ending, `fcnkeras.images.PICTURE_SUFFIXES`) is taken, and those of the folders in
            it; or, where there is no such file, a pattern with `*`, `?`, `[...]` or `**`, which
            stands for what it matches. Links are followed, but not in circles. URLs of the cloud
            (`s3://bucket/folder`) are files, folders and patterns too, see `remote`.

    Yields:
        (path, None); or (path, reason) for a folder that cannot be read. The order is that of the
        sources, and in a folder and for a pattern that of the bytes of the names.

    Raises:
        ValueError: there is no such file or folder, and it matches nothing.
    """
    for source in sources:
        for path in matches(source):
            yield from remote.list_url(path) if remote.is_url(path) else _pictures_at(path)


def matches(source: str | bytes | os.PathLike) -> list[bytes]:
    """What a source of `list_pictures` stands for; raises `ValueError` as that does."""
    path = os.fsencode(source)
    if remote.is_url(path):
        found = remote.matches(path)
    elif os.path.lexists(path):
        found = [path]
    else:
        found = sorted(glob.glob(path, recursive=True))  # noqa: PTH207 - pathlib takes no bytes
    if not found:
        raise ValueError(f"No such picture or folder: {shown(path)}")
    return found


def list_from(stream: BinaryIO) -> Iterator[Listed]:
    """The pictures of a list.

    Args:
        stream: paths, one a line; or each ended by NUL, which is seen by a NUL among the first
            65,536 bytes, for names with line ends in them (`find -print0`). Each is a file or a
            folder, as in `list_pictures`; patterns are no more than names here, and a URL is a
            folder if it ends in a slash, as asking for each would take long. Empty lines do not
            count.

    Yields:
        As `list_pictures`; a path at which nothing is, too.
    """
    for path in _split(stream):
        if not remote.is_url(path):
            yield from _pictures_at(path)
        elif path.endswith(b"/"):
            yield from remote.list_url(path)
        else:
            yield path, None


def shown(path: bytes) -> str:
    """A path as text for tables and people: bytes that are no UTF-8 as `\\xff`."""
    return path.decode("utf-8", "backslashreplace")


def _split(stream: BinaryIO) -> Iterator[bytes]:
    block = stream.read(_BLOCK)
    nul = b"\0" in block
    rest = b""
    while block:
        *whole, rest = (rest + block).split(b"\0" if nul else b"\n")
        for path in whole:
            yield from _entry(path, nul)
        block = stream.read(_BLOCK)
    yield from _entry(rest, nul)


def _entry(path: bytes, nul: bool) -> Iterator[bytes]:
    if not nul:
        path = path.removesuffix(b"\r")
    if path:
        yield path


def _pictures_at(path: bytes) -> Iterator[Listed]:
    if os.path.isdir(path):  # noqa: PTH112
        yield from _pictures_below(path, [])
    else:
        yield path, None


def _pictures_below(folder: bytes, parents: list[tuple[int, int]]) -> Iterator[Listed]:
    try:
        status = os.stat(folder)  # noqa: PTH116
        with os.scandir(folder) as entries:
            names = sorted((entry.name, entry.is_dir()) for entry in entries)
    except OSError as error:
        yield folder, f"the folder cannot be read ({(error.strerror or 'unknown').lower()})"
        return
    place = (status.st_dev, status.st_ino)
    if place in parents:
        return
    beginning = os.path.join(folder, b"")  # noqa: PTH118
    for name, is_folder in names:
        if is_folder:
            yield from _pictures_below(beginning + name, [*parents, place])
        elif is_picture_name(os.fsdecode(name)):
            yield beginning + name, None
