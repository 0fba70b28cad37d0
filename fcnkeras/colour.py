"""Colours as networks are trained on them: 8-bit sRGB, whatever the file stores.

Colour profiles (ICC) are applied with the perceptual intent. A profile that is damaged, or made for
other pixels than the picture's (an RGB profile beside greys), is ignored, and so is one that turns
no colour by more than `SAME_COLOUR` levels: the pixels are then taken for sRGB. CMYK without a
usable profile becomes RGB by Pillow's plain formula, (255 - ink) * (255 - black) / 255.
"""

import io
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms

SAME_COLOUR = 2
"""Up to how many of 256 levels a colour profile may differ from sRGB to be taken for it."""

_BACKGROUND = (255, 255, 255)
_BITS_PER_SAMPLE, _PHOTOMETRIC, _MIN_IS_WHITE = 258, 262, 0  # of TIFF
_GREYS = np.arange(256, dtype=np.uint8).reshape(1, 256, 1)
# Applied by the conversion, so no longer true of its result.
_APPLIED = ("icc_profile", "transparency")


def to_rgb(image: Image.Image) -> Image.Image:
    """Returns the picture as 8-bit sRGB, mode "RGB", transparency composited on white."""
    plain = _srgb(image)
    if plain.mode == "RGBA":
        flat = Image.new("RGB", plain.size, _BACKGROUND)
        flat.paste(plain, mask=plain.getchannel("A"))
        plain = flat
    return _noted(plain if plain.mode == "RGB" else plain.convert("RGB"), image)


def to_rgba(image: Image.Image) -> Image.Image:
    """Returns the picture as 8-bit sRGB with its transparency, mode "RGBA"."""
    plain = _srgb(image)
    return _noted(plain if plain.mode == "RGBA" else plain.convert("RGBA"), image)


def to_grey(image: Image.Image) -> Image.Image:
    """Returns the picture as Keras' "grayscale": mode "L", or "I;16" and "I" as they are."""
    if image.mode in ("I;16", "I"):
        return image
    if image.mode == "L":  # here Keras knows of no transparency
        return _managed(image, _profile(image))
    return to_rgb(image).convert("L")


def _noted(result: Image.Image, image: Image.Image) -> Image.Image:
    if result is not image:
        result.info = {key: value for key, value in image.info.items() if key not in _APPLIED}
    return result


def _profile(image: Image.Image) -> bytes:
    profile = image.info.get("icc_profile")
    return profile if isinstance(profile, bytes) else b""


def _srgb(image: Image.Image) -> Image.Image:
    """The picture in mode "L", "RGB" or "RGBA", or "CMYK" if no profile could be applied."""
    if image.mode == "LAB":
        return _lab_transform().apply(image)
    managed = _managed(_plain(image), _profile(image))
    return managed.convert("RGBA") if managed.mode == "LA" else managed


def _managed(image: Image.Image, profile: bytes) -> Image.Image:
    if image.mode in ("L", "LA"):
        table = _grey_table(profile)
        if table is None:
            return image
        return image.point(table if image.mode == "L" else [*table, *range(256)])
    transform = _transform(profile, image.mode)
    return image if transform is None else transform.apply(image)


def _plain(image: Image.Image) -> Image.Image:
    """The picture in mode "L", "LA", "RGB", "RGBA" or "CMYK", its colours not yet managed."""
    mode = image.mode
    if mode.startswith("I;16") or mode in ("I", "F"):
        return _scaled_grey(image)
    if mode in ("LA", "RGBA", "CMYK"):
        return image
    if mode in ("1", "L", "La"):
        clear = mode == "La" or "transparency" in image.info
        return image.convert("LA" if clear else "L") if clear or mode != "L" else image
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image if mode == "RGB" else image.convert("RGB")


def _scaled_grey(image: Image.Image) -> Image.Image:
    """Greys of 12, 16 or 32 bits as mode "L", or "LA" where one of them stands for transparent."""
    values = np.asarray(image)
    if image.mode.startswith("I;16"):
        tags: Any = getattr(image, "tag_v2", {})
        top = 4095 if tags.get(_BITS_PER_SAMPLE) == (12,) else 65535
        table = np.minimum((np.arange(65536) * 255 + top // 2) // top, 255).astype(np.uint8)
        if tags.get(_PHOTOMETRIC) == _MIN_IS_WHITE:  # Pillow reads these as they are stored
            table = 255 - table
        grey = table[values]
    else:
        grey = _stretched(values, (1.0, 255.0, 65535.0) if image.mode == "F" else (65535.0,))
    scaled = Image.fromarray(grey)
    key = image.info.get("transparency")
    if isinstance(key, int):
        scaled.putalpha(Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8)))
    return scaled


def _stretched(values: np.ndarray, ranges: tuple[float, ...]) -> np.ndarray:
    """(height, width) uint8, from the first range 0-top that holds the values, else their own."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    for top in ranges:
        if low >= 0 and high <= top:
            low, high = 0.0, top
            break
    with np.errstate(over="ignore", invalid="ignore"):
        levels = (values.astype(np.float32) - low) * (255.0 / ((high - low) or 1.0))
    return np.rint(np.clip(np.nan_to_num(levels), 0, 255)).astype(np.uint8)


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From a profile's colours to sRGB; None where there is nothing to do, or no way to do it."""
    transform = _built(profile, mode)
    if transform is None or mode == "CMYK":
        return transform
    steps = np.arange(0, 256, 17, dtype=np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    swatches = np.concatenate([_GREYS.repeat(3, axis=2), cube], axis=1)
    after = np.asarray(transform.apply(Image.fromarray(swatches).convert(mode)))
    return None if _same(after[..., :3], swatches) else transform


@lru_cache(maxsize=16)
def _grey_table(profile: bytes) -> list[int] | None:
    """What becomes of each of the 256 greys under a profile, None as in `_transform`."""
    # Left to itself, the library interpolates between a few greys, ten levels off in the dark.
    transform = _built(profile, "L", ImageCms.Flags.NOOPTIMIZE)
    if transform is None:
        return None
    after = np.asarray(transform.apply(Image.fromarray(_GREYS[..., 0])))[..., 1:2]
    return None if _same(after, _GREYS) else after.ravel().tolist()


def _built(
    profile: bytes, mode: str, flags: ImageCms.Flags = ImageCms.Flags.NONE
) -> ImageCms.ImageCmsTransform | None:
    if not profile:
        return None
    try:
        return ImageCms.ImageCmsTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            _srgb_profile(),
            mode,
            "RGBA" if mode == "RGBA" else "RGB",
            ImageCms.Intent.PERCEPTUAL,
            flags=flags,
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def _same(after: np.ndarray, before: np.ndarray) -> bool:
    return bool(np.abs(after.astype(np.int16) - before).max() <= SAME_COLOUR)


@lru_cache(maxsize=1)
def _srgb_profile() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@lru_cache(maxsize=1)
def _lab_transform() -> ImageCms.ImageCmsTransform:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    return ImageCms.ImageCmsTransform(lab, _srgb_profile(), "LAB", "RGB")
