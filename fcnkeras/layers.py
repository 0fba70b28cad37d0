"""Serialisable layers that fully convolutional networks need and Keras does not have."""

from __future__ import annotations

from typing import Any

import keras



@keras.saving.register_keras_serializable("fcnkeras")
class NativeWindow(keras.layers.Layer):
    """Passes pictures on unchanged; knows the network's native size and refuses what is too small.

    Args:
        native: (height, width) in pixels of the network before it was made fully convolutional,
            or None where that was free.
        least: (height, width) in pixels of the smallest picture on which the network's window
            still fits, or None if any picture will do.

    Input and output shape: (batch, height, width, channels).

    Raises:
        ValueError: a picture is smaller than `least` (wherever its size is known to the backend;
            inside a compiled function with free sizes the next convolution fails in its place).
    """

    def __init__(
        self,
        native: tuple[int, int] | None,
        least: tuple[int, int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.native = None if native is None else (int(native[0]), int(native[1]))
        self.least = None if least is None else (int(least[0]), int(least[1]))
        self.supports_masking = True

    def call(self, pictures: Any) -> Any:
        self._check(tuple(pictures.shape[1:3]))
        return pictures

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def _check(self, size: tuple) -> None:
        if self.least is None:
            return
        if any(side is not None and side < least for side, least in zip(size, self.least, strict=True)):
            raise ValueError(
                f"Pictures must be at least {self.least[0]}x{self.least[1]} pixels (height x width), "
                f"the network's native window. Received: {size[0]}x{size[1]}"
            )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "native": self.native, "least": self.least}


