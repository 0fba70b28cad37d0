"""Training in stages: what each trains, schedules, stopping early, and going on where killed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import galleries
import keras
import numpy as np
import pytest
from interruptions import Killed, keeps_dropout, kill_at, without_seconds
from keras import layers

from fcnkeras.batching import FedPictures
from fcnkeras.data.records import read_class_folders
from fcnkeras.training.freezing import freeze_up_to, train_all
from fcnkeras.training.stages import Recipe, Stage, fit_stages, parse_stages

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
TWO = (Stage(2, 0.01, "base"), Stage(3, 0.003))


def train(folder: Path, out: Path, recipe: Recipe, **options: Any) -> tuple[list, keras.Model]:
    """Five batches an epoch, with dropout, flips and a batch of its own order each epoch."""
    keras.utils.set_random_seed(3)
    picture = keras.Input((galleries.NATIVE, galleries.NATIVE, 3))
    x = layers.Rescaling(1 / 127.5, -1)(picture)
    x = layers.Conv2D(6, 3, 2, activation="relu", name="base")(x)
    x = layers.Dropout(0.3, seed=None)(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(picture, layers.Dense(2, activation="softmax", name="head")(x))

    def freeze(stage: Stage) -> None:
        train_all(model)
        if stage.frozen == "base":
            freeze_up_to(model, "base")

    def compile_model(optimizer: Any) -> None:
        loss = "sparse_categorical_crossentropy"
        model.compile(optimizer, loss, metrics=["accuracy"], jit_compile=False)

    history = fit_stages(
        model,
        *galleries.fed_parts(folder),
        out,
        recipe,
        freeze=freeze,
        compile_model=compile_model,
        **options,
    )
    return without_seconds(history), model


@pytest.fixture(scope="module")
def undisturbed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list, Any]:
    return train(folder, tmp_path_factory.mktemp("run"), Recipe(TWO))


@keeps_dropout
@pytest.mark.parametrize("batches", [(3,), (10,), (11,), (4, 8, 11, 14, 25)])
def test_a_run_killed_in_any_stage_goes_on(
    folder: Path, tmp_path: Path, undisturbed: tuple, batches: tuple[int, ...]
) -> None:
    for batch in batches:
        with pytest.raises(Killed):
            train(folder, tmp_path, Recipe(TWO), tell=kill_at(batch))
    history, model = train(folder, tmp_path, Recipe(TWO))
    assert len(history) == 5
    for row, expected in zip(history, undisturbed[0], strict=True):
        assert row == pytest.approx(expected, rel=1e-4)
    for weight, expected in zip(model.get_weights(), undisturbed[1].get_weights(), strict=True):
        np.testing.assert_allclose(weight, expected, rtol=1e-4, atol=1e-5)


def test_each_stage_has_its_rate_and_its_layers(folder: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, np.ndarray]] = []

    class Watch(keras.callbacks.Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            self.before = keras.ops.convert_to_numpy(self.model.get_layer("base").kernel)

        def on_train_end(self, logs: Any = None) -> None:
            after = keras.ops.convert_to_numpy(self.model.get_layer("base").kernel)
            seen.append((len(self.model.trainable_variables), np.abs(after - self.before).max()))

    history, model = train(folder, tmp_path, Recipe(TWO), callbacks=lambda: [Watch()])
    assert [row["stage"] for row in history] == [0, 0, 1, 1, 1]
    rates = [row["learning_rate"] for row in history]
    assert rates == pytest.approx([0.01, 0.01, 0.003, 0.003, 0.003])
    assert [count for count, _ in seen] == [2, 4]
    assert seen[0][1] == 0
    assert seen[1][1] > 0
    best = min(row["val_loss"] for row in history)
    val = FedPictures(read_class_folders(folder / "val"), "crop", galleries.NATIVE, batch=4)
    assert model.evaluate(val, verbose=0)[0] == pytest.approx(best, rel=1e-4)


@pytest.mark.parametrize("killed", [False, True])
def test_a_stage_begins_with_the_best_weights(folder: Path, tmp_path: Path, killed: bool) -> None:
    """The second stage ruins them; the third changes nothing, and has those of the first."""

    class Ruin(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.epoch = epoch

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if self.epoch == 2:
                kernel = self.model.get_layer("head").kernel
                kernel.assign(0 * kernel)

    recipe = Recipe((Stage(2, 0.01), Stage(1, 1e-12), Stage(1, 1e-12)), schedule="constant")
    options = {"callbacks": lambda: [Ruin()]}
    if killed:
        with pytest.raises(Killed):
            train(folder, tmp_path, recipe, tell=kill_at(16), **options)  # the third has begun
    history, _ = train(folder, tmp_path, recipe, **options)
    losses = [row["val_loss"] for row in history]
    assert losses[2] > 1.5 * min(losses[:2])
    assert losses[3] == pytest.approx(min(losses[:2]), rel=1e-4)


def test_cosine_falls_over_each_stage(folder: Path, tmp_path: Path) -> None:
    recipe = Recipe((Stage(2, 0.01), Stage(4, 0.002)), schedule="cosine", min_learning_rate=0.001)
    with pytest.raises(Killed):
        train(folder, tmp_path, recipe, tell=kill_at(22))
    history, _ = train(folder, tmp_path, recipe)
    half = math.sqrt(0.5) / 2
    expected = [0.01, 0.0055, 0.002, 0.0015 + 0.001 * half, 0.0015, 0.0015 - 0.001 * half]
    assert [row["learning_rate"] for row in history] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("killed", [False, True])
def test_a_stage_ends_early(folder: Path, tmp_path: Path, killed: bool) -> None:
    """With a learning rate that changes nothing the first epoch stays the best one."""
    still = Recipe(
        (Stage(9, 1e-12), Stage(2, 1e-12)), "val_accuracy", "sgd", "constant", early_stopping=2
    )
    if killed:
        with pytest.raises(Killed):
            train(folder, tmp_path, still, tell=kill_at(12))
    history, _ = train(folder, tmp_path, still)
    assert [row["stage"] for row in history] == [0, 0, 0, 1, 1]


def test_a_monitor_that_is_not_there(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"one of val_accuracy, val_loss\. Received: val_srcc"):
        train(folder, tmp_path, Recipe((Stage(1, 0.01),), monitor="val_srcc"))


def test_best_is_highest_or_lowest_by_its_name() -> None:
    rows = [{"val_loss": 3.0, "val_srcc": 0.2}, {"val_loss": 2.0, "val_srcc": 0.1}]
    assert Recipe(TWO).best(rows) is rows[1]
    assert Recipe(TWO, monitor="val_srcc").best(rows) is rows[0]


def test_stages_as_the_command_line_writes_them() -> None:
    assert parse_stages("head:3@1e-3, all:10@0.0001,freeze-1:2@1e-05") == (
        Stage(3, 0.001, "base"),
        Stage(10, 0.0001, 0),
        Stage(2, 1e-5, -1),
    )
    for wrong in ("head", "head:3", "head:3@", "tail:3@1e-3", "freeze:3@1e-3", "head:3@1e-3;"):
        with pytest.raises(ValueError, match="stages are written as"):
            parse_stages(wrong)
    with pytest.raises(ValueError, match=r"at least 1 epoch\. Received: 0"):
        parse_stages("all:0@1e-3")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "sdg"}, "`optimizer` must be one of"),
        ({"schedule": "step"}, "`schedule` must be one of"),
        ({"early_stopping": 0}, "`early_stopping` must be at least 1"),
        ({"stages": ()}, "must have a stage"),
    ],
)
def test_recipes_that_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recipe(**({"stages": TWO} | options))
