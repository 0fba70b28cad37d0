"""Layers that heads need and Keras does not have, serialisable and on every backend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("fcnkeras")
class HueVector(keras.layers.Layer):
    """Turns three numbers into a point of the unit circle and a share of black (sigmoid).

    Input and output shape: (batch, 3); the output is cosine, sine and share of black.
    """

    def call(self, logits: Any) -> Any:
        point = logits[:, :2]
        length = ops.sqrt(ops.sum(ops.square(point), axis=-1, keepdims=True) + 1e-12)
        return ops.concatenate([point / length, ops.sigmoid(logits[:, 2:])], axis=-1)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape


@keras.saving.register_keras_serializable("fcnkeras")
class GroupSums(keras.layers.Layer):
    """Sums probabilities by a fixed table: that of a group is the sum over its members.

    Args:
        parents: for each member the index of its group.
        groups: number of groups.

    Input shape: (batch, members). Output shape: (batch, groups).

    Raises:
        ValueError: a parent is not one of the groups.
    """

    def __init__(self, parents: Sequence[int], groups: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.parents, self.groups = tuple(int(parent) for parent in parents), int(groups)
        if not self.parents or not all(0 <= parent < self.groups for parent in self.parents):
            raise ValueError(
                f"`parents` must be from 0 to {self.groups - 1}. Received: {self.parents}"
            )

    def call(self, members: Any) -> Any:
        return ops.matmul(members, ops.one_hot(self.parents, self.groups, dtype=members.dtype))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (*input_shape[:-1], self.groups)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "parents": self.parents, "groups": self.groups}


@keras.saving.register_keras_serializable("fcnkeras")
class TaskWeight(keras.layers.Layer):
    """Passes an output on, and holds the logarithm of its loss's learned variance, 0 at first.

    Input and output shape: any.
    """

    def build(self, input_shape: tuple) -> None:
        self.log_variance = self.add_weight(shape=(), initializer="zeros", name="log_variance")

    def call(self, output: Any) -> Any:
        return output

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape


@keras.saving.register_keras_serializable("fcnkeras")
class TaskSchema(keras.layers.Layer):
    """Passes features on, and keeps in the model what it predicts and how it is fed.

    Args:
        text: the schema as YAML; read it with `heads.schema_of`.
        feeder: the name of the feeder that it was trained with, if it is known.
        size: what that feeder was given, in pixels.

    Input and output shape: any.
    """

    def __init__(
        self, text: str, feeder: str | None = None, size: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.text, self.feeder, self.size = text, feeder, size

    def call(self, features: Any) -> Any:
        return features

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        kept = {"text": self.text, "feeder": self.feeder, "size": self.size}
        return {**super().get_config(), **kept}


@keras.saving.register_keras_serializable("fcnkeras")
class GridPooling2D(keras.layers.Layer):
    """Averages a map of any size over the cells of a fixed grid, by area.

    A cell's borders may run through a place, which then counts by its share; a map that is coarser
    than the grid is spread out. (Keras' AdaptiveAveragePooling2D needs to know the map's size when
    the model is built.)

    Args:
        grid: (rows, columns) of the result.

    Input shape: (batch, rows, columns, channels). Output shape: (batch, *grid, channels).

    Source: area interpolation, as in Hosu, Goldlücke, Saupe, "Effective Aesthetics Prediction with
    Multi-level Spatially Pooled Features", 2019.
    """

    def __init__(self, grid: tuple[int, int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.grid = (int(grid[0]), int(grid[1]))
        if min(self.grid) < 1:
            raise ValueError(f"`grid` must be at least 1x1. Received: {grid}")

    def call(self, maps: Any) -> Any:
        rows, columns = (
            _shares(cells, ops.shape(maps)[axis], maps.dtype)
            for axis, cells in enumerate(self.grid, start=1)
        )
        return ops.einsum("gr,brcd,hc->bghd", rows, maps, columns)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (input_shape[0], *self.grid, input_shape[3])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "grid": self.grid}


def _shares(cells: int, places: Any, dtype: str) -> Any:
    """How much each place counts in each cell, (cells, places); the rows sum to 1."""
    width = ops.cast(places, "float32") / cells
    start = ops.arange(cells, dtype="float32")[:, None] * width
    place = ops.cast(ops.arange(places), "float32")[None, :]
    overlap = ops.minimum(start + width, place + 1.0) - ops.maximum(start, place)
    return ops.cast(ops.maximum(overlap, 0.0) / width, dtype)
