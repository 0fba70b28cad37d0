"""Maps of gradients against gradients worked by hand and finite differences, on every backend."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from networks import build, random_pictures, to_numpy

from fcnkeras.explain import saliency, targets
from fcnkeras.explain.network import Network


def explained(method, model, picture, wanted=0, join=None, **options):
    """One method's maps of a picture or several, and the network."""
    network = Network(model, join)
    pictures = np.asarray(picture, "float32")
    pictures = pictures if pictures.ndim == 4 else pictures[None]
    target = targets.resolve(wanted, network.outputs([pictures]))
    return method(network, target, [pictures], **options)


def pixels(*values):
    """A grey picture, 2 x 2."""
    return np.array(values, "float32").reshape(2, 2, 1)


RELUS = {
    "argument": lambda x: conv(x, activation="relu"),
    "layer": lambda x: layers.ReLU()(conv(x)),
    "activation": lambda x: layers.Activation("relu")(conv(x)),
    "function": lambda x: ops.relu(conv(x)),
}
RELU6S = {
    "argument": lambda x: conv(x, activation="relu6"),
    "layer": lambda x: layers.ReLU(6.0)(conv(x)),
    "activation": lambda x: layers.Activation(keras.activations.relu6)(conv(x)),
    "function": lambda x: ops.relu6(conv(x)),
}


def conv(x, **options):
    """Each pixel times two, less one."""
    layer = layers.Conv2D(1, 1, **options)
    y = layer(x)
    layer.set_weights([np.full((1, 1, 1, 1), 2.0), np.array([-1.0])])
    return y


def scored(function, weights=(3, 4, -5, 6), activation=None, size=(2, 2)):
    """A model that sums what a function makes of the pixels, with these weights."""
    picture = keras.Input((*size, 1))
    dense = layers.Dense(1, activation=activation)
    output = dense(layers.Flatten()(function(picture)))
    dense.set_weights([np.array(weights, "float32").reshape(-1, 1), np.array([0.5])])
    return keras.Model(picture, output)


@pytest.mark.smoke
@pytest.mark.parametrize("form", RELUS)
def test_relu(form):
    model = scored(RELUS[form])
    x = pixels(1, 0, 3, -1)  # before the ReLU 1, -1, 5, -3
    plain = explained(saliency.saliency, model, x)
    np.testing.assert_allclose(plain.scores, [3 * 1 - 5 * 5 + 0.5])
    np.testing.assert_allclose(plain.values[0], [[6, 0], [10, 0]])
    guided = explained(saliency.guided_backpropagation, model, x)
    np.testing.assert_allclose(guided.scores, plain.scores)
    np.testing.assert_allclose(guided.values[0], [[6, 0], [0, 0]])


@pytest.mark.smoke
@pytest.mark.parametrize("form", RELU6S)
def test_relu6_blocks_at_its_ceiling(form):
    model = scored(RELU6S[form])
    x = pixels(1, 4, 3, -1)  # before the ReLU6 1, 7, 5, -3
    plain = explained(saliency.saliency, model, x)
    np.testing.assert_allclose(plain.scores, [3 * 1 + 4 * 6 - 5 * 5 + 0.5])
    np.testing.assert_allclose(plain.values[0], [[6, 0], [10, 0]])
    guided = explained(saliency.guided_backpropagation, model, x)
    np.testing.assert_allclose(guided.values[0], [[6, 0], [0, 0]])


def test_leaky_relus_are_no_relus():
    model = scored(lambda x: layers.ReLU(negative_slope=0.5)(conv(x)))
    plain = explained(saliency.saliency, model, pixels(1, 0, 3, -1))
    np.testing.assert_allclose(plain.values[0], [[6, 4], [10, 6]])
    with pytest.raises(ValueError, match="needs a network with ReLUs"):
        explained(saliency.guided_backpropagation, model, pixels(1, 0, 3, -1))


def test_two_relus_in_a_row_block_negative_gradients_one_by_one():
    def twice(x):
        first = layers.ReLU()(conv(x))  # 1, 0, 5, 0
        minus = layers.Conv2D(1, 1, activation="relu")
        y = minus(first)
        minus.set_weights([np.full((1, 1, 1, 1), -1.0), np.array([8.0])])  # 7, 8, 3, 8
        return y

    x, model = pixels(1, 0, 3, -1), scored(twice)
    plain = explained(saliency.saliency, model, x)
    np.testing.assert_allclose(plain.values[0], [[6, 0], [10, 0]])
    # The second passes 3, 4 and 6, which its kernel turns to -3, -4 and -6: the first blocks them.
    guided = explained(saliency.guided_backpropagation, model, x)
    np.testing.assert_allclose(guided.values[0], np.zeros((2, 2)))


