"""How far each layer looks on a map (batch, rows, columns, channels): one cell, a window, all."""

from __future__ import annotations

from typing import Any

from keras import layers

from fcnkeras.convert.forms import ACTIVATION_OPS, POOLS, op_name, pools_by
from fcnkeras.convert.graph import Call
from fcnkeras.layers import (
    Im2colConv2D,
    LocalResponseNormalization,
    NativeWindow,
    Preprocessing,
)

# These read one cell, all its channels included, and nothing else.
_CELLWISE: frozenset[type] = frozenset(
    [
        layers.Activation,
        layers.ActivityRegularization,
        layers.Add,
        layers.AlphaDropout,
        layers.Average,
        layers.Dropout,
        layers.ELU,
        layers.GaussianDropout,
        layers.GaussianNoise,
        layers.Identity,
        layers.LeakyReLU,
        layers.Maximum,
        layers.Minimum,
        layers.Multiply,
        layers.PReLU,
        layers.ReLU,
        layers.Rescaling,
        layers.SpatialDropout2D,
        layers.Subtract,
        LocalResponseNormalization,
        NativeWindow,
        Preprocessing,
    ]
)
# So do these where they work on the channel axis.
_ON_CHANNELS: frozenset[type] = frozenset(
    [
        layers.Concatenate,
        layers.Dense,
        layers.LayerNormalization,
        layers.Normalization,
        layers.RMSNormalization,
        layers.Softmax,
        layers.UnitNormalization,
    ]
)
_CELLWISE_OPS = ACTIVATION_OPS | frozenset(
    [
        *("Add", "Subtract", "Multiply", "Divide", "TrueDivide", "Maximum", "Minimum", "Power"),
        *("Negative", "Absolute", "Square", "Sqrt", "Exp", "Log", "Log1p", "Clip", "Cast"),
    ]
)
_ON_CHANNELS_OPS = frozenset(["Concatenate", "Softmax", "LogSoftmax", "Mean", "Max"])
_CONVOLUTIONS = (
    layers.Conv2D,
    layers.DepthwiseConv2D,
    layers.SeparableConv2D,
    Im2colConv2D,
)
WINDOWS = (*_CONVOLUTIONS, layers.MaxPooling2D, layers.AveragePooling2D)
BORDERS = (layers.ZeroPadding2D, layers.Cropping2D, layers.UpSampling2D)


def window_of(layer: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    """The (rows, columns) of cells that a layer reads at once, and from one window to the next."""
    if not isinstance(layer, _CONVOLUTIONS):
        return tuple(layer.pool_size), tuple(layer.strides)
    pairs = zip(layer.kernel_size, layer.dilation_rate, strict=True)
    rows, columns = ((size - 1) * dilation + 1 for size, dilation in pairs)
    return (rows, columns), tuple(layer.strides)


def has_own_function(layer: Any) -> bool:
    """Whether a layer ends in an activation that is not one of Keras'."""
    function = getattr(layer, "activation", None)
    return function is not None and not getattr(function, "__module__", "").startswith("keras.")


def pools_map(call: Call) -> bool:
    """Whether a call pools a map, or the maps of a gate, to one value a channel."""
    layer = call.layer
    if op_name(layer):
        return pools_by(layer) is not None and sorted(_axes(layer)) == [1, 2]
    return type(layer) in POOLS and layer.data_format == "channels_last"


def _axes(layer: Any) -> list[int]:
    """The axes of a map (batch, rows, columns, channels) that a layer works on."""
    axis = getattr(layer, "axis", -1)
    axes = [axis] if isinstance(axis, int) else [0, 1, 2, 3] if axis is None else list(axis)
    return [each % 4 for each in axes]


def on_channels(call: Call) -> bool:
    """Whether a call gives maps and works along their channels."""
    return _axes(call.layer) == [3] and all(len(ref.shape) == 4 for ref in call.outputs)


def is_cellwise(call: Call) -> bool:
    """Whether each cell of the result depends on the same cell of what is read, and on no other."""
    kind, op = type(call.layer), op_name(call.layer)
    if kind is layers.PReLU and tuple(call.layer.alpha.shape[:2]) != (1, 1):
        return False
    return (
        kind in _CELLWISE
        or op in _CELLWISE_OPS
        or ((kind in _ON_CHANNELS or op in _ON_CHANNELS_OPS) and on_channels(call))
    )
