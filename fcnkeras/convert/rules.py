"""The rules of conversion: what one call becomes, given the form of what it reads."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
from keras import layers

from fcnkeras.convert.graph import Call, ConversionError

KEPT = "kept"


class Form(enum.Enum):
    MAP = "map"
    FLAT = "flattened map"
    VECTOR = "vector"


@dataclass(frozen=True)
class Grid:
    """The places of a head's map: the (rows, columns) of the feature map that they were cut from,
    at the native size, and those of the window that one place sees."""

    cells: tuple[int | None, ...]
    window: tuple[int, int]


@dataclass(frozen=True)
class State:
    """What is known of one tensor: its form, and its grid where the spatial part has ended."""

    form: Form
    grid: Grid | None = None


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


def activation_name(layer: Any) -> str | None:
    """The name of the activation that a layer ends in; None for none or linear."""
    if isinstance(layer, layers.Softmax | layers.ReLU | layers.LeakyReLU | layers.ELU):
        return type(layer).__name__.lower()
    function: Callable | None = getattr(layer, "activation", None)
    if function is None or function is keras.activations.linear:
        return None
    return getattr(function, "__name__", type(function).__name__)


def plan_call(call: Call, given: list[State], inner: bool, window: str) -> tuple[Step, State]:
    """What one call becomes, and the state of its outputs.

    Args:
        call: the call.
        given: the states of its inputs.
        inner: whether the spatial part goes on behind it, though it pools (squeeze-and-excitation).
        window: "native" or "point".
    """
    layer = call.layer
    forms = {state.form for state in given}
    if forms <= {Form.MAP}:
        if not inner and ends_map(call):
            return _collapse(call, window)
        _check_on_map(call)
        return _same(layer, KEPT), State(Form.MAP)
    if forms == {Form.FLAT}:
        return _after_flatten(call, given)
    if forms == {Form.VECTOR}:
        grids = {state.grid for state in given}
        if len(grids) > 1:
            raise ConversionError(
                f"Layer '{layer.name}' ({type(layer).__name__}) joins vectors of different maps "
                f"or windows ({', '.join(sorted(_describe(grid) for grid in grids))}), whose "
                "places would not meet on a larger picture: pool the maps to one size first."
            )
        return _on_vector(call), State(Form.VECTOR, given[0].grid)
    raise ConversionError(
        f"Layer '{layer.name}' ({type(layer).__name__}) joins a flattened map with a vector: "
        "put a Dense layer behind the Flatten first."
    )


# ---- the end of the spatial part ---------------------------------------------------------------

_COLLAPSES = (layers.Flatten, layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D)


def ends_map(call: Call) -> bool:
    """Whether a call turns a map into a vector; what is a vector already goes on as it is."""
    shape, result = call.inputs[0].shape, call.outputs[0].shape
    if isinstance(call.layer, layers.Reshape):  # of a 1x1 map, with other axes
        return len(shape) == 4 and tuple(shape[1:3]) == (1, 1) and len(result) == 2
    return len(shape) == 4 and isinstance(call.layer, _COLLAPSES)


def _collapse(call: Call, window: str) -> tuple[Step, State]:
    layer, shape = call.layer, call.inputs[0].shape
    rows, columns = shape[1], shape[2]
    flattens = isinstance(layer, layers.Flatten)
    if window == "point" and not flattens:
        sees = (1, 1)
    elif rows is not None and columns is not None:
        sees = (rows, columns)
    else:
        raise ConversionError(
            f"Layer '{layer.name}' ({type(layer).__name__}) ends a map of free size {shape}, so "
            "there is no native window: give the model a fixed input size"
            + ("." if flattens else ', or use window="point".')
        )
    form = Form.FLAT if flattens and sees != (1, 1) else Form.VECTOR
    state = State(form, Grid((rows, columns), sees))
    if form is Form.FLAT:
        return _identity(layer, f"waits for the Dense layer, {rows}x{columns}"), state
    if flattens or isinstance(layer, layers.Reshape):
        return _identity(layer, "a 1x1 map is a vector"), state
    if window == "point":
        return _identity(layer, "every location decides alone"), state
    average = isinstance(layer, layers.GlobalAveragePooling2D)
    twin = "AveragePooling2D" if average else "MaxPooling2D"
    config = {"pool_size": sees, "strides": (1, 1), "padding": "valid"}
    rule = f"native window {rows}x{columns}"
    return Step(layer.name, type(layer).__name__, twin, rule, config), state


def _check_on_map(call: Call) -> None:
    """Raises for layers that tie the spatial part to one size of map."""
    layer, shape = call.layer, call.inputs[0].shape if call.inputs else ()
    kind = f"Layer '{layer.name}' ({type(layer).__name__})"
    if isinstance(layer, layers.Resizing | layers.CenterCrop | layers.RandomCrop):
        raise ConversionError(
            f"{kind} brings every picture to {layer.height}x{layer.width}, so that no larger "
            "picture would reach the network: build the model without it."
        )
    moves = isinstance(layer, layers.Reshape | layers.Permute)
    if moves and len(shape) == 4 and tuple(shape[1:3]) != (1, 1):
        raise ConversionError(
            f"{kind} reorders a map of shape {shape}, which has no meaning at other sizes: "
            "pool or flatten the map instead."
        )


def _describe(grid: Grid | None) -> str:
    assert grid is not None  # every vector has one
    cells, window = ("x".join(map(str, size)) for size in (grid.cells, grid.window))
    return f"{window} of {cells} cells"


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
RENAMES = (*_COLLAPSES, layers.Reshape)


def _after_flatten(call: Call, given: list[State]) -> tuple[Step, State]:
    layer = call.layer
    grid = given[0].grid
    assert grid is not None
    window = grid.window
    if isinstance(layer, layers.Dense):
        return _dense(layer, window), State(Form.VECTOR, grid)
    softmax = isinstance(layer, layers.Activation) and activation_name(layer) == "softmax"
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
    if isinstance(layer, RENAMES) and _is_vector(call.outputs[0].shape):
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
