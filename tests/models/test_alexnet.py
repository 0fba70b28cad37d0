"""AlexNet against an AlexNet in NumPy, layer by layer, and its weights file."""

import functools
import math

import keras
import networks
import npy_files
import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

import fcnkeras
from fcnkeras import AlexNet, AlexNet_fcn, to_fcn
from fcnkeras.layers import LocalResponseNormalization
from fcnkeras.models.classifier import WeightsError, build_classifier
from fcnkeras.models.npy_weights import assign_weights
from fcnkeras.models.specs import SPECS, NetworkSpec
from fcnkeras.models.structure import native_shapes, native_size

SHAPES = {  # of bvlc_alexnet.npy
    "conv1": (11, 11, 3, 96),
    "conv2": (5, 5, 48, 256),
    "conv3": (3, 3, 256, 384),
    "conv4": (3, 3, 192, 384),
    "conv5": (3, 3, 192, 256),
    "fc6": (9216, 4096),
    "fc7": (4096, 4096),
    "fc8": (4096, 1000),
}
# Not square, so that rows and columns cannot be confused: pool5 has 2x3 cells.
SMALL = (99, 131, 3)
SMALL_SHAPES = {**SHAPES, "fc6": (2 * 3 * 256, 4096), "fc8": (4096, 5)}


def random_weights(shapes):
    """Weights under which values keep their size from layer to layer."""
    rng = np.random.default_rng(0)
    weights = {}
    for name, shape in shapes.items():
        kernel = rng.standard_normal(shape, "float32")
        kernel *= math.sqrt(2 / math.prod(shape[:-1]))
        weights[name] = [kernel, rng.standard_normal(shape[-1], "float32")]
    weights["fc8"][0] *= 0.02  # logits of about unit deviation
    return weights


def pixels(height, width):
    """What `caffe` preprocessing gives for a photo: about -120 to 150."""
    return 60 * networks.random_pictures(1, height, width)


# ---- AlexNet in NumPy, float64 -----------------------------------------------------------------


def convolve(x, kernel, bias, stride=1, pad=0, groups=1):
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    size, _, depth, filters = kernel.shape
    windows = sliding_window_view(x, (size, size), axis=(1, 2))[:, ::stride, ::stride]
    each = filters // groups
    parts = [
        np.einsum(
            "brcdhw,hwdf->brcf",
            windows[..., g * depth : (g + 1) * depth, :, :],
            kernel[..., g * each : (g + 1) * each].astype("float64"),
            optimize=True,
        )
        for g in range(groups)
    ]
    return np.maximum(np.concatenate(parts, axis=-1) + bias, 0)


def normalise(x, radius=2, alpha=2e-5, beta=0.75, k=1.0):
    y = np.empty_like(x)
    for c in range(x.shape[-1]):
        near = x[..., max(0, c - radius) : c + radius + 1]
        y[..., c] = x[..., c] / (k + alpha * (near**2).sum(-1)) ** beta
    return y


def pool(x):
    return sliding_window_view(x, (3, 3), axis=(1, 2))[:, ::2, ::2].max((-1, -2))


def connect(x, kernel, bias):
    return x @ kernel.astype("float64") + bias


def numpy_alexnet(x, weights):
    """The output of every layer, before the softmax; (batch, rows, columns, channels)."""
    x = x.astype("float64")
    values = {}
    for name, options, pools in (
        ("conv1", {"stride": 4}, "pool1"),
        ("conv2", {"pad": 2, "groups": 2}, "pool2"),
        ("conv3", {"pad": 1}, None),
        ("conv4", {"pad": 1, "groups": 2}, None),
        ("conv5", {"pad": 1, "groups": 2}, "pool5"),
    ):
        x = values[name] = convolve(x, *weights[name], **options)
        if pools in ("pool1", "pool2"):
            x = values[pools.replace("pool", "norm")] = normalise(x)
        if pools:
            x = values[pools] = pool(x)
    rows = [[cell for line in picture for place in line for cell in place] for picture in x]
    x = values["flatten"] = np.array(rows)  # rows, columns, channels
    x = values["fc6"] = np.maximum(connect(x, *weights["fc6"]), 0)
    x = values["fc7"] = np.maximum(connect(x, *weights["fc7"]), 0)
    values["fc8"] = connect(x, *weights["fc8"])
    return values


def layer_outputs(model, names, x):
    outputs = [model.get_layer(name).output for name in names]
    values = keras.Model(model.input, outputs)(x, training=False)
    return dict(zip(names, map(networks.to_numpy, values), strict=True))


# ---- the small picture ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small():
    weights = random_weights(SMALL_SHAPES)
    model = AlexNet(classes=5, input_shape=SMALL, classifier_activation=None)
    assign_weights(model, weights)
    x = pixels(*SMALL[:2])
    return model, weights, x, numpy_alexnet(x, weights)


def test_every_layer_equals_numpy(small):
    model, _, x, reference = small
    assert reference["pool5"].shape == (1, 2, 3, 256)
    assert 0.2 < reference["fc8"].std() < 5
    for name, values in layer_outputs(model, list(reference), x).items():
        assert networks.difference(values, reference[name]) < 2e-5, name


