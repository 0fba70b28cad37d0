"""Class maps, attribute maps and class activation maps make the score; integrated gradients nearly.

Each score is computed once more by the whole model, with NumPy behind its probabilities.
"""

import keras
import networks
import numpy as np
import pytest
from keras import layers, ops
from networks import build, random_pictures, to_numpy

from fcnkeras import to_fcn
from fcnkeras.convert.graph import run, trace
from fcnkeras.convert.surgery import clone_layers, move_weights
from fcnkeras.explain import targets
from fcnkeras.explain.attribute_maps import attribute_map
from fcnkeras.explain.cam import class_activation_map, grad_cam, grad_cam_plus_plus
from fcnkeras.explain.class_maps import class_map
from fcnkeras.explain.network import Network
from fcnkeras.explain.parts import last_map
from fcnkeras.explain.saliency import integrated_gradients


def explained(method, model, pictures, wanted, join=None, **options):
    network = Network(model, join)
    target = targets.resolve(wanted, network.outputs([pictures]))
    return method(network, target, [pictures], **options)


def lead(model, pictures, one, other):
    """How far a softmax' logit is above another, from the probabilities: their bias cancels."""
    shares = to_numpy(model(pictures), "float64")
    return np.log(shares[:, one] / shares[:, other])


def residual():
    """Like ResNet50, small: blocks of convolutions around a shortcut, with normalisations."""
    picture = keras.Input((32, 32, 3))
    x = layers.Conv2D(8, 5, strides=2, padding="same")(picture)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    for stage, width in enumerate((8, 12, 16), start=2):
        y = layers.Conv2D(width, 3, strides=2, padding="same", activation="relu")(x)
        y = layers.BatchNormalization()(layers.Conv2D(width, 3, padding="same")(y))
        shortcut = layers.Conv2D(width, 1, strides=2)(x)
        x = layers.Activation("relu", name=f"conv{stage}_out")(layers.Add()([y, shortcut]))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(picture, layers.Dense(5, activation="softmax")(x), name="residual")


def vgg():
    """Like VGG16, small: convolutions, max pooling, a flattened map and fully connected layers."""
    return networks.tiny(classes=5)


def inverted():
    """Like MobileNetV2, small: depthwise convolutions, ReLU6, explicit padding, shortcuts."""
    picture = keras.Input((32, 32, 3))
    x = layers.ZeroPadding2D(((0, 1), (0, 1)))(picture)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(layers.Conv2D(8, 3, strides=2)(x)))
    for number in range(2):
        y = layers.ReLU(6.0)(layers.BatchNormalization()(layers.Conv2D(16, 1)(x)))
        y = layers.DepthwiseConv2D(3, padding="same")(y)
        y = layers.BatchNormalization()(layers.Conv2D(8, 1)(layers.ReLU(6.0)(y)))
        x = layers.Add(name=f"block{number}_add")([x, y])
    x = layers.ReLU(6.0, name="out_relu")(layers.Conv2D(12, 3, strides=2)(x))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(picture, layers.Dense(5, activation="softmax")(x), name="inverted")


KINDS = {"residual": residual, "vgg": vgg, "inverted": inverted}
SIZES = [(37, 61), (70, 33)]


@pytest.fixture(scope="module", params=KINDS)
def classifier(request):
    return build(KINDS[request.param], seed=2)


@pytest.mark.parametrize("size", SIZES)
def test_class_maps_under_average_pooling(classifier, size):
    fcn = to_fcn(classifier, pooling="avg")
    x = random_pictures(2, *size, seed=4)
    first, second = (explained(class_map, fcn, x, wanted) for wanted in (1, 3))
    assert first.signed
    assert first.values.shape[1] * first.values.shape[2] > 1
    assert first.completeness < 1e-4
    np.testing.assert_allclose(first.values.mean(axis=(1, 2)), first.scores, rtol=1e-4, atol=1e-6)
    difference = first.values.mean(axis=(1, 2)) - second.values.mean(axis=(1, 2))
    np.testing.assert_allclose(difference, lead(fcn, x, 1, 3), rtol=1e-3, atol=1e-4)


def test_class_maps_of_pooled_probabilities_and_of_crops(classifier):
    fcn = to_fcn(classifier, pooling="avg", pool_on="probabilities")
    x = random_pictures(3, 40, 52, seed=4)
    found = explained(class_map, fcn, x, 2)
    np.testing.assert_allclose(found.values.mean(axis=(1, 2)), to_numpy(fcn(x))[:, 2], rtol=1e-4)
    joined = explained(class_map, to_fcn(classifier, pooling="avg"), x, 2, join="avg")
    assert joined.values.shape[0] == 3
    assert joined.scores.shape == (1,)
    np.testing.assert_allclose(joined.values.mean(), joined.scores[0], rtol=1e-4, atol=1e-6)
    assert joined.completeness < 1e-4


