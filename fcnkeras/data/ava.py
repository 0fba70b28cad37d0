"""AVA, photographs with the votes of hundreds of people each (Murray et al., CVPR 2012).

The pictures are not part of the labels' release; `check=False` reads the labels alone. A figure on
AVA2, the easy tails of the scores, does not compare with one on AVA1 or on the whole set.
"""

import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from fcnkeras.data.columns import (
    CellError,
    ClassColumn,
    DistributionColumn,
    LabelsColumn,
    moments,
)
from fcnkeras.data.records import Collection, DataError, Record
from fcnkeras.data.rows import Row, located, read_rows
from fcnkeras.data.splits import id_of, listed_split
from fcnkeras.data.tables import Check, PathLike, collect, read_table

COUNTS = tuple(f"count{score}" for score in range(1, 11))
QUALITIES = ("low", "high")
TAGS = 66

_COLUMNS = ("row", "image_id", *COUNTS, "tag1", "tag2", "challenge")
_FILE = "{image_id}.jpg"
Ids = PathLike | Iterable[str]


def read_ava(
    path: PathLike,
    root: PathLike | None = None,
    *,
    tags: PathLike | None = None,
    challenges: PathLike | None = None,
    check: Check = "exists",
) -> Collection:
    """Reads `AVA.txt`: in each line row, image id, ten counts, two tags and the challenge.

    Args:
        path: The file, blanks between its numbers.
        root: The folder of the pictures, `<image id>.jpg`. By default `images` beside the file.
        tags: `tags.txt`, a number and a name in each line. By default tags are named by number.
        challenges: `challenges.txt`, the same for challenges.
        check: See `tables.read_table`.

    Returns:
        A `Collection` with the targets "distribution" (ten votes), "tags" (66 labels; missing for
        a picture without any, which may only mean that nobody gave one) and "challenge" (a class).

    Raises:
        DataError: A file cannot be read, a line is not 15 whole numbers, or no picture is there.
    """
    path = Path(path)
    tag_names = _names(tags)
    columns = (
        DistributionColumn("distribution", COUNTS),
        LabelsColumn(
            "tags", names=tuple(tag_names.get(str(n), str(n)) for n in range(1, TAGS + 1))
        ),
        ClassColumn("challenge"),
    )
    challenge_names = _names(challenges)
    rows = [
        _named(row, tag_names, challenge_names)
        for row in read_rows(path, header=_COLUMNS, delimiter=" ")
    ]
    folder = path.parent / "images" if root is None else root
    return collect(rows, columns, file=_FILE, root=folder, check=check)


def read_distributions(
    path: PathLike, root: PathLike | None = None, *, check: Check = "exists"
) -> Collection:
    """Reads a CSV file with the columns image_id and count1 to count10.

    Args:
        path: The file.
        root: The folder of the pictures, `<image id>.jpg`. By default `images` beside the file.
        check: See `tables.read_table`.

    Returns:
        A `Collection` with the target "distribution".

    Raises:
        DataError: See `tables.read_table`.
    """
    folder = Path(path).parent / "images" if root is None else root
    columns = [DistributionColumn("distribution", COUNTS)]
    return read_table(path, columns, file=_FILE, root=folder, check=check)


def by_mean(collection: Collection, *, threshold: float = 5.0, margin: float = 0.0) -> Collection:
    """Labels pictures by their mean score: "high" above the threshold, "low" up to it.

    Args:
        collection: Records with the target "distribution"; those without it are left out.
        threshold: Where high begins.
        margin: Pictures whose mean is nearer to the threshold than this (δ) are left out.

    Returns:
        The collection with the target "class" besides: 0 low, 1 high.

    Raises:
        DataError: No picture is left.
    """
    if not margin >= 0:
        raise ValueError(f"margin must be 0 or more, got {margin!r}")
    # Decimal fractions and whole numbers, so that a mean of 4.9 is not nearer to 5 than 0.1.
    middle, least = Fraction(repr(threshold)), Fraction(repr(margin))
    records = []
    for record in collection.records:
        votes = record.targets.get("distribution")
        if votes is None:
            continue
        voters, total = sum(votes), sum(score * count for score, count in enumerate(votes, 1))
        above = total * middle.denominator - voters * middle.numerator
        if abs(above) * least.denominator >= least.numerator * voters * middle.denominator:
            records.append(_with_class(record, int(above > 0)))
    if not records:
        raise DataError(
            f"some picture must have a mean score {margin:g} or more from {threshold:g}, "
            f"none of {len(collection)} has"
        )
    return replace(collection, records=tuple(records), classes=QUALITIES)


