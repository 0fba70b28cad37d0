"""Tables of labels: any mixture of columns, each row a picture."""

import os
import string
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from collections.abc import Collection as Values
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fcnkeras.data.columns import CellError, Cells, Column
from fcnkeras.data.records import Collection, DataError, Record, Rejected, why_unreadable
from fcnkeras.data.rows import MISSING, Row, located, read_rows

PathLike = str | os.PathLike[str]
FileOf = str | Callable[[Cells], str]
Where = Mapping[str, Values[str]] | Callable[[Cells], bool]
Check = bool | Literal["exists"]


@dataclass
class _Entry:
    row: Row
    path: Path
    targets: dict[str, Any]


def read_table(
    tables: PathLike | Sequence[PathLike],
    columns: Sequence[Column],
    *,
    file: FileOf = "file",
    root: PathLike | None = None,
    where: Where | None = None,
    at_least: Mapping[str, int] | None = None,
    check: Check = True,
    delimiter: str | None = None,
    encoding: str | None = None,
    missing: Container[str] = MISSING,
) -> Collection:
    """Reads a CSV file, or several as one, that tells about a picture in every row.

    The first line names the columns; other columns than those asked for are ignored. A row without
    a value leaves the target out of its record. A row whose picture cannot be read is left out and
    listed in `rejected`. Two rows for one picture are one if they say the same.

    Args:
        tables: The CSV file or files. Quoted cells may hold delimiters and line ends.
        columns: What to read, see `columns`.
        file: Where the picture is: a column; or a pattern over columns, as `"{ID}.jpg"`; or a
            function from the row's cells to the path.
        root: The folder of the pictures. By default the folder of each table.
        where: Which rows to take: the allowed values by column, `{"artist": {"degas", "monet"}}`,
            each of which must occur; or a function from the row's cells to a bool.
        at_least: By column, how many of the pictures taken must share a value; rows with a rarer
            value, or with none, are left out.
        check: `True` decodes every picture once, so that none fails later; `"exists"` only looks
            whether it is there; `False` asks nothing, for labels without pictures.
        delimiter: What stands between cells. By default the one of comma, semicolon, tab and bar
            with which the first line names the columns needed. `" "`: any number of blanks.
        encoding: By default UTF-8, or UTF-16 if the file begins with its mark.
        missing: The cells that say nothing.

    Returns:
        A `Collection` in the order of the rows, with the names of its classes and labels.

    Raises:
        DataError: A table cannot be read, lacks a column or holds a cell that its column cannot
            read (the first such cell is named, with its line); two rows contradict each other; or
            no row is left.

    Example:

    ```python
    paintings = read_table(
        "labels.csv",
        [ClassColumn("artist"), ScoreColumn("contrast", 1, 10), HueColumn("primary_color")],
        file="{ID}.jpg",
        root="pictures",
        at_least={"artist": 20},
    )
    paintings.names("artist")[paintings.records[0].targets["artist"]]
    ```
    """
    paths = [tables] if isinstance(tables, (str, os.PathLike)) else tables
    needed = list(dict.fromkeys(source for column in columns for source in column.sources))
    needed += [*pattern_columns(file), *(where if isinstance(where, Mapping) else ())]
    needed += at_least or ()
    rows = [
        row
        for path in paths
        for row in read_rows(
            Path(path), needed=needed, delimiter=delimiter, encoding=encoding, missing=missing
        )
    ]
    return collect(rows, columns, file=file, root=root, where=where, at_least=at_least, check=check)


def collect(
    rows: Iterable[Row],
    columns: Sequence[Column],
    *,
    file: FileOf = "file",
    root: PathLike | None = None,
    where: Where | None = None,
    at_least: Mapping[str, int] | None = None,
    check: Check = True,
) -> Collection:
    """Makes a collection of rows, see `read_table` for the arguments and what is raised."""
    names = [column.name for column in columns]
    if len(set(names)) != len(names):
        raise ValueError(f"every target must have one column, got {', '.join(names)}")
    if check not in (True, False, "exists"):
        raise ValueError(f"check must be True, False or 'exists', got {check!r}")
    taken = _filtered(list(rows), where)
    entries, rejected = _placed(_parsed(taken, columns), file, root)
    entries, unreadable = _readable(_merged(entries), check)
    rejected += unreadable
    if not entries:
        rejected.sort(key=_place)
        some = f", e.g. line {rejected[0].line}: {rejected[0].reason}" if rejected else ""
        hint = "" if check is False else "; labels alone are read with check=False"
        raise DataError(
            f"a table must tell of pictures that are there, none of its {len(taken)} rows "
            f"does{some}{hint}"
        )
    entries = _frequent(entries, at_least or {})
    vocabularies = _encode(entries, columns)
    return Collection(
        tuple(Record(entry.path, entry.targets) for entry in entries),
        vocabularies.pop("class", ()),
        tuple(sorted(rejected, key=_place)),
        vocabularies,
    )


def _place(rejected: Rejected) -> tuple[str, int]:
    return str(rejected.table), rejected.line or 0


