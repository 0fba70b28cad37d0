"""Features on disk are those that the network gives, in the order in which pictures come."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import galleries
import keras
import numpy as np
import pytest
from interruptions import Killed, kill_at, without_seconds
from keras import layers

from fcnkeras.batching import FedPictures
from fcnkeras.data.records import Collection, Record
from fcnkeras.images import ImageError
from fcnkeras.layers import MaskedGlobalPooling2D
from fcnkeras.training import feature_cache
from fcnkeras.training.feature_cache import cached_features
from fcnkeras.training.stages import Recipe, Stage, fit_stages

SIDE = 16


def noise(folder: Path, count: int = 10, *, wide: bool = False) -> Collection:
    """Pictures of noise, of two classes."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(5)
    records = []
    for i in range(count):
        width = SIDE * (1 + i % 3) if wide else SIDE
        pixels = rng.integers(0, 255, (SIDE, width, 3)) // (1 + i % 2)
        path = folder / f"{i}.png"
        galleries.Image.fromarray(pixels.astype("uint8")).save(path)
        records.append(Record(path, {"class": i % 2}))
    return Collection(tuple(records), ("light", "dark"))


def make_features(seed: int = 0, *, mask: bool = False, **options: Any) -> keras.Model:
    """Features that know left from right."""
    keras.utils.set_random_seed(seed)
    given = keras.Input((None, None, 3))
    x = layers.Rescaling(1 / 255)(given)
    x = layers.Conv2D(5, 3, padding="same", activation="relu", **options)(x)
    x = layers.Dropout(0.5)(layers.BatchNormalization()(x))
    if not mask:
        return keras.Model(given, layers.GlobalMaxPooling2D()(x))
    real = keras.Input((None, None), dtype="bool")
    return keras.Model([given, real], MaskedGlobalPooling2D("avg", (1, 1))([x, real]))


def fed(collection: Collection, feeder: str = "crop", **options: Any) -> FedPictures:
    return FedPictures(collection, feeder, SIDE, batch=4, seed=3, **options)


