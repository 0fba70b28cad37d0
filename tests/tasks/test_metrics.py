"""Figures of merit against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fcnkeras.tasks import metrics
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


RNG = np.random.default_rng(11)


def test_class_figures_as_scikit_learn() -> None:
    from sklearn import metrics as reference

    labels, predicted = RNG.integers(0, 5, 200), RNG.integers(0, 5, 200)
    labels[labels == 3] = 1  # a class that does not occur and is predicted
    matrix = metrics.confusion_matrix(labels, predicted, 5)
    rows = metrics.class_table(matrix, "abcde")
    expected = reference.precision_recall_fscore_support(
        labels, predicted, labels=range(5), zero_division=np.nan
    )
    found = np.array([[r["precision"], r["recall"], r["f1"], r["records"]] for r in rows]).T
    np.testing.assert_allclose(found, np.array(expected), atol=1e-12)
    recalls = reference.recall_score(labels, predicted, labels=[0, 1, 2, 4], average="macro")
    assert metrics.balanced_accuracy(matrix) == pytest.approx(recalls)
    f1 = reference.f1_score(labels, predicted, average="macro")
    assert metrics.macro_f1(matrix) == pytest.approx(f1)


def test_class_figures_by_hand() -> None:
    # Class a: 2 of 3 found; b: 1 of 1, and one a besides; c neither occurs nor is predicted.
    matrix = np.array([[2, 1, 0], [0, 1, 0], [0, 0, 0]])
    a, b, c = metrics.class_table(matrix, ("a", "b", "c"))
    assert a == {
        "class": "a",
        "records": 3,
        "precision": 1.0,
        "recall": pytest.approx(2 / 3),
        "f1": pytest.approx(0.8),
    }
    assert (b["precision"], b["recall"], b["f1"]) == (0.5, 1.0, pytest.approx(2 / 3))
    assert np.isnan([c["precision"], c["recall"], c["f1"]]).all()
    assert metrics.balanced_accuracy(matrix) == pytest.approx(5 / 6)
    assert metrics.macro_f1(matrix) == pytest.approx((0.8 + 2 / 3) / 2)


@pytest.mark.parametrize("levels", [3, 10, 10**6])
def test_correlations_as_scipy(levels: int) -> None:
    from scipy import stats

    x = RNG.integers(0, levels, 80)  # few levels: many ties
    y = x + RNG.integers(0, levels, 80)
    assert metrics.plcc(x, y) == pytest.approx(stats.pearsonr(x, y)[0], abs=1e-12)
    assert metrics.srcc(x, y) == pytest.approx(stats.spearmanr(x, y)[0], abs=1e-12)


def test_correlations_by_hand() -> None:
    x = np.array([1.0, 2, 3, 4])
    assert metrics.srcc(x, x**3) == pytest.approx(1)
    assert metrics.plcc(x, x**3) < 0.97  # it is of the ranks that the one above speaks
    assert metrics.srcc(x, -x) == pytest.approx(-1)
    # Ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: covariance 4.5, variances 4.5 and 5.
    assert metrics.srcc(np.array([1.0, 2, 2, 4]), x) == pytest.approx(4.5 / np.sqrt(22.5))
    assert np.isnan(metrics.srcc(x, np.full(4, 0.1)))
    assert np.isnan(metrics.plcc(np.full(4, 0.1), x))


def test_errors_by_hand() -> None:
    true, found = np.array([1.0, 2, 3]), np.array([1.0, 4, 0])
    assert metrics.rmse(true, found) == pytest.approx(np.sqrt(13 / 3))
    assert metrics.mae(true, found) == pytest.approx(5 / 3)
    assert metrics.rmse(np.array([0, 3], "uint8"), np.array([1, 2], "uint8")) == 1


def test_emd_as_scipy_and_by_hand() -> None:
    from scipy import stats

    a, b = (x / x.sum(axis=1, keepdims=True) for x in RNG.random((2, 6, 10)))
    scores = np.arange(10)
    # SciPy's counts a step between scores as 1; NIMA's mean divides by the number of scores.
    expected = [
        stats.wasserstein_distance(scores, scores, p, q) / 10 for p, q in zip(a, b, strict=True)
    ]
    np.testing.assert_allclose(metrics.emd(a, b), expected, atol=1e-12)
    ends = np.eye(10)[[0, 9]]
    assert metrics.emd(ends, ends).tolist() == [0, 0]
    np.testing.assert_allclose(metrics.emd(ends, ends[::-1]), 0.9)
    np.testing.assert_allclose(metrics.emd(ends, ends[::-1], power=2), np.sqrt(0.9))


def test_moments_by_hand() -> None:
    mean, std = metrics.distribution_moments(np.array([[0.5, 0, 0.5], [0, 2, 0]]))
    np.testing.assert_allclose(mean, [2, 2])
    np.testing.assert_allclose(std, [1, 0])


def test_threshold_hits_by_hand() -> None:
    # Exactly 5 is low.
    hits = metrics.threshold_hits(np.array([5.0, 5.1, 4, 6]), np.array([4.9, 5.0, 5.2, 9]), 5)
    assert hits.tolist() == [True, False, False, True]


def test_hue_errors_by_hand() -> None:
    def at(*degrees: float) -> np.ndarray:
        angles = np.deg2rad(degrees)
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)

    found = metrics.hue_errors(at(350, 10, 0, 90), 3 * at(10, 350, 180, 60))
    np.testing.assert_allclose(found, [20, 20, 180, 30], atol=1e-9)
