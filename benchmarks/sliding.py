"""What a fully convolutional network must give at a larger size, without the code under test."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from functools import cache
from typing import Any

import keras
import numpy as np
from keras import layers
from networks import difference, random_pictures
from rescaling import logits, without_activations

Maps = Callable[[np.ndarray], list[Any]]
Layers = list[Any]
SAME = 1e-5  # how near a head that was cut off must come to the whole network to be believed


def sliding_difference(model: keras.Model, maps: Maps) -> tuple[float | None, str]:
    """`maps` of a larger picture against `model` on each window of it.

    Args:
        model: the network.
        maps: gives the map of logits of each output of the FCN.

    Returns:
        The largest difference relative to the largest logit, and ""; or None, and why not.
    """
    padded = next((layer for layer in flat_layers(model) if _pads(layer)), None)
    if padded is not None:
        return None, f"no sliding: layer '{padded.name}' pads"
    rows, columns = (_stride(model, maps, axis) for axis in (0, 1))
    height, width = native_size(model)
    pictures = pictures_for(model, 1, (2 * rows, 3 * columns), seed=2)
    before = (0, slice(None)) if _is_channels_first(model) else (0,)
    windows = [
        pictures[(*before, slice(r, r + height), slice(c, c + width))]
        for r in range(0, 2 * rows + 1, rows)
        for c in range(0, 3 * columns + 1, columns)
    ]
    return _largest(maps(pictures), logits(model, np.stack(windows)), (3, 4)), ""


def head_sliding_difference(
    trunk: keras.Model, head: Layers, model: keras.Model, maps: Maps
) -> tuple[float | None, str]:
    """`maps` of a larger picture against the network's own head on each window of its features.

    Args:
        trunk: the layers before the head, for pictures of any size.
        head: the layers of the head, which are called one after the other.
        model, maps: as above.

    Returns:
        As above.
    """
    picture = pictures_for(model, 1, seed=2)
    native = _features(trunk, picture)
    rows, columns = native.shape[1:3]
    with without_activations(model):
        if difference(_call(head, native), logits(model, picture)[0]) > SAME:
            return None, "no head_sliding: the head is no chain of layers"
        larger = pictures_for(model, 1, (32, 64), seed=3)
        features = _features(trunk, larger)
        places = (features.shape[1] - rows + 1, features.shape[2] - columns + 1)
        windows = [
            features[0, r : r + rows, c : c + columns]
            for r in range(places[0])
            for c in range(places[1])
        ]
        reference = _call(head, np.stack(windows))
    return _largest(maps(larger), [reference], places), ""


def split(model: keras.Model) -> tuple[keras.Model, Layers]:
    """The layers of a plain network before its last Flatten or global pooling, cloned by Keras for
    pictures of any size, and those from there on, its own."""
    ends = (layers.Flatten, layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D)
    index = max(
        index
        for index, layer in enumerate(model.layers)
        if isinstance(layer, ends)
        and len(layer.input.shape) == 4
        and tuple(layer.input.shape[1:3]) != (1, 1)
    )
    before = keras.Model(model.input, model.layers[index].input)
    free = keras.Input((None, None, model.input_shape[-1]))
    trunk = keras.models.clone_model(before, input_tensors=free)
    trunk.set_weights(before.get_weights())
    return trunk, model.layers[index:]


def flat_layers(model: keras.Model) -> Layers:
    """Every layer, those inside models and blocks too."""
    return list(model._flatten_layers(include_self=False, recursive=True))


def native_size(model: keras.Model) -> tuple[int, int]:
    """The (height, width) in pixels that a model was built for."""
    first = 2 if _is_channels_first(model) else 1
    height, width = model.input_shape[first : first + 2]
    return height, width


def pictures_for(
    model: keras.Model, count: int, more: tuple[int, int] = (0, 0), seed: int = 1
) -> np.ndarray:
    """Random pictures of the native size and `more` rows and columns, in the model's own order of
    axes."""
    height, width = native_size(model)
    first = _is_channels_first(model)
    channels = model.input_shape[1 if first else 3]
    pictures = random_pictures(count, height + more[0], width + more[1], channels, seed)
    return pictures.transpose(0, 3, 1, 2) if first else pictures


def _is_channels_first(model: keras.Model) -> bool:
    return any(getattr(x, "data_format", None) == "channels_first" for x in flat_layers(model))


def _pads(layer: Any) -> bool:
    if isinstance(layer, layers.ZeroPadding2D):
        return True
    size = getattr(layer, "kernel_size", getattr(layer, "pool_size", (1,)))
    return getattr(layer, "padding", "valid") == "same" and max(size) > 1


def _stride(model: keras.Model, maps: Maps, axis: int) -> int:
    """How many pixels lie between two places: a picture may have a few that no window reaches, so
    the second place may come sooner than the third."""

    @cache
    def places(more: int) -> int:
        pictures = pictures_for(model, 1, (more, 0) if axis == 0 else (0, more))
        return int(np.shape(maps(pictures)[0])[axis + 1])

    def least(count: int) -> int:
        sizes = range(257)
        if places(sizes[-1]) < count:
            raise ValueError(f"{sizes[-1]} pixels more give less than {count} places.")
        return bisect_left(sizes, count, key=places)

    return least(3) - least(2)


def _features(trunk: keras.Model, pictures: np.ndarray) -> np.ndarray:
    """A backbone of several stages gives one map each; the head reads the last."""
    features = trunk(pictures, training=False)
    if isinstance(features, dict):
        features = features[trunk.stage_names[-1]]
    return np.asarray(features)


def _call(head: Layers, values: Any) -> np.ndarray:
    for layer in head:
        values = layer(values)
    return np.asarray(values)


def _largest(maps: list[Any], references: list[np.ndarray], places: tuple[int, int]) -> float:
    """The largest difference of maps of one picture from references, one for each place."""
    return max(
        difference(np.asarray(values), reference.reshape(1, *places, -1))
        for values, reference in zip(maps, references, strict=True)
    )
