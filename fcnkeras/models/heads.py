"""Cutting the head of a classifier: the network without its last fully connected layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from fcnkeras.convert.graph import Call, ConversionError, Graph, Ref, run, trace
from fcnkeras.convert.surgery import clone_layers, move_weights


def drop_top_dense(model: keras.Model, n: int) -> keras.Model:
    """A classifier without its last `n` fully connected layers.

    What stands between and behind them (dropout, activations, normalisation) goes with them; what
    stands before the first of them stays. A new classifier is a Dense layer on the result's
    output, and `to_fcn` accepts the result with or without one, as long as a Dense layer is left
    behind a Flatten.

    Args:
        model: a Functional or Sequential classifier with one output, whose last layers form a
            chain. Models nested in it are opened. It is only read.
        n: how many Dense layers on vectors to remove, counted from the output.

    Returns:
        A new `keras.Model` with weights of its own, from the same input to the vector that the
        first removed layer read: (batch, features).

    Raises:
        ValueError: `n` is below 1, or more than the Dense layers that the model ends in.
        ConversionError: the head branches, the model has several outputs, its graph cannot be
            read, or one of its layers cannot be made anew.
        TypeError: `model` is not a Keras model, or `n` not a whole number.

    Example:
        >>> features = drop_top_dense(AlexNet(), 1)           # ends in fc7
        >>> classes = keras.layers.Dense(2, activation="softmax", name="classes")(features.output)
        >>> model = keras.Model(features.input, classes)
        >>> model.output_shape
        (None, 2)
    """
    if isinstance(n, bool) or not isinstance(n, int):
        raise TypeError(f"`n` must be a whole number. Received: {n!r}")
    if n < 1:
        raise ValueError(f"`n` must be at least 1. Received: {n}")
    graph = trace(model)
    if len(graph.outputs) != 1:
        raise ConversionError(
            f"A model with one output is needed. '{model.name}' has {len(graph.outputs)}."
        )
    dropped, cut = _cut(graph, n, model.name)
    calls = [call for call in graph.calls if call not in dropped]
    return _copy(Graph(graph.inputs, [cut], calls), f"{model.name}_without_top_{n}")


def _cut(graph: Graph, n: int, name: str) -> tuple[list[Call], Ref]:
    """The calls from the n-th last Dense layer on, and the vector that this layer reads."""
    dropped: list[Call] = []
    ref, found = graph.outputs[0], 0
    while found < n:
        call = graph.producer(ref)
        if call is None or len(call.inputs) == 0 or any(len(r.shape) != 2 for r in call.inputs):
            raise ValueError(
                f"`n` must be at most {found}, the Dense layers that '{name}' ends in. "
                f"Received: {n}"
            )
        readers = [c.layer.name for c in graph.calls if c not in dropped and ref in c.inputs]
        if len(call.inputs) != 1 or readers:
            other = f"'{readers[0]}' reads it too" if readers else "it joins several vectors"
            raise ConversionError(
                f"The head of '{name}' branches at layer '{call.layer.name}' ({other}), so it has "
                f"no {n} last Dense layers: cut it with keras.Model(model.input, layer.output)."
            )
        dropped.append(call)
        found += isinstance(call.layer, layers.Dense)
        ref = call.inputs[0]
    return dropped, ref


def _copy(graph: Graph, name: str) -> keras.Model:
    """A model of the graph's calls, with new layers of the same weights."""
    clones = clone_layers(graph)

    def call_clone(call: Call, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        return clones[id(call.layer)](*args, **kwargs)

    inputs = [keras.Input(ref.shape[1:], dtype=ref.dtype) for ref in graph.inputs]
    values = run(graph, inputs, call_clone)
    model = keras.Model(
        inputs if len(inputs) > 1 else inputs[0], values[graph.outputs[0]], name=name
    )
    move_weights(graph.layers(), clones)
    return model
