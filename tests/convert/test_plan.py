"""`plan_conversion`: what becomes what, as data, and whether the result must equal the source."""

import pickle

import keras
import networks
import pytest
from keras import layers

from fcnkeras import ConversionError, plan_conversion
from fcnkeras.convert.graph import trace


def steps_of(plan):
    return {step.layer: step for step in plan.steps}


def test_flatten_and_dense_become_convolutions_over_the_native_map():
    # 24x30 -> conv 3x3 -> 22x28 -> pool 2 -> 11x14 -> conv 3x3 -> 9x12 of 12 channels.
    plan = plan_conversion(networks.flatten_valid())
    steps = steps_of(plan)
    assert plan.native == (24, 30)
    assert steps["flatten"].becomes == "Identity"
    assert steps["fc1"].becomes == "Conv2D"
    assert steps["fc1"].config["kernel_size"] == (9, 12)
    assert steps["fc1"].weights == (((9 * 12 * 12, 16), (9, 12, 12, 16)),)
    assert steps["predictions"].weights == (((16, 5), (1, 1, 16, 5)),)
    assert [steps[name].rule for name in ("conv1", "pool1", "conv2")] == ["kept"] * 3
    assert [(o.layer, o.split, o.activation) for o in plan.outputs] == [
        ("predictions", "argument", "softmax")
    ]


def test_the_printed_table_shows_shapes_and_options():
    text = str(plan_conversion(networks.flatten_valid(), pooling="avg", pool_on="probabilities"))
    first, *rows, last = text.splitlines()
    assert first.startswith("flatten_valid: native size 24x30, pooling='avg'")
    assert first.endswith("; equal to the source at the native size")
    by_layer = {row.split()[0]: row for row in rows}
    assert "Dense as a convolution" in by_layer["fc1"]
    assert by_layer["fc1"].endswith("(1296, 16) -> (9, 12, 12, 16)")
    assert "waits for the Dense layer, 9x12" in by_layer["flatten"]
    assert rows[-1].split()[:3] == ["predictions", "output", "output"]
    assert rows[-1].endswith("average after softmax")
    assert "conv1" not in by_layer  # spatial layers are counted, not listed
    assert last.startswith("3 layers")  # two convolutions, a pooling


def test_average_pooling_by_window():
    native = steps_of(plan_conversion(networks.average_valid()))["average"]
    point = steps_of(plan_conversion(networks.average_valid(), window="point"))["average"]
    assert (native.becomes, native.config["pool_size"]) == ("AveragePooling2D", (9, 9))
    assert native.config["strides"] == (1, 1)
    assert point.becomes == "Identity"


def test_a_plan_holds_no_weights():
    model = networks.flatten_valid()
    plan = plan_conversion(model)
    assert len(pickle.dumps(plan)) < 5_000 < 4 * model.count_params()
    assert pickle.loads(pickle.dumps(plan)) == plan


def test_planning_leaves_the_model_alone():
    model = networks.nested()
    nodes = [len(layer._inbound_nodes) for layer in trace(model).layers()]
    plan_conversion(model)
    assert [len(layer._inbound_nodes) for layer in trace(model).layers()] == nodes


@pytest.mark.parametrize(
    ("network", "options", "exact"),
    [
        # The window is the native one: the same computation, in one place.
        (networks.average_deep_head, {"pooling": "max", "pool_on": "probabilities"}, True),
        (networks.maximum_same, {"pooling": None}, True),
        # Behind a Flatten the kernel is the whole map, whatever the window.
        (networks.flatten_valid, {"window": "point", "pooling": "max"}, True),
        (networks.whole_map_convolution, {"window": "point", "pool_on": "probabilities"}, True),
        # The mean of an affine function is the function of the mean, before the softmax only.
        (networks.average_valid, {"window": "point", "pooling": "avg"}, True),
        (networks.convolutional_head, {"window": "point", "pooling": "avg"}, True),
        (
            networks.average_valid,
            {"window": "point", "pooling": "avg", "pool_on": "probabilities"},
            False,
        ),
        (networks.average_valid, {"window": "point", "pooling": "max"}, False),
        (networks.average_valid, {"window": "point", "pooling": None}, False),
        # A ReLU between the mean and the logits is not affine, nor is a maximum over places.
        (networks.average_deep_head, {"window": "point", "pooling": "avg"}, False),
        (networks.maximum_same, {"window": "point", "pooling": "avg"}, False),
        # LayerNormalization divides by a deviation of its own at each place.
        (networks.joined_vectors, {"window": "point", "pooling": "avg"}, False),
    ],
)
def test_exact_by_hand(network, options, exact):
    assert plan_conversion(network(), **options).exact is exact


def test_squeeze_and_excitation_is_spatial_and_only_the_last_pooling_an_end():
    steps = steps_of(plan_conversion(networks.squeeze_and_excitation()))
    assert steps["squeeze"].becomes == "GlobalAveragePooling2D"
    assert steps["average"].becomes == "AveragePooling2D"


def test_reads_the_graph_with_nested_models_opened():
    graph = trace(networks.nested())
    names = [layer.name for layer in graph.layers()]
    assert "base" not in names
    assert "norm" in names
    norm = next(call for call in graph.calls if call.layer.name == "norm")
    assert norm.kwargs["training"] is False  # what the outer model says to its base


@pytest.mark.parametrize(
    ("option", "value"), [("pooling", "mean"), ("pool_on", "logit"), ("window", "local")]
)
def test_unknown_values_are_named(option, value):
    with pytest.raises(ValueError, match=f"`{option}` must be one of .*Received: '{value}'"):
        plan_conversion(networks.average_valid(), **{option: value})


def test_a_free_size_refuses_the_last_pooling_and_not_those_inside():
    """A squeeze-and-excitation pools a map of free size too, which is no reason to refuse."""
    picture = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3)(picture)
    gate = layers.GlobalAveragePooling2D(name="squeeze", keepdims=True)(x)
    x = layers.Multiply()([x, layers.Conv2D(4, 1, activation="sigmoid")(gate)])
    x = layers.GlobalAveragePooling2D(name="last")(x)
    model = keras.Model(picture, layers.Dense(2)(x))
    with pytest.raises(ConversionError, match=r"'last' .* free size"):
        plan_conversion(model)
    steps = steps_of(plan_conversion(model, window="point"))
    assert (steps["squeeze"].rule, steps["last"].becomes) == ("kept", "Identity")
