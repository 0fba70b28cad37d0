"""What a run says, on a terminal and in a pipe."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

from fcnkeras.console import PIPE_WIDTH, ConsoleListener, make_console, results_table
from fcnkeras.experiments import EXPERIMENTS

ROW: dict[str, Any] = {
    "experiment": 2,
    "title": "fully convolutional",
    "feeder": "squash",
    "size": 224,
    "accuracy": 0.875,
    "accuracy_low": 0.5291,
    "accuracy_high": 0.9776,
    "parameters": 1234567,
    "seconds_per_picture": 0.01234,
    "training_seconds": 61.7,
}


def plain(console: Console) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())  # type: ignore[attr-defined]


def pipe() -> Console:
    return Console(file=io.StringIO(), width=PIPE_WIDTH)


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=100)


def tell(console: Console, name: str) -> ConsoleListener:
    listener = ConsoleListener(console, name)
    listener.begin(EXPERIMENTS[2])
    listener.progress(3, 8, {})
    listener.progress(4, 8, {"epoch": 1, "val_accuracy": 0.75})
    listener.end(EXPERIMENTS[2], ROW, ran=True)
    return listener


def test_a_pipe_gets_one_plain_line() -> None:
    console = pipe()
    tell(console, "styles")
    line = "styles 2. fully convolutional: accuracy 87.5 % [52.9 %, 97.8 %], 62 s of training\n"
    assert console.file.getvalue() == line  # type: ignore[attr-defined]


def test_a_run_without_a_name_and_one_that_was_finished_before() -> None:
    console = pipe()
    listener = ConsoleListener(console, "")
    listener.begin(EXPERIMENTS[2])
    listener.end(EXPERIMENTS[2], ROW, ran=False)
    text = plain(console)
    assert text.startswith("2. fully convolutional: accuracy")
    assert text.endswith("finished before\n")


def test_a_terminal_gets_a_bar() -> None:
    console = terminal()
    tell(console, "styles")
    text = plain(console)
    assert "4/8" in text
    assert "epoch 1, validation accuracy 0.750" in text
    assert "62 s of training" in text


def test_an_interrupted_bar_is_ended() -> None:
    console = terminal()
    listener = ConsoleListener(console, "styles")
    listener.stop()  # before anything began
    listener.begin(EXPERIMENTS[2])
    listener.stop()
    listener.stop()
    assert console.file.getvalue().endswith("\x1b[?25h") or "\x1b[?25h" in (  # type: ignore[attr-defined]
        console.file.getvalue()  # type: ignore[attr-defined]
    )


def test_the_table() -> None:
    console = pipe()
    worse = ROW | {"experiment": 1, "title": "original network", "accuracy": 0.5}
    title = "Experiments: /photos [2024]/[b]old[/b]"
    table = results_table(title, [worse, ROW])
    console.print(table)
    lines = plain(console).splitlines()
    assert title in lines[0]  # brackets are a part of the name, not of a style
    (line,) = [line for line in lines if "fully convolutional" in line]
    for cell in ("squash", "224", "87.5 % [52.9 %, 97.8 %]", "1,234,567", "0.0123", "62"):
        assert cell in line
    assert [row.style for row in table.rows] == ["", "bold"]


def test_a_table_without_rows() -> None:
    console = pipe()
    console.print(results_table("none yet", []))
    assert "none yet" in plain(console)


@pytest.mark.parametrize("stderr", [False, True])
def test_a_pipe_is_wide_and_has_no_colours(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, stderr: bool
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    console = make_console(stderr=stderr)
    assert console.width == PIPE_WIDTH == 120
    console.print(results_table("title", [ROW]))
    ours, other = capsys.readouterr()[:: -1 if stderr else 1]
    assert "\x1b" not in ours
    assert max(map(len, ours.splitlines())) > 90
    assert other == ""