def test_residual():
    def residual(x):
        return layers.Add()([layers.ReLU()(conv(x)), x])

    model, x = scored(residual), pixels(1, 0, 3, -1)
    plain = explained(saliency.saliency, model, x)
    np.testing.assert_allclose(plain.values[0], [[6 + 3, 4], [10 + 5, 6]])
    guided = explained(saliency.guided_backpropagation, model, x)
    np.testing.assert_allclose(guided.values[0], [[6 + 3, 4], [5, 6]])


def test_max_pooling():
    x = np.array([[1, 2, 0, 9], [3, 0, 5, 6], [4, 7, 1, 0], [6, 5, 2, 3]], "float32")[..., None]
    model = scored(layers.MaxPooling2D(2), (1, -2, 3, 4), size=(4, 4))
    expected = np.zeros((4, 4))
    expected[1, 0], expected[0, 3], expected[2, 1], expected[3, 3] = 1, 2, 3, 4
    np.testing.assert_allclose(explained(saliency.saliency, model, x).values[0], expected)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", layers.Activation("sigmoid")])
def test_the_score_comes_before_the_last_activation(activation):
    inside = activation if isinstance(activation, str) else None
    model = scored(RELUS["layer"], activation=inside)
    if inside is None:
        model = keras.Model(model.input, activation(model.output))
    plain = explained(saliency.saliency, model, pixels(1, 0, 3, -1))
    np.testing.assert_allclose(plain.scores, [3 * 1 - 5 * 5 + 0.5])
    np.testing.assert_allclose(plain.values[0], [[6, 0], [10, 0]])


def test_the_largest_over_the_channels():
    picture = keras.Input((1, 2, 3))
    dense = layers.Dense(2, activation="softmax")
    model = keras.Model(picture, dense(layers.Flatten()(picture)))
    weights = np.array([[1, 0], [-4, 2], [3, 1], [0, 5], [0, -1], [2, 0]], "float32")
    dense.set_weights([weights, np.zeros(2)])
    x = np.zeros((1, 2, 3), "float32")
    np.testing.assert_allclose(explained(saliency.saliency, model, x, 0).values[0], [[4, 2]])
    np.testing.assert_allclose(explained(saliency.saliency, model, x, 1).values[0], [[2, 5]])


def smooth():
    """A network without kinks, with two outputs."""
    picture = keras.Input((7, 9, 2))
    x = layers.Conv2D(4, 3, activation="tanh")(picture)
    x = layers.AveragePooling2D(2)(x)
    x = layers.Conv2D(5, 2, activation="softplus")(x)
    x = layers.GlobalAveragePooling2D()(x)
    outputs = [
        layers.Dense(3, activation="softmax", name="kind")(x),
        layers.Dense(1, activation="tanh", name="mark")(x),
    ]
    model = keras.Model(picture, outputs)
    rng = np.random.default_rng(5)
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape))
    return model


def mean_of(outputs):
    return ops.matmul(outputs["kind"], np.array([1.0, 2.0, 3.0], "float32"))


@pytest.mark.parametrize("wanted", ["kind:1", "mark", "kind:mean", "kind:hue=40", mean_of])
def test_finite_differences(wanted):
    model = smooth()
    x = np.random.default_rng(6).normal(size=(1, 7, 9, 2)).astype("float32")
    network = Network(model)
    target = targets.resolve(wanted, network.outputs([x]))
    _, found = saliency.input_gradients(network, target, [x])

    def numpy_score(pictures):
        kind, mark = (to_numpy(y, "float64") for y in model(pictures))
        if wanted == "kind:1":  # differences of logits are logarithms of ratios
            return np.log(kind[:, 1])
        if wanted == "mark":
            return np.arctanh(mark[:, 0])
        if wanted == "kind:hue=40":
            c, s = np.cos(np.radians(40)), np.sin(np.radians(40))
            return (kind[:, 0] * c + kind[:, 1] * s) / np.hypot(kind[:, 0], kind[:, 1])
        return kind @ [1.0, 2.0, 3.0]

    step = 1e-2
    numeric = np.empty(x.shape)
    for place in np.ndindex(x.shape):
        more, less = x.copy(), x.copy()
        more[place] += step
        less[place] -= step
        numeric[place] = (numpy_score(more) - numpy_score(less))[0] / (2 * step)
    if wanted == "kind:1":  # log p = logit - log of the sum: the other part's gradient
        probabilities = to_numpy(model(x)[0], "float64")[0]
        scores = [
            saliency.input_gradients(
                network, targets.resolve(f"kind:{n}", network.outputs([x])), [x]
            )
            for n in range(3)
        ]
        found = found - sum(p * s[1] for p, s in zip(probabilities, scores, strict=True))
    assert np.abs(found - numeric).max() < 1e-3 * np.abs(numeric).max() + 2e-5
    assert np.abs(np.flip(found, 2) - numeric).max() > 0.1 * np.abs(numeric).max()


