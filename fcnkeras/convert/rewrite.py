"""`to_fcn`: applies a conversion plan and returns a new model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import layers, ops

from fcnkeras.convert.certificate import FullyConvolutional, certify
from fcnkeras.convert.forms import Form, Layout, State, Step
from fcnkeras.convert.graph import Call, Graph, Ref, run, trace
from fcnkeras.convert.plan import ConversionPlan, plan_graph
from fcnkeras.convert.surgery import made_anew, move_weights, unique_names
from fcnkeras.layers import Im2colConv2D, NativeWindow, SamePlaces

# Names of the layers that a conversion adds, by which they are found again.
_ADDED = re.compile(r"(picture|native_window|features|pooled)(_\d+)?")


def to_fcn(
    model: keras.Model,
    *,
    pooling: str | None = "max",
    pool_on: str = "logits",
    window: str = "native",
    name: str | None = None,
    verify: bool = True,
) -> keras.Model:
    """Makes an image classifier fully convolutional: a new model for pictures of any size.

    Every Dense layer becomes a convolution with the same weights, so that the network can be laid
    on every place of a larger picture; the decisions of all places are pooled.

    Args:
        model: a Functional or Sequential classifier, (batch, height, width, channels), or the
            same with channels first, to (batch, classes), in any pixel range that it takes. It is
            only read.
        pooling: how the places are joined: "max", "avg", or None for the map itself, of shape
            (batch, rows, columns, classes).
        pool_on: "logits" pools, then applies the output activation (so that a softmax still sums
            to 1); "probabilities" applies the activation at each place, then pools.
        window: what one place sees, where the model ends in a global pooling. "native": what the
            original network saw (a 7x7 average for a network of 224 pixels), so that every
            place is the original network slid there. "point": one feature location.
            Models that flatten their map always see their native window.
        name: the new model's name; by default the model's own and `_fcn`.
        verify: proves at the native size that the result equals `model`, and raises if not.

    Returns:
        A `keras.Model`, (batch, rows, columns, channels) to (batch, classes), with weights of its
        own and the layer names of `model`, except that "picture", "native_window", "features" and
        "pooled", which the conversion adds, become "source_picture" and so on, and that of two
        layers with one name in nested models the second ends in "_2". Several outputs keep their
        structure (list, dict). With verify, its attribute `certificate` is the proof, which is
        saved with it. A channels-first model takes channels-first pictures; from its features on
        the result is channels last.

    Raises:
        ConversionError: a layer has no spatial twin, or the result differs from the model.
        ValueError: an argument is none of its values.
        TypeError: `model` is not a Keras model.

    Example:
        >>> model = keras.applications.VGG16(weights=None)
        >>> fcn = to_fcn(model)
        >>> fcn(np.zeros((1, 336, 500, 3), "float32")).shape
        (1, 1000)

    Source: Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic Segmentation",
    2015.
    """
    graph = trace(model)
    plan, states = plan_graph(model.name, graph, pooling=pooling, pool_on=pool_on, window=window)
    twins = _make_twins(graph, plan)
    fcn, tensors = _assemble(graph, plan, states, twins, name or f"{model.name}_fcn")
    _move_weights(graph, plan, twins)
    if verify:
        fcn.certificate = certify(model, graph, plan, states, twins, tensors, fcn)
    return fcn


def _make_twins(graph: Graph, plan: ConversionPlan) -> dict[int, Any]:
    """A new layer for every layer of the graph, by the source layer's id."""
    linear = plan.linear_layers(graph)
    twins = {}
    for (layer, name), step in zip(unique_names(graph, _source_name), plan.steps, strict=True):
        with made_anew(layer):
            twins[id(layer)] = _make_twin(layer, step, name, linear=id(layer) in linear)
    return twins


def _source_name(name: str) -> str:
    """The names of layers that a conversion adds are kept for those."""
    return f"source_{name}" if _ADDED.fullmatch(name) else name


def _make_twin(layer: Any, step: Step, name: str, *, linear: bool) -> Any:
    config, kind = layer.get_config(), type(layer)
    if step.becomes != step.kind:
        kind = getattr(layers, step.becomes)
        shared: tuple[str, ...] = ("dtype", "trainable")
        if step.becomes == "Conv2D":
            if step.config["kernel_size"] != (1, 1):
                kind = Im2colConv2D
            shared += ("use_bias", "activation", "activity_regularizer", "kernel_", "bias_")
        config = {key: value for key, value in config.items() if key.startswith(shared)}
    config |= {**step.config, "name": name}
    if linear:
        config["activation"] = "linear"
    twin = kind.from_config(config)
    for key in config:
        if key.endswith("_initializer"):  # the weights are overwritten at once: draw no random ones
            setattr(twin, key, keras.initializers.Zeros())
    return twin


