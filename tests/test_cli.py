"""The command line: what it does end to end, and one sentence for every mistake."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import galleries
import keras
import pytest
import typer
from keras import layers
from typer.testing import CliRunner, Result

from fcnkeras import cli, experiments, report
from fcnkeras.models import specs

# Keras' own reading of TensorFlow's variables, under NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

ROOT = Path(__file__).resolve().parents[1]
QUICK = ("--network", "tiny", "--weights", "random", "--epochs", "1", "--batch", "4")


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(specs.SPECS, "Tiny", galleries.TINY)
    monkeypatch.delenv("FCNKERAS_TRACEBACK", raising=False)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    parts = (("train", 4), ("val", 4), ("test", 3), ("more", 3))
    for seed, (name, count) in enumerate(parts):
        galleries.class_folders(folder / name, count, seed=seed)
    return folder


def call(*arguments: Any) -> Result:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def assert_one_sentence(result: Result, *texts: str) -> None:
    """Exit code 2 and one line on standard error, with these texts in it."""
    assert result.exit_code == 2, result.output
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    assert "\x1b" not in lines[0]
    for text in texts:
        assert text in lines[0]


def both(pictures: Path) -> tuple:
    return ("--train", pictures / "train", "--val", pictures / "val")


def test_experiments_end_to_end(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "a" / "b"
    arguments = ("experiments", *both(pictures), "--test", pictures / "test", *QUICK)
    result = call(*arguments, "--only", "1,6-6", "--out", out)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    for number, title in ((1, "original network"), (6, "crop")):
        assert any(line.startswith(f"{number}. {title}: accuracy ") for line in lines)
        # The rows of the table stand in one line each.
        assert any(f" {number} " in line and " % [" in line and title in line for line in lines)
    assert lines[-1] == f"report: {out / 'report.html'}"
    assert "\x1b" not in result.output
    assert (out / "report.html").read_text().count("<html") == 1
    names = ("rejected.csv", "report.html", "results.csv", "settings.json", "split.csv")
    assert [path.name for path in sorted(out.iterdir()) if path.is_file()] == list(names)
    saved = json.loads((out / "settings.json").read_text())
    assert (saved["network"], saved["weights"], saved["epochs"]) == ("Tiny", "random", 1)

    again = call(*arguments, "--only", "1", "--out", out, "--json")
    rows = json.loads(again.stdout)
    assert [row["experiment"] for row in rows] == [1, 6]
    assert {row["n_test"] for row in rows} == {6}
    assert "finished before" in again.stderr

    split = (out / "split.csv").read_bytes()
    for other, text in (
        (("--seed", 1), "holds a run with seed=0, now it is 1: take another folder"),
        (("--test", pictures / "none"), "--test must be a folder"),
        (("--test", pictures / "more"), "holds a run on other pictures"),
    ):
        assert_one_sentence(call(*arguments, "--out", out, *other), text)
        assert (out / "split.csv").read_bytes() == split


def test_one_folder_and_json_only(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = galleries.TinyNet

    def chatty(**kwargs: Any) -> keras.Model:
        print("Downloading data from somewhere")
        return net(**kwargs)

    galleries.class_folders(tmp_path / "all", 5)
    monkeypatch.setattr(galleries, "TinyNet", chatty)
    arguments = ("--data", tmp_path / "all", *QUICK, "--only", "2", "--out", tmp_path / "out")
    result = call("experiments", *arguments, "--json")
    assert result.exit_code == 0, result.output
    (row,) = json.loads(result.stdout)
    assert (row["experiment"], row["n_test"], row["task"]) == (2, 2, "")
    assert "Downloading data" in result.stderr


@pytest.mark.slow
def test_generated_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fcnkeras.data import sources

    counts = {"train": 2, "val": 1, "test": 1}
    monkeypatch.setattr(sources, "GENERATED_COUNTS", counts)
    result = call("experiments", "--out", tmp_path, "--only", "1", "--epochs", "1", "--json")
    assert result.exit_code == 0, result.output
    assert [row["task"] for row in json.loads(result.stdout)] == ["proportions", "styles"]
    for task in ("proportions", "styles"):
        assert (tmp_path / task / "report.html").is_file()
        assert f"report: {tmp_path / task / 'report.html'}" in result.stderr


def test_a_network_of_ones_own_takes_its_own_weights_for_generated_pictures() -> None:
    demo = cli.experiments._settings({"seed": 0}, [1], demo=True)
    assert (demo.network, demo.weights) == ("SmallVGG", "generated")
    other = cli.experiments._settings({"seed": 0, "network": "mobilenetv2"}, [1], demo=True)
    assert (other.network, other.weights) == ("MobileNetV2", "imagenet")
    given = cli.experiments._settings(
        {"seed": 0, "network": "VGG16", "weights": "w.h5"}, [1], demo=False
    )
    assert (given.network, given.weights) == ("VGG16", "w.h5")


def test_bad_pictures_are_named_and_the_rest_is_used(pictures: Path, tmp_path: Path) -> None:
    for part in ("train", "val"):
        galleries.class_folders(tmp_path / part, 4, seed=len(part))
    long = "a rather long name " * 8 + ".jpg"
    (tmp_path / "train" / "reddish" / long).write_text("a text file")
    out = tmp_path / "out"
    result = call("experiments", *both(tmp_path), *QUICK, "--only", "2", "--out", out)
    assert result.exit_code == 3
    named = [line for line in result.stdout.splitlines() if line.startswith("left out: ")]
    assert len(named) == 1
    assert long in named[0]
    assert "not a picture" in named[0]
    assert result.stderr == "1 picture(s) could not be read and were left out.\n"
    assert (out / "experiment_02" / "result.json").exists()
    assert long in (out / "rejected.csv").read_text()


def test_without_matplotlib_there_is_no_report(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(out: Path) -> Path:
        raise ImportError("A report needs matplotlib")

    monkeypatch.setattr(report, "write_experiment_report", missing)
    monkeypatch.setattr(experiments, "run_experiments", lambda *args, **kwargs: [])
    result = call("experiments", *both(pictures), *QUICK, "--out", tmp_path)
    assert result.exit_code == 3
    assert result.stderr == "no report: A report needs matplotlib\n"
    assert result.stdout.splitlines()[-1] == "no report: A report needs matplotlib"


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (("--train", "{p}/train"), ("Give --train and --val", "Received: --train")),
        (("--val", "{p}/val"), ("Received: --val",)),
        (("--data", "{p}/val", "--val", "{p}/val"), ("Received: --val, --data",)),
        (("--train", "{p}/no", "--val", "{p}/val"), ("--train must be a folder", "{p}/no")),
        (("--data", "{p}/val/reddish/0.png"), ("--data must be a folder", "0.png")),
        (("--data", "{p}/val/reddish"), ("at least two class folders, got none",)),
        (("--data", "{p}/val", "--network", "Huge"), ("Unknown network: 'Huge'", "MobileNetV2")),
        (("--data", "{p}/val", "--only", "11"), ("numbered 1 to 10. Received: 11",)),
        (("--data", "{p}/val", "--only", "5-3"), ("such as 1,3-5. Received: '5-3'",)),
        (("--data", "{p}/val", "--only", "1-99999999999"), ("such as 1,3-5",)),
        (("--data", "{p}/val", "--only", ""), ("such as 1,3-5. Received: ''",)),
        (("--task", "faces"), ("'faces'", "proportions")),
        (("--data", "{p}/val", "--epochs", "0"), ("`epochs` must be at least 1. Received: 0",)),
        (("--data", "{p}/val", "--pooling", "none"), ("`pooling` must be 'max' or 'avg'",)),
        (("--data", "{p}/val", "--frozen", "99"), ("`frozen` must be from", "Received: 99")),
        (("--data", "{p}/val", "--dropout", "1"), ("`dropout` must be in [0, 1)",)),
        (("--data", "{p}/val", "--seed", "-1"), ("`seed` must be at least 0",)),
        (("--data", "{p}/val", "--weights", "{p}/no.h5"), ("No such file", "{p}/no.h5")),
    ],
)
def test_bad_arguments(
    pictures: Path, tmp_path: Path, arguments: tuple[str, ...], texts: tuple[str, ...]
) -> None:
    def fill(text: str) -> str:
        return text.replace("{p}", str(pictures))

    result = call("experiments", *map(fill, arguments), "--out", tmp_path)
    assert_one_sentence(result, *map(fill, texts))
    assert not list(tmp_path.rglob("experiment_*"))


def test_bad_folders(pictures: Path, tmp_path: Path) -> None:
    galleries.class_folders(tmp_path / "empty", 2)
    (tmp_path / "empty" / "blue").mkdir()
    galleries.class_folders(tmp_path / "single", 2)
    for picture in (tmp_path / "single" / "reddish").iterdir():
        picture.unlink()
    (tmp_path / "single" / "reddish").rmdir()
    for name, text in (("empty", "holds no picture"), ("single", "two class folders, got only")):
        result = call("experiments", "--data", tmp_path / name, "--out", tmp_path / "out")
        assert_one_sentence(result, text)
    galleries.class_folders(tmp_path / "few", 2)
    result = call("experiments", "--data", tmp_path / "few", "--out", tmp_path / "out")
    assert_one_sentence(result, "greenish")


def test_the_same_pictures_twice(pictures: Path, tmp_path: Path) -> None:
    same = ("--train", pictures / "train", "--val", pictures / "train")
    result = call("experiments", *same, *QUICK, "--out", tmp_path)
    assert_one_sentence(result, "must be in one part, it is in train and")


def test_an_output_folder_that_cannot_be_written(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        result = call("experiments", *both(pictures), *QUICK, "--out", out)
        assert_one_sentence(result, "--out must lead to a folder that can be written", str(out))
    model = tmp_path / "m.keras"
    keras.Sequential([keras.Input((8, 8, 3)), layers.Flatten(), layers.Dense(2)]).save(model)
    result = call("convert", model, "--out", out / "m.keras")
    assert_one_sentence(result, "--out must lead to a folder that can be written")


def test_weights_that_do_not_fit(pictures: Path, tmp_path: Path) -> None:
    file = tmp_path / "other.weights.h5"
    keras.Sequential([keras.Input((4,)), layers.Dense(3)]).save_weights(file)
    (tmp_path / "text.h5").write_text("no weights")
    for path in (file, tmp_path / "text.h5"):
        result = call(
            "experiments",
            *both(pictures),
            "--network",
            "tiny",
            "--weights",
            path,
            "--out",
            tmp_path,
        )
        assert_one_sentence(result, "do not fit Tiny with 2 or 1000 classes", str(path))


def test_no_network_for_the_weights(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(**kwargs: Any) -> keras.Model:
        # As keras.utils.get_file says it.
        raise Exception(
            "URL fetch failure on https://storage/tiny.h5: None -- "
            "[Errno -3] Temporary failure in name resolution"
        )

    monkeypatch.setattr(galleries, "TinyNet", offline)
    result = call("experiments", *both(pictures), "--network", "tiny", "--out", tmp_path)
    assert_one_sentence(
        result, "imagenet weights of Tiny could not be downloaded", "name resolution", "path of a"
    )


def test_errors_of_others_in_one_line_with_a_hint(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise ValueError("\x1b[1mLayers do not fit.\x1b[0m\n\nArguments received:\n  x: 1")

    monkeypatch.setattr(experiments, "build_model", fail)
    arguments = ("experiments", *both(pictures), *QUICK, "--out", tmp_path)
    result = call(*arguments)
    assert_one_sentence(result, "Layers do not fit. (ValueError; with FCNKERAS_TRACEBACK=1")
    monkeypatch.setenv("FCNKERAS_TRACEBACK", "1")
    with pytest.raises(ValueError, match="Arguments received"):
        CliRunner().invoke(cli.app, [str(a) for a in arguments], catch_exceptions=False)
    # A programming error is never made a sentence of.
    monkeypatch.delenv("FCNKERAS_TRACEBACK")
    monkeypatch.setattr(experiments, "build_model", None)
    with pytest.raises(TypeError):
        CliRunner().invoke(cli.app, [str(a) for a in arguments], catch_exceptions=False)


def test_ctrl_c(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finetune = experiments.finetune

    def interrupted(*args: Any, tell: Callable, **kwargs: Any) -> Any:
        def stop(done: int, total: int, logs: dict) -> None:
            tell(done, total, logs)
            if done == 3:
                raise KeyboardInterrupt

        return finetune(*args, tell=stop, **kwargs)

    arguments = ("experiments", *both(pictures), *QUICK, "--epochs", 2, "--only", "1")
    with monkeypatch.context() as patch:
        patch.setattr(experiments, "finetune", interrupted)
        result = call(*arguments, "--out", tmp_path)
    assert result.exit_code == 130
    assert result.stderr == "interrupted: the same command goes on where it stopped\n"
    assert not [path for path in tmp_path.rglob(".*") if path.is_file()]
    assert not (tmp_path / "experiment_01" / "result.json").exists()
    assert call(*arguments, "--out", tmp_path).exit_code == 0
    history = (tmp_path / "experiment_01" / "history.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in history] == ["epoch", "0", "1"]


MAIN = """
import sys
sys.path[:0] = sys.argv.pop(1).split("|")
import galleries
from fcnkeras.models import specs
specs.SPECS["Tiny"] = galleries.TINY
from fcnkeras.cli import main
main()
"""


@pytest.mark.slow
def test_a_real_ctrl_c(pictures: Path, tmp_path: Path) -> None:
    arguments = ["experiments", *both(pictures), *QUICK, "--epochs", "500", "--out", tmp_path]
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, f"{ROOT}|{ROOT / 'tests'}", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "experiment_01" / "state.npz").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "interrupted: the same command goes on where it stopped"
    assert "Traceback" not in out + err
    assert not [path for path in tmp_path.rglob(".*") if path.is_file()]


def run(*arguments: Any, **env: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | env,
    )


def test_help_is_quick() -> None:
    heavy = "{'keras', 'tensorflow', 'numpy', 'jax', 'torch', 'matplotlib', 'PIL'}"
    code = f"""
