"""The learning-rate finder: what it suggests trains, and the model is as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import galleries
import keras
import numpy as np
import pytest
from keras import layers

from fcnkeras.batching import FedPictures
from fcnkeras.images import ImageError
from fcnkeras.training.lr_finder import find_learning_rate

pytestmark = pytest.mark.smoke


class Batches(keras.utils.PyDataset):
    def __init__(self, x: np.ndarray, y: np.ndarray, batch: int) -> None:
        super().__init__()
        self.x, self.y, self.batch = x, y, batch
        self.asked: list[int] = []
        self.epochs = 0

    def __len__(self) -> int:
        return -(-len(self.x) // self.batch)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        self.asked.append(index)
        rows = slice(index * self.batch, (index + 1) * self.batch)
        return self.x[rows], self.y[rows]

    def on_epoch_end(self) -> None:
        self.epochs += 1


def quadratic(curvature: float) -> tuple[keras.Model, Batches]:
    """The loss is curvature * w² / 2, and w begins at 1: gradient descent w -= rate * curvature * w
    goes down for rates below 2 / curvature, and for no others."""
    model = keras.Sequential([keras.Input((1,)), layers.Dense(1, use_bias=False)])
    model.layers[0].kernel.assign([[1.0]])
    model.compile("sgd", "mse", jit_compile=False)
    x = np.full((8, 1), np.sqrt(curvature / 2), "float32")
    return model, Batches(x, np.zeros((8, 1), "float32"), 4)


@pytest.mark.parametrize("curvature", [0.5, 5.0, 500.0])
def test_a_quadratic_has_a_bound(curvature: float) -> None:
    model, data = quadratic(curvature)
    found = find_learning_rate(model, data, highest=100)
    assert found.suggestion is not None
    bound = 2 / curvature
    assert bound / 20 < found.suggestion < bound
    assert found.rates[-1] > bound  # it did not end before there was a reason to
    assert found.rates[-1] < 100
    for rate, falls in ((found.suggestion, True), (bound * 1.1, False)):
        model, data = quadratic(curvature)
        model.optimizer.learning_rate = rate
        losses = model.fit(data, epochs=5, verbose=0, shuffle=False).history["loss"]
        assert (losses[-1] < 0.1 * losses[0]) == falls


def test_rates_and_smoothed_losses_by_hand() -> None:
    """With curvature 1 the losses are w²/2, and w is multiplied by 1 - rate at every step."""
    model, data = quadratic(1.0)
    found = find_learning_rate(model, data, lowest=0.01, highest=1, steps=3, beta=0.5)
    np.testing.assert_allclose(found.rates, [0.01, 0.1, 1])
    a, b, c = 0.5, 0.5 * 0.99**2, 0.5 * (0.99 * 0.9) ** 2
    expected = [a, (a / 4 + b / 2) / 0.75, (a / 8 + b / 4 + c / 2) / 0.875]
    np.testing.assert_allclose(found.losses, expected, rtol=1e-5)
    assert found.suggestion == pytest.approx(0.1)
    assert data.asked == [0, 1, 0]  # the two batches are taken over again
    assert data.epochs == 0


def network(optimizer: Any = "adam") -> tuple[keras.Model, Batches]:
    """Five clouds of points that overlap."""
    keras.utils.set_random_seed(2)
    given = keras.Input((20,))
    x = layers.Dense(32, name="hidden")(given)
    x = layers.Dropout(0.2, name="drop")(layers.ReLU()(layers.BatchNormalization(name="norm")(x)))
    model = keras.Model(given, layers.Dense(5, activation="softmax")(x))
    loss = "sparse_categorical_crossentropy"
    model.compile(optimizer, loss, metrics=["accuracy"], jit_compile="auto")
    rng = np.random.default_rng(0)
    centres, y = rng.normal(size=(5, 20)), rng.integers(0, 5, 320)
    x = (centres[y] + 2 * rng.normal(size=(320, 20))).astype("float32")
    return model, Batches(x, y, 16)


def last_loss(optimizer: str, rate: float) -> float:
    model, data = network(optimizer)
    model.optimizer.learning_rate = rate
    return model.fit(data, epochs=4, verbose=0, shuffle=False).history["loss"][-1]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_suggestion_trains_a_network(optimizer: str) -> None:
    model, data = network(optimizer)
    start = model.evaluate(data, verbose=0)[0]
    found = find_learning_rate(model, data)
    assert found.suggestion is not None
    diverging = found.rates[-1]
    trained = last_loss(optimizer, found.suggestion)
    assert trained < 0.5 * start
    assert not last_loss(optimizer, 10 * diverging) < start
    assert last_loss(optimizer, found.suggestion / 1000) > 2 * trained


def variables_of(model: keras.Model) -> list[Any]:
    """Weights, states of random numbers, metrics, and the variables of the optimizer."""
    return [*model.variables, *model.metrics_variables, *model.optimizer.variables]


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_it_leaves_no_trace(trained: bool, fails: bool) -> None:
    model, data = network()
    if trained:
        model.fit(data, epochs=1, verbose=0, shuffle=False)
    variables, optimizer, function = variables_of(model), model.optimizer, model.train_function
    before = [keras.ops.convert_to_numpy(variable).copy() for variable in variables]
    if fails:
        data.y = data.y.astype(object)
        data.y[100:] = "no class"
        with pytest.raises((TypeError, ValueError, AttributeError)):
            find_learning_rate(model, data, steps=10)
    else:
        find_learning_rate(model, data, steps=10, lowest=0.01)
    assert model.optimizer is optimizer
    assert model.train_function is function
    assert len(optimizer.variables) == sum(v is w for v in variables for w in optimizer.variables)
    for variable, expected in zip(variables, before, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), expected)


def test_training_afterwards_is_the_same_training() -> None:
    losses = []
    for looks in (False, True):
        model, data = network()
        if keras.backend.backend() == "torch":  # whose random numbers belong to no model
            model.get_layer("drop").rate = 0
        if looks:
            find_learning_rate(model, data, steps=10)
        losses.append(model.fit(data, epochs=2, verbose=0, shuffle=False).history["loss"])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-6)


def test_schedules_and_loss_scaling_give_way_to_numbers() -> None:
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 100)
    scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(schedule))
    for optimizer in (keras.optimizers.Adam(schedule), scaled):
        model, data = network(optimizer)
        found = find_learning_rate(model, data)
        assert found.suggestion is not None
        assert model.optimizer is optimizer


def test_an_easy_batch_at_the_start_is_no_minimum() -> None:
    """All batches but the first are of the same loss, until it runs away."""
    model, data = quadratic(1.0)
    data.x, data.y = np.tile(data.x, (30, 1)), np.tile(data.y, (30, 1))
    data.x[:4] /= 100
    found = find_learning_rate(model, data, steps=60, highest=100)
    assert np.argmin(found.losses) == 0
    assert found.suggestion is not None
    assert 0.01 < found.suggestion < 2


def test_no_suggestion_where_no_rate_helps() -> None:
    model, data = quadratic(1.0)
    model.layers[0].kernel.assign([[0.0]])  # it is at its least already
    assert find_learning_rate(model, data, steps=5).suggestion is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lowest": 0.0}, r"`lowest` must be above 0 and below `highest`\. Received: 0\.0 and 10"),
        ({"lowest": 1.0, "highest": 0.1}, "`lowest` must be above 0 and below"),
        ({"steps": 1}, "`steps` must be at least 2"),
        ({"beta": 1.0}, "`beta` must be from 0 to below 1"),
    ],
)
def test_arguments_that_are_refused(options: dict, message: str) -> None:
    model, data = quadratic(1.0)
    with pytest.raises(ValueError, match=message):
        find_learning_rate(model, data, **options)


def test_models_that_are_refused() -> None:
    model, data = quadratic(1.0)
    model.layers[0].kernel.assign([[np.nan]])
    with pytest.raises(ValueError, match="loss is not a number before any training"):
        find_learning_rate(model, data)
    with pytest.raises(ValueError, match="built and compiled"):
        find_learning_rate(keras.Sequential([layers.Dense(1)]), data)


def test_pictures_keep_their_epoch_and_name_the_broken(tmp_path: Path) -> None:
    data = FedPictures(
        galleries.solid(tmp_path, [(8, 8)] * 6), "crop", 8, batch=2, shuffle=True, cache_bytes=0
    )
    data.start_at(3)
    order = data.order.tolist()
    picture = keras.Input((8, 8, 3))
    x = layers.Rescaling(1 / 255)(layers.GlobalAveragePooling2D()(picture))
    model = keras.Model(picture, layers.Dense(6, activation="softmax")(x))
    model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=False)
    assert len(find_learning_rate(model, data, steps=7).rates) == 7
    assert (data.epoch, data.order.tolist()) == (3, order)
    data.records[4].path.unlink()
    with pytest.raises(ImageError, match=r"004\.png"):
        find_learning_rate(model, data, steps=7)
