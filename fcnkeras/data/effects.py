"""What a feeder loses of pictures, or adds to them, from their sizes alone."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fcnkeras.images import ImageError
from fcnkeras.placement import Placement, place


@dataclass(frozen=True)
class Effect:
    """What feeding does to one picture.

    Attributes:
        cropped: The share of the picture that is in no array.
        padded: The share of the arrays that is black padding.
        repeated: How much of the picture is shown again in further arrays, as a share of it.
        distortion: By how much one axis is scaled more than the other; 0 keeps the proportions.
        arrays: The number of arrays.
        pixels: Their pixels, all together.
        enlarged: 1 if the picture is enlarged along an axis, else 0.
    """

    cropped: float
    padded: float
    repeated: float
    distortion: float
    arrays: int
    pixels: int
    enlarged: int


def effect(feeder: str, width: int, height: int, size: int) -> Effect:
    """Tells what a feeder does to a picture of this size.

    Args:
        feeder: "squash", "crop", "pad", "multicrop" or "native".
        width: The width of the upright picture.
        height: Its height.
        size: What the feeder will be given.

    Returns:
        An `Effect`.

    Raises:
        ValueError: The name is unknown, or a length is not a positive int.
        ImageError: It would make too many pixels of the picture.

    Example:

    ```python
    effect("crop", 300, 100, 224).cropped  # 0.667: the middle third is left
    ```
    """
    placements = place(feeder, width, height, size)
    boxes = np.array([_seen(placement) for placement in placements])
    seen = float(np.prod(boxes[:, 1] - boxes[:, 0], axis=1).sum())
    # Boxes lie along one axis, so that together they are a rectangle if they leave no gap.
    shown = _length(boxes[:, :, 0]) * _length(boxes[:, :, 1])
    fed_width, fed_height = placements[0].fed_size
    pixels = len(placements) * fed_width * fed_height
    real = sum(_area(placement.content) for placement in placements)
    scale_x, scale_y = placements[0].scale
    return Effect(
        cropped=1 - shown / (width * height),
        padded=1 - real / pixels,
        repeated=(seen - shown) / (width * height),
        distortion=max(scale_x, scale_y) / min(scale_x, scale_y) - 1,
        arrays=len(placements),
        pixels=pixels,
        enlarged=int(max(scale_x, scale_y) > 1),
    )


def effects(feeder: str, sizes: Mapping[tuple[int, int], int], size: int) -> dict[str, Any]:
    """Sums up what a feeder does to a collection.

    Args:
        feeder: See `effect`.
        sizes: How many pictures have each (width, height).
        size: See `effect`.

    Returns:
        For each attribute of `Effect` the "mean" and "max" over the pictures, but for "enlarged"
        their number; and "refused", how many pictures would become too many pixels, which count
        for nothing else.
    """
    found, counts, refused = [], [], 0
    for (width, height), count in sizes.items():
        try:
            found.append(asdict(effect(feeder, width, height, size)))
        except ImageError:
            refused += count
        else:
            counts.append(count)
    told: dict[str, Any] = {}
    for key in Effect.__dataclass_fields__:
        values = [each[key] for each in found]
        if key == "enlarged":
            told[key] = int(np.dot(values, counts)) if values else 0
        elif values:
            told[key] = {"mean": float(np.average(values, weights=counts)), "max": max(values)}
        else:
            told[key] = {"mean": None, "max": None}
    return {**told, "refused": refused}


def _seen(placement: Placement) -> np.ndarray:
    """The corners of what one array shows, in pixels of the original: (2, 2) of (x, y)."""
    left, top, right, bottom = placement.content
    corners = placement.to_original([(left, top), (right, bottom)])
    return np.clip(corners, 0, placement.original_size)


def _length(intervals: np.ndarray) -> float:
    """How much (intervals, 2) cover together."""
    covered, reached = 0.0, 0.0
    for start, end in sorted(intervals.tolist()):
        covered += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return covered


def _area(box: tuple[int, int, int, int]) -> int:
    left, top, right, bottom = box
    return (right - left) * (bottom - top)
