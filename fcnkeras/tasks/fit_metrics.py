"""Keras metrics that `fit` shows beside the losses, in the units of the labels.

Give them as `weighted_metrics`, so that records without the label do not count.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from fcnkeras.tasks.wheel import decode, place_of


class _Mean(keras.metrics.Mean):
    """The mean of a value of each record, over the records' weights."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        true, output = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
        weights = ops.ones_like(output[:, 0]) if sample_weight is None else sample_weight
        weights = ops.cast(ops.reshape(weights, (-1,)), "float32")
        values, counted = self.judge(true, output)
        super().update_state(values, weights * counted)

    def judge(self, true: Any, output: Any) -> tuple[Any, Any]:
        """The value of each record, and how much it counts."""
        raise NotImplementedError


@keras.saving.register_keras_serializable("fcnkeras")
class LabelsAccuracy(_Mean):
    """The share of the known labels of a record that are right; NaN is not known."""

    def judge(self, true: Any, output: Any) -> tuple[Any, Any]:
        known = ops.cast(ops.logical_not(ops.isnan(true)), "float32")
        right = ops.cast((true > 0.5) == (output > 0.5), "float32") * known
        count = ops.sum(known, axis=-1)
        return ops.sum(right, axis=-1) / ops.maximum(count, 1.0), ops.minimum(count, 1.0)


@keras.saving.register_keras_serializable("fcnkeras")
class ScoreMAE(_Mean):
    """The mean absolute error in the labels' range; for the arguments see `losses.ScoreLoss`."""

    def __init__(
        self,
        low: float,
        high: float,
        reach: tuple[float, float],
        name: str = "mae",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.low, self.high, self.reach = low, high, (reach[0], reach[1])

    def judge(self, true: Any, output: Any) -> tuple[Any, Any]:
        first, last = self.reach
        scale = (self.high - self.low) / (last - first)
        found = self.low + (output[:, 0] - first) * scale
        return ops.abs(found - ops.reshape(true, (-1,))), 1.0

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "low": self.low, "high": self.high, "reach": self.reach}


@keras.saving.register_keras_serializable("fcnkeras")
class MeanScoreMAE(_Mean):
    """The mean absolute error of the mean score of a distribution over 1 to N."""

    def judge(self, true: Any, output: Any) -> tuple[Any, Any]:
        scores = ops.arange(1, output.shape[-1] + 1, dtype="float32")
        return ops.abs(ops.sum((true - output) * scores, axis=-1)), 1.0


@keras.saving.register_keras_serializable("fcnkeras")
class EMD(_Mean):
    """The earth mover's distance of distributions with power 1, see `metrics.emd`."""

    def judge(self, true: Any, output: Any) -> tuple[Any, Any]:
        return ops.mean(ops.abs(ops.cumsum(true - output, axis=-1)), axis=-1), 1.0


class _HueMean(_Mean):
    def __init__(self, encoding: str, name: str, **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.encoding = encoding

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "encoding": self.encoding}


@keras.saving.register_keras_serializable("fcnkeras")
class HueDegrees(_HueMean):
    """The mean error of the hue in degrees, of records that are not black.

    Args:
        encoding: of the output, see `wheel.decode`.
    """

    def __init__(self, encoding: str, name: str = "degrees", **kwargs: Any) -> None:
        super().__init__(encoding, name, **kwargs)

    def judge(self, true: Any, output: Any) -> tuple[Any, Any]:
        found = decode(output, self.encoding)
        across = true[:, 0] * found[:, 1] - true[:, 1] * found[:, 0]
        along = true[:, 0] * found[:, 0] + true[:, 1] * found[:, 1]
        return ops.abs(ops.arctan2(across, along)) * (180.0 / np.pi), 1.0 - true[:, 2]


@keras.saving.register_keras_serializable("fcnkeras")
class WheelAccuracy(_HueMean):
    """The share of colours that are nearest to the right one of the twelve hues and black.

    Args:
        encoding: of the output, see `wheel.decode`.
    """

    def __init__(self, encoding: str, name: str = "wheel_accuracy", **kwargs: Any) -> None:
        super().__init__(encoding, name, **kwargs)

    def judge(self, true: Any, output: Any) -> tuple[Any, Any]:
        found = place_of(decode(output, self.encoding))
        return ops.cast(place_of(true) == found, "float32"), 1.0
