"""Feeders: from a picture of any shape to the arrays that a network is fed, and back.

| name      | what the network sees                                                              |
|-----------|------------------------------------------------------------------------------------|
| squash    | the whole picture, bent to the box                                                 |
| crop      | the middle: the short side fills the box, what sticks out of the long side is lost |
| pad       | the whole picture, its long side fills the box, black around it                    |
| multicrop | the whole picture, in boxes along its long side                                    |
| native    | the whole picture at its own proportions: the short side has the given length      |

Coordinates are continuous (x, y) with pixel edges at whole numbers: the top left corner of a
picture is (0, 0), and the centre of the pixel in column i and row j is (i + 0.5, j + 0.5).

Pictures are resampled once, from the original, with Pillow's bicubic filter widened to the
reduction (antialiasing). Small pictures are enlarged.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from fcnkeras import images

Size = int | tuple[int, int]
"""The side of a square, or the (height, width) of a box."""

RESAMPLING = Image.Resampling.BICUBIC
# A reduction of six times and more first averages whole pixels down to three times the target:
# several times faster, and the difference stays within about a grey level.
_REDUCING_GAP = 3.0


@dataclass(frozen=True)
class Placement:
    """Where one fed array lies in the upright original picture.

    Attributes:
        original_size: (width, height) of the upright original.
        fed_size: (width, height) of the fed array.
        scale: Fed pixels per original pixel, (x, y).
        offset: Where the original's top left corner lies, (x, y) in fed pixels: positive where
            black was added before it, negative where it was cut off.
    """

    original_size: tuple[int, int]
    fed_size: tuple[int, int]
    scale: tuple[float, float]
    offset: tuple[float, float] = (0.0, 0.0)

    def to_fed(self, points: ArrayLike) -> NDArray[np.float64]:
        """Maps points (..., 2) of (x, y) in the original to the fed array."""
        return np.asarray(points, dtype=np.float64) * self.scale + self.offset

    def to_original(self, points: ArrayLike) -> NDArray[np.float64]:
        """Maps points (..., 2) of (x, y) in the fed array to the original."""
        return (np.asarray(points, dtype=np.float64) - self.offset) / self.scale

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


@dataclass(frozen=True, eq=False)
class Fed:
    """What a feeder gives for one picture.

    Attributes:
        arrays: (crops, height, width, 3) uint8, RGB, 0-255.
        mask: (crops, height, width) bool, True on the pixels of the picture, False on padding.
        placements: One `Placement` for each crop.
    """

    arrays: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    placements: tuple[Placement, ...]


Feeder = Callable[[Image.Image, int], Fed]


def squash(image: Image.Image, size: Size) -> Fed:
    """Resizes the picture to the box, whatever its proportions.

    Args:
        image: A PIL image. EXIF orientation is applied and transparency composited on white.
        size: The side of the square, or the (height, width) of the box.

    Returns:
        One array (1, height, width, 3), all of it real pixels.

    Raises:
        ValueError: `size` is not a positive int or a pair of them.
        TypeError: `image` is not a PIL image.
    """
    return _feed("squash", image, size)


def center_crop(image: Image.Image, size: Size) -> Fed:
    """Cuts out the largest region with the box's proportions, centred, and resizes it to the box.

    The region is cut to fractions of a pixel, so that both axes have exactly the same scale.
    Arguments, result and errors are those of `squash`.
    """
    return _feed("crop", image, size)


def pad(image: Image.Image, size: Size) -> Fed:
    """Resizes the picture to fit into the box, centred on black.

    The other side is rounded to the nearest pixel, at least 1; a spare pixel of black goes to the
    right or to the bottom. `mask` tells the real pixels. Arguments and errors as in `squash`.
    """
    return _feed("pad", image, size)


def multi_crop(image: Image.Image, size: Size) -> Fed:
    """Cuts the picture into boxes along its longer axis, so that every pixel is in some box.

    The boxes have the scale of `center_crop`. A picture with exactly the box's proportions gives
    one, any other three, or as many as it takes to leave no gap (five for 4.2:1); they are evenly
    spread, the first flush with the start and the last with the end, so for a nearly square
    picture three nearly equal ones. Arguments and errors as in `squash`.

    Returns:
        (crops, height, width, 3), from left to right or from top to bottom.
    """
    return _feed("multicrop", image, size)


def native(image: Image.Image, size: int) -> Fed:
    """Resizes the picture to a short side of `size`, keeping its proportions.

    The long side is rounded up, so that neither side is short of its target.

    Args:
        image: A PIL image. EXIF orientation is applied and transparency composited on white.
        size: The length of the short side.

    Returns:
        One array (1, height, width, 3), all of it real pixels.

    Raises:
        ValueError: `size` is not a positive int.
        TypeError: `image` is not a PIL image.

    Example:

    ```python
    from PIL import Image
    fed = native(Image.new("RGB", (300, 200)), 224)
    fed.arrays.shape  # (1, 224, 336, 3)
    fed.placements[0].to_original([336, 224])  # [300., 200.]
    ```
    """
    return _feed("native", image, size)


FEEDERS: dict[str, Feeder] = {
    "squash": squash,
    "crop": center_crop,
    "pad": pad,
    "multicrop": multi_crop,
    "native": native,
}
"""The feeders by the names that the command line and files use."""

MASKED = ("pad", "native")
"""Those whose arrays, or batches of arrays, may hold padding, so that the mask must go along."""


def get_feeder(name: str) -> Feeder:
    """Returns the feeder of that name; raises `ValueError` for an unknown one."""
    if name not in FEEDERS:
        raise ValueError(f"the feeder must be one of {', '.join(FEEDERS)}, got {name!r}")
    return FEEDERS[name]


def fed_shape(name: str, width: int, height: int, size: Size) -> tuple[int, int, int]:
    """Tells the shape that a feeder gives for a picture of this size, without reading it.

    Args:
        name: The feeder, a key of `FEEDERS`.
        width: The width of the upright picture.
        height: Its height.
        size: What the feeder will be given.

    Returns:
        (crops, height, width).

    Raises:
        ValueError: The name is unknown, or a length is not a positive int.

    Example:

    ```python
    fed_shape("multicrop", 1000, 200, 224)  # (5, 224, 224)
    ```
    """
    placements = place(name, width, height, size)
    fed_width, fed_height = placements[0].fed_size
    return len(placements), fed_height, fed_width


def place(name: str, width: int, height: int, size: Size) -> tuple[Placement, ...]:
    """Tells where the arrays lie that a feeder gives for a picture of this size.

    Arguments and errors are those of `fed_shape`.

    Returns:
        One `Placement` for each crop, in the feeder's order.
    """
    get_feeder(name)
    width, height = _check_length("width", width), _check_length("height", height)
    if name == "native":
        return _place_native(width, height, _check_length("size", size))
    sides = size if isinstance(size, tuple) else (size, size)
    if len(sides) != 2:
        raise ValueError(f"size must be a positive int or (height, width), got {size!r}")
    box_height, box_width = (_check_length("size", side) for side in sides)
    return _PLACERS[name](width, height, box_width, box_height)


def render(
    image: Image.Image, placement: Placement, resampling: Image.Resampling = RESAMPLING
) -> Image.Image:
    """Draws one fed picture.

    Args:
        image: The upright picture that `placement` was made for, in any mode that Pillow resizes.
        placement: What to draw, and where.
        resampling: Pillow's filter.

    Returns:
        A PIL image of the mode of `image` and of size `placement.fed_size`, black on the padding.
    """
    known = images.extent(image)
    left, top, right, bottom = placement.content
    corners = placement.to_original([(left, top), (right, bottom)])
    box_start = np.asarray(known.box[:2])
    box_end = np.asarray(known.box[2:])
    decoded = box_start + corners * (box_end - box_start) / known.original_size
    # Rounding errors of 1e-13 must not lead outside, where Pillow refuses to look.
    (x0, y0), (x1, y1) = np.clip(decoded, box_start, box_end).tolist()
    drawn = image.resize(
        (right - left, bottom - top),
        resampling,
        box=(x0, y0, x1, y1),
        # Pillow cannot average 16-bit pixels.
        reducing_gap=None if image.mode.startswith("I;16") else _REDUCING_GAP,
    )
    if drawn.size == placement.fed_size:
        return drawn
    canvas = Image.new(image.mode, placement.fed_size)
    canvas.paste(drawn, (left, top))
    return canvas


def _feed(name: str, image: Image.Image, size: Size) -> Fed:
    if not isinstance(image, Image.Image):
        raise TypeError(f"a feeder takes a PIL image, got {type(image).__name__}")
    image = images.to_rgb(images.upright(image))
    placements = place(name, *images.extent(image).original_size, size)
    arrays = np.stack([np.asarray(render(image, placement)) for placement in placements])
    mask = np.zeros(arrays.shape[:3], dtype=np.bool_)
    for crop, placement in zip(mask, placements, strict=True):
        left, top, right, bottom = placement.content
        crop[top:bottom, left:right] = True
    return Fed(arrays, mask, placements)


def _place_squash(width: int, height: int, box_width: int, box_height: int) -> tuple[Placement]:
    scale = (box_width / width, box_height / height)
    return (Placement((width, height), (box_width, box_height), scale),)


def _place_native(width: int, height: int, size: int) -> tuple[Placement]:
    if width <= height:
        return _place_squash(width, height, size, -(-size * height // width))
    return _place_squash(width, height, -(-size * width // height), size)


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
    # How many boxes long the picture is, as a fraction in whole numbers.
    across, along = sorted((width * box_height, height * box_width))
    count = 1 if across == along else max(3, -(-along // across))
    return _place_boxes(width, height, box_width, box_height, count)


_PLACERS: dict[str, Callable[[int, int, int, int], tuple[Placement, ...]]] = {
    "squash": _place_squash,
    "crop": _place_crop,
    "pad": _place_pad,
    "multicrop": _place_multi_crop,
}


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
