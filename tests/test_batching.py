"""Every picture of an epoch once, in batches of one shape, with the mask of what is picture."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import galleries
import keras
import numpy as np
import pytest
from keras import ops
from PIL import Image

from fcnkeras.batching import GRAIN, FedPictures, picture_errors
from fcnkeras.data.records import Collection, Record
from fcnkeras.feeders import FEEDERS
from fcnkeras.images import ImageError

SIZE = 16
# Squares, landscapes up to 5:1, portraits up to 1:3; 23 of them, so that batches of 4 do not fit.
SIZES = [(20, 20), (40, 20), (100, 20), (20, 24), (20, 60), (26, 20), (33, 20), (20, 41)] * 3
SIZES = SIZES[:23]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    return galleries.solid(tmp_path_factory.mktemp("solid"), SIZES)


def landscapes(folder: Path, count: int, widest: int, seed: int = 0) -> Collection:
    """Pictures 64 high and 64 to `widest` wide, evenly spread, in a random order."""
    widths = [round(width) for width in np.linspace(64, widest, count)]
    random.Random(seed).shuffle(widths)
    return galleries.solid(folder, [(width, 64) for width in widths])


def labels_of_epoch(data: FedPictures) -> list[int]:
    return [int(label) for i in range(len(data)) for label in data[i][1]]


def mean_colour(feeder: str) -> keras.Model:
    """A model that gives the mean colour of the picture, padding left out."""
    if feeder == "multicrop":
        crops = keras.Input((None, None, None, 3))
        return keras.Model(crops, ops.mean(crops, axis=(1, 2, 3)))
    picture = keras.Input((None, None, 3))
    if feeder not in ("pad", "native"):
        return keras.Model(picture, ops.mean(picture, axis=(1, 2)))
    mask = keras.Input((None, None), dtype="bool")
    weights = ops.expand_dims(ops.cast(mask, "float32"), -1)
    mean = ops.sum(picture * weights, axis=(1, 2)) / ops.sum(weights, axis=(1, 2))
    return keras.Model([picture, mask], mean)


class Recorder(keras.Model):
    """Learns nothing; remembers the labels that `fit` brings, epoch by epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.built = True
        self.epochs: list[list[int]] = []

    def train_step(self, *arguments: Any) -> Any:
        *state, data = arguments  # on JAX the state of the training goes in and out
        self.epochs[-1] += [int(label) for label in data[1]]
        logs = {"loss": 0.0}
        return (logs, *state) if state else logs

    def record(self, data: FedPictures, epochs: int, initial: int = 0) -> list[list[int]]:
        self.compile(run_eagerly=True)
        begin = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda e, logs: self.epochs.append([])
        )
        kwargs = {"initial_epoch": initial, "shuffle": False, "callbacks": [begin]}
        self.fit(data, epochs=epochs, verbose=0, **kwargs)
        return self.epochs


class Unsorted(FedPictures):
    """As the batches were before they were told apart."""

    def _tell_apart(self, batches: list[np.ndarray]) -> list[np.ndarray]:
        return batches


@pytest.mark.parametrize("feeder", FEEDERS)
@pytest.mark.parametrize("seed", [0, 1])
def test_every_picture_once_in_every_epoch(pictures: Collection, feeder: str, seed: int) -> None:
    data = FedPictures(pictures, feeder, SIZE, batch=4, shuffle=True, flip=True, seed=seed)
    for _ in range(3):
        assert sorted(labels_of_epoch(data)) == list(range(23))
        assert labels_of_epoch(data) == data.order.tolist()
        data.on_epoch_end()


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("feeder", FEEDERS)
def test_fit_sees_every_picture_once_with_threads(
    pictures: Collection, feeder: str, workers: int
) -> None:
    data = FedPictures(pictures, feeder, SIZE, batch=4, shuffle=True, seed=5)
    data.workers = workers
    epochs = Recorder().record(data, 3)
    for seen in epochs:
        assert sorted(seen) == list(range(23))
    assert epochs[0] != epochs[1] != epochs[2]
    # Epoch 2 of a run that goes on is epoch 2 of the run that was not interrupted.
    again = FedPictures(pictures, feeder, SIZE, batch=4, shuffle=True, seed=5)
    again.workers = workers
    again.start_at(2)
    assert Recorder().record(again, 3, initial=2) == [epochs[2]]


