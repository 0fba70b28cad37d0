"""Open pictures safely: upright, 8 bits a channel, and one clear error for whatever cannot be read.

Every format that Pillow decodes by itself is read. PostScript is refused, because reading it would
run another program on the file. Colour profiles are not applied.
"""

import io
import os
import re
import stat
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, cast

import numpy as np
from PIL import Image

PathLike = str | os.PathLike[str]
Source = PathLike | BinaryIO
Least = int | tuple[int, int]
ColorMode = Literal["rgb", "rgba", "grayscale"]

MAX_PIXELS = 200_000_000
# fmt: off
PICTURE_SUFFIXES = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".tif", ".tiff", ".webp", ".bmp",
    ".dib", ".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".jp2", ".j2k", ".avif", ".avifs",
))
# fmt: on
"""The file name endings, in lower case, that `is_picture_name` takes for pictures."""

_BACKGROUND = (255, 255, 255)
_ORIENTATION_TAG = 0x0112
_TO_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_EXTENT_KEY = "fcnkeras.extent"

# Pillow's readers meet damaged bytes with nearly every built-in error, so these are all "damaged".
_READ_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    AssertionError,
    EOFError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


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


class _RefusedError(ValueError):
    """A reason of our own not to read a file; the message is the reason."""


@dataclass(frozen=True)
class Extent:
    """Where the whole upright original lies in a picture that was decoded at a reduced scale.

    Attributes:
        original_size: (width, height) of the upright original.
        decoded_size: (width, height) of the decoded picture.
        box: (left, top, right, bottom) of the original in decoded pixels. A reduced JPEG whose
            sides do not divide by the scale has a last row or column that is only partly picture.
    """

    original_size: tuple[int, int]
    decoded_size: tuple[int, int]
    box: tuple[float, float, float, float]


def extent(image: Image.Image) -> Extent:
    """Returns the `Extent` of a picture: its own size unless `open_picture` reduced it."""
    known = image.info.get(_EXTENT_KEY)
    # Pillow copies `info` into crops and resized copies, for which the note is no longer true.
    if isinstance(known, Extent) and known.decoded_size == image.size:
        return known
    return Extent(image.size, image.size, (0, 0, *image.size))


def is_picture_name(path: PathLike) -> bool:
    """Tells by the ending of its name whether a file should be a picture."""
    return Path(path).suffix.lower() in PICTURE_SUFFIXES


def open_picture(
    path: Source, *, least: Least | None = None, max_pixels: int = MAX_PIXELS
) -> Image.Image:
    """Opens a picture as upright 8-bit RGB.

    EXIF orientation is applied. Transparency is composited on white, as a page would show it.
    Palettes, greys and CMYK are converted. Greys of 16 or 32 bits are scaled, not clipped: 16 bits
    from 0-65535; 32-bit integers and floats from the narrowest of the ranges in use (0-1 and 0-255
    for floats, 0-65535) that holds them, else from their own least and greatest value. Of an
    animation the first frame is read.

    Args:
        path: A file, or a binary stream that can seek.
        least: The size that the caller will resize to, (width, height) as displayed, or the length
            of the short side. A JPEG is then decoded at 1/2, 1/4 or 1/8 scale where that leaves
            at least twice this size; the feeders still know the original size. `None` decodes all.
        max_pixels: Pictures that declare more pixels are refused before anything is decoded.

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
    max_pixels: int = MAX_PIXELS,
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
    if max_pixels < 1:
        raise ValueError(f"max_pixels must be at least 1, got {max_pixels!r}")
    wanted = _wanted_size(least)
    path = "<stream>" if isinstance(source, io.IOBase) else cast(PathLike, source)
    try:
        with _opened(source) as stream, _pillow_silenced():
            image = _open_header(stream, max_pixels)
            image = upright(_load(image, wanted))
            kept = image.info.get(_EXTENT_KEY)
            image = _CONVERTERS[color_mode](image)
            # What was applied must not be applied again, by the feeders for example.
            image.info.clear()
            if kept is not None:
                image.info[_EXTENT_KEY] = kept
            return image
    except MemoryError as error:
        raise ImageError(path, "it needs more memory than there is") from error
    except _READ_ERRORS as error:
        raise ImageError(path, _reason(error)) from error


def probe(path: Source, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
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


def upright(image: Image.Image) -> Image.Image:
    """Returns the picture turned and mirrored as its EXIF orientation asks."""
    orientation = _orientation(image)
    if orientation == 1:
        return image
    turned = image.transpose(_TO_UPRIGHT[orientation])
    if _EXTENT_KEY in image.info:
        turned.info[_EXTENT_KEY] = _turned_extent(extent(image), orientation)
    return turned


def to_rgb(image: Image.Image) -> Image.Image:
    """Returns the picture as 8-bit RGB, transparency composited on white."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return _scaled_grey(image).convert("RGB")
    if image.has_transparency_data:
        layers = _to_rgba(image)
        flat = Image.new("RGB", image.size, _BACKGROUND)
        flat.paste(layers, mask=layers.getchannel("A"))
        return flat
    return image.convert("RGB")


