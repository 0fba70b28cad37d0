"""`drop_top_dense`: what is left computes what it did, and converts exactly."""

import keras
import networks
import numpy as np
import pytest
from keras import layers

from fcnkeras import ConversionError, drop_top_dense, to_fcn
from fcnkeras.layers import LocalResponseNormalization

SIDE = networks.SIDE
X = networks.random_pictures(3, SIDE, SIDE)


def small_alexnet():
    """AlexNet's kinds of layers, three fully connected ones among them."""
    picture = keras.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(8, 5, strides=2, activation="relu", name="conv1")(picture)
    x = LocalResponseNormalization(alpha=0.1, name="norm1")(x)
    x = layers.MaxPooling2D(3, 2, name="pool1")(x)
    x = layers.Conv2D(12, 3, padding="same", groups=2, activation="relu", name="conv2")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(16, activation="relu", name="fc6")(x)
    x = layers.Dropout(0.5, name="drop6")(x)
    x = layers.Dense(14, name="fc7")(x)
    x = layers.ReLU(name="relu7")(layers.BatchNormalization(name="bn7")(x))
    x = layers.Dropout(0.5, name="drop7")(x)
    x = layers.Dense(5, name="fc8")(x)
    return keras.Model(picture, layers.Softmax(name="prob")(x), name="small_alexnet")


@pytest.fixture(scope="module")
def model():
    return networks.build(small_alexnet)


@pytest.mark.parametrize(
    ("n", "last", "gone"),
    [
        (1, "drop7", {"fc8", "prob"}),
        (2, "drop6", {"fc8", "prob", "drop7", "relu7", "bn7", "fc7"}),
        (3, "flatten", {"fc8", "prob", "drop7", "relu7", "bn7", "fc7", "drop6", "fc6"}),
    ],
)
def test_the_last_n_go_with_what_stands_behind_them(model, n, last, gone):
    cut = drop_top_dense(model, n)
    names = [layer.name for layer in cut.layers]
    assert names[-1] == last
    every = {layer.name for layer in model.layers[1:]}
    assert set(names[1:]) == every - gone
    expected = keras.Model(model.input, model.get_layer(last).output)(X)
    np.testing.assert_allclose(networks.to_numpy(cut(X)), networks.to_numpy(expected), rtol=1e-6)


def test_by_hand():
    """ReLU of two sums: 1 - 2 * 3 + 4 = -1 and 1 + 3 = 4; the last layer doubles and adds them."""
    model = keras.Sequential(
        [
            keras.Input((1, 1, 2)),
            layers.Flatten(),
            layers.Dense(2, activation="relu"),
            layers.Dense(1),
        ]
    )
    model.layers[1].set_weights([np.array([[1.0, 1.0], [-2.0, 1.0]]), np.array([4.0, 0.0])])
    model.layers[2].set_weights([np.array([[2.0], [2.0]]), np.array([0.5])])
    x = np.array([1.0, 3.0]).reshape((1, 1, 1, 2))
    np.testing.assert_allclose(networks.to_numpy(model(x)), [[8.5]])
    np.testing.assert_allclose(networks.to_numpy(drop_top_dense(model, 1)(x)), [[0.0, 4.0]])
    np.testing.assert_allclose(networks.to_numpy(drop_top_dense(model, 2)(x)), [[1.0, 3.0]])


def test_the_given_model_is_only_read(model):
    before = [networks.to_numpy(weight) for weight in model.weights]
    cut = drop_top_dense(model, 1)
    assert not {id(layer) for layer in cut.layers} & {id(layer) for layer in model.layers}
    for weight in cut.weights:
        weight.assign(weight + 1)
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(networks.to_numpy(weight), value)


@pytest.mark.parametrize("n", [1, 2])
def test_a_new_classifier_converts_exactly(model, n):
    features = drop_top_dense(model, n)
    new = layers.Dense(4, activation="softmax", name="new")
    classifier = keras.Model(features.input, new(features.output))
    new.bias.assign([0.1, -0.2, 0.3, 0.0])
    fcn = to_fcn(classifier)
    assert fcn.certificate.worst < 1e-5
    assert networks.difference(fcn(X), classifier(X)) < 1e-5
    # 40 columns: 18 behind conv1, 8 behind pool1, in which the window of 4 has 5 places.
    wide = networks.random_pictures(1, SIDE, SIDE + 16)
    assert to_fcn(classifier, pooling=None)(wide).shape == (1, 1, 5, 4)


@pytest.mark.smoke
def test_a_cut_network_without_a_classifier_converts_too(model):
    features = drop_top_dense(model, 1)
    assert networks.difference(to_fcn(features)(X), features(X)) < 1e-5


def test_without_any_dense_layer_to_fcn_says_what_is_missing(model):
    with pytest.raises(ConversionError, match=r"layer 'flatten' is a flattened map .* is needed"):
        to_fcn(drop_top_dense(model, 3))


