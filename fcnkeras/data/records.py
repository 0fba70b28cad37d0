"""Data sets as records: a picture and what is known about it."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcnkeras.images import ImageError, is_picture_name, probe


class DataError(ValueError):
    """A data set that cannot be used as it is."""


@dataclass(frozen=True)
class Record:
    """One picture.

    Attributes:
        path: The picture's file.
        targets: What is known about it, by name; class folders give `{"class": index}`, tables one
            target for each column (see `columns`). What is not known is not there.
    """

    path: Path
    targets: Mapping[str, Any]


@dataclass(frozen=True)
class Rejected:
    """A file that should be a picture and cannot be read, and why.

    Attributes:
        path: The file.
        reason: Why it was left out, in words.
        table: The table that names the file, if one does.
        line: The line of the table, the first being 1.
    """

    path: Path
    reason: str
    table: Path | None = None
    line: int | None = None


@dataclass(frozen=True)
class Collection:
    """Records in a fixed order.

    Attributes:
        records: The pictures.
        classes: The names of the target "class", by index; none where there is no such target.
        rejected: The files that were left out.
        vocabularies: The names of every other target that holds classes or labels, by index.
    """

    records: tuple[Record, ...]
    classes: tuple[str, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    vocabularies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.records)

    @property
    def labels(self) -> NDArray[np.int64]:
        """The class index of every record, (records,) int64."""
        return np.array([record.targets["class"] for record in self.records], dtype=np.int64)

    @property
    def targets(self) -> tuple[str, ...]:
        """The names of all targets that some record has, in the order of their first appearance."""
        return tuple(dict.fromkeys(name for record in self.records for name in record.targets))

    def names(self, target: str) -> tuple[str, ...]:
        """The names of a target's classes or labels, by index; none for a number."""
        return self.classes if target == "class" else self.vocabularies.get(target, ())

    def values(self, target: str) -> list[Any]:
        """A target of every record, `None` where it is not known."""
        return [record.targets.get(target) for record in self.records]


def read_class_folders(
    folder: str | os.PathLike[str], *, classes: Sequence[str] | None = None, check: bool = True
) -> Collection:
    """Reads a folder that holds one sub-folder of pictures for each class.

    Pictures are found at any depth below their class folder, by the ending of their names. Files
    and folders whose names begin with a dot are skipped, and so are files with other endings.

    Args:
        folder: The folder of class folders.
        classes: The classes and their order, for a folder that must agree with another one
            (`training.classes` for the validation set). By default all sub-folders, sorted.
        check: Decode every file once, so that none fails later. What cannot be read is left out
            and listed in `rejected`.

    Returns:
        A `Collection`, its records sorted by class, then by path.

    Raises:
        DataError: The folder is missing, has fewer than two class folders, has other ones than
            `classes`, or one of them holds no picture that can be read.

    Example:

    ```python
    train = read_class_folders("paintings/train")
    val = read_class_folders("paintings/val", classes=train.classes)
    ```
    """
    folder = Path(folder)
    names = _class_names(folder, classes)
    found = [(index, path) for index, name in enumerate(names) for path in _files(folder / name)]
    reasons = why_unreadable(path for _, path in found) if check else [None] * len(found)
    records, rejected = [], []
    for (index, path), reason in zip(found, reasons, strict=True):
        if reason is None:
            records.append(Record(path, {"class": index}))
        else:
            rejected.append(Rejected(path, reason))
    filled = {record.targets["class"] for record in records}
    for index, name in enumerate(names):
        if index not in filled:
            what = "that can be read" if check else "by its name"
            raise DataError(f"class folder {folder / name} holds no picture {what}")
    return Collection(tuple(records), names, tuple(rejected))


def _class_names(folder: Path, classes: Sequence[str] | None) -> tuple[str, ...]:
    if not folder.exists():
        raise DataError(f"a data set must be a folder of class folders, and {folder} is missing")
    if not folder.is_dir():
        raise DataError(f"a data set must be a folder of class folders, got the file {folder}")
    try:
        found = sorted(
            child.name
            for child in folder.iterdir()
            if child.is_dir() and not child.name.startswith(".")
        )
    except OSError as error:
        raise DataError(f"cannot list {folder}: {error.strerror}") from error
    if classes is not None:
        missing = sorted(set(classes) - set(found))
        unknown = sorted(set(found) - set(classes))
        if missing or unknown:
            raise DataError(
                f"{folder} must hold exactly the classes {', '.join(classes)}; "
                f"missing: {', '.join(missing) or 'none'}; unknown: {', '.join(unknown) or 'none'}"
            )
    if len(found) < 2:
        got = f"only {found[0]}" if found else "none"
        raise DataError(f"{folder} must hold at least two class folders, got {got}")
    return tuple(classes if classes is not None else found)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in files_below(folder) if is_picture_name(path))


def files_below(folder: Path) -> list[Path]:
    """All files at any depth, sorted; those whose names begin with a dot are left out."""

    def fail(error: OSError) -> None:
        raise DataError(f"cannot list {error.filename}: {error.strerror}") from error

    paths = []
    for parent, folders, names in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths += [Path(parent, name) for name in names if not name.startswith(".")]
    return sorted(paths)


def why_unreadable(paths: Iterable[Path]) -> list[str | None]:
    """Decodes every file, and tells why each cannot be read; `None` for those that can.

    Decoding runs beside the interpreter, so that threads use all processors.
    """
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        return list(pool.map(_reason, paths))


def _reason(path: Path) -> str | None:
    try:
        probe(path)
    except ImageError as error:
        return error.reason
    return None
