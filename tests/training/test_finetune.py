"""Frozen blocks, the best epoch, and runs that go on where they were killed."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import galleries
import keras
import numpy as np
import pytest
from interruptions import Killed, keeps_dropout, kill_at, without_seconds
from keras import layers

from fcnkeras.batching import FedPictures
from fcnkeras.images import ImageError
from fcnkeras.training import callbacks as module
from fcnkeras.training.finetune import finetune
from fcnkeras.training.freezing import freeze_blocks

# Keras' own reading of TensorFlow's variables, under NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

EPOCHS = 5
SETTINGS = {"epochs": EPOCHS, "learning_rate": 0.4, "min_learning_rate": 0.001, "patience": 1}
Net = tuple[keras.Model, FedPictures, FedPictures]


def make(folder: Path, dropout: float = 0.5) -> Net:
    keras.utils.set_random_seed(3)
    net = galleries.TinyNet(classes=2)
    picture = keras.Input((galleries.NATIVE, galleries.NATIVE, 3))
    x = layers.Rescaling(1 / 127.5, -1)(picture)
    x = layers.Dropout(dropout, seed=None)(x)
    return keras.Model(picture, net(x)), *galleries.fed_parts(folder)


@pytest.fixture(scope="module")
def undisturbed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list, list]:
    """History and final weights of a run from start to end."""
    model, train, val = make(folder)
    history = finetune(model, train, val, tmp_path_factory.mktemp("run"), **SETTINGS)
    return without_seconds(history), model.get_weights()


def assert_same(history: list, weights: list, undisturbed: tuple[list, list]) -> None:
    assert [row["epoch"] for row in history] == list(range(EPOCHS))
    for row, expected in zip(without_seconds(history), undisturbed[0], strict=True):
        assert row == pytest.approx(expected, rel=1e-4)
    for weight, expected in zip(weights, undisturbed[1], strict=True):
        np.testing.assert_allclose(weight, expected, rtol=1e-4, atol=1e-5)


def test_history_and_progress(folder: Path, tmp_path: Path) -> None:
    model, train, val = make(folder)
    told: list[tuple[int, int, dict]] = []
    history = finetune(
        model, train, val, tmp_path / "a" / "b", tell=lambda *args: told.append(args), **SETTINGS
    )
    with (tmp_path / "a" / "b" / "history.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [{key: float(value) for key, value in row.items()} for row in rows] == history
    assert sorted(history[0]) == sorted(
        [
            "epoch",
            "stage",
            "loss",
            "accuracy",
            "val_loss",
            "val_accuracy",
            "learning_rate",
            "seconds",
        ]
    )
    # 18 pictures in batches of 4: five batches an epoch.
    assert [done for done, _, logs in told if not logs] == list(range(1, 5 * EPOCHS + 1))
    assert {total for _, total, _ in told} == {5 * EPOCHS}
    epochs = [logs["epoch"] for _, _, logs in told if logs]
    assert epochs == [1, 2, 3, 4, 5]
    assert all(row["seconds"] > 0 for row in history)


def test_the_weights_are_those_of_the_best_epoch(folder: Path, tmp_path: Path) -> None:
    model, train, val = make(folder)
    slowly = SETTINGS | {"learning_rate": 0.02}  # perfect before the last epoch, and still learning
    history = finetune(model, train, val, tmp_path, **slowly)
    best = max(row["val_accuracy"] for row in history)
    row = next(row for row in history if row["val_accuracy"] == best)
    # A test in which the last epoch is the best would show nothing.
    assert row["val_loss"] != pytest.approx(history[-1]["val_loss"], rel=1e-3)
    loss, accuracy = model.evaluate(val, verbose=0)
    assert loss == pytest.approx(row["val_loss"], rel=1e-4)
    assert accuracy == pytest.approx(row["val_accuracy"], rel=1e-4)


def test_learning_rate_falls_to_a_fifth_and_no_lower_than_its_floor(
    folder: Path, tmp_path: Path
) -> None:
    model, train, val = make(folder)
    # So low that nothing improves by the 1e-4 that count.
    settings = {"learning_rate": 1e-10, "min_learning_rate": 5e-12, "patience": 2}
    history = finetune(model, train, val, tmp_path, epochs=7, **settings)
    # The first epoch sets the mark; every two without improvement divide by 5, down to the floor.
    rates = [1e-10, 1e-10, 1e-10, 2e-11, 2e-11, 5e-12, 5e-12]
    assert [row["learning_rate"] for row in history] == pytest.approx(rates, rel=1e-5, abs=0)


@keeps_dropout
@pytest.mark.parametrize("batches", [(12,), (3, 10, 18)])
def test_a_killed_run_goes_on(
    folder: Path, tmp_path: Path, undisturbed: tuple, batches: tuple[int, ...]
) -> None:
    """Killed once, and three times, once at the last batch of an epoch; with dropout, flips and a
    schedule."""
    for batch in batches:
        model, train, val = make(folder)
        with pytest.raises(Killed):
            finetune(model, train, val, tmp_path, tell=kill_at(batch), **SETTINGS)
    model, train, val = make(folder)
    first: list[int] = []
    history = finetune(
        model, train, val, tmp_path, tell=lambda done, *rest: first.append(done), **SETTINGS
    )
    assert first[0] == (batches[-1] - 1) // 5 * 5 + 1  # the killed epoch's first batch
    assert_same(history, model.get_weights(), undisturbed)
    assert len({row["learning_rate"] for row in history}) > 1


@keeps_dropout
def test_an_epoch_that_was_logged_and_not_saved_is_run_again(
    folder: Path, tmp_path: Path, undisturbed: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    savez, calls = np.savez, []

    def half_a_file(path: Path, *args: Any, **kwargs: Any) -> None:
        calls.extend([path] if path.name.endswith("state.npz") else [])
        if len(calls) == 3:
            path.write_bytes(b"half")
            raise Killed
        savez(path, *args, **kwargs)

    model, train, val = make(folder)
    with monkeypatch.context() as patch:
        patch.setattr(module.np, "savez", half_a_file)
        with pytest.raises(Killed):
            finetune(model, train, val, tmp_path, **SETTINGS)
    logged = (tmp_path / "history.csv").read_text().splitlines()
    assert len(logged) == 1 + 3
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "best.npz",
        "history.csv",
        "state.npz",
    ]
    model, train, val = make(folder)
    history = finetune(model, train, val, tmp_path, **SETTINGS)
    assert_same(history, model.get_weights(), undisturbed)


def test_a_finished_run_is_not_run_again(folder: Path, tmp_path: Path, undisturbed: tuple) -> None:
    tell: Callable = lambda *args: None  # noqa: E731
    for _ in range(2):
        model, train, val = make(folder)
        history = finetune(model, train, val, tmp_path, tell=tell, **SETTINGS)
        assert_same(history, model.get_weights(), undisturbed)
        tell = kill_at(1)


@pytest.mark.parametrize("lost", ["history.csv", "best.npz"])
def test_a_run_that_lost_a_file_begins_anew(folder: Path, tmp_path: Path, lost: str) -> None:
    model, train, val = make(folder)
    finetune(model, train, val, tmp_path, **(SETTINGS | {"epochs": 2}))
    (tmp_path / lost).unlink()
    model, train, val = make(folder)
    with pytest.raises(Killed):
        finetune(model, train, val, tmp_path, tell=kill_at(1), **SETTINGS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["history.csv"]


def test_the_state_of_another_model_is_refused(folder: Path, tmp_path: Path) -> None:
    model, train, val = make(folder)
    finetune(model, train, val, tmp_path, **(SETTINGS | {"epochs": 1}))
    picture = keras.Input((galleries.NATIVE, galleries.NATIVE, 3))
    other = keras.Model(picture, layers.Dense(2, "softmax")(layers.Flatten()(picture)))
    with pytest.raises(ValueError, match=r"state\.npz must be a state of this model"):
        finetune(other, train, val, tmp_path, **SETTINGS)


def test_a_run_that_diverges_says_so(folder: Path, tmp_path: Path) -> None:
    model, train, val = make(folder)
    model.layers[-1].get_layer("predictions").kernel.assign(np.full((12, 2), np.nan))
    with pytest.raises(ValueError, match=r"diverged.*lower the learning rate\. Received: 0\.4"):
        finetune(model, train, val, tmp_path, **SETTINGS)


def test_a_picture_that_vanishes_is_named(folder: Path, tmp_path: Path) -> None:
    galleries.class_folders(tmp_path / "pictures" / "train", 3)
    galleries.class_folders(tmp_path / "pictures" / "val", 3)
    model, train, val = make(tmp_path / "pictures")
    val.records[0].path.unlink()
    with pytest.raises(ImageError, match=rf"{val.records[0].path.name}: no such file"):
        finetune(model, train, val, tmp_path / "run", **SETTINGS)


KILLED = """
import os, sys
from pathlib import Path
sys.path[:0] = sys.argv[3:]
import test_finetune
model, train, val = test_finetune.make(Path(sys.argv[1]))

