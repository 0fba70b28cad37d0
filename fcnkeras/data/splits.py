"""Divide a collection into parts, such as training, validation and test, and keep the division."""

import csv
import math
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path

import numpy as np

from fcnkeras.data.records import Collection, DataError, Record

GroupOf = Callable[[Record], Hashable]


def stratified_split(
    collection: Collection,
    fractions: Mapping[str, float],
    *,
    seed: int = 0,
    group: GroupOf | None = None,
) -> dict[str, Collection]:
    """Divides a collection at random so that every part has its share of every class.

    The result depends on the seed and on the files' paths below their common folder, not on the
    order of the records or on where the folder lies.

    Args:
        collection: What to divide; its records have a "class" target.
        fractions: The share of each part by name, e.g. `{"train": 0.8, "val": 0.2}`; sums to 1.
        seed: Another seed gives another division.
        group: Tells the group of a record. Records of one group stay in one part (the details of
            one painting, all works of an artist). Groups are placed greedily, the largest first,
            each where its classes are most wanting, so shares are only nearly met.

    Returns:
        The parts by name, each with the collection's classes and its records sorted by path.
        `rejected` is empty: those files belong to no part.

    Raises:
        DataError: Some part would have no picture of some class.
        ValueError: The fractions are not positive or do not sum to 1.
    """
    total = math.fsum(fractions.values())
    if not fractions or min(fractions.values()) <= 0 or not math.isclose(total, 1, abs_tol=1e-6):
        raise ValueError(f"fractions must be positive and sum to 1, got {dict(fractions)!r}")
    names = _relative_names(collection, None)
    records = [record for _, record in sorted(names.items())]
    _check_class_sizes(collection, len(fractions))
    random = np.random.default_rng(seed)
    if group is None:
        chosen = _split_records(records, fractions, random)
    else:
        chosen = _split_groups(records, fractions, group, random, collection.classes)
    return {
        part: Collection(
            tuple(record for index, record in enumerate(records) if index in chosen[part]),
            collection.classes,
        )
        for part in fractions
    }


def save_split(
    path: str | os.PathLike[str],
    parts: Mapping[str, Collection],
    root: str | os.PathLike[str],
) -> None:
    """Writes which file is in which part, as a CSV file with the columns part and file.

    Args:
        path: The CSV file; it is replaced as a whole or not at all.
        parts: What `stratified_split` gave.
        root: The folder to which the file names are relative, so that it can be moved.

    Raises:
        DataError: A picture lies outside `root`.
    """
    rows = [
        (part, name)
        for part, collection in parts.items()
        for name in _relative_names(collection, Path(root))
    ]
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("part", "file"))
            writer.writerows(rows)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load_split(
    path: str | os.PathLike[str],
    collection: Collection,
    root: str | os.PathLike[str] | None = None,
) -> dict[str, Collection]:
    """Divides a collection as `save_split` wrote it down.

    Args:
        path: The CSV file.
        collection: The collection that was divided, wherever it lies now.
        root: The folder to which the file names are relative. By default the folder that all
            records have in common: for class folders, the one that holds them.

    Returns:
        The parts by name, records in the file's order.

    Raises:
        DataError: The file is missing or damaged, or it and the collection do not hold the same
            pictures.
    """
    known = _relative_names(collection, None if root is None else Path(root))
    parts: dict[str, list[Record]] = defaultdict(list)
    for part, name in _read_rows(Path(path)):
        record = known.pop(name, None)
        if record is None:
            raise DataError(f"{path} names {name}, which is listed twice or not in the collection")
        parts[part].append(record)
    if known:
        raise DataError(f"{path} has no part for {len(known)} pictures, e.g. {next(iter(known))}")
    return {part: Collection(tuple(records), collection.classes) for part, records in parts.items()}


def _read_rows(path: Path) -> list[tuple[str, str]]:
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            rows = [tuple(row) for row in csv.reader(file)]
    except (OSError, csv.Error) as error:
        raise DataError(f"cannot read the split {path}: {error}") from error
    if not rows or rows[0] != ("part", "file"):
        raise DataError(f"the split {path} must begin with the line part,file")
    pairs = []
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != 2:
            raise DataError(f"line {number} of the split {path} must be part,file, got {row!r}")
        pairs.append((row[0], row[1]))
    return pairs


