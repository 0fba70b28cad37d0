"""The finished table: CSV, JSON lines or Parquet, written at once and as a whole."""

from __future__ import annotations

import csv
import heapq
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fcnkeras.files import write_atomically
from fcnkeras.scoring.listing import shown
from fcnkeras.scoring.store import Row

FIXED = ("path", "width", "height", "feeder", "size", "model", "status", "error")
"""The columns that every table has; a result of that name is called `<name>_output`."""

Column = tuple[str, str]
"""A name, and "number" (float32), "index" (a class without a name) or "text"."""

_AT_ONCE = 16_384  # rows of a Parquet file
Line = tuple[Any, ...]


def table_columns(results: Sequence[Column]) -> list[Column]:
    """The columns of the table, around those of the results."""
    before: list[Column] = [("path", "text"), ("width", "index"), ("height", "index")]
    behind: list[Column] = [
        ("feeder", "text"),
        ("size", "text"),
        ("model", "text"),
        ("status", "text"),
        ("error", "text"),
    ]
    return [*before, *results, *behind]


def table_lines(
    rows: Iterable[Row], results: Sequence[Column], settings: Mapping[str, str]
) -> Iterator[Line]:
    """The rows as the table has them; what a picture lacks is None."""
    nothing = (None,) * len(results)
    about = (settings["feeder"], settings["size"], settings["model"][:16])
    for row in rows:
        status = "ok" if row.error is None else "failed"
        values = nothing if row.values is None else row.values
        size = row.size or (None, None)
        yield (shown(row.path), *size, *values, *about, status, row.error)


class Summary:
    """Counts a table's rows as they pass, and keeps the best and the worst.

    Args:
        results: the columns of the results.
        by: the column of numbers that ranks; by default the first one.
        count: how many to keep of the best, and of the worst.

    Attributes:
        by: the column that ranks, None if the results have no numbers.
        total, failed: how many rows there were, and how many of them without scores.
        reasons: how often each error came.

    Raises:
        ValueError: `by` is no column of numbers.
    """

    def __init__(self, results: Sequence[Column], by: str | None = None, count: int = 0) -> None:
        numbers = [name for name, kind in results if kind == "number"]
        if by is not None and by not in numbers:
            raise ValueError(f"The ranking must be by one of {', '.join(numbers)}. Received: {by}")
        self.by = by or next(iter(numbers), None)
        self._place = [name for name, _ in results].index(self.by) if self.by else 0
        self._count = count if self.by else 0
        self.total = self.failed = 0
        self.reasons: Counter[str] = Counter()
        self._best: list[tuple[float, int, Row]] = []
        self._worst: list[tuple[float, int, Row]] = []

    def watched(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Passes rows on."""
        for row in rows:
            self.total += 1
            if row.error is not None:
                self.failed += 1
                self.reasons[row.error] += 1
            elif row.values is not None and self._count:
                value = float(row.values[self._place])
                for heap, key in ((self._best, value), (self._worst, -value)):
                    push = heapq.heappush if len(heap) < self._count else heapq.heappushpop
                    push(heap, (key, -self.total, row))
            yield row

    @property
    def best(self) -> list[Row]:
        """The best, the best first."""
        return [row for *_, row in sorted(self._best, reverse=True)]

    @property
    def worst(self) -> list[Row]:
        """The worst, the worst first."""
        return [row for *_, row in sorted(self._worst, reverse=True)]

    def value(self, row: Row) -> float:
        """What a row is ranked by."""
        assert row.values is not None
        return float(row.values[self._place])


def check_ending(path: Path) -> None:
    """Raises before the work begins if the table could not be written.

    Raises:
        ValueError: the ending is none of those known.
        ImportError: Parquet needs pyarrow, which is not installed.
    """
    if path.suffix not in _WRITERS:
        raise ValueError(f"The table must end in {', '.join(_WRITERS)}. Received: {path}")
    if path.suffix == ".parquet":
        _arrow()


def write_table(path: Path, columns: Sequence[Column], lines: Iterable[Line]) -> None:
    """Writes a table, in the format that the ending of `path` says; one process at a time may.

    Args:
        path: `.csv`, `.jsonl` or `.parquet`.
        columns: names and kinds, see `Column`.
        lines: a value for each column, or None.
    """
    write = _WRITERS[path.suffix]
    write_atomically(path, lambda target: write(target, columns, lines), alone=True)


def _write_csv(path: Path, columns: Sequence[Column], lines: Iterable[Line]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        plain = csv.writer(stream, lineterminator="\n")
        # A lone carriage return is not quoted by itself, and ends the line for most readers.
        quoted = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL)
        plain.writerow([name for name, _ in columns])
        for line in lines:
            returns = any(isinstance(value, str) and "\r" in value for value in line)
            (quoted if returns else plain).writerow(line)


def _write_jsonl(path: Path, columns: Sequence[Column], lines: Iterable[Line]) -> None:
    names = [name for name, _ in columns]
    with path.open("w", encoding="utf-8", newline="") as stream:
        for line in lines:
            row = dict(zip(names, line, strict=True))
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")


def _write_parquet(path: Path, columns: Sequence[Column], lines: Iterable[Line]) -> None:
    arrow, parquet = _arrow()
    kinds = {"number": arrow.float32(), "index": arrow.int32(), "text": arrow.string()}
    schema = arrow.schema([(name, kinds[kind]) for name, kind in columns])
    source = iter(lines)
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        while some := list(itertools.islice(source, _AT_ONCE)):
            arrays = [
                arrow.array(values, kinds[kind])
                for values, (_, kind) in zip(zip(*some, strict=True), columns, strict=True)
            ]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            'Parquet needs the package pyarrow: pip install "fcnkeras[score]"'
        ) from error
    return pyarrow, pyarrow.parquet


_WRITERS: dict[str, Callable[[Path, Sequence[Column], Iterable[Line]], None]] = {
    ".parquet": _write_parquet,
    ".csv": _write_csv,
    ".jsonl": _write_jsonl,
}