@pytest.mark.parametrize("mistake", ["groups", "normalisation", "flatten", "axes"])
def test_a_mistake_would_show(small, monkeypatch, mistake):
    _, weights, x, reference = small
    if mistake == "groups":
        kernel, bias = weights["conv2"]
        weights = {**weights, "conv2": [np.roll(kernel, 128, axis=-1), bias]}
    elif mistake == "axes":
        kernel, bias = weights["conv1"]
        weights = {**weights, "conv1": [kernel.transpose(1, 0, 2, 3), bias]}
    elif mistake == "flatten":
        kernel, bias = weights["fc6"]
        kernel = kernel.reshape(2, 3, 256, -1).transpose(2, 0, 1, 3).reshape(kernel.shape)
        weights = {**weights, "fc6": [kernel, bias]}
    else:
        monkeypatch.setitem(numpy_alexnet.__globals__, "normalise", lambda values: values)
    wrong = numpy_alexnet(x, weights)
    assert networks.difference(wrong["fc8"], reference["fc8"]) > 0.02


def test_converts_exactly_and_its_head_becomes_convolutions(small):
    model, weights, x, reference = small
    fcn = to_fcn(model, pooling=None)
    assert fcn.certificate.worst < 1e-5
    assert networks.difference(fcn(x), reference["fc8"].reshape(1, 1, 1, 5)) < 2e-5
    np.testing.assert_array_equal(
        networks.to_numpy(fcn.get_layer("fc6").kernel), weights["fc6"][0].reshape(2, 3, 256, 4096)
    )
    assert fcn(pixels(99 + 32, 131 + 2 * 32)).shape == (1, 2, 3, 5)  # the net's stride is 32


def test_layers_and_shapes_are_those_of_the_public_file(small):
    model = small[0]
    for name, shape in SMALL_SHAPES.items():
        assert [tuple(w.shape) for w in model.get_layer(name).weights] == [shape, shape[-1:]]
    assert [model.get_layer(name).rate for name in ("drop6", "drop7")] == [0.5, 0.5]


def test_survives_a_file(small, tmp_path):
    model, _, x, _ = small
    model.save(tmp_path / "alexnet.keras")
    loaded = keras.models.load_model(tmp_path / "alexnet.keras")
    np.testing.assert_allclose(networks.to_numpy(loaded(x)), networks.to_numpy(model(x)), rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weights": "imagenet"}, "Keras has no ImageNet weights of AlexNet .* bvlc_alexnet.npy"),
        ({"weights": "absent.npy"}, "must be None or a file. No such file: absent.npy"),
        ({"classes": 0}, "`classes` must be at least 1. Received: 0"),
        ({"dropout": 1}, r"`dropout` must be in \[0, 1\). Received: 1"),
        ({"input_shape": (66, 227, 3)}, r"each side at least 67. Received: \(66, 227, 3\)"),
        ({"input_shape": (227, 227)}, r"must be \(height, width, channels\)"),
    ],
)
def test_values_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        AlexNet(**arguments)


def test_67_pixels_are_the_least():
    layer = AlexNet(classes=2, input_shape=(67, 67, 1)).get_layer("pool5")
    assert layer.output.shape == (None, 1, 1, 256)


def test_files_by_keras_fit_too_and_misfits_name_the_file(small, tmp_path):
    model, weights, _, _ = small
    model.save_weights(tmp_path / "alexnet.weights.h5")
    arguments = {"classes": 5, "input_shape": SMALL, "weights": tmp_path / "alexnet.weights.h5"}
    loaded = AlexNet(**arguments)
    np.testing.assert_array_equal(
        networks.to_numpy(loaded.get_layer("fc6").kernel), weights["fc6"][0]
    )
    with pytest.raises(ValueError, match=r"in .*alexnet.weights.h5 do not fit alexnet \(.+\)$"):
        AlexNet(**{**arguments, "classes": 4})


# ---- weights files of a network in miniature ---------------------------------------------------

TINY = NetworkSpec("Tiny", "networks:tiny", 24, "caffe", "pool1", ("pool1", "pool2"))


@pytest.fixture(scope="module")
def tiny_file(tmp_path_factory):
    model = networks.build(functools.partial(networks.tiny, classes=1000))
    path = tmp_path_factory.mktemp("weights") / "tiny.npy"
    np.save(path, {layer.name: layer.get_weights() for layer in model.layers if layer.weights})
    return path, model


