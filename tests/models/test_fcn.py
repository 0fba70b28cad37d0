"""The constructors: `MobileNetV2_fcn` and its siblings."""

import inspect

import keras
import numpy as np
import pytest
from networks import to_numpy

import fcnkeras
from fcnkeras.models.specs import SPECS
from fcnkeras.models.structure import map_model, map_window, native_shapes, native_size

NAMES = ("VGG16", "VGG19", "InceptionV3", "Xception", "MobileNetV2", "ResNet50")


@pytest.fixture(scope="module")
def mobilenet():
    keras.utils.set_random_seed(0)
    return fcnkeras.MobileNetV2_fcn(weights=None, classes=2, include_preprocessing=True)


def test_takes_pictures_of_any_size_from_its_native_size_up(mobilenet):
    assert mobilenet.output_shape == (None, 2)
    scores = to_numpy(mobilenet(np.zeros((1, 224, 320, 3), "uint8")))
    np.testing.assert_allclose(scores.sum(-1), 1, rtol=1e-5)
    with pytest.raises(ValueError, match="at least 224x224 pixels"):
        mobilenet(np.zeros((1, 223, 320, 3), "float32"))


def test_what_can_be_read_off_it(mobilenet):
    assert native_size(mobilenet) == (224, 224)
    # 224 pixels by 32 are 7 cells of 1280 channels, averaged in one window.
    assert native_shapes(mobilenet, ["features"]) == [(1, 7, 7, 1280)]
    assert map_window(mobilenet) == (7, 7)
    scores = map_model(mobilenet)(np.zeros((1, 256, 320, 3), "float32"))
    assert scores.shape == (1, 8 - 7 + 1, 10 - 7 + 1, 2)


def test_a_model_of_another_kind_says_so():
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2)], name="plain")
    with pytest.raises(ValueError, match="'plain' was not made by `to_fcn`"):
        native_size(model)


def test_options_reach_the_conversion():
    fcn = fcnkeras.MobileNetV2_fcn(
        weights=None, classes=3, pooling=None, window="point", dropout=0.3, name="mine"
    )
    assert fcn.name == "mine"
    assert fcn.get_layer("classifier_dropout").rate == 0.3
    assert fcn(np.zeros((1, 64, 96, 3), "float32")).shape == (1, 2, 3, 3)


@pytest.mark.parametrize("network", NAMES)
def test_every_constructor_has_one_signature_and_says_what_it_expects(network):
    build = getattr(fcnkeras, f"{network}_fcn")
    assert build.__name__ == f"{network}_fcn"
    assert list(inspect.signature(build).parameters)[:5] == [
        "weights",
        "classes",
        "pooling",
        "pool_on",
        "include_preprocessing",
    ]
    assert f"height and width at least\n        {SPECS[network].native}" in build.__doc__
    expects = "BGR" if network in ("VGG16", "VGG19", "ResNet50") else "-1 to 1"
    assert expects in build.__doc__


@pytest.mark.slow
@pytest.mark.parametrize("network", NAMES)
def test_full_size_networks_convert_and_their_specs_hold(network):
    spec = SPECS[network]
    fcn = getattr(fcnkeras, f"{network}_fcn")(weights=None, classes=2)
    assert native_size(fcn) == (spec.native, spec.native)
    assert fcn.certificate.worst < 1e-5
    names = [layer.name for layer in fcn.layers]
    positions = [names.index(block) for block in spec.blocks]
    assert positions == sorted(positions)
    (skip,) = native_shapes(fcn, [spec.skip])
    assert spec.native / 9 < skip[1] < spec.native / 3.5
