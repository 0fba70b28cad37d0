"""Skip connections on full networks: equal before training, trained afterwards, saved, exported."""

import keras
import networks
import numpy as np
import pytest

from fcnkeras import AlexNet, add_skip_connection, export_model, to_fcn

# The network, its native size here, and the earlier map that the head reads too.
NETWORKS = {
    "AlexNet": (AlexNet, 227, "pool2"),
    "VGG16": (keras.applications.VGG16, 64, "block2_pool"),
    "ResNet50": (keras.applications.ResNet50, 64, "conv3_block4_out"),
    "InceptionV3": (keras.applications.InceptionV3, 96, "mixed2"),
    "Xception": (keras.applications.Xception, 96, "add_1"),
    "MobileNetV2": (keras.applications.MobileNetV2, 96, "block_5_add"),
    "DenseNet121": (keras.applications.DenseNet121, 64, "pool3_relu"),
    "EfficientNetB0": (keras.applications.EfficientNetB0, 64, "block3b_add"),
}


def build(name):
    network, side, source = NETWORKS[name]
    keras.utils.set_random_seed(0)
    options = {"weights": None, "classes": 10, "classifier_activation": "softmax"}
    if name == "AlexNet":
        model = network(weights=None, classes=10)
    else:
        model = network(input_shape=(side, side, 3), **options)
    networks.rescale_weights(model, networks.random_pictures(2, side, side))
    return model, side, source


def logits_of(fcn):
    return keras.Model(fcn.input, fcn.get_layer("pooled").output)


def sizes_of(side):
    """1x, 1.5x, 2.3x and 4:3."""
    wide = round(side * 4 / 3)
    return [(round(side * scale),) * 2 for scale in (1, 1.5, 2.3)] + [(side, wide)]


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_skip_connection(name, tmp_path):
    model, side, source = build(name)
    fcn = to_fcn(model)
    skipped = add_skip_connection(fcn, source, filters=8)
    assert skipped.count_params() > fcn.count_params()
    plain, with_skip = logits_of(fcn), logits_of(skipped)
    for height, width in sizes_of(side):
        pictures = networks.random_pictures(1, height, width, seed=2)
        reference = networks.to_numpy(plain(pictures))
        assert reference.std() > 0.1, "logits that do not vary would prove little"
        assert networks.difference(with_skip(pictures), reference) < 1e-5, (height, width)

    before = networks.to_numpy(skipped.get_layer(f"skip_{source}").kernel)
    skipped.compile(keras.optimizers.SGD(1e-3), "sparse_categorical_crossentropy")
    pictures, labels = networks.random_pictures(2, side, round(side * 4 / 3)), np.array([1, 7])
    for _ in range(2):  # the new slices leave zero in the first step, what feeds them moves next
        loss = skipped.train_on_batch(pictures, labels)
    assert np.isfinite(loss)
    assert np.abs(networks.to_numpy(skipped.get_layer(f"skip_{source}").kernel) - before).max() > 0
    trained = networks.to_numpy(with_skip(pictures))
    assert networks.difference(trained, plain(pictures)) > 1e-4

    skipped.save(tmp_path / "skipped.keras")
    loaded = keras.models.load_model(tmp_path / "skipped.keras")
    assert networks.difference(logits_of(loaded)(pictures), trained) < 1e-5
    assert loaded.certificate == fcn.certificate
    if keras.backend.backend() == "tensorflow":
        report = export_model(skipped, tmp_path / "exported", "savedmodel")
        assert report.worst < 1e-3
