"""Training in stages with Keras' own `fit` and callbacks, so that a run that dies can go on."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from fcnkeras.batching import FedPictures, picture_errors
from fcnkeras.files import read_csv, write_csv
from fcnkeras.training.callbacks import BestWeights, EarlyStopping, Plateau, Progress, TrainingState

OPTIMIZERS = ("sgd", "adam", "adamw", "rmsprop", "nadam", "lion")
SCHEDULES = ("plateau", "cosine", "constant")
Row = dict[str, float]


@dataclass(frozen=True)
class Stage:
    """One part of a training.

    Attributes:
        epochs: the most that it takes.
        learning_rate: of its first epoch.
        frozen: "base" trains the head only; a number freezes so many blocks from the picture up,
            0 none; a negative number counts from the end, -1 leaves the last block to be trained.
    """

    epochs: int
    learning_rate: float
    frozen: int | str = 0

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ValueError(f"a stage must have at least 1 epoch. Received: {self.epochs}")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ValueError(f"a learning rate must be above 0. Received: {self.learning_rate}")
        if isinstance(self.frozen, str) and self.frozen != "base":
            raise ValueError(f"`frozen` must be 'base' or a number. Received: {self.frozen!r}")


def parse_stages(text: str) -> tuple[Stage, ...]:
    """Reads stages as the command line writes them.

    Args:
        text: "head:3@1e-3, all:10@1e-4": the head alone for 3 epochs at a learning rate of 0.001,
            then everything; "freeze2:10@1e-4": everything but the first two blocks.

    Raises:
        ValueError: a stage is not written so.
    """
    stages = []
    for piece in text.split(","):
        match = re.fullmatch(r"(head|all|freeze(-?\d+)):(\d+)@([\d.]+(?:e-?\d+)?)", piece.strip())
        if match is None:
            raise ValueError(
                "stages are written as 'head:3@1e-3,all:10@1e-4' or 'freeze2:10@1e-4'. "
                f"Received: {piece.strip()!r}"
            )
        frozen: int | str = "base" if match[1] == "head" else int(match[2] or 0)
        stages.append(Stage(int(match[3]), float(match[4]), frozen))
    return tuple(stages)


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    Attributes:
        stages: one after the other, each from the best weights so far.
        monitor: the figure that chooses the epoch and stops early, of the validation pictures:
            highest for accuracies and correlations, lowest for everything else.
        optimizer: "sgd" (momentum 0.9), "adam", "adamw", "rmsprop", "nadam" or "lion".
        schedule: "plateau" lowers the learning rate when the validation loss has not improved for
            `patience` epochs; "cosine" lets it fall over the stage; "constant".
        factor: by which a plateau lowers it.
        patience: epochs without improvement of the validation loss before that.
        min_learning_rate: below which no schedule goes.
        early_stopping: epochs without improvement of the monitor that end a stage; None for never.
    """

    stages: tuple[Stage, ...]
    monitor: str = "val_loss"
    optimizer: str = "adam"
    schedule: str = "plateau"
    factor: float = 0.2
    patience: int = 3
    min_learning_rate: float = 1e-6
    early_stopping: int | None = None

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError("a training must have a stage. Received: none")
        for name, value, values in (
            ("optimizer", self.optimizer, OPTIMIZERS),
            ("schedule", self.schedule, SCHEDULES),
        ):
            if value not in values:
                raise ValueError(f"`{name}` must be one of {values}. Received: {value!r}")
        for name in ("patience", "early_stopping"):
            given = getattr(self, name)
            if given is not None and given < 1:
                raise ValueError(f"`{name}` must be at least 1. Received: {given}")

    @property
    def epochs(self) -> int:
        """The most epochs in all."""
        return sum(stage.epochs for stage in self.stages)

    @property
    def mode(self) -> str:
        """Whether the monitor should be "max" or "min"."""
        rising = ("accuracy", "srcc", "plcc", "f1", "auc")
        return "max" if self.monitor.endswith(rising) else "min"

    def best(self, history: Sequence[Row]) -> Row:
        """The first of the epochs with the best monitor."""
        known = [row for row in history if not math.isnan(row[self.monitor])]
        return {"min": min, "max": max}[self.mode](known, key=lambda row: row[self.monitor])

    def make_optimizer(self, learning_rate: float) -> keras.optimizers.Optimizer:
        """A new optimizer."""
        if self.optimizer == "sgd":
            return keras.optimizers.SGD(learning_rate, momentum=0.9)
        optimizer = keras.optimizers.get(self.optimizer)
        optimizer.learning_rate = learning_rate
        return optimizer


