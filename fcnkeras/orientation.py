"""Which way up a picture is stored, and where in its stored pixels the picture lies."""

import dataclasses
import os
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PathLike = str | os.PathLike[str]

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
# Where files keep their orientation, once it has been applied.
_EXIF_KEYS = ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp")
_NOTE = "fcnkeras.extent"
# Pillow's readers meet damaged bytes with nearly every built-in error, so these are all "damaged".
READ_ERRORS = (
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


@dataclass(frozen=True)
class Extent:
    """Where the whole upright original lies in an opened picture, and where that came from.

    Attributes:
        original_size: (width, height) of the upright original.
        decoded_size: (width, height) of the decoded picture.
        box: (left, top, right, bottom) of the original in decoded pixels. A reduced JPEG whose
            sides do not divide by the scale has a last row or column that is only partly picture.
        orientation: The EXIF orientation, 1 to 8, in which the file stores the picture.
        path: The file; None for a picture that was made in memory.
    """

    original_size: tuple[int, int]
    decoded_size: tuple[int, int]
    box: tuple[float, float, float, float]
    orientation: int = 1
    path: PathLike | None = None


def extent(image: Image.Image) -> Extent:
    """Returns the `Extent` of a picture: what was noted, if it is still true, else its own size."""
    known = image.info.get(_NOTE)
    # Pillow copies `info` into crops and resized copies, for which the note is no longer true.
    if isinstance(known, Extent) and known.decoded_size == image.size:
        return known
    path = getattr(image, "filename", None) or None
    return Extent(image.size, image.size, (0, 0, *image.size), path=path)


def annotate(image: Image.Image, known: Extent) -> None:
    """Notes what `extent` shall tell of a picture."""
    image.info[_NOTE] = known


def load(image: Image.Image) -> None:
    """Decodes a picture, and keeps in mind how a TIFF was stored: Pillow turns those by itself."""
    stored = orientation(image) if image.format == "TIFF" else 1
    image.load()
    if stored != 1:
        annotate(image, dataclasses.replace(extent(image), orientation=stored))


def upright(image: Image.Image) -> Image.Image:
    """Returns the picture turned and mirrored as its EXIF orientation asks."""
    load(image)
    return turned(image, orientation(image))


def orientation(image: Image.Image, *, header_only: bool = False) -> int:
    """Returns the EXIF orientation of a picture, 1 to 8; 1, upright, where it names none.

    To look for one behind the pixels a PNG is decoded, unless `header_only`.
    """
    try:
        exif = Image.Image.getexif(image) if header_only else image.getexif()
        value = exif.get(_ORIENTATION_TAG, 1)
    except READ_ERRORS:
        return 1  # damaged metadata beside a sound picture: show it as it is stored
    return value if isinstance(value, int) and value in _TO_UPRIGHT else 1


def turned(image: Image.Image, orientation: int) -> Image.Image:
    """Returns the picture turned upright from this orientation, its `Extent` too."""
    if orientation == 1:
        return image
    known = extent(image)
    result = image.transpose(_TO_UPRIGHT[orientation])
    result.info = {key: value for key, value in image.info.items() if key not in _EXIF_KEYS}
    corners = to_upright(np.reshape(known.box, (2, 2)), orientation, result.size)
    (left, top), (right, bottom) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    size = known.original_size[::-1] if orientation >= 5 else known.original_size
    box = (left, top, right, bottom)
    annotate(result, Extent(size, result.size, box, orientation, known.path))
    return result


def to_upright(
    points: NDArray[np.float64], orientation: int, size: tuple[int, int]
) -> NDArray[np.float64]:
    """Maps points (..., 2) of (x, y) in a picture as stored to the upright one of `size`."""
    across = points[..., ::-1] if orientation >= 5 else points
    return _mirrored(across, orientation, size)


def to_stored(
    points: NDArray[np.float64], orientation: int, size: tuple[int, int]
) -> NDArray[np.float64]:
    """Maps points (..., 2) of (x, y) in the upright picture of `size` to the one as stored."""
    mirrored = _mirrored(points, orientation, size)
    return mirrored[..., ::-1] if orientation >= 5 else mirrored


def _mirrored(
    points: NDArray[np.float64], orientation: int, size: tuple[int, int]
) -> NDArray[np.float64]:
    against = [orientation in (2, 3, 6, 7), orientation in (3, 4, 7, 8)]
    return np.where(against, np.asarray(size) - points, points)
