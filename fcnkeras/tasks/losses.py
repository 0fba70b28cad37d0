"""Losses of every kind of task, on one scale: 1 is what a guess costs that knows nothing.

The guess is uniform for classes, labels and distributions, the middle of the range for a score and
any hue for a hue; "costs" is the mean over labels that are equally frequent. On this scale no task
drowns the others because of its kind.

All of them average over the records that are known, those with a sample weight: Keras' own
"sum_over_batch_size" would divide by the whole batch and let a rare label count for less, the
rarer it is. Targets are as `fcnkeras.encoding` gives them, outputs as the heads give them.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from fcnkeras.tasks.wheel import CODES, PLACES, place_of


class TaskLoss(keras.losses.Loss):
    """What the losses have in common: the average over sample weights.

    Args:
        name: the loss's name.
        reduction: see `keras.losses.Loss`.
        dtype: of the computation.
    """

    def __init__(
        self,
        name: str | None = None,
        reduction: str = "mean_with_sample_weight",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)


@keras.saving.register_keras_serializable("fcnkeras")
class ClassLoss(TaskLoss):
    """Cross-entropy divided by ln K, of class indices (n,) and probabilities (n, K)."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        labels = ops.cast(ops.reshape(y_true, (-1,)), "int32")
        found = ops.sparse_categorical_crossentropy(labels, y_pred)
        return found / math.log(y_pred.shape[-1])


@keras.saving.register_keras_serializable("fcnkeras")
class LabelsLoss(TaskLoss):
    """Binary cross-entropy divided by ln 2, the mean of those labels of a record that are known.

    Targets (n, names), 0 or 1, NaN where a label is not known; outputs probabilities (n, names).
    """

    def call(self, y_true: Any, y_pred: Any) -> Any:
        known = ops.cast(ops.logical_not(ops.isnan(y_true)), y_pred.dtype)
        # The gradient of a NaN is NaN even where it is multiplied by 0.
        labels = ops.where(ops.isnan(y_true), 0.0, y_true)
        found = ops.binary_crossentropy(labels, y_pred) * known
        counted = ops.maximum(ops.sum(known, axis=-1), 1.0)
        return ops.sum(found, axis=-1) / counted / math.log(2)


@keras.saving.register_keras_serializable("fcnkeras")
class ScoreLoss(TaskLoss):
    """Squared error of scores, divided by the variance of evenly spread ones.

    Args:
        low, high: the range of the labels.
        reach: the range of the output that it is mapped to, (-1, 1) for a tanh.

    Targets (n,) in the labels' range, outputs (n, 1) in `reach`.
    """

    def __init__(self, low: float, high: float, reach: tuple[float, float], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.low, self.high, self.reach = low, high, (reach[0], reach[1])

    def call(self, y_true: Any, y_pred: Any) -> Any:
        target = (ops.reshape(y_true, (-1,)) - self.low) / (self.high - self.low)
        first, last = self.reach
        found = (ops.reshape(y_pred, (-1,)) - first) / (last - first)
        return 12.0 * ops.square(found - target)  # 1/12: the variance of what is even on 0 to 1

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "low": self.low, "high": self.high, "reach": self.reach}


@keras.saving.register_keras_serializable("fcnkeras")
class DistributionLoss(TaskLoss):
    """Squared earth mover's distance of distributions over N scores in order, both (n, N).

    The mean over the scores of the squared differences of the cumulative shares, divided by what
    the uniform distribution costs where all voters agree, (N² - 1) / 6N².

    Source: Hou, Yu, Samaras, "Squared Earth Mover's Distance-based Loss for Training Deep Neural
    Networks", 2016; with the power 2 of Talebi & Milanfar, "NIMA: Neural Image Assessment", 2018.
    """

    def call(self, y_true: Any, y_pred: Any) -> Any:
        scores = y_pred.shape[-1]
        found = ops.mean(ops.square(ops.cumsum(y_pred - y_true, axis=-1)), axis=-1)
        return found * (6 * scores**2 / (scores**2 - 1))


@keras.saving.register_keras_serializable("fcnkeras")
class HueLoss(TaskLoss):
    """1 - cos of the angle between hues, and the cross-entropy of the black flag divided by ln 2.

    The mean of both; for a black record the second alone. Targets and outputs (n, 3): cosine, sine
    and the share of black.
    """

    def call(self, y_true: Any, y_pred: Any) -> Any:
        black = y_true[:, 2]
        flag = ops.binary_crossentropy(black, y_pred[:, 2]) / math.log(2)
        angle = 1.0 - ops.sum(y_true[:, :2] * y_pred[:, :2], axis=-1)
        return black * flag + (1.0 - black) * (angle + flag) / 2.0


@keras.saving.register_keras_serializable("fcnkeras")
class HueClassLoss(TaskLoss):
    """Cross-entropy over the twelve hues of the wheel and black, divided by ln 13.

    Targets (n, 3): cosine, sine, black flag; outputs probabilities (n, 13).
    """

    def call(self, y_true: Any, y_pred: Any) -> Any:
        found = ops.sparse_categorical_crossentropy(place_of(y_true), y_pred)
        return found / math.log(PLACES)


@keras.saving.register_keras_serializable("fcnkeras")
class HueCodeLoss(TaskLoss):
    """Squared distance to the code of the colour, of ten numbers and of length 1.

    Targets (n, 3): cosine, sine, black flag; outputs (n, 10).
    """

    def call(self, y_true: Any, y_pred: Any) -> Any:
        code = ops.take(ops.convert_to_tensor(CODES, y_pred.dtype), place_of(y_true), axis=0)
        return ops.sum(ops.square(y_pred - code), axis=-1)


@keras.saving.register_keras_serializable("fcnkeras")
class LearnedWeightLoss(TaskLoss):
    """A loss that is weighed by a learned uncertainty: exp(-s) · loss + s.

    The weight is 1 / loss where s is at its best, so every task counts the same however hard it
    is. Kendall et al. halve the terms of regressions and let s / 2 stand for the rest; with losses
    on one scale the same form serves all.

    Args:
        loss: of the task.
        weight: the layer of the model that holds s, see `outputs.TaskWeight`.

    A model that is saved keeps s; its losses come back without the learned weights, and with them
    after it is compiled again.

    Source: Kendall, Gal, Cipolla, "Multi-Task Learning Using Uncertainty to Weigh Losses for Scene
    Geometry and Semantics", 2018.
    """

    def __init__(self, loss: keras.losses.Loss, weight: Any) -> None:
        super().__init__(name=loss.name)
        self.loss = loss
        self.weight = weight

    def call(self, y_true: Any, y_pred: Any) -> Any:
        log_variance = ops.cast(self.weight.log_variance, y_pred.dtype)
        return ops.exp(-log_variance) * self.loss.call(y_true, y_pred) + log_variance

    def get_config(self) -> dict[str, Any]:
        return {"loss": keras.saving.serialize_keras_object(self.loss)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return keras.saving.deserialize_keras_object(config["loss"])


def balanced_weights(labels: np.ndarray, classes: int) -> np.ndarray:
    """Weights of records with which every class counts the same.

    Args:
        labels: class indices (n,), int, of the records that are known.
        classes: number of classes.

    Returns:
        (n,) float32, records / (classes that occur · records of the class), 1 on average.

    Example:
        >>> balanced_weights(np.array([0, 0, 0, 1]), 2)
        array([0.6666667, 0.6666667, 0.6666667, 2.       ], dtype=float32)
    """
    counts = np.bincount(labels, minlength=classes)
    occurring = np.count_nonzero(counts)
    return (len(labels) / (max(occurring, 1) * counts[labels])).astype("float32")