@pytest.mark.parametrize("feeder", FEEDERS)
def test_order_is_of_the_seed_and_the_epoch(pictures: Collection, feeder: str) -> None:
    def order(seed: int, epoch: int) -> list[int]:
        data = FedPictures(pictures, feeder, SIZE, batch=4, shuffle=True, flip=True, seed=seed)
        data.start_at(epoch)
        return data.order.tolist()

    assert order(0, 3) == order(0, 3)
    assert order(0, 3) != order(0, 4)
    assert order(0, 3) != order(1, 3)
    fixed = FedPictures(pictures, feeder, SIZE, batch=4)
    before = fixed.order.tolist()
    fixed.on_epoch_end()
    assert fixed.order.tolist() == before


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("feeder", FEEDERS)
def test_order_leads_from_rows_to_records(pictures: Collection, feeder: str, workers: int) -> None:
    data = FedPictures(pictures, feeder, SIZE, batch=4)
    data.workers = workers
    rows = mean_colour(feeder).predict(data, verbose=0)
    colours = np.array([galleries.colour(i) for i in range(23)], "float32")
    np.testing.assert_allclose(rows, colours[data.order], atol=0.01)
    restored = np.empty_like(rows)
    restored[data.order] = rows
    np.testing.assert_allclose(restored, colours, atol=0.01)
    if feeder == "native":  # the order is worth following
        assert np.abs(rows - colours).max() > 3


@pytest.mark.parametrize("feeder", ["squash", "crop"])
def test_squares(pictures: Collection, feeder: str) -> None:
    data = FedPictures(pictures, feeder, SIZE, batch=4)
    inputs, labels = data[5]
    assert len(data) == 6
    assert inputs.shape == (3, SIZE, SIZE, 3)
    assert inputs.dtype == np.float32
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(inputs[1, 7, 3], galleries.colour(int(labels[1])))


