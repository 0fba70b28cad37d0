"""Open pictures safely: upright, 8-bit sRGB, and one clear error for whatever cannot be read.

Every format that Pillow decodes by itself is read. PostScript is refused, because reading it would
run another program on the file, and so is IPTC, which may hold PostScript. What becomes of colours
is told in `fcnkeras.colour`.

Damage is noticed where a format can tell: by Pillow's decoders, and by the checksums of PNG. A JPEG
has no checksums, so that a few flipped bits may decode to a picture of the right size with a fault
in it.
"""

import errno
import io
import os
import re
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Literal, cast

from PIL import Image, ImageFile, TiffImagePlugin

from fcnkeras.checks import RefusedError, check_scans, check_sums
from fcnkeras.colour import to_grey, to_rgb, to_rgba
from fcnkeras.orientation import (
    READ_ERRORS,
    Extent,
    PathLike,
    annotate,
    extent,
    load,
    orientation,
    turned,
)
from fcnkeras.orientation import upright as upright

Source = PathLike | BinaryIO
Least = int | tuple[int, int]
ColorMode = Literal["rgb", "rgba", "grayscale"]

MAX_PIXELS = 200_000_000
"""Pictures that declare more pixels are refused unless a call says otherwise; may be set anew."""

# fmt: off
PICTURE_SUFFIXES = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".tif", ".tiff", ".webp", ".bmp",
    ".dib", ".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".jp2", ".j2k", ".avif", ".avifs",
))
# fmt: on
"""The file name endings, in lower case, that `is_picture_name` takes for pictures."""

_STREAM = "<stream>"
_ICON_START = b"\0\0\1\0"
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257


