"""A whole run: what its settings do to the model, the pictures, the training and the figures."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import galleries
import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

import fcnkeras.saved  # noqa: F401 - so that Keras knows our classes
from fcnkeras.data.records import Collection, Record, read_class_folders
from fcnkeras.models import specs
from fcnkeras.tasks.classes import ClassTask
from fcnkeras.tasks.heads import compile_arguments, schema_of
from fcnkeras.tasks.schema import Schema
from fcnkeras.training import run
from fcnkeras.training.run import Settings, train_tasks
from fcnkeras.training.stages import Recipe, parse_stages

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
SCHEMA = Schema("tints", (ClassTask("class"),))
FITTED = Schema("tints", (ClassTask("class", names=("greenish", "reddish")),))


def NormalizedNet(
    weights: str | None = None, classes: int = 1000, classifier_activation: str = "softmax"
) -> keras.Model:
    """Two blocks of a convolution with BatchNormalization, and two fully connected layers."""
    x = picture = keras.Input((galleries.NATIVE, galleries.NATIVE, 3))
    for block in (1, 2):
        x = layers.Conv2D(4, 3, 2, padding="same", name=f"block{block}_conv")(x)
        x = layers.BatchNormalization(name=f"block{block}_bn")(x)
        x = layers.ReLU(name=f"block{block}_out")(x)
    x = layers.Dense(5, activation="relu", name="fc")(layers.GlobalAveragePooling2D()(x))
    x = layers.Dense(classes, activation=classifier_activation, name="predictions")(x)
    return keras.Model(picture, x, name="normalized")


BLOCKS = ("block1_out", "block2_out")
SPEC = specs.NetworkSpec(
    "Normalized", f"{__name__}:NormalizedNet", galleries.NATIVE, "tf", BLOCKS[0], BLOCKS
)


@pytest.fixture(autouse=True)
def network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(specs.SPECS, "Normalized", SPEC)


def settings(stages: str = "head:1@1e-2", **changes: Any) -> Settings:
    recipe = Recipe(parse_stages(stages), schedule="constant")
    changes = {"weights": "random", "feeder": "crop", "batch": 4} | changes
    return Settings(recipe, network="Normalized", **changes)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Collection]:
    folder = tmp_path_factory.mktemp("pictures")
    for seed, (part, count) in enumerate({"train": 8, "val": 6, "test": 5}.items()):
        galleries.class_folders(folder / part, count, seed=seed)
    return {part: read_class_folders(folder / part) for part in ("train", "val", "test")}


def trained_names(trainer: Any) -> set[str]:
    """The layers with a weight that training moves."""
    return {
        layer.name
        for layer in trainer.training._flatten_layers(recursive=True)
        if layer.trainable_weights and not hasattr(layer, "layers")
    }


HEAD, BN = {"logits_class"}, {"block1_bn", "block2_bn"}
CONVS = {"block1_conv", "block2_conv", "fc"}


@pytest.mark.parametrize(
    ("stage", "changes", "expected"),
    [
        ("head:1@1", {}, HEAD),
        ("all:1@1", {}, HEAD | CONVS | BN),
        ("all:1@1", {"weights": "imagenet"}, HEAD | CONVS),  # learned means and deviations stay
        ("freeze1:1@1", {}, HEAD | {"block2_conv", "block2_bn", "fc"}),
        ("freeze1:1@1", {"weights": "imagenet"}, HEAD | {"block2_conv", "fc"}),
        ("freeze-1:1@1", {}, HEAD | {"block2_conv", "block2_bn", "fc"}),
        ("all:1@1", {"head": "mlsp"}, HEAD | {"grid_conv1", "grid_conv2"}),
        ("all:1@1", {"head": "multi_level"}, HEAD | BN | {"block1_conv", "block2_conv"}),
    ],
)
def test_what_a_stage_trains(stage: str, changes: dict, expected: set[str]) -> None:
    given = settings(stage, **changes)
    trainer = run._Trainer(run.build_task_model(FITTED, replace(given, weights="random")), given)
    for earlier in parse_stages("head:1@1,freeze1:1@1"):  # which leave nothing behind
        trainer.freeze(earlier)
    trainer.freeze(given.recipe.stages[0])
    assert trained_names(trainer) == expected


def test_stages_move_what_they_train(parts: dict, tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    start = run.build_task_model(FITTED, settings())
    for stages, moves in (("head:2@1e-2", False), ("head:1@1e-2,freeze1:1@1e-2", True)):
        train_tasks(parts, SCHEMA, tmp_path / stages[-6:], settings(stages))
        model = keras.models.load_model(tmp_path / stages[-6:] / "model.keras")
        same = {
            name: np.array_equal(
                model.get_layer(name).get_weights()[0], start.get_layer(name).get_weights()[0]
            )
            for name in ("block1_conv", "block2_conv")
        }
        assert same == {"block1_conv": True, "block2_conv": not moves}
        assert all(layer.trainable for layer in model.layers)


@pytest.mark.parametrize("feeder", ["crop", "native"])
def test_the_answers_are_those_of_the_best_epoch(parts: dict, tmp_path: Path, feeder: str) -> None:
    """The saved model gives the validation loss of the best epoch, which is not the last, and of
    each test picture alone the answer that stands in its row."""
    given = settings("all:2@1e-3,all:2@50", feeder=feeder, size=galleries.NATIVE)
    result = train_tasks(parts, SCHEMA, tmp_path, given)
    assert result["best_epoch"] < 4  # the second rate is far too high to end at the best
    model = keras.models.load_model(tmp_path / "model.keras")
    assert schema_of(model) == FITTED
    trainer = run._Trainer(model, given)
    trainer.fed.compile(**compile_arguments(trainer.fed))
    val = run.feed(parts["val"], FITTED, given)
    assert trainer.fed.evaluate(val, verbose=0)[0] == pytest.approx(result["val_loss"], rel=1e-4)

    with (tmp_path / "predictions.csv").open(newline="") as stream:
        rows = {row["file"]: row for row in csv.DictReader(stream)}
    assert set(rows) == {str(record.path) for record in parts["test"].records}
    answers = []
    for record in parts["test"].records:
        alone = Collection((record,), parts["test"].classes)
        (inputs, *_) = run.feed(alone, FITTED, given)[0]
        found = keras.ops.convert_to_numpy(trainer.fed(inputs)["class"])[0]
        row = rows[str(record.path)]
        answers.append(float(row["class_reddish"]))
        assert answers[-1] == pytest.approx(float(found[1]), abs=1e-4)
        assert row["label_class"] == record.path.parent.name
    assert np.std(answers) > 1e-3  # else any order would do
    right = sum(row["label_class"] == row["class"] for row in rows.values())
    assert result["test"]["class"]["accuracy"] == right / 10


def test_augmentation_is_for_training_alone(parts: dict) -> None:
    given = settings()
    pictures = next(iter(run.feed(parts["train"], FITTED, given)))[0]

    def outputs(model: keras.Model, training: bool) -> np.ndarray:
        return keras.ops.convert_to_numpy(model(pictures, training=training)["class"])

    for changes, changed in (
        ({}, True),
        ({"flip": False}, True),
        ({"crop": 0.0}, True),
        ({"flip": False, "crop": 0.0}, False),
    ):
        keras.utils.set_random_seed(0)
        trainer = run._Trainer(run.build_task_model(FITTED, given), replace(given, **changes))
        trainer.freeze(parse_stages("head:1@1")[0])  # BatchNormalization then takes its own means
        plain = outputs(trainer.fed, False)
        assert np.array_equal(outputs(trainer.training, False), plain)
        assert np.allclose(outputs(trainer.training, True), plain, atol=1e-6) != changed


@pytest.mark.parametrize(("cache", "train"), [(True, True), (True, False), (False, True)])
def test_pictures_are_mirrored_once(parts: dict, cache: bool, train: bool) -> None:
    """By the batches where features are kept, else by the model."""
    given = settings(cache=cache)
    data = run.feed(parts["train"], FITTED, given, train=train)
    assert (data.flip, data.shuffle) == (cache and train, train)
    assert not run.feed(parts["train"], FITTED, replace(given, flip=False), train=train).flip


def test_class_weights_by_hand(tmp_path: Path) -> None:
    """Four of one class, two of another, one that is not known."""
    labels = [0, 0, 1, 0, None, 1, 0]
    for i in range(len(labels)):
        Image.new("RGB", (40, 40), (20 * i, 0, 0)).save(tmp_path / f"{i}.png")
    records = [Record(tmp_path / f"{i}.png", {"class": k}) for i, k in enumerate(labels)]
    part = Collection(tuple(records), FITTED["class"].names)
    expected = [0.75, 0.75, 1.5, 0.75, 0.0, 1.5, 0.75]  # 6 / (2 classes * 4), 6 / (2 * 2)
    for given, train, wanted in (
        (settings(class_weights=True, batch=7), True, expected),
        (settings(class_weights=True, batch=7), False, [1, 1, 1, 1, 0, 1, 1]),
        (settings(batch=7), True, [1, 1, 1, 1, 0, 1, 1]),
    ):
        data = run.feed(part, FITTED, given, train=train)
        (_, _, weights), order = data[0], data.order
        np.testing.assert_allclose(weights["class"], np.array(wanted)[order])


def test_settings_reach_the_model() -> None:
    def made(**changes: Any) -> dict[str, keras.Layer]:
        model = run.build_task_model(FITTED, settings(**changes))
        return {layer.name: layer for layer in model._flatten_layers()}

    plain = made()
    assert type(plain["pooled_top"]) is layers.GlobalAveragePooling2D
    assert "fc" in plain
    assert not {"head_dropout", "weight_class"} & set(plain)
    assert type(made(pooling="max")["pooled_top"]) is layers.GlobalMaxPooling2D
    assert "fc" not in made(drop_top=2)
    assert made(dropout=0.3)["head_dropout"].rate == 0.3
    assert "weight_class" in made(learned_weights=True)


def test_what_is_not_known_or_not_readable_counts_nothing(parts: dict, tmp_path: Path) -> None:
    """Of ten test pictures every other has no label, and one of the rest is broken."""
    galleries.class_folders(tmp_path / "test", 5, seed=2)
    test = read_class_folders(tmp_path / "test")
    records = tuple(
        replace(record, targets={"class": None if i % 2 else record.targets["class"]})
        for i, record in enumerate(test.records)
    )
    broken = records[2].path
    broken.write_bytes(broken.read_bytes()[:-200])  # found out when it is read, not by its header
    given = parts | {"test": replace(test, records=records)}
    result = train_tasks(given, SCHEMA, tmp_path / "run", settings())
    assert (result["test"]["class"]["records"], result["rejected"]) == (4, 1)
    assert np.array(result["test"]["class"]["confusion"]).sum() == 4
    with (tmp_path / "run" / "rejected.csv").open(newline="") as stream:
        assert [row["file"] for row in csv.DictReader(stream)] == [str(broken)]
