"""Figures of merit, on NumPy arrays."""

from __future__ import annotations

import math

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
