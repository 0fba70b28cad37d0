"""From what a user names, one folder, several, or none, to the parts of a run."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fcnkeras.data.procedural import make_task
from fcnkeras.data.records import Collection, DataError, read_class_folders
from fcnkeras.data.splits import load_split, save_split, stratified_split
from fcnkeras.files import write_json

PARTS = ("train", "val", "test")
# Enough test pictures for an interval of about 5 %, few enough to train ten networks in minutes.
GENERATED_COUNTS = {"train": 90, "val": 30, "test": 100}


def folder_parts(
    train: Path, val: Path, test: Path | None = None, *, seed: int = 0
) -> dict[str, Collection]:
    """Reads one folder of class folders for each part.

    Args:
        train: to train on; its classes are those of the others.
        val: chooses the epoch.
        test: used once, at the end. Without it, half of `val`, by class and seed, is kept aside:
            a figure on the pictures that chose the epoch would flatter.
        seed: of that division.

    Raises:
        DataError: a folder is missing, empty, or has other classes.
    """
    parts = {"train": read_class_folders(train)}
    parts["val"] = read_class_folders(val, classes=parts["train"].classes)
    if test is not None:
        parts["test"] = read_class_folders(test, classes=parts["train"].classes)
        return parts
    halves = stratified_split(parts["val"], {"val": 0.5, "test": 0.5}, seed=seed)
    rejected = parts["val"].rejected
    return {**parts, "val": replace(halves["val"], rejected=rejected), "test": halves["test"]}


def split_parts(
    folder: Path, *, seed: int = 0, fractions: Mapping[str, float] | None = None
) -> dict[str, Collection]:
    """Reads one folder of class folders and divides it by class and seed, 60/20/20 by default.

    Raises:
        DataError: the folder is missing or empty, or a class has too few pictures to divide.
    """
    collection = read_class_folders(folder)
    parts = stratified_split(
        collection, fractions or {"train": 0.6, "val": 0.2, "test": 0.2}, seed=seed
    )
    return {**parts, "train": replace(parts["train"], rejected=collection.rejected)}


def generated_parts(
    task: str, folder: Path, *, counts: Mapping[str, int] | None = None, seed: int = 0
) -> dict[str, Collection]:
    """Makes the pictures of a generated task in `folder`, if they are not there, and reads them.

    Args:
        task: "proportions" or "styles".
        folder: for the pictures.
        counts: pictures of each class in each part; by default those of the demo.
        seed: another seed gives other pictures.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    make_task(task, folder, counts=counts or GENERATED_COUNTS, seed=seed)
    return {part: read_class_folders(folder / part, check=False) for part in PARTS}


def claim_folder(
    out: Path, described: Mapping[str, Any], parts: Mapping[str, Collection], *, begun: bool
) -> None:
    """Writes `settings.json` and `split.csv` of a new run, or checks that the run that the folder
    holds has the same.

    Args:
        out: the folder.
        described: the settings, as JSON can hold them; the title may change.
        parts: the pictures.
        begun: whether the folder holds results that could be mixed up.

    Raises:
        DataError: it holds a run with other settings, or on other pictures.
    """
    file = out / "settings.json"
    now = json.loads(json.dumps(described))
    if not begun:
        (out / "split.csv").unlink(missing_ok=True)
    elif file.exists():
        before = json.loads(file.read_text())
        for key in sorted({*now, *before} - {"title"}):
            if before.get(key) != now.get(key):
                raise DataError(
                    f"{out} holds a run with {key}={before.get(key)!r}, now it is "
                    f"{now.get(key)!r}: take another folder, or delete that one."
                )
    write_parts(out, parts)
    write_json(file, now)


def write_parts(out: Path, parts: Mapping[str, Collection]) -> None:
    """Writes which picture is in which part to `out/split.csv`, or checks that it says the same.

    Its file names are relative to the folder that all pictures have in common, so that this may
    have moved since.

    Raises:
        DataError: a picture is in two parts, or the file tells of other pictures.
    """
    part_of: dict[Path, str] = {}
    for name, part in parts.items():
        for record in part.records:
            if (other := part_of.setdefault(record.path.resolve(), name)) != name:
                raise DataError(f"{record.path} must be in one part, it is in {other} and {name}.")
    parts = {name: replace(part, rejected=()) for name, part in parts.items()}
    records = tuple(record for part in parts.values() for record in part.records)
    whole = replace(next(iter(parts.values())), records=records)
    root = Path(os.path.commonpath([record.path.absolute().parent for record in records]))
    file = out / "split.csv"
    if file.exists():
        try:
            same = load_split(file, whole, root) == parts
        except DataError:
            same = False
        if not same:
            raise DataError(
                f"{out} holds a run on other pictures, listed in its split.csv: take another "
                "folder, or delete that one."
            )
    save_split(file, parts, root)