def test_the_mask_is_the_area_of_the_picture(tmp_path: Path) -> None:
    # White pictures on black padding: what is lit is picture.
    records = []
    for i, size in enumerate(SIZES):
        Image.new("RGB", size, "white").save(tmp_path / f"{i}.png")
        records.append(Record(tmp_path / f"{i}.png", {"class": i}))
    white = Collection(tuple(records), ("a",))
    for feeder in ("pad", "native"):
        for flip in (False, True):
            data = FedPictures(white, feeder, SIZE, batch=4, flip=flip)
            for i in range(len(data)):
                (batch, mask), labels = data[i]
                assert mask.dtype == np.bool_
                np.testing.assert_array_equal(mask, batch[..., 0] > 128)
                for label, own in zip(labels, mask, strict=True):
                    width, height = SIZES[label]
                    if feeder == "native":  # ceil(16 * long / short), by hand
                        area = SIZE * -(-SIZE * max(width, height) // min(width, height))
                    else:
                        area = SIZE * round(SIZE * min(width, height) / max(width, height))
                    assert own.sum() == area


def test_native_pictures_stand_at_the_top_left(tmp_path: Path) -> None:
    data = FedPictures(galleries.solid(tmp_path, [(20, 20), (30, 20)]), "native", SIZE)
    (batch, mask), labels = data[0]
    # 24 pixels are padded to the next of 16 * 1.125 ** n: 18, 20.25, 22.8, 25.6.
    assert batch.shape == (2, 16, 26, 3)
    square, wide = batch[list(labels).index(0)], batch[list(labels).index(1)]
    np.testing.assert_array_equal(square[:, :16], np.broadcast_to(galleries.colour(0), (16, 16, 3)))
    np.testing.assert_array_equal(wide[:, :24], np.broadcast_to(galleries.colour(1), (16, 24, 3)))
    assert not square[:, 16:].any()
    assert not wide[:, 24:].any()
    assert mask.sum() == 16 * 16 + 16 * 24


@pytest.mark.parametrize("shuffle", [False, True])
def test_padding_is_bounded(tmp_path: Path, shuffle: bool) -> None:
    """Short sides get none, long sides less than a step beyond the batch's longest; and a batch's
    longest is at most a step beyond the shortest of the next."""
    pictures = landscapes(tmp_path, 200, 192)  # 1:1 to 3:1
    data = FedPictures(pictures, "native", 64, batch=8, shuffle=shuffle)
    for _ in range(3):
        spans, padded, real = [], 0, 0
        for i in range(len(data)):
            (batch, mask), _ = data[i]
            long = mask.any(axis=1).sum(axis=1)
            assert batch.shape[1] == 64
            assert long.max() <= batch.shape[2] <= np.ceil(long.max() * GRAIN)
            spans.append((long.min(), long.max()))
            padded, real = padded + mask.size, real + mask.sum()
        spans.sort(key=sum)
        for (_, longest), (shortest, _) in itertools.pairwise(spans):
            assert longest <= np.ceil(GRAIN * shortest)
        # So many pictures fill every aspect: in all no more is padded than a step.
        assert real < padded < GRAIN * real
        data.on_epoch_end()
    # Negative control: in the order of the files the batches hold all aspects.
    sides = np.array([_size(record)[0] for record in pictures.records])
    assert sum(8 * sides[i : i + 8].max() for i in range(0, 200, 8)) > 1.3 * sides.sum()


def _size(record: Record) -> tuple[int, int]:
    with Image.open(record.path) as picture:
        return picture.size


def test_few_shapes(tmp_path: Path) -> None:
    sizes = [(64 + 4 * i, 64) for i in range(60)] + [(64, 64 + 4 * i) for i in range(60)]
    data = FedPictures(galleries.solid(tmp_path, sizes), "native", 64, batch=1)
    # 1:1 to 4.69:1 needs ceil(log(4.69) / log(1.125)) = 14 steps each way, and the square.
    assert len(data.shapes) <= 2 * 14 + 1
    assert len({_size(record) for record in data.records}) == 119
    assert {min(shape[1:]) for shape in data.shapes} == {64}
    assert {(data[i][0][0].shape[1:3]) for i in range(len(data))} == {s[1:] for s in data.shapes}


def test_multicrop_batches_have_one_number_of_crops(tmp_path: Path) -> None:
    # Squares give one crop, 2:1 gives three, 5:1 gives five.
    sizes = [(20, 20), (40, 20), (100, 20), (20, 40)] * 3
    data = FedPictures(galleries.solid(tmp_path, sizes), "multicrop", SIZE, batch=2, shuffle=True)
    crops = {0: 1, 1: 3, 2: 5, 3: 3}
    seen = []
    for i in range(len(data)):
        inputs, labels = data[i]
        assert {crops[label % 4] for label in labels} == {inputs.shape[1]}
        assert inputs.shape[2:] == (SIZE, SIZE, 3)
        seen += list(labels)
    assert sorted(seen) == list(range(12))
    assert data.shapes == [(1, SIZE, SIZE), (3, SIZE, SIZE), (5, SIZE, SIZE)]


@pytest.mark.smoke
@pytest.mark.parametrize("feeder", ["multicrop", "native"])
def test_shapes_that_keras_has_not_seen_first(tmp_path: Path, feeder: str) -> None:
    # Sorted by shape, the first two batches are squares (or landscapes) and look alike.
    sizes = [(20, 20)] * 5 + [(40, 20)] * 5 + [(20, 60)] * 2
    pictures = galleries.solid(tmp_path, sizes)
    model = mean_colour(feeder)
    assert len(model.predict(FedPictures(pictures, feeder, SIZE, batch=2), verbose=0)) == 12
    Recorder().record(FedPictures(pictures, feeder, SIZE, batch=2, shuffle=True), 2)
    if keras.backend.backend() == "tensorflow":  # negative control
        with pytest.raises(Exception, match="shape"):
            model.predict(Unsorted(pictures, feeder, SIZE, batch=2), verbose=0)


@pytest.mark.parametrize("seed", range(5))
def test_shapes_are_the_same_in_every_epoch(tmp_path: Path, seed: int) -> None:
    """Keras on TensorFlow fixes the free axes in the first epoch. Two steps of long sides here, so
    near that batches of pictures in a random order would show one of them or both."""
    pictures = galleries.solid(tmp_path, [(76, 64), (78, 64), (82, 64), (84, 64)])
    data = FedPictures(pictures, "native", 32, batch=2, shuffle=True, seed=seed)
    shapes, orders = [], set()
    for epoch in range(10):
        data.start_at(epoch)
        shapes.append(data.shapes)
        orders.add(tuple(data.order))
    assert shapes == [[(1, 32, 40), (1, 32, 46)]] * 10  # 32 * 1.125 ** 2 and 3, by hand
    assert len(orders) > 3
    data.start_at(0)
    assert [sorted(epoch) for epoch in Recorder().record(data, 4)] == [[0, 1, 2, 3]] * 4


@pytest.mark.parametrize("feeder", FEEDERS)
def test_flips_mirror_the_picture_with_its_mask(tmp_path: Path, feeder: str) -> None:
    ramp = np.zeros((20, 31, 3), "uint8") + np.arange(31, dtype="uint8")[:, None] * 4 + 60
    records = []
    for i in range(40):
        Image.fromarray(ramp).save(tmp_path / f"{i}.png")
        records.append(Record(tmp_path / f"{i}.png", {"class": i}))
    pictures = Collection(tuple(records), ("a",))
    plain = FedPictures(pictures, feeder, SIZE, batch=1)
    flipped = FedPictures(pictures, feeder, SIZE, batch=1, flip=True)
    mirrored = 0
    for i in range(40):
        ours, theirs = flipped[i][0], plain[i][0]
        if feeder == "native":  # padding stays at the right
            ours, theirs = ([x[:, :, :25] for x in pair] for pair in (ours, theirs))
        ours, theirs = ((x,) if feeder not in ("pad", "native") else x for x in (ours, theirs))
        axis = 3 if feeder == "multicrop" else 2
        same = all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
        if not same:
            mirrored += 1
            for a, b in zip(ours, theirs, strict=True):
                np.testing.assert_array_equal(a, np.flip(b, axis))
    assert 8 <= mirrored <= 32  # 40 throws of a coin, and the seed is fixed
    before = flipped._mirrored.tolist()
    flipped.on_epoch_end()
    assert flipped._mirrored.tolist() != before


def test_cache_is_bounded_and_changes_nothing(pictures: Collection) -> None:
    one = SIZE * SIZE * 4  # three bytes of colour and one of mask a pixel
    for room, kept in ((0, 0), (3 * one, 3), (1 << 20, 23)):
        data = FedPictures(pictures, "squash", SIZE, batch=4, cache_bytes=room)
        first = [data[i][0] for i in range(len(data))]
        again = [data[i][0] for i in range(len(data))]
        assert len(data._cache) == kept
        for a, b in zip(first, again, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_picture_that_is_gone_is_named(tmp_path: Path) -> None:
    pictures = galleries.solid(tmp_path, [(20, 20)] * 5)
    data = FedPictures(pictures, "squash", SIZE, batch=2)
    pictures.records[4].path.unlink()
    with pytest.raises(ImageError, match=r"004\.png: no such file"):
        data[2]
    model = mean_colour("squash")
    with pytest.raises(ImageError, match=r"004\.png: no such file"), picture_errors(data):
        model.predict(data, verbose=0)
    # An error of another kind is not hidden behind a picture that failed before.
    with pytest.raises(KeyError), picture_errors(data):
        raise KeyError("other")
    with pytest.raises(ImageError, match=r"004\.png: no such file"):
        FedPictures(pictures, "squash", SIZE)


def test_wrong_arguments(pictures: Collection) -> None:
    with pytest.raises(ValueError, match="no picture in the collection"):
        FedPictures(Collection((), ("a", "b")), "squash", SIZE)
    with pytest.raises(ValueError, match=r"`batch` must be at least 1\. Received: 0"):
        FedPictures(pictures, "squash", SIZE, batch=0)
    with pytest.raises(ValueError, match=r"one of squash, crop, .*'stretch'"):
        FedPictures(pictures, "stretch", SIZE)
    with pytest.raises(ValueError, match="size must be a positive int, got 0"):
        FedPictures(pictures, "squash", 0)


def test_forgotten_pictures_are_fed_again(pictures: Collection) -> None:
    data = FedPictures(pictures, "squash", SIZE, batch=4)
    room = data._room
    before = data[0][0]
    assert data._cache
    data.forget()
    assert not data._cache
    assert data._room == room
    np.testing.assert_array_equal(data[0][0], before)
