"""What a split should spread evenly over its parts: the classes, or the range of a number."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fcnkeras.data.columns import Hue, moments
from fcnkeras.data.records import Collection, DataError, Record


@dataclass(frozen=True)
class Strata:
    """The stratum of every record.

    Attributes:
        labels: The stratum of each record, (records,) int64.
        names: The names of the strata.
        required: How many of the strata, the first ones, every part must have a picture of.
    """

    labels: NDArray[np.int64]
    names: tuple[str, ...]
    required: int


def strata_of(
    collection: Collection, records: Sequence[Record], by: str | None, bins: int
) -> Strata:
    """Divides records into strata by one of their targets.

    Args:
        collection: Knows the names of classes.
        records: The records of the collection, in the order wanted.
        by: The target. A class gives one stratum for each name; a hue one for each name that
            occurs; a number, or the mean of a distribution, bins with equally many records each.
            Records without the target are a stratum of their own. `None`: one stratum.
        bins: At most so many bins for numbers.

    Returns:
        The `Strata`; those of a class are required.

    Raises:
        DataError: No record has the target, or its kind has no strata.
    """
    if by is None:
        return Strata(np.zeros(len(records), dtype=np.int64), ("picture",), 0)
    values = [record.targets.get(by) for record in records]
    known = np.array([value is not None for value in values])
    first = next((value for value in values if value is not None), None)
    if first is None:
        raise DataError(
            f"a split needs a target that the records have, got {by!r}; they have: "
            f"{', '.join(collection.targets) or 'none'}"
        )
    given = [value for value in values if value is not None]
    names: tuple[str, ...]
    required = 0
    if isinstance(first, Hue):
        names = tuple(sorted({hue.name for hue in given}))
        found = np.array([names.index(hue.name) for hue in given])
    elif isinstance(first, tuple) and not collection.names(by):
        found, names = _bins(np.array([moments(votes)[0] for votes in given]), bins)
    elif collection.names(by) and not isinstance(first, tuple):
        found, names = np.array(given), collection.names(by)
        required = len(names)
    elif isinstance(first, (int, float)):
        found, names = _bins(np.array(given, dtype=float), bins)
    else:
        raise DataError(f"a split goes by a class, a hue or a number, got the labels of {by!r}")
    labels = np.full(len(records), len(names), dtype=np.int64)
    labels[known] = found
    return Strata(labels, names if known.all() else (*names, f"no {by}"), required)


def _bins(values: NDArray[np.float64], bins: int) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Bins of equally many values, by rank: equal values may lie in two."""
    count = max(1, min(bins, len(values)))
    ranks = np.empty(len(values), dtype=np.int64)
    ranks[np.argsort(values, kind="stable")] = np.arange(len(values))
    return ranks * count // len(values), tuple(f"bin {number}" for number in range(count))
