"""Skip connections: equal before training, at any size, and they learn."""

import keras
import networks
import numpy as np
import pytest
from keras import layers

from fcnkeras import ConversionError, add_skip_connection, to_fcn


@pytest.fixture
def fcn():
    return to_fcn(networks.build(networks.flatten_same))


@pytest.mark.parametrize("network", [networks.flatten_valid, networks.flatten_same])
@pytest.mark.parametrize("source", ["pool1", ["conv1", "pool1"]])
def test_equals_the_network_before_training_at_any_size(network, source):
    fcn = to_fcn(networks.build(network))
    skipped = add_skip_connection(fcn, source, filters=6)
    more = skipped.count_params() - fcn.count_params()
    assert more > 0
    for height, width in ((24, 30), (36, 36), (55, 31), (24, 64)):
        pictures = networks.random_pictures(2, height, width)
        assert networks.difference(skipped(pictures), fcn(pictures)) < 1e-5


def test_equals_the_network_for_an_average_and_point_windows():
    for window in ("native", "point"):
        fcn = to_fcn(networks.build(networks.average_valid), window=window)
        pictures = networks.random_pictures(2, 37, 45)
        skipped = add_skip_connection(fcn, "pool1")
        assert networks.difference(skipped(pictures), fcn(pictures)) < 1e-5


@pytest.mark.smoke
def test_the_head_reads_the_new_channels_once_trained(fcn):
    skipped = add_skip_connection(fcn, "pool1", filters=6)
    head = next(layer for layer in skipped.layers if layer.name.startswith("dense"))
    assert head.kernel.shape[2] == 12 + 6  # two maps, the last one first
    kernel = networks.to_numpy(head.kernel)
    np.testing.assert_array_equal(kernel[:, :, 12:], 0)
    original = next(layer for layer in fcn.layers if layer.name == head.name)
    np.testing.assert_array_equal(kernel[:, :, :12], networks.to_numpy(original.kernel))
    skipped.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    pictures, labels = networks.random_pictures(4, 36, 30), np.array([0, 1, 2, 3])
    skipped.train_on_batch(pictures, labels)
    assert np.abs(networks.to_numpy(head.kernel)[:, :, 12:]).max() > 0
    before = skipped.get_layer("skip_pool1").get_weights()[0]
    skipped.train_on_batch(pictures, labels)  # with slices that are not zero the gradient passes
    assert np.abs(skipped.get_layer("skip_pool1").get_weights()[0] - before).max() > 0


def test_the_given_model_is_only_read(fcn):
    weights = fcn.get_weights()
    pictures = networks.random_pictures(2, 30, 30)
    before = networks.to_numpy(fcn(pictures))
    for weight in add_skip_connection(fcn, "pool1").weights:
        weight.assign(weight + 1)
    for a, b in zip(weights, fcn.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(networks.to_numpy(fcn(pictures)), before)


def test_frozen_layers_stay_frozen(fcn):
    fcn.get_layer("conv1").trainable = False
    skipped = add_skip_connection(fcn, "pool1")
    assert not skipped.get_layer("conv1").trainable
    assert skipped.get_layer("conv2").trainable


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_saved_and_loaded_it_is_the_same_model(tmp_path, fcn):
    skipped = add_skip_connection(fcn, "pool1")
    skipped.save(tmp_path / "skip.keras")
    loaded = keras.saving.load_model(tmp_path / "skip.keras")
    pictures = networks.random_pictures(2, 31, 44)
    assert networks.difference(loaded(pictures), skipped(pictures)) == 0


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("pool9", {}, "layer with a map before the last one.* has no 'pool9'"),
        ("pooled", {}, "has no 'pooled'"),
        ("fc1", {}, "has no 'fc1'"),  # behind the last map
        ([], {}, r"one layer or several, each once. Received: \[\]"),
        (["pool1", "pool1"], {}, "each once. Received"),
        ("pool1", {"filters": 0}, "`filters` must be at least 1. Received: 0"),
    ],
)
def test_wrong_arguments(source, options, message):
    fcn = to_fcn(networks.flatten_valid(), verify=False)
    with pytest.raises(ValueError, match=message):
        add_skip_connection(fcn, source, **options)


def test_models_that_cannot_take_one(fcn):
    with pytest.raises(ConversionError, match=r"needs a model of `to_fcn`.*has 0"):
        add_skip_connection(networks.flatten_same(), "pool1")
    with pytest.raises(ConversionError, match=r"has a skip connection already: .*as a list"):
        add_skip_connection(add_skip_connection(fcn, "pool1"), "conv1")
    picture = keras.Input((24, 24, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, name="conv")(picture))
    model = keras.Model(picture, layers.Dense(2)(layers.LayerNormalization(name="norm")(x)))
    with pytest.raises(ConversionError, match=r"'norm' \(LayerNormalization\) .*more channels"):
        add_skip_connection(to_fcn(model), "conv")


def test_channels_first_and_structured_outputs():
    first = {"data_format": "channels_first"}
    picture = keras.Input((3, 20, 26))
    fine = layers.Conv2D(6, 3, padding="same", activation="relu", name="fine", **first)(picture)
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", **first)(fine)
    x = layers.Dense(5, name="last")(layers.Flatten(**first)(x))
    plain = to_fcn(keras.Model(picture, {"score": x, "tanh": layers.Activation("tanh")(x)}))
    skipped = add_skip_connection(plain, "fine", filters=4)
    assert skipped.certificate == plain.certificate
    pictures = networks.random_pictures(2, 31, 40).transpose(0, 3, 1, 2)
    result, reference = skipped(pictures), plain(pictures)
    assert set(result) == {"score", "tanh"}
    assert networks.difference(result["score"], reference["score"]) < 1e-6
    conv = skipped.get_layer("last")
    values = networks.to_numpy(conv.kernel)
    values[:, :, 8:] = 0.1
    conv.kernel.assign(values)
    assert networks.difference(skipped(pictures)["score"], reference["score"]) > 1e-3
