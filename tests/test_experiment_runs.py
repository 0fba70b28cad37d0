"""The ten experiments on a small network: what they leave behind, and that it fits together."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import galleries
import keras
import numpy as np
import pytest
from PIL import Image

from fcnkeras import batching, experiments, feeders
from fcnkeras.data.records import Collection, DataError, Record
from fcnkeras.data.sources import folder_parts
from fcnkeras.experiments import (
    EXPERIMENTS,
    RESULT_COLUMNS,
    Experiment,
    Listener,
    Settings,
    get_experiment,
    run_experiments,
)
from fcnkeras.images import ImageError
from fcnkeras.models import specs
from fcnkeras.models.classifier import WeightsError

# Keras' own reading of TensorFlow's variables, under NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Parts = dict[str, Collection]
CLASSES = ("greenish", "reddish")


@pytest.fixture(scope="module", autouse=True)
def tiny() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(specs.SPECS, "Tiny", galleries.TINY)
        yield


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    folder = tmp_path_factory.mktemp("pictures")
    for seed, (name, count) in enumerate((("train", 6), ("val", 4), ("test", 5))):
        galleries.class_folders(folder / name, count, seed=seed)
    (folder / "val" / "reddish" / "broken.jpg").write_text("no picture")
    return folder_parts(folder / "train", folder / "val", folder / "test")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Weights of 1000 classes, of which the classifier of two is not a part."""
    keras.utils.set_random_seed(7)
    file = tmp_path_factory.mktemp("weights") / "tiny.weights.h5"
    galleries.TinyNet().save_weights(file)
    return Settings(
        network="Tiny", weights=str(file), epochs=1, batch=4, learning_rate=0.05, frozen=1
    )


class Spy(Listener):
    """Remembers what it hears; `stop_at` (experiment, batch) ends the run."""

    def __init__(self, stop_at: tuple[int, int] | None = None) -> None:
        self.heard: list[Any] = []
        self.stop_at = stop_at
        self.number = 0

    def begin(self, experiment: Experiment) -> None:
        self.number = experiment.number
        self.heard.append(experiment.number)

    def progress(self, done: int, total: int, logs: dict) -> None:
        self.heard.append((done, total, sorted(logs)))
        if self.stop_at == (self.number, done):
            raise KeyboardInterrupt

    def end(self, experiment: Experiment, row: Mapping[str, Any], *, ran: bool) -> None:
        self.heard.append((experiment.number, row["accuracy"], ran))


@pytest.fixture(scope="module")
def run(
    parts: Parts, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[dict], Spy]:
    """All ten, once."""
    out, spy = tmp_path_factory.mktemp("runs") / "all" / "ten", Spy()
    return out, run_experiments(parts, out, settings, listener=spy, title="Ten"), spy


