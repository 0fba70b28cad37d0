"""Serialisable layers that fully convolutional networks need and Keras does not have."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

# Means and deviations of ImageNet's training pictures, as the weights of keras.applications expect
# them (keras.applications.imagenet_utils.preprocess_input).
CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
TORCH_MEAN_RGB = (0.485, 0.456, 0.406)
TORCH_STD_RGB = (0.229, 0.224, 0.225)


@keras.saving.register_keras_serializable("fcnkeras")
class Preprocessing(keras.layers.Layer):
    """Turns RGB pixels of 0-255 into what a network was trained on.

    Args:
        mode: "tf": -1 to 1; "caffe": BGR minus ImageNet's means; "torch": 0 to 1, then ImageNet's
            means and deviations; "none": unchanged.

    Input and output shape: (batch, height, width, 3), channels last.
    """

    MODES = ("tf", "caffe", "torch", "none")

    def __init__(self, mode: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if mode not in self.MODES:
            raise ValueError(f"`mode` must be one of {self.MODES}. Received: {mode!r}")
        self.mode = mode

    def call(self, pictures: Any) -> Any:
        x = ops.cast(pictures, self.compute_dtype)
        if self.mode == "tf":
            return x / 127.5 - 1.0
        if self.mode == "caffe":
            return ops.flip(x, axis=-1) - ops.cast(CAFFE_MEAN_BGR, x.dtype)
        if self.mode == "torch":
            return (x / 255.0 - ops.cast(TORCH_MEAN_RGB, x.dtype)) / ops.cast(
                TORCH_STD_RGB, x.dtype
            )
        return x

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mode": self.mode}


@keras.saving.register_keras_serializable("fcnkeras")
class LocalResponseNormalization(keras.layers.Layer):
    """Divides each value by a power of the squares around it, across channels.

    y[c] = x[c] / (k + alpha * sum(x[j]^2 for j in c - radius ... c + radius)) ^ beta, where
    channels that do not exist count as 0. Computed in float32.

    Args:
        radius: neighbouring channels on each side.
        alpha: the weight of the sum of squares. Caffe writes it divided by their number,
            2 * radius + 1.
        beta: the power.
        k: what is added to the sum.

    Input and output shape: (batch, height, width, channels), channels last.

    Raises:
        ValueError: `radius` is below 0, or `alpha` or `k` so that the sum could be 0.

    Source: Krizhevsky, Sutskever, Hinton, "ImageNet Classification with Deep Convolutional Neural
    Networks", 2012, section 3.3; the parameters by default are those of Caffe's AlexNet.
    """

    def __init__(
        self,
        radius: int = 2,
        alpha: float = 2e-5,
        beta: float = 0.75,
        k: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if radius < 0:
            raise ValueError(f"`radius` must be at least 0. Received: {radius}")
        if alpha < 0 or k <= 0:
            raise ValueError(f"`alpha` must not be below 0 and `k` above. Received: {alpha}, {k}")
        self.radius, self.alpha, self.beta, self.k = int(radius), alpha, beta, k

    def call(self, inputs: Any) -> Any:
        x = ops.cast(inputs, "float32")  # half precision has no room for squares
        channels = x.shape[-1]
        sides = [(0, 0)] * (len(x.shape) - 1) + [(self.radius, self.radius)]
        squares = ops.pad(ops.square(x), sides)
        total = sum(squares[..., i : i + channels] for i in range(2 * self.radius + 1))
        y = x / ops.power(self.k + self.alpha * total, self.beta)
        return ops.cast(y, self.compute_dtype)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        own = {"radius": self.radius, "alpha": self.alpha, "beta": self.beta, "k": self.k}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("fcnkeras")
class NativeWindow(keras.layers.Layer):
    """Passes pictures on unchanged; knows the network's native size and refuses what is too small.

    Args:
        native: (height, width) in pixels of the network before it was made fully convolutional,
            or None where that was free.
        least: (height, width) in pixels of the smallest picture on which the network's window
            still fits, or None if any picture will do.
        data_format: "channels_last" or "channels_first".
        certificate: what was proven when the network was made, as JSON; read it with
            `FullyConvolutional.certificate`.

    Input and output shape: (batch, height, width, channels), or channels first.

    Raises:
        ValueError: a picture is smaller than `least` (wherever its size is known to the backend;
            inside a compiled function with free sizes the next convolution fails in its place).
    """

    def __init__(
        self,
        native: tuple[int, int] | None,
        least: tuple[int, int] | None = None,
        data_format: str = "channels_last",
        certificate: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.data_format = data_format
        self.certificate = certificate
        self.native = None if native is None else (int(native[0]), int(native[1]))
        self.least = None if least is None else (int(least[0]), int(least[1]))

    def call(self, pictures: Any) -> Any:
        if self.least is not None:
            first = 1 if self.data_format == "channels_last" else 2
            size = tuple(pictures.shape[first : first + 2])
            pairs = zip(size, self.least, strict=True)
            if any(side is not None and side < least for side, least in pairs):
                raise ValueError(
                    f"Pictures must be at least {self.least[0]}x{self.least[1]} pixels (height x "
                    f"width), the network's native window. Received: {size[0]}x{size[1]}"
                )
        return pictures

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        own = {"native": self.native, "least": self.least, "data_format": self.data_format}
        return {**super().get_config(), **own, "certificate": self.certificate}


@keras.saving.register_keras_serializable("fcnkeras")
class MaskedGlobalPooling2D(keras.layers.Layer):
    """Global pooling over the places that saw the picture, not the padding around it.

    A place counts if at least half of its window, in cells of the feature map, is real picture; if
    no window is that full (a narrow picture, padded), those as full as the fullest count. Padding
    therefore never wins a maximum, and an average weighs each place by its share of real picture.
    The values of places that count still saw what padding their window holds.

    Args:
        mode: "max" or "avg".
        window: (rows, columns) of feature cells that one place of the map sees.

    Inputs: a list of the map (batch, rows, columns, channels) and the mask
        (batch, height, width) in pixels, true or 1 on real picture.
    Output shape: (batch, channels).
    """

    def __init__(self, mode: str, window: tuple[int, int] = (1, 1), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if mode not in ("max", "avg"):
            raise ValueError(f"`mode` must be 'max' or 'avg'. Received: {mode!r}")
        self.mode = mode
        self.window = (int(window[0]), int(window[1]))

    def call(self, inputs: Any) -> Any:
        scores, mask = inputs
        coverage = self.coverage(mask, ops.shape(scores)[1:3])
        fullest = ops.max(coverage, axis=(1, 2), keepdims=True)
        counts = coverage >= ops.minimum(fullest, 0.5) - 1e-4
        if self.mode == "max":
            low = ops.cast(-3e38 if scores.dtype != "float16" else -6e4, scores.dtype)
            return ops.max(ops.where(counts, scores, low), axis=(1, 2))
        weights = ops.cast(ops.where(counts, coverage, 0.0), scores.dtype)
        total = ops.maximum(ops.sum(weights, axis=(1, 2)), 1e-6)
        return ops.sum(scores * weights, axis=(1, 2)) / total

    def coverage(self, mask: Any, size: tuple) -> Any:
        """The share of real picture in each place's window: (batch, rows, columns, 1) float32."""
        share = ops.expand_dims(ops.cast(mask, "float32"), -1)
        for axis in (1, 2):
            share = _window_means(share, axis, size[axis - 1], self.window[axis - 1])
        return share

    def compute_output_shape(self, input_shape: list) -> tuple:
        return (input_shape[0][0], input_shape[0][-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mode": self.mode, "window": self.window}


@keras.saving.register_keras_serializable("fcnkeras")
class CropsToBatch(keras.layers.Layer):
    """Lays the crops of each picture out as a batch.

    Input shape: (batch, crops, height, width, channels).
    Output shape: (batch * crops, height, width, channels).
    """

    def call(self, crops: Any) -> Any:
        return ops.reshape(crops, (-1, *ops.shape(crops)[2:]))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        known = input_shape[0] is not None and input_shape[1] is not None
        return (input_shape[0] * input_shape[1] if known else None, *input_shape[2:])


@keras.saving.register_keras_serializable("fcnkeras")
class PoolCrops(keras.layers.Layer):
    """Joins the scores of each picture's crops.

    Args:
        mode: "max" or "avg".

    Inputs: a list of the scores (batch * crops, classes) and the crops that they are of,
        (batch, crops, height, width, channels), which are read for their number only.
    Output shape: (batch, classes).
    """

    def __init__(self, mode: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if mode not in ("max", "avg"):
            raise ValueError(f"`mode` must be 'max' or 'avg'. Received: {mode!r}")
        self.mode = mode

    def call(self, inputs: Any) -> Any:
        scores, crops = inputs
        scores = ops.reshape(scores, (-1, ops.shape(crops)[1], scores.shape[-1]))
        return ops.max(scores, axis=1) if self.mode == "max" else ops.mean(scores, axis=1)

    def compute_output_shape(self, input_shape: list) -> tuple:
        return (input_shape[1][0], input_shape[0][-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mode": self.mode}


@keras.saving.register_keras_serializable("fcnkeras")
class MatchGrid(keras.layers.Layer):
    """Brings a finer map onto a coarser map's grid: maximum over the stride, then the same size.

    Args:
        stride: (rows, columns) of cells of the finer map to one cell of the coarser one.

    Inputs: a list of the finer map (batch, rows, columns, channels) and the coarser one, which is
        read for its size only. Where the strides alone leave another size (networks that do not
        pad their borders), the nearest cells are taken.
    Output shape: (batch, coarser rows, coarser columns, finer map's channels).
    """

    def __init__(self, stride: tuple[int, int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stride = (int(stride[0]), int(stride[1]))

    def call(self, inputs: Any) -> Any:
        fine, coarse = inputs
        pooled = ops.max_pool(fine, self.stride, strides=self.stride, padding="same")
        for axis in (1, 2):
            have, want = ops.shape(pooled)[axis], ops.shape(coarse)[axis]
            nearest = (2 * ops.arange(want) + 1) * have // (2 * want)
            pooled = ops.take(pooled, nearest, axis=axis)
        return pooled

    def compute_output_shape(self, input_shape: list) -> tuple:
        return (*input_shape[1][:3], input_shape[0][-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "stride": self.stride}


@keras.saving.register_keras_serializable("fcnkeras")
class SamePlaces(keras.layers.Layer):
    """Gives a map the rows and columns of another: what is too much at the end is cut off, and what
    is missing repeats the last row or column.

    Networks that pad their borders can leave a finer map one place more or less than a coarser one
    along a side, though the places lie over each other.

    Inputs: a list of the map (batch, rows, columns, channels) and the one whose size it takes.
    Output shape: (batch, rows of the second, columns of the second, channels of the first).
    """

    def call(self, inputs: Any) -> Any:
        values, other = inputs
        for axis in (1, 2):
            have, want = ops.shape(values)[axis], ops.shape(other)[axis]
            values = ops.take(values, ops.minimum(ops.arange(want), have - 1), axis=axis)
        return values

    def compute_output_shape(self, input_shape: list) -> tuple:
        return (*input_shape[1][:3], input_shape[0][-1])


def _window_means(values: Any, axis: int, places: Any, window: int) -> Any:
    """Means over `places` windows along an axis, each of `window` cells, where the axis is cut into
    places + window - 1 cells. Sizes may be known only when the layer runs."""
    length = ops.shape(values)[axis]
    cells = places + window - 1
    edges = ops.arange(cells + 1) * length // cells
    sums = ops.cumsum(values, axis=axis)
    zero = ops.zeros_like(ops.take(sums, ops.arange(1), axis=axis))
    sums = ops.concatenate([zero, sums], axis=axis)
    first, last = edges[:places], edges[window:]
    width = ops.cast(ops.maximum(last - first, 1), values.dtype)
    shape = [1] * len(values.shape)
    shape[axis] = -1
    total = ops.take(sums, last, axis=axis) - ops.take(sums, first, axis=axis)
    return total / ops.reshape(width, shape)


@keras.saving.register_keras_serializable("fcnkeras")
class Im2colConv2D(keras.layers.Conv2D):
    """A convolution as one matrix product over gathered windows, for kernels as large as a map.

    What a Dense layer behind a Flatten becomes. A processor's convolution first rearranges the
    whole kernel, 411 MB for VGG16's fc1, at every call; a matrix product reads it once as it is
    (`benchmarks/window_product.py`).

    Padding must be "valid", without dilation or groups, channels last.

    Source: Chellapilla, Puri, Simard, "High Performance Convolutional Neural Networks for Document
    Processing", 2006.
    """

    def __init__(self, filters: int, kernel_size: Any, **kwargs: Any) -> None:
        super().__init__(filters, kernel_size, **kwargs)
        form = (self.padding, self.data_format, self.dilation_rate, self.groups)
        if form != ("valid", "channels_last", (1, 1), 1):
            raise ValueError(
                "Im2colConv2D needs padding 'valid', channels last, no dilation and one group. "
                f"Received: {form}"
            )

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        (height, width), (down, right) = self.kernel_size, self.strides
        windows = [
            # To the end less what the kernel's later cells need; plain slices know no size.
            inputs[:, y : (y - height + 1) or None : down, x : (x - width + 1) or None : right]
            for y in range(height)
            for x in range(width)
        ]
        rows = ops.concatenate(windows, axis=-1)
        return ops.matmul(rows, ops.reshape(kernel, (-1, self.filters)))
