"""The layer of shared crops: cuts each crop's part out of a map of the whole picture.

What puts it into a network, and where the result differs from crops that are fed one by one:
`fcnkeras.models.shared_crops`.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("fcnkeras")
class CropWindows(keras.layers.Layer):
    """Cuts each crop's places out of a map of the whole picture.

    The crops are those of `fcnkeras.feeders.multi_crop`: squares of the picture's short side,
    evenly spread along the long side, one for a square picture, else three, or as many as leave no
    gap. A crop has as many places as the map of the crop alone, from the place that is nearest to
    its first pixel.

    Args:
        stride: (rows, columns) of pixels from one place of the map to the next.
        extra: (rows, columns) of pixels: of a side of so many pixels the map has
            (pixels + extra) // stride places.
        least: (height, width) in pixels of the smallest crop that the network takes, or None.

    Inputs: a list of the map (batch, rows, columns, channels) and the picture (batch, height,
        width, channels), which is read for its size only.
    Output shape: (batch, crops, rows of a crop, columns of a crop, channels), crops from left to
        right or from top to bottom.

    Raises:
        ValueError: the crops are smaller than `least` (wherever the picture's size is known to the
            backend; inside a compiled function with free sizes the next layers fail in its place).
    """

    def __init__(
        self,
        stride: tuple[int, int],
        extra: tuple[int, int] = (0, 0),
        least: tuple[int, int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.stride = (int(stride[0]), int(stride[1]))
        self.extra = (int(extra[0]), int(extra[1]))
        self.least = None if least is None else (int(least[0]), int(least[1]))

    def call(self, inputs: Any) -> Any:
        values, picture = inputs
        (rows, columns), (height, width) = ops.shape(values)[1:3], ops.shape(picture)[1:3]
        self._check(_smaller(height, width))
        # Not with None as an index, which LiteRT cannot read.
        down = ops.expand_dims(self._places(0, rows, height, width), 2)
        right = ops.expand_dims(self._places(1, columns, width, height), 1)
        flat = ops.reshape(values, (ops.shape(values)[0], rows * columns, values.shape[-1]))
        return ops.take(flat, down * columns + right, axis=1)

    def _check(self, side: Any) -> None:
        if self.least is not None and isinstance(side, int) and side < max(self.least):
            raise ValueError(
                f"Crops are squares of a picture's short side, which must be at least "
                f"{max(self.least)} pixels, as the network's native window is {self.least[0]}x"
                f"{self.least[1]} (height x width). Received: {side}"
            )

    def _places(self, axis: int, places: Any, side: Any, other: Any) -> Any:
        """The map's rows, or columns, that are each crop's: int32 (crops, places of one)."""
        stride, short = self.stride[axis], _smaller(side, other)
        count = (short + self.extra[axis]) // stride
        crops = _crops(short, _larger(side, other))
        gaps = _larger(crops - 1, 1)
        # The multiple of the stride nearest to number / gaps of what sticks out, in whole numbers.
        past = 2 * ops.arange(crops, dtype="int32") * (side - short)
        first = ops.minimum((past + gaps * stride) // (2 * gaps * stride), places - count)
        return ops.expand_dims(first, 1) + ops.arange(count, dtype="int32")

    def compute_output_shape(self, input_shape: list) -> tuple:
        values, (_, height, width, _) = input_shape
        if height is None or width is None:
            return (values[0], None, None, None, values[-1])
        short = min(height, width)
        sides = ((short + e) // s for s, e in zip(self.stride, self.extra, strict=True))
        return (values[0], _crops(short, max(height, width)), *sides, values[-1])

    def get_config(self) -> dict[str, Any]:
        own = {"stride": self.stride, "extra": self.extra, "least": self.least}
        return {**super().get_config(), **own}


# Sizes are plain numbers where the backend knows them, and JAX needs them so; else tensors.


def _smaller(a: Any, b: Any) -> Any:
    return min(a, b) if isinstance(a, int) and isinstance(b, int) else ops.minimum(a, b)


def _larger(a: Any, b: Any) -> Any:
    return max(a, b) if isinstance(a, int) and isinstance(b, int) else ops.maximum(a, b)


def _crops(short: Any, long: Any) -> Any:
    several = _larger(-(-long // short), 3)
    if isinstance(several, int):
        return several if long > short else 1
    return ops.where(long > short, several, 1)
