"""The rules behind the end of the spatial part: flattened maps and vectors."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from keras import layers

from fcnkeras.convert.forms import (
    ACTIVATION_OPS,
    POOLS,
    Form,
    Grid,
    State,
    Step,
    activation_name,
    identity,
    op_name,
    pools_by,
    same,
    size_text,
)
from fcnkeras.convert.graph import Call, ConversionError, Ref

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
_ELEMENTWISE_OPS = ACTIVATION_OPS | frozenset(
    ["Negative", "Absolute", "Square", "Sqrt", "Exp", "Log", "Log1p", "Clip", "Cast", "Sin", "Cos"]
)
# These act on the channel axis, which is the last one in every twin.
_ON_CHANNELS = (
    layers.Softmax,
    layers.BatchNormalization,
    layers.LayerNormalization,
    layers.RMSNormalization,
    layers.UnitNormalization,
    layers.Concatenate,
)
_ON_CHANNELS_OPS = ("Softmax", "LogSoftmax", "Concatenate")
_MERGES = (
    layers.Add,
    layers.Subtract,
    layers.Multiply,
    layers.Average,
    layers.Maximum,
    layers.Minimum,
)
_MERGE_OPS = frozenset(
    ["Add", "Subtract", "Multiply", "Divide", "TrueDivide", "Maximum", "Minimum", "Power"]
)
# Between 1x1 maps and vectors these only rename the axes.
RENAMES = (*POOLS, layers.Flatten, layers.Reshape)
_RENAME_OPS = ("Reshape", "Squeeze", "ExpandDims")


def is_affine(layer: Any) -> bool:
    """Whether a layer behind the end of the map is affine in its inputs, so that it may be
    exchanged with an average over places."""
    if isinstance(layer, layers.Dense | layers.Conv2D | layers.Activation):
        return activation_name(layer) is None
    affine = (
        layers.Dropout,
        layers.Identity,
        layers.Rescaling,
        layers.BatchNormalization,
        layers.Add,
        layers.Average,
        layers.Subtract,
        layers.Concatenate,
        *RENAMES,
    )
    return isinstance(layer, affine) or op_name(layer) in (
        "Add",
        "Subtract",
        "Negative",
        "Concatenate",
        "Cast",
        *_RENAME_OPS,
    )


def after_flatten(call: Call, given: list[State]) -> tuple[Step, State]:
    layer, state = call.layer, given[0]
    grid = state.grid
    assert grid is not None
    if isinstance(layer, layers.Dense):
        return _dense(layer, grid, state.order), State(Form.VECTOR, grid)
    softmax = isinstance(layer, layers.Activation) and activation_name(layer) in _ON_AXIS
    known = isinstance(layer, (*_ELEMENTWISE, *_MERGES, layers.Activation)) and not softmax
    known = known or op_name(layer) in _ELEMENTWISE_OPS | _MERGE_OPS
    for_each_value = isinstance(layer, layers.Rescaling) and np.ndim(layer.scale) > 0
    if known and not for_each_value and _constants(call) <= {0} and len(set(given)) == 1:
        return same(layer, "elementwise"), state
    raise ConversionError(
        f"Layer '{layer.name}' ({type(layer).__name__}) reads a flattened {size_text(grid.window)} "
        "map, where only Dense, Dropout and elementwise layers have a spatial twin: "
        "put it before the Flatten or behind the Dense layer."
    )


# Activations that read the whole last axis.
_ON_AXIS = ("softmax", "log_softmax", "sparsemax", "glu")


def on_vector(call: Call) -> Step:
    layer, shape = call.layer, call.inputs[0].shape
    if all(_channel_axis(ref.shape) for ref in call.outputs):
        if activation_name(layer) in _ON_AXIS:
            _check_axis(call)
        if isinstance(layer, layers.Dense) and _channel_axis(shape) == len(shape) - 1:
            return _dense(layer, Grid((1, 1), (1, 1)), "hwc")
        if isinstance(layer, (*_ELEMENTWISE, *_MERGES, layers.Activation)):
            return same(layer, "at each location")
        if op_name(layer) in _ELEMENTWISE_OPS | _MERGE_OPS and _constants(call) <= {0, 1}:
            return same(layer, "at each location")
        if isinstance(layer, _ON_CHANNELS) or op_name(layer) in _ON_CHANNELS_OPS:
            _check_axis(call)
            changes = {"axis": [-1] if isinstance(layer, layers.LayerNormalization) else -1}
            return same(layer, "on the channel axis", changes)
        if isinstance(layer, layers.PReLU) and len(layer.alpha.shape) == 1:
            units = layer.alpha.shape[0]
            shared = [1, 2, 3] if units == 1 else [1, 2]
            step = same(layer, "at each location", {"shared_axes": shared})
            return replace(step, weights=(((units,), (1, 1, units)),))
        conv_axis = 1 if getattr(layer, "data_format", None) == "channels_first" else 3
        one = all(side == 1 for side in shape[1:])  # of one channel, either axis is it
        reads_channels = len(shape) == 4 and (one or _channel_axis(shape) == conv_axis)
        if (
            isinstance(layer, layers.Conv2D)
            and tuple(layer.kernel_size) == (1, 1)
            and reads_channels
        ):
            conv = {"data_format": "channels_last", "strides": (1, 1)}
            return same(layer, "at each location", conv)
        if _renames(call):
            return identity(layer, "a 1x1 map is a vector")
    raise ConversionError(
        f"Layer '{layer.name}' ({type(layer).__name__}) stands behind the end of the spatial part "
        f"and has no spatial twin (input {[ref.shape for ref in call.inputs]}): "
        "cut it off before converting, or write it with Dense, normalisation and merge layers."
    )


def _channel_axis(shape: tuple[int | None, ...]) -> int | None:
    """The channel axis of a vector, (batch, channels) or a 1x1 map; None for any other shape."""
    if len(shape) == 2:
        return 1
    if len(shape) != 4:
        return None
    return 3 if tuple(shape[1:3]) == (1, 1) else 1 if tuple(shape[2:]) == (1, 1) else None


def _renames(call: Call) -> bool:
    """Whether a call only renames the axes of a 1x1 map or vector."""
    layer, shape, result = call.layer, call.inputs[0].shape, call.outputs[0].shape
    axis, new_axis = _channel_axis(shape), _channel_axis(result)
    if axis is None or new_axis is None or shape[axis] != result[new_axis]:
        return False
    if op_name(layer) and pools_by(layer):
        axes = [layer.axis] if isinstance(layer.axis, int) else layer.axis or []
        return len(shape) == 4 and axis not in [a % 4 for a in axes]
    return isinstance(layer, RENAMES) or op_name(layer) in _RENAME_OPS


def _constants(call: Call) -> set[int]:
    """The numbers of axes of the arrays that a call is given beside its tensors; leading axes of
    length 1 do not count."""
    sizes = set()
    for leaf in keras.tree.flatten((call.args, call.kwargs)):
        shape = tuple(getattr(leaf, "shape", ()))
        if not isinstance(leaf, Ref) and shape:
            while len(shape) > 1 and shape[0] == 1:
                shape = shape[1:]
            sizes.add(0 if shape == (1,) else len(shape))
    return sizes


def _check_axis(call: Call) -> None:
    config = call.layer.get_config()
    axis = config.get("axis", -1)
    axes = [axis] if isinstance(axis, int) else list(axis)
    shape = call.outputs[0].shape
    if {a % len(shape) for a in axes} != {_channel_axis(shape)}:
        raise ConversionError(
            f"Layer '{call.layer.name}' ({type(call.layer).__name__}) works on axis {axis} of a "
            f"vector of shape {shape}; only the channel axis has a spatial twin."
        )


def _dense(layer: Any, grid: Grid, order: str) -> Step:
    if layer.kernel.shape[0] % math.prod(grid.window):
        raise ConversionError(
            f"Layer '{layer.name}' does not fit the map of {size_text(grid.window)} before it."
        )
    channels, units = layer.kernel.shape[0] // math.prod(grid.window), layer.units
    kernel = (*grid.window, channels, units)
    config = {"filters": units, "kernel_size": grid.window, "strides": grid.stride}
    config |= {"padding": "valid", "data_format": "channels_last"}
    moved = ((tuple(layer.kernel.shape), kernel),)
    rule = "Dense as a convolution"
    return Step(layer.name, type(layer).__name__, "Conv2D", rule, config, moved, order)