class Asked:
    """Notes how many pictures were to be computed."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int]] = []

    def __call__(self, done: int, total: int) -> None:
        self.told.append((done, total))

    @property
    def total(self) -> int:
        return self.told[0][1]


@pytest.mark.smoke
@pytest.mark.parametrize("feeder", ["crop", "native"])
def test_batches_are_those_of_the_pictures(tmp_path: Path, feeder: str) -> None:
    collection = noise(tmp_path / "pictures", wide=feeder == "native")
    weights = np.linspace(0.5, 2, len(collection))
    options = {"shuffle": True, "flip": True, "weights": weights}
    data, model = fed(collection, feeder, **options), make_features(mask=feeder == "native")
    cached = cached_features(model, data, tmp_path / "cache")
    assert len(cached) == len(data)
    seen = set()
    for epoch in (0, 1, 7):
        data.start_at(epoch)
        cached.start_at(epoch)
        assert cached.order.tolist() == data.order.tolist()
        seen.add(tuple(cached.order.tolist()))
        for index in range(len(data)):
            pictures, targets, weight = data[index]
            features, found, found_weight = cached[index]
            expected = keras.ops.convert_to_numpy(model(pictures, training=False))
            np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-6)
            np.testing.assert_array_equal(found, targets)
            np.testing.assert_array_equal(found_weight, weight)
    assert len(seen) == 3


def test_mirrored_features_are_others(tmp_path: Path) -> None:
    data = fed(noise(tmp_path / "pictures"), flip=True)
    cached = cached_features(make_features(), data, tmp_path / "cache")
    members = np.arange(4)
    plain, _ = cached.inputs(members, np.zeros(4, bool))
    mirrored, _ = cached.inputs(members, np.ones(4, bool))
    assert np.abs(plain - mirrored).max(axis=1).min() > 1e-3


def count_computed(folder: Path, model: keras.Model, data: FedPictures) -> int:
    asked = Asked()
    cached_features(model, data, folder, tell=asked)
    return asked.total


def test_what_is_known_is_not_computed_again(tmp_path: Path) -> None:
    collection, cache = noise(tmp_path / "a"), tmp_path / "cache"
    model = make_features()
    assert count_computed(cache, model, fed(collection)) == 10
    assert count_computed(cache, model, fed(collection)) == 0
    assert count_computed(cache, model, fed(collection, shuffle=True, flip=True)) == 10  # mirrored
    again = make_features()  # its layers have other names, its weights are the same
    assert [layer.name for layer in again.layers] != [layer.name for layer in model.layers]
    assert count_computed(cache, again, fed(collection)) == 0
    for i, record in enumerate(collection.records):  # a new place, and one picture that changed
        record.path.rename(tmp_path / f"{i}.png")
    moved = Collection(
        tuple(Record(tmp_path / f"{i}.png", r.targets) for i, r in enumerate(collection.records)),
        collection.classes,
    )
    assert count_computed(cache, model, fed(moved)) == 0
    galleries.Image.new("RGB", (SIDE, SIDE), "red").save(moved.records[3].path)
    assert count_computed(cache, model, fed(moved)) == 1


def test_other_weights_layers_feeders_and_sizes_have_other_features(tmp_path: Path) -> None:
    collection, cache = noise(tmp_path / "pictures"), tmp_path / "cache"
    assert count_computed(cache, make_features(), fed(collection)) == 10
    assert count_computed(cache, make_features(1), fed(collection)) == 10
    assert count_computed(cache, make_features(strides=2), fed(collection)) == 10
    assert count_computed(cache, make_features(), fed(collection, "squash")) == 10
    other = FedPictures(collection, "crop", 2 * SIDE)
    assert count_computed(cache, make_features(), other) == 10
    assert len(list(cache.iterdir())) == 5


def test_the_shape_of_its_bucket_belongs_to_a_picture(tmp_path: Path) -> None:
    collection, cache = noise(tmp_path / "pictures", wide=True), tmp_path / "cache"
    model = make_features(mask=True)
    assert count_computed(cache, model, fed(collection, "native", max_shapes=3)) == 10
    # In one bucket only those that are widest have the shape that they had.
    assert count_computed(cache, model, fed(collection, "native", max_shapes=1)) == 7


@pytest.mark.parametrize("written", ["at every row", "at the end"])
def test_a_run_that_dies_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    collection, cache, model = noise(tmp_path / "pictures"), tmp_path / "cache", make_features()
    if written == "at every row":
        monkeypatch.setattr(feature_cache, "PART_SECONDS", 0)

    def kill(done: int, total: int) -> None:
        if done == 8:
            if written == "at every row":  # nothing depends on how the process ends
                assert len(list(cache.rglob("*.npy"))) == 8
            raise Killed

    with pytest.raises(Killed):
        cached_features(model, fed(collection), cache, tell=kill)
    asked = Asked()
    cached = cached_features(model, fed(collection), cache, tell=asked)
    assert asked.told[0] == (0, 2)
    assert asked.told[-1] == (2, 2)
    whole = cached_features(model, fed(collection), tmp_path / "undisturbed")
    for index in range(len(whole)):
        np.testing.assert_allclose(cached[index][0], whole[index][0], rtol=1e-6)


def test_a_broken_picture_is_listed_and_counts_nothing(tmp_path: Path) -> None:
    collection = noise(tmp_path / "pictures")
    data = fed(collection, skip_broken=True, cache_bytes=0)
    path = collection.records[5].path
    path.write_bytes(path.read_bytes()[:200])
    collection.records[6].path.unlink()
    cached = cached_features(make_features(), data, tmp_path / "cache")
    assert [rejected.path.name for rejected in cached.rejected] == ["5.png", "6.png"]
    assert cached[1][2].tolist() == [1, 0, 0, 1]
    assert np.isfinite(cached[1][0]).all()
    np.testing.assert_array_equal(cached[1][0][1], cached[1][0][0])  # it stands in
    with pytest.raises(ImageError, match=r"5\.png"):
        cached_features(make_features(), fed(collection), tmp_path / "cache")


def train(folder: Path, way: str, **more: Any) -> list[dict]:
    features = make_features()
    features.trainable = False
    features.get_layer(index=4).rate = 0  # Keras' own epochs would drop out even if frozen
    head = keras.Sequential([keras.Input((5,)), layers.Dense(2, activation="softmax")])
    head.layers[0].kernel.assign(np.random.default_rng(1).normal(size=(5, 2)))
    pictures = noise(folder / "train", 12)
    data = {
        "train": fed(pictures, shuffle=True, flip=True),
        "val": fed(noise(folder / "val", 9)),
    }
    model = keras.Model(features.input, head(features.output))
    if way != "whole":
        model = head
        data = {k: cached_features(features, v, folder / "cache") for k, v in data.items()}

    def compile_model(optimizer: Any) -> None:
        loss = "sparse_categorical_crossentropy"
        model.compile(optimizer, loss, metrics=["accuracy"], jit_compile=False)

    history = fit_stages(
        model,
        data["train"],
        data["val"],
        folder / way,
        Recipe((Stage(4, 0.05),), "val_accuracy"),
        freeze=lambda stage: None,
        compile_model=compile_model,
        **more,
    )
    return without_seconds(history)


@pytest.mark.smoke
def test_training_is_that_of_the_whole_frozen_network(tmp_path: Path) -> None:
    expected = train(tmp_path, "whole")
    assert len(expected) == 4
    assert expected[-1]["loss"] < expected[0]["loss"]
    with pytest.raises(Killed):
        train(tmp_path, "killed", tell=kill_at(8))
    for way in ("cached", "killed"):
        for row, same in zip(train(tmp_path, way), expected, strict=True):
            assert row == pytest.approx(same, rel=1e-4)


def test_models_that_are_refused(tmp_path: Path) -> None:
    data = fed(noise(tmp_path / "pictures"))
    given = keras.Input((None, None, 3))
    for output in (layers.Conv2D(2, 3)(given), [given, given]):
        with pytest.raises(ValueError, match="one array of a known shape"):
            cached_features(keras.Model(given, output), data, tmp_path / "cache")
