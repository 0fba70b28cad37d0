"""Pictures in the cloud: what a URL stands for, read through fsspec.

`s3://`, `gs://`, `az://`, `memory://` and whatever else fsspec and its packages know. Who may read
there is told by the environment, as these packages have it. fsspec is imported for a URL only.
"""

from __future__ import annotations

import glob
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fcnkeras.images import ImageError, is_picture_name

_URL = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]+://")
# What tells one version of a file from the next, by the names that the services give it.
_VERSION = ("ETag", "etag", "generation", "LastModified", "last_modified", "updated", "mtime")


def is_url(path: bytes) -> bool:
    """Whether a path is of the cloud: `<name>://...`, whatever files there are."""
    return _URL.match(path) is not None


def matches(url: bytes) -> list[bytes]:
    """The files and folders that a URL stands for, itself or as a pattern, in their order.

    Raises:
        ValueError: there is nothing, it cannot be read, or a package for it is not installed.
    """
    text = _text(url)
    try:
        files, path = _open(text)
        with _told(text):
            if files.exists(path):
                return [url]
            found = files.glob(path) if glob.has_magic(path) else []
            return sorted(files.unstrip_protocol(name).encode() for name in found)
    except ImageError as error:
        raise ValueError(f"{text} cannot be read: {error.reason}") from error


def list_url(url: bytes) -> Iterator[tuple[bytes, str | None]]:
    """The pictures of a file or folder, as `listing.list_pictures` gives those of a disk."""
    text = _text(url)
    try:
        files, path = _open(text)
        with _told(text):
            is_folder = files.isdir(path)
    except ImageError as error:
        yield url, error.reason
        return
    if is_folder:
        yield from _below(files, path.rstrip("/"))
    else:
        yield url, None


def stamp(url: bytes) -> tuple[int, int] | None:
    """(bytes, a number for the version) of a file; None if the service tells no version.

    Raises:
        ImageError: there is no such file, it is empty or a folder, or it cannot be asked for.
    """
    text = _text(url)
    files, path = _open(text)
    with _told(text):
        found = files.info(path)
    if found.get("type") == "directory":
        raise ImageError(text, "it is a folder, not a picture")
    size = found.get("size")
    if size == 0:
        raise ImageError(text, "the file is empty")
    # Of a file in memory no more is known.
    version = next((found[name] for name in (*_VERSION, "created") if found.get(name)), None)
    if size is None or version is None:
        return None
    digest = hashlib.blake2b(str(version).encode(), digest_size=8).digest()
    return int(size), int.from_bytes(digest, "big", signed=True)


def read(url: bytes) -> bytes:
    """All bytes of a file, at one moment.

    Raises:
        ImageError: it cannot be read.
    """
    text = _text(url)
    files, path = _open(text)
    with _told(text):
        return files.cat_file(path)


def _text(url: bytes) -> str:
    return url.decode("utf-8", "surrogateescape")


def _open(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path on it."""
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise ValueError(f'{url} needs the package fsspec: pip install "fcnkeras[ray]"') from error
    try:
        with _told(url):
            return url_to_fs(url)
    except ImageError as error:
        # A protocol that is unknown, or whose package is missing: true of all pictures there.
        if isinstance(error.__cause__, ImportError | ValueError):
            raise ValueError(f"{url} cannot be read: {error.reason}") from error
        raise


@contextmanager
def _told(url: str) -> Iterator[None]:
    """One reason in words for whatever a service raises."""
    try:
        yield
    except FileNotFoundError as error:
        raise ImageError(url, "no such file") from error
    except PermissionError as error:
        raise ImageError(url, "permission denied") from error
    # The clients of the services have exceptions of their own, of no common kind.
    except Exception as error:
        line = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise ImageError(url, line) from error


def _below(files: Any, folder: str) -> Iterator[tuple[bytes, str | None]]:
    try:
        with _told(folder):
            found = files.ls(folder, detail=True)
    except ImageError as error:
        place = files.unstrip_protocol(folder).encode("utf-8", "surrogateescape")
        yield place, f"the folder cannot be read ({error.reason})"
        return
    for each in sorted(found, key=lambda each: each["name"].encode("utf-8", "surrogateescape")):
        name = each["name"].rstrip("/")
        if name == folder:  # some services keep an empty file for the folder itself
            continue
        if each["type"] == "directory":
            yield from _below(files, name)
        elif is_picture_name(name):
            yield files.unstrip_protocol(name).encode("utf-8", "surrogateescape"), None
