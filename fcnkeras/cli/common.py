"""What the commands share: exit codes, one sentence for every mistake, a quiet start."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

FAILED, INCOMPLETE, INTERRUPTED = 2, 3, 130


@contextlib.contextmanager
def one_sentence(*, as_json: bool = False, resumes: bool = False) -> Iterator[None]:
    """Bad input, and a package that is not installed, end with one sentence and exit code 2, not
    with a traceback.

    Args:
        as_json: standard output is for JSON alone: what libraries print there, such as Keras of
            its downloads, goes to standard error.
        resumes: whether the command goes on where it was interrupted.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr if as_json else sys.stdout):
            yield
    except (ValueError, OSError, ImportError) as error:
        if os.environ.get("FCNKERAS_TRACEBACK"):
            raise
        typer.echo(f"error: {_sentence(error)}", err=True)
        raise typer.Exit(FAILED) from error
    except KeyboardInterrupt as error:
        told = ": the same command goes on where it stopped" if resumes else ""
        typer.echo(f"interrupted{told}", err=True)
        raise typer.Exit(INTERRUPTED) from error


def finish(result: Any, missing: Sequence[str], *, as_json: bool) -> None:
    """Prints the result where JSON is wanted and what was not done, which makes the exit code 3."""
    if as_json:
        typer.echo(json.dumps(result, indent=2))
    for line in missing:
        typer.echo(line, err=True)
    if missing:
        raise typer.Exit(INCOMPLETE)


def write_report(write: Callable[[Path], Path], out: Path, console: Console) -> list[str]:
    """Writes a report and says where; without matplotlib, returns in words that there is none."""
    try:
        console.print(f"report: {write(out)}", markup=False, soft_wrap=True)
    except ImportError as error:
        return [f"no report: {error}"]
    return []


def _sentence(error: Exception) -> str:
    """An error in one line: the whole message if it is ours, else its beginning and where to look,
    since it may as well be a fault of the program."""
    if isinstance(error, OSError) and error.strerror:
        name = "" if error.filename is None else f": {os.fsdecode(error.filename)}"
        return f"{error.strerror}{name}"
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip() or type(error).__name__
    if _raised_by(error).startswith("fcnkeras."):
        return " ".join(text.split())
    first = text.splitlines()[0].strip()
    return f"{first} ({type(error).__name__}; with FCNKERAS_TRACEBACK=1 it shows where)"


def _raised_by(error: Exception) -> str:
    """The module in which an error was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else str(trace.tb_frame.f_globals.get("__name__", ""))


def import_keras() -> None:
    """Imports Keras without TensorFlow's start-up lines on standard error, unless it fails."""
    # It would warn of every new model's functions, as if one were traced anew all the time.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet_stderr():
        import keras  # noqa: F401


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Keeps back what libraries write to standard error, from C++ too, unless something fails that
    is no mistake of the user."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)
        try:
            yield
        except (
            ValueError,
            OSError,
            ImportError,
            KeyboardInterrupt,
        ):  # a sentence of its own tells of these
            raise
        except BaseException:
            aside.seek(0)
            os.write(kept, aside.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def make_folder(option: str, folder: Path) -> None:
    """Makes a folder for results before the work begins, not after."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(
            f"{option} must lead to a folder that can be written ({error.strerror}). "
            f"Received: {folder}"
        ) from error
