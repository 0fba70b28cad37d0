"""The end of the spatial part, and the head behind it."""

from __future__ import annotations

from typing import Any

from keras import layers, ops

from random_graphs.builder import Builder, Node
from random_graphs.maps import ACTIVATIONS, join

MOST = 7  # features of a vector


# ---- the end of the map ------------------------------------------------------------------------


def end(b: Builder, x: Node, kind: str) -> Node:
    """Ends the map; what comes back has one axis behind the batch, or is a 1x1 map."""
    b.tags.add(f"end: {kind}")
    axes = b.map_axes
    if kind == "flatten":
        x = b.add(layers.Flatten, x, **b.data_format)
        return on_flat(b, x)
    if kind in ("average", "maximum"):
        return b.add(_pooling(kind), x, **b.data_format)
    if kind in ("average keepdims", "maximum keepdims"):
        return b.add(_pooling(kind), x, keepdims=True, **b.data_format)
    if kind == "ops.mean":
        return b.op("ops.mean", lambda t: ops.mean(t, axis=axes), x, tag=kind)
    if kind == "ops.max":
        return b.op("ops.max", lambda t: ops.max(t, axis=axes), x, tag=kind)
    if kind == "ops.mean keepdims":
        return b.op("ops.mean", lambda t: ops.mean(t, axis=axes, keepdims=True), x, tag=kind)
    rows, columns, channels = b.size(x)
    if kind == "pooled window":
        config = {"pool_size": (rows, columns), "strides": 1, **b.data_format}
        x = b.add(b.pick(layers.AveragePooling2D, layers.MaxPooling2D), x, **config)
    else:
        channels = b.number(2, 5)
        config = {"filters": channels, "kernel_size": (rows, columns), **b.data_format}
        x = b.add(layers.Conv2D, x, activation=b.pick(None, "relu"), **config)
    if b.chance(50):
        return b.add(layers.Flatten, x, **b.data_format)
    return b.add(layers.Reshape, x, target_shape=(channels,))


ENDS = (
    *("average", "flatten", "flatten", "flatten", "maximum", "whole map convolution"),
    *("average keepdims", "maximum keepdims", "pooled window"),
    *("ops.mean", "ops.max", "ops.mean keepdims"),
)
LAYER_ENDS = tuple(kind for kind in ENDS if not kind.startswith("ops"))


def _pooling(kind: str) -> Any:
    average = kind.startswith("average")
    return layers.GlobalAveragePooling2D if average else layers.GlobalMaxPooling2D


def on_flat(b: Builder, x: Node) -> Node:
    """What may stand between a Flatten and its Dense layer, and that layer."""
    kind = b.pick("nothing", "Dropout", "Activation", "LeakyReLU")
    if kind != "nothing":
        b.tags.add(f"{kind} of a flattened map")
    if kind == "Dropout":
        x = b.add(layers.Dropout, x, rate=0.5)
    if kind == "Activation":
        x = b.add(layers.Activation, x, activation=b.pick("relu", "tanh"))
    if kind == "LeakyReLU":
        x = b.add(layers.LeakyReLU, x)
    return dense(b, x)


# ---- vectors -----------------------------------------------------------------------------------


def dense(b: Builder, x: Node, units: int | None = None, activation: str | None = "draw") -> Node:
    """A Dense layer, or its like on a 1x1 map."""
    activation = b.pick(None, *ACTIVATIONS) if activation == "draw" else activation
    units = units or b.number(2, MOST)
    config = {"activation": activation, "use_bias": b.chance(75)}
    b.tags.add("Dense with bias" if config["use_bias"] else "Dense without bias")
    if len(x.shape) == 3 and (b.channels_first or b.chance(60)):
        b.tags.add("convolutional head")
        return b.add(layers.Conv2D, x, filters=units, kernel_size=1, **config, **b.data_format)
    return b.add(layers.Dense, x, units=units, **config)


def flat(b: Builder, x: Node) -> Node:
    """A 1x1 map as a vector."""
    if len(x.shape) == 1:
        return x
    features, axes = width(b, x), b.map_axes
    kind = b.pick("Flatten", "Reshape", *([] if b.chain else ["ops.reshape", "ops.squeeze"]))
    b.tags.add(f"{kind} of a 1x1 map")
    if kind == "Reshape":
        return b.add(layers.Reshape, x, target_shape=(features,))
    if kind == "ops.reshape":
        return b.op(kind, lambda t: ops.reshape(t, (-1, features)), x)
    if kind == "ops.squeeze":
        return b.op(kind, lambda t: ops.squeeze(t, axes), x)
    return b.add(layers.Flatten, x, **b.data_format)


def as_map(b: Builder, x: Node) -> Node:
    """A vector as a 1x1 map."""
    if len(x.shape) == 3:
        return x
    b.tags.add("Reshape to a 1x1 map")
    features = width(b, x)
    shape = (features, 1, 1) if b.channels_first else (1, 1, features)
    return b.add(layers.Reshape, x, target_shape=shape)


def width(b: Builder, x: Node) -> int:
    return x.tensor.shape[b.channel_axis if len(x.shape) == 3 else -1]


def _normalised(b: Builder, x: Node) -> Node:
    axis = b.channel_axis if len(x.shape) == 3 else b.pick(-1, 1)
    if width(b, x) == 1 or (len(x.shape) == 3 and b.channels_first):
        return b.add(layers.BatchNormalization, x, axis=axis)
    kind = b.pick("BatchNormalization", "LayerNormalization", "UnitNormalization",
                  "RMSNormalization", "Softmax")  # fmt: skip
    b.tags.add(f"{kind} of a vector")
    return b.add(getattr(layers, kind), x, axis=axis)