def ava1(
    collection: Collection, test: Ids, train: Ids | None = None, *, margin: float = 0.0
) -> dict[str, Collection]:
    """The two parts of AVA1: low and high quality, divided at a mean score of 5.

    As in the paper, a margin thins out the training pictures only: the test pictures stay the
    same, whatever the margin.

    Args:
        collection: From `read_ava` or `read_distributions`.
        test: The ids of the test pictures, or the official list of them, `generic_test.jpgl`.
        train: The ids of the training pictures, or an official list. By default all others.
        margin: δ.

    Returns:
        The parts "train" and "test", see `by_mean`.

    Raises:
        DataError: A list cannot be read, names no picture of the collection, or shares one with
            the other list.
    """
    lists = {"test": _ids(test)}
    if train is not None:
        lists["train"] = _ids(train)
    else:
        tested = set(lists["test"])
        lists["train"] = tuple(
            name for record in collection.records if (name := id_of(record)) not in tested
        )
    parts = listed_split(collection, lists)
    return {
        "train": by_mean(parts["train"], margin=margin),
        "test": by_mean(parts["test"]),
    }


def ava2(collection: Collection, *, share: float = 0.1, seed: int = 0) -> dict[str, Collection]:
    """The two parts of AVA2: the pictures with the best and the worst mean scores.

    Args:
        collection: From `read_ava` or `read_distributions`.
        share: The share of all pictures that is taken from each end. Pictures with equal means
            are taken in the order of their ids.
        seed: Of the division into halves, each with as many low as high ones, or nearly.

    Returns:
        The parts "train" and "test" with the target "class": 0 low, 1 high.

    Raises:
        DataError: There are too few pictures.
    """
    if not 0 < share <= 0.5:
        raise ValueError(f"share must be above 0 and at most 0.5, got {share!r}")
    voted = [record for record in collection.records if "distribution" in record.targets]
    count = math.floor(Fraction(repr(share)) * len(voted))
    if count < 2:
        raise DataError(
            f"each end must have two pictures or more, got {count}: {share:g} of {len(voted)}"
        )
    ranked = sorted(voted, key=_rank)
    random = np.random.default_rng(seed)
    parts: dict[str, list[Record]] = {"train": [], "test": []}
    for quality, tail in enumerate((ranked[:count], ranked[-count:])):
        # Of an odd number of each, train takes one low more and test one high more.
        middle = (count + 1 - quality) // 2
        for place, index in enumerate(random.permutation(count)):
            part = "train" if place < middle else "test"
            parts[part].append(_with_class(tail[index], quality))
    return {
        part: replace(collection, records=tuple(records), classes=QUALITIES, rejected=())
        for part, records in parts.items()
    }


def read_ids(path: PathLike) -> tuple[str, ...]:
    """Reads a list of picture ids, one in each line, such as AVA's official lists.

    Raises:
        DataError: The list cannot be read or is empty.
    """
    ids = tuple(row.cells["id"] for row in read_rows(Path(path), header=("id",), delimiter=" "))
    if not ids:
        raise DataError(f"{path} must list the ids of pictures, it is empty")
    return ids


def _ids(given: Ids) -> tuple[str, ...]:
    return read_ids(given) if isinstance(given, (str, os.PathLike)) else tuple(given)


def _rank(record: Record) -> tuple[float, int, str]:
    name = id_of(record)
    return moments(record.targets["distribution"])[0], len(name), name


def _with_class(record: Record, quality: int) -> Record:
    return replace(record, targets={**record.targets, "class": quality})


def _named(row: Row, tags: Mapping[str, str], challenges: Mapping[str, str]) -> Row:
    """The row with its two tags as one list of names, 0 being none, and its challenge's name."""
    cells = dict(row.cells)
    try:
        for column in _COLUMNS:
            if not cells[column].isdecimal():
                raise CellError(column, "a whole number", cells[column])
        given = []
        for column in ("tag1", "tag2"):
            if int(cells[column]) > TAGS:
                raise CellError(column, f"0 to {TAGS}", cells[column])
            if int(cells[column]):
                given.append(tags.get(cells[column], cells[column]))
    except CellError as error:
        raise DataError(located(row, error)) from error
    cells["tags"] = ";".join(given)
    cells["challenge"] = challenges.get(cells["challenge"], cells["challenge"])
    return replace(row, cells=cells)


def _names(path: PathLike | None) -> dict[str, str]:
    if path is None:
        return {}
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the names in {path}: {error}") from error
    pairs = [line.split(maxsplit=1) for line in lines if line.strip()]
    for pair in pairs:
        if len(pair) != 2 or not pair[0].isdecimal():
            raise DataError(f"{path} must hold a number and a name in each line, got {pair!r}")
    # Several challenges have the same name.
    often = Counter(name.strip() for _, name in pairs)
    return {
        number: name.strip() if often[name.strip()] == 1 else f"{name.strip()} ({number})"
        for number, name in pairs
    }
