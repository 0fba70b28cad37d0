"""What is predicted, as data: heads, losses, metrics, columns and figures follow from a task.

| kind | task | output of the head | encoded target |
|---|---|---|---|
| classes | `ClassTask` | probabilities (n, K), softmax | "class": index (n,) |
| groups | `GroupTask` | sums of another task's (n, groups) | "class": index (n,) |
| labels | `LabelsTask` | probabilities (n, names), sigmoid | "labels": 0, 1 or NaN (n, names) |
| score | `ScoreTask` | (n, 1), tanh or sigmoid | "score": (n,), in the labels' range |
| distribution | `DistributionTask` | shares (n, N), softmax | "distribution": shares (n, N) |
| hue | `HueTask` | (n, 3), (n, 13) or (n, 10) | "hue": cosine, sine, black (n, 3) |

Encoded targets are those of `fcnkeras.encoding`. The name of a task is that of the target in
`Record.targets`, and of the model's output.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np

from fcnkeras.data.columns import Column

Results = dict[str, np.ndarray]
"""Named values, (n,) each: numbers, or the names of classes and hues."""


@dataclass(frozen=True)
class Task:
    """What all kinds of task have in common.

    Attributes:
        name: of the target and of the output: letters, digits and underscores.
        weight: how much its loss counts beside those of the other tasks.
    """

    kind: ClassVar[str]
    target: ClassVar[str]  # the kind of its encoded target

    name: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z]\w*", self.name, re.ASCII):
            raise ValueError(
                "the name of a task must be a letter, then letters, digits and underscores. "
                f"Received: {self.name!r}"
            )
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise ValueError(f"the weight of {self.name} must be above 0. Received: {self.weight}")

    @property
    def size(self) -> int:
        """How many numbers its Dense layer gives; 0 if it has none."""
        raise NotImplementedError

    def output_layer(self) -> keras.Layer:
        """The layer from those numbers to the output, named as the task, in float32."""
        raise NotImplementedError

    def loss(self) -> keras.losses.Loss:
        """Its loss, on the scale of `fcnkeras.tasks.losses`."""
        raise NotImplementedError

    def metrics(self) -> list[keras.metrics.Metric]:
        """What `fit` shows beside the loss; for `weighted_metrics`."""
        raise NotImplementedError

    def as_column(self) -> Column:
        """The column or columns of a table that tell it."""
        raise NotImplementedError

    @property
    def result_names(self) -> tuple[str, ...]:
        """The names of `results`, in their order."""
        raise NotImplementedError

    def results(self, output: np.ndarray) -> Results:
        """A raw output as named values, for tables and scoring.

        Args:
            output: of the model, (n, values).

        Returns:
            (n,) arrays by the `result_names`.
        """
        raise NotImplementedError

    def errors(self, values: np.ndarray, output: np.ndarray) -> np.ndarray:
        """How wrong each record is, (n,) float64, the more the worse: for a gallery.

        Args:
            values: encoded targets, all known.
            output: of the model, (n, values).
        """
        raise NotImplementedError

    def evaluate(self, values: np.ndarray, output: np.ndarray) -> dict[str, Any]:
        """The figures of merit.

        Args:
            values: encoded targets, all known, at least one.
            output: of the model, (n, values).

        Returns:
            Figures by name, and for classes tables, as JSON can hold them but for NaN, where a
            figure has no meaning.
        """
        raise NotImplementedError
