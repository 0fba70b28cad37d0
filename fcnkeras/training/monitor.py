"""What a training does, for TensorBoard: its figures, and the gradients of chosen layers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from fcnkeras.convert.graph import trace
from fcnkeras.explain.gradients import loss_gradients

BUCKETS = 30  # of a histogram


class TensorBoardMonitor(keras.callbacks.Callback):
    """Writes loss, metrics and gradients every few batches, to be looked at with
    `tensorboard --logdir FOLDER`.

    | tag | what | step |
    |---|---|---|
    | batch/<name> | loss and metrics, the mean of the epoch so far, as Keras logs them | batches |
    | gradient/<layer>/<variable> | histogram | batches |
    | gradient_norm/<layer>/<variable> | its Euclidean norm | batches |
    | epoch/<name> | whatever is logged at the end of an epoch | epochs |

    The gradients are those of the loss after the batch's step, without dropout and with the
    statistics that normalisation would predict with. Each costs as much as two to five steps. A
    layer that is frozen, as in a first stage, has none.

    Works on every backend: TensorBoard's own writer needs no TensorFlow.

    Args:
        folder: for the event files, made if missing; one more for each call of `fit`.
        layers: names of layers, those of nested models included, whose gradients are written; by
            default the last one that has weights.
        display_step: batches from one entry to the next.
        sample: what the gradients are of: the `PyDataset` that is given to `fit`, without
            `shuffle`, for the batch just trained; or one batch, (x, y) or (x, y, sample_weight),
            which stays the same.

    Raises:
        ImportError: tensorboard is not installed; the message says how to get it.
        ValueError: `display_step` is below 1; and from `fit`, the model has no layer of a name, or
            the layer no weights.

    Example:
        >>> monitor = TensorBoardMonitor("logs", layers=["fc7", "fc8"], sample=train)
        >>> model.fit(train, epochs=10, shuffle=False, callbacks=[monitor])
    """

    def __init__(
        self,
        folder: Path | str,
        layers: Sequence[str] | None = None,
        *,
        sample: keras.utils.PyDataset | Sequence[Any],
        display_step: int = 3,
    ) -> None:
        super().__init__()
        if display_step < 1:
            raise ValueError(f"`display_step` must be at least 1. Received: {display_step}")
        self._open, self._event = load_tensorboard()
        self.folder = Path(folder)
        self.layers = layers
        self.display_step = display_step
        self.sample = sample
        self.step = 0

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._paths = self._chosen()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._writer = self._open(str(self.folder))

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        # So that a run that goes on, or a next stage, counts on.
        self.step = epoch * (self.params["steps"] or 0)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self.step += 1
        if self.step % self.display_step:
            return
        for name, value in (logs or {}).items():
            self._write(self.step, f"batch/{name}", simple_value=float(value))
        if self._paths:
            found = loss_gradients(self.model, *self._batch(batch), training=False)
            for path in self._paths:
                norm = float(np.linalg.norm(found[path]))
                self._write(self.step, f"gradient_norm/{path}", simple_value=norm)
                self._write(self.step, f"gradient/{path}", histo=_histogram(found[path]))
        self._writer.flush()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        for name, value in (logs or {}).items():
            self._write(epoch + 1, f"epoch/{name}", simple_value=float(value))
        self._writer.flush()

    def on_train_end(self, logs: dict | None = None) -> None:
        self._writer.close()

    def _batch(self, index: int) -> Sequence[Any]:
        return self.sample[index] if isinstance(self.sample, keras.utils.PyDataset) else self.sample

    def _chosen(self) -> list[str]:
        """The paths of the trainable variables of the chosen layers."""
        weighty = {layer.name: layer for layer in trace(self.model).layers() if layer.weights}
        names = list(weighty)[-1:] if self.layers is None else self.layers
        for name in names:
            if name not in weighty:
                raise ValueError(
                    f"`layers` must name layers with weights, the last of '{self.model.name}' are "
                    f"{', '.join(list(weighty)[-8:])}. Received: {name!r}"
                )
        trained = {id(variable) for variable in self.model.trainable_variables}
        variables = (variable for name in names for variable in weighty[name].weights)
        return [variable.path for variable in variables if id(variable) in trained]

    def _write(self, step: int, tag: str, **value: Any) -> None:
        summary = {"value": [{"tag": tag, **value}]}
        self._writer.add_event(self._event(wall_time=time.time(), step=step, summary=summary))


def _histogram(values: np.ndarray) -> dict[str, Any]:
    """The fields of TensorBoard's HistogramProto; what is not a number does not count."""
    values = values[np.isfinite(values)]
    if not values.size:
        return {}
    counts, edges = np.histogram(values, BUCKETS)
    return {
        "min": values.min(),
        "max": values.max(),
        "num": values.size,
        "sum": values.sum(dtype="float64"),
        "sum_squares": np.square(values, dtype="float64").sum(),
        "bucket_limit": edges[1:],
        "bucket": counts,
    }


def load_tensorboard() -> tuple[Any, Any]:
    """Its writer and its kind of message."""
    try:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.event_file_writer import EventFileWriter
    except ImportError as error:
        raise ImportError(
            "The monitor needs tensorboard, which is not installed: "
            'pip install "fcnkeras[tensorboard]".'
        ) from error
    return EventFileWriter, Event
