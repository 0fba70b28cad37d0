"""Figures of merit, on NumPy arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np


def wilson_interval(correct: int, total: int, z: float = 1.959964) -> tuple[float, float]:
    """The 95 % interval of an accuracy, as shares of 1.

    Unlike mean and standard error it holds for few pictures and near 0 and 1.

    Args:
        correct: pictures that were right.
        total: pictures in all, at least 1.
        z: the normal quantile, 1.96 for 95 %.

    Raises:
        ValueError: the counts make no share.

    Source: Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", 1927.

    Example:
        >>> [round(x, 3) for x in wilson_interval(8, 10)]
        [0.49, 0.943]
    """
    if not 0 <= correct <= total or total < 1:
        raise ValueError(
            f"0 <= correct <= total and total >= 1 are needed. Received: {correct}, {total}"
        )
    share = correct / total
    scale = 1 + z * z / total
    centre = (share + z * z / (2 * total)) / scale
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / scale
    return max(0.0, centre - half), min(1.0, centre + half)


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Counts of (true class, predicted class), int64 (classes, classes)."""
    matrix = np.zeros((classes, classes), "int64")
    np.add.at(matrix, (labels, predicted), 1)
    return matrix


def class_table(matrix: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
    """Precision, recall and F1 of every class.

    Args:
        matrix: counts of (true class, predicted class), see `confusion_matrix`.
        names: of the classes.

    Returns:
        A row for each class: class, records (that are of it), precision, recall, f1. Where there
        is nothing to divide by, the figure is NaN; F1 is NaN only where the class neither occurs
        nor is predicted.
    """
    right = np.diag(matrix).astype(float)
    occurring, predicted = matrix.sum(axis=1), matrix.sum(axis=0)
    precision, recall = _divide(right, predicted), _divide(right, occurring)
    f1 = _divide(2 * right, occurring + predicted)
    return [
        {
            "class": name,
            "records": int(occurring[i]),
            "precision": float(precision[i]),
            "recall": float(recall[i]),
            "f1": float(f1[i]),
        }
        for i, name in enumerate(names)
    ]


def balanced_accuracy(matrix: np.ndarray) -> float:
    """The mean recall of the classes that occur, from a `confusion_matrix`."""
    return float(np.nanmean(_divide(np.diag(matrix), matrix.sum(axis=1))))


def macro_f1(matrix: np.ndarray) -> float:
    """The mean F1 of the classes that occur or are predicted, from a `confusion_matrix`."""
    f1 = _divide(2.0 * np.diag(matrix), matrix.sum(axis=0) + matrix.sum(axis=1))
    return float(np.nanmean(f1))


def plcc(true: np.ndarray, predicted: np.ndarray) -> float:
    """Pearson's linear correlation of two arrays (n,); NaN where one of them does not vary."""
    x, y = (np.asarray(values, "float64") - np.mean(values) for values in (true, predicted))
    # What a mean of equal numbers leaves by rounding is no variation.
    if np.ptp(true) == 0 or np.ptp(predicted) == 0:
        return math.nan
    return float(np.clip((x @ y) / math.sqrt((x @ x) * (y @ y)), -1.0, 1.0))


def srcc(true: np.ndarray, predicted: np.ndarray) -> float:
    """Spearman's rank correlation of two arrays (n,), ties at their mean rank; NaN as `plcc`."""
    return plcc(_ranks(true), _ranks(predicted))


def rmse(true: np.ndarray, predicted: np.ndarray) -> float:
    """The root of the mean squared error."""
    return float(np.sqrt(np.mean(np.square(np.subtract(true, predicted, dtype="float64")))))


def mae(true: np.ndarray, predicted: np.ndarray) -> float:
    """The mean absolute error."""
    return float(np.mean(np.abs(np.subtract(true, predicted, dtype="float64"))))


def emd(true: np.ndarray, predicted: np.ndarray, power: int = 1) -> np.ndarray:
    """The earth mover's distance of each pair of distributions over the same N scores.

    (mean over the scores of |difference of the cumulative shares| ^ power) ^ (1 / power): 0 of
    equal ones, ((N - 1) / N) ^ (1 / power) of those at opposite ends.

    Args:
        true, predicted: shares (n, N), each row sums to 1.
        power: 1 as it is reported, 2 as in the loss.

    Returns:
        (n,) float64.

    Source: Talebi & Milanfar, "NIMA: Neural Image Assessment", 2018, equation 1.
    """
    apart = np.cumsum(np.subtract(true, predicted, dtype="float64"), axis=-1)
    return np.mean(np.abs(apart) ** power, axis=-1) ** (1 / power)


def distribution_moments(shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The means and standard deviations, both (n,), of shares (n, N) of the scores 1 to N."""
    shares = np.asarray(shares, "float64")
    shares = shares / shares.sum(axis=-1, keepdims=True)
    scores = np.arange(1, shares.shape[-1] + 1)
    mean = shares @ scores
    variance = (shares * np.square(scores - mean[:, None])).sum(axis=-1)
    return mean, np.sqrt(variance)


def threshold_hits(true: np.ndarray, predicted: np.ndarray, threshold: float) -> np.ndarray:
    """Which scores are on the side of the threshold that they should be on, (n,) bool.

    The protocol of AVA: high is above the threshold, low is up to it, and no record is left out.
    A figure on AVA2, the easy tails of the scores, does not compare with one on all of them.
    """
    return (np.asarray(true) > threshold) == (np.asarray(predicted) > threshold)


def hue_errors(true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Angles between hues in degrees, the short way round, 0 to 180.

    Args:
        true, predicted: (n, 2) or more columns, the first two cosine and sine, of any length.

    Returns:
        (n,) float64.
    """
    a, b = (np.asarray(hues, "float64") for hues in (true, predicted))
    across = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    along = a[:, 0] * b[:, 0] + a[:, 1] * b[:, 1]
    return np.abs(np.degrees(np.arctan2(across, along)))


def _ranks(values: np.ndarray) -> np.ndarray:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.divide(a, b, out=np.full(len(a), np.nan), where=b > 0)
