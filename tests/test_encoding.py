"""Targets as arrays: values worked by hand, and what stands where nothing is known."""

from pathlib import Path

import numpy as np
import pytest

from fcnkeras.data.columns import Hue
from fcnkeras.data.records import Collection, Record
from fcnkeras.encoding import Encoded, encode_target, weigh_targets


def collection(target, values, names=()):
    records = tuple(
        Record(Path(f"{i}.jpg"), {} if value is None else {target: value})
        for i, value in enumerate(values)
    )
    if target == "class":
        return Collection(records, names)
    return Collection(records, vocabularies={target: names} if names else {})


@pytest.mark.parametrize("target", ["class", "artist"])
def test_classes(target):
    found = encode_target(collection(target, [2, None, 0, 1], ("a", "b", "c")), target)
    assert found.kind == "class"
    assert found.values.dtype == np.int64
    np.testing.assert_array_equal(found.values, [2, 0, 0, 1])
    np.testing.assert_array_equal(found.known, [True, False, True, True])


def test_scores():
    found = encode_target(collection("beauty", [0.25, None, 7]), "beauty")
    assert found.kind == "score"
    assert found.values.dtype == np.float32
    np.testing.assert_array_equal(found.values, [0.25, 0, 7])
    np.testing.assert_array_equal(found.known, [True, False, True])


def test_votes_become_shares():
    found = encode_target(collection("votes", [(1, 0, 3), None, (2, 2, 4)]), "votes")
    assert found.kind == "distribution"
    assert found.values.dtype == np.float32
    third = 1 / 3
    expected = [[0.25, 0, 0.75], [third, third, third], [0.25, 0.25, 0.5]]
    np.testing.assert_allclose(found.values, expected, rtol=1e-6)


def test_hues_are_points_on_the_circle_and_black_is_none():
    hues = [Hue(60), Hue(180), None, Hue(0, black=True), Hue(0)]
    found = encode_target(collection("hue", hues), "hue")
    assert found.kind == "hue"
    assert found.values.dtype == np.float32
    yellow = [0.5, np.sqrt(3) / 2, 0]
    expected = [yellow, [-1, 0, 0], [1, 0, 0], [0, 0, 1], [1, 0, 0]]
    np.testing.assert_allclose(found.values, expected, atol=1e-6)
    np.testing.assert_array_equal(found.known, [True, True, False, True, True])


def test_labels_with_some_and_with_all_unknown():
    values = [(1, 0, None), None, (0, 0, 1)]
    found = encode_target(collection("tags", values, ("a", "b", "c")), "tags")
    assert found.kind == "labels"
    assert found.values.dtype == np.float32
    np.testing.assert_array_equal(found.values, [[1, 0, np.nan], [0, 0, 0], [0, 0, 1]])
    np.testing.assert_array_equal(found.known, [True, False, True])


def test_what_cannot_be_encoded_is_named():
    votes = collection("votes", [(1, 2, 3), (1, 2)])
    with pytest.raises(ValueError, match="'votes' must all have the length 3"):
        encode_target(votes, "votes")
    with pytest.raises(ValueError, match=r"no record has the target 'class'.* are: votes"):
        encode_target(votes, "class")


def encoded(*known):
    return Encoded("score", np.zeros(len(known), "float32"), np.array(known))


def test_what_is_not_known_weighs_nothing():
    targets = {"a": encoded(True, False, True), "b": encoded(True, True, True)}
    weights = weigh_targets(targets)
    np.testing.assert_array_equal(weights["a"], [1, 0, 1])
    np.testing.assert_array_equal(weights["b"], [1, 1, 1])
    assert {array.dtype for array in weights.values()} == {np.dtype("float32")}
    assert weigh_targets({"b": targets["b"]}) == {}
    assert list(weigh_targets({"b": targets["b"]}, always=True)["b"]) == [1, 1, 1]


def test_weights_of_all_targets_or_of_one():
    targets = {"a": encoded(True, False, True), "b": encoded(True, True, True)}
    both = weigh_targets(targets, [2, 3, 0.5])
    np.testing.assert_array_equal(both["a"], [2, 0, 0.5])
    np.testing.assert_array_equal(both["b"], [2, 3, 0.5])
    one = weigh_targets(targets, {"b": [2, 3, 0.5]})
    np.testing.assert_array_equal(one["a"], [1, 0, 1])
    np.testing.assert_array_equal(one["b"], [2, 3, 0.5])


@pytest.mark.parametrize("weights", [[1, 2], [1, -1, 1], [1, np.nan, 1], [1, np.inf, 1]])
def test_wrong_weights(weights):
    with pytest.raises(ValueError, match="a number for each of the 3 records, none below 0"):
        weigh_targets({"a": encoded(True, True, True)}, weights)


def test_weights_of_a_target_that_is_not_there():
    with pytest.raises(ValueError, match=r"of the targets \['a'\]\. Received: \['c'\]"):
        weigh_targets({"a": encoded(True)}, {"c": [1]})
