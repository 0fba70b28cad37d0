"""Fine-tuning with Keras' own `fit` and callbacks, so that a run that dies can go on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras.layers import BatchNormalization

from fcnkeras.batching import FedPictures, picture_errors
from fcnkeras.convert.graph import trace
from fcnkeras.files import read_csv, write_atomically, write_csv


def freeze_blocks(model: keras.Model, blocks: Sequence[str], count: int) -> None:
    """Freezes the first `count` blocks, and the BatchNormalization of all.

    A frozen BatchNormalization layer keeps its means and deviations; with small batches of few
    pictures, new ones would be noise.

    Args:
        model: a network whose layers bear the names of its spec.
        blocks: the last layer of each block, from the picture up.
        count: 0 freezes no block; a negative number counts from the end, -1 leaves the last
            block to be trained.

    Raises:
        ValueError: there are fewer blocks, or the model has no layer of the block's name.
    """
    if not -len(blocks) <= count <= len(blocks):
        raise ValueError(
            f"`frozen` must be from -{len(blocks)} to {len(blocks)}. Received: {count}"
        )
    count = count if count >= 0 else len(blocks) + count
    graph = trace(model)
    frozen = {layer for layer in graph.layers() if isinstance(layer, BatchNormalization)}
    wanted = {
        ref for c in graph.calls if count and c.layer.name == blocks[count - 1] for ref in c.outputs
    }
    if count and not wanted:
        raise ValueError(
            f"Model '{model.name}' has no layer '{blocks[count - 1]}' to freeze up to."
        )
    for call in reversed(graph.calls):  # what the block's last layer reads, and what that reads
        if wanted.intersection(call.outputs):
            frozen.add(call.layer)
            wanted.update(call.inputs)
    for layer in frozen:
        layer.trainable = False


class Progress(keras.callbacks.Callback):
    """Calls `tell(done, total, logs)` after every batch and every epoch, and logs the epoch's
    seconds, validation included.

    Args:
        tell: gets the batches done and in all, as seen from the first epoch, and the logs.
        epochs: epochs in all.
        steps: batches in an epoch.
    """

    def __init__(self, tell: Callable[[int, int, dict], Any], epochs: int, steps: int) -> None:
        super().__init__()
        self.tell = tell
        self.total = epochs * steps
        self.steps = steps
        self.done = 0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.done = epoch * self.steps
        self.start = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self.done += 1
        self.tell(self.done, self.total, {})

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        logs = logs if logs is not None else {}
        logs["seconds"] = time.perf_counter() - self.start
        self.tell(self.done, self.total, dict(logs, epoch=epoch + 1))


def finetune(
    model: keras.Model,
    train: FedPictures,
    val: FedPictures,
    folder: Path,
    *,
    epochs: int = 20,
    learning_rate: float = 0.001,
    min_learning_rate: float = 0.0001,
    patience: int = 3,
    tell: Callable[[int, int, dict], Any] = lambda done, total, logs: None,
) -> list[dict[str, float]]:
    """Trains a classifier and leaves it with the weights of the epoch of best validation accuracy.

    Stochastic gradient descent with momentum 0.9 on the cross-entropy; the learning rate falls to a
    fifth when the validation loss has not improved for `patience` epochs, down to its floor. The
    state after every epoch is kept in `folder`, and a call on the same folder goes on from there,
    with the schedule, the best epoch and what dropout draws as they would have been.

    Args:
        model: gives probabilities (batch, classes) for the batches of `train`.
        train: training pictures.
        val: validation pictures; they choose the epoch and drive the schedule.
        folder: for `history.csv`, `best.weights.h5` and `state.npz`; made if missing.
        epochs: epochs in all.
        learning_rate: of the first epochs.
        min_learning_rate: its floor.
        patience: epochs without improvement before it falls.
        tell: progress, see `Progress`.

    Returns:
        The history, a row an epoch: epoch (from 0), loss, accuracy, val_loss, val_accuracy,
        learning_rate, seconds.

    Raises:
        ValueError: training diverged, or the state is of another model.
        ImageError: a picture cannot be read.
    """
    history_file, best_file = folder / "history.csv", folder / "best.weights.h5"
    folder.mkdir(parents=True, exist_ok=True)
    state = _State(folder / "state.npz")
    before = _go_on_from(state, history_file, best_file)
    train.start_at(len(before))
    model.compile(
        optimizer=keras.optimizers.SGD(learning_rate, momentum=0.9),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        # XLA would compile anew for every picture shape, and is slow on a CPU; JAX needs it.
        jit_compile="auto" if keras.backend.backend() == "jax" else False,
    )
    if before:
        state.restore(model)
    losses = [row["val_loss"] for row in before]
    log = keras.callbacks.CSVLogger(str(history_file), append=True)
    callbacks = [
        Progress(tell, epochs, len(train)),
        keras.callbacks.TerminateOnNaN(),
        _Plateau(losses, factor=0.2, patience=patience, min_lr=min_learning_rate),
        log,
        keras.callbacks.ModelCheckpoint(
            str(best_file),
            monitor="val_accuracy",
            mode="max",
            save_best_only=True,
            save_weights_only=True,
            initial_value_threshold=best_epoch(before)["val_accuracy"] if before else None,
        ),
        state,  # last, so that what the others wrote is at most one epoch ahead of it
    ]
    if len(before) < epochs:
        with picture_errors(train, val), _closed(log):
            model.fit(
                train,
                validation_data=val,
                epochs=epochs,
                initial_epoch=len(before),
                shuffle=False,  # `train` does that by its seed; Keras would by the process's
                verbose=0,
                callbacks=callbacks,
            )
    history = _history(history_file)
    if not all(math.isfinite(row["val_loss"]) for row in history):
        raise ValueError(
            "Training diverged, the loss is not a number: lower the learning rate. "
            f"Received: {learning_rate:g}"
        )
    model.load_weights(best_file)
    return history


@contextmanager
def _closed(log: keras.callbacks.CSVLogger) -> Iterator[None]:
    """Closes a log's file also where training fails."""
    try:
        yield
    finally:
        log.on_train_end()