def pattern_columns(file: FileOf) -> list[str]:
    """The columns that `file` reads, where it tells: none of a function."""
    if callable(file):
        return []
    if "{" not in file:
        return [file]
    parts = list(string.Formatter().parse(file))
    for _, name, spec, conversion in parts:
        if name is not None and (not name or spec or conversion):
            raise ValueError(f"a pattern for files may hold text and {{COLUMN}}, got {file!r}")
    return [name for _, name, _, _ in parts if name]


def _filtered(rows: list[Row], where: Where | None) -> list[Row]:
    if where is None:
        return rows
    if not isinstance(where, Mapping):
        return [row for row in rows if where(row.cells)]
    for column, allowed in where.items():
        if isinstance(allowed, str):
            raise TypeError(f"where must give a set of values for {column}, got {allowed!r}")
        unknown = sorted(set(allowed) - {row.cells[column] for row in rows})
        if unknown:
            raise DataError(f"column {column} must hold every value to take, got {unknown[0]!r}")
    return [
        row
        for row in rows
        if all(row.cells[column] in allowed for column, allowed in where.items())
    ]


def _parsed(rows: list[Row], columns: Sequence[Column]) -> list[tuple[Row, dict[str, Any]]]:
    first, count = "", 0
    parsed = []
    for row in rows:
        targets: dict[str, Any] = {}
        for column in columns:
            try:
                value = column.parse(row.cells)
            except CellError as error:
                first, count = first or located(row, error), count + 1
                continue
            if value is not None:
                targets[column.name] = value
        parsed.append((row, targets))
    if first:
        raise DataError(first + (f" (and {count - 1} more such cells)" if count > 1 else ""))
    return parsed


def _placed(
    parsed: Iterable[tuple[Row, dict[str, Any]]], file: FileOf, root: PathLike | None
) -> tuple[list[_Entry], list[Rejected]]:
    """The picture of every row; the rows that name none are rejected."""
    sources = pattern_columns(file)
    entries, rejected = [], []
    for row, targets in parsed:
        folder = row.table.parent if root is None else Path(root)
        blank = next((column for column in sources if not row.cells[column]), None)
        if blank is not None:
            reason = f"its column {blank} is empty"
            rejected.append(Rejected(folder, reason, row.table, row.line))
            continue
        try:
            name = _file_name(file, row.cells)
        except CellError as error:
            raise DataError(located(row, error)) from error
        entries.append(_Entry(row, folder / name, targets))
    return entries, rejected


def _file_name(file: FileOf, cells: Cells) -> str:
    if callable(file):
        return file(cells)
    if "{" not in file:
        return cells[file]
    parts = string.Formatter().parse(file)
    return "".join(text + (cells[name] if name else "") for text, name, _, _ in parts)


def _merged(entries: list[_Entry]) -> list[_Entry]:
    """One entry for every picture."""
    known: dict[str, _Entry] = {}
    for entry in entries:
        other = known.setdefault(os.path.normpath(entry.path.absolute()), entry)
        if other.targets != entry.targets:
            raise DataError(
                f"{entry.row.table}, line {entry.row.line}: a picture must have one row, "
                f"{entry.path} has another with other values in line {other.row.line}"
                + ("" if other.row.table == entry.row.table else f" of {other.row.table}")
            )
    return list(known.values())


def _readable(entries: list[_Entry], check: Check) -> tuple[list[_Entry], list[Rejected]]:
    reasons: Sequence[str | None]
    if check is False:
        return entries, []
    if check is True:
        reasons = why_unreadable(entry.path for entry in entries)
    else:
        reasons = [None if entry.path.is_file() else "no such file" for entry in entries]
    good, rejected = [], []
    for entry, reason in zip(entries, reasons, strict=True):
        if reason is None:
            good.append(entry)
        else:
            rejected.append(Rejected(entry.path, reason, entry.row.table, entry.row.line))
    return good, rejected


def _frequent(entries: list[_Entry], at_least: Mapping[str, int]) -> list[_Entry]:
    """Leaves rare values out, again and again, as one column's rows may be another's pictures."""
    before = -1
    while len(entries) != before:
        before = len(entries)
        for column, least in at_least.items():
            counts = Counter(entry.row.cells[column] for entry in entries)
            entries = [
                entry
                for entry in entries
                if (cell := entry.row.cells[column]) and counts[cell] >= least
            ]
    if not entries:
        asked = " and ".join(f"{least} pictures of one {name}" for name, least in at_least.items())
        raise DataError(f"at_least asks for {asked}, there are not so many")
    return entries


def _encode(entries: list[_Entry], columns: Sequence[Column]) -> dict[str, tuple[str, ...]]:
    """Puts the values of the targets in place of what was parsed, and returns their names."""
    vocabularies = {}
    for column in columns:
        mine = [entry.targets for entry in entries if column.name in entry.targets]
        fitted = column.fitted(targets[column.name] for targets in mine)
        names = getattr(fitted, "names", None)
        if names is not None:
            vocabularies[column.name] = names
        values: dict[Any, Any] = {}  # equal ones share one object, which saves most of the memory
        for targets in mine:
            parsed = targets[column.name]
            if parsed not in values:
                values[parsed] = fitted.encode(parsed)
            targets[column.name] = values[parsed]
    return vocabularies
