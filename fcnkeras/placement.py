"""Where the arrays that a feeder gives lie in the picture: pure geometry, nothing is read.

Coordinates are continuous (x, y) with pixel edges at whole numbers: the top left corner of a
picture is (0, 0), and the centre of the pixel in column i and row j is (i + 0.5, j + 0.5).
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fcnkeras.images import ImageError
from fcnkeras.orientation import PathLike, to_stored, to_upright

Size = int | tuple[int, int]
"""The side of a square, or the (height, width) of a box."""

MAX_FED_PIXELS = 50_000_000
"""What would be fed in more pixels is refused unless a call says otherwise; may be set anew.

A strip of 1 x 20000 pixels fed by `native` at 336 would be 336 x 6,720,000: 6.8 GB of bytes.
"""


@dataclass(frozen=True)
class Placement:
    """Where one fed array lies in the upright original picture.

    Attributes:
        original_size: (width, height) of the upright original.
        fed_size: (width, height) of the fed array.
        scale: Fed pixels per original pixel, (x, y).
        offset: Where the original's top left corner lies, (x, y) in fed pixels: positive where
            black was added before it, negative where it was cut off.
        orientation: The EXIF orientation, 1 to 8, in which the file stores the original; 1 where
            it is stored upright, or no file is known.
    """

    original_size: tuple[int, int]
    fed_size: tuple[int, int]
    scale: tuple[float, float]
    offset: tuple[float, float] = (0.0, 0.0)
    orientation: int = 1

    def to_fed(self, points: ArrayLike, *, stored: bool = False) -> NDArray[np.float64]:
        """Maps points of the original to the fed array.

        Args:
            points: (..., 2) of (x, y).
            stored: The points are in the file's own pixels, not yet turned upright.

        Returns:
            (..., 2) float64. What was cut off lies outside the array.
        """
        original = np.asarray(points, dtype=np.float64)
        if stored:
            original = to_upright(original, self.orientation, self.original_size)
        return original * self.scale + self.offset

    def to_original(self, points: ArrayLike, *, stored: bool = False) -> NDArray[np.float64]:
        """Maps points of the fed array to the original.

        Args:
            points: (..., 2) of (x, y).
            stored: Return points in the file's own pixels, not turned upright.

        Returns:
            (..., 2) float64. What is padding lies outside the original.
        """
        original = (np.asarray(points, dtype=np.float64) - self.offset) / self.scale
        return to_stored(original, self.orientation, self.original_size) if stored else original

    @property
    def content(self) -> tuple[int, int, int, int]:
        """(left, top, right, bottom) of the real pixels in the fed array."""
        left, top = (max(0, round(start)) for start in self.offset)
        right, bottom = (
            min(fed, round(start + scale * side))
            for fed, start, scale, side in zip(
                self.fed_size, self.offset, self.scale, self.original_size, strict=True
            )
        )
        return left, top, right, bottom


def fed_shape(
    name: str,
    width: int,
    height: int,
    size: Size,
    *,
    max_pixels: int | None = None,
    path: PathLike | None = None,
) -> tuple[int, int, int]:
    """Tells the shape that a feeder gives for a picture of this size, without reading it.

    Args:
        name: The feeder: "squash", "crop", "pad", "multicrop" or "native".
        width: The width of the upright picture.
        height: Its height.
        size: What the feeder will be given.
        max_pixels: The same; by default `MAX_FED_PIXELS`.
        path: The file that an error shall name.

    Returns:
        (crops, height, width).

    Raises:
        ValueError: The name is unknown, or a length is not a positive int.
        ImageError: More than `max_pixels` would be fed.

    Example:

    ```python
    fed_shape("multicrop", 1000, 200, 224)  # (5, 224, 224)
    ```
    """
    placements = place(name, width, height, size, max_pixels=max_pixels, path=path)
    fed_width, fed_height = placements[0].fed_size
    return len(placements), fed_height, fed_width


def place(
    name: str,
    width: int,
    height: int,
    size: Size,
    *,
    max_pixels: int | None = None,
    path: PathLike | None = None,
) -> tuple[Placement, ...]:
    """Tells where the arrays lie that a feeder gives for a picture of this size.

    Arguments and errors are those of `fed_shape`.

    Returns:
        One `Placement` for each crop, in the feeder's order.
    """
    check_name(name)
    width, height = _check_length("width", width), _check_length("height", height)
    if name == "native":
        box_width, box_height = _native_box(width, height, _check_length("size", size))
        count = 1
    else:
        sides = size if isinstance(size, tuple) else (size, size)
        if len(sides) != 2:
            raise ValueError(f"size must be a positive int or (height, width), got {size!r}")
        box_height, box_width = (_check_length("size", side) for side in sides)
        count = _crops(width, height, box_width, box_height) if name == "multicrop" else 1
    limit = MAX_FED_PIXELS if max_pixels is None else _check_length("max_pixels", max_pixels)
    if count * box_width * box_height > limit:
        crops = f"{count} crops of " if count > 1 else ""
        raise ImageError(
            f"a picture of {width} x {height} pixels" if path is None else path,
            f"{name} would make {crops}{box_width} x {box_height} pixels of its "
            f"{width} x {height}, more than the limit of {limit:,} (max_pixels)",
        )
    return _PLACERS[name](width, height, box_width, box_height)


def _place_squash(width: int, height: int, box_width: int, box_height: int) -> tuple[Placement]:
    scale = (box_width / width, box_height / height)
    return (Placement((width, height), (box_width, box_height), scale),)


def _native_box(width: int, height: int, size: int) -> tuple[int, int]:
    if width <= height:
        return size, -(-size * height // width)
    return -(-size * width // height), size


def _place_pad(width: int, height: int, box_width: int, box_height: int) -> tuple[Placement]:
    drawn_width, drawn_height = box_width, box_height
    if width * box_height >= box_width * height:
        drawn_height = max(1, _rounded_ratio(height * box_width, width))
    else:
        drawn_width = max(1, _rounded_ratio(width * box_height, height))
    scale = (drawn_width / width, drawn_height / height)
    offset = ((box_width - drawn_width) // 2, (box_height - drawn_height) // 2)
    return (Placement((width, height), (box_width, box_height), scale, offset),)


def _place_boxes(
    width: int, height: int, box_width: int, box_height: int, count: int
) -> tuple[Placement, ...]:
    """Places `count` boxes evenly, flush with both ends; a single one in the middle."""
    scale = max(box_width / width, box_height / height)
    # How far the scaled picture sticks out of the box: 0 along one axis.
    excess_x = max(0.0, width * scale - box_width)
    excess_y = max(0.0, height * scale - box_height)
    starts = [0.5] if count == 1 else [index / (count - 1) for index in range(count)]
    return tuple(
        Placement(
            (width, height),
            (box_width, box_height),
            (scale, scale),
            (-start * excess_x, -start * excess_y),
        )
        for start in starts
    )


def _place_crop(width: int, height: int, box_width: int, box_height: int) -> tuple[Placement, ...]:
    return _place_boxes(width, height, box_width, box_height, 1)


def _place_multi_crop(
    width: int, height: int, box_width: int, box_height: int
) -> tuple[Placement, ...]:
    count = _crops(width, height, box_width, box_height)
    return _place_boxes(width, height, box_width, box_height, count)


def _crops(width: int, height: int, box_width: int, box_height: int) -> int:
    # How many boxes long the picture is, as a fraction in whole numbers.
    across, along = sorted((width * box_height, height * box_width))
    return 1 if across == along else max(3, -(-along // across))


_PLACERS: dict[str, Callable[[int, int, int, int], tuple[Placement, ...]]] = {
    "squash": _place_squash,
    "crop": _place_crop,
    "pad": _place_pad,
    "multicrop": _place_multi_crop,
    "native": _place_squash,
}


def check_name(name: str) -> None:
    """Raises `ValueError` for a name that is no feeder's."""
    if name not in _PLACERS:
        raise ValueError(f"the feeder must be one of {', '.join(_PLACERS)}, got {name!r}")


def _rounded_ratio(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)


def _check_length(what: str, value: object) -> int:
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = 0
    if isinstance(value, bool) or number < 1:
        raise ValueError(f"{what} must be a positive int, got {value!r}")
    return number
