"""Every picture of an epoch once, in batches of one shape, with the mask of what is picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import galleries
import keras
import numpy as np
import pytest
from keras import ops
from PIL import Image

from fcnkeras.batching import FedPictures, picture_errors
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


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("feeder", FEEDERS)
def test_fit_sees_every_picture_once_with_threads(
    pictures: Collection, feeder: str, workers: int, seed: int
) -> None:
    options = {"batch": 4, "shuffle": True, "seed": seed, "workers": workers}
    data = FedPictures(pictures, feeder, SIZE, **options)
    epochs = Recorder().record(data, 3)
    for seen in epochs:
        assert sorted(seen) == list(range(23))
    assert epochs[0] != epochs[1] != epochs[2]
    # Epoch 2 of a run that goes on is epoch 2 of the run that was not interrupted.
    again = FedPictures(pictures, feeder, SIZE, **options)
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
    data = FedPictures(pictures, feeder, SIZE, batch=4, workers=workers)
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
    pictures = galleries.solid(tmp_path, [(20, 20), (30, 20)])
    data = FedPictures(pictures, "native", SIZE, max_shapes=1)
    (batch, mask), labels = data[0]
    assert batch.shape == (2, 16, 24, 3)
    square, wide = batch[list(labels).index(0)], batch[list(labels).index(1)]
    np.testing.assert_array_equal(square[:, :16], np.broadcast_to(galleries.colour(0), (16, 16, 3)))
    np.testing.assert_array_equal(wide, np.broadcast_to(galleries.colour(1), (16, 24, 3)))
    assert not square[:, 16:].any()
    assert mask.sum() == 16 * 16 + 16 * 24


VARIED = [(64 + 4 * i, 64) for i in range(30)] + [(64, 64 + 4 * i) for i in range(30)]


@pytest.fixture(scope="module")
def varied(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    return galleries.solid(tmp_path_factory.mktemp("varied"), VARIED)


@pytest.mark.parametrize("most", [1, 5])
def test_shapes_are_few_and_the_report_tells_what_they_add(varied: Collection, most: int) -> None:
    data = FedPictures(varied, "native", 64, batch=8, max_shapes=most, shuffle=True)
    sides, real = {}, {}
    for i in range(len(data)):
        (batch, mask), _ = data[i]
        shape = batch.shape[1:3]
        sides[shape] = [*sides.get(shape, []), len(batch)]
        real[shape] = real.get(shape, 0) + mask.sum()
        assert min(shape) == 64 or most == 1  # of one shape, both sides are long
    assert len(sides) == len(data.report()) == most
    for bucket in data.report():
        shape = bucket.height, bucket.width
        assert sum(sides[shape]) == bucket.count
        assert len(sides[shape]) == bucket.batches
        assert max(sides[shape]) == bucket.batch
        pixels = bucket.count * bucket.height * bucket.width
        assert bucket.padding == pytest.approx(1 - real[shape] / pixels)
        assert bucket.distortion < 0.01  # the rounding of the long side to whole pixels


def test_more_shapes_pad_less(varied: Collection) -> None:
    padded = []
    for most in (1, 2, 4, 8):
        report = FedPictures(varied, "native", 64, max_shapes=most).report()
        pixels = [bucket.count * bucket.height * bucket.width for bucket in report]
        padding = [bucket.padding for bucket in report]
        padded.append(np.average(padding, weights=pixels))
    # Alone: 64 x 64 to 64 x 180, of 180 x 180; the mean side is 122, so 1 - 64 * 122 / 180 ** 2.
    assert padded[0] == pytest.approx(1 - 64 * 122 / 180**2)
    assert padded[0] > 2 * padded[1] > 3 * padded[2] > 4 * padded[3]
    assert padded[3] < 0.12


def test_pictures_bent_to_their_shape_have_no_padding(varied: Collection) -> None:
    data = FedPictures(varied, "native", 64, batch=8, distortion=0.1, max_shapes=12)
    assert len(data.shapes) <= 12
    bent = 0.0
    for i in range(len(data)):
        (batch, mask), labels = data[i]
        assert mask.all()
        np.testing.assert_allclose(batch[:, 60, 60], [galleries.colour(i) for i in labels], atol=1)
        for label in labels:
            width, height = VARIED[label]
            across, down = batch.shape[2] / width, batch.shape[1] / height
            bent = max(bent, across / down - 1, down / across - 1)
    assert bent == pytest.approx(max(bucket.most_distorted for bucket in data.report()))
    assert 0.05 < bent < 0.11  # 0.1 and the rounding of 64 pixels
    assert all(bucket.padding == 0 for bucket in data.report())


@pytest.mark.parametrize("feeder", FEEDERS)
def test_batches_keep_to_the_budget_of_pixels(pictures: Collection, feeder: str) -> None:
    budget = 5 * SIZE * SIZE
    data = FedPictures(pictures, feeder, SIZE, batch=4, pixels=budget, shuffle=True)
    most: dict[tuple[int, ...], int] = {}
    for i in range(len(data)):
        inputs = data[i][0]
        batch = inputs[0] if feeder in ("pad", "native") else inputs
        shape = batch.shape[1:-1]
        most[shape] = max(len(batch), most.get(shape, 0))
    counts = {(b.crops, b.height, b.width)[feeder != "multicrop" :]: b for b in data.report()}
    for shape, count in most.items():
        assert count == max(1, min(4, budget // int(np.prod(shape)), counts[shape].count))
    assert sorted(data.order) == list(range(23))
    if feeder in ("multicrop", "native"):  # 5:1 alone, all three squares in one
        assert {1, 3} <= set(most.values())


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


def test_shapes_are_the_same_in_every_epoch(varied: Collection) -> None:
    """Keras on TensorFlow fixes the free axes in the first epoch."""
    data = FedPictures(varied, "native", 32, batch=4, shuffle=True, seed=3)
    sizes, orders = [], set()
    for epoch in range(5):
        data.start_at(epoch)
        sizes.append(sorted(data[i][0][0].shape for i in range(len(data))))
        orders.add(tuple(data.order))
    assert sizes == [sizes[0]] * 5
    assert len(orders) == 5


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
    before = flipped._plan.mirrored.tolist()
    flipped.on_epoch_end()
    assert flipped._plan.mirrored.tolist() != before


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
    with pytest.raises(ValueError, match=r"`pixels` must be at least 1\. Received: 0"):
        FedPictures(pictures, "squash", SIZE, pixels=0)
    with pytest.raises(ValueError, match="at least 1 shape, got 0"):
        FedPictures(pictures, "native", SIZE, max_shapes=0)
    with pytest.raises(ValueError, match=r"raise distortion, or take at least \d+ shapes"):
        FedPictures(pictures, "native", SIZE, max_shapes=1, distortion=0.1)


def test_forgotten_pictures_are_fed_again(pictures: Collection) -> None:
    data = FedPictures(pictures, "squash", SIZE, batch=4)
    room = data._room
    before = data[0][0]
    assert data._cache
    data.forget()
    assert not data._cache
    assert data._room == room
    np.testing.assert_array_equal(data[0][0], before)
