"""Which layer becomes which: the plan of a conversion, as plain data without weights.

A walk over the graph gives every tensor a `Form`: part of the spatial map, a flattened map that
still waits for the Dense layer that reads it, or a vector, whose twin is a map with one column of
values at each location. What a layer becomes follows from the form of its input.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import keras
from keras import layers

from fcnkeras.convert.ends import inner_and_ends, strides_to_meet
from fcnkeras.convert.forms import (
    KEPT,
    Form,
    Layout,
    Place,
    State,
    Step,
    activation_name,
    op_name,
    pools_by,
)
from fcnkeras.convert.graph import ConversionError, Graph, Ref, trace
from fcnkeras.convert.head_rules import is_affine
from fcnkeras.convert.rules import plan_call
from fcnkeras.layers import NativeWindow

POOLINGS = ("max", "avg", None)
POOL_ON = ("logits", "probabilities")
WINDOWS = ("native", "point")


@dataclass(frozen=True)
class Output:
    """One output: the layer that gives it, and where its activation stands.

    Attributes:
        layer: the name of the layer.
        split: "argument" (an activation inside the layer, taken out of it), "layer" (a layer of
            its own), or None (the output has no activation).
        activation: the activation's name, or None.
    """

    layer: str
    split: str | None
    activation: str | None


@dataclass(frozen=True)
class ConversionPlan:
    """The whole conversion as data; `print(plan)` shows it as a table.

    Attributes:
        model: the source model's name.
        native: (height, width) in pixels of the source model's input, or None where it is free.
        steps: one for every layer, in calling order.
        outputs: one for every output of the model.
        exact: whether the result must equal the source at the native size. It need not with
            `window="point"` where something that is not affine stands between the average and the
            pooled output: the mean of a function is not the function of the mean.
        data_format: "channels_last" or "channels_first", the order of the axes of a picture. Maps
            behind the last one of the spatial part are channels last in the result.
    """

    model: str
    native: tuple[int, int] | None
    pooling: str | None
    pool_on: str
    window: str
    steps: tuple[Step, ...]
    outputs: tuple[Output, ...]
    exact: bool
    data_format: str = "channels_last"

    def linear_layers(self, graph: Graph) -> set[int]:
        """The ids of the layers of `graph` whose own activation moves behind the pooling."""
        pairs = zip(graph.outputs, self.outputs, strict=True)
        calls = [graph.producer(ref) for ref, output in pairs if output.split == "argument"]
        return {id(call.layer) for call in calls if call is not None}

    def __str__(self) -> str:
        size = "free" if self.native is None else f"{self.native[0]}x{self.native[1]}"
        head = (
            f"{self.model}: native size {size}, pooling={self.pooling!r}, "
            f"pool_on={self.pool_on!r}, window={self.window!r}; "
            f"{'equal' if self.exact else 'not equal'} to the source at the native size"
        )
        kept = sum(step.rule == KEPT for step in self.steps)
        rows = [("layer", "is", "becomes", "rule", "weights")]
        for step in self.steps:
            if step.rule != KEPT:
                moved = ", ".join(f"{a} -> {b}" for a, b in step.weights)
                rows.append((step.layer, step.kind, step.becomes, step.rule, moved))
        for output in self.outputs:
            rule = {"max": "maximum", "avg": "average", None: "no pooling"}[self.pooling]
            if output.activation and self.pooling:
                after = self.pool_on == "logits"
                rule += f" {'before' if after else 'after'} {output.activation}"
            rows.append((output.layer, "output", "output", rule, ""))
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
        kept_line = f"{kept} layers of the spatial part stay as they are."
        return "\n".join([head, *(line.rstrip() for line in lines), kept_line])


def plan_conversion(
    model: keras.Model,
    *,
    pooling: str | None = "max",
    pool_on: str = "logits",
    window: str = "native",
) -> ConversionPlan:
    """Says what `to_fcn` would do to `model`, without doing it.

    Args:
        model: a Functional or Sequential classifier, (batch, height, width, channels), or the
            same with channels first, to (batch, classes). It is only read.
        pooling: "max", "avg" or None.
        pool_on: "logits" or "probabilities".
        window: "native" or "point". See `to_fcn` for all three.

    Returns:
        A `ConversionPlan`; `print` shows it as a table.

    Raises:
        ConversionError: a layer has no spatial twin; the message names it, the rule, the way out.
        ValueError: an argument is none of its values.

    Example:
        >>> model = keras.applications.VGG16(weights=None)
        >>> print(plan_conversion(model))
    """
    graph = trace(model)
    return plan_graph(model.name, graph, pooling=pooling, pool_on=pool_on, window=window)[0]


def plan_graph(
    name: str, graph: Graph, *, pooling: str | None, pool_on: str, window: str
) -> tuple[ConversionPlan, dict[Ref, State]]:
    """`plan_conversion` for a graph that is already read; also gives the state of every tensor."""
    for label, value, values in (
        ("pooling", pooling, POOLINGS),
        ("pool_on", pool_on, POOL_ON),
        ("window", window, WINDOWS),
    ):
        if value not in values:
            raise ValueError(f"`{label}` must be one of {values}. Received: {value!r}")
    _check_layers(name, graph)
    layout = _layout(graph)
    native = _native_size(graph, layout)
    steps, states = _steps(graph, layout, native, window)
    outputs = tuple(_output(graph, ref, states[ref]) for ref in graph.outputs)
    exact = window == "native" or _exact_at_points(graph, states, outputs, pooling, pool_on)
    plan = ConversionPlan(
        name, native, pooling, pool_on, window, steps, outputs, exact, layout.data_format
    )
    return plan, states


def _check_layers(name: str, graph: Graph) -> None:
    for layer in graph.layers():
        if isinstance(layer, NativeWindow):
            raise ConversionError(
                f"Model '{name}' is fully convolutional already (layer '{layer.name}'): convert "
                "the original model."
            )
        mode = getattr(layer, "quantization_mode", None)
        if mode is not None or getattr(layer, "lora_enabled", False):
            raise ConversionError(
                f"Layer '{layer.name}' ({type(layer).__name__}) "
                + (f"is quantised ({mode})" if mode else "has LoRA weights")
                + ", and such weights cannot be reshaped: convert the float model, and quantise "
                "or adapt the result."
            )


def _layout(graph: Graph) -> Layout:
    """Where the axes of the model's maps are, as its layers say."""
    found: dict[str, str] = {}
    otherwise = keras.config.image_data_format()
    for call in graph.calls:
        on_map = bool(call.inputs) and len(call.inputs[0].shape) == 4
        data_format = getattr(call.layer, "data_format", None)
        if on_map and data_format and isinstance(call.layer, layers.Flatten):
            otherwise = data_format  # of its default nobody thinks while other layers tell
        elif on_map and data_format:
            found.setdefault(data_format, call.layer.name)
    if len(found) > 1:
        raise ConversionError(
            f"Layer '{found['channels_first']}' is channels_first and layer "
            f"'{found['channels_last']}' is channels_last: use one of them in the whole model."
        )
    return Layout(next(iter(found), otherwise))


