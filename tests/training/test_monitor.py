"""What the monitor writes, read back from its event files, against numbers worked by hand."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fcnkeras.training.monitor import TensorBoardMonitor

pytestmark = pytest.mark.smoke
KERNEL = np.array([[1, 2], [0, -1], [3, 1]], "float32")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(10, 3)).astype("float32")
Y = RNG.normal(size=(10, 2)).astype("float32")


class Batches(keras.utils.PyDataset):
    """Five batches of two."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return X[2 * index : 2 * index + 2], Y[2 * index : 2 * index + 2]


def linear(rate: float = 0.0) -> keras.Model:
    """Predicts x @ kernel; dropout and a frozen layer stand before it, which change nothing."""
    given = keras.Input((3,))
    x = layers.Dense(3, use_bias=False, kernel_initializer="identity", name="frozen")(given)
    x = layers.Dropout(0.5)(x)
    inner = keras.Sequential([keras.Input((3,)), layers.Dense(2, use_bias=False, name="fc")])
    model = keras.Model(given, inner(x))
    model.get_layer("frozen").trainable = False
    inner.layers[-1].kernel.assign(KERNEL)
    model.compile(keras.optimizers.SGD(rate), "mse", metrics=["mae"], jit_compile=False)
    return model


def gradient(kernel: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return x.T @ (x @ kernel - y) / len(x)  # the mean is over two numbers for each of the batch


def read(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), {"scalars": 0, "histograms": 0}).Reload()


def fit(model: keras.Model, monitor: TensorBoardMonitor, **options: Any) -> Any:
    return model.fit(Batches(), shuffle=False, verbose=0, callbacks=[monitor], **options)


def test_every_third_batch_has_the_gradient_by_hand(tmp_path: Path) -> None:
    model, data = linear(), Batches()
    history = fit(model, TensorBoardMonitor(tmp_path, ["fc"], sample=data), epochs=2).history
    events = read(tmp_path)
    path = model.trainable_variables[0].path
    assert path.endswith("fc/kernel")
    norms = events.Scalars(f"gradient_norm/{path}")
    assert [event.step for event in norms] == [3, 6, 9]
    for event, index in zip(norms, (2, 0, 3), strict=True):  # batches of each epoch, from 0
        expected = gradient(KERNEL, *data[index])
        assert event.value == pytest.approx(np.linalg.norm(expected), rel=1e-5)
        wrong = gradient(KERNEL, *data[(index + 1) % 5])
        assert event.value != pytest.approx(np.linalg.norm(wrong), rel=1e-2)
    histogram = events.Histograms(f"gradient/{path}")[0].histogram_value
    expected = gradient(KERNEL, *data[2])
    assert histogram.num == 6
    assert histogram.min == pytest.approx(expected.min(), rel=1e-5)
    assert histogram.max == pytest.approx(expected.max(), rel=1e-5)
    assert histogram.sum == pytest.approx(expected.sum(), rel=1e-4)
    below = [(expected < limit + 1e-5).sum() for limit in histogram.bucket_limit]
    np.testing.assert_array_equal(np.cumsum(histogram.bucket), below)
    assert [event.step for event in events.Scalars("batch/loss")] == [3, 6, 9]
    assert {"batch/mae", "epoch/loss", "epoch/mae"} < set(events.Tags()["scalars"])
    epochs = events.Scalars("epoch/loss")
    assert [event.step for event in epochs] == [1, 2]
    assert [event.value for event in epochs] == pytest.approx(history["loss"], rel=1e-6)


def test_the_gradient_is_that_after_the_step(tmp_path: Path) -> None:
    """By plain gradient descent, on the batch that never changes."""
    model = linear(rate=0.1)
    model.layers[2].rate = 0.0  # of the training itself
    monitor = TensorBoardMonitor(tmp_path, ["fc"], sample=(X[:2], Y[:2]), display_step=1)
    fit(model, monitor, epochs=1)
    (tag,) = (t for t in read(tmp_path).Tags()["scalars"] if t.startswith("gradient_norm"))
    kernel = KERNEL
    batches = [Batches()[index] for index in range(5)]
    for event, (x, y) in zip(read(tmp_path).Scalars(tag), batches, strict=True):
        kernel = kernel - 0.1 * gradient(kernel, x, y)
        expected = np.linalg.norm(gradient(kernel, X[:2], Y[:2]))
        assert event.value == pytest.approx(expected, rel=1e-4)


def test_a_run_that_goes_on_counts_on(tmp_path: Path) -> None:
    for first in (0, 2):
        monitor = TensorBoardMonitor(tmp_path, ["fc"], sample=Batches(), display_step=5)
        fit(linear(), monitor, epochs=first + 2, initial_epoch=first)
    assert len(list(tmp_path.iterdir())) == 2
    assert [event.step for event in read(tmp_path).Scalars("batch/loss")] == [5, 10, 15, 20]


def test_frozen_layers_and_the_last_one(tmp_path: Path) -> None:
    fit(linear(), TensorBoardMonitor(tmp_path / "a", ["frozen"], sample=Batches()))
    assert not read(tmp_path / "a").Tags()["histograms"]
    fit(linear(), TensorBoardMonitor(tmp_path / "b", sample=Batches()))
    (tag,) = read(tmp_path / "b").Tags()["histograms"]
    assert tag.endswith("fc/kernel")


def test_gradients_that_are_no_numbers_do_not_end_the_training(tmp_path: Path) -> None:
    model = linear()
    model.trainable_variables[0].assign(np.full((3, 2), np.inf))
    fit(model, TensorBoardMonitor(tmp_path, ["fc"], sample=Batches()))
    events = read(tmp_path)
    (tag,) = (t for t in events.Tags()["scalars"] if t.startswith("gradient_norm"))
    assert not np.isfinite(events.Scalars(tag)[0].value)


def test_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"are frozen, fc\. Received: 'fc9'"):
        fit(linear(), TensorBoardMonitor(tmp_path, ["fc9"], sample=Batches()))
    with pytest.raises(ValueError, match="`display_step` must be at least 1"):
        TensorBoardMonitor(tmp_path, sample=Batches(), display_step=0)
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)
    with pytest.raises(ImportError, match=r'pip install "fcnkeras\[tensorboard\]"'):
        TensorBoardMonitor(tmp_path, sample=Batches())