def fit_stages(
    model: keras.Model,
    train: FedPictures,
    val: FedPictures,
    folder: Path,
    recipe: Recipe,
    *,
    freeze: Callable[[Stage], Any],
    compile_model: Callable[[keras.optimizers.Optimizer], Any],
    callbacks: Callable[[], Sequence[keras.callbacks.Callback]] = tuple,
    tell: Callable[[int, int, dict], Any] = lambda done, total, logs: None,
) -> list[Row]:
    """Trains a model and leaves it with the weights of its best epoch.

    The state after every epoch is kept in `folder`, and a call on the same folder goes on from
    there, with the schedule, the best epoch and what dropout draws as they would have been.

    Args:
        model: for the batches of `train`.
        train: training pictures.
        val: validation pictures; they choose the epoch and drive the schedule.
        folder: for `history.csv`, `best.npz` and `state.npz`; made if missing.
        recipe: how.
        freeze: sets which layers the stage trains; called with every layer as it was after the
            stage before.
        compile_model: compiles the model with an optimizer.
        callbacks: gives more callbacks for each stage.
        tell: progress, see `Progress`.

    Returns:
        The history, a row an epoch: epoch (from 0), stage (from 0), losses and metrics,
        learning_rate, seconds.

    Raises:
        ValueError: training diverged, the state is of another model, or the monitor is none of
            the metrics.
        ImageError: a picture cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    history_file, best_file = folder / "history.csv", folder / "best.npz"
    state = TrainingState(folder / "state.npz")
    history = _go_on_from(state, history_file, best_file)
    reached = recipe.best(history)[recipe.monitor] if history else None
    best = BestWeights(best_file, recipe.monitor, recipe.mode, reached)
    resumed = bool(history)
    for number, stage in enumerate(recipe.stages):
        begun = [row for row in history if row["stage"] == number]
        stop = _early_stopping(recipe, stage, begun)
        left = 0 if stop.is_over else stage.epochs - len(begun)
        if not left:
            continue
        freeze(stage)
        compile_model(recipe.make_optimizer(stage.learning_rate))
        if resumed:
            state.restore(model, optimizer=bool(begun))
            resumed = False
        if history and not begun:
            best.restore(model)
        log = keras.callbacks.CSVLogger(str(history_file), append=True)
        own = [
            Progress(tell, recipe.epochs, len(train), {"stage": number}),
            keras.callbacks.TerminateOnNaN(),
            *_schedule(recipe, stage, begun, len(history)),
            *callbacks(),
            log,
            stop,
            best,
            state,  # last, so that what the others wrote is at most one epoch ahead of it
        ]
        with _closed(log):
            _fit(model, train, val, range(len(history), len(history) + left), own)
        history = _read_history(history_file)
        _check_finite(history, stage)
    best.restore(model)
    return history


def _fit(
    model: keras.Model,
    train: FedPictures,
    val: FedPictures,
    epochs: range,
    callbacks: Sequence[keras.callbacks.Callback],
) -> None:
    """Keras' own `fit` for these epochs, in the order of pictures that they always have."""
    train.start_at(epochs.start)
    with picture_errors(train, val):
        model.fit(
            train,
            validation_data=val,
            epochs=epochs.stop,
            initial_epoch=epochs.start,
            shuffle=False,  # `train` does that by its seed; Keras would by the process's
            verbose=0,
            callbacks=list(callbacks),
        )


def jit_compile_mode() -> bool | str:
    """`jit_compile` for pictures of many shapes: XLA would compile anew for each, and is slow on a
    CPU; JAX needs it."""
    return "auto" if keras.backend.backend() == "jax" else False


def _early_stopping(recipe: Recipe, stage: Stage, begun: Sequence[Row]) -> EarlyStopping:
    """What ends the stage, which has gone through these epochs."""
    patience = recipe.early_stopping or stage.epochs
    return EarlyStopping(
        recipe.monitor, recipe.mode, patience, [row[recipe.monitor] for row in begun]
    )


def _schedule(
    recipe: Recipe, stage: Stage, begun: Sequence[Row], epoch: int
) -> list[keras.callbacks.Callback]:
    """The callback that moves the learning rate, if one does."""
    if recipe.schedule == "plateau":
        losses = [row["val_loss"] for row in begun]
        floor = min(recipe.min_learning_rate, stage.learning_rate)
        return [Plateau(losses, factor=recipe.factor, patience=recipe.patience, min_lr=floor)]
    if recipe.schedule == "cosine":
        first, floor = epoch - len(begun), recipe.min_learning_rate

        def rate(epoch: int, before: float) -> float:
            share = (1 + math.cos(math.pi * (epoch - first) / stage.epochs)) / 2
            return floor + max(0.0, stage.learning_rate - floor) * share

        return [keras.callbacks.LearningRateScheduler(rate)]
    return []


def _check_finite(history: Sequence[Row], stage: Stage) -> None:
    if not all(math.isfinite(row["val_loss"]) for row in history):
        raise ValueError(
            "Training diverged, the loss is not a number: lower the learning rate. "
            f"Received: {stage.learning_rate:g}"
        )


@contextmanager
def _closed(log: keras.callbacks.CSVLogger) -> Iterator[None]:
    """Closes a log's file also where training fails."""
    try:
        yield
    finally:
        log.on_train_end()


def _go_on_from(state: TrainingState, history_file: Path, best_file: Path) -> list[Row]:
    """The history up to the saved state; an epoch that was logged and not saved is run again."""
    epochs = state.epochs
    rows = read_csv(history_file)[:epochs]
    if not rows or len(rows) < epochs or not best_file.exists():
        for file in (state.file, history_file, best_file):
            file.unlink(missing_ok=True)
        return []
    write_csv(history_file, rows, list(rows[0]))
    return _read_history(history_file)


def _read_history(path: Path) -> list[Row]:
    return [{key: float(value) for key, value in row.items()} for row in read_csv(path)]
