"""What a collection holds, and what is wrong with it, before anything is trained on it."""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from fcnkeras.data.columns import WHEEL, moments
from fcnkeras.data.effects import effects
from fcnkeras.data.records import Collection, DataError, Record, Rejected, files_below
from fcnkeras.feeders import FEEDERS
from fcnkeras.images import ImageError, is_picture_name, probe, read_header
from fcnkeras.placement import fed_shape

PathLike = str | os.PathLike[str]

ASPECTS = (Fraction(11, 10), Fraction(7, 5), Fraction(8, 5), Fraction(2), Fraction(3))
"""The long side over the short one at which the bars of the aspect histogram end, inclusive.

Between them lie the usual 5:4 and 4:3, 3:2, 16:9, and the panoramas up to 3:1.
"""


@dataclass(frozen=True)
class Duplicate:
    """Files with the same bytes.

    Attributes:
        paths: The files.
        differ: Whether their targets are not the same.
    """

    paths: tuple[Path, ...]
    differ: bool


@dataclass(frozen=True)
class Inspection:
    """What was found.

    Attributes:
        files: The number of files named or found.
        readable: How many of them can be read. All figures that follow are of these.
        bytes: Their length, all together.
        decoded: Whether pixels were decoded; if not, damage to them went unnoticed.
        formats: How many have each of Pillow's formats.
        modes: How many have each of Pillow's modes, as they are stored.
        targets: For each target a dict: its "kind"; how many are "known"; the "missing" files;
            and "counts" by name, or of "values" (and "votes") the least, median, mean, greatest
            and the standard deviation. Labels count "with", "without" and "unknown".
        sizes: Of "width", "height" and "short_side" the same five figures.
        aspects: By what a bar of the histogram is called, how many pictures are in it.
        size: What the feeders were given.
        feeders: What each feeder loses or adds, see `effects.effects`.
        broken: The files that cannot be read, and why.
        without_file: The rows of a table whose file is not there or not named.
        duplicates: The files that are there more than once, broken ones too.
        others: How many files were not looked at, by the ending of their names.
    """

    files: int
    readable: int
    bytes: int
    decoded: bool
    formats: dict[str, int]
    modes: dict[str, int]
    targets: dict[str, dict[str, Any]]
    sizes: dict[str, dict[str, float]]
    aspects: dict[str, int]
    size: int
    feeders: dict[str, dict[str, Any]]
    broken: tuple[Rejected, ...]
    without_file: tuple[Rejected, ...]
    duplicates: tuple[Duplicate, ...]
    others: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON takes it, paths as text."""
        told: dict[str, Any] = _plain(asdict(self))
        return told


@dataclass(frozen=True)
class _Facts:
    reason: str | None = None
    size: tuple[int, int] = (0, 0)
    format: str = ""
    mode: str = ""


def folder_collection(folder: PathLike) -> tuple[Collection, dict[str, int]]:
    """Finds all pictures of a folder, whether they can be read or not.

    The class of a picture is the sub-folder that it lies in, at any depth. Pictures beside the
    sub-folders lack it; without sub-folders there are no classes.

    Args:
        folder: A folder of pictures or of class folders. Names that begin with a dot are skipped.

    Returns:
        A `Collection`, and how many other files there are by the ending of their names.

    Raises:
        DataError: It is no folder, or holds no picture.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"pictures must be in a folder, {folder} is none")
    paths = files_below(folder)
    pictures = [path for path in paths if is_picture_name(path)]
    others = Counter(path.suffix.lower() for path in paths if not is_picture_name(path))
    if not pictures:
        raise DataError(f"{folder} must hold pictures, it has none by their names")
    parts = [path.relative_to(folder).parts for path in pictures]
    classes = tuple(sorted({part[0] for part in parts if len(part) > 1}))
    records = [
        Record(path, {"class": classes.index(part[0])} if len(part) > 1 else {})
        for path, part in zip(pictures, parts, strict=True)
    ]
    return Collection(tuple(records), classes), dict(others.most_common())


def inspect_collection(
    collection: Collection,
    *,
    targets: Mapping[str, str] | None = None,
    size: int = 224,
    quick: bool = False,
    max_pixels: int | None = None,
    others: Mapping[str, int] | None = None,
    progress: Callable[[int], object] = lambda done: None,
) -> Inspection:
    """Reads every file of a collection and tells what there is.

    Args:
        collection: The pictures, not yet checked. What it has `rejected` counts as rows without a
            file.
        targets: The kind of every target: "class", "score", "distribution", "hue" or "labels".
            By default "class" alone, where the collection has classes.
        size: The size that the feeders shall be given.
        quick: Read headers only, so that truncated and damaged pixels go unnoticed.
        max_pixels: Pictures that declare more pixels count as broken. By default
            `images.MAX_PIXELS`.
        others: What `folder_collection` has told of other files.
        progress: Is called after each picture with how many are done.

    Returns:
        An `Inspection`.

    Raises:
        ValueError: `size` or `max_pixels` is not positive.

    Example:

    ```python
    collection, others = folder_collection("photos")
    found = inspect_collection(collection, others=others)
    found.broken
    ```
    """
    fed_shape("native", 1, 1, size)  # raises before anything slow
    if targets is None:
        targets = {"class": "class"} if collection.classes else {}
    facts = _examine_all(collection.records, quick, max_pixels, progress)
    pairs = list(zip(collection.records, facts, strict=True))
    good = [(record, fact) for record, fact in pairs if fact.reason is None]
    records = [record for record, _ in good]
    sides = Counter(fact.size for _, fact in good)
    return Inspection(
        files=len(pairs),
        readable=len(good),
        bytes=sum(_length(record.path) for record in records),
        decoded=not quick,
        formats=dict(Counter(fact.format for _, fact in good).most_common()),
        modes=dict(Counter(fact.mode for _, fact in good).most_common()),
        targets={
            name: _summary(kind, name, records, collection.names(name))
            for name, kind in targets.items()
        },
        sizes={
            "width": numbers(fact.size[0] for _, fact in good),
            "height": numbers(fact.size[1] for _, fact in good),
            "short_side": numbers(min(fact.size) for _, fact in good),
        },
        aspects=aspect_histogram(sides),
        size=size,
        feeders={name: effects(name, sides, size) for name in FEEDERS},
        broken=tuple(
            Rejected(record.path, fact.reason) for record, fact in pairs if fact.reason is not None
        ),
        without_file=collection.rejected,
        duplicates=find_duplicates(collection.records),
        others=dict(others or {}),
    )


