"""Skip connections: a fully convolutional network that also reads an earlier, finer map."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from fcnkeras.convert.certificate import FullyConvolutional
from fcnkeras.convert.graph import Call, ConversionError, Graph, Ref, run, trace
from fcnkeras.convert.surgery import clone_layers, move_weights
from fcnkeras.layers import MatchGrid
from fcnkeras.models.structure import layout_of, native_shapes

# Between the last map and the convolution that reads it these pass any number of channels on.
_PASS = (
    layers.Identity,
    layers.Dropout,
    layers.SpatialDropout2D,
    layers.Activation,
    layers.ReLU,
    layers.AveragePooling2D,
    layers.MaxPooling2D,
)


def add_skip_connection(
    fcn: keras.Model, source: str | Sequence[str], *, filters: int = 128
) -> keras.Model:
    """Lets the head of a fully convolutional network read an earlier map beside the last one.

    The map of `source` goes through a 1x1 convolution with ReLU, is pooled onto the last map's
    grid by strides, at any picture size, and joined to it. The kernel that reads both keeps its
    weights; its slices for the new channels start at zero, so that the model equals `fcn` until
    it is trained.

    Args:
        fcn: a model that `to_fcn` returned, with one end of its spatial part. It is only read.
        source: the layer whose map is read, or several.
        filters: channels of each new 1x1 convolution.

    Returns:
        A new `keras.Model` with weights of its own and the same inputs and outputs.

    Raises:
        ConversionError: `fcn` was not made by `to_fcn`, has a skip connection already, or its head
            begins with a layer that cannot take more channels.
        ValueError: no such layer before the last map, none or one twice, or `filters` below 1.

    Source: Apostolidis & Mezaris, "Image Aesthetics Assessment Using Fully Convolutional Neural
    Networks", 2019; the zero start is ours.
    """
    sources = [source] if isinstance(source, str) else list(source)
    if filters < 1:
        raise ValueError(f"`filters` must be at least 1. Received: {filters}")
    graph = trace(fcn)
    features = _features(graph, fcn.name)
    by_name = {call.layer.name: call for call in graph.calls}
    if "features_and_skip" in by_name:
        raise ConversionError(
            f"{fcn.name} has a skip connection already: give all sources at once, as a list."
        )
    if not sources or len(set(sources)) < len(sources):
        raise ValueError(f"`source` must name one layer or several, each once. Received: {source}")
    before = {call.layer.name for call in graph.calls[: graph.calls.index(features)]}
    for name in sources:
        if name not in before or len(by_name[name].outputs[0].shape) != 4:
            raise ValueError(
                f"`source` must name a layer with a map before the last one. {fcn.name} has no "
                f"{name!r}"
            )
    _check_head(graph, features)
    layout = layout_of(fcn)
    *shapes, end = native_shapes(fcn, [*sources, "features"])
    strides = [_stride(layout.size(shape), (end[1], end[2])) for shape in shapes]
    clones = clone_layers(graph)
    maps_by_layer: dict[str, Any] = {}

    def call_clone(call: Call, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        result = clones[id(call.layer)](*args, **kwargs)
        maps_by_layer[call.layer.name] = result
        if call is features:
            maps = [result]
            for name, stride in zip(sources, strides, strict=True):
                conv = layers.Conv2D(filters, 1, activation="relu", name=f"skip_{name}")
                fine = maps_by_layer[name]
                if layout.data_format == "channels_first":
                    fine = layers.Permute((2, 3, 1), name=f"skip_{name}_last")(fine)
                fine = conv(fine)
                maps.append(MatchGrid(stride, name=f"skip_{name}_pool")([fine, result]))
            result = layers.Concatenate(name="features_and_skip")(maps)
        return result

    inputs = [keras.Input(ref.shape[1:], dtype=ref.dtype, name="picture") for ref in graph.inputs]
    values = run(graph, inputs, call_clone)
    outputs = keras.tree.pack_sequence_as(graph.structure, [values[ref] for ref in graph.outputs])
    model = FullyConvolutional(inputs[0], outputs, name=fcn.name)
    move_weights(graph.layers(), clones, fit=_pad_to)
    return model


def _stride(fine: tuple[int | None, ...], coarse: tuple[int, int]) -> tuple[int, int]:
    """Cells of the finer map to one of the coarser, both of known size."""
    rows, columns = (max(1, round((a or b) / b)) for a, b in zip(fine, coarse, strict=True))
    return rows, columns


def _pad_to(layer: Any, value: Any, shape: tuple[int, ...]) -> Any:
    """New channels start at zero."""
    if tuple(value.shape) == shape:
        return value
    return ops.pad(value, [(0, b - a) for a, b in zip(value.shape, shape, strict=True)])


def _features(graph: Graph, name: str) -> Call:
    ends = [call for call in graph.calls if re.fullmatch(r"features(_\d+)?", call.layer.name)]
    if len(ends) != 1:
        raise ConversionError(
            f"A skip connection needs a model of `to_fcn` with one end of its spatial part. "
            f"{name} has {len(ends)}."
        )
    return ends[0]


def _check_head(graph: Graph, features: Call) -> None:
    """Raises if something other than a convolution would meet the new channels."""
    wide: set[Ref] = set(features.outputs)
    for call in graph.calls:
        if not wide.intersection(call.inputs) or isinstance(call.layer, layers.Conv2D):
            continue
        if not isinstance(call.layer, _PASS):
            raise ConversionError(
                f"Layer '{call.layer.name}' ({type(call.layer).__name__}) stands between the last "
                "map and the head's first convolution and cannot take more channels."
            )
        wide.update(call.outputs)
