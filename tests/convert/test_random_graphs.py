"""Random graphs: each is equal to its source at the native size, or refused; none differs."""

import re
from collections import Counter
from unittest import mock

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_graphs import graphs, numpy

from fcnkeras import ConversionError, plan_conversion, to_fcn
from fcnkeras.convert import rewrite

# Relative to how much an output varies from picture to picture.
LIMITS = {"float32": 1e-4, "mixed_float16": 0.1, "float16": 0.1}
LIMITS |= {"mixed_bfloat16": 0.3, "bfloat16": 0.3}
# A damage that changes an output by this much of its largest value must be caught.
MATTERS = {policy: 0.01 if policy == "float32" else 0.3 for policy in LIMITS}

OPTIONS = st.fixed_dictionaries(
    {
        "pooling": st.sampled_from(["max", "avg", None]),
        "pool_on": st.sampled_from(["logits", "probabilities"]),
        "window": st.sampled_from(["native", "point"]),
    }
)


def examples(number):
    """The same graphs in every run."""
    return settings(
        max_examples=number,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def difference(value, reference):
    """The largest difference, relative to the largest deviation between pictures."""
    assert value.shape == reference.shape
    spread = np.abs(reference - reference.mean(axis=0)).max()
    return float(
        np.abs(value - reference).max() / max(spread, 0.02 * np.abs(reference).max(), 1e-3)
    )


def logits(graph, values):
    """The values of every output, without activations that squeeze them."""
    flat = keras.tree.flatten(values)
    return [output.logits(value) for output, value in zip(graph.outputs, flat, strict=True)]


def in_layout_of(model, pictures, graph):
    """The pictures in the order of axes that a model takes."""
    if graph.channels_first and model.input_shape[-1] is not None:
        return pictures.transpose(0, 2, 3, 1)
    return pictures


# Every layer gives values near 1: where all that is left is as small, a graph subtracts what it
# adds, and the rest is rounding.
CANCELLED = 1e-4


def slid(graph, pictures, stride):
    """The source's outputs wherever its native window fits, `stride` pixels apart; one array an
    output, (batch, rows, columns, values)."""
    rows, columns = (2, 3) if graph.channels_first else (1, 2)
    native = graph.model.input_shape[rows], graph.model.input_shape[columns]
    tops = range(0, pictures.shape[rows] - native[0] + 1, stride[0])
    lefts = range(0, pictures.shape[columns] - native[1] + 1, stride[1])
    crops = np.concatenate(
        [
            np.take(
                np.take(pictures, range(top, top + native[0]), rows),
                range(left, left + native[1]),
                columns,
            )
            for top in tops
            for left in lefts
        ]
    )
    places = len(tops), len(lefts), len(pictures)
    values = [v.reshape(*places, -1) for v in logits(graph, graph.model(crops, training=False))]
    return [value.transpose(2, 0, 1, 3) for value in values]


class Tally(Counter):
    """What became of the graphs, and what occurred in them."""

    def check(self, graph, options):
        """Holds one graph to the property."""
        self.update(graph.tags)
        self["graphs"] += 1
        self["odd"] += graph.odd is not None
        model, pictures = graph.model, graph.pictures(4)
        reference = logits(graph, model(pictures, training=False))
        before = model.to_json(), [weight.numpy() for weight in model.weights]
        try:
            fcn = to_fcn(model, **options, verify=False)
        except ConversionError as error:
            self["refused"] += 1
            self.check_refusal(graph, options, str(error))
            return
        finally:
            assert model.to_json() == before[0]
            assert all(map(np.array_equal, model.weights, before[1]))
        self["converted"] += 1
        self["odd, yet converted"] += graph.odd is not None
        if plan_conversion(model, **options).exact:
            self["exact"] += 1
            values = logits(graph, fcn(in_layout_of(fcn, pictures, graph), training=False))
            for value, expected in zip(values, reference, strict=True):
                if np.abs(expected).max() < CANCELLED:
                    continue
                apart = difference(value.reshape(expected.shape), expected)
                assert apart < LIMITS[graph.policy], f"differs by {apart}"
        assert to_fcn(model, **options).certificate is not None

    def check_refusal(self, graph, options, message):
        names = {operation.name for operation in graph.operations}
        assert names & set(re.findall("'([^']+)'", message)), f"names no layer: {message}"
        with pytest.raises(ConversionError):
            to_fcn(graph.model, **options)
        # Single locations of two maps need not lie over each other; windows do.
        joined = options["window"] == "point" and "ends joined" in graph.tags
        assert graph.odd or joined, f"refused: {message}"

    def check_slid(self, graph):
        """Where nothing is padded, every place of a larger picture is the source slid there."""
        strides = {output.stride for output in graph.outputs}
        if graph.policy != "float32" or None in strides:
            return
        try:
            fcn = to_fcn(graph.model, pooling=None, verify=False)
        except ConversionError:  # which `check` judges
            return
        self["slid"] += 1
        most = [max(stride[axis] for stride in strides) for axis in (0, 1)]
        pictures = graph.pictures(2, 2 * most[0], most[1])
        maps = logits(graph, fcn(in_layout_of(fcn, pictures, graph), training=False))
        for number, (output, value) in enumerate(zip(graph.outputs, maps, strict=True)):
            expected = slid(graph, pictures, output.stride)[number]
            if np.abs(expected).max() < CANCELLED:
                continue
            apart = difference(value, expected)
            assert apart < LIMITS["float32"], f"slid, it differs by {apart}"


def explore(strategy, number):
    """Holds so many graphs to the property; what occurred."""
    tally = Tally()

    @examples(number)
    @given(graph=strategy, options=OPTIONS)
    def hold(graph, options):
        tally.check(graph, options)
        tally.check_slid(graph)

    hold()
    return tally


def test_random_graphs_are_equal_or_refused():
    tally = explore(graphs(), 25)
    assert tally["converted"] >= 0.6 * tally["graphs"]


@pytest.mark.slow
def test_many_random_graphs_are_equal_or_refused():
    tally = explore(graphs(), 300)
    assert tally["graphs"] >= 300


# ---- negative controls -------------------------------------------------------------------------


def swapped_axes(twin, step):
    """Rows for columns, in a kernel that is larger than one place."""
    if getattr(twin, "kernel", None) is None:
        return False
    kernel = numpy(twin.kernel)
    if kernel.ndim != 4 or max(kernel.shape[:2]) == 1:
        return False
    twin.kernel.assign(kernel.transpose(1, 0, 2, 3).reshape(kernel.shape))
    return True


def transposed_flatten(twin, step):
    """Channels before places, in the kernel of a Dense layer behind a Flatten."""
    if not step.weights or step.becomes != "Conv2D" or max(twin.kernel.shape[:2]) == 1:
        return False
    rows, columns, channels, units = twin.kernel.shape
    kernel = numpy(twin.kernel).reshape(channels, rows, columns, units)
    twin.kernel.assign(kernel.transpose(1, 2, 0, 3))
    return True


def missing_bias(twin, step):
    if getattr(twin, "bias", None) is None:
        return False
    twin.bias.assign(np.zeros(twin.bias.shape))
    return True


def convert_damaged(model, damage, number, **options):
    """`to_fcn` with one layer's twin damaged, counted from the last layer; None if none can be."""
    damaged = []
    move = rewrite._move_weights

    def move_wrongly(graph, plan, twins):
        move(graph, plan, twins)
        steps = zip(graph.layers(), plan.steps, strict=True)
        pairs = [(twins[id(layer)], step) for layer, step in steps]
        for twin, step in pairs[::-1][number:] + pairs[::-1][:number]:
            if damage(twin, step):
                damaged.append(twin.name)
                return

    with mock.patch.object(rewrite, "_move_weights", move_wrongly):
        fcn = to_fcn(model, **options)
    return fcn if damaged else None


def explore_damage(damage, number):
    """Damages so many random graphs; says how often that matters."""
    tally = Counter()

    @examples(number)
    @given(graph=graphs(odd=None), layer=st.integers(0, 7))
    def hold(graph, layer):
        fcn = convert_damaged(graph.model, damage, layer, verify=False)
        if fcn is None:
            return
        pictures = graph.pictures(4)
        expected = keras.tree.flatten(graph.model(pictures, training=False))
        values = keras.tree.flatten(fcn(in_layout_of(fcn, pictures, graph), training=False))
        pairs = [
            (numpy(value), numpy(right)) for value, right in zip(values, expected, strict=True)
        ]
        apart = [np.abs(a - b).max() / max(np.abs(b).max(), 1e-30) for a, b in pairs]
        if not max(apart) >= MATTERS[graph.policy]:
            return
        tally["matters"] += 1
        with pytest.raises(ConversionError, match=r"differs|not finite"):
            convert_damaged(graph.model, damage, layer)

    hold()
    return tally["matters"]


DAMAGES = (swapped_axes, transposed_flatten, missing_bias)


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damage_is_caught_in_every_graph_where_it_matters(damage):
    assert explore_damage(damage, 60) >= 15
