"""`to_fcn`: equal at the native size, the original slid over larger pictures, clear refusals."""

import importlib.util
import itertools
from pathlib import Path

import keras
import networks
import numpy as np
import pytest
from keras import layers

from fcnkeras import ConversionError, plan_conversion, to_fcn
from fcnkeras.convert.graph import trace
from fcnkeras.layers import NativeWindow

LIMIT = 1e-5
OPTIONS = [
    dict(zip(("window", "pooling", "pool_on"), values, strict=True))
    for values in itertools.product(
        ("native", "point"), ("max", "avg", None), ("logits", "probabilities")
    )
]


def softmax(values):
    powers = np.exp(values - values.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def pool(values, how):
    return {"max": np.max, "avg": np.mean}[how](values, axis=(1, 2)) if how else values


def expected(map_logits, pooling, pool_on):
    """The order of pooling and softmax, in NumPy."""
    if pool_on == "probabilities":
        return pool(softmax(map_logits), pooling)
    return softmax(pool(map_logits, pooling))


def pictures_for(model, seed=7):
    return networks.random_pictures(4, *model.input_shape[1:], seed=seed)


# ---- at the native size ------------------------------------------------------------------------


@pytest.mark.parametrize("network", networks.SINGLE_OUTPUT, ids=lambda network: network.__name__)
def test_equals_the_model_at_its_native_size(network):
    model = networks.build(network)
    pictures = pictures_for(model)
    reference = networks.logits(model, pictures)
    assert reference.std(axis=0).mean() > 0.5, "outputs that do not vary would prove little"
    outputs = networks.to_numpy(model(pictures))
    for options in OPTIONS:
        if not plan_conversion(model, **options).exact:
            continue
        fcn = to_fcn(model, **options, verify=False)
        pooled = pool(networks.fcn_logits(fcn, pictures), "avg")
        assert networks.difference(pooled, reference) < LIMIT, options
        result = networks.to_numpy(fcn(pictures)).reshape(outputs.shape)
        assert networks.difference(result, outputs) < LIMIT, options


@pytest.mark.parametrize(
    "options", OPTIONS, ids=lambda options: "-".join(map(str, options.values()))
)
def test_where_it_need_not_be_equal_it_is_what_numpy_computes(options):
    model = networks.build(networks.average_valid)
    pictures = pictures_for(model)
    kernel, bias = (networks.to_numpy(weight) for weight in model.layers[-1].weights)
    features = networks.to_numpy(
        keras.Model(model.input, model.get_layer("conv2").output)(pictures)
    )
    if options["window"] == "native":
        features = features.mean(axis=(1, 2), keepdims=True)
    values = expected(features @ kernel + bias, options["pooling"], options["pool_on"])
    assert networks.difference(to_fcn(model, **options)(pictures), values) < LIMIT
    if not plan_conversion(model, **options).exact and options["pooling"]:
        assert networks.difference(values, model(pictures)) > 1e-2, "allowed to differ, and does"


@pytest.mark.smoke
def test_several_outputs_each_equal():
    model = networks.build(networks.several_outputs)
    pictures = pictures_for(model)
    for result, output in zip(to_fcn(model)(pictures), model(pictures), strict=True):
        assert networks.difference(result, output) < LIMIT


@pytest.mark.slow
def test_a_full_size_network_in_every_combination():
    path = Path(__file__).parents[2] / "benchmarks" / "conversion_parity.py"
    spec = importlib.util.spec_from_file_location("conversion_parity", path)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    rows = benchmark.measure("MobileNetV2")
    assert len(rows) == 12
    assert sum(row["must_equal"] for row in rows) == 7  # six native, and the average of logits
    for row in rows:
        assert 0.5 < row["logit_std"] < 2
        assert row["ok"]
        assert (row["relative_difference"] <= 1e-5) == row["must_equal"], row


# ---- on larger pictures ------------------------------------------------------------------------

# The trunk of networks.py: valid 3x3, pool 2, valid 3x3: one feature cell is two pixels.
STRIDE = 2


def slide(model, pictures):
    """Logits of the original model on every window: (batch, rows, columns, classes)."""
    height, width = model.input_shape[1:3]
    rows = range(0, pictures.shape[1] - height + 1, STRIDE)
    columns = range(0, pictures.shape[2] - width + 1, STRIDE)
    windows = [pictures[:, r : r + height, c : c + width] for r in rows for c in columns]
    values = networks.logits(model, np.concatenate(windows))
    values = values.reshape(len(rows), len(columns), len(pictures), -1)
    return values.transpose(2, 0, 1, 3)


@pytest.mark.smoke
@pytest.mark.parametrize(
    "network", [networks.flatten_valid, networks.average_valid, networks.whole_map_convolution]
)
def test_larger_pictures_are_the_original_slid_over_them(network):
    model = networks.build(network)
    pictures = networks.random_pictures(2, 33, 50, seed=3)
    places = slide(model, pictures)
    assert places.shape[1] != places.shape[2]
    assert places.std(axis=(1, 2)).mean() > 0.3, "places must differ, or their order is not seen"
    fcn = to_fcn(model, pooling=None)
    assert networks.difference(networks.fcn_logits(fcn, pictures), places) < LIMIT
    for pooling, pool_on in itertools.product(("max", "avg", None), ("logits", "probabilities")):
        fcn = to_fcn(model, pooling=pooling, pool_on=pool_on, verify=False)
        values = expected(places, pooling, pool_on)
        assert networks.difference(fcn(pictures), values) < LIMIT, (pooling, pool_on)
    wrong = expected(places.transpose(0, 2, 1, 3), None, "logits")
    assert wrong.shape != fcn(pictures).shape


def test_pooled_probabilities_need_not_sum_to_one_and_pooled_logits_do():
    model = networks.build(networks.average_valid)
    pictures = networks.random_pictures(2, 40, 52, seed=3)
    sums = {
        pool_on: networks.to_numpy(to_fcn(model, pool_on=pool_on)(pictures)).sum(-1)
        for pool_on in ("logits", "probabilities")
    }
    np.testing.assert_allclose(sums["logits"], 1, atol=1e-5)
    assert (sums["probabilities"] > 1.01).all()


# ---- the caller's model, and what the new one keeps --------------------------------------------


@pytest.mark.parametrize("network", networks.SINGLE_OUTPUT, ids=lambda network: network.__name__)
def test_never_changes_the_model(network):
    model = networks.build(network)
    pictures = pictures_for(model)

    def state():
        every = [model, *trace(model).layers()]
        nodes = [(layer.name, len(layer._inbound_nodes), layer.trainable) for layer in every]
        return nodes, model.to_json(), len(model.losses)

    before, weights, outputs = state(), model.get_weights(), networks.to_numpy(model(pictures))
    fcn = to_fcn(model)
    for weight in fcn.weights:  # the new model's weights are its own
        weight.assign(weight + 1)
    assert state() == before
    for a, b in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(outputs, networks.to_numpy(model(pictures)))


def test_frozen_layers_stay_frozen_and_initializers_are_kept():
    model = networks.flatten_valid()
    model.get_layer("conv1").trainable = False
    model.get_layer("fc1").trainable = False
    fcn = to_fcn(model)
    flags = {name: fcn.get_layer(name).trainable for name in ("conv1", "conv2", "fc1")}
    assert flags == {"conv1": False, "conv2": True, "fc1": False}
    assert len(fcn.trainable_weights) == len(model.trainable_weights) == 4
    assert isinstance(fcn.get_layer("fc1").kernel_initializer, keras.initializers.GlorotUniform)
    assert isinstance(fcn.get_layer("conv1").bias_initializer, keras.initializers.Zeros)


def test_layers_of_the_same_names_as_those_that_are_added():
    picture = keras.Input((24, 24, 3), name="picture")
    x = layers.Conv2D(4, 3, name="native_window")(picture)
    x = layers.GlobalAveragePooling2D(name="features")(x)
    model = keras.Model(picture, layers.Dense(3, activation="softmax", name="pooled")(x))
    fcn = to_fcn(model)
    assert fcn.get_layer("source_pooled").weights[0].shape == (1, 1, 4, 3)
    assert isinstance(fcn.get_layer("native_window"), NativeWindow)


def test_adapted_normalization_is_carried_over():
    adapted = layers.Normalization()
    adapted.adapt(networks.random_pictures(4, 24, 24) * 3 + 5)
    picture = keras.Input((24, 24, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(adapted(picture)))
    model = keras.Model(picture, layers.Dense(3)(x))
    pictures = networks.random_pictures(2, 24, 24, seed=4) * 3 + 5
    assert networks.difference(to_fcn(model, verify=False)(pictures), model(pictures)) < LIMIT


def test_augmentation_is_off_outside_training():
    picture = keras.Input((24, 24, 3))
    x = layers.RandomRotation(0.4)(layers.RandomFlip()(picture))
    x = layers.Flatten()(layers.Conv2D(4, 3, strides=3)(x))
    model = keras.Model(picture, layers.Dense(3)(x))
    assert to_fcn(model).certificate.worst < LIMIT


# Keras, not ours, converts its variables with a call that NumPy 2 has deprecated.
@pytest.mark.smoke
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("options", [{}, {"window": "point"}, {"pooling": None}])
def test_saved_and_loaded_it_is_the_same_model(tmp_path, options):
    model = networks.build(networks.average_deep_head)
    fcn = to_fcn(model, **options)
    fcn.save(tmp_path / "fcn.keras")
    loaded = keras.saving.load_model(tmp_path / "fcn.keras")
    pictures = networks.random_pictures(2, 31, 44)
    assert networks.difference(loaded(pictures), fcn(pictures)) == 0
    window = loaded.get_layer("native_window")
    assert window.native == (24, 24)
    assert window.least == (None if options.get("window") == "point" else (24, 24))


@pytest.mark.smoke
def test_trains_at_any_size():
    fcn = to_fcn(networks.build(networks.flatten_same))
    fcn.compile("sgd", "sparse_categorical_crossentropy")
    before = fcn.get_layer("conv1").get_weights()[0]
    for height, width in ((24, 30), (40, 24)):
        fcn.train_on_batch(networks.random_pictures(2, height, width), np.array([0, 1]))
    assert np.abs(fcn.get_layer("conv1").get_weights()[0] - before).max() > 0


# ---- refusals ----------------------------------------------------------------------------------


def test_a_picture_smaller_than_the_window_is_refused():
    fcn = to_fcn(networks.flatten_valid())
    with pytest.raises(ValueError, match=r"at least 24x30 pixels .* Received: 24x29"):
        fcn(networks.random_pictures(1, 24, 29))
    with pytest.raises(ValueError, match=r"at least 24x30 pixels .* Received: 20x64"):
        fcn.predict(networks.random_pictures(1, 20, 64), verbose=0)
    assert to_fcn(networks.average_valid(), window="point")(
        networks.random_pictures(1, 12, 9)
    ).shape == (1, 5)


def small(head, size=(24, 24)):
    picture = keras.Input((*size, 3))
    return keras.Model(picture, head(layers.Conv2D(6, 3, strides=2, name="conv")(picture)))


def average(x):
    return layers.GlobalAveragePooling2D(name="average")(x)


def recurrent(x):
    return layers.Dense(2)(layers.LSTM(3, name="memory")(layers.Reshape((1, 6), name="turn")(x)))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__(name="own")
        self.dense = layers.Dense(2)

    def call(self, inputs):
        return self.dense(keras.ops.mean(inputs, axis=(1, 2)))


def two_inputs():
    picture, other = keras.Input((24, 24, 3)), keras.Input((3,))
    return keras.Model([picture, other], layers.Concatenate()([average(picture), other]))


def fully_convolutional():
    picture = keras.Input((24, 24, 3))
    return keras.Model(picture, layers.Conv2D(4, 1, name="scores")(picture))


def shared_pooling():
    """One pooling layer inside the spatial part and at its end, which become different layers."""
    pooling = layers.GlobalAveragePooling2D(name="pooling")

    def head(x):
        gate = layers.Reshape((1, 1, 6))(pooling(x))
        return layers.Dense(2)(pooling(layers.Multiply()([x, gate])))

    return small(head)


REFUSED = {
    "recurrent layer": (lambda: small(lambda x: recurrent(average(x))), r"'turn' \(Reshape\).*cut"),
    "lambda": (
        lambda: small(lambda x: layers.Lambda(lambda v: v * 2, name="twice")(average(x))),
        r"'twice' \(Lambda\) .* no spatial twin .*cut it off",
    ),
    "lambda on the map": (
        lambda: small(lambda x: average(layers.Lambda(lambda v: v * 2, name="twice")(x))),
        r"'twice' \(Lambda\) cannot be made anew .*write it with layers",
    ),
    "permuted map": (
        lambda: small(lambda x: layers.Flatten()(layers.Permute((2, 1, 3), name="turn")(x))),
        r"'turn' \(Permute\) reorders a map .*pool or flatten",
    ),
    "permuted behind the pooling": (
        lambda: small(
            lambda x: layers.Permute((2, 1), name="turn")(
                layers.Reshape((2, 3), name="pairs")(average(x))
            )
        ),
        r"'pairs' \(Reshape\) .*no spatial twin",
    ),
    "normalised flattened map": (
        lambda: small(
            lambda x: layers.Dense(2)(layers.BatchNormalization(name="norm")(layers.Flatten()(x)))
        ),
        r"'norm' \(BatchNormalization\) reads a flattened 11x11 map.*before the Flatten or behind",
    ),
    "flatten of a free map": (
        lambda: small(layers.Flatten(name="flat"), (None, None)),
        r"'flat' \(Flatten\) ends a map of free size .*give the model a fixed input size\.$",
    ),
    "pooling of a free map": (
        lambda: small(average, (None, None)),
        r"'average' .* free size .*or use window=\"point\"",
    ),
    "weight for each place": (
        lambda: small(lambda x: layers.Dense(2)(average(layers.PReLU(name="leak")(x)))),
        r"'leak' \(PReLU\) cannot be made anew for pictures of any size",
    ),
    "resizing": (
        lambda: small(lambda x: average(layers.Resizing(5, 7, name="fit")(x))),
        r"'fit' \(Resizing\) brings every picture to 5x7.*without it",
    ),
    "mean of the rows only": (
        lambda: small(lambda x: layers.Dense(2, name="last")(keras.ops.mean(x, axis=1))),
        r"'mean\w*' \(Mean\) turns the map into .*end the spatial part",
    ),
    "two inputs": (two_inputs, r"one input of shape .*\(None, 24, 24, 3\), \(None, 3\)"),
    "subclassed": (Subclassed, r"Model 'own' is a Subclassed.*Functional API"),
    "without a shape": (
        lambda: keras.Sequential([layers.Dense(2)], name="early"),
        r"'early' has no shape yet: build it",
    ),
    "fully convolutional": (fully_convolutional, r"'scores' is a map .*convolutional already"),
    "converted twice": (
        lambda: to_fcn(networks.average_valid()),
        r"'average_valid_fcn' is fully convolutional already",
    ),
    "shared pooling": (shared_pooling, r"'pooling' is shared .*use two layers"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_name_the_layer_and_the_way_out(case):
    build, message = REFUSED[case]
    with pytest.raises(ConversionError, match=message):
        to_fcn(build())


def test_unknown_values_and_wrong_types():
    with pytest.raises(ValueError, match=r"`pooling` must be one of .*Received: 'sum'"):
        to_fcn(networks.average_valid(), pooling="sum")
    with pytest.raises(TypeError, match=r"must be a keras.Model. Received: 'model.keras'"):
        to_fcn("model.keras")
