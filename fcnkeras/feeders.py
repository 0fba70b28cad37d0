"""Feeders: from a picture of any shape to the arrays that a network is fed, and back.

| name      | what the network sees                                                              |
|-----------|------------------------------------------------------------------------------------|
| squash    | the whole picture, bent to the box                                                 |
| crop      | the middle: the short side fills the box, what sticks out of the long side is lost |
| pad       | the whole picture, its long side fills the box, black around it                    |
| multicrop | the whole picture, in boxes along its long side                                    |
| native    | the whole picture at its own proportions: the short side has the given length      |

Where the arrays lie in the picture, and in which coordinates: `fcnkeras.placement`.

Pictures are resampled once, from the original, with Pillow's bicubic filter widened to the
reduction (antialiasing). Small pictures are enlarged.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fcnkeras.colour import to_rgb
from fcnkeras.orientation import extent, upright
from fcnkeras.placement import Placement, Size, check_name, place
from fcnkeras.placement import fed_shape as fed_shape

RESAMPLING = Image.Resampling.BICUBIC
# A reduction of six times and more first averages whole pixels down to three times the target:
# several times faster, and the difference stays within about a grey level.
_REDUCING_GAP = 3.0


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


def squash(image: Image.Image, size: Size, *, max_pixels: int | None = None) -> Fed:
    """Resizes the picture to the box, whatever its proportions.

    Args:
        image: A PIL image. EXIF orientation is applied and transparency composited on white.
        size: The side of the square, or the (height, width) of the box.
        max_pixels: The most pixels to feed, over all crops. By default `placement.MAX_FED_PIXELS`.

    Returns:
        One array (1, height, width, 3), all of it real pixels.

    Raises:
        ValueError: `size` is not a positive int or a pair of them.
        TypeError: `image` is not a PIL image.
        ImageError: More than `max_pixels` would be fed.
    """
    return _feed("squash", image, size, max_pixels)


def center_crop(image: Image.Image, size: Size, *, max_pixels: int | None = None) -> Fed:
    """Cuts out the largest region with the box's proportions, centred, and resizes it to the box.

    The region is cut to fractions of a pixel, so that both axes have exactly the same scale.
    Arguments, result and errors are those of `squash`.
    """
    return _feed("crop", image, size, max_pixels)


def pad(image: Image.Image, size: Size, *, max_pixels: int | None = None) -> Fed:
    """Resizes the picture to fit into the box, centred on black.

    The other side is rounded to the nearest pixel, at least 1; a spare pixel of black goes to the
    right or to the bottom. `mask` tells the real pixels. Arguments and errors as in `squash`.
    """
    return _feed("pad", image, size, max_pixels)


def multi_crop(image: Image.Image, size: Size, *, max_pixels: int | None = None) -> Fed:
    """Cuts the picture into boxes along its longer axis, so that every pixel is in some box.

    The boxes have the scale of `center_crop`. A picture with exactly the box's proportions gives
    one, any other three, or as many as it takes to leave no gap (five for 4.2:1); they are evenly
    spread, the first flush with the start and the last with the end, so for a nearly square
    picture three nearly equal ones. Arguments and errors as in `squash`.

    Returns:
        (crops, height, width, 3), from left to right or from top to bottom.
    """
    return _feed("multicrop", image, size, max_pixels)


def native(image: Image.Image, size: int, *, max_pixels: int | None = None) -> Fed:
    """Resizes the picture to a short side of `size`, keeping its proportions.

    The long side is rounded up, so that neither side is short of its target.

    Args:
        image: A PIL image. EXIF orientation is applied and transparency composited on white.
        size: The length of the short side.
        max_pixels: The most pixels to feed. By default `placement.MAX_FED_PIXELS`.

    Returns:
        One array (1, height, width, 3), all of it real pixels.

    Raises:
        ValueError: `size` is not a positive int.
        TypeError: `image` is not a PIL image.
        ImageError: More than `max_pixels` would be fed: the picture is too long for its width.

    Example:

    ```python
    from PIL import Image
    fed = native(Image.new("RGB", (300, 200)), 224)
    fed.arrays.shape  # (1, 224, 336, 3)
    fed.placements[0].to_original([336, 224])  # [300., 200.]
    ```
    """
    return _feed("native", image, size, max_pixels)


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
    check_name(name)
    return FEEDERS[name]


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
    known = extent(image)
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


def _feed(name: str, image: Image.Image, size: Size, max_pixels: int | None) -> Fed:
    if not isinstance(image, Image.Image):
        raise TypeError(f"a feeder takes a PIL image, got {type(image).__name__}")
    image = upright(image)
    known = extent(image)
    placements = tuple(
        replace(placement, orientation=known.orientation)
        for placement in place(
            name, *known.original_size, size, max_pixels=max_pixels, path=known.path
        )
    )
    image = to_rgb(image)
    arrays = np.stack([np.asarray(render(image, placement)) for placement in placements])
    mask = np.zeros(arrays.shape[:3], dtype=np.bool_)
    for crop, placement in zip(mask, placements, strict=True):
        left, top, right, bottom = placement.content
        crop[top:bottom, left:right] = True
    return Fed(arrays, mask, placements)
