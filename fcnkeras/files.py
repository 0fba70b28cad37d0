"""Files that are either whole or not there."""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


def write_atomically(path: Path, write: Callable[[Path], Any], *, alone: bool = False) -> None:
    """Lets `write` make a file beside `path`, then renames it to `path`.

    The temporary name keeps the ending of `path`, by which some writers choose the format. Where
    no other process writes to `path`, as `alone` says, it is always the same one, so that what a
    kill has left there does not stay.
    """
    if alone:
        made = path.with_name(f".writing-{path.name}")
        made.unlink(missing_ok=True)
    else:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=path.name)
        os.close(handle)
        made = Path(name)
    try:
        write(made)
        made.chmod(0o644)
        made.replace(path)
    except BaseException:
        made.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text atomically, line ends as given; file names that are no UTF-8 stay so."""
    write_atomically(
        path, lambda target: target.write_bytes(text.encode("utf-8", "surrogateescape"))
    )


def write_json(path: Path, value: Any) -> None:
    """Writes indented JSON atomically."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Writes rows as CSV atomically; a column that a row lacks stays empty."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, buffer.getvalue())


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file; none if the file is not there."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        return list(csv.DictReader(stream))