def best_epoch(history: Sequence[dict[str, float]]) -> dict[str, float]:
    """The row of the epoch with the highest validation accuracy, the first of several."""
    return max(history, key=lambda row: row["val_accuracy"])


class _Plateau(keras.callbacks.ReduceLROnPlateau):
    """Keras' plateau schedule, which also remembers the epochs before an interruption."""

    def __init__(self, losses: Sequence[float], **kwargs: Any) -> None:
        super().__init__(monitor="val_loss", mode="min", **kwargs)
        self._losses = list(losses)

    def on_train_begin(self, logs: dict | None = None) -> None:
        super().on_train_begin(logs)
        best: float | None = None
        for loss in self._losses:
            if best is None or loss < best - self.min_delta:
                best, self.wait = loss, 0
            else:
                self.wait = (self.wait + 1) % self.patience
        self.best = best


class _State(keras.callbacks.Callback):
    """Keeps all that the next epoch depends on in one file, which is whole or not there.

    Keras' BackupAndRestore writes its files in place, where a kill may leave them cut or at odds,
    and leaves out the state of the random numbers that dropout draws.
    """

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file

    @property
    def epochs(self) -> int:
        """The epochs that are behind the state; 0 without one."""
        if not self.file.exists():
            return 0
        with np.load(self.file) as saved:
            return int(saved["epochs"])

    def restore(self, model: keras.Model) -> None:
        model.optimizer.build(model.trainable_variables)
        variables = _variables(model)
        with np.load(self.file) as saved:
            arrays = [saved[f"arr_{i}"] for i in range(len(saved.files) - 1)]
        if [array.shape for array in arrays] != [tuple(v.shape) for v in variables]:
            raise ValueError(f"{self.file} must be a state of this model; it is another model's.")
        for variable, array in zip(variables, arrays, strict=True):
            variable.assign(array)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        arrays = [keras.ops.convert_to_numpy(variable) for variable in _variables(self.model)]
        write_atomically(self.file, lambda path: np.savez(path, *arrays, epochs=epoch + 1))


def _variables(model: keras.Model) -> list[Any]:
    return [*model.variables, *model.optimizer.variables]


def _go_on_from(state: _State, history_file: Path, best_file: Path) -> list[dict[str, float]]:
    """The history up to the saved state; an epoch that was logged and not saved is run again."""
    epochs = state.epochs
    rows = read_csv(history_file)[:epochs]
    if not rows or len(rows) < epochs or not best_file.exists():
        for file in (state.file, history_file, best_file):
            file.unlink(missing_ok=True)
        return []
    write_csv(history_file, rows, list(rows[0]))
    return _history(history_file)


def _history(path: Path) -> list[dict[str, float]]:
    return [{key: float(value) for key, value in row.items()} for row in read_csv(path)]
