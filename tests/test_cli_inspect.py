"""`fcnkeras inspect`: what it says, its exit codes, and one sentence for every mistake."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from test_cli import assert_one_sentence, call


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes: 30x20 and 20x40, two copies of 20x20."""
    folder = tmp_path / "photos"
    for name, size, colour in (
        ("cats/wide.png", (30, 20), "red"),
        ("cats/tall.png", (20, 40), "red"),
        ("dogs/one.png", (20, 20), "blue"),
        ("dogs/two.png", (20, 20), "blue"),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, colour).save(folder / name)
    return folder


@pytest.fixture
def table(photos: Path) -> Path:
    path = photos.parent / "labels.csv"
    path.write_text(
        "ID,artist,contrast,1,2,hue,tags\n"
        "cats/wide,monet,1,1,3,red,calm;bright\n"
        "cats/tall,degas,4,4,0,,calm\n"
        "dogs/none,degas,4,4,0,,calm\n"
    )
    return path


def break_one(photos: Path) -> Path:
    path = photos / "dogs" / "cut.png"
    path.write_bytes((photos / "dogs" / "one.png").read_bytes()[:60])
    return path


def test_lines_in_a_pipe(photos: Path) -> None:
    result = call("inspect", photos, "--size", 20)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"{photos}: 4 of 4 files can be read, ")
    assert "formats: PNG 4" in lines
    assert "class: cats: pictures 2, share 50.0 %" in lines
    assert "aspect: square: pictures 2" in lines
    assert "sizes: width: min 20, median 20, mean 22, max 30" in lines
    (crop,) = (line for line in lines if line.startswith("feeders at 20: crop"))
    assert "cropped 20.8 % (max 50.0 %)" in crop  # a third, a half, and nothing twice
    one, two = (photos / "dogs" / f"{name}.png" for name in ("one", "two"))
    assert f"duplicates: {one}: same as {two}" in lines
    assert not any(line.startswith(("broken", "missing")) for line in lines)


def test_broken_files_give_exit_code_3(photos: Path) -> None:
    cut = break_one(photos)
    result = call("inspect", photos)
    assert result.exit_code == 3
    assert f"broken: {cut}: reason the file is truncated" in result.stdout.splitlines()
    assert "4 of 5 files" in result.stdout
    quick = call("inspect", photos, "--quick")
    assert quick.exit_code == 0
    assert "headers only: damaged pixels go unnoticed" in quick.stdout


def test_json(photos: Path) -> None:
    break_one(photos)
    result = call("inspect", photos, "--json", "--size", 20)
    assert result.exit_code == 3
    told = json.loads(result.stdout)
    assert told["source"] == str(photos)
    assert (told["files"], told["readable"]) == (5, 4)
    assert told["targets"]["class"]["counts"] == {"cats": 2, "dogs": 2}
    assert told["feeders"]["squash"]["distortion"] == {"mean": 0.375, "max": 1.0}
    assert [len(same["paths"]) for same in told["duplicates"]] == [2]


def test_a_table(photos: Path, table: Path) -> None:
    files = ("--file", "{ID}.png", "--root", photos)
    columns = ("--class", "artist", "--hue", "hue", "--score", "contrast:1:10")
    options = (*files, *columns, "--distribution", "votes=1,2", "--labels", "tags")
    result = call("inspect", table, *options)
    assert result.exit_code == 3  # one row has no file
    lines = result.stdout.splitlines()
    for line in (
        "artist: degas: pictures 1, share 50.0 %",
        "contrast: score: min 1, median 2.5, mean 2.5, max 4, deviation 1.5",
        "votes: mean: min 1, median 1.375, mean 1.375, max 1.75, deviation 0.375",
        "votes: votes: min 4, median 4, mean 4, max 4, deviation 0",
        "hue: red: pictures 1, share 100.0 %",
        "tags: bright: with 1, without 1, unknown 0",
        "missing labels: hue: pictures 1",
        f"rows without a file: {table}, line 4: file {photos / 'dogs' / 'none.png'}: no such file",
    ):
        assert line in lines
    assert call("inspect", table, *files, "--score", "contrast").exit_code == 3


def test_names_that_would_disturb_a_terminal(photos: Path) -> None:
    (photos / "cats" / "new\nline\x1b[31m.jpg").write_text("none")
    result = call("inspect", photos)
    assert "\x1b" not in result.stdout
    assert r"new\nline\x1b[31m.jpg" in result.stdout


def test_mistakes(photos: Path, table: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for arguments, text in (
        ((tmp_path / "none",), "cannot read the table"),
        ((tmp_path / "empty",), "must hold pictures, it has none by their names"),
        ((photos, "--size", 0), "size must be a positive int, got 0"),
        ((photos, "--max-pixels", 0), "max_pixels must be at least 1, got 0"),
        ((photos, "--class", "artist"), "go with a table. Received: the folder"),
        ((table,), "must have the column file once, which is missing"),
        ((table, "--file", "{ID}.gif"), "none of its 3 rows does, e.g. line 2: no such file"),
        ((table, "--distribution", "votes"), "NAME=COLUMN,COLUMN,... Received: 'votes'"),
        ((table, "--file", "ID", "--score", "artist:1:5"),
         "column artist must hold a number from 1 to 5, got 'monet'"),
    ):  # fmt: skip
        assert_one_sentence(call("inspect", *arguments), text)


def test_help_shows_an_example() -> None:
    assert "Example: fcnkeras inspect photos" in call("inspect", "--help").stdout


def test_tables_on_a_terminal(photos: Path) -> None:
    for number in range(30):
        (photos / "dogs" / f"broken{number:02}.png").write_text("none")
    ours, theirs = pty.openpty()
    (photos / "dogs" / "[red]00.png").write_text("none")
    environment = {**os.environ, "COLUMNS": "150", "TERM": "xterm"}
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "fcnkeras", "inspect", photos],
        stdout=theirs,
        stderr=subprocess.PIPE,
        env=environment,
    ) as process:
        os.close(theirs)
        shown = b""
        while block := read(ours):
            shown += block
        errors = process.stderr.read() if process.stderr else b""
    os.close(ours)
    text = shown.decode()
    assert (process.returncode, errors) == (3, b"")
    assert "┃" in text
    assert "feeders at 224" in text
    assert "[red]00.png" in text
    assert "broken18.png" in text
    assert "broken19.png" not in text
    assert "... and 11 more: --json lists all" in text


def read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # how Linux tells that the other side is closed
        return b""


def test_it_does_without_keras(photos: Path) -> None:
    code = (
        "import sys; from fcnkeras.cli import app; app(sys.argv[1:], standalone_mode=False);"
        "print('keras' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "inspect", photos], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "False"