def _native_size(graph: Graph, layout: Layout) -> tuple[int, int] | None:
    if len(graph.inputs) != 1 or len(graph.inputs[0].shape) != 4:
        shapes = [ref.shape for ref in graph.inputs]
        raise ConversionError(
            "A model with one input of shape (batch, height, width, channels) is needed. "
            f"Received input shapes: {shapes}"
        )
    rows, columns = layout.size(graph.inputs[0].shape)
    return None if rows is None or columns is None else (rows, columns)


def _steps(
    graph: Graph, layout: Layout, native: tuple[int, int] | None, window: str
) -> tuple[tuple[Step, ...], dict[Ref, State]]:
    """What every layer becomes, and the state of every tensor."""
    inner, groups = inner_and_ends(graph, layout)
    strides = strides_to_meet(graph, layout, native, groups)
    states = {ref: State(Form.MAP) for ref in graph.inputs}
    steps: dict[int, Step] = {}
    for number, call in enumerate(graph.calls):
        given = [states[ref] for ref in call.inputs]
        place = Place(layout, number in inner, window, strides.get(number, (1, 1)))
        step, state = plan_call(call, given, place)
        before = steps.setdefault(id(call.layer), step)
        if replace(before, rule=step.rule) != step:
            raise ConversionError(
                f"Layer '{call.layer.name}' is shared and would become two different layers "
                f"({before.rule}; {step.rule}): use two layers in its place."
            )
        states.update((ref, state) for ref in call.outputs)
    return tuple(steps.values()), states


