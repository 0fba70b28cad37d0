"""Which layer becomes which: the plan of a conversion, as plain data without weights.

A walk over the graph gives every tensor a `Form`: part of the spatial map, a flattened map that
still waits for the Dense layer that reads it, or a vector, whose twin is a map with one column of
values at each location. What a layer becomes follows from the form of its input.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
from keras import layers

from fcnkeras.convert.graph import Call, ConversionError, Graph, Ref, trace

POOLINGS = ("max", "avg", None)
POOL_ON = ("logits", "probabilities")
WINDOWS = ("native", "point")
KEPT = "kept"


class Form(enum.Enum):
    MAP = "map"
    FLAT = "flattened map"
    VECTOR = "vector"


@dataclass(frozen=True)
class State:
    """What is known of one tensor: its form, the flattened map's (rows, columns), and the calls
    that ended its spatial part."""

    form: Form
    window: tuple[int, int] | None = None
    collapses: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Step:
    """What one layer becomes.

    Attributes:
        layer: the layer's name.
        kind: its class.
        becomes: the class of its twin.
        rule: why, in a few words.
        config: what differs in the twin's configuration.
        weights: (shape in the source, shape in the twin) of every reshaped weight.
    """

    layer: str
    kind: str
    becomes: str
    rule: str
    config: Mapping[str, Any] = field(default_factory=dict)
    weights: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = ()


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
    """

    model: str
    native: tuple[int, int] | None
    pooling: str | None
    pool_on: str
    window: str
    steps: tuple[Step, ...]
    outputs: tuple[Output, ...]
    exact: bool

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
        model: a Functional or Sequential classifier, (batch, height, width, channels) to
            (batch, classes). It is only read.
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
    native = _native_size(graph)
    steps, states = _steps(graph, window)
    outputs = tuple(_output(graph, ref, states[ref]) for ref in graph.outputs)
    exact = window == "native" or _exact_at_points(graph, states, outputs, pooling, pool_on)
    plan = ConversionPlan(name, native, pooling, pool_on, window, steps, outputs, exact)
    return plan, states


def _native_size(graph: Graph) -> tuple[int, int] | None:
    if len(graph.inputs) != 1 or len(graph.inputs[0].shape) != 4:
        shapes = [ref.shape for ref in graph.inputs]
        raise ConversionError(
            "A model with one input of shape (batch, height, width, channels) is needed. "
            f"Received input shapes: {shapes}"
        )
    rows, columns = graph.inputs[0].shape[1:3]
    return None if rows is None or columns is None else (rows, columns)


def _steps(graph: Graph, window: str) -> tuple[tuple[Step, ...], dict[Ref, State]]:
    """Plans every call. A collapse whose vector returns to the map (squeeze-and-excitation) is part
    of the spatial network, which shows only when it returns: then the walk starts again."""
    inner: set[int] = set()
    while True:
        states = {ref: State(Form.MAP) for ref in graph.inputs}
        steps: dict[int, Step] = {}
        again = False
        for number, call in enumerate(graph.calls):
            given = [states[ref] for ref in call.inputs]
            if len({state.form for state in given}) > 1 and Form.MAP in {s.form for s in given}:
                returned = frozenset().union(*(state.collapses for state in given))
                inner |= returned
                again = True
                break
            step, state = _step(call, number, given, number in inner, window)
            before = steps.setdefault(id(call.layer), step)
            if before != step:
                raise ConversionError(
                    f"Layer '{call.layer.name}' is shared and would become two different layers "
                    f"({before.rule}; {step.rule}): use two layers in its place."
                )
            states.update((ref, state) for ref in call.outputs)
        if not again:
            return tuple(steps.values()), states


def _step(
    call: Call, number: int, given: list[State], inner: bool, window: str
) -> tuple[Step, State]:
    layer = call.layer
    forms = {state.form for state in given}
    collapses = frozenset().union(*(state.collapses for state in given))
    if forms <= {Form.MAP}:
        if not inner and isinstance(layer, _COLLAPSES):
            return _collapse(call, number, window)
        if isinstance(layer, layers.Reshape | layers.Permute):
            _check_reshape(call)
        return _same(layer, KEPT), State(Form.MAP)
    if forms == {Form.FLAT}:
        return _after_flatten(call, given, collapses)
    if forms == {Form.VECTOR}:
        return _on_vector(call), State(Form.VECTOR, collapses=collapses)
    raise ConversionError(
        f"Layer '{layer.name}' ({type(layer).__name__}) joins a flattened map with a vector: "
        "put a Dense layer behind the Flatten first."
    )


