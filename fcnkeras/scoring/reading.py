"""From a file to what a network is fed, with the digest of its bytes."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from PIL import Image

from fcnkeras.feeders import Fed
from fcnkeras.images import ImageError, open_file, open_picture
from fcnkeras.scoring import remote
from fcnkeras.scoring.store import Entry

_DIGEST_BYTES = 16
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Reading:
    """What was found at a path.

    Attributes:
        stamp: (bytes, time of the last change in ns) of the file; of a URL see `remote.stamp`.
        digest: of its bytes; None if the file could not be read.
        fed: what the network is to see; None if that was not wanted or there is an error.
        error: why the picture cannot be fed; with a digest, the fault is in the bytes.
        unchanged: the file is what it was when it was answered, and was not read again.
    """

    stamp: tuple[int, int] | None = None
    digest: bytes | None = None
    fed: Fed | None = None
    error: str | None = None
    unchanged: bool = False


def read_entry(
    entry: Entry,
    feed: Callable[[Image.Image], Fed],
    least: int | tuple[int, int],
    wanted: Callable[[bytes], bool],
) -> Reading:
    """Reads a picture of the list.

    Args:
        entry: which one.
        feed: the feeder.
        least: (width, height) or the short side that the feeder makes, see `open_picture`.
        wanted: tells of a digest whether the picture is to be decoded.
    """
    if entry.error is not None:
        return Reading(error=entry.error)
    path = os.fsdecode(entry.path)
    try:
        if remote.is_url(entry.path):
            stamp = remote.stamp(entry.path)
            if stamp is not None and stamp == entry.stamp:
                return Reading(stamp, unchanged=True)
            # Asked for before: what changes in between is noticed in the next run.
            stream: BinaryIO = io.BytesIO(remote.read(entry.path))
            return _read(stream, lambda: stamp, feed, least, wanted)
        if entry.stamp is not None and _stamp(os.stat(path)) == entry.stamp:  # noqa: PTH116
            return Reading(entry.stamp, unchanged=True)
        with open_file(path) as stream:
            return _read(stream, lambda: _stamp(os.fstat(stream.fileno())), feed, least, wanted)
    except ImageError as error:
        return Reading(error=error.reason)
    except OSError as error:  # a disk or a network that fails
        return Reading(error=(error.strerror or "it cannot be read").lower())


def _read(
    stream: BinaryIO,
    look: Callable[[], tuple[int, int] | None],
    feed: Callable[[Image.Image], Fed],
    least: int | tuple[int, int],
    wanted: Callable[[bytes], bool],
) -> Reading:
    stamp = look()
    digest = _digest(stream)
    if not wanted(digest):
        return Reading(stamp, digest)
    fed, problem = None, None
    try:
        fed = feed(open_picture(stream, least=least))
    except ImageError as error:
        problem = error
    if look() != stamp:
        return Reading(error="it was changed while it was read")
    if problem is None:
        return Reading(stamp, digest, fed)
    if isinstance(problem.__cause__, MemoryError) or _is_of_the_disk(problem.__cause__):
        return Reading(error=problem.reason)  # not the fault of these bytes
    return Reading(stamp, digest, error=problem.reason)


def _is_of_the_disk(error: BaseException | None) -> bool:
    return isinstance(error, OSError) and error.errno is not None


def _stamp(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def _digest(stream: BinaryIO) -> bytes:
    digest = hashlib.sha256()
    while block := stream.read(_BLOCK):
        digest.update(block)
    return digest.digest()[:_DIGEST_BYTES]
