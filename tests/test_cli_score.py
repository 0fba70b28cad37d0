"""`fcnkeras score`: tables, pages, going on, and one sentence for every mistake."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image
from squares import bright, square
from test_cli import ROOT, assert_one_sentence, call
from typer.testing import CliRunner

from fcnkeras import cli

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "bright.keras"
    bright(keras.Input((64, 64, 3))).save(path)
    return path


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three pictures, of which the square grows, a copy, and a damaged one."""
    monkeypatch.chdir(tmp_path)
    folder = Path("photos")
    (folder / "sub").mkdir(parents=True)
    for number, side in enumerate((0.1, 0.3, 0.6)):
        Image.fromarray(square(90, 140, side=side)[0]).save(folder / f"{number}.png")
    (folder / "sub" / "copy of 1.png").write_bytes((folder / "1.png").read_bytes())
    (folder / "sub" / "damaged.png").write_bytes((folder / "1.png").read_bytes()[:200])
    return folder


def score(*arguments: Any) -> Any:
    return call("score", *arguments, "--engine", "keras")


def read(path: str) -> list[dict[str, str]]:
    with Path(path).open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_folder(model: Path, photos: Path) -> None:
    names = Path("names.txt")
    names.write_text("dark\nbright\n")
    arguments = (photos, "--model", model, "--out", "out/scores.csv", "--names", names)
    result = score(*arguments, "--every-class")
    assert result.exit_code == 3
    assert result.stderr == "1 picture(s) could not be scored; the rows say why.\n"
    lines = result.stdout.splitlines()
    assert lines[0] == f"{model}: squash 64, engine keras"
    assert lines[1].startswith("5 picture(s): 4 scored, 1 failed; 3 computed now, in ")
    assert lines[2:] == ["  1 failed: the file is truncated", "table: out/scores.csv"]
    rows = read("out/scores.csv")
    ours = [name for name in rows[0] if name.startswith(("class", "prob"))]
    assert ours == ["class", "probability", "class_dark", "class_bright"]
    paths = ["0.png", "1.png", "2.png", "sub/copy of 1.png", "sub/damaged.png"]
    assert [row["path"] for row in rows] == [f"photos/{path}" for path in paths]
    assert [row["status"] for row in rows] == ["ok"] * 4 + ["failed"]
    assert {(row["feeder"], row["size"], len(row["model"])) for row in rows} == {
        ("squash", "64", 16)
    }
    assert [row["width"] for row in rows] == ["140"] * 4 + [""]
    light = [float(row["class_bright"]) for row in rows[:3]]
    assert light == sorted(light)
    assert rows[3]["class_bright"] == rows[1]["class_bright"]
    (row,) = (row for row in rows if row["error"])
    assert (row["class"], row["error"]) == ("", "the file is truncated")

    before = Path("out/scores.csv").read_bytes()
    again = score(*arguments, "--every-class", "--json")
    assert again.exit_code == 3
    told = json.loads(again.stdout)
    assert (told["pictures"], told["failed"], told["computed"]) == (5, 1, 0)
    assert Path("out/scores.csv").read_bytes() == before
    (photos / "sub" / "damaged.png").unlink()
    assert score(*arguments, "--every-class").exit_code == 0
    assert len(read("out/scores.csv")) == 4


