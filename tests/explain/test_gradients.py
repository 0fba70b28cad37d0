"""Gradients on every backend, against numbers worked by hand and finite differences."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from fcnkeras.explain.gradients import loss_gradients, value_and_gradients


@pytest.mark.smoke
def test_value_and_gradients_of_each_input():
    x = np.array([[1.0, -2.0], [0.5, 3.0]], "float32")
    y = np.array([[2.0, 1.0], [4.0, -1.0]], "float32")
    value, (by_x, by_y) = value_and_gradients(lambda a, b: ops.sum(a * a * b, axis=1), [x, y])
    np.testing.assert_allclose(value, [6.0, -8.0])
    np.testing.assert_allclose(by_x, 2 * x * y)
    np.testing.assert_allclose(by_y, x * x)


@pytest.mark.smoke
def test_an_input_that_does_not_matter_has_gradient_zero():
    x, y = np.ones((2, 3), "float32"), np.ones((4,), "float32")
    _, (by_x, by_y) = value_and_gradients(lambda a, b: ops.sum(a), [x, y])
    np.testing.assert_array_equal(by_x, np.ones((2, 3)))
    np.testing.assert_array_equal(by_y, np.zeros(4))
    value, (by_x,) = value_and_gradients(lambda a: ops.ones((2,)), [x])
    np.testing.assert_array_equal(value, [1, 1])
    np.testing.assert_array_equal(by_x, np.zeros((2, 3)))


def linear(loss="mse", **options):
    picture = keras.Input((3,))
    output = layers.Dense(2, name="dense", **options)(picture)
    model = keras.Model(picture, output)
    model.layers[-1].kernel.assign(np.array([[1, 2], [0, -1], [3, 1]], "float32"))
    model.compile("sgd", loss, metrics=["mae"])
    return model


X = np.array([[1.0, 2.0, 0.0], [0.0, 1.0, -1.0]], "float32")
Y = np.array([[0.0, 1.0], [1.0, 1.0]], "float32")


@pytest.mark.smoke
def test_loss_gradients_by_hand():
    # Predictions [[1, 0], [-3, -2]], errors [[1, -1], [-4, -3]]; the mean is over 4 numbers.
    errors = np.array([[1.0, -1.0], [-4.0, -3.0]])
    found = loss_gradients(linear(), X, Y)
    assert list(found) == ["dense/kernel", "dense/bias"]
    np.testing.assert_allclose(found["dense/kernel"], X.T @ errors / 2, rtol=1e-6)
    np.testing.assert_allclose(found["dense/bias"], errors.sum(0) / 2, rtol=1e-6)


def test_loss_gradients_with_sample_weight_and_regularizer():
    errors = np.array([[1.0, -1.0], [-4.0, -3.0]])
    weights = np.array([1.0, 0.5])
    model = linear(kernel_regularizer=keras.regularizers.L2(0.1))
    found = loss_gradients(model, X, Y, weights.astype("float32"))
    kernel = np.array([[1, 2], [0, -1], [3, 1]])
    # Keras divides by the batch, not by the sum of the weights.
    expected = X.T @ (errors * weights[:, None]) / 2 + 0.2 * kernel
    np.testing.assert_allclose(found["dense/kernel"], expected, rtol=1e-5)


def stateful():
    picture = keras.Input((6, 6, 2))
    x = layers.Conv2D(3, 3, name="conv")(picture)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Dropout(0.5, seed=3)(layers.Activation("tanh")(x))
    x = layers.GlobalAveragePooling2D()(x)
    outputs = {"a": layers.Dense(1, name="a")(x), "b": layers.Dense(3, name="b")(x)}
    model = keras.Model(picture, outputs)
    losses = {"a": "mse", "b": keras.losses.SparseCategoricalCrossentropy(from_logits=True)}
    model.compile("adam", losses, metrics={"a": "mae"})
    return model


def test_loss_gradients_change_nothing():
    keras.utils.set_random_seed(0)
    model = stateful()
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 6, 6, 2)).astype("float32")
    y = {"a": rng.normal(size=(4, 1)).astype("float32"), "b": np.array([0, 2, 1, 1])}
    model.train_on_batch(x, y)
    state = [*model.variables, *model.metrics_variables]
    before = [ops.convert_to_numpy(v.value).copy() for v in state]
    found = loss_gradients(model, x, y)
    assert set(found) == {v.path for v in model.trainable_variables}
    assert all(np.isfinite(g).all() for g in found.values())
    for variable, old in zip(state, before, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(variable.value), old, variable.path)


def test_loss_gradients_against_finite_differences():
    keras.utils.set_random_seed(1)
    model = stateful()
    rng = np.random.default_rng(1)
    x = rng.normal(size=(4, 6, 6, 2)).astype("float32")
    y = {"a": rng.normal(size=(4, 1)).astype("float32"), "b": np.array([0, 2, 1, 1])}
    found = loss_gradients(model, x, y, training=False)  # a model that never saw `fit`
    for path, place in (("conv/kernel", (1, 0, 1, 2)), ("b/bias", (2,)), ("norm/gamma", (0,))):
        variable = next(v for v in model.trainable_variables if v.path == path)
        old, values = ops.convert_to_numpy(variable.value).copy(), []
        for step in (-1e-2, 1e-2):
            new = old.copy()
            new[place] += step
            variable.assign(new)
            values.append(model.test_on_batch(x, y, return_dict=True)["loss"])
            model.reset_metrics()
        variable.assign(old)
        numeric = (float(values[1]) - float(values[0])) / 2e-2
        assert found[path][place] == pytest.approx(numeric, rel=2e-2, abs=1e-4), path


def test_a_model_without_loss_is_refused():
    picture = keras.Input((3,))
    model = keras.Model(picture, layers.Dense(1)(picture), name="plain")
    with pytest.raises(ValueError, match=r"compiled with a loss is needed\. Received: 'plain'"):
        loss_gradients(model, X, Y)
