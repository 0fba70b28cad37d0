"""The layers of exact masks, against arrays worked by hand, NumPy, and Keras on single pictures."""

import keras
import numpy as np
import pytest
from keras import ops

from fcnkeras.layers import MatchGrid, SamePlaces
from fcnkeras.masking import (
    AlignSame,
    CellSizes,
    CountOwn,
    DivideByShare,
    DropMask,
    FillOutside,
    OwnCells,
    OwnGlobalPooling2D,
    OwnPlaces,
    PictureSizes,
)


def sizes_of(*pairs):
    return np.array(pairs, "int32")


def column(*values):
    """A map of one column and one channel for each of the tuples."""
    return np.array(values, "float32")[:, :, None, None]


def batch_of(heights, width=3, channels=2, seed=0):
    """Pictures of these heights at the top of arrays as high as the highest, with noise below."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(len(heights), max(heights), width, channels)).astype("float32")
    return values, sizes_of(*((height, width) for height in heights))


def filled(values, sizes, fill):
    return FillOutside(fill)([values, OwnCells()([values, sizes])])


# ---- sizes -------------------------------------------------------------------------------------


@pytest.mark.smoke
def test_sizes_are_read_off_the_mask():
    mask = np.zeros((5, 4, 6), bool)
    mask[0, :3, :5] = True
    mask[1] = True
    mask[2, 1:3, :5] = True  # not at the top
    mask[3, :3, :5] = True
    mask[3, 1, 1] = False  # a hole
    np.testing.assert_array_equal(PictureSizes()(mask), [[3, 5], [4, 6], [0, 0], [0, 0], [0, 0]])


def test_sizes_behind_a_layer_by_hand():
    """A window of 3 every 2 cells, then: 1 or 2 rows of padding, what is too small has nothing."""
    sizes = sizes_of((7, 8), (3, 4), (2, 9), (0, 5))
    after = CellSizes((1, 1), (-1, -1), (2, 2))(sizes)
    np.testing.assert_array_equal(after, [[3, 3], [1, 1], [0, 4], [0, 2]])
    after = CellSizes((1, 3), (2, 0), (1, 1))(sizes)
    np.testing.assert_array_equal(after, [[9, 24], [5, 12], [4, 27], [0, 15]])
    after = CellSizes((1, 1), (-3, 0), (1, 1))(sizes)  # never below nothing
    np.testing.assert_array_equal(after[:, 0], [4, 0, 0, 0])


def test_own_cells_and_what_fills_the_others():
    values = np.arange(24, dtype="float32").reshape(2, 3, 4, 1)
    sizes = sizes_of((2, 3), (0, 4))
    own = OwnCells()([values, sizes])
    expected = np.zeros((2, 3, 4), bool)
    expected[0, :2, :3] = True
    np.testing.assert_array_equal(own, expected)
    zero = FillOutside("zero")([values, own])
    np.testing.assert_array_equal(zero[..., 0], np.where(expected, values[..., 0], 0))
    for dtype in ("float32", "float16", "bfloat16"):
        low = FillOutside("lowest", dtype=dtype)([values, own])
        low = ops.convert_to_numpy(ops.cast(low, "float32"))[..., 0]
        assert np.isfinite(low).all()
        assert low[~expected].max() < -5e4
        np.testing.assert_array_equal(low[expected], values[..., 0][expected])


# ---- layers with padding "same" ----------------------------------------------------------------


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
@pytest.mark.parametrize("window", [1, 2, 3, 5, 7])
def test_convolutions_stand_where_they_stood_for_the_picture_alone(window, stride):
    heights = range(1, 14)
    values, sizes = batch_of(list(heights))
    kernel = np.random.default_rng(1).normal(size=(window, 1, 2, 2)).astype("float32")

    def conv(x):
        result = ops.conv(x, kernel, strides=(stride, 1), padding="same")
        return ops.convert_to_numpy(result)

    moved = AlignSame((window, 1), (stride, 1))([filled(values, sizes, "zero"), sizes])
    together, where_they_lie = conv(moved), conv(filled(values, sizes, "zero"))
    worst = 0.0
    for row, height in enumerate(heights):
        alone, places = conv(values[row : row + 1, :height])[0], -(-height // stride)
        assert len(alone) == places
        np.testing.assert_allclose(together[row, :places], alone, atol=1e-5)
        worst = max(worst, np.abs(where_they_lie[row, :places] - alone).max())
    moves = any(AlignSame((window, 1), (stride, 1)).most)
    assert (worst > 0.1) == moves, "what does not move needs no layer, what moves needs one"


def test_alignment_by_hand():
    """A window of 4 every 3 cells: 3 cells are padded by 0 before, 4 by 1, 5 by 1 and 8 by 1."""
    layer = AlignSame((4, 1), (3, 1))
    assert layer.most == (1, 0)
    values = column((1, 2, 3, 4), (1, 2, 3, 0), (1, 2, 0, 0))
    moved = layer([values, sizes_of((4, 1), (3, 1), (2, 1))])
    expected = [(0, 1, 2, 3, 4, 0), (1, 2, 3, 0, 0, 0), (0, 1, 2, 0, 0, 0)]
    np.testing.assert_array_equal(moved, column(*expected))
    assert layer.compute_output_shape([(None, 4, None, 1), (None, 2)]) == (None, 6, None, 1)


def test_maxima_at_the_border_are_over_own_cells():
    values, sizes = batch_of([5, 8, 11])
    values -= 10  # so that a zero would win
    pool = keras.layers.MaxPooling2D((3, 3), strides=2, padding="same")
    together = pool(AlignSame((3, 3), (2, 2), "lowest")([filled(values, sizes, "lowest"), sizes]))
    for row, height in enumerate((5, 8, 11)):
        alone = ops.convert_to_numpy(pool(values[row : row + 1, :height]))[0]
        np.testing.assert_array_equal(together[row, : len(alone)], alone)


def test_averages_at_the_border_are_over_own_cells():
    values = column((3, 5, 100, 100), (1, 2, 3, 6))
    sizes = sizes_of((2, 1), (4, 1))
    pool = keras.layers.AveragePooling2D((3, 1), strides=1, padding="same")
    counted = filled(CountOwn()(values), sizes, "zero")
    averages = ops.convert_to_numpy(DivideByShare()(pool(counted)))
    np.testing.assert_allclose(averages[0, :2, 0, 0], [4, 4], rtol=1e-6)
    np.testing.assert_allclose(averages[1, :, 0, 0], [1.5, 2, 11 / 3, 4.5], rtol=1e-6)
    diluted = ops.convert_to_numpy(pool(filled(values, sizes, "zero")))
    assert diluted[0, 1, 0, 0] == pytest.approx(8 / 3), "without the share, zeros count"


# ---- pooling -----------------------------------------------------------------------------------


@pytest.mark.smoke
def test_pooling_is_over_own_cells():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, 5, 6, 3)).astype("float32")
    sizes = sizes_of((5, 2), (3, 6))
    values[0, :, 2:], values[1, 3:] = 9, 9  # would win
    own = OwnCells()([values, sizes])
    for mode, reduce in (("max", np.max), ("avg", np.mean)):
        expected = np.stack([reduce(values[0, :, :2], (0, 1)), reduce(values[1, :3], (0, 1))])
        np.testing.assert_allclose(OwnGlobalPooling2D(mode)([values, own]), expected, rtol=1e-5)
        kept = OwnGlobalPooling2D(mode, keepdims=True)([values, own])
        np.testing.assert_allclose(kept, expected[:, None, None], rtol=1e-5)


def test_a_picture_without_a_cell_has_no_answer():
    values = np.ones((2, 2, 2, 3), "float32")
    own = OwnCells()([values, sizes_of((0, 0), (1, 2))])
    for mode in ("max", "avg"):
        pooled = OwnGlobalPooling2D(mode)([values, own])
        np.testing.assert_array_equal(pooled, [[np.nan] * 3, [1] * 3])


# ---- two maps ----------------------------------------------------------------------------------


def test_places_are_those_of_single_pictures():
    fine_heights, coarse_heights = [7, 10, 4], [3, 2, 5]
    fine, fine_sizes = batch_of(fine_heights)
    coarse, coarse_sizes = batch_of(coarse_heights)
    spread = OwnPlaces("nearest")([fine, fine_sizes, coarse, coarse_sizes])
    first = OwnPlaces("first")([fine, fine_sizes, coarse, coarse_sizes])
    for row, (have, want) in enumerate(zip(fine_heights, coarse_heights, strict=True)):
        pair = [fine[row : row + 1, :have], coarse[row : row + 1, :want]]
        alone = MatchGrid((1, 1))(pair)
        np.testing.assert_array_equal(spread[row : row + 1, :want], alone)
        np.testing.assert_array_equal(first[row : row + 1, :want], SamePlaces()(pair))


# ---- training ----------------------------------------------------------------------------------


@pytest.mark.smoke
def test_statistics_of_own_cells_and_no_mask_behind_them():
    values, sizes = batch_of([2, 5], width=4)
    values[0, 2:] = 100
    own = OwnCells()([values, sizes])
    norm = keras.layers.BatchNormalization(momentum=0.0, epsilon=1e-6)
    result = DropMask()(norm(values, mask=own, training=True))
    cells = np.concatenate([values[0, :2].reshape(-1, 2), values[1].reshape(-1, 2)])
    np.testing.assert_allclose(norm.moving_mean, cells.mean(0), rtol=1e-4)
    np.testing.assert_allclose(norm.moving_variance, cells.var(0), rtol=1e-3)
    keras.layers.Conv2D(1, 1)(result)  # warns if there is still a mask


# ---- what all have in common -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "fields"),
    [
        (PictureSizes(), {}),
        (CellSizes((1, 2), (0, -2), (2, 3)), {"times": (1, 2), "plus": (0, -2), "over": (2, 3)}),
        (OwnCells(), {}),
        (DropMask(), {}),
        (FillOutside("lowest"), {"fill": "lowest"}),
        (
            AlignSame((3, 5), (2, 1), "lowest"),
            {"window": (3, 5), "strides": (2, 1), "fill": "lowest"},
        ),
        (CountOwn(), {}),
        (DivideByShare(), {}),
        (OwnGlobalPooling2D("avg", keepdims=True), {"mode": "avg", "keepdims": True}),
        (OwnPlaces("first"), {"take": "first"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_configurations_survive_serialisation(layer, fields):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(again) is type(layer)
    assert again.name == layer.name
    assert {key: getattr(again, key) for key in fields} == fields


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FillOutside("one"), r"`fill` must be 'zero' or 'lowest'. Received: 'one'"),
        (lambda: AlignSame((3, 3), (2, 2), "one"), r"`fill` must be .*Received: 'one'"),
        (lambda: OwnGlobalPooling2D("mean"), r"`mode` must be 'max' or 'avg'. Received: 'mean'"),
        (lambda: OwnPlaces("last"), r"`take` must be 'nearest' or 'first'. Received: 'last'"),
    ],
)
def test_unknown_values_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
