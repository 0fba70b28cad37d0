"""The model that a feeder's batches go into: with masks, with several crops, or as it is."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from fcnkeras.feeders import MASKED, get_feeder
from fcnkeras.layers import CropsToBatch, MaskedGlobalPooling2D, PoolCrops
from fcnkeras.models.exact import exact_masks
from fcnkeras.models.structure import map_window

MASKS = ("fast", "exact")


def fed_model(fcn: keras.Model, feeder: str, mask: str = "fast") -> keras.Model:
    """Wraps a fully convolutional model so that it takes what `fcnkeras.batching` yields.

    Args:
        fcn: a model that `to_fcn` returned, with pooling "max" or "avg" and one output.
        feeder: "squash" and "crop" leave the model as it is; "pad" and "native" add the mask of
            real pixels, which reaches the pooling; "multicrop" takes
            (batch, crops, height, width, 3) and joins the crops as the model joins its places,
            before the output activation where the model pools logits.
        mask: how padding is kept out, for "pad" and "native". "fast": places that saw mostly
            padding do not count in the pooling; the others still saw some, and where a batch is
            much padded that can change the decision. "exact", for "native" only: each picture of
            a batch gets what it gets alone, to float rounding, for about a third more time
            (`benchmarks/masks.py`); see `fcnkeras.models.exact.exact_masks`.

    Returns:
        A model that shares every layer and weight with `fcn`: training one trains both.

    Raises:
        ValueError: no such feeder or mask, "exact" for "pad", a channels-first model, more than
            one output, or a model that does not pool its map.
        ConversionError: a layer has no exact mask.
    """
    get_feeder(feeder)  # raises for an unknown name
    if mask not in MASKS:
        raise ValueError(f"`mask` must be one of {MASKS}. Received: {mask!r}")
    if mask == "exact" and feeder == "pad":
        raise ValueError(
            'An exact mask gives what the picture gives alone, and "pad" makes it smaller than the '
            'network\'s window. Feed "native" pictures, or take the fast mask.'
        )
    if fcn.input.shape[-1] is None:
        raise ValueError(
            f"A channels-last model is needed, as feeders give pictures. Model '{fcn.name}' takes "
            f"{fcn.input.shape}"
        )
    if len(fcn.outputs) > 1:
        raise ValueError(
            f"A model with one output is needed. Model '{fcn.name}' has {len(fcn.outputs)}"
        )
    if feeder in MASKED:
        return exact_masks(fcn) if mask == "exact" else _with_mask(fcn)
    if feeder == "multicrop":
        return _with_crops(fcn)
    return fcn


def _mode(fcn: keras.Model) -> str:
    pool = fcn.get_layer("pooled")
    if isinstance(pool, layers.GlobalMaxPooling2D):
        return "max"
    if isinstance(pool, layers.GlobalAveragePooling2D):
        return "avg"
    raise ValueError(
        f"Model '{fcn.name}' does not pool its map: convert it with pooling 'max' or 'avg'."
    )


def _tail(fcn: keras.Model, x: Any) -> Any:
    """Applies what stands behind the pooling."""
    names = [layer.name for layer in fcn.layers]
    for layer in fcn.layers[names.index("pooled") + 1 :]:
        x = layer(x)
    return x


def _with_mask(fcn: keras.Model) -> keras.Model:
    mask = keras.Input((None, None), dtype="bool", name="mask")
    pool = MaskedGlobalPooling2D(_mode(fcn), map_window(fcn), name="masked_pooled")
    scores = pool([fcn.get_layer("pooled").input, mask])
    return keras.Model([fcn.input, mask], _tail(fcn, scores), name=f"{fcn.name}_masked")


def _with_crops(fcn: keras.Model) -> keras.Model:
    channels = fcn.input.shape[-1]
    crops = keras.Input((None, None, None, channels), name="crops")
    pooled = keras.Model(fcn.input, fcn.get_layer("pooled").output, name=f"{fcn.name}_scores")
    scores = pooled(CropsToBatch(name="crops_to_batch")(crops))
    scores = PoolCrops(_mode(fcn), name="pool_crops")([scores, crops])
    return keras.Model(crops, _tail(fcn, scores), name=f"{fcn.name}_crops")