def test_smoothgrad_of_a_linear_network_is_its_saliency():
    model, x = scored(conv), pixels(1, 0, 3, -1)
    smooth_map = explained(saliency.smoothgrad, model, x, samples=3, noise=0.3)
    np.testing.assert_allclose(smooth_map.values[0], [[6, 8], [10, 12]], rtol=1e-5)
    np.testing.assert_allclose(smooth_map.scores, explained(saliency.saliency, model, x).scores)


def test_smoothgrad_is_the_mean_over_noise():
    # The score is 2 x^2 / 2 behind a square: the gradient 2 x, so noise adds twice its mean.
    model, x = scored(lambda x: ops.square(x), (1, 1, 1, 1)), pixels(1, 2, 3, 4)
    found = explained(saliency.smoothgrad, model, x, samples=4, noise=0.5, seed=7)
    rng = np.random.default_rng(7)
    noise = sum(rng.standard_normal((1, 2, 2, 1), "float32") for _ in range(4)) / 4
    expected = np.abs(2 * (x + 0.5 * 3 * noise[0]))[..., 0]
    np.testing.assert_allclose(found.values[0], expected, rtol=1e-5)


@pytest.mark.smoke
def test_integrated_gradients_by_hand():
    # relu(2x - 1) rises from x = 1/2 on: the way from 0 adds 1 up to x = 1, and 5 up to 3.
    model, x = scored(RELUS["layer"]), pixels(1, 0, 3, -1)
    found = explained(saliency.integrated_gradients, model, x, tolerance=1e-3)
    assert found.signed
    assert found.completeness <= 1e-3
    np.testing.assert_allclose(found.values[0], [[3 * 1, 0], [-5 * 5, 0]], rtol=2e-2, atol=1e-6)
    assert found.values.sum() == pytest.approx(3 - 25, rel=1e-3)


def test_integrated_gradients_are_taken_for_each_picture():
    model = build_average()
    x = random_pictures(2, 24, 31, seed=3)
    both = explained(saliency.integrated_gradients, model, x, 2, tolerance=1e-2)
    for n in range(2):
        one = explained(saliency.integrated_gradients, model, x[n], 2, tolerance=1e-2)
        np.testing.assert_allclose(both.values[n], one.values[0], atol=1e-5)
    network = Network(model)
    target = targets.resolve(2, network.outputs([x]))
    ends = [to_numpy(target.score(network.outputs([v]))) for v in (x, 0 * x)]
    sums = both.values.sum(axis=(1, 2))
    np.testing.assert_allclose(sums, ends[0] - ends[1], rtol=2e-2)
    assert both.completeness <= 1e-2
    rough = explained(saliency.integrated_gradients, model, x[1], 2, tolerance=1e-9, steps=6)
    assert 1e-6 < rough.completeness < 1


def build_average():
    import networks

    from fcnkeras import to_fcn

    return to_fcn(build(networks.average_valid), pooling="avg")


@pytest.mark.smoke
def test_crops_are_joined_before_the_activation():
    model = scored(conv, activation="sigmoid")
    crops = np.stack([pixels(1, 0, 0, 0), pixels(3, 0, 0, 0)])
    best = explained(saliency.saliency, model, crops, join="max")
    np.testing.assert_allclose(best.scores, [3 * 5 - 4 + 5 - 6 + 0.5])
    np.testing.assert_allclose(best.values[0], np.zeros((2, 2)))
    np.testing.assert_allclose(best.values[1], [[6, 8], [10, 12]])
    mean = explained(saliency.saliency, model, crops, join="avg")
    np.testing.assert_allclose(mean.scores, [3 * 3 - 4 + 5 - 6 + 0.5])
    np.testing.assert_allclose(mean.values, np.stack([[[3, 4], [5, 6]]] * 2))


def test_the_model_is_not_touched():
    model = scored(RELUS["argument"], activation="sigmoid")
    before = [layer.get_config() for layer in model.layers]
    weights = [to_numpy(w).copy() for w in model.weights]
    output = to_numpy(model(pixels(1, 0, 3, -1)[None]))
    for method in (saliency.saliency, saliency.guided_backpropagation):
        explained(method, model, pixels(1, 0, 3, -1))
    assert [layer.get_config() for layer in model.layers] == before
    assert model.layers[-1].activation is keras.activations.sigmoid
    np.testing.assert_array_equal(to_numpy(model(pixels(1, 0, 3, -1)[None])), output)
    for old, new in zip(weights, model.weights, strict=True):
        np.testing.assert_array_equal(old, to_numpy(new))
