"""The layers of exact masks: each picture's own size goes with its values from map to map.

A picture lies at the top left of its array, so its own cells of a map (batch, rows, columns,
channels) are the first so many rows and columns; its sizes are int32 (batch, 2). What puts these
layers into a network: `fcnkeras.models.exact`. The fast mask needs none of them:
`fcnkeras.layers.MaskedGlobalPooling2D`.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("fcnkeras")
class PictureSizes(keras.layers.Layer):
    """Reads each picture's size off its mask.

    Input: the mask (batch, height, width), true on real picture.
    Output: int32 (batch, 2), the rows and columns of the picture; 0 and 0 where it is not one
        rectangle at the top left.
    """

    def call(self, mask: Any) -> Any:
        mask = ops.cast(mask, "bool")
        rows, columns = ops.any(mask, axis=2), ops.any(mask, axis=1)
        sizes = ops.stack([_count(rows), _count(columns)], axis=1)
        rectangle = ops.equal(mask, _own_cells(sizes, *ops.shape(mask)[1:3]))
        return ops.where(ops.all(rectangle, axis=(1, 2))[:, None], sizes, 0)

    def compute_output_spec(self, mask: Any) -> Any:
        return keras.KerasTensor((mask.shape[0], 2), "int32")


@keras.saving.register_keras_serializable("fcnkeras")
class CellSizes(keras.layers.Layer):
    """The pictures' sizes behind a layer: (size * times + plus) // over, for rows and columns.

    Args:
        times, plus, over: a pair of numbers each.

    Input and output: int32 (batch, 2). What has no cell before or behind the layer has 0.
    """

    def __init__(
        self, times: tuple[int, int], plus: tuple[int, int], over: tuple[int, int], **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.times, self.plus, self.over = _pair(times), _pair(plus), _pair(over)

    def call(self, sizes: Any) -> Any:
        after = (sizes * _numbers(self.times) + _numbers(self.plus)) // _numbers(self.over)
        return ops.where(sizes > 0, ops.maximum(after, 0), 0)

    def compute_output_spec(self, sizes: Any) -> Any:
        return keras.KerasTensor(sizes.shape, "int32")

    def get_config(self) -> dict[str, Any]:
        own = {"times": self.times, "plus": self.plus, "over": self.over}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("fcnkeras")
class OwnCells(keras.layers.Layer):
    """Which cells of a map are the picture's own.

    Inputs: a list of the map (batch, rows, columns, channels), which is read for its size only,
        and the pictures' sizes in its cells (batch, 2).
    Output: bool (batch, rows, columns).
    """

    def call(self, inputs: Any) -> Any:
        values, sizes = inputs
        return _own_cells(sizes, *ops.shape(values)[1:3])

    def compute_output_spec(self, inputs: Any) -> Any:
        return keras.KerasTensor(inputs[0].shape[:3], "bool")


@keras.saving.register_keras_serializable("fcnkeras")
class DropMask(keras.layers.Layer):
    """Takes the mask off a map that a layer which was told of its own cells hung on it, so that
    Keras does not hand it on. Input and output: any tensor."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, values: Any) -> Any:
        return ops.copy(values)  # Keras hangs the mask on the tensor itself

    def compute_mask(self, inputs: Any, previous_mask: Any) -> None:
        return None

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape


@keras.saving.register_keras_serializable("fcnkeras")
class FillOutside(keras.layers.Layer):
    """Sets every cell that is not the picture's own to one value.

    Args:
        fill: "zero", or "lowest", which never wins a maximum.

    Inputs: a list of the map (batch, rows, columns, channels) and the output of `OwnCells`.
    Output: the map.
    """

    def __init__(self, fill: str = "zero", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fill = _checked("fill", fill, ("zero", "lowest"))

    def call(self, inputs: Any) -> Any:
        values, own = inputs
        return ops.where(own[..., None], values, _fill(self.fill, values.dtype))

    def compute_output_shape(self, input_shape: list) -> tuple:
        return tuple(input_shape[0])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "fill": self.fill}


