"""What an exported file is tried on, and how far it is from Keras."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from fcnkeras.layers import NativeWindow

Size = tuple[int, int]
FREE_SIZE = (256, 256)  # tried first where a model has no native size


def all_layers(model: keras.Model) -> Iterator[Any]:
    """The layers of a model and of those nested in it."""
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from all_layers(layer)


def default_sizes(model: keras.Model) -> tuple[Size, ...]:
    """(height, width) in pixels: the native size, a larger square, and one that is not square and
    no multiple of anything."""
    windows = [layer for layer in all_layers(model) if isinstance(layer, NativeWindow)]
    native = windows[0].native or windows[0].least if windows else None
    height, width = native or FREE_SIZE
    side = -(-3 * max(height, width) // 2)
    return (height, width), (side, side), (-(-4 * height // 3), -(-5 * width // 3))


def least_size(model: keras.Model) -> Size:
    """(height, width) in pixels of the smallest picture that a model takes, as far as it says."""
    windows = [layer for layer in all_layers(model) if isinstance(layer, NativeWindow)]
    return next((layer.least for layer in windows if layer.least), (1, 1))


def is_half(model: keras.Model) -> bool:
    """Whether a model computes in half precision anywhere."""
    return any(layer.compute_dtype in ("float16", "bfloat16") for layer in all_layers(model))


def make_inputs(model: keras.Model, size: Size, batch: int) -> dict[str, np.ndarray]:
    """One array for every input, by its name: pictures of noise, some of 0-255 and some of about
    -1 to 1, since only one of the two may be what the model takes; masks of which the first leaves
    the right quarter out; three crops of each picture."""
    rng = np.random.default_rng(0)
    arrays = {}
    for tensor in model.inputs:
        shape, sizes = [batch, *tensor.shape[1:]], list(size)
        for axis in reversed(range(len(shape))):  # from the right: width, height, crops
            if shape[axis] is None:
                shape[axis] = sizes.pop() if sizes else 3
        if len(shape) == 3:
            values = np.ones(shape)
            values[0, :, -(size[1] // 4) :] = 0
        else:
            values = rng.normal(size=shape)
            values[::2] = np.clip(127.5 + 64 * values[::2], 0, 255)
        arrays[tensor.name] = values.astype(tensor.dtype)
    return arrays


def input_structure(model: keras.Model) -> Any:
    """The inputs of a model as it takes them: one tensor, or a list or dict of several."""
    return model.inputs[0] if isinstance(model, keras.Sequential) else model.input


def output_names(model: keras.Model) -> list[str]:
    """The names that the outputs have in files, in the model's order: those of a dict of outputs,
    else output_0, output_1 and so on."""
    outputs = model.outputs if isinstance(model, keras.Sequential) else model.output
    if isinstance(outputs, dict) and all(not keras.tree.is_nested(o) for o in outputs.values()):
        return sorted(outputs)  # as `keras.tree.flatten` orders them
    return [f"output_{number}" for number in range(len(keras.tree.flatten(outputs)))]


def call_model(model: keras.Model, arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """What Keras answers: one array for every output. The arrays are in the order of the inputs."""
    given = keras.tree.pack_sequence_as(input_structure(model), list(arrays.values()))
    outputs = model(given, training=False)
    return [keras.ops.convert_to_numpy(output) for output in keras.tree.flatten(outputs)]


def largest_difference(values: Sequence[Any], expected: Sequence[Any]) -> float:
    """The largest difference of all outputs, each picture's relative to the largest value that it
    should have; infinite where shapes differ or nothing finite is left to compare."""
    worst = 0.0
    for value, reference in zip(values, expected, strict=True):
        if np.shape(value) != np.shape(reference):
            return np.inf
        pairs = [
            (np.asarray(x, "float64"), np.asarray(y, "float64"))
            for x, y in zip(value, reference, strict=True)
            if np.isfinite(np.asarray(y, "float64")).all()
        ]
        if not pairs:
            return np.inf
        for x, y in pairs:
            difference = float(np.abs(x - y).max() / max(np.abs(y).max(), 1e-30))
            worst = max(worst, difference if np.isfinite(difference) else np.inf)
    return worst


def variation(outputs: Sequence[np.ndarray]) -> float:
    """How much the answers to the first two pictures of a batch differ."""
    return largest_difference([o[:1] for o in outputs], [o[1:2] for o in outputs])
