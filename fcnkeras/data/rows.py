"""The rows of a text file, whatever stands between their cells."""

import codecs
import csv
import io
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fcnkeras.data.columns import CellError, Cells
from fcnkeras.data.records import DataError

MISSING = ("", "NA", "N/A", "NaN", "nan")
"""The cells that say nothing."""

_DELIMITERS = (",", ";", "\t", "|")


class _RowCells(dict[str, str]):
    def __missing__(self, column: str) -> str:
        raise DataError(f"the table must have the column {column}; its columns: {', '.join(self)}")


@dataclass(frozen=True)
class Row:
    """One row of a table, and where it stands."""

    table: Path
    line: int
    cells: Cells


def located(row: Row, error: CellError) -> str:
    """What is wrong with a row, and where it stands."""
    return f"{row.table}, line {row.line}: {error}"


def read_rows(
    path: Path,
    *,
    needed: Sequence[str] = (),
    header: Sequence[str] | None = None,
    delimiter: str | None = None,
    encoding: str | None = None,
    missing: Container[str] = MISSING,
) -> Iterator[Row]:
    """Reads the rows of a table.

    Args:
        path: The table.
        needed: Columns that must be there.
        header: The columns of a table whose first line does not name them.
        delimiter, encoding, missing: See `tables.read_table`.

    Yields:
        Every row that is not empty.

    Raises:
        DataError: The table cannot be read, or lacks a column that is needed.
    """
    text = _read_text(path, encoding)
    if delimiter is None:
        delimiter = max(_DELIMITERS, key=lambda each: _columns_found(text, each, needed))
    lines = _lines(path, text, delimiter)
    if header is None:
        first = next(lines, None)
        if first is None:
            raise DataError(f"{path} must begin with a line that names its columns, it is empty")
        header = [cell.strip() for cell in first[1]]
    for column in needed:
        if (count := header.count(column)) != 1:
            there = "is missing" if count == 0 else f"is there {count} times"
            raise DataError(
                f"{path} must have the column {column} once, which {there}; its columns: "
                f"{', '.join(header)}"
            )
    for line, cells in lines:
        stripped = [cell.strip() for cell in cells]
        if not any(stripped):
            continue
        if len(cells) != len(header):
            raise DataError(
                f"{path}, line {line}: a row must have {len(header)} cells, got {len(cells)}"
            )
        yield Row(
            path,
            line,
            _RowCells(
                (name, "" if cell in missing else cell)
                for name, cell in zip(header, stripped, strict=True)
            ),
        )


def _read_text(path: Path, encoding: str | None) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read the table {path}: {error.strerror}") from error
    if encoding is None:
        marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        encoding = "utf-16" if marked else "utf-8"
    try:
        return data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path}, line {line}: the text must be {encoding}, got the byte "
            f"0x{data[error.start]:02x}; another encoding, such as 'cp1252', must be named"
        ) from error


def _columns_found(text: str, delimiter: str, needed: Sequence[str]) -> int:
    """How many of the columns needed the first line names, if it is divided so."""
    try:
        first = next(_lines(Path(), text, delimiter), (0, []))[1]
    except DataError:
        return 0
    return len({cell.strip() for cell in first}.intersection(needed))


def _lines(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The lines with a cell, each with the number of its first line in the file."""
    stream = io.StringIO(text, newline="")
    if delimiter == " ":
        yield from ((n, line.split()) for n, line in enumerate(stream, 1) if line.strip())
        return
    # Strict, so that a quote that is never closed is an error and does not swallow the rest.
    reader = csv.reader(stream, delimiter=delimiter, strict=True)
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(f"{path}, line {number}: {error}") from error
        if cells:
            yield number, cells