def _to_rgba(image: Image.Image) -> Image.Image:
    if image.mode == "RGBA":
        return image
    if image.has_transparency_data:
        # Pillow has no direct way from a premultiplied grey.
        return (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    return to_rgb(image).convert("RGBA")


def _to_grey(image: Image.Image) -> Image.Image:
    return image if image.mode in ("L", "I;16", "I") else to_rgb(image).convert("L")


_CONVERTERS = {"rgb": to_rgb, "rgba": _to_rgba, "grayscale": _to_grey}


def _scaled_grey(image: Image.Image) -> Image.Image:
    values = np.nan_to_num(np.asarray(image, dtype=np.float32))
    low, high = float(values.min()), float(values.max())
    ranges = (1.0, 255.0, 65535.0) if image.mode == "F" else (65535.0,)
    for top in ranges:
        if low >= 0 and high <= top:
            low, high = 0.0, top
            break
    return Image.fromarray(np.rint((values - low) * (255.0 / (high - low))).astype(np.uint8))


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
        raise _RefusedError("it is a folder, not a picture")
    if not stat.S_ISREG(status.st_mode):  # a pipe or a device could block or never end
        raise _RefusedError("it is not a regular file")
    if status.st_size == 0:
        raise _RefusedError("the file is empty")
    with path.open("rb") as stream:
        yield stream


_limit_lock = threading.Lock()


def _open_header(stream: BinaryIO, max_pixels: int) -> Image.Image:
    try:
        image = Image.open(stream)
    except Image.DecompressionBombError:
        # Above Pillow's own limit. Ours may be higher, so read the header without Pillow's.
        with _limit_lock:
            pillows_limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                stream.seek(0)
                image = Image.open(stream)
            finally:
                Image.MAX_IMAGE_PIXELS = pillows_limit
    width, height = image.size
    if width * height > max_pixels:
        raise _RefusedError(
            f"it declares {width} x {height} pixels, more than the limit of {max_pixels:,}"
        )
    if image.format == "EPS":
        raise _RefusedError("PostScript is not read, as that would run another program")
    return image


def _load(image: Image.Image, wanted: tuple[int, int] | None) -> Image.Image:
    """Decodes the pixels, at a reduced scale that leaves twice the wanted size where it can."""
    original_size = image.size
    drafted = None
    if wanted is not None and image.format in ("JPEG", "MPO"):
        width, height = wanted[::-1] if _orientation(image) >= 5 else wanted
        drafted = image.draft(None, (2 * width, 2 * height))
    image.load()
    if drafted is not None and image.size != original_size:
        image.info[_EXTENT_KEY] = Extent(original_size, image.size, drafted[1])
    return image


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except _READ_ERRORS:
        return 1  # damaged metadata beside a sound picture: show it as it is stored
    return value if isinstance(value, int) and value in _TO_UPRIGHT else 1


def _turned_extent(stored: Extent, orientation: int) -> Extent:
    (original_width, original_height), (width, height) = stored.original_size, stored.decoded_size
    left, top, right, bottom = stored.box
    if orientation >= 5:
        original_width, original_height = original_height, original_width
        width, height = height, width
        left, top, right, bottom = top, left, bottom, right
    if orientation in (2, 3, 6, 7):
        left, right = width - right, width - left
    if orientation in (3, 4, 7, 8):
        top, bottom = height - bottom, height - top
    return Extent((original_width, original_height), (width, height), (left, top, right, bottom))


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
    if isinstance(error, _RefusedError):
        return str(error)
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, Image.UnidentifiedImageError):
        return "it is not a picture, or its beginning is damaged"
    if isinstance(error, Image.DecompressionBombError):
        return "it declares more pixels than the limit"
    if isinstance(error, OSError) and error.errno is not None:
        return (error.strerror or "it cannot be opened").lower()
    if "truncated" in str(error).lower():
        return "the file is truncated"
    return f"its data are damaged ({str(error) or type(error).__name__})"
