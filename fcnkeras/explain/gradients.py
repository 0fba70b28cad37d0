"""Gradients, which Keras does not unify: the one file that knows the backends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

Array = np.ndarray


def value_and_gradients(
    function: Callable[..., Any], inputs: Sequence[Any]
) -> tuple[Array, list[Array]]:
    """The value of a function and the gradient of its sum with respect to each input.

    Where every element of the value depends on one element of a batch, as scores do, the gradient
    of the sum is that of each score with respect to its own picture.

    Args:
        function: of tensors of the backend to one tensor of any shape.
        inputs: arrays or tensors, of floats.

    Returns:
        The value, and for each input an array of its shape and dtype, zero where the value does
        not depend on it.

    Example:
        >>> value_and_gradients(lambda x: x * x, [np.array([1.0, 3.0], "float32")])
        (array([1., 9.], dtype=float32), [array([2., 6.], dtype=float32)])
    """
    tensors = [ops.convert_to_tensor(each) for each in inputs]
    value, found = _BACKENDS[keras.backend.backend()](function, tensors)
    return _array(value), [_array(each) for each in found]


def loss_gradients(
    model: keras.Model, x: Any, y: Any, sample_weight: Any = None, *, training: bool = True
) -> dict[str, Array]:
    """The gradient of a compiled model's loss with respect to each of its trainable variables.

    Nothing in the model changes: neither its weights nor the statistics of a normalisation, its
    random seeds or its metrics.

    Args:
        model: a compiled model.
        x: one batch, as the model takes it.
        y: its targets, as `fit` takes them.
        sample_weight: as `fit` takes it.
        training: whether layers behave as in training (dropout, batch statistics).

    Returns:
        Arrays by `variable.path`, of the variables' shapes. The loss is not scaled, whatever the
        optimizer does for half precision.

    Raises:
        ValueError: the model is not compiled with a loss.
    """
    if not model.compiled or model.loss is None:
        raise ValueError(f"A model compiled with a loss is needed. Received: '{model.name}'")
    x, y, sample_weight = keras.tree.map_structure(
        lambda leaf: None if leaf is None else ops.convert_to_tensor(leaf), (x, y, sample_weight)
    )
    variables = model.trainable_variables

    def loss(*values: Any) -> Any:
        mapping = list(zip(variables, values, strict=True))
        with keras.StatelessScope(mapping, collect_losses=True):
            predicted = model(x, training=training)
            return model.compute_loss(
                x=x, y=y, y_pred=predicted, sample_weight=sample_weight, training=training
            )

    _, found = value_and_gradients(loss, [variable.value for variable in variables])
    return {variable.path: each for variable, each in zip(variables, found, strict=True)}


def _array(tensor: Any) -> Array:
    array = ops.convert_to_numpy(tensor)
    # NumPy itself knows no bfloat16.
    return array.astype("float32") if array.dtype.kind not in "fiub" else np.asarray(array)


def _tensorflow(function: Callable, tensors: list) -> tuple[Any, list]:
    import tensorflow as tf

    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(tensors)
        value = function(*tensors)
        total = tf.reduce_sum(value)
    zero = tf.UnconnectedGradients.ZERO
    return value, tape.gradient(total, tensors, unconnected_gradients=zero)


def _jax(function: Callable, tensors: list) -> tuple[Any, list]:
    import jax

    def total(*given: Any) -> tuple[Any, Any]:
        value = function(*given)
        return value.sum(), value

    places = tuple(range(len(tensors)))
    (_, value), found = jax.value_and_grad(total, places, has_aux=True)(*tensors)
    return value, list(found)


def _torch(function: Callable, tensors: list) -> tuple[Any, list]:
    import torch

    with torch.enable_grad():
        given = [tensor.detach().clone().requires_grad_() for tensor in tensors]
        value = function(*given)
        if not value.requires_grad:
            return value, [torch.zeros_like(tensor) for tensor in given]
        found = torch.autograd.grad(value.sum(), given, allow_unused=True)
    zeros = (torch.zeros_like(tensor) for tensor in given)
    return value, [z if f is None else f for f, z in zip(found, zeros, strict=True)]


_BACKENDS = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
