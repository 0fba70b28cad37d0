"""The layers, against arrays worked by hand and against what Keras computes."""

import keras
import numpy as np
import pytest

from fcnkeras.layers import (
    CropsToBatch,
    MaskedGlobalPooling2D,
    MatchGrid,
    NativeWindow,
    PoolCrops,
    Preprocessing,
)


def row(*values):
    """A map of one row and one channel: (1, 1, places, 1)."""
    return np.array(values, "float32").reshape(1, 1, -1, 1)


def real_columns(count, of, height=4):
    """A mask of `of` columns of which the first `count` are picture."""
    mask = np.zeros((1, height, of), bool)
    mask[:, :, :count] = True
    return mask


# ---- preprocessing -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "module"),
    [("tf", "mobilenet_v2"), ("caffe", "vgg16"), ("caffe", "resnet50"), ("torch", "densenet")],
)
def test_preprocessing_is_that_of_keras_applications(mode, module):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3)).astype("float32")
    reference = getattr(keras.applications, module).preprocess_input(pixels.copy())
    np.testing.assert_allclose(Preprocessing(mode)(pixels), reference, rtol=1e-5, atol=1e-5)


def test_preprocessing_by_hand():
    red = np.array([[[[255.0, 0.0, 0.0]]]], "float32")
    np.testing.assert_allclose(Preprocessing("tf")(red)[0, 0, 0], [1, -1, -1])
    np.testing.assert_allclose(
        Preprocessing("caffe")(red)[0, 0, 0], [-103.939, -116.779, 255 - 123.68], rtol=1e-6
    )
    np.testing.assert_array_equal(Preprocessing("none")(red), red)
    x = Preprocessing("tf")(red.astype("uint8"))
    assert keras.backend.standardize_dtype(x.dtype) == "float32"


# ---- masked pooling ----------------------------------------------------------------------------


@pytest.mark.smoke
def test_padding_never_wins_the_maximum():
    scores, mask = row(1, 2, 3, 9), real_columns(24, of=32)  # the last place is padding
    assert float(np.max(scores)) == 9, "without the mask it would win"
    np.testing.assert_array_equal(MaskedGlobalPooling2D("max")([scores, mask]), [[3]])
    everything = np.ones_like(mask)
    np.testing.assert_array_equal(MaskedGlobalPooling2D("max")([scores, everything]), [[9]])


def test_padding_never_wins_even_if_every_real_place_is_negative():
    scores, mask = row(-5, -7, 0, 0), real_columns(16, of=32)
    np.testing.assert_array_equal(MaskedGlobalPooling2D("max")([scores, mask]), [[-5]])


def test_each_picture_has_its_own_mask():
    scores = np.concatenate([row(1, 2, 3, 9), row(4, 3, 2, 1)])
    mask = np.concatenate([real_columns(24, 32), ~real_columns(16, 32)])
    np.testing.assert_array_equal(MaskedGlobalPooling2D("max")([scores, mask]), [[3], [2]])


def test_average_weighs_places_by_their_share_of_picture():
    """Windows of two cells over four: the places hold 2, 1 and 0 cells of picture, so the weights
    are 1, 1/2 and 0 (the third is below one half). The mask has one pixel a cell."""
    mask = np.array([[[1, 1, 0, 0]]], "float32")
    pooled = MaskedGlobalPooling2D("avg", (1, 2))([row(3, 6, 100), mask])
    np.testing.assert_allclose(pooled, [[(1 * 3 + 0.5 * 6) / 1.5]], rtol=1e-6)
    np.testing.assert_allclose(
        MaskedGlobalPooling2D("max", (1, 2))([row(3, 6, 100), mask]), [[6]], rtol=1e-6
    )


def test_a_mask_of_ones_is_plain_pooling():
    scores = np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype("float32")
    mask = np.ones((2, 40, 64), bool)
    for mode, reference in (("max", scores.max((1, 2))), ("avg", scores.mean((1, 2)))):
        pooled = MaskedGlobalPooling2D(mode, (2, 3))([scores, mask])
        np.testing.assert_allclose(pooled, reference, rtol=1e-5)


def test_a_narrow_strip_leaves_the_fullest_places():
    """A strip in the middle fills a quarter of the windows that hold it: they all count."""
    mask = np.zeros((1, 4, 8), "float32")
    mask[:, :, 4] = 1  # one cell of eight; windows of four cells
    layer = MaskedGlobalPooling2D("max", (4, 4))
    places = row(9, 1, 2, 3, 4)  # cells 0-3, 1-4, 2-5, 3-6, 4-7: all but the first hold the strip
    np.testing.assert_array_equal(layer([places, mask]), [[4]])
    layer = MaskedGlobalPooling2D("avg", (4, 4))
    np.testing.assert_allclose(layer([places, mask]), [[2.5]], rtol=1e-6)


def test_a_mask_without_any_picture_still_gives_numbers():
    mask = np.zeros((1, 4, 8), bool)
    for mode in ("max", "avg"):
        pooled = MaskedGlobalPooling2D(mode)([row(1, 2), mask])
        assert np.isfinite(keras.ops.convert_to_numpy(pooled)).all()


