"""The layer of shared crops: a map of the whole picture, pooled over the places of each crop.

What puts it into a network, and where the result differs from crops that are fed one by one:
`fcnkeras.models.shared_crops`.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("fcnkeras")
class CropPooling2D(keras.layers.Layer):
    """Pools a map over the places that each crop of the picture has.

    The crops are those of `fcnkeras.feeders.multi_crop`: squares of the picture's short side,
    evenly spread along the long side, one for a square picture, else three, or as many as leave no
    gap. A crop has as many places as the map of the crop alone, from the place that is nearest to
    its first pixel.

    Args:
        mode: "max" or "avg".
        stride: (rows, columns) of pixels from one place of the map to the next.
        extra: (rows, columns) of pixels: of a side of so many pixels the map has
            (pixels + extra) // stride places.

    Inputs: a list of the map (batch, rows, columns, channels) and the picture (batch, height,
        width, channels), which is read for its size only.
    Output shape: (batch, crops, channels), from left to right or from top to bottom.

    Raises:
        ValueError: a crop is too small for one place of the map (wherever the picture's size is
            known to the backend).
    """

    def __init__(
        self, mode: str, stride: tuple[int, int], extra: tuple[int, int] = (0, 0), **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if mode not in ("max", "avg"):
            raise ValueError(f"`mode` must be 'max' or 'avg'. Received: {mode!r}")
        self.mode = mode
        self.stride = (int(stride[0]), int(stride[1]))
        self.extra = (int(extra[0]), int(extra[1]))

    def call(self, inputs: Any) -> Any:
        values, picture = inputs
        (rows, columns), (height, width) = ops.shape(values)[1:3], ops.shape(picture)[1:3]
        down = self._places(0, rows, height, width)
        right = self._places(1, columns, width, height)
        places = down[:, :, None] * columns + right[:, None, :]
        places = ops.reshape(places, (ops.shape(down)[0], -1))
        flat = ops.reshape(values, (ops.shape(values)[0], rows * columns, values.shape[-1]))
        windows = ops.take(flat, places, axis=1)  # (batch, crops, places, channels)
        return ops.max(windows, axis=2) if self.mode == "max" else ops.mean(windows, axis=2)

    def _places(self, axis: int, places: Any, side: Any, other: Any) -> Any:
        """The map's rows, or columns, that are each crop's: int32 (crops, places of one)."""
        stride, extra = self.stride[axis], self.extra[axis]
        short = _smaller(side, other)
        count = (short + extra) // stride
        if isinstance(count, int) and count < 1:
            raise ValueError(
                f"Crops must be at least {stride - extra} pixels long "
                f"({('down', 'across')[axis]}), one place of the map. Received: {short}"
            )
        crops = _crops(short, _larger(side, other))
        gaps = _larger(crops - 1, 1)
        # The nearest multiple of the stride to number / gaps of what sticks out, in whole numbers.
        past = 2 * ops.arange(crops, dtype="int32") * (side - short)
        first = (past + gaps * stride) // (2 * gaps * stride)
        first = ops.minimum(first, places - count)
        return first[:, None] + ops.arange(count, dtype="int32")[None]

    def compute_output_shape(self, input_shape: list) -> tuple:
        values, (_, height, width, _) = input_shape
        known = height is not None and width is not None
        crops = _crops(min(height, width), max(height, width)) if known else None
        return (values[0], crops, values[-1])

    def get_config(self) -> dict[str, Any]:
        own = {"mode": self.mode, "stride": self.stride, "extra": self.extra}
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
