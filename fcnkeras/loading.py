"""`load_img` as in Keras, with a process-wide choice of how pictures are brought to a size."""

import io
import os
from pathlib import Path
from typing import cast

from PIL import Image

from fcnkeras import feeders, images
from fcnkeras.images import ColorMode, Least, Source

_FEEDER_OF_KIND = {0: "squash", 1: "pad", 2: "pad", 3: "crop", 4: "multicrop"}
_RESAMPLING = {
    name: Image.Resampling[name.upper()]
    for name in ("nearest", "bilinear", "bicubic", "hamming", "box", "lanczos")
}

_kind = 0

Loaded = Image.Image | tuple[Image.Image, Image.Image] | list[Image.Image]


def set_load_img_type(kind: int) -> None:
    """Chooses, for the whole process, how `load_img` brings pictures to its `target_size`.

    Args:
        kind: 0, plain: resized to the size whatever the proportions, as Keras does. 1, pad: the
            whole picture, black around it. 2, pad with mask. 3, crop: the middle. 4, multi-crop:
            several crops that together show the whole picture.

    Raises:
        ValueError: `kind` is not one of these.
    """
    global _kind
    if isinstance(kind, bool) or kind not in _FEEDER_OF_KIND:
        raise ValueError(f"the load_img type must be 0, 1, 2, 3 or 4, got {kind!r}")
    _kind = kind


def load_img(
    path: Source | bytes,
    color_mode: ColorMode = "rgb",
    target_size: tuple[int | None, int | None] | None = None,
    interpolation: str | None = None,
    keep_aspect_ratio: bool = False,
    *,
    min_dimension: int | None = None,
) -> Loaded:
    """Loads a picture as `keras.utils.load_img` does, by the type that `set_load_img_type` chose.

    With type 0 the result is that of `keras.utils.load_img`, except that EXIF orientation is
    applied, colour profiles too, transparency is composited on white, 16-bit greys are scaled to 8
    bits and not clipped, and a picture that cannot be read raises `ImageError`.

    Args:
        path: A path, as str, bytes or `os.PathLike`, or an `io.BytesIO`.
        color_mode: "rgb", "rgba" or "grayscale".
        target_size: (height, width), brought about by the chosen type. With `None` for one of
            them, the other is exact, proportions are kept, and the first is rounded up.
        interpolation: "nearest", "bilinear", "bicubic", "lanczos", "box" or "hamming". By default
            "nearest" for type 0 with a full `target_size`, as in Keras, and else antialiased
            "bicubic".
        keep_aspect_ratio: For type 0 with a full `target_size`: crop the picture centrally to the
            target's proportions first. The other types keep the aspect ratio anyhow.
        min_dimension: Instead of `target_size`: the length of the short side; proportions are
            kept, the long side is rounded up.

    Returns:
        Types 0, 1 and 3: a PIL image. Type 2: (image, mask), the mask a PIL image of mode "L",
        255 on the picture and 0 on the padding. Type 4: a list of PIL images, from left to right
        or from top to bottom. Types 2 and 4 keep to this also where nothing is padded or cut.

    Raises:
        ImageError: The picture cannot be read, or the result would be absurdly large.
        ValueError: An argument is out of its range, or both `target_size` and `min_dimension` are
            given.
        TypeError: `path` is none of the kinds above.

    Example:

    ```python
    set_load_img_type(3)
    picture = load_img("test_image.jpg", target_size=(336, 336))
    ```
    """
    source = _source(path)
    if interpolation is not None and interpolation not in _RESAMPLING:
        raise ValueError(
            f"interpolation must be one of {', '.join(_RESAMPLING)}, got {interpolation!r}"
        )
    height, width = _sides(target_size, min_dimension)
    if target_size is None and min_dimension is None:
        return _as_kind([images.decode(source, color_mode)])
    if _kind == 0 and height is not None and width is not None:
        image = images.decode(source, color_mode)
        box = _central_box(image.size, (width, height)) if keep_aspect_ratio else None
        return image.resize((width, height), _RESAMPLING[interpolation or "nearest"], box)

    # A reduced JPEG is as good for the antialiased default, and for no other filter.
    least: Least = min_dimension if min_dimension is not None else (width or 1, height or 1)
    image = images.decode(source, color_mode, least=None if interpolation else least)
    known = images.extent(image)
    original_width, original_height = known.original_size
    name: str
    size: feeders.Size
    if min_dimension is not None:
        name, size = "native", min_dimension
    elif height is None or width is None:
        name = "squash"
        size = (
            height or -(-original_height * cast(int, width) // original_width),
            width or -(-original_width * cast(int, height) // original_height),
        )
    else:
        name, size = _FEEDER_OF_KIND[_kind], (height, width)
    placements = feeders.place(name, original_width, original_height, size, path=known.path)
    resampling = _RESAMPLING[interpolation or "bicubic"]
    drawn = [feeders.render(image, placement, resampling) for placement in placements]
    return _as_kind(drawn, placements[0])


def _source(path: Source | bytes) -> Source:
    if isinstance(path, bytes):
        return os.fsdecode(path)
    if isinstance(path, str | os.PathLike):
        return Path(path)
    if isinstance(path, io.BytesIO):
        return path
    raise TypeError(f"path must be a path or an io.BytesIO, got {type(path).__name__}")


def _sides(
    target_size: tuple[int | None, int | None] | None, min_dimension: int | None
) -> tuple[int | None, int | None]:
    """Checks the two ways to ask for a size; returns the target's (height, width)."""
    if target_size is not None and min_dimension is not None:
        raise ValueError(
            "target_size and min_dimension exclude each other, "
            f"got target_size={target_size!r} and min_dimension={min_dimension!r}"
        )
    if min_dimension is not None and not _is_length(min_dimension):
        raise ValueError(f"min_dimension must be a positive int, got {min_dimension!r}")
    if target_size is None:
        return None, None
    sides = tuple(target_size) if isinstance(target_size, tuple | list) else ()
    given = [side for side in sides if side is not None]
    if len(sides) != 2 or not given or not all(_is_length(side) for side in given):
        raise ValueError(
            "target_size must be (height, width), positive ints of which one may be None, "
            f"got {target_size!r}"
        )
    return sides


def _is_length(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _central_box(size: tuple[int, int], target: tuple[int, int]) -> tuple[int, int, int, int]:
    """The box that Keras crops to, in whole pixels, for `keep_aspect_ratio`."""
    width, height = size
    crop_width = max(1, min(width, height * target[0] // target[1]))
    crop_height = max(1, min(height, width * target[1] // target[0]))
    left, top = (width - crop_width) // 2, (height - crop_height) // 2
    return left, top, left + crop_width, top + crop_height


def _as_kind(drawn: list[Image.Image], placement: feeders.Placement | None = None) -> Loaded:
    if _kind == 4:
        return drawn
    (image,) = drawn
    if _kind != 2:
        return image
    mask = Image.new("L", image.size)
    mask.paste(255, placement.content if placement else (0, 0, *image.size))
    return image, mask
