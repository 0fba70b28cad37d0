"""Original classifiers: what is kept when the classes change, and what is said when it fails."""

import urllib.error

import keras
import networks
import numpy as np
import pytest

from fcnkeras.models.classifier import WeightsError, build_classifier
from fcnkeras.models.specs import SPECS, NetworkSpec, get_spec

TINY = NetworkSpec("Tiny", "networks:tiny", 24, "caffe", "pool1", ("pool1", "pool2"))
KEPT = ("conv1", "conv2", "fc1", "fc2")


@pytest.fixture
def weights_file(tmp_path):
    """A function that writes the weights of a network of so many classes; gives file and model."""

    def write(classes, name="tiny.weights.h5"):
        keras.utils.set_random_seed(classes)
        model = networks.tiny(classes=classes)
        for layer in model.layers:
            if layer.weights:
                layer.bias.assign(np.random.default_rng(classes).normal(size=layer.bias.shape))
        model.save_weights(tmp_path / name)
        return tmp_path / name, model

    return write


pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def assert_same_weights(model, source, names):
    for name in names:
        pairs = zip(model.get_layer(name).weights, source.get_layer(name).weights, strict=True)
        for a, b in pairs:
            np.testing.assert_array_equal(a, b)


def test_with_other_classes_every_weight_but_the_classifier_is_kept(weights_file):
    path, source = weights_file(1000)
    model = build_classifier(TINY, weights=path, classes=3)
    assert model.output_shape == (None, 3)
    assert_same_weights(model, source, KEPT)
    assert model.get_layer("predictions").kernel.shape == (7, 3)
    assert model.layers[-1].activation is keras.activations.softmax


def test_a_file_of_the_wanted_classes_is_taken_whole(weights_file):
    path, source = weights_file(3)
    model = build_classifier(TINY, weights=str(path), classes=3)
    assert_same_weights(model, source, (*KEPT, "predictions"))


def test_dropout_comes_before_a_classifier_that_keeps_its_weights(weights_file):
    path, source = weights_file(3)
    model = build_classifier(TINY, weights=path, classes=3, dropout=0.4)
    assert [layer.name for layer in model.layers[-2:]] == ["classifier_dropout", "predictions"]
    assert model.get_layer("classifier_dropout").rate == 0.4
    assert_same_weights(model, source, (*KEPT, "predictions"))
    pictures = networks.random_pictures(2, 24, 24)
    assert networks.difference(model(pictures), source(pictures)) < 1e-6


def test_included_preprocessing_takes_pixels(weights_file):
    path, source = weights_file(3)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 24, 24, 3)).astype("float32")
    model = build_classifier(TINY, weights=path, classes=3, include_preprocessing=True)
    expected = source(keras.applications.vgg16.preprocess_input(pixels.copy()))
    assert networks.difference(model(pixels), expected) < 1e-5


def test_weights_of_another_shape_do_not_fit(weights_file):
    path, _ = weights_file(7)
    with pytest.raises(WeightsError, match=r"do not fit Tiny with 3 or 1000 classes \(.+\)$"):
        build_classifier(TINY, weights=path, classes=3)


def test_a_file_that_holds_no_weights_does_not_fit(tmp_path):
    path = tmp_path / "words.weights.h5"
    path.write_text("no weights")
    with pytest.raises(WeightsError, match=r"words.weights.h5 do not fit Tiny with 3 or 1000"):
        build_classifier(TINY, weights=path, classes=3)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"or a file. No such file: .*absent.h5"):
        build_classifier(TINY, weights=tmp_path / "absent.h5")


REFUSED = "URL fetch failure on https://host/weights.h5: None -- [Errno -3] Name resolution failed"


@pytest.mark.parametrize(
    "error",
    [Exception(REFUSED), urllib.error.URLError("no route"), ConnectionResetError("reset by peer")],
    ids=lambda error: type(error).__name__,
)
def test_no_network_is_one_sentence(monkeypatch, error):
    def fetch(*args, **kwargs):
        raise error

    monkeypatch.setattr(keras.utils, "get_file", fetch)
    from keras.src.utils import file_utils

    monkeypatch.setattr(file_utils, "get_file", fetch)
    with pytest.raises(WeightsError, match=r"of MobileNetV2 could not be downloaded .*: connect"):
        build_classifier(SPECS["MobileNetV2"], weights="imagenet", classes=2)


def test_other_errors_are_not_taken_for_a_missing_network(monkeypatch):
    def construct(weights=None, classes=1000):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(networks, "tiny", construct)
    with pytest.raises(RuntimeError, match="out of memory"):
        build_classifier(TINY, weights="imagenet")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": 0}, "`classes` must be at least 1. Received: 0"),
        ({"dropout": 1.0}, r"`dropout` must be in \[0, 1\). Received: 1.0"),
    ],
)
def test_values_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        build_classifier(TINY, weights=None, **options)


def test_specs_by_name_whatever_the_case():
    assert get_spec("vgg16") is SPECS["VGG16"]
    with pytest.raises(ValueError, match=r"Unknown network: 'VGG11'. Known: VGG16, VGG19"):
        get_spec("VGG11")
