"""Labels as they come, a folder, a table, AVA or AADB, as the parts of a run for a schema."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from fcnkeras.data import aadb, ava
from fcnkeras.data.art import train_or_test_file
from fcnkeras.data.records import Collection, DataError, read_class_folders
from fcnkeras.data.rows import read_rows
from fcnkeras.data.splits import GroupOf, load_split, stratified_split
from fcnkeras.data.tables import Check, FileOf, read_table
from fcnkeras.tasks.schema import Schema

FRACTIONS: Mapping[str, float] = {"train": 0.7, "val": 0.15, "test": 0.15}


def default_schema(labels: Path) -> str | None:
    """The built-in schema that fits what `labels` looks like; None for a table, which may hold
    anything."""
    if labels.is_dir():
        return "aadb" if (labels / aadb.FILES["train"]).is_file() else "classes"
    return "ava_distribution" if labels.suffix == ".txt" else None


def read_labels(
    labels: Path,
    schema: Schema,
    *,
    file: FileOf | None = None,
    root: Path | None = None,
    margin: float = 0.0,
    check: Check = "exists",
) -> dict[str, Collection]:
    """Reads labelled pictures for a schema.

    Args:
        labels: a folder of class folders; a folder with the three label files of AADB; AVA's own
            file, `AVA.txt`; or a table, a CSV file with the schema's columns.
        schema: what is predicted.
        file: of a table: the column of the file, or a pattern, "{ID}.jpg"; by default "file", or
            what the art-composition system has, `new_filename` and `in_train`.
        root: the folder of the pictures; by default that of the labels.
        margin: of `ava_binary`: pictures whose mean score is nearer to 5 are left out.
        check: see `tables.read_table`.

    Returns:
        {"all": everything}, or the parts in which the data set is published.

    Raises:
        DataError: the labels cannot be read, or lack what the schema needs.
    """
    if not labels.exists():
        raise DataError(f"no such folder or file of labels: {labels}")
    if labels.is_dir():
        if (labels / aadb.FILES["train"]).is_file():
            return dict(aadb.read_aadb(labels, root, check=check))
        return {"all": read_class_folders(labels, check=check is True)}
    if labels.suffix == ".txt":
        votes = ava.read_ava(labels, root, check=check)
    elif schema.name == "ava_binary":
        votes = ava.read_distributions(labels, root, check=check)
    else:
        return {"all": _table(labels, schema, file, root, check)}
    if schema.name == "ava_binary":
        votes = ava.by_mean(votes, margin=margin)
    return {"all": votes}


def _table(
    labels: Path, schema: Schema, file: FileOf | None, root: Path | None, check: Check
) -> Collection:
    if file is None:
        first = next(iter(read_rows(labels)), None)
        art = first is not None and {"in_train", "new_filename"} <= set(first.cells)
        file = train_or_test_file if art else "file"
    columns = schema.columns()
    told = [source for column in columns for source in column.sources]
    return read_table(
        labels,
        columns,
        file=file,
        root=root,
        where=lambda cells: any(cells[source] for source in told),  # some lists are half empty
        check=check,
    )


def split_labels(
    parts: Mapping[str, Collection],
    schema: Schema,
    *,
    seed: int = 0,
    fractions: Mapping[str, float] = FRACTIONS,
    group: str | GroupOf | None = None,
    split: Path | None = None,
) -> dict[str, Collection]:
    """Divides labels into "train", "val" and "test", as published or by seed.

    Args:
        parts: what `read_labels` gave.
        schema: its first task of classes, or else its first task, is spread evenly.
        seed: of the division.
        fractions: the share of each part.
        group: see `splits.stratified_split`.
        split: the `split.csv` of another run, in place of a division by seed.

    Raises:
        DataError: a part would be empty, or the file is no split of these pictures.
    """
    if set(parts) == set(FRACTIONS):
        return dict(parts)
    (whole,) = parts.values()
    for name in schema.names:
        if name not in whole.targets:
            raise DataError(
                f"the data must have the target {name} of schema {schema.name}. "
                f"Received: {', '.join(whole.targets) or 'none'}"
            )
    if split is not None:
        found = load_split(split, whole)
    else:
        classes = [task.name for task in schema.tasks if task.target == "class"]
        by = (classes or list(schema.names))[0]
        # Labels are spread by nothing: a picture has several.
        spread = None if schema[by].target == "labels" else by
        found = stratified_split(whole, fractions, seed=seed, by=spread, group=group)
    if set(found) != set(FRACTIONS):
        raise DataError(f"parts train, val and test are needed. Received: {', '.join(found)}")
    return {**found, "train": dataclasses.replace(found["train"], rejected=whole.rejected)}