def test_masked_pooling_for_sizes_unknown_until_it_runs():
    scores, mask = keras.Input((None, None, 1)), keras.Input((None, None), dtype="bool")
    model = keras.Model([scores, mask], MaskedGlobalPooling2D("max")([scores, mask]))
    model.predict([row(1, 2, 3, 9), real_columns(24, 32)], verbose=0)
    pooled = model.predict([row(1, 5, 3, 4, 7, 9), real_columns(32, 48)], verbose=0)
    np.testing.assert_array_equal(pooled, [[5]])


# ---- crops -------------------------------------------------------------------------------------


def test_crops_go_into_the_batch_and_back():
    crops = np.arange(2 * 3 * 4 * 5 * 1, dtype="float32").reshape(2, 3, 4, 5, 1)
    flat = CropsToBatch()(crops)
    np.testing.assert_array_equal(flat[4], crops[1, 1])  # picture by picture
    scores = np.array([[1, 9], [5, 2], [3, 4], [0, 7], [0, 8], [6, 0]], "float32")
    np.testing.assert_array_equal(PoolCrops("max")([scores, crops]), [[5, 9], [6, 8]])
    np.testing.assert_array_equal(PoolCrops("avg")([scores, crops]), [[3, 5], [2, 5]])


@pytest.mark.smoke
def test_crops_for_sizes_unknown_until_it_runs():
    crops = keras.Input((None, None, None, 1))
    flat = CropsToBatch()(crops)
    assert flat.shape == (None, None, None, 1)
    scores = keras.layers.GlobalMaxPooling2D()(flat)
    model = keras.Model(crops, PoolCrops("avg")([scores, crops]))
    assert model.output_shape == (None, 1)
    # Each crop has ten values, whose largest are 9, 19, 29 and so on.
    for count, expected in ((2, [[14], [34]]), (4, [[24], [64]])):
        pictures = np.arange(2 * count * 10, dtype="float32").reshape(2, count, 2, 5, 1)
        np.testing.assert_array_equal(model.predict(pictures, verbose=0), expected)


# ---- grids -------------------------------------------------------------------------------------


def test_match_grid_takes_the_maximum_of_each_stride():
    fine = np.arange(16, dtype="float32").reshape(1, 4, 4, 1)
    coarse = np.zeros((1, 2, 2, 7), "float32")
    matched = MatchGrid((2, 2))([fine, coarse])
    np.testing.assert_array_equal(matched[0, :, :, 0], [[5, 7], [13, 15]])
    tall = MatchGrid((4, 1))([fine, np.zeros((1, 1, 4, 1), "float32")])
    np.testing.assert_array_equal(tall[0, 0, :, 0], [12, 13, 14, 15])


def test_match_grid_takes_the_nearest_cells_where_sizes_differ():
    fine = row(0, 6, 0, 7, 12, 8, 1, 3, 5, 4)
    matched = MatchGrid((1, 2))([fine, row(0, 0, 0)])  # maxima 6, 7, 12, 3, 5; five onto three
    np.testing.assert_array_equal(matched[0, 0, :, 0], [6, 12, 5])


@pytest.mark.smoke
def test_match_grid_for_sizes_unknown_until_it_runs():
    fine, coarse = keras.Input((None, None, 3)), keras.Input((None, None, 5))
    matched = MatchGrid((2, 2))([fine, coarse])
    assert matched.shape == (None, None, None, 3)
    model = keras.Model([fine, coarse], matched)
    for rows, columns in ((2, 3), (5, 4)):
        values = np.random.default_rng(0).normal(size=(1, 2 * rows, 2 * columns, 3))
        values = values.astype("float32")
        result = model.predict([values, np.zeros((1, rows, columns, 5), "float32")], verbose=0)
        blocks = values.reshape(1, rows, 2, columns, 2, 3)
        np.testing.assert_allclose(result, blocks.max((2, 4)), rtol=1e-5)


# ---- what all have in common -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "fields"),
    [
        (Preprocessing("caffe"), {"mode": "caffe"}),
        (NativeWindow((224, 320), (96, 100)), {"native": (224, 320), "least": (96, 100)}),
        (NativeWindow(None), {"native": None, "least": None}),
        (MaskedGlobalPooling2D("avg", (7, 5)), {"mode": "avg", "window": (7, 5)}),
        (CropsToBatch(), {}),
        (PoolCrops("max"), {"mode": "max"}),
        (MatchGrid((8, 4)), {"stride": (8, 4)}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_configurations_survive_serialisation(layer, fields):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(again) is type(layer)
    assert again.name == layer.name
    assert {key: getattr(again, key) for key in fields} == fields


@pytest.mark.parametrize("kind", [Preprocessing, MaskedGlobalPooling2D, PoolCrops])
def test_unknown_modes_are_named(kind):
    with pytest.raises(ValueError, match=r"`mode` must be .*Received: 'mean'"):
        kind("mean")
