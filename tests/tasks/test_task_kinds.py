"""Every kind of task: results, errors, figures and metrics of outputs made by hand."""

import json

import keras
import numpy as np
import pytest

from fcnkeras.data import aadb, art
from fcnkeras.data.columns import (
    ClassColumn,
    DistributionColumn,
    Hue,
    LabelsColumn,
    ScoreColumn,
)
from fcnkeras.tasks.classes import ClassTask, GroupTask, LabelsTask
from fcnkeras.tasks.hue import HueTask
from fcnkeras.tasks.scores import DistributionTask, ScoreTask
from fcnkeras.tasks.wheel import CODES, place_of

COLOURS = [0.0, 30.0, 215.0, 359.0]


def hues(*degrees, black=()):
    angles = np.deg2rad(degrees)
    found = np.stack([np.cos(angles), np.sin(angles), np.zeros(len(degrees))], axis=1)
    found[list(black)] = (0, 0, 1)
    return found.astype("float32")


def shown(metric, true, found, weights=None):
    metric.update_state(true, np.asarray(found, "float32"), weights)
    return float(keras.ops.convert_to_numpy(metric.result()))


TASKS = {
    "classes": ClassTask("style", names=("a", "b", "c")),
    "labels": LabelsTask("tags", names=("x", "y")),
    "score": ScoreTask("contrast", low=1, high=10, output="tanh"),
    "distribution": DistributionTask("votes", columns=("c1", "c2", "c3"), threshold=2),
    "vector": HueTask("colour"),
    "softmax": HueTask("colour", encoding="softmax"),
    "embedding": HueTask("colour", encoding="embedding"),
}
# Encoded targets; outputs, of which the last record is plainly the worst; a weight each.
OUTPUTS = {
    "classes": (np.array([0, 2, 1]), [[0.8, 0.1, 0.1], [0.3, 0.2, 0.5], [0.9, 0.1, 0.0]]),
    "labels": (np.array([[1, np.nan], [0, 1], [1, 0.0]]), [[0.8, 0.9], [0.2, 0.6], [0.3, 0.9]]),
    "score": (np.array([1.0, 5.5, 10]), [[-1.0], [0.2], [-1.0]]),
    "distribution": (np.eye(3)[[0, 1, 2]], [[0.8, 0.2, 0], [0, 0.9, 0.1], [1, 0, 0.0]]),
    "vector": (hues(0, 90, 0, black=[2]), [[1, 0, 0.1], [0.5, 3**0.5 / 2, 0.2], [0, 1, 0.1]]),
    "softmax": (hues(0, 90, 0, black=[2]), np.eye(13)[[0, 2, 3]]),
    "embedding": (hues(0, 90, 0, black=[2]), CODES[[0, 2, 3]]),
}


@pytest.mark.parametrize("kind", TASKS)
def test_what_every_kind_holds_to(kind):
    task, (true, output) = TASKS[kind], OUTPUTS[kind]
    output = np.asarray(output, "float32")
    assert output.shape[1] == task.size
    results = task.results(output)
    assert tuple(results) == task.result_names
    assert all(values.shape == (3,) for values in results.values())
    errors = task.errors(true, output)
    assert errors.shape == (3,)
    assert errors.argmax() == 2
    figures = task.evaluate(true, output)
    assert figures["records"] == 3
    json.dumps(figures)
    # The layer gives what it says, whatever comes in.
    logits = np.random.default_rng(0).normal(size=(4, task.size)).astype("float32") * 5
    layer = task.output_layer()
    assert layer.name == task.name
    given = keras.ops.convert_to_numpy(layer(logits))
    assert given.shape == (4, task.size)
    if kind in ("classes", "distribution", "softmax"):
        np.testing.assert_allclose(given.sum(axis=1), 1, rtol=1e-5)
    if kind == "vector":
        np.testing.assert_allclose(np.linalg.norm(given[:, :2], axis=1), 1, rtol=1e-5)
        assert ((given[:, 2] > 0) & (given[:, 2] < 1)).all()
    for metric in task.metrics():  # a record without weight does not count
        all_three = shown(metric, true, output)
        metric.reset_state()
        two = shown(metric, true, output, np.array([1, 1, 0], "float32"))
        metric.reset_state()
        assert two == pytest.approx(shown(metric, true[:2], output[:2]), abs=1e-6)
        assert two != pytest.approx(all_three) or metric.name == "degrees"
        again = keras.metrics.deserialize(keras.metrics.serialize(metric))
        assert shown(again, true, output) == pytest.approx(all_three)


