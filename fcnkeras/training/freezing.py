"""Which layers of a network are trained, by the names of its blocks."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras.layers import BatchNormalization

from fcnkeras.convert.graph import trace


def freeze_blocks(
    model: keras.Model, blocks: Sequence[str], count: int, *, normalization: bool = True
) -> None:
    """Freezes the first `count` blocks, and the BatchNormalization of all.

    A frozen BatchNormalization layer keeps its means and deviations; with small batches of few
    pictures, new ones would be noise.

    Args:
        model: a network whose layers bear the names of its spec.
        blocks: the last layer of each block, from the picture up.
        count: 0 freezes no block; a negative number counts from the end, -1 leaves the last
            block to be trained.
        normalization: whether the BatchNormalization of the other blocks is frozen, too.

    Raises:
        ValueError: there are fewer blocks, or the model has no layer of the block's name.
    """
    if not -len(blocks) <= count <= len(blocks):
        raise ValueError(
            f"`frozen` must be from -{len(blocks)} to {len(blocks)}. Received: {count}"
        )
    count = count if count >= 0 else len(blocks) + count
    if normalization:
        freeze_normalization(model)
    if count:
        freeze_up_to(model, blocks[count - 1])


def freeze_normalization(model: keras.Model) -> None:
    """Freezes every BatchNormalization layer, whose means and deviations then stay."""
    for layer in trace(model).layers():
        if isinstance(layer, BatchNormalization):
            layer.trainable = False


def freeze_up_to(model: keras.Model, name: str) -> None:
    """Freezes the layer of this name and all that it reads, up from the picture.

    Raises:
        ValueError: the model has no layer of this name.
    """
    graph = trace(model)
    wanted = {ref for call in graph.calls if call.layer.name == name for ref in call.outputs}
    if not wanted:
        raise ValueError(f"Model '{model.name}' has no layer '{name}' to freeze up to.")
    for call in graph.before(wanted).calls:
        call.layer.trainable = False


def train_all(model: keras.Model) -> None:
    """Makes every layer trainable, in nested models too."""
    model.trainable = False  # Keras passes only a change on to the layers
    model.trainable = True