def test_max_pooling_marks_the_place_that_decides(classifier):
    fcn = to_fcn(classifier, pooling="max")
    x = random_pictures(3, 44, 70, seed=9)
    found = explained(class_map, fcn, x, 1, join="max")
    crop, row, column = np.unravel_index(found.values.argmax(), found.values.shape)
    assert found.scores[0] == pytest.approx(found.values.max())
    assert found.completeness is None
    assert found.decided == (crop, found.centres[0][row], found.centres[1][column])


def test_a_class_map_of_a_distribution_shows_each_place_alone():
    fcn = to_fcn(build(residual), pooling="avg")
    x = random_pictures(1, 40, 60)
    found = explained(class_map, fcn, x, "mean")
    logits = networks.fcn_logits(fcn, x).astype("float64")
    shares = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(found.values, shares @ np.arange(1.0, 6.0), rtol=1e-4)
    assert found.completeness is None


def test_a_class_map_needs_a_map():
    with pytest.raises(ValueError, match=r"needs a model that pools a map of scores.*'residual'"):
        explained(class_map, build(residual), random_pictures(1, 32, 32), 0)


def multi_level(activation="tanh"):
    """Means of three blocks, joined and of length 1, to two attributes."""
    base = residual()
    names = ["conv2_out", "conv3_out", "conv4_out"]
    maps = [base.get_layer(name).output for name in names]
    joined = layers.Concatenate()([layers.GlobalAveragePooling2D()(each) for each in maps])
    normed = layers.UnitNormalization(axis=-1)(joined)
    outputs = {
        name: layers.Activation(activation, name=name)(
            layers.Dense(1, name=f"logits_{name}")(normed)
        )
        for name in ("light", "thirds")
    }
    return keras.Model(base.input, outputs, name="multi_level")


@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_attribute_maps_add_up(activation):
    model = rebuilt(build(lambda: multi_level(activation)))
    x = random_pictures(2, 45, 70, seed=3)
    outputs = {name: to_numpy(y, "float64")[:, 0] for name, y in model(x).items()}
    inverse = np.arctanh if activation == "tanh" else lambda y: np.log(y / (1 - y))
    for name, output in outputs.items():
        found = explained(attribute_map, model, x, name)
        assert list(found.parts) == ["conv2_out", "conv3_out", "conv4_out"]
        assert found.values.shape == (2, 45, 70)
        assert found.completeness < 1e-4
        parts = sum(part.values.mean(axis=(1, 2)) for part in found.parts.values())
        bias = to_numpy(model.get_layer(f"logits_{name}").bias)[0]
        np.testing.assert_allclose(found.biases, bias, atol=1e-5)
        np.testing.assert_allclose(parts + bias, inverse(output), rtol=1e-3, atol=1e-4)
        pixels = found.values.mean(axis=(1, 2))
        np.testing.assert_allclose(pixels, parts, rtol=1e-4, atol=1e-5)


def rebuilt(model):
    """A copy for pictures of any size."""
    graph = trace(model)
    clones = clone_layers(graph)
    picture = keras.Input((None, None, 3))
    values = run(graph, [picture], lambda call, args, kw: clones[id(call.layer)](*args, **kw))
    move_weights(graph.layers(), clones)
    outputs = keras.tree.pack_sequence_as(graph.structure, [values[r] for r in graph.outputs])
    return keras.Model(picture, outputs, name=model.name)


def test_an_attribute_map_in_numpy():
    model = rebuilt(build(multi_level))
    x = random_pictures(1, 45, 70, seed=3)
    found = explained(attribute_map, model, x, "thirds")
    names = list(found.parts)
    probe = keras.Model(model.input, [model.get_layer(name).output for name in names])
    maps = [to_numpy(y, "float64")[0] for y in probe(x)]
    length = np.linalg.norm(np.concatenate([m.mean(axis=(0, 1)) for m in maps]))
    kernel = to_numpy(model.get_layer("logits_thirds").kernel, "float64")[:, 0]
    start = 0
    for name, cells in zip(names, maps, strict=True):
        weights = kernel[start : start + cells.shape[2]]
        start += cells.shape[2]
        expected = cells @ weights / length
        np.testing.assert_allclose(found.parts[name].values[0], expected, rtol=1e-3, atol=1e-4)
    assert found.parts[names[0]].values.min() < 0 < found.parts[names[0]].values.max()


def test_attribute_maps_of_plain_heads_and_of_fully_convolutional_ones():
    x = random_pictures(2, 37, 61, seed=5)
    classifier = build(residual)
    free = rebuilt(classifier)
    for model in (free, to_fcn(classifier, pooling="avg"), to_fcn(classifier, pooling="max")):
        found = explained(attribute_map, model, x, 4)
        assert found.completeness < 1e-4
        assert len(found.parts) == 1
        np.testing.assert_allclose(
            found.values.mean(axis=(1, 2)) + found.biases, found.scores, rtol=1e-3, atol=1e-5
        )
    with pytest.raises(ValueError, match="Attribute maps need a head of pooling"):
        explained(attribute_map, to_fcn(build(vgg), pooling="avg"), x, 4)


