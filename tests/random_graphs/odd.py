"""Parts that have no twin for pictures of any size, or whose twin is easily got wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import keras
import numpy as np
from keras import layers, ops

from random_graphs.builder import Builder, Node
from random_graphs.heads import dense, width

Odd = Callable[[Builder, Node], Node]


def _layer(kind: type, **config: object) -> Odd:
    return lambda b, x: b.add(kind, x, **config)


def _op(text: str, function: Callable) -> Odd:
    return lambda b, x: b.op(text, function, x)


def _of_whole_map(part: Odd) -> Odd:
    """What looks at the map as a whole is not the source slid over a larger one."""
    return lambda b, x: replace(part(b, x), stride=None)


# ---- on a map, which stays a map ---------------------------------------------------------------


def _turned(b: Builder, x: Node) -> Node:
    return b.add(layers.Permute, x, dims=b.pick((2, 1, 3), (3, 1, 2), (1, 3, 2)))


def _reshaped(b: Builder, x: Node) -> Node:
    """The columns of a map as its rows: every number in it stays."""
    a, c, d = x.shape
    return b.add(layers.Reshape, x, target_shape=(c, a, d))


def _sequence(b: Builder, x: Node) -> Node:
    """Cells of a map as a sequence, and a map again."""
    a, c, d = x.shape
    x = b.add(layers.Reshape, x, target_shape=(a * c, d))
    x = b.add(layers.Dense, x, units=3)
    return b.add(layers.Reshape, x, target_shape=(a, c, 3))


def _flattened_back(b: Builder, x: Node) -> Node:
    shape = x.shape
    x = b.add(layers.Flatten, x)
    return b.add(layers.Reshape, x, target_shape=shape)


def _timed(b: Builder, x: Node) -> Node:
    inner = b.make(layers.Dense, units=3)
    b.layers.remove(inner)
    return b.add(layers.TimeDistributed, x, layer=inner)


def _constant_of_map(b: Builder, x: Node) -> Node:
    values = np.random.default_rng(3).normal(size=x.shape).astype("float32")
    return b.op("add a constant map", lambda t: t + ops.cast(values, t.dtype), x)


_ON_MAP: dict[str, Odd] = {
    "Permute of a map": _turned,
    "Reshape of a map": _reshaped,
    "Dense on a reshaped map": _sequence,
    "flattened and back": _flattened_back,
    "TimeDistributed on a map": _timed,
    "constant of the map's size": _constant_of_map,
    "Resizing": _layer(layers.Resizing, height=6, width=7),
    "CenterCrop": _layer(layers.CenterCrop, height=5, width=4),
    "PReLU for each place": _layer(layers.PReLU),
    "Lambda on a map": _layer(layers.Lambda, function=lambda t: 2 * t),
    "normalised over the map": _layer(layers.LayerNormalization, axis=(1, 2, 3)),
    "unit norm over rows": _layer(layers.UnitNormalization, axis=1),
    "softmax over rows": _layer(layers.Softmax, axis=1),
    "ops.transpose of a map": _op("transpose", lambda t: ops.transpose(t, (0, 2, 1, 3))),
    "ops.flip of a map": _op("flip", lambda t: ops.flip(t, axis=1)),
    "corner of a map": _op("corner", lambda t: t[:, :4, :4]),
    "every second place": _op("[::2]", lambda t: t[:, ::2, ::2]),
    "mean over rows": _op("mean over rows", lambda t: t - ops.mean(t, axis=1, keepdims=True)),
    "ops.reshape of a map": _op(
        "reshape", lambda t: ops.reshape(t, (-1, t.shape[2], t.shape[1], t.shape[3]))
    ),
}
ON_MAP = {name: _of_whole_map(part) for name, part in _ON_MAP.items()}


# ---- the end of the map ------------------------------------------------------------------------


def _flat_in_another_order(b: Builder, x: Node) -> Node:
    """Flatten without the order of axes that the map has, or with one that it has not."""
    other = "channels_last" if b.channels_first else "channels_first"
    return dense(b, b.add(layers.Flatten, x, data_format=other))


def _permuted_flatten(b: Builder, x: Node) -> Node:
    x = b.add(layers.Permute, x, dims=b.pick((3, 1, 2), (2, 1, 3), (2, 3, 1)))
    return dense(b, b.add(layers.Flatten, x))


def _between_flat(*odd: Odd) -> Odd:
    def make(b: Builder, x: Node) -> Node:
        x = b.add(layers.Flatten, x, **b.data_format)
        for part in odd:
            x = part(b, x)
        return dense(b, x)

    return make


def _flat_with_vector(b: Builder, x: Node) -> Node:
    average = b.add(layers.GlobalAveragePooling2D, x, **b.data_format)
    return dense(b, b.add(layers.Concatenate, b.add(layers.Flatten, x, **b.data_format), average))


def _flats(b: Builder, x: Node) -> Node:
    one, two = (b.add(layers.Flatten, x, **b.data_format) for _ in range(2))
    two = b.add(layers.Activation, two, activation="tanh")
    return dense(b, b.add(b.pick(layers.Concatenate, layers.Add), one, two))


def _rows(b: Builder, x: Node) -> Node:
    """Only one axis is pooled, the other becomes a sequence."""
    x = b.op("ops.mean over rows", lambda t: ops.mean(t, axis=1), x)
    return b.add(layers.GlobalAveragePooling1D, x)


def _over_the_wrong_axes(b: Builder, x: Node) -> Node:
    """The mean over columns and channels is a vector of rows."""
    return b.op("ops.mean", lambda t: ops.mean(t, axis=(2, 3) if t.shape[3] else 1), x)


def _attention(b: Builder, x: Node) -> Node:
    a, c, d = x.shape
    x = b.add(layers.Reshape, x, target_shape=(a * c, d))
    x = b.add(layers.Attention, x, x)
    return b.add(layers.GlobalMaxPooling1D, x)


def _product(b: Builder, x: Node) -> Node:
    average = b.add(layers.GlobalAveragePooling2D, x, **b.data_format)
    maximum = b.add(layers.GlobalMaxPooling2D, x, **b.data_format)
    return b.add(layers.Dot, average, maximum, axes=1)


def _global_of_half(b: Builder, x: Node) -> Node:
    x = _of_whole_map(_op("left half", lambda t: t[:, :, : t.shape[2] // 2]))(b, x)
    return b.add(layers.GlobalAveragePooling2D, x, **b.data_format)


def _spread(b: Builder, x: Node) -> Node:
    axes = b.map_axes
    return b.op("ops.std", lambda t: ops.std(t, axis=axes), x)


AS_END: dict[str, Odd] = {
    "Flatten in another order": _flat_in_another_order,
    "Permute and Flatten": _permuted_flatten,
    "Softmax of a flattened map": _between_flat(_layer(layers.Softmax)),
    "softmax of a flattened map": _between_flat(_layer(layers.Activation, activation="softmax")),
    "BatchNormalization of a flattened map": _between_flat(_layer(layers.BatchNormalization)),
    "LayerNormalization of a flattened map": _between_flat(_layer(layers.LayerNormalization)),
    "PReLU of a flattened map": _between_flat(_layer(layers.PReLU)),
    "Reshape of a flattened map": _between_flat(
        lambda b, x: b.add(layers.Reshape, x, target_shape=(x.shape[0], 1)),
        _layer(layers.Flatten),
    ),
    "flip of a flattened map": _between_flat(_op("flip", lambda t: ops.flip(t, axis=-1))),
    "slice of a flattened map": _between_flat(_op("[1:]", lambda t: t[:, 1:])),
    "constant on a flattened map": _between_flat(
        _op("+ constants", lambda t: t + ops.cast(np.linspace(-1, 1, t.shape[1]), t.dtype))
    ),
    "Flatten joined with a vector": _flat_with_vector,
    "two Flattens joined": _flats,
    "mean over rows, then columns": _rows,
    "mean over the wrong axes": _over_the_wrong_axes,
    "Attention over places": _attention,
    "Dot of vectors": _product,
    "half of the map": _global_of_half,
    "ops.std": _spread,
}


# ---- on a vector -------------------------------------------------------------------------------


def _recurrent(b: Builder, x: Node) -> Node:
    x = b.add(layers.Reshape, x, target_shape=(1, x.shape[0]))
    return b.add(b.pick(layers.LSTM, layers.GRU, layers.SimpleRNN), x, units=3)


def _timed_vector(b: Builder, x: Node) -> Node:
    x = b.add(layers.RepeatVector, x, n=2)
    return b.add(layers.Flatten, _timed(b, x))


def _grouped(b: Builder, x: Node) -> Node:
    groups = 2 if x.shape[0] % 2 == 0 else 1
    return b.add(layers.GroupNormalization, x, groups=groups)


def _einsum(b: Builder, x: Node) -> Node:
    return b.add(layers.EinsumDense, x, equation="ab,bc->ac", output_shape=3, bias_axes="c")


def _product_with_weights(b: Builder, x: Node) -> Node:
    matrix = np.random.default_rng(5).normal(size=(x.shape[0], 3)).astype("float32")
    return b.op("matmul", lambda t: ops.matmul(t, ops.cast(matrix, t.dtype)), x)


def _row_convolution(b: Builder, x: Node) -> Node:
    """Channels as the rows of a map of one channel, convolved one by one."""
    x = b.add(layers.Reshape, x, target_shape=(x.shape[0], 1, 1))
    x = b.add(layers.Conv2D, x, filters=b.number(1, 2), kernel_size=1)
    return b.add(layers.Flatten, x)


def _wide_convolution(b: Builder, x: Node) -> Node:
    """A 3x3 convolution of a 1x1 map, of which only the middle counts."""
    x = b.add(layers.Reshape, x, target_shape=(1, 1, x.shape[0]))
    x = b.add(layers.Conv2D, x, filters=3, kernel_size=3, padding="same")
    return b.add(layers.Flatten, x)


def _upsampled(b: Builder, x: Node) -> Node:
    x = b.add(layers.Reshape, x, target_shape=(1, 1, x.shape[0]))
    x = b.add(layers.UpSampling2D, x, size=2)
    return b.add(layers.GlobalMaxPooling2D, x)


def _pairs(b: Builder, x: Node) -> Node:
    x = b.add(layers.Reshape, x, target_shape=(1, x.shape[0]))
    return b.add(layers.GlobalMaxPooling1D, b.add(layers.Conv1D, x, filters=3, kernel_size=1))


def _scaled(b: Builder, x: Node) -> Node:
    scale = np.linspace(0.5, 2, width(b, x)).tolist()
    return b.add(layers.Rescaling, x, scale=scale)


def _stacked(b: Builder, x: Node) -> Node:
    return b.op("ops.stack", lambda t: ops.mean(ops.stack([t, 2 * t], axis=1), axis=1), x)


@keras.saving.register_keras_serializable("tests")
class Reversed(layers.Layer):
    """A layer of someone's own: the channels of a vector in reverse."""

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        return inputs[:, ::-1]


