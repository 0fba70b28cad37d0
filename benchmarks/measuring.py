"""What the benchmarks of conversion share: a network in a process of its own, and its memory."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


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