def _assemble(
    graph: Graph,
    plan: ConversionPlan,
    states: Mapping[Ref, State],
    twins: Mapping[int, Any],
    name: str,
) -> tuple[keras.Model, dict[Ref, Any]]:
    """The new model, and what became of every tensor of the source except the outputs of
    activations that come behind the pooling."""
    source, layout = graph.inputs[0], Layout(plan.data_format)
    shape = layout.shape(None, (None, None), source.shape[layout.channel])
    picture = keras.Input(shape[1:], dtype=source.dtype, name="picture")
    waits = any(state.form is Form.FLAT for state in states.values())
    least = plan.native if plan.window == "native" or waits else None
    start = NativeWindow(plan.native, least, plan.data_format, name="native_window")(picture)
    features: dict[Ref, Any] = {}
    pairs = list(zip(graph.outputs, plan.outputs, strict=True))
    last = {graph.producer(ref) for ref, output in pairs if output.split == "layer"}

    def call_twin(call: Call, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        if call in last:  # an activation, which `_pool` puts where the plan says
            return args[0]
        ref = call.inputs[0]
        if states[ref].form is Form.MAP and states[call.outputs[0]].form is not Form.MAP:
            if ref not in features:
                features[ref] = _features(args[0], layout, len(features))
            args = (features[ref],)
        args = _at_same_places(call, args, states)
        with made_anew(call.layer):
            return twins[id(call.layer)](*args, **kwargs)

    values = run(graph, [start], call_twin)
    outputs = []
    for number, (ref, output) in enumerate(pairs):
        call = graph.producer(ref)
        assert call is not None
        suffix = f"_{number + 1}" if number else ""
        activation = None
        if output.split == "layer":
            activation = twins[id(call.layer)]
        elif output.split == "argument":
            activation = layers.Activation(
                call.layer.activation,
                name=f"{twins[id(call.layer)].name}_activation",
                dtype=call.layer.dtype_policy,
            )
        outputs.append(_pool(values[ref], activation, plan, f"pooled{suffix}"))
    outputs = keras.tree.pack_sequence_as(graph.structure, outputs)
    for call in last:
        if call is not None:
            del values[call.outputs[0]]
    return FullyConvolutional(picture, outputs, name=name), values


def _features(values: Any, layout: Layout, count: int) -> Any:
    """The last map of the spatial part, channels last, under the name that skip connections and
    activation maps look for."""
    if layout.data_format == "channels_first":
        values = layers.Permute((2, 3, 1), dtype=values.dtype)(values)
    name = f"features_{count + 1}" if count else "features"
    return layers.Identity(name=name, dtype=values.dtype)(values)


def _at_same_places(call: Call, args: Sequence[Any], states: Mapping[Ref, State]) -> Sequence[Any]:
    """Brings vectors of maps of different sizes, which can differ by a place at the border, to the
    places of the coarsest."""
    grid = states[call.outputs[0]].grid
    given = [states[ref].grid for ref in call.inputs]
    if states[call.outputs[0]].form is not Form.VECTOR or set(given) <= {None, grid}:
        return args
    values = [leaf for leaf in keras.tree.flatten(args) if isinstance(leaf, keras.KerasTensor)]
    coarsest = values[given.index(grid)]
    moved = {
        id(value): SamePlaces(dtype=value.dtype)([value, coarsest])
        for value, own in zip(values, given, strict=True)
        if own != grid
    }
    return keras.tree.map_structure(lambda leaf: moved.get(id(leaf), leaf), args)


def _pool(logits: Any, activation: Any, plan: ConversionPlan, name: str) -> Any:
    """Pools the map and applies the output's activation, in the order that the plan says."""
    kind = {
        "max": layers.GlobalMaxPooling2D,
        "avg": layers.GlobalAveragePooling2D,
        None: layers.Identity,
    }[plan.pooling]
    pool = kind(name=name, dtype=logits.dtype)
    if activation is None:
        return pool(logits)
    if plan.pool_on == "logits":
        return activation(pool(logits))
    return pool(activation(logits))


def _move_weights(graph: Graph, plan: ConversionPlan, twins: Mapping[int, Any]) -> None:
    steps = {id(layer): step for layer, step in zip(graph.layers(), plan.steps, strict=True)}
    move_weights(graph.layers(), twins, lambda layer, *rest: _to_twin(steps[id(layer)], *rest))
    for layer in graph.layers():
        for name in vars(layer):
            if name.endswith("_initializer") and hasattr(twins[id(layer)], name):
                setattr(twins[id(layer)], name, getattr(layer, name))


def _to_twin(step: Step, value: Any, shape: tuple[int, ...]) -> Any:
    """A weight in the shape that its twin has."""
    if step.order == "hwc" or len(shape) != 4:
        return ops.reshape(value, shape)
    sides = dict(zip("hwc", shape, strict=False))
    value = ops.reshape(value, (*(sides[axis] for axis in step.order), shape[-1]))
    return ops.transpose(value, (*(step.order.index(axis) for axis in "hwc"), 3))
