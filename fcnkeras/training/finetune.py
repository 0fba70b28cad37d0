"""Fine-tuning of one classifier, as the experiments do it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from fcnkeras.batching import FedPictures
from fcnkeras.training.stages import Recipe, Stage, fit_stages, jit_compile_mode


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
    fifth when the validation loss has not improved for `patience` epochs, down to its floor. A call
    on the same folder goes on where one before it was interrupted, see `fit_stages`.

    Args:
        model: gives probabilities (batch, classes) for the batches of `train`.
        train: training pictures.
        val: validation pictures; they choose the epoch and drive the schedule.
        folder: for `history.csv`, `best.npz` and `state.npz`; made if missing.
        epochs: epochs in all.
        learning_rate: of the first epochs.
        min_learning_rate: its floor.
        patience: epochs without improvement before it falls.
        tell: progress, see `callbacks.Progress`.

    Returns:
        The history, a row an epoch: epoch (from 0), stage (0), loss, accuracy, val_loss,
        val_accuracy, learning_rate, seconds.

    Raises:
        ValueError: training diverged, or the state is of another model.
        ImageError: a picture cannot be read.
    """
    recipe = Recipe(
        (Stage(epochs, learning_rate),),
        monitor="val_accuracy",
        optimizer="sgd",
        patience=patience,
        min_learning_rate=min_learning_rate,
    )

    def compile_model(optimizer: keras.optimizers.Optimizer) -> None:
        model.compile(
            optimizer=optimizer,
            loss="sparse_categorical_crossentropy",
            metrics=["accuracy"],
            jit_compile=jit_compile_mode(),
        )

    return fit_stages(
        model,
        train,
        val,
        folder,
        recipe,
        freeze=lambda stage: None,
        compile_model=compile_model,
        tell=tell,
    )
