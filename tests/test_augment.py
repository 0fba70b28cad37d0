"""What augmentation does to pictures and masks, pixel by pixel, and what it must not do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import galleries
import keras
import numpy as np
import pytest
from keras import layers, ops

from fcnkeras.augment import Augmentation, augmented
from fcnkeras.batching import FedPictures
from fcnkeras.data.records import Collection

HEIGHT, WIDTH = 20, 30


def numbered(batch: int = 64, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Pictures whose pixels tell their row, their column and their number."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack(
        [np.stack([rows, columns, np.full_like(rows, i)], axis=-1) for i in range(batch)]
    ).astype("float32")


def changed(layer: layers.Layer, *inputs: Any) -> Any:
    """The layer's answer while training, as NumPy arrays."""
    given = list(inputs) if len(inputs) > 1 else inputs[0]
    return keras.tree.map_structure(ops.convert_to_numpy, layer(given, training=True))


def boxes(batch: int, height: int = HEIGHT, width: int = WIDTH, *, centred: bool) -> np.ndarray:
    """Masks of rectangles of several sizes, at the top left or in the middle."""
    mask = np.zeros((batch, height, width), bool)
    for i in range(batch):
        rows, columns = height - i % 7, width - 2 * (i % 5)
        top, left = ((height - rows) // 2, (width - columns) // 2) if centred else (0, 0)
        mask[i, top : top + rows, left : left + columns] = True
    return mask


@pytest.mark.smoke
def test_half_of_the_pictures_are_mirrored_left_to_right() -> None:
    pictures = numbered(200)
    found = changed(Augmentation(crop=0, seed=1), pictures)
    mirrored = [bool((own == was[:, ::-1]).all()) for own, was in zip(found, pictures, strict=True)]
    same = [bool((own == was).all()) for own, was in zip(found, pictures, strict=True)]
    assert [a != b for a, b in zip(mirrored, same, strict=True)] == [True] * 200
    assert 80 <= sum(mirrored) <= 120


@pytest.mark.smoke
def test_small_crops_move_whole_pixels_and_keep_proportions() -> None:
    pictures = numbered(300)
    found = changed(Augmentation(flip=False, crop=0.1, seed=1), pictures)  # 2 rows, 3 columns
    shifts = set()
    for own, was in zip(found, pictures, strict=True):
        assert own[0, 0, 2] == was[0, 0, 2]
        # In the middle, far from the border: the same picture, moved.
        down, across = (own[10, 15, :2] - was[10, 15, :2]).astype(int)
        shifts.add((int(down), int(across)))
        padded = np.pad(was, ((2, 2), (3, 3), (0, 0)), mode="symmetric")
        expected = padded[2 + down : 2 + down + HEIGHT, 3 + across : 3 + across + WIDTH]
        np.testing.assert_array_equal(own, expected)
    assert shifts == {(down, across) for down in range(-2, 3) for across in range(-3, 4)}


@pytest.mark.smoke
@pytest.mark.parametrize("centred", [False, True])
def test_the_mask_stays_with_the_picture(centred: bool) -> None:
    mask = boxes(300, centred=centred)
    pictures = (numbered(300) + 1) * mask[..., None]  # no real pixel is black
    found, kept = changed(Augmentation(crop=0.1, seed=2), pictures, mask)
    assert kept.dtype == np.bool_
    np.testing.assert_array_equal(kept, (found > 0).all(axis=-1))
    np.testing.assert_array_equal(kept, (found > 0).any(axis=-1))
    cuts, mirrored = set(), 0
    for own, real, was in zip(found, kept, mask, strict=True):
        # One rectangle, whose top left corner is where it was.
        rows, columns = np.flatnonzero(real.any(axis=1)), np.flatnonzero(real.any(axis=0))
        assert real.sum() == len(rows) * len(columns)
        before = np.flatnonzero(was.any(axis=1)), np.flatnonzero(was.any(axis=0))
        assert (rows[0], columns[0]) == (before[0][0], before[1][0])
        lost = len(before[0]) - len(rows), len(before[1]) - len(columns)
        assert lost[0] <= round(0.1 * len(before[0]))
        assert lost[1] <= round(0.1 * len(before[1]))
        cuts.add(lost)
        # Neighbours are still neighbours, and all of them belong to the picture.
        inside = own[np.ix_(rows, columns)]
        assert (np.diff(inside[..., 0], axis=0) == 1).all()
        steps = set(np.diff(inside[..., 1], axis=1).ravel().tolist())
        assert steps in ({1.0}, {-1.0})
        mirrored += steps == {-1.0}
        assert set(inside[..., 1].ravel() - 1) <= set(before[1])
    assert {rows for rows, _ in cuts} == {0, 1, 2}
    assert {columns for _, columns in cuts} == {0, 1, 2, 3}
    assert 110 <= mirrored <= 190


@pytest.mark.smoke
def test_crops_are_changed_each_by_itself() -> None:
    crops = numbered(40).reshape(8, 5, HEIGHT, WIDTH, 3)
    found = changed(Augmentation(crop=0, seed=3), crops)
    assert found.shape == crops.shape
    mirrored = (found == crops[:, :, :, ::-1]).all(axis=(2, 3, 4))
    assert ((found == crops).all(axis=(2, 3, 4)) != mirrored).all()
    assert any(len(set(own)) == 2 for own in mirrored)


@pytest.mark.parametrize("masked", [False, True])
def test_by_default_no_colour_changes(masked: bool) -> None:
    pictures = np.random.default_rng(0).uniform(0, 255, (16, HEIGHT, WIDTH, 3)).astype("float32")
    inputs = (pictures, np.ones(pictures.shape[:3], bool)) if masked else (pictures,)
    found = changed(Augmentation(seed=1), *inputs)
    found = found[0] if masked else found
    assert (found != pictures).any()
    for own, was in zip(found, pictures, strict=True):
        colours = {tuple(pixel) for pixel in was.reshape(-1, 3).tolist()}
        assert {tuple(pixel) for pixel in own.reshape(-1, 3).tolist()} <= colours | {(0, 0, 0)}
    # Negative control: a shift of the hue makes new ones.
    more = [layers.RandomHue(0.2, value_range=(0, 255), seed=1)]
    shifted = changed(Augmentation(flip=False, crop=0, more=more), *inputs)
    shifted = shifted[0] if masked else shifted
    assert np.abs(shifted - pictures).mean() > 5


def test_pictures_are_passed_as_they_are_when_nothing_is_trained() -> None:
    pictures, mask = numbered(4), boxes(4, centred=False)
    layer = Augmentation(more=[layers.RandomBrightness(0.5, value_range=(0, 255))])
    for training in (False, None):
        np.testing.assert_array_equal(layer(pictures, training=training), pictures)
        own, kept = layer([pictures, mask], training=training)
        np.testing.assert_array_equal(own, pictures)
        np.testing.assert_array_equal(kept, mask)


def test_the_seed_tells_what_is_drawn() -> None:
    def drawn(seed: int) -> list[np.ndarray]:
        layer = Augmentation(seed=seed)
        return [changed(layer, numbered()) for _ in range(2)]

    one, again, other = drawn(1), drawn(1), drawn(2)
    np.testing.assert_array_equal(one[0], again[0])
    np.testing.assert_array_equal(one[1], again[1])
    assert (one[0] != one[1]).any()
    assert (one[0] != other[0]).any()


def test_what_else_moves_pixels_takes_the_mask_along() -> None:
    mask = boxes(12, centred=True)
    pictures = np.where(mask[..., None], 200.0, 0.0).astype("float32")
    turned = layers.RandomRotation(0.05, fill_mode="constant", interpolation="nearest", seed=1)
    bright = layers.RandomBrightness(0.1, value_range=(0, 255), seed=1)
    found, kept = changed(Augmentation(crop=0, more=[turned, bright]), pictures, mask)
    assert (kept != mask).any()
    assert not found[~kept].any()  # padding stays black, whatever the brightness
    assert (found[kept] > 100).mean() > 0.98


def test_it_survives_serialisation() -> None:
    more = [layers.RandomContrast(0.3, value_range=(0, 255), seed=4)]
    layer = Augmentation(flip=False, crop=0.1, more=more, seed=7, name="own")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.get_config() == layer.get_config()
    assert [type(one) for one in again.more] == [layers.RandomContrast]
    np.testing.assert_array_equal(changed(again, numbered()), changed(layer, numbered()))


@pytest.mark.parametrize("crop", [-0.1, 0.6])
def test_wrong_arguments(crop: float) -> None:
    with pytest.raises(ValueError, match=rf"`crop` must be from 0 to 0.5\. Received: {crop}"):
        Augmentation(crop=crop)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    return galleries.solid(tmp_path_factory.mktemp("solid"), [(40, 20), (20, 20), (20, 30)] * 4)


def network(feeder: str, outputs: int = 1) -> keras.Model:
    """Pictures as a feeder gives them to their mean colour, and to one or two scores of it."""
    shape = (None, None, None, 3) if feeder == "multicrop" else (None, None, 3)
    inputs = [keras.Input(shape)]
    mean = ops.mean(inputs[0] / 255, axis=tuple(range(1, len(shape))))
    if feeder in ("pad", "native"):
        inputs.append(keras.Input((None, None), dtype="bool"))
        mean = mean / ops.mean(ops.cast(inputs[1], "float32"), axis=(1, 2))[:, None]
    heads = [layers.Dense(12, activation="softmax", name=f"head{i}")(mean) for i in range(outputs)]
    return keras.Model(inputs, heads if outputs > 1 else heads[0])


@pytest.mark.smoke
@pytest.mark.parametrize("feeder", ["crop", "pad", "multicrop", "native"])
def test_before_a_model_that_is_trained(pictures: Collection, feeder: str) -> None:
    data = FedPictures(pictures, feeder, 16, batch=4, shuffle=True)
    model = network(feeder)
    training = augmented(model, Augmentation(seed=1))
    before = [ops.convert_to_numpy(weight).copy() for weight in model.weights]
    training.compile("sgd", "sparse_categorical_crossentropy")
    training.fit(data, epochs=2, shuffle=False, verbose=0)
    assert any(
        (ops.convert_to_numpy(a) != b).any() for a, b in zip(model.weights, before, strict=True)
    )
    plain = FedPictures(pictures, feeder, 16, batch=4)
    ours, theirs = (one.predict(plain, verbose=0) for one in (training, model))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)  # nothing is changed to predict


