"""Losses: hand-worked numbers, gradients by finite differences, one scale, masked averages."""

import keras
import numpy as np
import pytest
from keras import ops

from fcnkeras.tasks import losses
from fcnkeras.tasks.outputs import TaskWeight

BACKEND = keras.backend.backend()
# JAX has no float64 unless told so, and PyTorch's cross-entropies are in float32.
FLOAT = "float64" if BACKEND == "tensorflow" else "float32"
RNG = np.random.default_rng(5)


def shares(*shape):
    found = RNG.random(shape) + 0.1
    return found / found.sum(axis=-1, keepdims=True)


def hues(*degrees, black=(), flag=0):
    angles = np.deg2rad(degrees)
    found = np.stack([np.cos(angles), np.sin(angles), np.full(len(degrees), flag)], axis=1)
    found[list(black)] = (0, 0, 1)
    return found


def value(loss, true, found, weights=None):
    return float(ops.convert_to_numpy(loss(np.asarray(true), np.asarray(found, FLOAT), weights)))


CASES = {
    "class": (losses.ClassLoss, np.array([0, 2, 1]), shares(3, 4)),
    "labels": (
        losses.LabelsLoss,
        np.array([[0, 1, np.nan], [1, 1, 0]]),
        RNG.random((2, 3)) / 2 + 0.2,
    ),
    "score": (
        lambda **k: losses.ScoreLoss(1, 10, (-1, 1), **k),
        np.array([2.0, 9]),
        np.array([[0.3], [-0.2]]),
    ),
    "distribution": (losses.DistributionLoss, shares(3, 10), shares(3, 10)),
    "hue": (
        losses.HueLoss,
        hues(20, 300, 0, black=[2]),
        np.array([[0.6, 0.8, 0.3], [0, -1, 0.6], [1, 0, 0.7]]),
    ),
    "hue_class": (losses.HueClassLoss, hues(20, 300, 0, black=[2]), shares(3, 13)),
    "hue_code": (losses.HueCodeLoss, hues(20, 300, 0, black=[2]), RNG.normal(size=(3, 10))),
}