# ---- the outputs -------------------------------------------------------------------------------


def _output(graph: Graph, ref: Ref, state: State) -> Output:
    call = graph.producer(ref)
    if call is None or state.form is not Form.VECTOR:
        raise ConversionError(_no_vector(graph, ref, state))
    layer = call.layer
    alone = sum(other.layer is layer for other in graph.calls) == 1 and not any(
        ref in other.inputs for other in graph.calls
    )
    activation = activation_name(layer)
    if activation is None or not alone:
        return Output(layer.name, None, None)
    is_layer = bool(op_name(layer)) or not isinstance(layer, layers.Dense | layers.Conv2D)
    return Output(layer.name, "layer" if is_layer else "argument", activation)


def _no_vector(graph: Graph, ref: Ref, state: State) -> str:
    """Why an output is none that could be a vector behind a map."""
    call, needed = graph.producer(ref), "a Flatten, GlobalAveragePooling2D or GlobalMaxPooling2D"
    name = "the input" if call is None else f"layer '{call.layer.name}'"
    if state.form is Form.MAP and len(ref.shape) == 4:
        return (
            f"The output of {name} is a map of shape {ref.shape}, where a vector behind {needed} "
            "layer is needed. A model without them is fully convolutional already."
        )
    way_out = f"end the spatial part with {needed} layer, and decide behind it."
    turns = next(
        (
            call
            for call in reversed(graph.before({ref}).calls)
            if len(call.outputs[0].shape) != 4 and any(len(r.shape) == 4 for r in call.inputs)
        ),
        None,
    )
    if turns is None or state.form is Form.FLAT:
        return (
            f"The output of {name} is a {state.form.value} of shape {ref.shape}, where a vector is "
            f"needed: {way_out}"
        )
    return (
        f"Layer '{turns.layer.name}' ({type(turns.layer).__name__}) turns the map into a tensor "
        f"of shape {turns.outputs[0].shape}, whose places are lost: {way_out}"
    )


def _exact_at_points(
    graph: Graph,
    states: Mapping[Ref, State],
    outputs: tuple[Output, ...],
    pooling: str | None,
    pool_on: str,
) -> bool:
    """Whether pooling single locations gives what the source gives at its native size."""
    head = [c for c in graph.calls if any(states[r].form is not Form.MAP for r in c.outputs)]
    ends = [call for call in head if states[call.inputs[0]].form is Form.MAP]
    grids = [states[call.outputs[0]].grid for call in ends]
    if all(grid is not None and grid.cells == grid.window for grid in grids):
        return True  # the window is the whole native map: one location
    even = all(
        grid is not None
        and all(n is not None and n % k == 0 for n, k in zip(grid.cells, grid.stride, strict=True))
        for grid in grids
    )
    strided = any(grid is not None and grid.stride != (1, 1) for grid in grids)
    averages = all(pools_by(call.layer) == "avg" for call in ends)
    if pooling != "avg" or not averages or (strided and not even):
        return False
    final = [graph.producer(r) for r, o in zip(graph.outputs, outputs, strict=True) if o.split]
    return all(
        (call in final and pool_on == "logits") or call in ends or is_affine(call.layer)
        for call in head
    )