class ImageError(ValueError):
    """A picture that cannot be read.

    Attributes:
        path: The file, as it was given.
        reason: Why it cannot be read, in words.
    """

    def __init__(self, path: PathLike, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"cannot read {os.fspath(self.path)}: {self.reason}"


@dataclass(frozen=True)
class Header:
    """What a file declares of its picture.

    Attributes:
        size: (width, height) of the upright picture.
        format: Pillow's name of the format, such as "JPEG".
        mode: Pillow's name of the pixels as they are stored, such as "CMYK".
    """

    size: tuple[int, int]
    format: str
    mode: str


def is_picture_name(path: PathLike) -> bool:
    """Tells by the ending of its name whether a file should be a picture."""
    # Asked for every file of large collections, for which `Path` is slow.
    return os.path.splitext(path)[1].lower() in PICTURE_SUFFIXES  # noqa: PTH122


def open_picture(
    path: Source, *, least: Least | None = None, max_pixels: int | None = None
) -> Image.Image:
    """Opens a picture as upright 8-bit sRGB.

    EXIF orientation is applied. Transparency is composited on white, as a page would show it.
    Palettes, greys and CMYK are converted, and colour profiles applied; see `fcnkeras.colour`. Of
    16-bit colours the high byte is kept. Greys of 16 or 32 bits are scaled, not clipped: 16 bits
    from 0-65535; 32-bit integers and floats from the narrowest of the ranges in use (0-1 and 0-255
    for floats, 0-65535) that holds them, else from their own least and greatest value. Of an
    animation the first frame is read.

    Args:
        path: A file, or a binary stream that can seek.
        least: The size that the caller will resize to, (width, height) as displayed, or the length
            of the short side. A JPEG is then decoded at 1/2, 1/4 or 1/8 scale where that leaves
            at least twice this size; the feeders still know the original size. `None` decodes all.
        max_pixels: Pictures that declare more pixels are refused before anything is decoded. By
            default `MAX_PIXELS`.

    Returns:
        A PIL image of mode "RGB".

    Raises:
        ImageError: The file is missing, empty, damaged, truncated, too large or not a picture.
        ValueError: `least` or `max_pixels` is not positive.

    Example:

    ```python
    picture = open_picture("scan.jpg", least=336)
    fed = feeders.native(picture, 336)
    ```
    """
    return decode(path, least=least, max_pixels=max_pixels)


def decode(
    source: Source,
    color_mode: ColorMode = "rgb",
    *,
    least: Least | None = None,
    max_pixels: int | None = None,
) -> Image.Image:
    """Opens a picture as `open_picture` does, in another colour mode.

    Args:
        source: A file, or a binary stream that can seek.
        color_mode: "rgb"; "rgba", which keeps transparency; or "grayscale", which gives mode "L"
            and leaves greys of 16 and 32 bits ("I;16", "I") as they are, as Keras does.
        least, max_pixels: See `open_picture`, also for what is raised.

    Returns:
        An upright PIL image.
    """
    if color_mode not in _CONVERTERS:
        raise ValueError(f"color_mode must be one of {list(_CONVERTERS)}, got {color_mode!r}")
    limit = _checked_limit(max_pixels)
    wanted = _wanted_size(least)
    path = None if isinstance(source, io.IOBase) else cast(PathLike, source)
    with _told(path), _opened(source) as stream, _pillow_silenced():
        stored = _load(_open_header(stream, limit), stream, wanted)
        _check_size(stored.size, limit)  # an icon may hold another size than it declares
        known = replace(extent(stored), path=path)
        image = _CONVERTERS[color_mode](stored)
        turn = orientation(stored)
        # What was applied must not be applied again, by the feeders for example.
        image.info.clear()
        annotate(image, known)
        return turned(image, turn)


def read_header(path: PathLike, *, max_pixels: int | None = None) -> Header:
    """Reads what a file declares of its picture, and decodes no pixels.

    Damage to the pixels goes unnoticed, and so does an orientation behind the pixels of a PNG.

    Args:
        path: A file.
        max_pixels: See `open_picture`.

    Returns:
        A `Header`.

    Raises:
        ImageError: The file is missing, empty, too large, not a picture, or damaged in its header.
    """
    limit = _checked_limit(max_pixels)
    with _told(path), _opened(path) as stream, _pillow_silenced():
        image = _open_header(stream, limit)
        size = image.size
        if isinstance(image, TiffImagePlugin.TiffImageFile):  # of which some are turned already
            size = image.tag_v2[_TIFF_WIDTH], image.tag_v2[_TIFF_HEIGHT]
        turns = orientation(image, header_only=True) >= 5
        return Header(size[::-1] if turns else size, str(image.format), image.mode)


def probe(path: Source, *, max_pixels: int | None = None) -> tuple[int, int]:
    """Decodes a picture as cheaply as its format allows, and tells its size.

    Args:
        path: A file, or a binary stream that can seek.
        max_pixels: See `open_picture`.

    Returns:
        (width, height) of the upright picture.

    Raises:
        ImageError: The picture cannot be read to its end.
    """
    return extent(open_picture(path, least=1, max_pixels=max_pixels)).original_size


@contextmanager
def open_file(path: PathLike) -> Iterator[BinaryIO]:
    """Opens a file that may be a picture, for its bytes and then for `open_picture`.

    Raises:
        ImageError: It is missing, empty, no regular file, or cannot be opened.
    """
    with ExitStack() as stack:
        with _told(path):
            stream = stack.enter_context(_opened(path))
        yield stream


_CONVERTERS = {"rgb": to_rgb, "rgba": to_rgba, "grayscale": to_grey}


@contextmanager
def _told(path: PathLike | None) -> Iterator[None]:
    """Turns whatever reading a file may raise into an `ImageError` that names it."""
    try:
        yield
    except MemoryError as error:
        reason = "it needs more memory than there is"
        raise ImageError(_STREAM if path is None else path, reason) from error
    except READ_ERRORS as error:
        raise ImageError(_STREAM if path is None else path, _reason(error)) from error


def _checked_limit(max_pixels: int | None) -> int:
    limit = MAX_PIXELS if max_pixels is None else max_pixels
    if limit < 1:
        raise ValueError(f"max_pixels must be at least 1, got {limit!r}")
    return limit


def _wanted_size(least: Least | None) -> tuple[int, int] | None:
    if least is None:
        return None
    sides = least if isinstance(least, tuple) else (least, least)
    if len(sides) != 2 or not all(isinstance(side, int) and side >= 1 for side in sides):
        raise ValueError(
            f"least must be a positive int or a (width, height) pair of them, got {least!r}"
        )
    return sides[0], sides[1]


@contextmanager
def _opened(source: Source) -> Iterator[BinaryIO]:
    if isinstance(source, io.IOBase):
        stream = cast(BinaryIO, source)
        stream.seek(0)
        yield stream
        return
    path = Path(cast(PathLike, source))
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise RefusedError("it is a folder, not a picture")
    if not stat.S_ISREG(status.st_mode):  # a pipe or a device could block or never end
        raise RefusedError("it is not a regular file")
    if status.st_size == 0:
        raise RefusedError("the file is empty")
    # Not by name, as Pillow would map the file into memory: if it is cut off meanwhile, that kills
    # the process, and a TIFF that lies on its side is turned wrongly.
    with path.open("rb") as stream:
        yield stream


_limit_lock = threading.Lock()


def _open_header(stream: BinaryIO, max_pixels: int) -> ImageFile.ImageFile:
    try:
        image = Image.open(stream)
    except Image.DecompressionBombError:
        stream.seek(0)
        if stream.read(4) == _ICON_START:  # opening it would decode what is inside
            raise
        # Above Pillow's own limit. Ours may be higher, so read the header without Pillow's.
        with _limit_lock:
            pillows_limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                stream.seek(0)
                image = Image.open(stream)
            finally:
                Image.MAX_IMAGE_PIXELS = pillows_limit
    _check_size(image.size, max_pixels)
    if image.format in ("EPS", "IPTC"):
        raise RefusedError(
            f"{image.format} is not read, as PostScript in it would run another program"
        )
    return image


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise RefusedError(f"it declares {width} x {height} pixels")
    if width * height > max_pixels:
        raise RefusedError(
            f"it declares {width} x {height} pixels, "
            f"more than the limit of {max_pixels:,} (max_pixels)"
        )


def _load(
    image: ImageFile.ImageFile, stream: BinaryIO, wanted: tuple[int, int] | None
) -> Image.Image:
    """Decodes the pixels, at a reduced scale that leaves twice the wanted size where it can."""
    original_size = image.size
    drafted = None
    if image.format in ("JPEG", "MPO"):
        if image.info.get("progressive"):
            check_scans(stream)
        if wanted is not None:
            width, height = wanted[::-1] if orientation(image) >= 5 else wanted
            drafted = image.draft(None, (2 * width, 2 * height))
    elif image.format == "PNG":
        check_sums(stream)
        key = image.info.get("transparency")
        if isinstance(key, tuple) and [tile.args for tile in image.tile] == ["RGB;16B"]:
            # Pillow keeps the high byte of each colour, but all of the one that is transparent.
            image.info["transparency"] = tuple(value >> 8 for value in key)
    load(image)
    if drafted is not None and image.size != original_size:
        annotate(image, Extent(original_size, image.size, drafted[1]))
    return image


# One entry of `warnings.filters`.
_silence = ("ignore", None, Warning, re.compile(r"PIL\."), 0)
_silence_lock = threading.Lock()
_silent_readers = 0


@contextmanager
def _pillow_silenced() -> Iterator[None]:
    """Keeps Pillow's warnings about odd files from the user while any thread reads a picture.

    `warnings.catch_warnings` swaps the filters of the whole process, so that two threads that
    overlap can leave them wrong for good; this adds one filter and takes just that one away.
    """
    global _silent_readers
    filters = cast(list[object], warnings.filters)
    with _silence_lock:
        _silent_readers += 1
        if _silence not in filters:
            filters.insert(0, _silence)
    try:
        yield
    finally:
        with _silence_lock:
            _silent_readers -= 1
            # Read again: it may be another list by now.
            filters = cast(list[object], warnings.filters)
            if _silent_readers == 0 and _silence in filters:
                filters.remove(_silence)


def _reason(error: BaseException) -> str:
    if isinstance(error, RefusedError):
        return str(error)
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, Image.UnidentifiedImageError):
        return "it is not a picture, or its beginning is damaged"
    if isinstance(error, Image.DecompressionBombError):
        return "it declares more pixels than the limit"
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
        return (error.strerror or "it cannot be opened").lower()
    if "truncated" in str(error).lower():
        return "the file is truncated"
    return f"its data are damaged ({str(error) or type(error).__name__})"