def test_classes_by_hand():
    task, (true, output) = TASKS["classes"], OUTPUTS["classes"]
    output = np.array(output)
    results = task.results(output)
    assert results["style"].tolist() == ["a", "c", "a"]
    assert results["style_b"].tolist() == [0.1, 0.2, 0.1]
    figures = task.evaluate(true, output)
    assert figures["accuracy"] == pytest.approx(2 / 3)
    assert figures["confusion"] == [[1, 0, 0], [1, 0, 0], [0, 0, 1]]
    np.testing.assert_allclose(task.errors(true, output), [0.2, 0.5, 0.9])
    assert shown(task.metrics()[0], true, output) == pytest.approx(2 / 3)


def test_labels_by_hand():
    task, (true, output) = TASKS["labels"], OUTPUTS["labels"]
    figures = task.evaluate(true, np.array(output))
    # x: right, right, wrong; y: not known, right, wrong.
    assert [row["accuracy"] for row in figures["per_class"]] == [pytest.approx(2 / 3), 0.5]
    assert [row["known"] for row in figures["per_class"]] == [3, 2]
    assert figures["accuracy"] == pytest.approx(3 / 5)
    np.testing.assert_allclose(task.errors(true, np.array(output)), [0.2, 0.3, 0.8])
    # A record's labels first: 1, 1 and 0.
    assert shown(task.metrics()[0], true, output) == pytest.approx(2 / 3)


def test_score_by_hand():
    task, (true, output) = TASKS["score"], OUTPUTS["score"]
    output = np.array(output)
    np.testing.assert_allclose(task.results(output)["contrast"], [1.0, 6.4, 1.0])
    np.testing.assert_allclose(task.errors(true, output), [0, 0.9, 9], atol=1e-12)
    assert task.evaluate(true, output)["mae"] == pytest.approx(3.3)
    assert shown(task.metrics()[0], true, output) == pytest.approx(3.3)
    labels = np.linspace(1, 10, 7)
    np.testing.assert_allclose(task.unmapped(task.mapped(labels)), labels)
    assert task.mapped(labels)[[0, -1]].tolist() == [-1, 1]


def test_distribution_by_hand():
    task, (true, output) = TASKS["distribution"], OUTPUTS["distribution"]
    output = np.array(output)
    results = task.results(output)
    np.testing.assert_allclose(results["votes_mean"], [1.2, 2.1, 1.0])
    np.testing.assert_allclose(results["votes_std"], [0.4, 0.3, 0.0])
    # Means 1, 2, 3 against 1.2, 2.1, 1: high is above 2, so low, high for low, low for high.
    figures = task.evaluate(true, output)
    assert figures["accuracy_above_2"] == pytest.approx(1 / 3)
    assert "above 2" in figures["protocol"]
    np.testing.assert_allclose(task.errors(true, output), [0.2 / 3, 0.1 / 3, 2 / 3])
    emd, mean = task.metrics()
    assert shown(emd, true, output) == pytest.approx((0.2 + 0.1 + 2) / 9)
    assert shown(mean, true, output) == pytest.approx((0.2 + 0.1 + 2) / 3)


@pytest.mark.smoke
@pytest.mark.parametrize("encoding", ["vector", "softmax", "embedding"])
def test_hue_by_hand(encoding):
    task, (true, output) = TASKS[encoding], OUTPUTS[encoding]
    output = np.asarray(output, "float32")
    results = task.results(output)
    assert results["colour"].tolist() == ["red", "yellow", "green-yellow"]
    np.testing.assert_allclose(results["colour_degrees"], [0, 60, 90], atol=1e-4)
    figures = task.evaluate(true, output)
    assert figures["records_not_black"] == 2
    assert figures["degrees_mean"] == pytest.approx(15, abs=1e-4)
    assert figures["wheel_accuracy"] == pytest.approx(1 / 3)
    assert figures["black_accuracy"] == pytest.approx(2 / 3)
    np.testing.assert_allclose(task.errors(true, output), [0, 30, 180], atol=1e-4)
    degrees, wheel = task.metrics()
    assert shown(degrees, true, output) == pytest.approx(15, abs=1e-4)
    assert shown(wheel, true, output) == pytest.approx(1 / 3)


