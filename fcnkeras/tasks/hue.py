"""The task of a hue on the colour wheel, in three encodings that can be compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np

from fcnkeras.data.columns import Column, HueColumn
from fcnkeras.tasks import fit_metrics, losses, metrics
from fcnkeras.tasks.outputs import HueVector
from fcnkeras.tasks.task import Results, Task
from fcnkeras.tasks.wheel import BLACK, CODES, NAMES, PLACES, decode, place_of

ENCODINGS: dict[str, tuple[int, Callable[..., keras.losses.Loss]]] = {
    "vector": (3, losses.HueLoss),
    "softmax": (PLACES, losses.HueClassLoss),
    "embedding": (CODES.shape[1], losses.HueCodeLoss),
}
"""The numbers of each encoding's output, and its loss."""


@dataclass(frozen=True)
class HueTask(Task):
    """A hue, or black.

    Attributes:
        encoding: "vector": a point of the unit circle, which reaches every hue and knows no seam,
            and black as a flag of its own; "softmax": a class of twelve hues and black;
            "embedding": ten numbers, compared with a fixed code of each of these colours.
        column: the column of a table; by default the task's name.
    """

    kind: ClassVar[str] = "hue"
    target: ClassVar[str] = "hue"

    encoding: str = "vector"
    column: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.encoding not in ENCODINGS:
            raise ValueError(
                f"the encoding of {self.name} must be one of {', '.join(ENCODINGS)}. "
                f"Received: {self.encoding!r}"
            )

    @property
    def size(self) -> int:
        return ENCODINGS[self.encoding][0]

    def output_layer(self) -> keras.Layer:
        if self.encoding == "vector":
            return HueVector(name=self.name, dtype="float32")
        activation = "softmax" if self.encoding == "softmax" else "linear"
        return keras.layers.Activation(activation, name=self.name, dtype="float32")

    def loss(self) -> keras.losses.Loss:
        return ENCODINGS[self.encoding][1](name=self.name)

    def metrics(self) -> list[keras.metrics.Metric]:
        return [fit_metrics.HueDegrees(self.encoding), fit_metrics.WheelAccuracy(self.encoding)]

    def as_column(self) -> Column:
        return HueColumn(self.name, self.column)

    @property
    def result_names(self) -> tuple[str, ...]:
        return (self.name, f"{self.name}_degrees", f"{self.name}_black")

    def results(self, output: np.ndarray) -> Results:
        hues, places = self._decoded(output)
        degrees = np.degrees(np.arctan2(hues[:, 1], hues[:, 0])) % 360.0
        values = (np.array(NAMES)[places], degrees, hues[:, 2])
        return dict(zip(self.result_names, values, strict=True))

    def errors(self, values: np.ndarray, output: np.ndarray) -> np.ndarray:
        """Degrees; 180 where black was taken for a hue, or a hue for black."""
        hues, _ = self._decoded(output)
        black, found = values[:, 2] > 0.5, hues[:, 2] > 0.5
        degrees = np.where(black, 0.0, metrics.hue_errors(values, hues))
        return np.where(black == found, degrees, 180.0)

    def evaluate(self, values: np.ndarray, output: np.ndarray) -> dict[str, Any]:
        hues, places = self._decoded(output)
        colour = values[:, 2] <= 0.5
        degrees = metrics.hue_errors(values[colour], hues[colour])
        true = _places(values)
        matrix = metrics.confusion_matrix(true, places, PLACES)
        right, total = int((true == places).sum()), len(values)
        return {
            "records": total,
            "records_not_black": int(colour.sum()),
            "degrees_mean": float(degrees.mean()) if colour.any() else float("nan"),
            "degrees_median": float(np.median(degrees)) if colour.any() else float("nan"),
            "wheel_accuracy": right / total,
            "wheel_accuracy_interval": list(metrics.wilson_interval(right, total)),
            "black_accuracy": float(((places == BLACK) == (true == BLACK)).mean()),
            "per_class": metrics.class_table(matrix, NAMES),
            "confusion": matrix.tolist(),
        }

    def _decoded(self, output: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        hues = decode(keras.ops.convert_to_tensor(output, "float32"), self.encoding)
        found = keras.ops.convert_to_numpy(hues).astype("float64")
        return found, _places(hues)


def _places(hues: Any) -> np.ndarray:
    """The place on the wheel of each hue (n, 3), (n,) int64."""
    places = place_of(keras.ops.convert_to_tensor(hues, "float32"))
    return keras.ops.convert_to_numpy(places).astype("int64")
