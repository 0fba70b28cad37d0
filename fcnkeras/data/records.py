"""Data sets as records: a picture and what is known about it."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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
        targets: What is known about it, by name; class folders give `{"class": index}`.
    """

    path: Path
    targets: Mapping[str, Any]


@dataclass(frozen=True)
class Rejected:
    """A file that should be a picture and cannot be read, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Collection:
    """Records in a fixed order.

    Attributes:
        records: The pictures.
        classes: The names of the classes, by index.
        rejected: The files that were left out.
    """

    records: tuple[Record, ...]
    classes: tuple[str, ...]
    rejected: tuple[Rejected, ...] = ()

    def __len__(self) -> int:
        return len(self.records)

    @property
    def labels(self) -> NDArray[np.int64]:
        """The class index of every record, (records,) int64."""
        return np.array([record.targets["class"] for record in self.records], dtype=np.int64)


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
    reasons = _reasons(path for _, path in found) if check else [None] * len(found)
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
    def fail(error: OSError) -> None:
        raise DataError(f"cannot list {error.filename}: {error.strerror}") from error

    paths = []
    for parent, folders, names in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths += [
            Path(parent, name)
            for name in names
            if not name.startswith(".") and is_picture_name(name)
        ]
    return iter(sorted(paths))


def _reasons(paths: Iterable[Path]) -> list[str | None]:
    """Why each file cannot be read; None for those that can. Decoding runs beside the interpreter,
    so that threads use all processors."""
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        return list(pool.map(_reason, paths))


def _reason(path: Path) -> str | None:
    try:
        probe(path)
    except ImageError as error:
        return error.reason
    return None
