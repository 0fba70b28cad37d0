"""What can be read off a model that `to_fcn` made: native size, map shapes, the pooled map."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from fcnkeras.convert.forms import Layout
from fcnkeras.layers import NativeWindow, Preprocessing


def native_window(fcn: keras.Model) -> NativeWindow:
    """The layer in which a fully convolutional model keeps where it came from.

    Raises:
        ValueError: the model was not made by `to_fcn`.
    """
    for layer in fcn.layers:
        if isinstance(layer, NativeWindow):
            return layer
    raise ValueError(f"Model '{fcn.name}' was not made by `to_fcn`: it has no NativeWindow layer.")


def native_size(fcn: keras.Model) -> tuple[int, int] | None:
    """(height, width) in pixels of the network that a fully convolutional model was made from.

    Raises:
        ValueError: the model was not made by `to_fcn`.
    """
    return native_window(fcn).native


def input_size(model: keras.Model) -> tuple[bool, tuple[int, int]]:
    """Whether a model takes pictures of any size, and the (height, width) that it was made for."""
    shape = model.inputs[0].shape[1:3]
    if None not in shape:
        return False, (int(shape[0]), int(shape[1]))
    for layer in model.layers:
        if isinstance(layer, NativeWindow) and layer.native is not None:
            return True, layer.native
    return True, (224, 224)


def with_preprocessing(model: keras.Model, mode: str) -> keras.Model:
    """A model of RGB pixels of 0-255, with the layers of one that expects them as `mode` of
    `fcnkeras.layers.Preprocessing` makes them."""
    picture, *others = (keras.Input(each.shape[1:], dtype=each.dtype) for each in model.inputs)
    given = Preprocessing(mode)(picture)
    outputs = model([given, *others] if others else given)
    return keras.Model([picture, *others] if others else picture, outputs, name=model.name)


def layout_of(fcn: keras.Model) -> Layout:
    """Where the axes of a fully convolutional model's pictures and maps are; from its features on
    they are channels last.

    Raises:
        ValueError: the model was not made by `to_fcn`.
    """
    return Layout(native_window(fcn).data_format)


def native_shapes(fcn: keras.Model, names: Sequence[str]) -> list[tuple[int, ...]]:
    """The output shapes that the named layers have for one picture of the native size."""
    layout, size = layout_of(fcn), native_size(fcn) or (256, 256)
    outputs = [fcn.get_layer(name).output for name in names]
    probe = keras.Model(fcn.input, outputs)
    shape = layout.shape(1, size, fcn.input.shape[layout.channel])
    return [tuple(shape) for shape in probe.compute_output_shape(shape)]


def map_window(fcn: keras.Model) -> tuple[int, int]:
    """(rows, columns) of feature cells that one place of the model's map sees."""
    features, scores = native_shapes(fcn, ["features", _pooled_source(fcn)])
    return features[1] - scores[1] + 1, features[2] - scores[2] + 1


def map_model(fcn: keras.Model) -> keras.Model:
    """The model up to its map of scores before pooling: (batch, rows, columns, classes)."""
    return keras.Model(fcn.input, fcn.get_layer("pooled").input, name=f"{fcn.name}_map")


def _pooled_source(fcn: keras.Model) -> str:
    return fcn.get_layer("pooled").input._keras_history.operation.name
