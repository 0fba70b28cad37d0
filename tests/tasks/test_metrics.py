"""Figures of merit against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fcnkeras.tasks.metrics import confusion_matrix, wilson_interval


def test_wilson_by_hand() -> None:
    # 8 of 10 with z = 2: centre (0.8 + 4/20) / (1 + 4/10) = 1/1.4 = 5/7,
    # half 2 * sqrt(0.8 * 0.2 / 10 + 4/400) / 1.4 = 2 * sqrt(0.026) / 1.4 = 0.230350...
    low, high = wilson_interval(8, 10, z=2)
    assert (low + high) / 2 == pytest.approx(5 / 7, abs=1e-12)
    assert (high - low) / 2 == pytest.approx(0.23035022, abs=1e-8)


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [  # Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_as_published(correct: int, total: int, low: float, high: float) -> None:
    assert wilson_interval(correct, total) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("total", [1, 7, 1000])
def test_wilson_is_symmetric_and_inside_0_and_1(total: int) -> None:
    for correct in range(0, total + 1, max(1, total // 7)):
        low, high = wilson_interval(correct, total)
        assert 0 <= low <= correct / total + 1e-12 <= high + 2e-12 <= 1 + 2e-12
        mirrored = wilson_interval(total - correct, total)
        assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-12)
    assert wilson_interval(total, total)[0] == pytest.approx(total / (total + 1.959964**2))


def test_wilson_covers_the_truth() -> None:
    # How often the interval holds the share it was drawn from, by the binomial's own weights.
    shares = [0.05, 0.3, 0.5, 0.9]
    n = 100
    for share in shares:
        chance = (1 - share) ** n
        covered = 0.0
        for k in range(n + 1):
            low, high = wilson_interval(k, n)
            covered += chance if low <= share <= high else 0.0
            chance *= (n - k) / (k + 1) * share / (1 - share)
        assert 0.93 < covered < 0.985


@pytest.mark.parametrize(("correct", "total"), [(1, 0), (-1, 5), (6, 5)])
def test_wilson_refuses(correct: int, total: int) -> None:
    with pytest.raises(ValueError, match=f"Received: {correct}, {total}"):
        wilson_interval(correct, total)


def test_confusion_matrix() -> None:
    labels, predicted = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 2, 0, 2])
    matrix = confusion_matrix(labels, predicted, 4)
    assert matrix.dtype == np.int64
    # Rows are what is true: one picture of class 0 was taken for 1, not the other way round.
    assert matrix.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [1, 0, 2, 0], [0, 0, 0, 0]]
