"""Divide a collection into parts, such as training, validation and test, and keep the division."""

import csv
import math
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from fcnkeras.data.records import Collection, DataError, Record
from fcnkeras.data.strata import Strata, strata_of

GroupOf = Callable[[Record], Hashable]


def stratified_split(
    collection: Collection,
    fractions: Mapping[str, float],
    *,
    seed: int = 0,
    by: str | None = "class",
    bins: int = 10,
    group: str | GroupOf | None = None,
) -> dict[str, Collection]:
    """Divides a collection at random so that every part has its share of every class.

    The result depends on the seed and on the files' paths below their common folder, not on the
    order of the records or on where the folder lies.

    Args:
        collection: What to divide.
        fractions: The share of each part by name, e.g. `{"train": 0.8, "val": 0.2}`; sums to 1.
        seed: Another seed gives another division.
        by: The target that is spread evenly: a class, a hue, a number or a distribution (its mean).
            `None` spreads nothing.
        bins: Numbers are spread by at most so many bins, with equally many pictures each.
        group: A class target, or a function from a record to its group. Records of one group stay
            in one part (the details of one painting, all works of an artist); a record without
            that target is a group of its own. Groups are placed greedily, the largest first,
            each where its classes are most wanting, so shares are only nearly met.

    Returns:
        The parts by name, each with the collection's classes and its records sorted by path.
        `rejected` is empty: those files belong to no part.

    Raises:
        DataError: Some part would have no picture, or none of some class; or no record has the
            target.
        ValueError: The fractions are not positive or do not sum to 1, or `bins` is below 1.
    """
    total = math.fsum(fractions.values())
    if not fractions or min(fractions.values()) <= 0 or not math.isclose(total, 1, abs_tol=1e-6):
        raise ValueError(f"fractions must be positive and sum to 1, got {dict(fractions)!r}")
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    names = _relative_names(collection, None)
    records = [record for _, record in sorted(names.items())]
    strata = strata_of(collection, records, by, bins)
    _check_sizes(strata, len(fractions))
    random = np.random.default_rng(seed)
    if group is None:
        chosen = _split_records(strata, fractions, random)
    else:
        chosen = _split_groups(_groups(collection, records, group), strata, fractions, random)
    for part, indices in chosen.items():
        if not indices:
            raise DataError(f"every part needs a picture, {part} gets none of {len(records)}")
    return {
        part: _part(collection, (records[index] for index in sorted(chosen[part])))
        for part in fractions
    }


def listed_split(
    collection: Collection,
    lists: Mapping[str, Iterable[str]],
    *,
    key: Callable[[Record], str] | None = None,
) -> dict[str, Collection]:
    """Divides a collection as official lists say.

    Args:
        collection: What to divide. Its pictures that are on no list are left out, and so are
            names on a list without a picture.
        lists: The names of each part's pictures.
        key: Tells the name of a record; by default that of its file without the ending.

    Returns:
        The parts by name, records in the collection's order.

    Raises:
        DataError: A name is on two lists, or a list names no picture of the collection.
    """
    part_of: dict[str, str] = {}
    for part, listed in lists.items():
        for name in listed:
            if (other := part_of.setdefault(name, part)) != part:
                raise DataError(f"a name must be on one list, {name} is on {other} and {part}")
    parts: dict[str, list[Record]] = {part: [] for part in lists}
    for record in collection.records:
        if (home := part_of.get((key or id_of)(record))) is not None:
            parts[home].append(record)
    for part, records in parts.items():
        if not records:
            raise DataError(f"the list {part} must name a picture of the collection, it has none")
    return {part: _part(collection, records) for part, records in parts.items()}


def id_of(record: Record) -> str:
    """The name of a record's file without the ending, which data sets use as its id."""
    return record.path.stem


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
    return {part: _part(collection, records) for part, records in parts.items()}


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


def _part(collection: Collection, records: Iterable[Record]) -> Collection:
    return replace(collection, records=tuple(records), rejected=())


def _check_sizes(strata: Strata, parts: int) -> None:
    sizes = Counter(strata.labels.tolist())
    for index, name in enumerate(strata.names[: strata.required]):
        if sizes[index] < parts:
            raise DataError(
                f"each of the {parts} parts needs a picture of class {name}, "
                f"which has {sizes[index]}"
            )


