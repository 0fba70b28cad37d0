"""ResNet-18 and -34, against the published counts, and through the house."""

import keras
import numpy as np
import pytest

from fcnkeras import to_fcn
from fcnkeras.models.resnet import ResNet18, ResNet34
from fcnkeras.models.specs import get_spec
from fcnkeras.tasks.features import feature_model


@pytest.mark.parametrize(("network", "trainable"), [(ResNet18, 11_689_512), (ResNet34, 21_797_672)])
def test_parameters_are_those_that_are_published(network, trainable):
    """Torchvision's counts, in which the means and deviations of BatchNormalization are none."""
    model = network()
    assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == trainable
    spec = get_spec(network.__name__)
    assert all(model.get_layer(name) for name in (*spec.blocks, *spec.levels, spec.skip))
    sizes = [model.get_layer(name).output.shape[1] for name in spec.blocks]
    assert sizes == [56, 56, 28, 14, 7]


def test_it_is_converted_and_has_a_multi_level_head():
    model = ResNet18(classes=3, input_shape=(96, 96, 3))
    fcn = to_fcn(model)
    assert fcn.certificate.worst < 1e-4
    features = feature_model(model, "multi_level", levels="ResNet18")
    assert features.output_shape == (None, 2 * (64 + 128 + 256 + 512))


def test_weights_are_read_from_a_file(tmp_path):
    model = ResNet18(classes=3)
    model.save_weights(tmp_path / "own.weights.h5")
    loaded = ResNet18(weights=tmp_path / "own.weights.h5", classes=3)
    for a, b in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b))
    with pytest.raises(ValueError, match="do not fit resnet34"):
        ResNet34(weights=tmp_path / "own.weights.h5", classes=3)
    with pytest.raises(ValueError, match="no ImageNet weights of resnet18 to download"):
        ResNet18(weights="imagenet")
    with pytest.raises(ValueError, match="No such file: nowhere"):
        ResNet18(weights="nowhere")