@keras.saving.register_keras_serializable("fcnkeras")
class AlignSame(keras.layers.Layer):
    """Moves each picture to where a layer with strides and padding "same" would have laid it alone.

    Such a layer divides its padding between the two ends, and how much there is depends on the
    size modulo the stride. Here every array becomes a multiple of the stride, which is padded
    least, and a picture of another size moves right and down by the cells of padding that it
    would have had more. The layer's own windows then stand where they stood for the picture alone.

    Args:
        window: (rows, columns) of cells that the layer reads, dilation included.
        strides: (rows, columns) of cells from one window to the next.
        fill: "zero" or "lowest", what stands before a picture that moves and behind it.

    Inputs: a list of the map (batch, rows, columns, channels) and the pictures' sizes in its cells
        (batch, 2).
    Output: the map, its rows and columns rounded up to multiples of the strides where anything can
        move.
    """

    def __init__(
        self,
        window: tuple[int, int],
        strides: tuple[int, int],
        fill: str = "zero",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.window, self.strides = _pair(window), _pair(strides)
        self.fill = _checked("fill", fill, ("zero", "lowest"))

    @property
    def most(self) -> tuple[int, int]:
        """The cells by which a picture moves at most, down and right."""
        down, right = (
            max(_padding_before(rest, window, stride) for rest in range(stride))
            - _padding_before(0, window, stride)
            for window, stride in zip(self.window, self.strides, strict=True)
        )
        return down, right

    def call(self, inputs: Any) -> Any:
        values, sizes = inputs
        for axis, most in enumerate(self.most, start=1):
            if most:
                values = self._move(values, sizes[:, axis - 1], axis, most)
        return values

    def _move(self, values: Any, sizes: Any, axis: int, most: int) -> Any:
        window, stride = self.window[axis - 1], self.strides[axis - 1]
        length = (ops.shape(values)[axis] + stride - 1) // stride * stride
        sides = [(0, 0)] * 4
        sides[axis] = (most, stride - 1)
        padded = ops.pad(values, sides, constant_values=_fill(self.fill, values.dtype))
        least = _padding_before(0, window, stride)
        moves = [_padding_before(rest, window, stride) - least for rest in range(stride)]
        move = ops.take(ops.convert_to_tensor(moves, "int32"), sizes % stride)
        result = _slice(padded, axis, most, length)
        for cells in sorted(set(moves) - {0}):
            moved = _slice(padded, axis, most - cells, length)
            result = ops.where(ops.reshape(move == cells, (-1, 1, 1, 1)), moved, result)
        return result

    def compute_output_shape(self, input_shape: list) -> tuple:
        batch, *sides, channels = input_shape[0]
        for axis, (most, stride) in enumerate(zip(self.most, self.strides, strict=True)):
            if most and sides[axis] is not None:
                sides[axis] = -(-sides[axis] // stride) * stride
        return (batch, *sides, channels)

    def get_config(self) -> dict[str, Any]:
        own = {"window": self.window, "strides": self.strides, "fill": self.fill}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("fcnkeras")
class CountOwn(keras.layers.Layer):
    """Adds a channel that is 1 on every cell, behind which pooling leaves the share of own cells.

    Input: the map (batch, rows, columns, channels). Output: the same with one channel more.
    """

    def call(self, values: Any) -> Any:
        return ops.concatenate([values, ops.ones_like(values[..., :1])], axis=-1)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (*input_shape[:3], input_shape[3] + 1)


@keras.saving.register_keras_serializable("fcnkeras")
class DivideByShare(keras.layers.Layer):
    """Divides a map by its last channel, the share of own cells, and drops that.

    Input: the averages (batch, rows, columns, channels + 1). Output: the averages of own cells.
    """

    def call(self, values: Any) -> Any:
        return values[..., :-1] / ops.maximum(values[..., -1:], 1e-4)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (*input_shape[:3], input_shape[3] - 1)


@keras.saving.register_keras_serializable("fcnkeras")
class OwnGlobalPooling2D(keras.layers.Layer):
    """Global pooling over the picture's own cells.

    Args:
        mode: "max" or "avg".
        keepdims: whether the output is a 1x1 map.

    Inputs: a list of the map (batch, rows, columns, channels) and the output of `OwnCells`.
    Output shape: (batch, channels), or (batch, 1, 1, channels). NaN for a picture without a cell:
        the network's window does not fit on it, or its mask is no rectangle at the top left.
    """

    def __init__(self, mode: str, keepdims: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mode = _checked("mode", mode, ("max", "avg"))
        self.keepdims = keepdims

    def call(self, inputs: Any) -> Any:
        values, own = inputs
        own, where = own[..., None], {"axis": (1, 2), "keepdims": self.keepdims}
        count = ops.sum(ops.cast(own, "float32"), **where)
        if self.mode == "max":
            pooled = ops.max(ops.where(own, values, _fill("lowest", values.dtype)), **where)
        else:
            total = ops.sum(ops.cast(ops.where(own, values, 0.0), "float32"), **where)
            pooled = ops.cast(total / ops.maximum(count, 1.0), values.dtype)
        return ops.where(count > 0, pooled, ops.cast(float("nan"), values.dtype))

    def compute_output_shape(self, input_shape: list) -> tuple:
        batch, *_, channels = input_shape[0]
        return (batch, 1, 1, channels) if self.keepdims else (batch, channels)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mode": self.mode, "keepdims": self.keepdims}


@keras.saving.register_keras_serializable("fcnkeras")
class OwnPlaces(keras.layers.Layer):
    """Gives a map the rows and columns of another, picture by picture.

    Args:
        take: "nearest" spreads the places of the second over the cells of the first, as
            `MatchGrid` does; "first" takes them in order and repeats the last, as `SamePlaces`.

    Inputs: a list of the map (batch, rows, columns, channels), the pictures' sizes in its cells
        (batch, 2), the map whose size it takes, and the sizes in that one's cells.
    Output shape: (batch, rows of the second, columns of the second, channels of the first).
    """

    def __init__(self, take: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.take = _checked("take", take, ("nearest", "first"))

    def call(self, inputs: Any) -> Any:
        values, sizes, other, other_sizes = inputs
        for axis in (1, 2):
            have, want = sizes[:, axis - 1 : axis], other_sizes[:, axis - 1 : axis]
            places = ops.arange(ops.shape(other)[axis], dtype="int32")[None]
            if self.take == "nearest":
                places = (2 * places + 1) * have // ops.maximum(2 * want, 1)
            # Places that are not the picture's own may lead outside the array.
            places = ops.maximum(ops.minimum(places, have - 1), 0)
            shape = (-1, 1, 1, 1)
            values = ops.take_along_axis(
                values,
                ops.reshape(places, (*shape[:axis], ops.shape(places)[1], *shape[axis + 1 :])),
                axis=axis,
            )
        return values

    def compute_output_shape(self, input_shape: list) -> tuple:
        return (*input_shape[2][:3], input_shape[0][-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "take": self.take}


def _checked(name: str, value: str, values: tuple[str, str]) -> str:
    if value not in values:
        raise ValueError(f"`{name}` must be {values[0]!r} or {values[1]!r}. Received: {value!r}")
    return value


def _pair(values: tuple[int, int]) -> tuple[int, int]:
    return int(values[0]), int(values[1])


def _numbers(pair: tuple[int, int]) -> Any:
    return ops.convert_to_tensor(pair, "int32")


def _count(truths: Any) -> Any:
    return ops.sum(ops.cast(truths, "int32"), axis=-1)


def _own_cells(sizes: Any, rows: Any, columns: Any) -> Any:
    above = ops.arange(rows, dtype="int32")[None] < sizes[:, :1]
    left = ops.arange(columns, dtype="int32")[None] < sizes[:, 1:]
    return ops.logical_and(above[:, :, None], left[:, None, :])


def _fill(fill: str, dtype: Any) -> float:
    """Finite, so that what a layer makes of cells that do not count can never become NaN and reach
    a gradient."""
    if fill == "zero":
        return 0.0
    return -6e4 if keras.backend.standardize_dtype(dtype) == "float16" else -3e38


def _padding_before(size: int, window: int, stride: int) -> int:
    """The cells of padding that "same" puts before `size` cells: they depend on the size modulo
    the stride only."""
    return max(window - (size % stride or stride), 0) // 2


def _slice(values: Any, axis: int, start: int, length: Any) -> Any:
    where = (slice(start, start + length),)
    return values[(slice(None),) * axis + where]
