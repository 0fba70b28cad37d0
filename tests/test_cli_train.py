"""`fcnkeras train` and `fcnkeras evaluate`: every study as one command, on generated pictures."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from fcnkeras.cli import app
from fcnkeras.data.procedural import labelled
from fcnkeras.data.procedural.store import make_task
from fcnkeras.tasks.heads import feeding_of, schema_of

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
SMALL = ("--network", "SmallVGG", "--weights", "generated")
QUICK = ("--stages", "head:1@1e-2,all:1@1e-3", "--batch", "8")


def call(*arguments: Any) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def train(labels: Path, out: Path, *options: Any) -> dict[str, Any]:
    result = call("train", labels, "--out", out, "--json", *options)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_task("styles", folder / "styles", counts={"all": 8}, seed=0)
    labelled.make_ava(folder / "ava", {"all": 40})
    labelled.make_aadb(folder / "aadb", {"train": 24, "val": 8, "test": 8})
    labelled.make_art_composition(folder / "art", {"train": 40})
    labelled.make_period_artist(folder / "artists", {"all": 8})
    return folder


FILES = {
    "errors.csv",
    "evaluation.json",
    "history.csv",
    "model.keras",
    "predictions.csv",
    "rejected.csv",
    "report.html",
    "result.json",
    "schema.yaml",
    "settings.json",
    "split.csv",
}


def test_classes_in_folders(data: Path, tmp_path: Path) -> None:
    """Training, what it leaves, evaluation by the saved model, and mistakes."""
    out = tmp_path / "run"
    result = train(data / "styles" / "all", out, *SMALL, *QUICK)
    found = result["test"]["class"]
    assert {path.name for path in out.iterdir()} >= FILES | {"confusion_class.csv"}
    with (out / "predictions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    right = sum(row["label_class"] == row["class"] for row in rows)
    assert (found["records"], found["accuracy"]) == (len(rows), right / len(rows))
    low, high = found["accuracy_interval"]
    assert low < found["accuracy"] < high
    with (out / "split.csv").open(newline="") as stream:
        parts = [row["part"] for row in csv.DictReader(stream)]
    assert {part: parts.count(part) for part in set(parts)} == {"train": 30, "val": 5, "test": 5}

    model = keras.models.load_model(out / "model.keras")
    assert feeding_of(model) == ("native", 64)
    assert len(schema_of(model)["class"].names) == 5
    assert all(layer.trainable for layer in model.layers)

    again = tmp_path / "again"
    options = ("--model", out / "model.keras", "--split", out / "split.csv", "--part", "test")
    evaluated = call("evaluate", data / "styles" / "all", *options, "--out", again, "--json")
    assert evaluated.exit_code == 0, evaluated.output
    assert json.loads(evaluated.stdout)["class"]["confusion"] == found["confusion"]
    assert (again / "report.html").stat().st_size > 10_000

    # A finished run is not run again; another one does not mix with it.
    assert train(data / "styles" / "all", out, *SMALL, *QUICK) == result
    other = call("train", data / "styles" / "all", "--out", out, *SMALL, *QUICK, "--seed", 1)
    assert other.exit_code == 2
    assert "holds a run with seed=0, now it is 1" in other.stderr


def test_a_broken_picture_is_left_out_and_listed(data: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(data / "artists", tmp_path / "artists")
    pictures = sorted(folder.rglob("*.jpg"))
    pictures[0].write_bytes(pictures[0].read_bytes()[:200])
    out = tmp_path / "run"
    result = call(
        "train", folder / "all.csv", "--schema", "period_artist", "--out", out, *SMALL, *QUICK
    )
    assert result.exit_code == 3, result.output
    assert "1 picture(s) could not be read" in result.stderr
    with (out / "rejected.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert Path(row["file"]).name == pictures[0].name
    # P(period) is the sum over its artists, in every row.
    schema = schema_of(keras.models.load_model(out / "model.keras"))
    with (out / "predictions.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if not row["error"]]
    for row in rows:
        for period, artists in zip(schema["period"].names, schema["period"].members, strict=True):
            total = sum(float(row[f"artist_{artist}"]) for artist in artists)
            assert float(row[f"period_{period}"]) == pytest.approx(total, abs=1e-5)


@pytest.mark.slow
def test_composition_of_paintings(data: Path, tmp_path: Path) -> None:
    result = train(
        data / "art" / "labels.csv",
        tmp_path / "run",
        *("--schema", "art_composition", "--head", "multi_level", *SMALL, *QUICK),
        *("--learned-weights", "--class-weights", "--feeder", "crop"),
    )
    assert set(result["test"]["contrast"]) >= {"srcc", "plcc", "rmse"}
    assert set(result["test"]["primary_color"]) >= {"degrees_mean", "wheel_accuracy"}
    assert result["test"]["harmony"]["records"] == 6
    with (tmp_path / "run" / "history.csv").open(newline="") as stream:
        history = list(csv.DictReader(stream))
    assert [row["stage"] for row in history] == ["0", "1"]
    assert all(np.isfinite(float(value)) for row in history for value in row.values())


def test_votes(data: Path, tmp_path: Path) -> None:
    result = train(data / "ava" / "AVA.txt", tmp_path / "run", *SMALL, *QUICK)
    found = result["test"]["distribution"]
    assert found["protocol"].startswith("high: mean score above 5")
    assert {"emd", "srcc", "accuracy_above_5"} <= set(found)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "SmallVGG" in page
    assert "distribution" in page


def test_the_head_alone_from_kept_features(data: Path, tmp_path: Path) -> None:
    """Features are computed once; TensorBoard's files are beside them."""
    options = (*SMALL, "--stages", "head:3@1e-2", "--cache", "--feeder", "crop", "--batch", "8")
    result = train(data / "styles" / "all", tmp_path / "run", *options, "--tensorboard")
    assert result["epochs"] == 3
    assert list((tmp_path / "run" / "tensorboard").glob("events*"))
    (kept,) = (tmp_path / "run" / "features").iterdir()
    assert list(kept.iterdir())
    model = keras.models.load_model(tmp_path / "run" / "model.keras")
    evaluated = call(
        *("evaluate", data / "styles" / "all", "--model", tmp_path / "run" / "model.keras"),
        *("--split", tmp_path / "run" / "split.csv", "--part", "test", "--json"),
        *("--out", tmp_path / "again"),
    )
    assert (
        json.loads(evaluated.stdout)["class"]["confusion"] == result["test"]["class"]["confusion"]
    )
    assert model.count_params() == result["parameters"]
    refused = call("train", data / "styles" / "all", "--cache", "--out", tmp_path / "other", *SMALL)
    assert refused.exit_code == 2
    assert "goes with stages of the head only" in refused.stderr


