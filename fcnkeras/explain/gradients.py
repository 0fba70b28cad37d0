"""Gradients, which Keras does not unify: the one file that knows the backends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import keras
import numpy as np
from keras import ops

Array = np.ndarray


def value_and_gradients(
    function: Callable[..., Any], inputs: Sequence[Any], count: int | None = None
) -> tuple[Array, list[Array]]:
    """The value of a function and the gradient of its sum with respect to its inputs.

    Where every element of the value depends on one element of a batch, as scores do, the gradient
    of the sum is that of each score with respect to its own picture.

    Args:
        function: of tensors of the backend to one tensor of any shape.
        inputs: arrays or tensors, of floats.
        count: how many inputs, from the first on, to take the gradient for, all by default; others
            may be of any dtype.

    Returns:
        The value, and for each input an array of its shape and dtype, zero where the value does
        not depend on it.

    Example:
        >>> value_and_gradients(lambda x: x * x, [np.array([1.0, 3.0], "float32")])
        (array([1., 9.], dtype=float32), [array([2., 6.], dtype=float32)])
    """
    tensors = [ops.convert_to_tensor(each) for each in inputs]
    value, found = _BACKENDS[keras.backend.backend()](function, tensors, count or len(tensors))
    return _array(value), [_array(each) for each in found]


def gradient_function(
    function: Callable[..., Any], shapes: Sequence[tuple[int | None, ...]], count: int = 1
) -> Callable[..., tuple[Array, list[Array]]]:
    """`value_and_gradients` for functions that are called often, or lead through convolutions.

    TensorFlow compiles the function once for all sizes. That also leaves out the gradients of
    kernels, which nobody asks for: without it they are computed all the same, at a third of the
    cost, and for strided 1x1 convolutions on odd sizes TensorFlow 2.21 ends the process there.

    Args:
        function: see `value_and_gradients`.
        shapes: of the inputs; None where a side may change from call to call.
        count: see `value_and_gradients`.

    Returns:
        A function of the inputs.
    """
    if keras.backend.backend() != "tensorflow":
        return lambda *inputs: value_and_gradients(function, inputs, count)
    import tensorflow as tf

    compiled = None

    def call(*inputs: Any) -> tuple[Array, list[Array]]:
        nonlocal compiled
        tensors = [ops.convert_to_tensor(each) for each in inputs]
        if compiled is None:
            pairs = zip(shapes, tensors, strict=True)
            signature = [tf.TensorSpec(shape, tensor.dtype) for shape, tensor in pairs]
            run = tf.function(lambda *given: _tensorflow(function, list(given), count))
            compiled = run.get_concrete_function(*signature)
        value, found = compiled(*tensors)
        return _array(value), [_array(each) for each in found]

    return call


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


def no_gradients() -> AbstractContextManager:
    """Spares PyTorch the memory of a way back that nobody goes."""
    if keras.backend.backend() != "torch":
        return nullcontext()
    import torch

    return torch.no_grad()


def _array(tensor: Any) -> Array:
    array = ops.convert_to_numpy(tensor)
    # NumPy itself knows no bfloat16.
    return array.astype("float32") if array.dtype.kind not in "fiub" else np.asarray(array)


def _tensorflow(function: Callable, tensors: list, count: int) -> tuple[Any, list]:
    import tensorflow as tf

    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(tensors[:count])
        value = function(*tensors)
        total = tf.reduce_sum(value)
    zero = tf.UnconnectedGradients.ZERO
    return value, tape.gradient(total, tensors[:count], unconnected_gradients=zero)


def _jax(function: Callable, tensors: list, count: int) -> tuple[Any, list]:
    import jax

    def total(*given: Any) -> tuple[Any, Any]:
        value = function(*given)
        return value.sum(), value

    places = tuple(range(count))
    (_, value), found = jax.value_and_grad(total, places, has_aux=True)(*tensors)
    return value, list(found)


def _torch(function: Callable, tensors: list, count: int) -> tuple[Any, list]:
    import torch

    with torch.enable_grad():
        given = [tensor.detach().clone().requires_grad_() for tensor in tensors[:count]]
        value = function(*given, *tensors[count:])
        if not value.requires_grad:
            return value, [torch.zeros_like(tensor) for tensor in given]
        found = torch.autograd.grad(value.sum(), given, allow_unused=True)
    zeros = (torch.zeros_like(tensor) for tensor in given)
    return value, [z if f is None else f for f, z in zip(found, zeros, strict=True)]


_BACKENDS = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