def aspect_histogram(sizes: Mapping[tuple[int, int], int]) -> dict[str, int]:
    """Counts pictures by their proportions, see `ASPECTS`.

    Args:
        sizes: How many pictures have each (width, height).

    Returns:
        The counts from the tallest to the widest; "square" for what is nearly so.
    """
    ends = [f"{float(end):g}" for end in ASPECTS]
    spans = [f"{low}-{high}" for low, high in pairwise(ends)]
    spans.append(f"over {ends[-1]}")
    bars = [f"tall {span}" for span in reversed(spans)] + ["square"]
    counts = dict.fromkeys(bars + [f"wide {span}" for span in spans], 0)
    for (width, height), count in sizes.items():
        ratio = Fraction(max(width, height), min(width, height))
        place = sum(ratio > end for end in ASPECTS)
        way = "wide" if width > height else "tall"
        counts[f"{way} {spans[place - 1]}" if place else "square"] += count
    return counts


def find_duplicates(records: Sequence[Record]) -> tuple[Duplicate, ...]:
    """Finds files with the same bytes, by their SHA-256; only files of equal length are read.

    Empty files are none of them, and neither are those that cannot be opened.
    """
    by_length: dict[int, list[Record]] = defaultdict(list)
    for record in records:
        by_length[_length(record.path)].append(record)
    suspects = [
        record
        for length, group in by_length.items()
        if length and len(group) > 1
        for record in group
    ]
    by_digest: dict[bytes, list[Record]] = defaultdict(list)
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        digests = pool.map(_digest, [record.path for record in suspects])
        for record, digest in zip(suspects, digests, strict=True):
            if digest is not None:
                by_digest[digest].append(record)
    return tuple(
        Duplicate(
            tuple(record.path for record in group),
            any(record.targets != group[0].targets for record in group),
        )
        for group in by_digest.values()
        if len(group) > 1
    )


def numbers(values: Iterable[float]) -> dict[str, float]:
    """The least, median, mean and greatest number, and the standard deviation; nothing of none."""
    array = np.array(list(values), dtype=np.float64)
    if not array.size:
        return {}
    return {
        "min": float(array.min()),
        "median": float(np.median(array)),
        "mean": float(array.mean()),
        "max": float(array.max()),
        "deviation": float(array.std()),
    }


def _examine_all(
    records: Sequence[Record],
    quick: bool,
    max_pixels: int | None,
    progress: Callable[[int], object],
) -> list[_Facts]:
    def examine(record: Record) -> _Facts:
        try:
            header = read_header(record.path, max_pixels=max_pixels)
            size = header.size if quick else probe(record.path, max_pixels=max_pixels)
        except ImageError as error:
            return _Facts(error.reason)
        return _Facts(None, size, header.format, header.mode)

    facts = []
    # Decoding runs beside the interpreter, so that threads use all processors.
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for fact in pool.map(examine, records):
            facts.append(fact)
            progress(len(facts))
    return facts


def _summary(
    kind: str, name: str, records: Sequence[Record], names: Sequence[str]
) -> dict[str, Any]:
    values = [record.targets[name] for record in records if name in record.targets]
    told: dict[str, Any] = {
        "kind": kind,
        "known": len(values),
        "missing": [record.path for record in records if name not in record.targets],
    }
    if kind == "score":
        return {**told, "values": numbers(values)}
    if kind == "distribution":
        means, votes = (moments(value)[0] for value in values), (sum(value) for value in values)
        return {**told, "values": numbers(means), "votes": numbers(votes)}
    if kind == "labels":
        states = {"with": 1, "without": 0, "unknown": None}
        columns = dict(zip(names, zip(*values, strict=True), strict=True)) if values else {}
        counts: dict[str, Any] = {
            each: {word: columns.get(each, ()).count(state) for word, state in states.items()}
            for each in names
        }
        return {**told, "counts": counts}
    if kind == "hue":
        found = Counter(value.name for value in values)
        return {**told, "counts": {hue: found[hue] for hue in (*WHEEL, "black")}}
    places = Counter(values)
    return {**told, "counts": {each: places[index] for index, each in enumerate(names)}}


def _length(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # it is among the broken


def _digest(path: Path) -> bytes | None:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").digest()
    except OSError:
        return None


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return os.fspath(value) if isinstance(value, Path) else value