def gradient(loss, true, found):
    """The backend's own."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        x = tf.constant(found, FLOAT)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = loss(true, x)
        return tape.gradient(y, x).numpy()
    if BACKEND == "jax":
        import jax

        return np.asarray(jax.grad(lambda x: loss(true, x))(jax.numpy.asarray(found, FLOAT)))
    import torch

    x = torch.tensor(found, dtype=torch.float32, requires_grad=True)
    loss(true, x).backward()
    return x.grad.numpy()


@pytest.mark.smoke
@pytest.mark.parametrize("case", CASES)
def test_gradient_by_finite_differences(case):
    make, true, found = CASES[case]
    loss = make(dtype=FLOAT)
    step, tolerance = (2e-3, 1e-2) if FLOAT == "float32" else (1e-5, 1e-7)
    expected = np.zeros(found.shape)
    for place in np.ndindex(*found.shape):
        move = np.zeros(found.shape)
        move[place] = step
        rise = value(loss, true, found + move) - value(loss, true, found - move)
        expected[place] = rise / (2 * step)
    np.testing.assert_allclose(gradient(loss, true, found), expected, tolerance, tolerance)
    assert np.abs(expected).max() > 10 * tolerance


def test_class_by_hand():
    # -ln 0.5 and -ln 0.25 over ln 4: a half and one.
    loss = losses.ClassLoss(dtype=FLOAT)
    found = [[0.5, 0.3, 0.1, 0.1], [0.25, 0.25, 0.25, 0.25]]
    assert value(loss, [0, 3], found) == pytest.approx(0.75, abs=1e-5)


def test_labels_by_hand():
    # Of the first record one label is known, of the second both: -log2 of 1/4, 1/2 and 1/8.
    found = [[0.25, 0.9], [0.5, 0.875]]
    true = np.array([[1.0, np.nan], [0.0, 0.0]])
    assert value(losses.LabelsLoss(dtype=FLOAT), true, found) == pytest.approx(2.0, abs=1e-4)


def test_score_by_hand():
    # Labels 1 and 10 are -1 and 1; half the range off: 12 * (1/2)^2 = 3, and exact: 0.
    loss = losses.ScoreLoss(1, 10, (-1, 1), dtype=FLOAT)
    assert value(loss, [1.0, 10.0], [[0.0], [1.0]]) == pytest.approx(1.5, abs=1e-6)
    # Negative control: the same outputs in the other range.
    assert value(losses.ScoreLoss(1, 10, (0, 1), dtype=FLOAT), [1.0, 10.0], [[0.0], [1.0]]) == 0


def test_distribution_of_equal_ones_and_of_opposite_ends():
    loss = losses.DistributionLoss(dtype=FLOAT)
    ends = np.eye(10)
    assert value(loss, ends, ends) == pytest.approx(0, abs=1e-12)
    # Nine of ten cumulative shares are 1 apart: 9/10, over the guess's 99/600.
    assert value(loss, ends[:1], ends[9:]) == pytest.approx(0.9 / 0.165, rel=1e-5)
    # Next to each other one is: the order of the scores counts.
    assert value(loss, ends[:1], ends[1:2]) == pytest.approx(0.1 / 0.165, rel=1e-5)


def test_hue_by_hand():
    loss = losses.HueLoss(dtype=FLOAT)
    # 60 degrees apart: 1 - 1/2; the flag at 1/2 costs 1.
    assert value(loss, hues(10), hues(70, flag=0.5)) == pytest.approx(0.75, abs=1e-5)
    # The short way over the seam, and black, of which the hue does not count.
    assert value(loss, hues(350), hues(50, flag=0.5)) == pytest.approx(0.75, abs=1e-5)
    assert value(loss, hues(0, black=[0]), [[0.6, 0.8, 0.25]]) == pytest.approx(2.0, abs=1e-5)


def test_hue_as_class_by_hand():
    found = np.full((2, 13), 0.01)
    found[0, 11], found[1, 12] = 1 / 13, 1.0
    loss = losses.HueClassLoss(dtype=FLOAT)
    assert value(loss, hues(340), found[:1]) == pytest.approx(
        np.log(13 * found[:1].sum()) / np.log(13), abs=1e-4
    )
    assert value(loss, hues(0, black=[0]), found[1:] / found[1:].sum()) < 0.06


@pytest.mark.parametrize("case", CASES)
def test_a_guess_costs_one(case):
    """Of labels that are equally frequent; the negative control is a guess that is wrong."""
    even = np.arange(0.5, 1000) / 1000
    guess = {
        "class": (np.arange(4), np.full((4, 4), 0.25)),
        "labels": (np.eye(2), np.full((2, 2), 0.5)),
        "score": (1 + 9 * even, np.zeros((1000, 1))),
        "distribution": (np.eye(10), np.full((10, 10), 0.1)),
        "hue": (hues(*range(0, 360, 5)), np.tile([0.6, 0.8, 0.5], (72, 1))),
        "hue_class": (hues(*range(0, 360, 5)), np.full((72, 13), 1 / 13)),
        "hue_code": (hues(*range(0, 360, 5)), np.zeros((72, 10))),
    }
    make = CASES[case][0]
    assert value(make(dtype=FLOAT), *guess[case]) == pytest.approx(1.0, abs=1e-4)
    wrong = guess[case][1].copy()
    wrong[:, -1] += 0.2
    if case in ("class", "distribution", "hue_class"):
        wrong /= wrong.sum(axis=1, keepdims=True)
    assert value(make(dtype=FLOAT), guess[case][0], wrong) != pytest.approx(1.0, abs=1e-4)


@pytest.mark.smoke
@pytest.mark.parametrize("case", CASES)
def test_records_without_weight_neither_count_nor_dilute(case):
    make, true, found = CASES[case]
    loss = make(dtype=FLOAT)
    alone = value(loss, true[:1], found[:1])
    weights = np.zeros(len(true), FLOAT)
    weights[0] = 1
    assert alone > 0
    assert value(loss, true, found, weights) == pytest.approx(alone, rel=1e-5)
    assert value(loss, true, found, 0 * weights) == 0
    # What Keras does by default divides by the batch.
    diluted = make(dtype=FLOAT, reduction="sum_over_batch_size")
    assert value(diluted, true, found, weights) == pytest.approx(alone / len(true), rel=1e-5)


def test_a_label_that_is_not_known_gives_no_gradient():
    true = np.array([[np.nan, 1.0], [np.nan, np.nan]])
    found = gradient(losses.LabelsLoss(dtype=FLOAT), true, np.array([[0.4, 0.6], [0.1, 0.2]]))
    assert (found[:, 0] == 0).all()
    assert found[1, 1] == 0
    assert found[0, 1] < 0


@pytest.mark.smoke
def test_learned_weights_rest_where_every_task_counts_the_same():
    """The slope of exp(-s) L + s is zero at s = ln L, where the term is 1 + ln L."""
    layer = TaskWeight()
    layer.build((None, 1))
    base = losses.ScoreLoss(0, 1, (0, 1))
    learned = losses.LearnedWeightLoss(base, layer)
    true, found = np.array([0.0]), np.array([[0.5]])  # L = 12 / 4 = 3
    assert value(learned, true, found) == pytest.approx(3.0)
    by_s = []
    for s in (np.log(3) - 0.01, np.log(3), np.log(3) + 0.01):
        layer.log_variance.assign(s)
        by_s.append(value(learned, true, found))
    assert by_s[1] == pytest.approx(1 + np.log(3), rel=1e-5)
    assert by_s[1] < min(by_s[0], by_s[2])


@pytest.mark.parametrize("case", CASES)
def test_losses_are_saved_and_come_back(case):
    make, true, found = CASES[case]
    loss = make(name="own")
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert again.name == "own"
    assert value(again, true, found) == value(loss, true, found)
    layer = TaskWeight()
    layer.build((None, 1))
    plain = keras.losses.deserialize(keras.losses.serialize(losses.LearnedWeightLoss(loss, layer)))
    assert type(plain) is type(loss)


def test_balanced_weights_as_scikit_learn():
    from sklearn.utils.class_weight import compute_sample_weight

    labels = RNG.integers(0, 4, 50)
    expected = compute_sample_weight("balanced", labels)
    np.testing.assert_allclose(losses.balanced_weights(labels, 4), expected, rtol=1e-6)
    # A class that does not occur changes nothing.
    np.testing.assert_allclose(losses.balanced_weights(labels, 9), expected, rtol=1e-6)
