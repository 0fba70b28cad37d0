"""Several targets, weights, and pictures that break: what `fit`, `evaluate` and `predict` get."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import galleries
import keras
import numpy as np
import pytest
from keras import layers, ops
from PIL import Image

from fcnkeras.batching import FedPictures
from fcnkeras.data.columns import Hue
from fcnkeras.data.records import Collection, Record, read_class_folders
from fcnkeras.feeders import FEEDERS
from fcnkeras.images import ImageError

SIZE = 16
SIZES = [(20, 20), (40, 20), (20, 60), (26, 20)] * 3


@pytest.fixture(scope="module")
def paintings(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """Twelve pictures; every third has no score, every fourth no artist."""
    solid = galleries.solid(tmp_path_factory.mktemp("solid"), SIZES)
    records = []
    for i, record in enumerate(solid.records):
        targets: dict[str, Any] = {"hue": Hue(30 * i), "tags": (i % 2, None)}
        if i % 3:
            targets["score"] = i / 10
        if i % 4:
            targets["artist"] = i % 2
        records.append(Record(record.path, targets))
    names = {"artist": ("ann", "bob"), "tags": ("oil", "ink")}
    return Collection(tuple(records), vocabularies=names)


def network(feeder: str, **heads: layers.Layer) -> keras.Model:
    """The mean colour of a picture, padding left out; or heads on it, by name."""
    crops = feeder == "multicrop"
    inputs = [keras.Input((None, None, None, 3) if crops else (None, None, 3))]
    mean = ops.mean(inputs[0] / 255, axis=(1, 2, 3) if crops else (1, 2))
    if feeder in ("pad", "native"):
        inputs.append(keras.Input((None, None), dtype="bool"))
        mean = mean / ops.expand_dims(ops.mean(ops.cast(inputs[1], "float32"), axis=(1, 2)), -1)
    return keras.Model(inputs, {name: head(mean) for name, head in heads.items()} or mean)


def damaged(folder: Path, count: int, broken: int) -> tuple[Path, set[Path]]:
    """Class folders of JPEGs, of which some are cut off, empty, or no picture at all."""
    rng = np.random.default_rng(0)
    chosen = set(rng.choice(count, broken, replace=False).tolist())
    bad = set()
    for i in range(count):
        path = folder / ("even", "odd")[i % 2] / f"{i:03}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        size = (40, 30) if i % 3 else (30, 70)
        pixels = rng.integers(0, 256, (*size[::-1], 3)).astype("uint8")
        Image.fromarray(pixels).save(path)
        if i in chosen:
            bad.add(path)
            data = path.read_bytes()
            path.write_bytes((data[: len(data) // 2], b"", b"no picture")[len(bad) % 3])
    return folder, bad


def test_one_target_is_an_array_and_several_are_a_dict(paintings: Collection) -> None:
    one = FedPictures(paintings, "crop", SIZE, batch=5, targets="hue")
    assert one.kinds == {"hue": "hue"}
    assert len(one[0]) == 2  # all are known, so there are no weights
    np.testing.assert_allclose(one[0][1][3], [0, 1, 0], atol=1e-6)  # 90 degrees
    several = FedPictures(paintings, "crop", SIZE, batch=5, targets=["hue", "tags"])
    inputs, targets, *_ = several[2]
    assert len(inputs) == 2
    assert {name: array.shape for name, array in targets.items()} == {"hue": (2, 3), "tags": (2, 2)}
    np.testing.assert_array_equal(targets["tags"], [[0, np.nan], [1, np.nan]])
    assert isinstance(FedPictures(paintings, "crop", SIZE, targets=["hue"])[0][1], dict)
    none = FedPictures(paintings, "crop", SIZE, batch=5, targets=())
    assert [len(none[i]) for i in range(3)] == [1, 1, 1]


@pytest.mark.parametrize("feeder", ["crop", "native"])
def test_targets_and_weights_follow_their_picture(paintings: Collection, feeder: str) -> None:
    own = np.arange(12) + 1.0
    data = FedPictures(
        paintings, feeder, SIZE, batch=5, targets=["score", "artist"],
        weights={"artist": own}, shuffle=True, seed=4,
    )  # fmt: skip
    seen = []
    for i in range(len(data)):
        inputs, targets, weights = data[i]
        pictures = inputs[0] if feeder == "native" else inputs
        for row, picture in enumerate(pictures):
            index = int(picture[2, 2, 2])  # the third colour of picture i is i
            seen.append(index)
            assert targets["score"][row] == pytest.approx(index / 10 if index % 3 else 0)
            assert weights["score"][row] == (1 if index % 3 else 0)
            assert targets["artist"][row] == (index % 2 if index % 4 else 0)
            assert weights["artist"][row] == (own[index] if index % 4 else 0)
    assert sorted(seen) == list(range(12))


@pytest.mark.smoke
@pytest.mark.parametrize("feeder", FEEDERS)
def test_fit_evaluate_predict_with_missing_labels(paintings: Collection, feeder: str) -> None:
    """What is not known does not count: the loss is that of the others, worked out by hand."""
    keras.utils.set_random_seed(0)
    model = network(feeder, score=layers.Dense(1), artist=layers.Dense(2, activation="softmax"))
    losses = {"score": "mse", "artist": "sparse_categorical_crossentropy"}
    kwargs = {"targets": ["score", "artist"], "batch": 5}
    data = FedPictures(paintings, feeder, SIZE, **kwargs)
    model.compile("sgd", losses)
    answers = model.predict(data, verbose=0)
    score = data.in_order(answers["score"])[:, 0]
    artist = data.in_order(answers["artist"])
    found = model.evaluate(data, verbose=0, return_dict=True)
    told = [i for i in range(12) if i % 3], [i for i in range(12) if i % 4]
    squares = sum((score[i] - i / 10) ** 2 for i in told[0])
    entropy = -sum(np.log(artist[i, i % 2]) for i in told[1])
    assert found["loss"] == pytest.approx((squares + entropy) / 12, rel=1e-3)
    shuffled = FedPictures(paintings, feeder, SIZE, shuffle=True, flip=True, **kwargs)
    history = model.fit(shuffled, epochs=3, shuffle=False, verbose=0, validation_data=data).history
    assert history["loss"][-1] < history["loss"][0]
    assert np.isfinite(history["val_loss"]).all()


def test_weights_count_in_metrics(paintings: Collection) -> None:
    """The negative control: without weights the mean of the labels is another one."""
    data = FedPictures(paintings, "crop", SIZE, batch=12, targets="score")
    mean = layers.GlobalAveragePooling2D()
    model = keras.Sequential([mean, layers.Dense(1, kernel_initializer="zeros")])
    plain, weighted = (keras.metrics.MeanAbsoluteError(name) for name in ("plain", "weighted"))
    model.compile("sgd", "mse", metrics=[plain], weighted_metrics=[weighted])
    found = model.evaluate(data, verbose=0, return_dict=True)
    told = [i / 10 for i in range(12) if i % 3]
    assert found["weighted"] == pytest.approx(np.mean(told), rel=1e-5)
    assert found["plain"] == pytest.approx(np.sum(told) / 12, rel=1e-5)


@pytest.mark.smoke
@pytest.mark.parametrize("checked", [False, True])
def test_an_epoch_over_a_folder_with_broken_files(tmp_path: Path, checked: bool) -> None:
    """5 % of a hundred files are broken: all others are trained on once, and these are listed."""
    folder, bad = damaged(tmp_path, 100, 5)
    collection = read_class_folders(folder, check=checked)
    assert {one.path for one in collection.rejected} == (bad if checked else set())
    data = FedPictures(collection, "native", SIZE, batch=8, shuffle=True, skip_broken=True)
    assert {one.path for one in (*collection.rejected, *data.rejected)} == bad
    assert all(one.reason for one in data.rejected)
    paths = [data.records[index].path for index in data.order]
    assert len(paths) == len(set(paths)) == 95
    assert not bad & set(paths)
    model = network("native", scores=layers.Dense(2, activation="softmax"))
    model.compile("sgd", "sparse_categorical_crossentropy", weighted_metrics=["accuracy"])
    history = model.fit(data, epochs=2, shuffle=False, verbose=0).history
    assert len(history["loss"]) == 2
    assert np.isfinite(history["loss"]).all()
    if not checked:  # negative control
        with pytest.raises(ImageError, match="cannot read"):
            FedPictures(collection, "native", SIZE)


@pytest.mark.parametrize("workers", [1, 3])
def test_pictures_that_break_in_the_middle_of_a_run(tmp_path: Path, workers: int) -> None:
    folder, _ = damaged(tmp_path, 24, 0)
    collection = read_class_folders(folder)
    data = FedPictures(
        collection, "native", SIZE, batch=4, skip_broken=True, cache_bytes=0, workers=workers
    )
    model = network("native", scores=layers.Dense(2, activation="softmax"))
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(data, shuffle=False, verbose=0)
    assert data.rejected == ()
    shapes = data.shapes
    gone, resized, *others = (int(index) for index in data.order)
    records = collection.records
    records[gone].path.unlink()
    Image.new("RGB", (90, 20)).save(records[resized].path)
    lost = others[2:6]  # all of the second batch
    for index in lost:
        records[index].path.write_bytes(b"")
    history = model.fit(data, epochs=2, shuffle=False, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    reasons = {one.path: one.reason for one in data.rejected}
    assert set(reasons) == {records[index].path for index in (gone, resized, *lost)}
    assert reasons[records[gone].path] == "no such file"
    assert "size is no longer what it was" in reasons[records[resized].path]
    assert data.shapes == shapes
    np.testing.assert_array_equal(data[0][2], [0, 0, 1, 1])
    np.testing.assert_array_equal(data[1][2], [0, 0, 0, 0])
    assert data[1][0][1].all()  # nothing that a pooling would divide by zero for
    answers = data.in_order(model.predict(data, verbose=0)["scores"])
    unknown = np.isnan(answers).any(axis=1)
    assert set(np.flatnonzero(unknown)) == {gone, resized, *lost}


def test_without_leave_a_broken_picture_is_an_error(tmp_path: Path) -> None:
    folder, bad = damaged(tmp_path, 6, 6)
    collection = read_class_folders(folder, check=False)
    with pytest.raises(ImageError, match="cannot read") as caught:
        FedPictures(collection, "crop", SIZE, skip_broken=True)  # none can be read
    assert caught.value.path in bad


def test_too_long_for_its_width(tmp_path: Path) -> None:
    pictures = galleries.solid(tmp_path, [(20, 20), (20000, 1)])
    with pytest.raises(ImageError, match=r"001\.png: native would make 1280000 x 64"):
        FedPictures(pictures, "native", 64)
    data = FedPictures(pictures, "native", 64, skip_broken=True)
    assert [one.path.name for one in data.rejected] == ["001.png"]
    assert data.shapes == [(1, 64, 64)]


def test_rows_of_shuffled_batches_have_no_order(paintings: Collection) -> None:
    data = FedPictures(paintings, "crop", SIZE, targets=(), shuffle=True)
    with pytest.raises(ValueError, match="`shuffle=False` only"):
        data.in_order(np.zeros((12, 2)))


def test_wrong_targets_and_weights(paintings: Collection) -> None:
    with pytest.raises(ValueError, match=r"no record has the target 'class', .* hue, tags"):
        FedPictures(paintings, "crop", SIZE)
    with pytest.raises(ValueError, match="a number for each of the 12 records"):
        FedPictures(paintings, "crop", SIZE, targets="hue", weights=np.ones(11))
    unknown = replace(paintings, records=tuple(Record(r.path, {}) for r in paintings.records))
    with pytest.raises(ValueError, match="the collection's are: none"):
        FedPictures(unknown, "crop", SIZE, targets="hue")
