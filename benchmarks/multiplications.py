"""How many multiplications a network makes on one picture, counted from the shapes of its graph."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from fcnkeras.convert.graph import Call, run, trace
from fcnkeras.layers import Im2colConv2D

# One output of these is the sum of as many products as one output channel's kernel has weights.
_KERNELS = (layers.Conv2D, layers.Dense, Im2colConv2D)


def multiplications(model: keras.Model, height: int, width: int) -> int:
    """The products of weights and inputs in the convolutions and Dense layers of `model`.

    What normalisations, activations and poolings multiply is left out: it is some thousandth.

    Args:
        model: takes (batch, height, width, channels), the sides free or as given.
        height: of the picture in pixels.
        width: of the picture in pixels.

    Raises:
        ValueError: a layer with a kernel of another kind.
    """
    total = 0

    def count(call: Call, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        nonlocal total
        output = call.layer.compute_output_spec(*args, **kwargs)
        total += _per_output(call.layer) * math.prod(keras.tree.flatten(output)[0].shape)
        return output

    picture = model.inputs[0]
    shape = (1, height, width, picture.shape[-1])
    run(trace(model), [keras.KerasTensor(shape, dtype=picture.dtype)], count)
    return total


def _per_output(layer: Any) -> int:
    kernels = [weight.shape for weight in getattr(layer, "weights", ()) if len(weight.shape) > 1]
    if not kernels:
        return 0
    if len(kernels) == 1 and isinstance(layer, layers.DepthwiseConv2D):
        return math.prod(kernels[0][:2])
    if len(kernels) == 1 and type(layer) in _KERNELS:
        return math.prod(kernels[0][:-1])
    raise ValueError(
        f"Layers with a kernel must be Conv2D, DepthwiseConv2D or Dense. Received: '{layer.name}' "
        f"({type(layer).__name__})"
    )