@pytest.mark.parametrize("kind", ["residual", "inverted"])
def test_class_activation_maps_add_up_under_average_pooling(kind):
    model = rebuilt(build(KINDS[kind]))
    x = random_pictures(2, 45, 70, seed=3)
    found = explained(class_activation_map, model, x, 2)
    features = keras.Model(model.input, model.layers[-3].output)
    kernel, bias = (to_numpy(w) for w in model.layers[-1].weights)
    np.testing.assert_allclose(
        found.values, to_numpy(features(x)) @ kernel[:, 2], rtol=1e-3, atol=1e-4
    )
    assert found.completeness < 1e-4
    totals = found.values.mean(axis=(1, 2)) + bias[2]
    np.testing.assert_allclose(totals, found.scores, rtol=1e-4, atol=1e-5)
    # In such a network Grad-CAM is the same map, but for its sign and scale.
    gradient = explained(grad_cam, model, x, 2)
    places = found.values.shape[1] * found.values.shape[2]
    np.testing.assert_allclose(
        gradient.values * places, np.maximum(found.values, 0), rtol=1e-3, atol=1e-4
    )


def test_class_activation_maps_need_one_linear_layer():
    with pytest.raises(ValueError, match="use grad-cam for 'tiny', which does not"):
        explained(class_activation_map, build(vgg), random_pictures(1, 24, 24), 0)
    fcn = to_fcn(build(residual), pooling="max")
    found = explained(class_activation_map, fcn, random_pictures(1, 45, 70), 0)
    assert found.completeness is None
    assert found.values.shape[1:] == (3, 5)


@pytest.mark.smoke
def test_grad_cam_and_plus_plus_by_hand():
    picture = keras.Input((2, 2, 1))
    conv = layers.Conv2D(2, 1, name="conv")
    dense = layers.Dense(1)
    model = keras.Model(picture, dense(layers.Flatten()(ops.square(conv(picture)))))
    conv.set_weights([np.array([1.0, -1.0]).reshape(1, 1, 1, 2), np.array([0.0, 3.0])])
    dense.set_weights([np.array([1, 1, 2, 0, 0, -1, 1, 0.5]).reshape(8, 1), np.zeros(1)])
    x = np.array([[1, 2], [3, 0]], "float32").reshape(1, 2, 2, 1)
    channels = np.array([[[1, 2], [2, 1]], [[3, 0], [0, 3]]], "float64")
    slopes = 2 * channels * np.array([[[1, 1], [2, 0]], [[0, -1], [1, 0.5]]])
    found = explained(grad_cam, model, x, 0, layer="conv")
    weights = slopes.mean(axis=(0, 1))
    np.testing.assert_allclose(found.values[0], np.maximum(channels @ weights, 0), rtol=1e-5)
    total = channels.sum(axis=(0, 1))
    shares = np.zeros_like(slopes)
    for place in np.ndindex(slopes.shape):
        g = slopes[place]
        if g:
            shares[place] = g**2 / (2 * g**2 + total[place[2]] * g**3)
    weights = (shares * np.maximum(slopes, 0)).sum(axis=(0, 1))
    found = explained(grad_cam_plus_plus, model, x, 0, layer="conv")
    np.testing.assert_allclose(found.values[0], np.maximum(channels @ weights, 0), rtol=1e-5)


def test_the_last_map_is_never_the_classifier():
    def layer_of(model):
        network = Network(model)
        return network.layer_name(last_map(network, 0))

    assert layer_of(build(residual)) == "conv4_out"
    assert layer_of(build(vgg)) == "pool2"
    assert layer_of(to_fcn(build(vgg))) == "features"
    assert layer_of(build(networks.convolutional_head)) == "conv2"
    assert layer_of(build(networks.sequential)) is not None
    assert layer_of(build(networks.squeeze_and_excitation)) is not None
    with pytest.raises(ValueError, match="`layer` must name a layer of 'tiny'"):
        explained(grad_cam, build(vgg), random_pictures(1, 24, 24), 0, layer="conv9")


@pytest.mark.parametrize("size", SIZES)
def test_integrated_gradients_reach_their_tolerance(classifier, size):
    fcn = to_fcn(classifier, pooling="avg")
    x = random_pictures(1, *size, seed=4)
    network = Network(fcn)
    target = targets.resolve(1, network.outputs([x]))
    found = integrated_gradients(network, target, [x], tolerance=1e-2)
    scores = [to_numpy(network.outputs([v]).scores[0])[0, 1] for v in (x, 0 * x)]
    assert found.completeness <= 1e-2
    assert found.values.sum() == pytest.approx(scores[0] - scores[1], rel=1.5e-2)