import sys
sys.argv = ["fcnkeras", "--help"]
from fcnkeras.cli import main
try:
    main()
finally:
    print("imported:", sorted({heavy} & set(sys.modules)))
"""
    result = run("-c", code)
    assert result.returncode == 0
    assert result.stdout.splitlines()[-1] == "imported: []"
    for word in ("convert", "experiments", "export", "FCNKERAS_TRACEBACK"):
        assert word in result.stdout


def test_help_shows_an_example() -> None:
    for name in typer.main.get_command(cli.app).commands:  # type: ignore[attr-defined]
        result = call(name, "--help")
        assert result.exit_code == 0
        assert "\x1b" not in result.output
        assert f"Example: fcnkeras {name} " in " ".join(result.output.split())


def test_python_m() -> None:
    result = run("-m", "fcnkeras", "--help")
    assert result.returncode == 0
    assert "experiments" in result.stdout
    # Importing it, as other processes of a pool do, runs nothing.
    assert run("-c", "import fcnkeras.__main__").stdout == ""


def test_errors_of_a_real_process(tmp_path: Path) -> None:
    """Standard error holds the sentence and nothing else: no start-up lines of TensorFlow."""
    (tmp_path / "m.keras").write_text("no model")
    result = run("-m", "fcnkeras", "convert", tmp_path / "m.keras", "--out", tmp_path / "f.keras")
    assert result.returncode == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert result.stderr.startswith(f"error: Keras cannot load a model from {tmp_path}/m.keras: ")