@pytest.mark.parametrize("encoding", ["vector", "softmax", "embedding"])
def test_what_is_right_is_right_in_every_encoding(encoding):
    task = TASKS[encoding]
    wheel = hues(*range(0, 360, 30), 0, black=[12])
    output = {"vector": wheel, "softmax": np.eye(13, dtype="float32"), "embedding": CODES}[encoding]
    figures = task.evaluate(wheel, output)
    assert figures["wheel_accuracy"] == figures["black_accuracy"] == 1
    assert figures["degrees_mean"] == pytest.approx(0, abs=1e-4)
    # Negative control: one place further on.
    assert task.evaluate(wheel, np.roll(output, 1, axis=0))["wheel_accuracy"] == 0


def test_places_are_those_of_the_columns():
    degrees = np.arange(360.0) + 0.25
    places = keras.ops.convert_to_numpy(place_of(keras.ops.convert_to_tensor(hues(*degrees))))
    assert places.tolist() == [Hue(degree).place for degree in degrees]


def test_codes_tell_all_colours_apart():
    np.testing.assert_allclose(np.linalg.norm(CODES, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(CODES.sum(axis=0), 0, atol=1e-6)
    products = CODES @ CODES.T - 2 * np.eye(13)
    assert products.max() < 0.1


def test_columns():
    assert ClassTask("a", column="b").as_column() == ClassColumn("a", "b")
    assert LabelsTask("a", columns=("p", "q")).as_column() == LabelsColumn("a", columns=("p", "q"))
    assert LabelsTask("a", columns=("p", "q")).names == ("p", "q")
    assert DistributionTask("d").as_column() == DistributionColumn(
        "d", tuple(f"count{i}" for i in range(1, 11))
    )
    assert HueTask("primary_color", column="pri_color").as_column() in art.COMPOSITION
    score = ScoreTask("light", low=-1, high=1, output="tanh", column="Light")
    assert score.as_column() == ScoreColumn("light", -1, 1, "Light")
    assert score.as_column() in aadb.COLUMNS


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ScoreTask("a b"), r"must be a letter, then letters.* Received: 'a b'"),
        (lambda: ScoreTask("a", weight=0), r"weight of a must be above 0. Received: 0"),
        (lambda: ScoreTask("a", low=3, high=3), r"range of a must rise, got 3 to 3"),
        (lambda: ScoreTask("a", output="relu"), r"tanh or sigmoid. Received: 'relu'"),
        (lambda: ClassTask("a", names=("x",)), r"names of a must be two or more.*'x'"),
        (lambda: ClassTask("a", names=("x", "x")), r"different"),
        (lambda: ClassTask("a").size, r"names of a must be known: list them.*Schema.fitted"),
        (lambda: HueTask("h", encoding="sin"), r"vector, softmax, embedding. Received: 'sin'"),
        (lambda: DistributionTask("d", threshold=10), r"between the scores 1 and 10. Received: 10"),
        (lambda: LabelsTask("l", columns=("p",), column="q"), r"column or columns, got both"),
        (lambda: GroupTask("p", names=("x", "y"), members=("m", "n")), r"that it groups"),
        (lambda: GroupTask("p", of="a", names=("x", "y")), r"members for each of its 2 names"),
        (
            lambda: GroupTask("p", of="artist", names=("x", "y"), members=(("m", "n"), ("n",))),
            r"every artist must belong to one p. Received: n under x and y",
        ),
    ],
)
def test_what_makes_no_task(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_groups_must_hold_every_member():
    task = GroupTask("period", of="artist", names=("x", "y"), members=(("m",), ("n", "o")))
    assert task.parents(("o", "m", "n")) == (1, 0, 1)
    with pytest.raises(ValueError, match="Received: p, it is of none"):
        task.parents(("o", "m", "n", "p"))
    with pytest.raises(ValueError, match="Received: o, artist does not have it"):
        task.parents(("m", "n"))