def _relative_names(collection: Collection, root: Path | None) -> dict[str, Record]:
    """The records by their paths below the root, in the collection's order."""
    paths = [record.path.absolute() for record in collection.records]
    if not paths:
        raise DataError("a collection to divide must hold pictures, got none")
    folder = Path(os.path.commonpath([path.parent for path in paths])) if root is None else root
    names: dict[str, Record] = {}
    for path, record in zip(paths, collection.records, strict=True):
        try:
            name = path.relative_to(folder.absolute()).as_posix()
        except ValueError as error:
            raise DataError(f"pictures must lie below {folder}, got {record.path}") from error
        if name in names:
            raise DataError(f"each picture must be in the collection once, got {name} twice")
        names[name] = record
    return names


def _check_class_sizes(collection: Collection, parts: int) -> None:
    sizes = Counter(collection.labels.tolist())
    for index, name in enumerate(collection.classes):
        if sizes[index] < parts:
            raise DataError(
                f"each of the {parts} parts needs a picture of class {name}, "
                f"which has {sizes[index]}"
            )


def _split_records(
    records: list[Record], fractions: Mapping[str, float], random: np.random.Generator
) -> dict[str, set[int]]:
    by_class: dict[int, list[int]] = defaultdict(list)
    for index, record in enumerate(records):
        by_class[record.targets["class"]].append(index)
    chosen: dict[str, set[int]] = {part: set() for part in fractions}
    for _, indices in sorted(by_class.items()):
        shuffled = random.permutation(indices).tolist()
        start = 0
        for part, count in _counts(len(indices), fractions).items():
            chosen[part].update(shuffled[start : start + count])
            start += count
    return chosen


def _counts(total: int, fractions: Mapping[str, float]) -> dict[str, int]:
    """Shares of `total` by largest remainder, none of them 0."""
    counts = {part: max(1, math.floor(total * share)) for part, share in fractions.items()}

    def lack(part: str) -> float:
        return total * fractions[part] - counts[part]

    while sum(counts.values()) < total:
        counts[max(counts, key=lack)] += 1
    while sum(counts.values()) > total:
        counts[min((part for part in counts if counts[part] > 1), key=lack)] -= 1
    return counts


def _split_groups(
    records: list[Record],
    fractions: Mapping[str, float],
    group: GroupOf,
    random: np.random.Generator,
    classes: tuple[str, ...],
) -> dict[str, set[int]]:
    members: dict[Hashable, list[int]] = defaultdict(list)
    for index, record in enumerate(records):
        members[group(record)].append(index)
    labels = np.array([record.targets["class"] for record in records])
    groups = list(members.values())
    sizes = np.array([np.bincount(labels[each], minlength=len(classes)) for each in groups])
    wanted = np.outer(list(fractions.values()), sizes.sum(axis=0)).astype(float)
    held = np.zeros(wanted.shape, dtype=int)
    part_of = np.zeros(len(groups), dtype=int)
    order = random.permutation(len(groups))
    for index in order[np.argsort(-sizes[order].sum(axis=1), kind="stable")]:
        lack = ((wanted - held) / wanted.sum(axis=0)) @ sizes[index]
        part_of[index] = int(np.argmax(lack))
        held[part_of[index]] += sizes[index]
    _fill_empty(sizes, held, part_of, list(fractions), classes)
    return {
        part: {index for each in np.flatnonzero(part_of == number) for index in groups[each]}
        for number, part in enumerate(fractions)
    }


def _fill_empty(
    sizes: np.ndarray,
    held: np.ndarray,
    part_of: np.ndarray,
    parts: list[str],
    classes: tuple[str, ...],
) -> None:
    """Moves the smallest groups that will do until every part has every class."""
    for part, kind in np.argwhere(held == 0):
        if held[part, kind]:  # an earlier move filled it
            continue
        movable = [
            index
            for index in np.flatnonzero(sizes[:, kind])
            if np.all((held[part_of[index]] > sizes[index]) | (sizes[index] == 0))
        ]
        if not movable:
            raise DataError(
                f"part {parts[part]} gets no picture of class {classes[kind]} unless a group is "
                f"divided: the class has {np.count_nonzero(sizes[:, kind])} groups"
            )
        index = min(movable, key=lambda each: sizes[each].sum())
        held[part_of[index]] -= sizes[index]
        held[part] += sizes[index]
        part_of[index] = part