# ---- the end of the spatial part ---------------------------------------------------------------

_COLLAPSES = (layers.Flatten, layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D)


def _collapse(call: Call, number: int, window: str) -> tuple[Step, State]:
    layer = call.layer
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        raise ConversionError(
            f"Layer '{layer.name}' is channels_first, which is not converted: "
            "build the model with channels_last."
        )
    shape = call.inputs[0].shape
    if len(shape) != 4:  # a vector inside the spatial part, flattened again
        return _same(layer, KEPT), State(Form.MAP)
    rows, columns = shape[1], shape[2]
    collapses = frozenset({number})
    if isinstance(layer, layers.Flatten):
        if rows is None or columns is None:
            raise ConversionError(
                f"Layer '{layer.name}' flattens a map of free size {shape}: "
                "give the model a fixed input size."
            )
        form = Form.VECTOR if (rows, columns) == (1, 1) else Form.FLAT
        step = _identity(layer, f"waits for the Dense layer, {rows}x{columns}")
        return step, State(form, (rows, columns), collapses)
    if window == "point":
        return _identity(layer, "every location decides alone"), State(
            Form.VECTOR, collapses=collapses
        )
    if rows is None or columns is None:
        raise ConversionError(
            f"Layer '{layer.name}' pools a map of free size {shape}, so there is no native window: "
            'give the model a fixed input size, or use window="point".'
        )
    average = isinstance(layer, layers.GlobalAveragePooling2D)
    twin = "AveragePooling2D" if average else "MaxPooling2D"
    config = {"pool_size": (rows, columns), "strides": (1, 1), "padding": "valid"}
    step = Step(layer.name, type(layer).__name__, twin, f"native window {rows}x{columns}", config)
    return step, State(Form.VECTOR, collapses=collapses)


def _check_reshape(call: Call) -> None:
    shape = call.inputs[0].shape
    if len(shape) == 4 and tuple(shape[1:3]) != (1, 1):
        raise ConversionError(
            f"Layer '{call.layer.name}' ({type(call.layer).__name__}) reorders a map of shape "
            f"{shape}, which has no meaning at other sizes: pool or flatten the map instead."
        )


# ---- behind the end ----------------------------------------------------------------------------

# Elementwise layers act on a flattened map as they do on the map.
_ELEMENTWISE = (
    layers.Dropout,
    layers.Identity,
    layers.ReLU,
    layers.LeakyReLU,
    layers.ELU,
    layers.Rescaling,
    layers.GaussianNoise,
    layers.GaussianDropout,
    layers.AlphaDropout,
    layers.ActivityRegularization,
)
# These act on the channel axis, which stays the last one.
_ON_CHANNELS = (
    layers.Softmax,
    layers.BatchNormalization,
    layers.LayerNormalization,
    layers.UnitNormalization,
    layers.Concatenate,
)
_MERGES = (
    layers.Add,
    layers.Subtract,
    layers.Multiply,
    layers.Average,
    layers.Maximum,
    layers.Minimum,
)
# Between 1x1 maps and vectors these only rename the axes.
_RENAMES = (*_COLLAPSES, layers.Reshape)


def _after_flatten(call: Call, given: list[State], collapses: frozenset[int]) -> tuple[Step, State]:
    layer = call.layer
    window = given[0].window
    assert window is not None
    if isinstance(layer, layers.Dense):
        return _dense(layer, window), State(Form.VECTOR, collapses=collapses)
    softmax = isinstance(layer, layers.Activation) and _activation(layer) == "softmax"
    if isinstance(layer, (*_ELEMENTWISE, layers.Activation)) and not softmax:
        return _same(layer, "elementwise"), given[0]
    raise ConversionError(
        f"Layer '{layer.name}' ({type(layer).__name__}) reads a flattened {window[0]}x{window[1]} "
        "map, where only Dense, Dropout and elementwise activations have a spatial twin: "
        "put it before the Flatten or behind the Dense layer."
    )