def test_a_npy_file_gives_every_weight_but_a_classifier_of_other_classes(tiny_file):
    path, source = tiny_file
    model = build_classifier(TINY, weights=path, classes=3)
    assert model.output_shape == (None, 3)
    for name in ("conv1", "conv2", "fc1", "fc2"):
        for a, b in zip(
            model.get_layer(name).get_weights(), source.get_layer(name).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(a, b)
    whole = build_classifier(TINY, weights=path, classes=1000)
    x = networks.random_pictures(2, 24, 24)
    np.testing.assert_allclose(networks.to_numpy(whole(x)), networks.to_numpy(source(x)), rtol=1e-6)


def test_a_npy_file_that_does_not_fit(tiny_file, tmp_path):
    weights = np.load(tiny_file[0], allow_pickle=True).item()
    np.save(tmp_path / "other.npy", {**weights, "fc1": [np.zeros((3, 8)), np.zeros(8)]})
    with pytest.raises(WeightsError, match=r"other.npy do not fit Tiny .* \(layer 'fc1' needs"):
        build_classifier(TINY, weights=tmp_path / "other.npy", classes=3)
    (tmp_path / "cut.npy").write_bytes(tiny_file[0].read_bytes()[:5000])
    with pytest.raises(WeightsError, match=r"cut.npy is damaged or cut short"):
        build_classifier(TINY, weights=tmp_path / "cut.npy", classes=3)


# ---- local response normalisation --------------------------------------------------------------


def test_normalisation_by_hand():
    # Channel 1 with radius 1: 2 / (1 + 0.5 * (1 + 4 + 9)) ^ 2 = 2 / 64.
    layer = LocalResponseNormalization(radius=1, alpha=0.5, beta=2.0, k=1.0)
    y = networks.to_numpy(layer(np.array([[[[1.0, 2.0, 3.0]]]], "float32")))
    expected = [1 / (1 + 0.5 * 5) ** 2, 2 / 64, 3 / (1 + 0.5 * 13) ** 2]
    np.testing.assert_allclose(y[0, 0, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("radius", [0, 2, 5])
def test_normalisation_equals_numpy(radius):
    x = 200 * np.random.default_rng(0).normal(size=(2, 3, 4, 7))
    layer = LocalResponseNormalization(radius)
    expected = normalise(x, radius)
    assert networks.difference(layer(x), expected) < 1e-6
    again = LocalResponseNormalization.from_config(layer.get_config())
    assert networks.difference(again(x), expected) < 1e-6
    assert np.abs(expected / x).min() < 0.9


def test_normalisation_in_half_precision_has_room_for_squares():
    x = np.full((1, 1, 1, 5), 1000.0, "float16")  # the square is 15 times float16's largest
    y = LocalResponseNormalization(dtype="float16")(x)
    assert keras.backend.standardize_dtype(y.dtype) == "float16"
    expected = normalise(x.astype("float64"))
    np.testing.assert_allclose(networks.to_numpy(y), expected, rtol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"radius": -1}, "`radius` must be at least 0"), ({"k": 0}, "`alpha` must not be below 0")],
)
def test_normalisation_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        LocalResponseNormalization(**options)


# ---- the whole network -------------------------------------------------------------------------


def test_its_facts():
    assert (SPECS["AlexNet"].constructor, SPECS["AlexNet"].native) == (AlexNet, 227)
    assert "bvlc_alexnet.npy" in AlexNet_fcn.__doc__
    assert "BGR minus ImageNet's means" in AlexNet_fcn.__doc__
    with pytest.raises(ValueError, match="pass its path as `weights`"):
        fcnkeras.AlexNet_fcn()


@pytest.fixture(scope="module")
def public_file(tmp_path_factory):
    """A file like the public one (244 MB, by Python 2), with weights of its own, and these."""
    weights = random_weights(SHAPES)
    path = tmp_path_factory.mktemp("weights") / "bvlc_alexnet.npy"
    npy_files.write(path, npy_files.python2_pickle(weights))
    yield path, weights
    path.unlink()


@pytest.mark.slow
def test_a_file_like_the_public_one_loads_and_every_layer_equals_numpy(public_file):
    path, weights = public_file
    model = AlexNet(weights=path, classifier_activation=None)
    x = pixels(227, 227)
    reference = numpy_alexnet(x, weights)
    assert reference["conv1"].shape == (1, 55, 55, 96)
    assert reference["pool5"].shape == (1, 6, 6, 256)
    for name, values in layer_outputs(model, list(reference), x).items():
        assert networks.difference(values, reference[name]) < 2e-5, name


@pytest.mark.slow
def test_alexnet_fcn_keeps_all_but_the_classifier(public_file):
    path, weights = public_file
    fcn = AlexNet_fcn(weights=path, classes=2, include_preprocessing=True)
    assert fcn.certificate.worst < 1e-5
    assert native_size(fcn) == (227, 227)
    for name in ("conv1", "conv5", "fc6", "fc7"):
        kernel = networks.to_numpy(fcn.get_layer(name).kernel)
        np.testing.assert_array_equal(kernel.reshape(weights[name][0].shape), weights[name][0])
    np.testing.assert_allclose(
        networks.to_numpy(fcn(np.zeros((1, 300, 340, 3), "uint8"))).sum(), 1, 1e-5
    )
    names = [layer.name for layer in fcn.layers]
    positions = [names.index(block) for block in SPECS["AlexNet"].blocks]
    assert positions == sorted(positions)
    assert native_shapes(fcn, [SPECS["AlexNet"].skip]) == [(1, 27, 27, 96)]


@pytest.mark.slow
def test_other_classes_than_the_file_has_are_refused(public_file):
    with pytest.raises(ValueError, match=r"layer 'fc8' needs shapes \(4096, 2\), \(2,\), the file"):
        AlexNet(weights=public_file[0], classes=2)
