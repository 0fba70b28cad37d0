"""What Keras' callbacks lack: schedules and a state that an interruption does not change."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from fcnkeras.files import write_atomically


class Progress(keras.callbacks.Callback):
    """Calls `tell(done, total, logs)` after every batch and every epoch, and logs the epoch's
    learning rate and seconds, validation included.

    Args:
        tell: gets the batches done and in all, as seen from the first epoch, and the logs.
        epochs: epochs in all.
        steps: batches in an epoch.
        extra: what else is logged with every epoch.
    """

    def __init__(
        self,
        tell: Callable[[int, int, dict], Any],
        epochs: int,
        steps: int,
        extra: dict[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.tell = tell
        self.total = epochs * steps
        self.steps = steps
        self.extra = extra or {}
        self.done = 0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.done = epoch * self.steps
        self.start = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self.done += 1
        self.tell(self.done, self.total, {})

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        logs = logs if logs is not None else {}
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        logs |= {**self.extra, "learning_rate": rate, "seconds": time.perf_counter() - self.start}
        self.tell(self.done, self.total, dict(logs, epoch=epoch + 1))


class Plateau(keras.callbacks.ReduceLROnPlateau):
    """Keras' plateau schedule, which also remembers the epochs before an interruption.

    Args:
        losses: the validation losses so far.
    """

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
        if best is not None:
            self.best = best


class EarlyStopping(keras.callbacks.Callback):
    """Stops when a figure has not improved for some epochs, those before an interruption included.

    Args:
        monitor: name of the figure.
        mode: "min" or "max".
        patience: epochs without improvement.
        before: the figures so far.
    """

    def __init__(self, monitor: str, mode: str, patience: int, before: Sequence[float]) -> None:
        super().__init__()
        self.monitor, self.mode, self.patience = monitor, mode, patience
        self.values = list(before)

    @property
    def is_over(self) -> bool:
        """Whether the best of the figures is `patience` epochs old."""
        if not self.values:
            return False
        best = {"min": np.nanargmin, "max": np.nanargmax}[self.mode](self.values)
        return len(self.values) - 1 - int(best) >= self.patience

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        logs = logs or {}
        if self.monitor not in logs:
            names = ", ".join(name for name in logs if name.startswith("val_"))
            raise ValueError(f"`monitor` must be one of {names}. Received: {self.monitor}")
        self.values.append(logs[self.monitor])
        if np.isnan(self.values).all() or self.is_over:
            self.model.stop_training = True


class BestWeights(keras.callbacks.Callback):
    """Keeps the weights of the epoch with the best figure in one file, whole or not there.

    Keras' ModelCheckpoint writes in place, and keeps the optimizer with the weights, which is
    another one in the next stage.

    Args:
        file: a .npz file.
        monitor: name of the figure.
        mode: "min" or "max".
        best: the best figure so far; None for none.
    """

    def __init__(self, file: Path, monitor: str, mode: str, best: float | None) -> None:
        super().__init__()
        self.file, self.monitor = file, monitor
        self.better = {"min": np.less, "max": np.greater}[mode]
        self.best = best

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        value = (logs or {})[self.monitor]
        if not np.isnan(value) and (self.best is None or self.better(value, self.best)):
            self.best = value
            arrays = [keras.ops.convert_to_numpy(weight) for weight in self.model.weights]
            write_atomically(self.file, lambda path: np.savez(path, *arrays))

    def restore(self, model: keras.Model) -> None:
        """Gives the model the weights in the file."""
        with np.load(self.file) as saved:
            model.set_weights([saved[f"arr_{i}"] for i in range(len(saved.files))])


class TrainingState(keras.callbacks.Callback):
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

    def restore(self, model: keras.Model, *, optimizer: bool = True) -> None:
        """Brings back the model's variables, its random states included.

        Args:
            model: compiled.
            optimizer: whether its optimizer goes on too, or begins a stage of its own.

        Raises:
            ValueError: the state is of another model.
        """
        variables = list(model.variables)
        if optimizer:
            model.optimizer.build(model.trainable_variables)
            variables += model.optimizer.variables
        with np.load(self.file) as saved:
            arrays = [saved[f"arr_{i}"] for i in range(len(saved.files) - 1)]
        if not optimizer:
            arrays = arrays[: len(variables)]
        if [array.shape for array in arrays] != [tuple(v.shape) for v in variables]:
            raise ValueError(f"{self.file} must be a state of this model; it is another model's.")
        for variable, array in zip(variables, arrays, strict=True):
            variable.assign(array)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        variables = [*self.model.variables, *self.model.optimizer.variables]
        arrays = [keras.ops.convert_to_numpy(variable) for variable in variables]
        write_atomically(self.file, lambda path: np.savez(path, *arrays, epochs=epoch + 1))