def _elementwise(b: Builder, x: Node) -> Node:
    kind = b.pick("Activation", "Dropout", "ReLU", "ELU", "Rescaling", "GaussianNoise", "PReLU",
                  "AlphaDropout", "ActivityRegularization", "Identity")  # fmt: skip
    if kind == "PReLU" and len(x.shape) != 1:
        kind = "ReLU"
    b.tags.add(f"{kind} of a vector")
    config: dict[str, Any] = {
        "Activation": lambda: {"activation": b.pick(*ACTIVATIONS)},
        "Dropout": lambda: {"rate": 0.5},
        "AlphaDropout": lambda: {"rate": 0.5},
        "Rescaling": lambda: {"scale": 0.7, "offset": -0.2},
        "GaussianNoise": lambda: {"stddev": 0.5},
        "ActivityRegularization": lambda: {"l2": 0.1},
    }.get(kind, dict)()
    return b.add(getattr(layers, kind), x, **config)


def _operation(b: Builder, x: Node) -> Node:
    axis = 1 if b.channels_first and len(x.shape) == 3 else -1
    functions = {
        "ops.relu": ops.relu,
        "0.5 *": lambda t: 0.5 * t,
        "1 -": lambda t: 1 - t,
        "ops.sigmoid": ops.sigmoid,
        "ops.gelu": ops.gelu,
        "abs": abs,
        "ops.softmax": lambda t: ops.softmax(t, axis=axis),
        "ops.clip": lambda t: ops.clip(t, -1.0, 1.5),
    }
    text = b.pick(*functions)
    return b.op(text, functions[text], x, tag="ops on a vector")


def _residual(b: Builder, x: Node) -> Node:
    """A vector joined with what a layer makes of it."""
    y = dense(b, x, width(b, x))
    axis = b.channel_axis if len(x.shape) == 3 else b.pick(-1, 1)
    return join(b, [x, y], "vector", axis=axis)


def _gated(b: Builder, x: Node) -> Node:
    """A vector times one number."""
    b.tags.add("gate of one number")
    gate = dense(b, x, 1, "sigmoid")
    if b.chance(50):
        return b.add(layers.Multiply, x, gate)
    return b.op("ops.multiply", ops.multiply, x, gate)


def _shared(b: Builder, x: Node) -> Node:
    """One Dense layer called twice on vectors."""
    x = flat(b, x)
    layer = b.make(layers.Dense, units=width(b, x), activation=b.pick("tanh", None))
    b.tags.add("shared Dense")
    return b.call(layer, b.call(layer, x))


def _nested(b: Builder, x: Node) -> Node:
    b.tags.add("nested head")
    return b.nest(x, lambda start: [head(b, start, 1, nested=True)])[0]


def head(b: Builder, x: Node, hidden: int, nested: bool = False) -> Node:
    """Hidden layers, with what people put between them."""
    chained = (_normalised, _elementwise, _elementwise)
    branched = () if b.chain else (_operation, _residual, _shared, _gated)
    if not b.chain and b.chance(15):
        x = as_map(b, x)
    for _ in range(hidden):
        x = dense(b, x)
        for _ in range(b.number(0, 2)):
            x = b.pick(*chained, *branched)(b, x)
    if hidden and not nested and b.chance(15):
        x = _nested(b, x)
    return x


def meet(b: Builder, vectors: list[Node]) -> Node:
    """Joins the vectors of several ends."""
    vectors = [flat(b, x) for x in vectors]
    if len({width(b, x) for x in vectors}) == 1 and b.chance(40):
        b.tags.add("Dense shared by ends")
        layer = b.make(layers.Dense, units=b.number(2, 4), activation=b.pick("relu", None))
        vectors = [b.call(layer, x) for x in vectors]
    if len({width(b, x) for x in vectors}) > 1:
        if b.chance(50):
            b.tags.add("Concatenate of vectors")
            return b.add(layers.Concatenate, *vectors, axis=b.pick(-1, 1))
        vectors = [dense(b, x, 4) for x in vectors]
    return join(b, vectors, "vector", axis=b.pick(-1, 1))


# ---- outputs -----------------------------------------------------------------------------------


def decide(b: Builder, x: Node) -> tuple[Node, str | None]:
    """One output, and the activation that it ends in if that squeezes values."""
    activation = b.pick("softmax", None, "sigmoid", "tanh", "relu")
    units = b.number(2 if activation == "softmax" else 1, 4)
    form = b.pick("argument", "layer", "ops", "no Dense")
    if form == "ops" and b.chain:
        form = "layer"
    b.tags.add(f"activation as {form}" if activation else "no activation")
    if form == "argument":
        x = flat(b, x) if b.channels_first else x  # a softmax takes the last axis
        x = dense(b, x, units, activation)
        return (x if b.chance(20) else flat(b, x)), activation
    if form != "no Dense" or (activation == "softmax" and width(b, x) == 1):
        x = dense(b, x, units, None)
    x = flat(b, x)
    if activation is None:
        return x, None
    if form == "ops":
        return b.op(
            f"ops.{activation}", getattr(ops, activation), x, tag="ops as output"
        ), activation
    if activation == "softmax" and b.chance(50):
        return b.add(layers.Softmax, x), activation
    return b.add(layers.Activation, x, activation=activation), activation
