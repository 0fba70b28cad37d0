"""Weights that make any Keras network decide, its own layers and blocks included.

`networks.rescale_weights` reads a network's graph, and so stops at layers that hold other layers
(the blocks of KerasHub). Here the network itself is run once, and every layer that has a kernel or
a normalisation is given its weights when it is first called, wherever it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import keras
import numpy as np
from keras import layers, ops


def rescale(model: keras.Model, pictures: np.ndarray, seed: int = 0) -> keras.Model:
    """Gives every kernel outputs of mean about 0 and deviation about 1 for `pictures`, and every
    normalisation and bias a random part. Changes `model`; returns it."""
    rng = np.random.default_rng(seed)
    call_layer, done = layers.Layer.__call__, set()

    def call_rescaled(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if id(layer) not in done:
            done.add(id(layer))
            if isinstance(layer, layers.BatchNormalization):
                _rescale_statistics(layer, _numpy(args[0]), rng)
            _vary_affine(layer, rng)
            if hasattr(layer, "kernel") or hasattr(layer, "pointwise_kernel"):
                with _linear(layer):
                    _rescale_kernel(layer, _numpy(call_layer(layer, *args, **kwargs)), rng)
        return call_layer(layer, *args, **kwargs)

    with mock.patch.object(layers.Layer, "__call__", call_rescaled):
        model(ops.convert_to_tensor(pictures), training=False)
    return model


def logits(model: keras.Model, pictures: np.ndarray) -> list[np.ndarray]:
    """What each output of `model` is before its last activation, float32, computed by Keras."""
    with without_activations(model):
        values = keras.tree.flatten(model(ops.convert_to_tensor(pictures), training=False))
    return [_numpy(value) for value in values]


@contextmanager
def without_activations(model: keras.Model) -> Iterator[None]:
    """Switches off the activation that each output ends in, an argument or a layer."""
    with ExitStack() as stack:
        for layer in {id(layer): layer for layer in _last_layers(model)}.values():
            stack.enter_context(_linear(layer))
        yield


def _last_layers(model: keras.Model) -> Iterator[Any]:
    for tensor in model.outputs:
        layer, _, index = tensor._keras_history
        while isinstance(layer, keras.Model):
            layer, _, index = layer.outputs[index]._keras_history
        yield layer


@contextmanager
def _linear(layer: Any) -> Iterator[None]:
    if isinstance(layer, layers.Softmax | layers.ReLU | layers.LeakyReLU | layers.ELU):
        with mock.patch.object(layer, "call", lambda inputs, *args, **kwargs: inputs):
            yield
    elif getattr(layer, "activation", None) is not None:
        with mock.patch.object(layer, "activation", keras.activations.linear):
            yield
    else:
        yield


def _rescale_statistics(layer: Any, values: np.ndarray, rng: np.random.Generator) -> None:
    axis = layer.axis % values.ndim
    axes = tuple(other for other in range(values.ndim) if other != axis)
    mean, deviation = values.mean(axes), values.std(axes) + 1e-3
    layer.moving_mean.assign(mean + 0.2 * deviation * rng.normal(size=mean.shape))
    layer.moving_variance.assign((deviation * rng.uniform(0.8, 1.2, mean.shape)) ** 2)


def _vary_affine(layer: Any, rng: np.random.Generator) -> None:
    """Normalisations and layer scales: a layer scale starts at 1e-6, which would hide its block."""
    for name, low, high in (("gamma", 0.7, 1.3), ("beta", -0.4, 0.4)):
        weight = getattr(layer, name, None)
        if isinstance(weight, keras.Variable):
            weight.assign(rng.uniform(low, high, tuple(weight.shape)))


def _rescale_kernel(layer: Any, values: np.ndarray, rng: np.random.Generator) -> None:
    first = getattr(layer, "data_format", None) == "channels_first" and values.ndim == 4
    axis = 1 if first else values.ndim - 1
    axes = tuple(other for other in range(values.ndim) if other != axis)
    # Centred for each channel, but scaled by one number: a scale for each channel would blow up
    # those that hardly vary, and their rounding with them.
    mean = values.mean(axes, keepdims=True)
    deviation = max(float((values - mean).std()), 1e-6)
    kernel = layer.pointwise_kernel if hasattr(layer, "pointwise_kernel") else layer.kernel
    kernel.assign(kernel / deviation)
    if getattr(layer, "bias", None) is not None and tuple(layer.bias.shape) == (mean.size,):
        noise = rng.normal(scale=0.3, size=mean.size)
        layer.bias.assign((layer.bias - mean.ravel()) / deviation + noise)


def _numpy(value: Any) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(ops.cast(value, "float32")))
