"""Targets of a collection as arrays that a network learns from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fcnkeras.data.columns import Hue
from fcnkeras.data.records import Collection


@dataclass(frozen=True, eq=False)
class Encoded:
    """One target of every record.

    | kind | values | where it is not known |
    |---|---|---|
    | "class" | (records,) int64, the index | 0 |
    | "score" | (records,) float32 | 0 |
    | "distribution" | (records, scores) float32, votes as shares of 1 | equal shares |
    | "hue" | (records, 3) float32: cosine, sine, 1 for black; of black the first two are 0 | red |
    | "labels" | (records, names) float32, 0 or 1 | 0; NaN for one label that is not known |

    Attributes:
        kind: What it is.
        values: See the table.
        known: (records,) bool, whether the record tells it.
    """

    kind: str
    values: NDArray[Any]
    known: NDArray[np.bool_]


def encode_target(collection: Collection, target: str) -> Encoded:
    """Turns one target of a collection into an array.

    What kind of target it is, its values tell: a `Hue`; several values, which are labels if the
    collection has their names, else a distribution; one number, a class if the collection has the
    names, else a score.

    Args:
        collection: The records.
        target: The name of the target.

    Returns:
        The values, and where they are known. A label that is not known beside others that are is
        NaN, for a loss that leaves it out: any other loss becomes NaN.

    Raises:
        ValueError: No record has the target, or its values are of different lengths.

    Example:

    ```python
    encode_target(paintings, "primary_color").values[0]  # [0.5, 0.87, 0.] for yellow, 60 degrees
    ```
    """
    found = collection.values(target)
    known = np.array([value is not None for value in found], dtype=np.bool_)
    if not known.any():
        held = ", ".join(collection.targets) or "none"
        raise ValueError(f"no record has the target {target!r}, the collection's are: {held}")
    first = next(value for value in found if value is not None)
    kind = _kind(first, named=bool(collection.names(target)))
    encode, neutral = _ENCODERS[kind], _neutral(kind, first)
    rows = [neutral if value is None else encode(value) for value in found]
    if len({np.shape(row) for row in rows}) > 1:
        raise ValueError(f"the values of {target!r} must all have the length {len(first)}")
    return Encoded(kind, np.array(rows, np.int64 if kind == "class" else np.float32), known)


def weigh_targets(
    encoded: Mapping[str, Encoded],
    weights: ArrayLike | Mapping[str, ArrayLike] | None = None,
    *,
    always: bool = False,
) -> dict[str, NDArray[np.float32]]:
    """Tells how much every record counts for every target.

    Args:
        encoded: The targets by name.
        weights: (records,) numbers, or such an array for some of the targets; by default 1.
        always: Whether to return weights that are all 1.

    Returns:
        (records,) float32 for each target, 0 where it is not known; nothing if all would be 1.

    Raises:
        ValueError: A weight is below 0 or not finite, or `weights` do not fit the targets.
    """
    if isinstance(weights, Mapping) and (unknown := sorted(set(weights) - set(encoded))):
        raise ValueError(f"`weights` must be of the targets {list(encoded)}. Received: {unknown}")
    if weights is None and not always and all(target.known.all() for target in encoded.values()):
        return {}
    found = {}
    for name, target in encoded.items():
        own = weights.get(name) if isinstance(weights, Mapping) else weights
        array = np.ones(target.known.shape) if own is None else np.asarray(own, np.float64)
        if array.shape != target.known.shape or not (np.isfinite(array) & (array >= 0)).all():
            raise ValueError(
                f"`weights` must be a number for each of the {len(target.known)} records, none "
                f"below 0. Received: {array.size} numbers, the least {array.min(initial=np.inf)}"
            )
        found[name] = (array * target.known).astype(np.float32)
    return found


def _kind(value: Any, *, named: bool) -> str:
    if isinstance(value, Hue):
        return "hue"
    if np.ndim(value):
        return "labels" if named else "distribution"
    return "class" if named else "score"


def _neutral(kind: str, value: Any) -> Any:
    """A value that no loss stumbles over."""
    if kind == "hue":
        return (1.0, 0.0, 0.0)
    if kind == "distribution":
        return [1 / len(value)] * len(value)
    return [0.0] * len(value) if kind == "labels" else 0


def _shares(votes: Sequence[float]) -> NDArray[np.float64]:
    return np.asarray(votes, dtype=np.float64) / sum(votes)


def _on_circle(hue: Hue) -> tuple[float, float, float]:
    if hue.black:
        return (0.0, 0.0, 1.0)
    angle = np.deg2rad(hue.degrees)
    return (float(np.cos(angle)), float(np.sin(angle)), 0.0)


def _flags(labels: Sequence[int | None]) -> list[float]:
    return [np.nan if label is None else float(label) for label in labels]


_ENCODERS: dict[str, Callable[[Any], Any]] = {
    "class": int,
    "score": float,
    "distribution": _shares,
    "hue": _on_circle,
    "labels": _flags,
}