def _split_records(
    strata: Strata, fractions: Mapping[str, float], random: np.random.Generator
) -> dict[str, set[int]]:
    chosen: dict[str, set[int]] = {part: set() for part in fractions}
    held = dict.fromkeys(fractions, 0)
    for label in range(len(strata.names)):
        indices = np.flatnonzero(strata.labels == label)
        if label < strata.required:
            counts = _counts(len(indices), fractions)
        else:
            counts = _owed(len(indices), fractions, held)
            held = {part: held[part] + counts[part] for part in fractions}
        shuffled = random.permutation(indices).tolist()
        start = 0
        for part, count in counts.items():
            chosen[part].update(shuffled[start : start + count])
            start += count
    return chosen


def _owed(total: int, fractions: Mapping[str, float], held: Mapping[str, int]) -> dict[str, int]:
    """Shares of `total` that bring what the parts hold together nearest to their fractions.

    Rounding every bin by itself would round all of them alike, and starve a small part.
    """
    together = total + sum(held.values())
    counts = dict.fromkeys(fractions, 0)
    for _ in range(total):
        counts[
            max(fractions, key=lambda part: fractions[part] * together - held[part] - counts[part])
        ] += 1
    return counts


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


def _groups(collection: Collection, records: list[Record], group: str | GroupOf) -> list[list[int]]:
    if isinstance(group, str) and group not in collection.targets:
        raise DataError(
            f"group must be a target that the records have, got {group!r}; they have: "
            f"{', '.join(collection.targets) or 'none'}"
        )
    members: dict[Hashable, list[int]] = defaultdict(list)
    for index, record in enumerate(records):
        if not isinstance(group, str):
            home = group(record)
        else:
            home = record.targets.get(group, record.path)
        members[home].append(index)
    return list(members.values())


def _split_groups(
    groups: list[list[int]],
    strata: Strata,
    fractions: Mapping[str, float],
    random: np.random.Generator,
) -> dict[str, set[int]]:
    kinds = len(strata.names)
    sizes = np.array([np.bincount(strata.labels[each], minlength=kinds) for each in groups])
    if not strata.required:
        # Bins are small: the whole counts as one more, or the same part would lose in all of them.
        sizes = np.column_stack([sizes, sizes.sum(axis=1)])
    wanted = np.outer(list(fractions.values()), sizes.sum(axis=0)).astype(float)
    held = np.zeros(wanted.shape, dtype=int)
    part_of = np.zeros(len(groups), dtype=int)
    order = random.permutation(len(groups))
    for index in order[np.argsort(-sizes[order].sum(axis=1), kind="stable")]:
        lack = ((wanted - held) / wanted.sum(axis=0)) @ sizes[index]
        part_of[index] = int(np.argmax(lack))
        held[part_of[index]] += sizes[index]
    _fill_empty(sizes, held, part_of, list(fractions), strata)
    return {
        part: {index for each in np.flatnonzero(part_of == number) for index in groups[each]}
        for number, part in enumerate(fractions)
    }


def _fill_empty(
    sizes: np.ndarray,
    held: np.ndarray,
    part_of: np.ndarray,
    parts: list[str],
    strata: Strata,
) -> None:
    """Moves the smallest groups that will do until every part has every class."""
    for part, kind in np.argwhere(held[:, : strata.required] == 0):
        if held[part, kind]:  # an earlier move filled it
            continue
        movable = [
            index
            for index in np.flatnonzero(sizes[:, kind])
            if np.all(
                ((held[part_of[index]] > sizes[index]) | (sizes[index] == 0))[: strata.required]
            )
        ]
        if not movable:
            groups = np.count_nonzero(sizes[:, kind])
            raise DataError(
                f"part {parts[part]} gets no picture of class {strata.names[kind]} unless a group "
                f"is divided: the class has {groups} groups"
            )
        index = min(movable, key=lambda each: sizes[each].sum())
        held[part_of[index]] -= sizes[index]
        held[part] += sizes[index]
        part_of[index] = part
