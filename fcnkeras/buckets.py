"""Aspect buckets: the few shapes that the pictures of a collection are batched in.

Every shape costs a trace, and every picture that does not have its bucket's shape is padded or bent
to it. The shapes are chosen from the collection so that this is as little as it can be.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Costs = Callable[[int], NDArray[np.float64]]


@dataclass(frozen=True)
class Bucket:
    """The pictures that are batched in one shape.

    Attributes:
        crops, height, width: What one picture is in its batches.
        count: Pictures.
        batch: Pictures in a batch.
        padding: The share of the batches' pixels that are padding.
        distortion: By how much more the pictures are stretched along one axis than along the
            other, the mean: 0.1 is ten per cent.
        most_distorted: The same, of the picture for which it is most.
    """

    crops: int
    height: int
    width: int
    count: int
    batch: int
    padding: float
    distortion: float
    most_distorted: float

    @property
    def batches(self) -> int:
        """Batches in an epoch."""
        return -(-self.count // self.batch)


def choose_shapes(
    fed: NDArray[np.int64], most: int, distortion: float | None = None
) -> NDArray[np.int64]:
    """Gives every picture the shape of its bucket.

    Pictures next to each other by aspect share a bucket. Among all ways to cut the row of aspects
    into `most` pieces, the one is taken with the fewest padded pixels, or with the least mean
    square of the logarithm of the distortion.

    Args:
        fed: (pictures, 2), the (height, width) of each at its own proportions, short sides equal.
        most: The most shapes.
        distortion: `None`: a bucket is as high and as wide as the largest of its pictures, which
            are padded to it. A number: its pictures are resized to it, and for none the scales
            along the axes differ by more than this share, but for the rounding to whole pixels.

    Returns:
        (pictures, 2), the (height, width) of the bucket.

    Raises:
        ValueError: `most` is below 1, `distortion` is not above 0, or so many shapes do not do.

    Example:

    ```python
    choose_shapes(np.array([[224, 224], [224, 250], [224, 400]]), 2)  # 224x250 twice, 224x400
    ```
    """
    if most < 1:
        raise ValueError(f"there must be at least 1 shape, got {most}")
    if distortion is not None and not distortion > 0:
        raise ValueError(f"distortion must be above 0, or None to pad, got {distortion}")
    short = int(fed.min())
    # From the highest to the widest; the heights fall and the widths rise.
    along, place, counts = np.unique(fed[:, 1] - fed[:, 0], return_inverse=True, return_counts=True)
    heights, widths = short + np.maximum(-along, 0), short + np.maximum(along, 0)
    aspects = np.log(widths / heights)
    if distortion is None:
        starts = cut(_padded_pixels(heights, widths, counts), len(along), most)
    else:
        reach = math.log1p(distortion)
        starts = cut(_bending(aspects, counts, reach), len(along), most)
        if not starts:
            raise ValueError(
                f"with at most {most} shapes some picture is bent by more than {distortion:g}: "
                f"raise distortion, or take at least {_fewest(aspects, reach)} shapes"
            )
    shapes = np.empty((len(along), 2), np.int64)
    for start, end in zip(starts, [*starts[1:], len(along)], strict=True):
        if distortion is None:
            shapes[start:end] = heights[start], widths[end - 1]
        else:
            piece = slice(start, end)
            middle = np.average(aspects[piece], weights=counts[piece])
            middle = np.clip(middle, aspects[end - 1] - reach, aspects[start] + reach)
            shapes[piece] = (
                round(short * math.exp(max(-middle, 0))),
                round(short * math.exp(max(middle, 0))),
            )
    return shapes[place]


def cut(costs: Costs, length: int, most: int) -> list[int]:
    """Cuts a row into at most `most` pieces so that the sum of their costs is least.

    Dynamic programming: the best cut of the first items into k pieces is a last piece and the best
    cut of what is before it into k - 1.

    Args:
        costs: `costs(end)` gives the cost of the piece from each start 0 ... end up to and with
            item `end`; infinite where that may not be.
        length: Items in the row.
        most: The most pieces.

    Returns:
        Where the pieces start; nothing where every cut costs infinitely much.
    """
    most = min(most, length)
    best = np.full((most + 1, length + 1), np.inf)  # of so many pieces, up to before an item
    best[0, 0] = 0
    last = np.zeros((most + 1, length + 1), np.int64)
    for end in range(length):
        sums = best[:-1, : end + 1] + costs(end)
        last[1:, end + 1] = sums.argmin(axis=1)
        best[1:, end + 1] = sums.min(axis=1)
    pieces = int(best[:, length].argmin())
    if not np.isfinite(best[pieces, length]):
        return []
    starts, end = [], length
    for number in range(pieces, 0, -1):
        end = int(last[number, end])
        starts.append(end)
    return starts[::-1]


def _padded_pixels(heights: NDArray, widths: NDArray, counts: NDArray) -> Costs:
    """All pixels of a bucket: those of its pictures are the same whatever the cut."""
    before = np.concatenate([[0], np.cumsum(counts)])

    def costs(end: int) -> NDArray[np.float64]:
        return (before[end + 1] - before[: end + 1]) * (
            heights[: end + 1].astype(np.float64) * widths[end]
        )

    return costs


def _bending(aspects: NDArray, counts: NDArray, reach: float) -> Costs:
    """The sum of squared distances from a bucket's aspect, all on the scale of logarithms."""
    zeroth, first, second = (
        np.concatenate([[0.0], np.cumsum(counts * aspects**power)]) for power in (0, 1, 2)
    )

    def costs(end: int) -> NDArray[np.float64]:
        number, total, squares = (
            sums[end + 1] - sums[: end + 1] for sums in (zeroth, first, second)
        )
        low, high = aspects[end] - reach, aspects[: end + 1] + reach
        middle = np.clip(total / number, low, np.maximum(high, low))
        bent = squares - 2 * middle * total + middle**2 * number
        return np.where(high >= low, bent, np.inf)

    return costs


def _fewest(aspects: NDArray, reach: float) -> int:
    """The fewest buckets that bend no picture by more than `reach`."""
    number, start = 0, -np.inf
    for aspect in aspects:
        if aspect > start + 2 * reach:
            number, start = number + 1, aspect
    return number
