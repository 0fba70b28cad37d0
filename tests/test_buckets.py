"""The shapes of batches: the best there are, against all ways to choose them."""

import itertools

import numpy as np
import pytest

from fcnkeras.buckets import Bucket, choose_shapes, cut


def fed(*longs: int, short: int = 32) -> np.ndarray:
    """(height, width) of landscapes, and of portraits for numbers below 0."""
    return np.array([(short, side) if side > 0 else (-side, short) for side in longs])


def pieces(count: int, most: int) -> list[list[range]]:
    """All ways to cut a row into at most so many pieces."""
    found = []
    for number in range(1, most + 1):
        for places in itertools.combinations(range(1, count), number - 1):
            edges = (0, *places, count)
            found.append([range(a, b) for a, b in itertools.pairwise(edges)])
    return found


def in_row(sides: np.ndarray) -> np.ndarray:
    return sides[np.argsort(sides[:, 1] - sides[:, 0])]


def test_by_hand() -> None:
    shapes = choose_shapes(fed(32, 36, 60, -40, 62), 3)
    assert shapes.tolist() == [[32, 36], [32, 36], [32, 62], [40, 32], [32, 62]]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("most", [1, 2, 3])
def test_no_other_shapes_pad_less(seed: int, most: int) -> None:
    rng = np.random.default_rng(seed)
    sides = in_row(fed(*(int(side) * sign for side, sign in zip(
        rng.integers(32, 80, 8), rng.choice([-1, 1], 8), strict=True
    ))))  # fmt: skip
    shapes = choose_shapes(sides, most)
    assert (shapes >= sides).all()
    assert len(np.unique(shapes, axis=0)) <= most
    least = min(
        sum(len(piece) * int(np.prod(sides[piece].max(axis=0))) for piece in way)
        for way in pieces(8, most)
    )
    assert shapes.prod(axis=1).sum() == least
    assert sides.prod(axis=1).sum() <= least < sides.max(axis=0).prod() * 8 or most == 1


@pytest.mark.parametrize("seed", range(4))
def test_no_other_shapes_bend_less(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sides = in_row(fed(*rng.integers(1000, 3000, 8).tolist(), short=1000))
    aspects = np.log(sides[:, 1] / sides[:, 0])
    shapes = choose_shapes(sides, 3, distortion=1.0)
    bent = ((np.log(shapes[:, 1] / shapes[:, 0]) - aspects) ** 2).sum()
    least = min(
        sum(((aspects[piece] - aspects[piece].mean()) ** 2).sum() for piece in way)
        for way in pieces(8, 3)
    )
    assert bent == pytest.approx(least, rel=0.01, abs=1e-5)  # whole pixels
    assert (shapes.min(axis=1) == 1000).all()


def test_nothing_is_bent_by_more_than_asked() -> None:
    sides = fed(*range(1000, 2000, 7), short=1000)
    with pytest.raises(ValueError, match=r"raise distortion, or take at least 4 shapes"):
        choose_shapes(sides, 3, distortion=0.1)  # 1.1 ** 2 to the power of 4 is above 2
    shapes = choose_shapes(sides, 4, distortion=0.1)
    ratio = (shapes[:, 1] / shapes[:, 0]) / (sides[:, 1] / sides[:, 0])
    assert np.maximum(ratio, 1 / ratio).max() <= 1.1 + 1e-3
    assert len(np.unique(shapes, axis=0)) == 4


def test_equal_pictures_share_a_shape_and_keep_it() -> None:
    assert choose_shapes(fed(48, 48, 48), 8).tolist() == [[32, 48]] * 3
    assert choose_shapes(fed(48, 48, 48), 8, distortion=0.2).tolist() == [[32, 48]] * 3


def test_a_row_is_cut_where_it_costs_least() -> None:
    costs = np.array([[0, 5, 9], [np.inf, 0, 1], [np.inf, np.inf, 0]])  # [start, end]
    assert cut(lambda end: costs[: end + 1, end], 3, 3) == [0, 1, 2]
    assert cut(lambda end: costs[: end + 1, end], 3, 2) == [0, 1]
    assert cut(lambda end: np.full(end + 1, np.inf), 3, 3) == []


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="at least 1 shape, got 0"):
        choose_shapes(fed(40), 0)
    with pytest.raises(ValueError, match="distortion must be above 0, or None to pad, got 0"):
        choose_shapes(fed(40), 1, distortion=0)


def test_batches_of_a_bucket() -> None:
    assert Bucket(1, 32, 48, 10, 4, 0.1, 0.0, 0.0).batches == 3
    assert Bucket(1, 32, 48, 8, 4, 0.1, 0.0, 0.0).batches == 2
