"""Tasks with scores: one number in a range, and the distribution of many people's scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np

from fcnkeras.data.ava import COUNTS
from fcnkeras.data.columns import Column, DistributionColumn, ScoreColumn
from fcnkeras.tasks import fit_metrics, losses, metrics
from fcnkeras.tasks.task import Results, Task

REACH: Mapping[str, tuple[float, float]] = {"tanh": (-1.0, 1.0), "sigmoid": (0.0, 1.0)}


@dataclass(frozen=True)
class ScoreTask(Task):
    """A number in a range.

    Attributes:
        low, high: the least and the greatest label.
        output: the activation whose range they are mapped to: "tanh" (-1 to 1) or "sigmoid".
        column: the column of a table; by default the task's name.
    """

    kind: ClassVar[str] = "score"
    target: ClassVar[str] = "score"

    low: float = 0.0
    high: float = 1.0
    output: str = "sigmoid"
    column: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.output not in REACH:
            raise ValueError(
                f"the output of {self.name} must be tanh or sigmoid. Received: {self.output!r}"
            )
        self.as_column()  # checks the range

    @property
    def size(self) -> int:
        return 1

    def output_layer(self) -> keras.Layer:
        return keras.layers.Activation(self.output, name=self.name, dtype="float32")

    def mapped(self, values: np.ndarray) -> np.ndarray:
        """Labels as outputs: `low` to `high` on the range of the activation."""
        first, last = REACH[self.output]
        return first + (np.asarray(values) - self.low) * (last - first) / (self.high - self.low)

    def unmapped(self, output: np.ndarray) -> np.ndarray:
        """Outputs as labels."""
        first, last = REACH[self.output]
        return self.low + (np.asarray(output) - first) * (self.high - self.low) / (last - first)

    def loss(self) -> keras.losses.Loss:
        return losses.ScoreLoss(self.low, self.high, REACH[self.output], name=self.name)

    def metrics(self) -> list[keras.metrics.Metric]:
        return [fit_metrics.ScoreMAE(self.low, self.high, REACH[self.output])]

    def as_column(self) -> Column:
        return ScoreColumn(self.name, self.low, self.high, self.column)

    @property
    def result_names(self) -> tuple[str, ...]:
        return (self.name,)

    def results(self, output: np.ndarray) -> Results:
        return {self.name: self.unmapped(output[:, 0])}

    def errors(self, values: np.ndarray, output: np.ndarray) -> np.ndarray:
        return np.abs(self.unmapped(output[:, 0].astype("float64")) - values)

    def evaluate(self, values: np.ndarray, output: np.ndarray) -> dict[str, Any]:
        return _score_figures(values, self.unmapped(output[:, 0].astype("float64")))


@dataclass(frozen=True)
class DistributionTask(Task):
    """How many people give each of the scores 1 to N.

    Attributes:
        columns: the columns of a table with the votes, from the score 1 upwards; by default
            count1 to count10.
        threshold: where a high mean begins, for the accuracy of high against low; None for none.
    """

    kind: ClassVar[str] = "distribution"
    target: ClassVar[str] = "distribution"

    columns: tuple[str, ...] = COUNTS
    threshold: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.as_column()  # checks that there are two columns or more
        if self.threshold is not None and not 1 < self.threshold < self.size:
            raise ValueError(
                f"the threshold of {self.name} must be between the scores 1 and {self.size}. "
                f"Received: {self.threshold}"
            )

    @property
    def size(self) -> int:
        return len(self.columns)

    def output_layer(self) -> keras.Layer:
        return keras.layers.Activation("softmax", name=self.name, dtype="float32")

    def loss(self) -> keras.losses.Loss:
        return losses.DistributionLoss(name=self.name)

    def metrics(self) -> list[keras.metrics.Metric]:
        return [fit_metrics.EMD(name="emd"), fit_metrics.MeanScoreMAE(name="mean_mae")]

    def as_column(self) -> Column:
        return DistributionColumn(self.name, self.columns)

    @property
    def result_names(self) -> tuple[str, ...]:
        scores = (f"{self.name}_{score}" for score in range(1, self.size + 1))
        return (f"{self.name}_mean", f"{self.name}_std", *scores)

    def results(self, output: np.ndarray) -> Results:
        mean, std = metrics.distribution_moments(output)
        return dict(zip(self.result_names, (mean, std, *output.T), strict=True))

    def errors(self, values: np.ndarray, output: np.ndarray) -> np.ndarray:
        return metrics.emd(values, output)

    def evaluate(self, values: np.ndarray, output: np.ndarray) -> dict[str, Any]:
        (mean, std), (found, spread) = map(metrics.distribution_moments, (values, output))
        figures = _score_figures(mean, found)
        figures["emd"] = float(metrics.emd(values, output).mean())
        figures["std_srcc"] = metrics.srcc(std, spread)
        if self.threshold is not None:
            hits = metrics.threshold_hits(mean, found, self.threshold)
            right, total = int(hits.sum()), len(hits)
            figures |= {
                f"accuracy_above_{self.threshold:g}": right / total,
                "accuracy_interval": list(metrics.wilson_interval(right, total)),
                "protocol": f"high: mean score above {self.threshold:g}; low: up to it; "
                "no record left out",
            }
        return figures


def _score_figures(true: np.ndarray, found: np.ndarray) -> dict[str, Any]:
    return {
        "records": len(true),
        "srcc": metrics.srcc(true, found),
        "plcc": metrics.plcc(true, found),
        "rmse": metrics.rmse(true, found),
        "mae": metrics.mae(true, found),
    }