def _on_vector(call: Call) -> Step:
    layer = call.layer
    if isinstance(layer, layers.Dense):
        return _dense(layer, (1, 1))
    if isinstance(layer, (*_ELEMENTWISE, *_MERGES, layers.Activation)):
        return _same(layer, "at each location")
    if isinstance(layer, _ON_CHANNELS):
        _check_axis(call)
        changes = {"axis": [-1] if isinstance(layer, layers.LayerNormalization) else -1}
        return _same(layer, "on the channel axis", changes)
    if isinstance(layer, layers.Conv2D) and tuple(layer.kernel_size) == (1, 1):
        return _same(layer, "at each location")
    if isinstance(layer, _RENAMES) and _is_vector(call.outputs[0].shape):
        return _identity(layer, "a 1x1 map is a vector")
    raise ConversionError(
        f"Layer '{layer.name}' ({type(layer).__name__}) stands behind the end of the spatial part "
        f"and has no spatial twin (input {[ref.shape for ref in call.inputs]}): "
        "cut it off before converting, or write it with Dense, normalisation and merge layers."
    )


def _is_vector(shape: tuple[int | None, ...]) -> bool:
    return len(shape) == 2 or (len(shape) == 4 and tuple(shape[1:3]) == (1, 1))


def _check_axis(call: Call) -> None:
    axis = call.layer.get_config().get("axis", -1)
    axes = [axis] if isinstance(axis, int) else list(axis)
    last = len(call.inputs[0].shape) - 1
    if any(a not in (-1, last) for a in axes):
        raise ConversionError(
            f"Layer '{call.layer.name}' ({type(call.layer).__name__}) works on axis {axis} of a "
            "vector; only the channel axis, the last one, has a spatial twin."
        )


def _dense(layer: Any, window: tuple[int, int]) -> Step:
    if layer.kernel.shape[0] % math.prod(window):
        raise ConversionError(f"Layer '{layer.name}' does not fit the map of {window} before it.")
    units = layer.units
    kernel = (*window, layer.kernel.shape[0] // math.prod(window), units)
    config = {"filters": units, "kernel_size": window, "padding": "valid"}
    moved = ((tuple(layer.kernel.shape), kernel),)
    rule = "Dense as a convolution"
    return Step(layer.name, type(layer).__name__, "Conv2D", rule, config, moved)


def _same(layer: Any, rule: str, config: Mapping[str, Any] | None = None) -> Step:
    kind = type(layer).__name__
    return Step(layer.name, kind, kind, rule, config or {})


def _identity(layer: Any, rule: str) -> Step:
    return Step(layer.name, type(layer).__name__, "Identity", rule)


# ---- the outputs -------------------------------------------------------------------------------


def _output(graph: Graph, ref: Ref, state: State) -> Output:
    call = graph.producer(ref)
    if call is None or state.form is not Form.VECTOR:
        name = "the input" if call is None else f"layer '{call.layer.name}'"
        raise ConversionError(
            f"The output of {name} is a {state.form.value} of shape {ref.shape}: a classifier's "
            "output comes from vectors behind a Flatten or a global pooling. A model without them "
            "is fully convolutional already."
        )
    layer = call.layer
    alone = sum(other.layer is layer for other in graph.calls) == 1 and not any(
        ref in other.inputs for other in graph.calls
    )
    activation = _activation(layer)
    if activation is None or not alone:
        return Output(layer.name, None, None)
    is_layer = not isinstance(layer, layers.Dense | layers.Conv2D)
    return Output(layer.name, "layer" if is_layer else "argument", activation)


def _activation(layer: Any) -> str | None:
    """The name of the activation that a layer ends in; None for none or linear."""
    if isinstance(layer, layers.Softmax | layers.ReLU | layers.LeakyReLU | layers.ELU):
        return type(layer).__name__.lower()
    function: Callable | None = getattr(layer, "activation", None)
    if function is None or function is keras.activations.linear:
        return None
    return getattr(function, "__name__", type(function).__name__)


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
    if all(isinstance(call.layer, layers.Flatten) for call in ends):
        return True  # the kernel is the whole native map: one location
    if pooling != "avg" or not all(
        isinstance(c.layer, layers.GlobalAveragePooling2D) for c in ends
    ):
        return False
    final = {output.layer for output in outputs if output.split}
    affine = (
        layers.Dropout,
        layers.Identity,
        layers.BatchNormalization,
        layers.Add,
        layers.Average,
        layers.Subtract,
        layers.Concatenate,
        *_RENAMES,
    )
    for call in head:
        if call.layer.name in final and pool_on == "logits":
            continue
        linear = isinstance(call.layer, layers.Dense | layers.Conv2D | layers.Activation)
        if not (isinstance(call.layer, affine) or (linear and _activation(call.layer) is None)):
            return False
    return True