def tell(done, total, logs):
    if done == 13:
        os.kill(os.getpid(), 9)

test_finetune.finetune(model, train, val, Path(sys.argv[2]), tell=tell, **test_finetune.SETTINGS)
"""


@pytest.mark.slow
def test_a_run_that_the_system_killed_goes_on(
    folder: Path, tmp_path: Path, undisturbed: tuple
) -> None:
    here = Path(__file__).parent
    arguments = [str(path) for path in (folder, tmp_path, here, here.parent, here.parents[1])]
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True)
    assert killed.returncode == -9, killed.stderr.decode()
    model, train, val = make(folder)
    history = finetune(model, train, val, tmp_path, **SETTINGS)
    assert_same(history, model.get_weights(), undisturbed)


def network(nested: bool) -> keras.Model:
    """stem -> bn1 -> left + right -> block1 -> bn2 -> block2 -> late, with a way around block2."""
    picture = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", name="stem")(picture)
    x = layers.BatchNormalization(name="bn1")(x)
    left = layers.Conv2D(4, 1, name="left")(x)
    right = layers.Conv2D(4, 1, name="right")(x)
    one = layers.Add(name="block1")([left, right])
    x = layers.BatchNormalization(name="bn2")(one)
    x = layers.Conv2D(4, 1, name="block2")(x)
    skip = layers.Conv2D(4, 1, name="skip")(one)
    x = layers.Conv2D(4, 1, name="late")(layers.Add(name="sum")([x, skip]))
    base = keras.Model(picture, x, name="base")
    if not nested:
        return base
    outer = keras.Input((8, 8, 3))
    x = layers.Conv2D(3, 1, name="before")(outer)
    return keras.Model(outer, layers.Conv2D(2, 1, name="head")(base(x)), name="outer")


BN = {"bn1", "bn2"}
FROZEN = {
    0: BN,
    1: BN | {"stem", "left", "right"},
    2: BN | {"stem", "left", "right", "block2"},  # "skip" is no part of what block2 reads
    -1: BN | {"stem", "left", "right"},
    -2: BN,
}


def frozen_names(model: keras.Model) -> set[str]:
    own = {layer for layer in model._flatten_layers() if not isinstance(layer, keras.Model)}
    return {layer.name for layer in own if layer.weights and not layer.trainable_weights}


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("count", FROZEN)
def test_frozen_blocks(count: int, nested: bool) -> None:
    model = network(nested)
    assert frozen_names(model) == set()
    freeze_blocks(model, ("block1", "block2"), count)
    before = {"before"} if nested and count not in (0, -2) else set()
    assert frozen_names(model) == FROZEN[count] | before


@pytest.mark.parametrize("count", FROZEN)
def test_normalization_of_new_weights_is_learned(count: int) -> None:
    """That of the blocks that are trained; in frozen ones it stays."""
    model = network(False)
    freeze_blocks(model, ("block1", "block2"), count, normalization=False)
    below = {0: set(), -2: set(), 1: {"bn1"}, -1: {"bn1"}, 2: BN}
    assert frozen_names(model) == FROZEN[count] - BN | below[count]


@pytest.mark.smoke
def test_frozen_weights_do_not_move() -> None:
    model = network(False)
    freeze_blocks(model, ("block1", "block2"), 1)
    weights = {layer.name: layer.get_weights() for layer in model.layers}
    model.compile(keras.optimizers.SGD(0.1), "mse")
    rng = np.random.default_rng(0)
    model.fit(rng.normal(size=(8, 8, 8, 3)), rng.normal(size=(8, 8, 8, 4)), verbose=0)
    moved = {
        layer.name
        for layer in model.layers
        for a, b in zip(layer.get_weights(), weights[layer.name], strict=True)
        if not np.array_equal(a, b)
    }
    assert moved == {"block2", "skip", "late"}  # the means of bn1 and bn2 stay, too


@pytest.mark.parametrize("count", [3, -3])
def test_too_many_blocks(count: int) -> None:
    with pytest.raises(ValueError, match=rf"`frozen` must be from -2 to 2\. Received: {count}"):
        freeze_blocks(network(False), ("block1", "block2"), count)


def test_a_block_that_the_model_lacks() -> None:
    with pytest.raises(ValueError, match="Model 'base' has no layer 'block7' to freeze"):
        freeze_blocks(network(False), ("block1", "block7"), 2)
