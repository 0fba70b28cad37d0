"""The convolution by gathered windows, against Keras' own convolution."""

import keras
import numpy as np
import pytest

from fcnkeras.layers import Im2colConv2D


def pair(kernel, strides, **options):
    """Keras' layer and ours, with the same weights, for maps of 3 channels."""
    theirs = keras.layers.Conv2D(5, kernel, strides=strides, **options)
    ours = Im2colConv2D(5, kernel, strides=strides, **options)
    random = np.random.default_rng(0)
    for layer in (theirs, ours):
        layer.build((None, None, None, 3))
    theirs.set_weights([random.normal(size=w.shape) for w in theirs.weights])
    ours.set_weights(theirs.get_weights())
    return theirs, ours


@pytest.mark.smoke
@pytest.mark.parametrize("size", [(3, 4), (3, 9), (8, 4), (10, 11)])
@pytest.mark.parametrize("strides", [(1, 1), (2, 3)])
def test_it_is_keras_convolution(size, strides):
    theirs, ours = pair((3, 4), strides, activation="relu")
    maps = np.random.default_rng(1).normal(size=(2, *size, 3)).astype("float32")
    expected, found = (keras.ops.convert_to_numpy(layer(maps)) for layer in (theirs, ours))
    assert found.shape == expected.shape == (2, *ours.compute_output_shape((2, *size, 3))[1:])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    ours.kernel.assign(keras.ops.flip(ours.kernel, 0))
    turned = keras.ops.convert_to_numpy(ours(maps))
    assert np.abs(turned - expected).max() > 0.1, "rows of the kernel in another order are seen"


@pytest.mark.smoke
def test_it_trains_like_keras_convolution():
    random = np.random.default_rng(2)
    maps, wanted = random.normal(size=(4, 6, 5, 3)), random.normal(size=(4, 4, 2, 5))
    kernels = []
    for layer in pair((3, 4), (1, 1)):
        inputs = keras.Input((None, None, 3))
        model = keras.Model(inputs, layer(inputs))
        model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse", jit_compile=False)
        model.train_on_batch(maps.astype("float32"), wanted.astype("float32"))
        kernels.append(keras.ops.convert_to_numpy(layer.kernel))
    np.testing.assert_allclose(*kernels, rtol=1e-4, atol=1e-5)


def test_it_is_saved_and_loaded(tmp_path):
    _, ours = pair((2, 2), (1, 1))
    inputs = keras.Input((None, None, 3))
    keras.Model(inputs, ours(inputs)).save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded.layers[-1]) is Im2colConv2D
    maps = np.random.default_rng(3).normal(size=(1, 5, 4, 3)).astype("float32")
    values = [keras.ops.convert_to_numpy(layer(maps)) for layer in (loaded, ours)]
    np.testing.assert_array_equal(*values)


@pytest.mark.parametrize(
    "options", [{"padding": "same"}, {"dilation_rate": 2}, {"data_format": "channels_first"}]
)
def test_other_forms_are_refused(options):
    with pytest.raises(ValueError, match=r"needs padding 'valid'.*Received"):
        Im2colConv2D(5, (2, 2), **options)