def test_the_new_classifier_learns_with_the_rest_frozen(model):
    features = drop_top_dense(model, 2)
    features.trainable = False
    outputs = layers.Dense(2, activation="softmax", name="new")(features.output)
    classifier = keras.Model(features.input, outputs)
    before = networks.to_numpy(classifier.get_layer("conv1").kernel)
    classifier.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    start = networks.to_numpy(classifier.get_layer("new").kernel)
    classifier.train_on_batch(X, np.array([0, 1, 0]))
    np.testing.assert_array_equal(networks.to_numpy(classifier.get_layer("conv1").kernel), before)
    assert np.abs(networks.to_numpy(classifier.get_layer("new").kernel) - start).max() > 0


@pytest.mark.parametrize("network", [networks.sequential, networks.nested, networks.tiny])
def test_sequential_and_nested_models(network):
    model = networks.build(network)
    cut = drop_top_dense(model, 1)
    last = model.layers[-1]
    expected = keras.Model(model.inputs[0], last.input)(X)
    np.testing.assert_allclose(
        networks.to_numpy(cut(X)), networks.to_numpy(expected), rtol=1e-5, atol=1e-6
    )
    assert cut.output_shape == (None, last.kernel.shape[0])


def test_a_head_inside_a_nested_model_is_reached_and_equal_names_are_told_apart():
    inside = keras.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(6, 3, name="layer")(inside)
    x = layers.Dense(7, name="hidden")(layers.GlobalAveragePooling2D()(x))
    base = keras.Model(inside, x, name="base")
    picture = keras.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(3, 3, padding="same", name="layer")(picture)
    whole = keras.Model(picture, layers.Dense(2, name="top")(base(x)), name="whole")
    cut = drop_top_dense(networks.rescale_weights(whole, X), 2)
    assert [layer.name for layer in cut.layers[1:3]] == ["layer", "layer_2"]
    mean = networks.to_numpy(base.layers[1](whole.get_layer("layer")(X))).mean((1, 2))
    np.testing.assert_allclose(networks.to_numpy(cut(X)), mean, rtol=1e-4, atol=1e-5)


def test_options_of_layers_are_kept():
    picture = keras.Input((SIDE, SIDE, 3), dtype="uint8")
    normalisation = layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[4.0, 4.0, 4.0])
    conv = layers.Conv2D(3, 3, name="conv", trainable=False)
    x = layers.GlobalMaxPooling2D()(conv(normalisation(picture)))
    model = keras.Model(picture, layers.Dense(2)(x))
    cut = drop_top_dense(model, 1)
    assert not cut.get_layer("conv").trainable
    assert cut.input.dtype == "uint8"
    pixels = np.random.default_rng(0).integers(0, 256, (1, SIDE, SIDE, 3)).astype("uint8")
    expected = keras.Model(picture, model.layers[-1].input)(pixels)
    np.testing.assert_allclose(
        networks.to_numpy(cut(pixels)), networks.to_numpy(expected), rtol=1e-6
    )


@pytest.mark.parametrize(
    ("n", "error", "message"),
    [
        (0, ValueError, "`n` must be at least 1. Received: 0"),
        (-2, ValueError, "`n` must be at least 1. Received: -2"),
        (1.0, TypeError, "`n` must be a whole number. Received: 1.0"),
        (True, TypeError, "`n` must be a whole number. Received: True"),
        (4, ValueError, "at most 3, the Dense layers that 'small_alexnet' ends in. Received: 4"),
    ],
)
def test_numbers_that_do_not_fit(model, n, error, message):
    with pytest.raises(error, match=message):
        drop_top_dense(model, n)


def test_dense_layers_on_maps_are_not_counted():
    with pytest.raises(ValueError, match="at most 1, the Dense layers that 'squeeze_and"):
        drop_top_dense(networks.squeeze_and_excitation(), 2)


def test_a_model_without_dense_layers():
    with pytest.raises(ValueError, match="at most 0, the Dense layers that 'convolutional_head'"):
        drop_top_dense(networks.convolutional_head(), 1)


def test_heads_that_branch():
    with pytest.raises(ConversionError, match=r"one output is needed. 'several_outputs' has 3"):
        drop_top_dense(networks.several_outputs(), 1)
    assert drop_top_dense(networks.joined_vectors(), 1).output_shape == (None, 24)
    with pytest.raises(ConversionError, match=r"branches at layer 'add.*joins several vectors"):
        drop_top_dense(networks.joined_vectors(), 2)


def test_a_vector_that_an_unused_layer_reads_too():
    inside = keras.Input((SIDE, SIDE, 3))
    x = layers.Dense(4, name="used")(layers.GlobalMaxPooling2D()(inside))
    base = keras.Model(inside, [x, layers.Dense(2, name="unused")(x)])
    picture = keras.Input((SIDE, SIDE, 3))
    model = keras.Model(picture, layers.Dense(3, name="top")(base(picture)[0]), name="two")
    assert drop_top_dense(model, 1).output_shape == (None, 4)
    with pytest.raises(ConversionError, match=r"branches at layer 'used' .'unused' reads it too"):
        drop_top_dense(model, 2)


def test_what_is_no_model():
    with pytest.raises(TypeError, match=r"must be a keras.Model"):
        drop_top_dense(layers.Dense(2), 1)