def test_several_outputs_keep_their_names(pictures: Collection) -> None:
    model = network("native", outputs=2)
    training = augmented(model, Augmentation())
    losses = dict.fromkeys(("head0", "head1"), "sparse_categorical_crossentropy")
    training.compile("sgd", losses)
    named = keras.Model(model.inputs, dict(zip(("b", "a"), model.outputs, strict=True)))
    assert set(augmented(named, Augmentation())(named.inputs)) == {"a", "b"}
    inputs, labels = FedPictures(pictures, "native", 16, batch=4)[0]
    history = training.fit(list(inputs), {"head0": labels, "head1": labels}, verbose=0).history
    assert np.isfinite(history["loss"]).all()


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.data runs TensorFlow")
def test_in_a_pipeline_of_tensorflow() -> None:
    import tensorflow as tf

    layer = Augmentation(seed=1)
    batches = tf.data.Dataset.from_tensor_slices((numbered(), boxes(64, centred=False))).batch(16)
    moved = batches.map(lambda pictures, mask: tuple(layer([pictures, mask], training=True)))
    found = [(own.numpy(), kept.numpy()) for own, kept in moved]
    assert len(found) == 4
    for i, (own, kept) in enumerate(found):
        assert own.shape == (16, HEIGHT, WIDTH, 3)
        # Every picture is still itself, and black where it is padding.
        assert not own[~kept].any()
        np.testing.assert_array_equal(own[:, 0, 0, 2], np.arange(16 * i, 16 * i + 16))


def test_a_file_of_the_training_model_is_read_again(tmp_path: Path) -> None:
    training = augmented(network("native"), Augmentation(seed=1))
    training.save(tmp_path / "training.keras")
    again = keras.models.load_model(tmp_path / "training.keras")
    inputs = [numbered(4), boxes(4, centred=False)]
    ours, theirs = (one.predict(inputs, verbose=0) for one in (training, again))
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