def test_a_learning_rate_is_found(data: Path, tmp_path: Path) -> None:
    result = train(data / "styles" / "all", tmp_path / "run", *SMALL, "--batch", 8, "--find-rate")
    assert 1e-5 < result["suggestion"] < 1
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert left == {"learning_rates.csv", "learning_rates.png"}


@pytest.mark.slow
def test_high_and_low_quality(data: Path, tmp_path: Path) -> None:
    options = ("--schema", "ava_binary", "--margin", 0.1, *SMALL, *QUICK)
    result = train(data / "ava" / "AVA.txt", tmp_path / "run", *options)
    assert {row["class"] for row in result["test"]["class"]["per_class"]} == {"low", "high"}


@pytest.mark.slow
def test_attributes_of_photographs(data: Path, tmp_path: Path) -> None:
    result = train(data / "aadb", tmp_path / "run", *SMALL, *QUICK)
    assert len(result["test"]) == 12
    assert all(found["records"] == 8 for found in result["test"].values())


@pytest.mark.slow
def test_composition_by_all_blocks_of_resnet50(data: Path, tmp_path: Path) -> None:
    train(
        data / "art" / "labels.csv",
        tmp_path / "run",
        *("--schema", "art_composition", "--network", "ResNet50", "--head", "multi_level"),
        *("--weights", "random", "--stages", "head:1@1e-2", "--feeder", "crop", "--size", 64),
    )
    model = keras.models.load_model(tmp_path / "run" / "model.keras")
    assert model.get_layer("head").input_shape == (None, 15_104)


@pytest.mark.slow
@pytest.mark.parametrize("layers", [1, 2])
def test_alexnet_without_its_last_layers(data: Path, tmp_path: Path, layers: int) -> None:
    options = ("--network", "AlexNet", "--weights", "random", "--drop-top", layers)
    result = train(
        data / "styles" / "all",
        tmp_path / "run",
        *(*options, "--stages", "head:1@1e-3", "--feeder", "crop", "--batch", 4),
    )
    assert result["test"]["class"]["records"] == 5
    model = keras.models.load_model(tmp_path / "run" / "model.keras")
    names = {layer.name for layer in model.layers}
    assert ("fc7" in names, "fc6" in names) == (layers == 1, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere",), "No such folder or file of labels: nowhere"),
        (("{styles}", "--stages", "heads:1@1"), "stages are written as"),
        (("{styles}", "--network", "LeNet"), "Unknown network: 'LeNet'"),
        (("{styles}", "--schema", "beauty"), "a schema must be one of aadb"),
        (("{styles}", "--schema", "aadb"), "the data must have the target balancing_elements"),
        (("{art}",), "say what to learn from it, --schema NAME"),
        (("{art}", "--schema", "period_artist"), "artist"),
        (("{styles}", "--head", "deep"), "`head` must be one of pooled, multi_level, mlsp"),
        (("{styles}", "--optimizer", "sdg"), "`optimizer` must be one of"),
    ],
)
def test_mistakes_are_one_sentence(
    data: Path, tmp_path: Path, arguments: tuple, message: str
) -> None:
    places = {"styles": data / "styles" / "all", "art": data / "art" / "labels.csv"}
    given = [str(argument).format(**places) for argument in arguments]
    result = call("train", *given, "--out", tmp_path / "run")
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert "Traceback" not in result.stderr


def test_a_model_without_tasks_is_refused(data: Path, tmp_path: Path) -> None:
    keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten()]).save(tmp_path / "m.keras")
    out = ("--out", tmp_path / "out")
    result = call("evaluate", data / "styles" / "all", "--model", tmp_path / "m.keras", *out)
    assert result.exit_code == 2
    assert "was not made by `task_model`" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "stages"),
    [
        ("ResNet18", "head:1@1e-2,all:1@1e-3"),
        ("ResNet18", "all:1@1e-3"),
        ("ResNet18", "freeze1:1@1e-3"),
        ("ResNet18", "freeze4:1@1e-3"),
        ("ResNet34", "freeze2:1@1e-3"),
        ("ResNet50", "freeze3:1@1e-3"),
    ],
)
def test_periods_by_residual_networks(
    data: Path, tmp_path: Path, network: str, stages: str
) -> None:
    options = ("--network", network, "--weights", "random", "--size", 64, "--feeder", "crop")
    result = train(data / "styles" / "all", tmp_path, *options, "--stages", stages)
    assert result["epochs"] == len(stages.split(","))
