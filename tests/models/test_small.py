import keras
import numpy as np
import pytest
from networks import to_numpy

from fcnkeras import to_fcn
from fcnkeras.data.procedural import draw, task_classes
from fcnkeras.models.small import GENERATED_CLASSES, GENERATED_WEIGHTS, SmallVGG


@pytest.fixture(scope="module")
def trained():
    return SmallVGG()


def pretraining_pictures(per_class: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(31)
    classes = task_classes("pretraining")
    labels = np.repeat(np.arange(len(classes)), per_class)
    pictures = [np.asarray(draw("pretraining", classes[k], rng))[8:72, 8:72] for k in labels]
    return np.stack(pictures).astype("float32"), labels


def test_it_has_the_layers_of_a_vgg_and_small_weights(trained):
    names = [layer.name for layer in trained.layers]
    assert names[:2] == ["picture", "preprocessing"]
    assert names[-4:] == ["flatten", "fc1", "fc2", "predictions"]
    for block in range(1, 5):
        assert f"block{block}_conv1" in names
        assert f"block{block}_pool" in names
    assert trained.get_layer("block4_pool").output.shape == (None, 4, 4, 64)
    # 3x3x3x16+16, 3x3x16x32+32, 3x3x32x64+64, twice 3x3x64x64+64; 1024x128+128, 128x128+128
    body = 448 + 4640 + 18496 + 2 * 36928 + 131200 + 16512
    assert trained.count_params() == body + 128 * GENERATED_CLASSES + GENERATED_CLASSES
    assert GENERATED_WEIGHTS.stat().st_size < 3_000_000
    assert len(task_classes("pretraining")) == GENERATED_CLASSES


def test_the_weights_know_the_pictures_that_they_were_trained_for(trained):
    pictures, labels = pretraining_pictures(4)
    accuracy = np.mean(trained.predict(pictures, verbose=0).argmax(axis=1) == labels)
    assert accuracy > 0.6  # by chance: 0.03
    random = SmallVGG(weights=None).predict(pictures, verbose=0).argmax(axis=1)
    assert np.mean(random == labels) < 0.2


def test_each_layer_passes_on_numbers_near_one(trained):
    """What lets one learning rate fit all layers when it is fine-tuned."""
    pictures, _ = pretraining_pictures(1)
    for name in ("block1_conv1", "block3_conv2", "block4_conv1", "fc1", "fc2"):
        part = keras.Model(trained.input, trained.get_layer(name).output)
        assert 0.6 < np.sqrt(np.mean(part.predict(pictures, verbose=0) ** 2)) < 1.6


def test_other_classes_get_a_new_classifier_and_keep_the_rest(trained):
    model = SmallVGG(classes=4)
    assert model.output_shape == (None, 4)
    for layer in trained.layers[:-1]:
        for kept, weight in zip(
            model.get_layer(layer.name).get_weights(), layer.get_weights(), strict=True
        ):
            np.testing.assert_array_equal(kept, weight)
    fresh = SmallVGG(weights=None, classes=4)  # the control
    assert not np.array_equal(
        fresh.get_layer("fc1").get_weights()[0], model.get_layer("fc1").get_weights()[0]
    )


def test_it_becomes_fully_convolutional(trained):
    picture = np.asarray(draw("styles", "cubist", np.random.default_rng(2)), dtype="float32")
    square = picture[None, :64, :64]
    fcn = to_fcn(trained, pooling="max")
    np.testing.assert_allclose(to_numpy(fcn(square)), to_numpy(trained(square)), atol=1e-6)
    maps = to_fcn(trained, pooling=None)(picture[None])
    rows, cols = (side // 16 - 3 for side in picture.shape[:2])
    assert maps.shape == (1, rows, cols, GENERATED_CLASSES)


def test_logits_and_other_sizes():
    logits = SmallVGG(weights=None, classes=3, classifier_activation=None)
    assert logits.layers[-1].activation is keras.activations.linear
    assert SmallVGG(weights=None, classes=3, input_shape=(32, 48, 3)).input_shape[1:3] == (32, 48)


def test_weights_from_a_file(trained, tmp_path):
    trained.save_weights(tmp_path / "mine.weights.h5")
    model = SmallVGG(weights=tmp_path / "mine.weights.h5")
    picture = np.full((1, 64, 64, 3), 90, dtype="float32")
    np.testing.assert_allclose(to_numpy(model(picture)), to_numpy(trained(picture)), atol=1e-7)


def test_what_does_not_fit_is_said(tmp_path):
    with pytest.raises(ValueError, match=r"No such file: .*none\.weights\.h5"):
        SmallVGG(weights=tmp_path / "none.weights.h5")
    with pytest.raises(ValueError, match=r"\(64, 64, 3\). Received: \(96, 96, 3\)"):
        SmallVGG(input_shape=(96, 96, 3))