ON_VECTOR: dict[str, Odd] = {
    "recurrent layer": _recurrent,
    "TimeDistributed on a vector": _timed_vector,
    "GroupNormalization of a vector": _grouped,
    "EinsumDense": _einsum,
    "ops.matmul": _product_with_weights,
    "channels as rows": _row_convolution,
    "3x3 convolution of a 1x1 map": _wide_convolution,
    "UpSampling2D of a 1x1 map": _upsampled,
    "Conv1D": _pairs,
    "Rescaling of each channel": _scaled,
    "ops.stack": _stacked,
    "layer of someone's own": _layer(Reversed),
    "Lambda on a vector": _layer(layers.Lambda, function=lambda t: 2 * t),
    "slice of a vector": _op("[:, 1:]", lambda t: t[:, 1:]),
    "sum of the channels": _op("sum", lambda t: t / (1 + ops.sum(abs(t), axis=1, keepdims=True))),
    "mean of the channels": _op("mean", lambda t: t - ops.mean(t, axis=1, keepdims=True)),
    "flip of a vector": _op("flip", lambda t: ops.flip(t, axis=1)),
    "roll of a vector": _op("roll", lambda t: ops.roll(t, 1, axis=1)),
    "cumulative sum": _op("cumsum", lambda t: ops.cumsum(t, axis=1)),
    "unit norm by ops": _op("normalize", lambda t: ops.normalize(t, axis=-1)),
    "constant for each channel": _op(
        "+ constants", lambda t: t + ops.cast(np.linspace(-1, 1, t.shape[1]), t.dtype)
    ),
    "constant row": _op(
        "* constants", lambda t: t * ops.cast(np.linspace(1, 2, t.shape[1])[None], t.dtype)
    ),
    "split and swapped": _op(
        "split", lambda t: ops.concatenate(ops.split(t, [1], axis=1)[::-1], axis=1)
    ),
    "transposed twice": _op("transpose", lambda t: ops.transpose(ops.tanh(ops.transpose(t)))),
    "PReLU for all channels": _layer(layers.PReLU, shared_axes=(1,)),
}
