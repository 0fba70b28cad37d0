"""What the benchmarks share: command line, time, memory, processes of their own, tables."""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table

from fcnkeras.files import write_csv

Key = TypeVar("Key", bound=Hashable)
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def command_line(doc: str, out: Path, networks: Collection[str] = ()) -> argparse.ArgumentParser:
    """The options that benchmarks have in common: `--out`, and where there is a choice `networks`.

    Args:
        doc: of the benchmark; its first line is the description.
        out: the default of `--out`.
        networks: names to choose from; all of them by default.
    """

    def known(name: str) -> str:
        if name not in networks:
            raise argparse.ArgumentTypeError(f"must be of {', '.join(networks)}. Received: {name}")
        return name

    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--out", type=Path, default=out, help="the CSV (default: %(default)s)")
    if networks:
        told = ", ".join(networks)
        parser.add_argument(
            "networks", nargs="*", type=known, default=list(networks), metavar="NETWORK", help=told
        )
    return parser


def seconds(call: Callable[[], Any]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def in_turns(calls: Mapping[Key, Callable[[], Any]], rounds: int) -> dict[Key, list[float]]:
    """How long each call takes, round by round, so that other load on the machine meets all alike.

    Returns:
        `rounds + 1` times for each call: the first round compiles and fills caches.
    """
    times: dict[Key, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            times[name].append(seconds(call))
    return times


def show(rows: Sequence[Mapping[str, Any]], leave_out: Collection[str] = ()) -> None:
    """Prints rows as a table, without the columns that say little; red where `ok` is False."""
    columns = [column for column in rows[0] if column not in leave_out]
    table = Table(*columns)
    for row in rows:
        cells = (str(row[column]) for column in columns)
        table.add_row(*cells, style=None if row.get("ok", True) else "red")
    Console(width=180).print(table)


def tell(row: Mapping[str, Any], columns: Collection[str] = ()) -> None:
    """Prints a row as a line; of `columns`, or of all, those that it has."""
    told = {key: row[key] for key in columns or row if row.get(key, "") != ""}
    print(", ".join(f"{key} {value}" for key, value in told.items()), flush=True)


def save(out: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> None:
    """Writes rows as CSV, and says where."""
    out.parent.mkdir(parents=True, exist_ok=True)
    write_csv(out, rows, columns or list(rows[0]))
    print(f"wrote {out}")


class PeakMemory:
    """The most memory that a block holds above what the process held before it.

    Works where Linux lets a process reset its own peak; elsewhere `bytes` stays None.

    Attributes:
        before: the resident set before the block.
        bytes: the resident set's peak inside the block, less `before`.

    Example:
        >>> with PeakMemory() as memory:
        ...     block = bytearray(100 << 20)
        >>> memory.bytes >> 20
        100
    """

    def __init__(self) -> None:
        self.bytes: int | None = None
        self.before: int | None = None

    def __enter__(self) -> PeakMemory:
        gc.collect()
        _return_free_memory()
        try:
            _RESET.write_text("5")
        except OSError:
            return self
        self.before = _resident("VmRSS")
        return self

    def __exit__(self, *_: object) -> None:
        if self.before is not None:
            self.bytes = _resident("VmHWM") - self.before


def _return_free_memory() -> None:
    """Freed memory that the C library keeps would hide what the block allocates next."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library
        return
    trim(0)


def _resident(field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", _STATUS.read_text())
    assert found is not None  # where the reset works, both fields are there
    return int(found[1]) * 1024


def run_child(script: Path, arguments: Sequence[str], timeout: float) -> dict[str, Any]:
    """Runs `script` with `arguments` and a last argument, the file for its result, as JSON.

    Returns:
        The result; `{"crash": reason}` where the process ended without one.
    """
    with tempfile.TemporaryDirectory() as folder:
        result, errors = Path(folder) / "result.json", Path(folder) / "errors.txt"
        command = [sys.executable, str(script), *arguments, str(result)]
        environment = {"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ}
        with errors.open("w") as stream:
            try:
                code = subprocess.run(
                    command,
                    stdout=stream,
                    stderr=stream,
                    env=environment,
                    timeout=timeout,
                    check=False,
                ).returncode
            except subprocess.TimeoutExpired:
                return {"crash": f"took longer than {timeout:g} seconds"}
        if result.exists():
            return json.loads(result.read_text())
        end = f"ended with signal {-code}" if code < 0 else f"exit code {code}"
        raised = re.findall(
            r"^[\w.]*(?:Error|Exception)\b.*", errors.read_text(errors="replace"), re.M
        )
        return {"crash": f"{end}, {raised[-1][:300]}" if raised else end}
