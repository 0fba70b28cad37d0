"""From the cells of a map to the pixels that a network was fed, and from those to the picture.

NumPy only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fcnkeras.placement import Placement

Array = np.ndarray


def spread(
    cells: Array, size: tuple[int, int], centres: tuple[Array, Array], *, keep_mean: bool = False
) -> Array:
    """Brings maps from their cells to the pixels of what the network was fed.

    Args:
        cells: (n, rows, columns).
        size: (height, width) in pixels.
        centres: of the rows and of the columns, in pixels from the upper left corner.
        keep_mean: lets every cell count the same in the pixels' mean, so that this is the mean of
            the cells; else pixels at a centre have the cell's own value.

    Returns:
        (n, height, width) float32, bilinear between the centres; beyond the outermost ones their
        values go on.
    """
    rows, columns = (_shares(at, side) for at, side in zip(centres, size, strict=True))
    if keep_mean:
        rows, columns = (w / w.sum(axis=0) * (len(w) / w.shape[1]) for w in (rows, columns))
    return (rows @ np.asarray(cells, "float64") @ columns.T).astype("float32")


def _shares(centres: Array, length: int) -> Array:
    """The share of each cell in each pixel of a side, (length, cells); rows sum to 1."""
    middles = np.arange(length) + 0.5
    return np.stack([np.interp(middles, centres, one) for one in np.eye(len(centres))], axis=1)


def to_original(maps: Array, placements: Sequence[Placement], *, stored: bool = False) -> Array:
    """Brings maps of what a feeder gave back to the picture's own pixels.

    Padding is left out, and where crops overlap, their maps are averaged.

    Args:
        maps: (crops, height, width), a map for each crop.
        placements: where the crops lie, as the feeder told.
        stored: turns the map as the file stores the picture, not upright.

    Returns:
        float32, (height, width) of the picture; NaN where no crop saw it.

    Raises:
        ValueError: the numbers of maps and placements differ, or the maps do not have their size.
    """
    sizes = [placement.fed_size[::-1] for placement in placements]
    if [each.shape for each in maps] != sizes:
        raise ValueError(
            f"There must be a map for each crop, of its size {sizes}. "
            f"Received: {[each.shape for each in maps]}"
        )
    width, height = placements[0].original_size
    total, count = np.zeros((height, width)), np.zeros((height, width), "int32")
    for cells, placement in zip(maps, placements, strict=True):
        left, top, right, bottom = placement.content
        across = _seen(width, placement.scale[0], placement.offset[0], placement.fed_size[0])
        down = _seen(height, placement.scale[1], placement.offset[1], placement.fed_size[1])
        part = np.asarray(cells, "float64")[top:bottom, left:right]
        part = _resample(part, down, placement.scale[1], placement.offset[1] - top)
        part = _resample(part.T, across, placement.scale[0], placement.offset[0] - left).T
        total[down[0] : down[-1] + 1, across[0] : across[-1] + 1] += part
        count[down[0] : down[-1] + 1, across[0] : across[-1] + 1] += 1
    found = np.full((height, width), np.nan, "float32")
    np.divide(total, count, out=found, where=count > 0, casting="same_kind")
    return _as_stored(found, placements[0].orientation) if stored else found


def _seen(length: int, scale: float, offset: float, fed: int) -> Array:
    """The pixels of a side of the picture whose middles lie in a crop; at least the nearest."""
    middles = (np.arange(length) + 0.5) * scale + offset
    found = np.flatnonzero((middles >= 0) & (middles <= fed))
    return found if len(found) else np.array([int(np.abs(middles - fed / 2).argmin())])


def _resample(values: Array, pixels: Array, scale: float, offset: float) -> Array:
    """Rows of a crop's content as rows of the picture: interpolated where the crop is coarser,
    averaged where it is finer."""
    last = len(values) - 1
    if scale <= 1:
        at = np.clip((pixels + 0.5) * scale + offset - 0.5, 0, last)
        low = np.minimum(at.astype("int64"), max(last - 1, 0))
        share = (at - low)[:, None]
        return values[low] * (1 - share) + values[np.minimum(low + 1, last)] * share
    sums = np.concatenate([np.zeros((1, values.shape[1])), values.cumsum(axis=0)])
    # A crop may cut a pixel in two, of which one half at least is there.
    edges = np.clip([pixels * scale + offset, (pixels + 1) * scale + offset], 0, last + 1)
    low = np.minimum(edges.astype("int64"), last)
    shares = (edges - low)[..., None]
    start, stop = sums[low] * (1 - shares) + sums[low + 1] * shares
    return (stop - start) / np.maximum(edges[1] - edges[0], 1e-9)[:, None]


def _as_stored(upright: Array, orientation: int) -> Array:
    """A map turned as the file of this EXIF orientation stores its picture."""
    if orientation in (2, 3, 6, 7):
        upright = upright[:, ::-1]
    if orientation in (3, 4, 7, 8):
        upright = upright[::-1]
    return np.ascontiguousarray(upright.T if orientation >= 5 else upright)