def read(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def stamps(out: Path) -> dict[str, int]:
    """When the files of the experiments were written."""
    files = (file for file in out.glob("experiment_*/**/*") if file.is_file())
    return {str(file): file.stat().st_mtime_ns for file in files}


def squashed(file: str, size: int) -> np.ndarray:
    with Image.open(file) as picture:
        return feeders.squash(picture.convert("RGB"), size).arrays.astype("float32")


def test_the_table() -> None:
    assert list(EXPERIMENTS) == list(range(1, 11))
    scales = {number: e.scale for number, e in EXPERIMENTS.items()}
    assert scales == {1: 1, 2: 1, 3: 1.5, 4: 2, 5: 3, 6: 1.5, 7: 1.5, 8: 1.5, 9: 1.5, 10: 1.5}
    fed = {number: e.feeder for number, e in EXPERIMENTS.items() if e.feeder != "squash"}
    assert fed == {6: "crop", 7: "pad", 8: "multicrop", 9: "multicrop", 10: "native"}
    assert [n for n, e in EXPERIMENTS.items() if e.skip] == [9]
    assert [n for n, e in EXPERIMENTS.items() if not e.fcn] == [1]


def test_every_experiment_leaves_its_files(run: tuple) -> None:
    out, rows, _ = run
    assert [row["experiment"] for row in rows] == list(range(1, 11))
    for number, experiment in EXPERIMENTS.items():
        names = {file.name for file in (out / f"experiment_{number:02}").iterdir()}
        expected = {"history.csv", "model.keras", "predictions.csv", "result.json"}
        assert names == expected | ({"maps.npz"} if experiment.fcn else set())
    assert {file.name for file in out.iterdir() if file.is_file()} == {
        "rejected.csv",
        "results.csv",
        "settings.json",
        "split.csv",
    }
    rejected = read(out / "rejected.csv")
    assert [Path(row["file"]).name for row in rejected] == ["broken.jpg"]
    assert rejected[0]["reason"]


def test_results_are_those_of_the_predictions(run: tuple, parts: Parts) -> None:
    out, rows, _ = run
    written = read(out / "results.csv")
    assert list(written[0]) == list(RESULT_COLUMNS)
    for row, line in zip(rows, written, strict=True):
        for key in RESULT_COLUMNS:
            value = row[key]
            assert line[key] == (str(value).lower() if isinstance(value, bool) else str(value))
        folder = out / f"experiment_{row['experiment']:02}"
        predictions = read(folder / "predictions.csv")
        assert [p["file"] for p in predictions] == [str(r.path) for r in parts["test"].records]
        correct = 0
        for prediction in predictions:
            assert Path(prediction["file"]).parent.name == prediction["label"]
            chances = [float(prediction[f"p_{name}"]) for name in CLASSES]
            assert sum(chances) == pytest.approx(1, abs=1e-5)
            assert prediction["predicted"] == CLASSES[chances[1] > chances[0]]
            correct += prediction["predicted"] == prediction["label"]
        assert row["n_test"] == 10
        assert row["accuracy"] == correct / 10
        # The Wilson interval holds the p with (share - p)^2 <= z^2 p (1 - p) / n.
        z2, share = 1.959964**2 / 10, correct / 10
        bounds = sorted(np.roots([1 + z2, -2 * share - z2, share**2]).real)
        assert [row["accuracy_low"], row["accuracy_high"]] == pytest.approx(bounds, abs=1e-9)
        history = read(folder / "history.csv")
        assert (len(history), row["epochs"], row["best_epoch"]) == (1, 1, 1)
        assert float(history[0]["val_accuracy"]) == row["val_accuracy"]
        assert float(history[0]["val_loss"]) == row["val_loss"]
        assert float(history[0]["seconds"]) == row["training_seconds"] > 0
        experiment = EXPERIMENTS[row["experiment"]]
        assert row["size"] == 32 * experiment.scale
        assert row["seconds_per_picture"] > 0


def test_parameters(run: tuple) -> None:
    # TinyNet, by hand: 3*9*6+6, 6*9*6+6, 2*2*6*12+12, 12*2+2.
    plain = 168 + 330 + 300 + 26
    # The skip: 128 filters on 6 channels, and fc1 reads 128 channels more on its 2x2 window.
    skip = 6 * 128 + 128 + 2 * 2 * 128 * 12
    for row in run[1]:
        assert row["parameters"] == plain + (skip if row["skip"] else 0)


def test_the_listener_hears_all(run: tuple) -> None:
    heard = run[2].heard
    assert [event for event in heard if isinstance(event, int)] == list(range(1, 11))
    # 12 pictures in batches of 4: 3 batches.
    first = heard[: heard.index(2)]
    assert [event[:2] for event in first[1:-2]] == [(1, 3), (2, 3), (3, 3)]
    assert {"epoch", "val_accuracy", "val_loss"} <= set(first[-2][2])
    assert first[-1] == (1, run[1][0]["accuracy"], True)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_the_saved_model_predicts_what_is_written(run: tuple, number: int) -> None:
    folder = run[0] / f"experiment_{number:02}"
    model = keras.models.load_model(folder / "model.keras")
    size = round(32 * EXPERIMENTS[number].scale)
    for prediction in read(folder / "predictions.csv"):
        chances = np.asarray(model(squashed(prediction["file"], size)))[0]
        written = [float(prediction[f"p_{name}"]) for name in CLASSES]
        np.testing.assert_allclose(chances, written, atol=2e-5)


def test_the_maps_are_those_of_the_predictions(run: tuple) -> None:
    for number in range(2, 11):
        folder = run[0] / f"experiment_{number:02}"
        predictions = {row["file"]: row for row in read(folder / "predictions.csv")}
        with np.load(folder / "maps.npz") as saved:
            assert saved["window"] == 32
            assert len(saved.files) == 1 + 5 * 4
            assert {int(saved[f"label_{k}"]) for k in range(4)} == {0, 1}
            for k in range(4):
                row = predictions[str(saved[f"file_{k}"])]
                assert CLASSES[int(saved[f"label_{k}"])] == row["label"]
                assert CLASSES[int(saved[f"predicted_{k}"])] == row["predicted"]
                picture, scores = saved[f"picture_{k}"], saved[f"map_{k}"]
                assert picture.dtype == np.uint8
                # A place for every 16 pixels, on which the window of 32 fits.
                places = [side // 16 - 1 for side in picture.shape[:2]]
                assert list(scores.shape) == [*places, 2]
                if number <= 6:  # one crop without padding: the map's maxima are the scores
                    logits = scores.max(axis=(0, 1))
                    chances = np.exp(logits) / np.exp(logits).sum()
                    written = [float(row[f"p_{name}"]) for name in CLASSES]
                    np.testing.assert_allclose(chances, written, atol=2e-5)


def test_a_finished_run_is_not_run_again(
    run: tuple, parts: Parts, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, rows, _ = run
    before, table = stamps(out), (out / "results.csv").read_bytes()
    monkeypatch.setattr(experiments, "build_model", None)  # must not be called
    spy = Spy()
    assert run_experiments(parts, out, settings, listener=spy, title="Ten") == rows
    assert stamps(out) == before
    assert (out / "results.csv").read_bytes() == table
    assert [event[2] for event in spy.heard if isinstance(event, tuple)] == [False] * 10


def test_an_interrupted_run_goes_on(
    run: tuple, parts: Parts, settings: Settings, tmp_path: Path
) -> None:
    """Stopped in the second epoch of experiment 2. Experiment 1 is kept, and 2 goes on from its
    first epoch to the figures of an undisturbed run."""
    settings = dataclasses.replace(settings, epochs=3, dropout=0.4)
    ways = {"broken": Spy(stop_at=(2, 5)), "whole": Spy()}
    rows = {}
    for name, spy in ways.items():
        if spy.stop_at:
            with pytest.raises(KeyboardInterrupt):
                run_experiments(parts, tmp_path / name, settings, numbers=(1, 2), listener=spy)
            assert [row["experiment"] for row in read(tmp_path / name / "results.csv")] == ["1"]
            before = stamps(tmp_path / name)
            before = {key: value for key, value in before.items() if "experiment_01" in key}
            spy = Spy()
        rows[name] = run_experiments(parts, tmp_path / name, settings, numbers=(1, 2), listener=spy)
        if name == "broken":
            after = stamps(tmp_path / name)
            assert before.items() <= after.items()
            assert spy.heard[0:2] == [1, (1, rows[name][0]["accuracy"], False)]
            assert spy.heard[3][:2] == (4, 9)  # batch 4 of 9: the second epoch's first
    timed = ("seconds_per_picture", "training_seconds")
    for ours, theirs in zip(rows["broken"], rows["whole"], strict=True):
        for key in set(RESULT_COLUMNS) - set(timed):
            expected = theirs[key]
            assert ours[key] == (
                pytest.approx(expected, rel=1e-4) if isinstance(expected, float) else expected
            )
    epochs = [row["epoch"] for row in read(tmp_path / "broken" / "experiment_02" / "history.csv")]
    assert epochs == ["0", "1", "2"]


def test_test_pictures_are_fed_after_training(
    parts: Parts, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    own = {name: {record.path for record in part.records} for name, part in parts.items()}
    open_picture, finetune = batching.open_picture, experiments.finetune

    def spy_open(path: Path, **kwargs: Any) -> Any:
        events.extend(name for name, paths in own.items() if path in paths)
        return open_picture(path, **kwargs)

    def spy_finetune(*args: Any, **kwargs: Any) -> Any:
        history = finetune(*args, **kwargs)
        events.append("trained")
        return history

    monkeypatch.setattr(batching, "open_picture", spy_open)
    monkeypatch.setattr(experiments, "finetune", spy_finetune)
    run_experiments(parts, tmp_path, settings, numbers=(2,))
    trained = events.index("trained")
    assert set(events[:trained]) == {"train", "val"}
    assert set(events[trained + 1 :]) == {"test"}


def test_another_run_in_the_folder_is_refused(run: tuple, parts: Parts, settings: Settings) -> None:
    out = run[0]
    kept = {name: (out / name).read_bytes() for name in ("settings.json", "split.csv")}
    other = dataclasses.replace(settings, learning_rate=0.07)
    with pytest.raises(DataError, match=r"holds a run with learning_rate=0\.05, now it is 0\.07"):
        run_experiments(parts, out, other)
    fewer = parts | {"test": Collection(parts["test"].records[:-1], CLASSES)}
    with pytest.raises(DataError, match=r"n_test=10, now it is 9"):
        run_experiments(fewer, out, settings)
    swapped = [*parts["test"].records[:-1], parts["val"].records[-1]]
    moved = parts | {
        "test": Collection(tuple(swapped), CLASSES),
        "val": Collection((*parts["val"].records[:-1], parts["test"].records[-1]), CLASSES),
    }
    with pytest.raises(DataError, match="holds a run on other pictures"):
        run_experiments(moved, out, settings)
    assert kept == {name: (out / name).read_bytes() for name in kept}
    # The title may change.
    run_experiments(parts, out, settings, numbers=(1,), title="Ten, again")
    assert json.loads((out / "settings.json").read_text())["title"] == "Ten, again"


def test_parts_that_do_not_fit(parts: Parts, settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"are needed\. Received: \['train', 'val'\]"):
        run_experiments({k: parts[k] for k in ("train", "val")}, tmp_path, settings)
    other = Collection(parts["val"].records, ("reddish", "greenish"))
    with pytest.raises(DataError, match="classes of 'val' are not those of 'train'"):
        run_experiments(parts | {"val": other}, tmp_path, settings)
    with pytest.raises(DataError, match="no picture in 'test'"):
        run_experiments(parts | {"test": Collection((), CLASSES)}, tmp_path, settings)
    with pytest.raises(DataError, match="must be in one part"):
        run_experiments(parts | {"test": parts["val"]}, tmp_path / "a", settings)
    for number in (0, 11):
        with pytest.raises(ValueError, match=f"numbered 1 to 10. Received: {number}"):
            run_experiments(parts, tmp_path, settings, numbers=(1, number))
    assert not list(tmp_path.rglob("experiment_*"))
    assert get_experiment(10).title == "native aspect"


def test_a_picture_that_vanishes_is_named(settings: Settings, tmp_path: Path) -> None:
    for name in ("train", "val", "test"):
        galleries.class_folders(tmp_path / name, 2, seed=len(name))
    parts = folder_parts(*(tmp_path / name for name in ("train", "val", "test")))
    gone = parts["test"].records[3].path

    class Thief(Listener):
        def progress(self, done: int, total: int, logs: dict) -> None:
            gone.unlink(missing_ok=True)

    with pytest.raises(ImageError, match=f"{gone.parent.name}/{gone.name}: no such file"):
        run_experiments(parts, tmp_path / "out", settings, numbers=(2,), listener=Thief())


def test_weights_that_cannot_be_had(parts: Parts, settings: Settings, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.weights.h5"
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]).save_weights(wrong)
    for file, message in ((tmp_path / "none.h5", "No such file"), (wrong, "do not fit Tiny")):
        bad = dataclasses.replace(settings, weights=str(file))
        with pytest.raises(WeightsError, match=message):
            run_experiments(parts, tmp_path / file.stem, bad, numbers=(1,))


def test_collections_made_by_hand(parts: Parts, settings: Settings, tmp_path: Path) -> None:
    """Three classes, and one experiment named twice."""
    records = {
        name: tuple(Record(r.path, {"class": i % 3}) for i, r in enumerate(part.records))
        for name, part in parts.items()
    }
    three = {name: Collection(some, ("a", "b", "c")) for name, some in records.items()}
    (row,) = run_experiments(three, tmp_path, settings, numbers=[8, 8])
    assert row["experiment"] == 8
    assert list(read(tmp_path / "experiment_08" / "predictions.csv")[0])[3:] == [
        "p_a",
        "p_b",
        "p_c",
    ]