def test_the_best_and_the_worst(model: Path, photos: Path) -> None:
    arguments = (photos, "--model", model, "--every-class", "--top", 2, "--json")
    result = score(*arguments, "--by", "class_1", "--out", "s.jsonl")
    told = json.loads(result.stdout)
    assert [row["path"] for row in told["best"]] == ["photos/2.png", "photos/1.png"]
    assert told["worst"][0]["path"] == "photos/0.png"
    assert told["page"] == "s.html"
    page = Path("s.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 4
    assert "the file is truncated" in page
    assert "http" not in page.replace("http-equiv", "")
    rows = [json.loads(line) for line in Path("s.jsonl").read_text().splitlines()]
    assert told["best"][0]["class_1"] == max(
        row["class_1"] for row in rows if row["status"] == "ok"
    )
    assert "photos/2.png" in result.stderr  # the table for people
    assert_one_sentence(score(*arguments, "--by", "class", "--out", "s.jsonl"), "must be by one of")


def test_lists(model: Path, photos: Path) -> None:
    lists = b"photos/2.png\0photos/new\nline.png\0photos/sub\0"
    (photos / "new\nline.png").write_bytes((photos / "0.png").read_bytes())
    arguments = ["score", "--model", str(model), "--engine", "keras"]
    given = [*arguments, "--from", "-", "--out", "a.csv"]
    result = CliRunner().invoke(cli.app, given, input=lists)
    assert result.exit_code == 3
    Path("list").write_bytes(lists)
    assert score("--from", "list", "--model", model, "--out", "b.csv").exit_code == 3
    assert Path("a.csv").read_bytes() == Path("b.csv").read_bytes()
    paths = ["2.png", "new\nline.png", "sub/copy of 1.png", "sub/damaged.png"]
    assert [row["path"] for row in read("a.csv")] == [f"photos/{path}" for path in paths]


def test_results_are_not_mixed(model: Path, photos: Path) -> None:
    other = Path("other.keras")
    network = bright(keras.Input((64, 64, 3)))
    network.layers[-1].set_weights([2 * w for w in network.layers[-1].get_weights()])
    network.save(other)
    assert score(photos, "--model", model, "--out", "s.csv").exit_code == 3
    before = Path("s.csv").read_bytes()
    for options, text in (
        (("--model", other), "s.csv.state holds scores made with model"),
        (("--model", model, "--feeder", "crop"), "made with feeder squash, this is feeder crop"),
        (("--model", model, "--every-class"), "made with results"),
    ):
        assert_one_sentence(score(photos, "--out", "s.csv", *options), text)
        assert Path("s.csv").read_bytes() == before
    Path("s.csv.state").unlink()
    result = score(photos, "--model", model, "--out", "s.csv")
    assert_one_sentence(result, "s.csv is there without s.csv.state")
    assert Path("s.csv").read_bytes() == before


def test_mistakes(model: Path, photos: Path) -> None:
    out = ("--out", "s.csv")
    Path("file").touch()
    Path("bad.keras").write_text("no model")
    (Path("empty")).mkdir()
    for arguments, text in (
        ((photos, *out), "Say what scores: --model FILE."),
        ((photos, "--model", "none.keras", *out), "No such model file"),
        ((photos, "--model", "bad.keras", *out), "Keras cannot load a model from bad.keras"),
        (("--model", model, *out), "Say which pictures"),
        ((photos, "--from", "file", "--model", model, *out), "Say which pictures"),
        (("none", "--model", model, *out), "No such picture or folder: none"),
        (("empty", "--model", model, *out), "There is no picture to score."),
        (("--from", "none", "--model", model, *out), "No such list of paths: none"),
        ((photos, "--model", model, "--out", "s.xls"), "must end in .parquet, .csv, .jsonl"),
        ((photos, "--model", model, "--out", "file/s.csv"), "folder that can be written"),
        ((photos, "--model", model, "--feeder", "native", *out), "takes pictures of 64x64 only"),
        ((photos, "--model", model, "--network", "VGG16", *out), "A file of weights must end in"),
    ):
        assert_one_sentence(score(*arguments), text)
    assert not Path("s.csv").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(model: Path, photos: Path) -> None:
    Path("closed").mkdir(mode=0o500)
    result = score(photos, "--model", model, "--out", "closed/s.csv")
    assert_one_sentence(result, "folder that can be written")


def test_interrupted(model: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fcnkeras.scoring import runner

    def interrupt(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(runner, "read_entry", interrupt)
        result = score(photos, "--model", model, "--out", "s.csv")
    assert result.exit_code == 130
    assert result.stderr == "interrupted: the same command goes on where it stopped\n"
    assert not Path("s.csv").exists()
    assert score(photos, "--model", model, "--out", "s.csv").exit_code == 3


def network(path: Path) -> None:
    """A network that takes a while."""
    picture = keras.Input((None, None, 3))
    x = layers.Rescaling(1 / 127.5, -1)(picture)
    for _ in range(3):
        x = layers.Conv2D(32, 3, padding="same", activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    keras.Model(picture, layers.Dense(4, activation="softmax")(x)).save(path)


@pytest.mark.slow
def test_killed_twenty_times(tmp_path: Path) -> None:
    """The command itself, over 500 pictures of which 5 % are broken."""
    keras.utils.set_random_seed(0)
    network(tmp_path / "m.keras")
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number in range(500):
        size = [(60, 40), (40, 60), (80, 45)][number % 3]
        pixels = rng.integers(0, 256, (6, 8, 3), "uint8")
        path = tmp_path / "photos" / f"{number:03}.jpg"
        Image.fromarray(pixels).resize(size).save(path)
        if number % 20 == 7:
            path.write_bytes(path.read_bytes()[: 100 * (number % 3)])

    def command(out: str) -> list[str]:
        given = ["photos", "--model", "m.keras", "--out", out, "--size", "160", "--engine", "keras"]
        return [sys.executable, "-m", "fcnkeras", "score", *given]

    options: dict[str, Any] = {
        "cwd": tmp_path,
        "env": {**os.environ, "PYTHONPATH": str(ROOT)},
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
    }
    assert subprocess.run(command("whole.csv"), **options).returncode == 3
    random.seed(1)
    state, kills = tmp_path / "killed.csv.state", 0
    while kills < 20:
        process = subprocess.Popen(command("killed.csv"), **options)
        start = time.monotonic()
        # From when the work begins, not while TensorFlow is imported.
        while process.poll() is None and (
            not state.exists() or state.stat().st_mtime < time.time() - (time.monotonic() - start)
        ):
            time.sleep(0.02)
        time.sleep(random.uniform(0, 0.5))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
    assert subprocess.run(command("killed.csv"), **options).returncode == 3
    assert (tmp_path / "killed.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    with (tmp_path / "killed.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["path"] for row in rows] == [f"photos/{number:03}.jpg" for number in range(500)]
    assert sum(row["status"] == "failed" for row in rows) == 25
