"""The spatial part of a random classifier."""

from __future__ import annotations

from functools import partial
from typing import Any

import keras
from keras import layers, ops

from random_graphs.builder import Builder, Node

ACTIVATIONS = ("relu", "tanh", "elu", "sigmoid", "silu", "gelu", "leaky_relu", "hard_sigmoid")


def padding_of(b: Builder, kernel: tuple[int, int]) -> tuple[str, bool]:
    """The padding to use, and whether it pads."""
    padding = "valid" if b.valid else b.pick("valid", "same")
    b.tags.add(padding)
    return padding, padding == "same" and kernel != (1, 1)


def kernel_of(b: Builder, x: Node, most: int = 3) -> tuple[int, int]:
    rows, columns, _ = b.size(x)
    kernel = b.number(1, min(most, rows)), b.number(1, min(most, columns))
    if kernel[0] != kernel[1]:
        b.tags.add("kernel that is not square")
    return kernel


def _convolution(b: Builder, x: Node) -> Node:
    kernel = kernel_of(b, x)
    padding, pads = padding_of(b, kernel)
    config: dict[str, Any] = {"kernel_size": kernel, "padding": padding, **b.data_format}
    config["use_bias"] = not b.chance(30)
    config["activation"] = b.pick("relu", None, *ACTIVATIONS)
    variant = b.pick("plain", "strided", "dilated", "grouped", "depthwise", "separable")
    strides = (1, 1)
    if variant == "strided":
        strides = b.number(1, 2), b.number(1, 2)
        pads |= padding == "same"
    if variant == "dilated" and _fits(b, x, (2 * kernel[0] - 1, 2 * kernel[1] - 1)):
        config["dilation_rate"] = 2
    if variant in ("depthwise", "separable"):
        strides = b.pick((1, 1), (2, 2))
        pads |= padding == "same" and strides != (1, 1)
        config["depth_multiplier"] = b.number(1, 2)
    b.tags.add(f"{variant} convolution")
    config["strides"] = strides
    stride = None if pads else strides
    if variant == "depthwise":
        return b.add(layers.DepthwiseConv2D, x, stride=stride, **config)
    kind = layers.SeparableConv2D if variant == "separable" else layers.Conv2D
    filters = b.number(2, 5)
    channels = b.size(x)[2]
    if variant == "grouped" and channels % 2 == 0:
        config["groups"], filters = 2, 4
        b.tags.add("groups")
    return b.add(kind, x, stride=stride, filters=filters, **config)


def _fits(b: Builder, x: Node, kernel: tuple[int, int]) -> bool:
    rows, columns, _ = b.size(x)
    return kernel[0] <= rows and kernel[1] <= columns


def _pool(b: Builder, x: Node) -> Node:
    kernel = kernel_of(b, x)
    padding, pads = padding_of(b, kernel)
    strides = b.pick(kernel, (1, 1), (2, 2))
    stride = None if pads or (padding == "same" and strides != (1, 1)) else strides
    kind = b.pick(layers.MaxPooling2D, layers.AveragePooling2D)
    config = {"pool_size": kernel, "strides": strides, "padding": padding, **b.data_format}
    return b.add(kind, x, stride=stride, **config)


def _normalise_map(b: Builder, x: Node) -> Node:
    axis = b.channel_axis
    kinds = ["BatchNormalization", "LayerNormalization", "UnitNormalization"]
    if b.channels_first and keras.backend.backend() == "torch":  # where Keras takes the last axis
        kinds.remove("LayerNormalization")
    if not b.channels_first:  # Keras multiplies the scale of the others to the last axis
        kinds.append("RMSNormalization")
    if not b.valid:
        kinds.append("GroupNormalization")
    kind = b.pick(*kinds) if b.size(x)[2] > 1 else "BatchNormalization"
    if kind == "GroupNormalization":
        groups = 2 if b.size(x)[2] % 2 == 0 else 1
        config = {"groups": groups, "axis": axis, "center": not b.channels_first}
        return b.add(layers.GroupNormalization, x, stride=None, **config)
    config = {"scale": b.chance(70)} if kind == "BatchNormalization" else {}
    return b.add(getattr(layers, kind), x, axis=axis, **config)


def _elementwise_map(b: Builder, x: Node) -> Node:
    kind = b.pick("Activation", "ReLU", "LeakyReLU", "Dropout", "SpatialDropout2D", "PReLU",
                  "Rescaling", "GaussianNoise", "Softmax", "Dense")  # fmt: skip
    if kind == "Softmax" and b.size(x)[2] > 1:
        return b.add(layers.Softmax, x, axis=b.channel_axis)
    if kind in ("Softmax", "Dense") and not b.channels_first:
        b.tags.add("Dense on a map")
        return b.add(layers.Dense, x, units=b.number(2, 4))
    config: dict[str, Any] = {
        "Activation": lambda: {"activation": b.pick(*ACTIVATIONS)},
        "Dropout": lambda: {"rate": 0.4},
        "SpatialDropout2D": lambda: {"rate": 0.4, **b.data_format},
        "PReLU": lambda: {"shared_axes": b.map_axes},
        "Rescaling": lambda: {"scale": 0.5, "offset": 0.1},
        "GaussianNoise": lambda: {"stddev": 0.5},
    }.get(kind, dict)()
    return b.add(
        layers.ReLU if kind in ("Softmax", "Dense") else getattr(layers, kind), x, **config
    )


def _borders(b: Builder, x: Node) -> Node:
    """Zero padding, cropping, or a larger map."""
    rows, columns, _ = b.size(x)
    kinds = ["crop"] if b.valid else ["crop", "pad", "transposed", "upsampled"]
    kind = b.pick(*kinds)
    if kind == "crop" and rows > 3 and columns > 4:
        return b.add(layers.Cropping2D, x, cropping=((1, 0), (1, 2)), **b.data_format)
    if kind == "pad":
        padding = ((b.number(0, 2), 1), (0, b.number(0, 2)))
        return b.add(layers.ZeroPadding2D, x, stride=None, padding=padding, **b.data_format)
    if kind == "transposed" and max(rows, columns) <= 12:
        config = {"kernel_size": kernel_of(b, x), "strides": b.pick(1, 2), **b.data_format}
        config["padding"] = b.pick("valid", "same")
        return b.add(layers.Conv2DTranspose, x, stride=None, filters=3, **config)
    if kind == "upsampled" and max(rows, columns) <= 12:
        return b.add(layers.UpSampling2D, x, stride=None, size=2, **b.data_format)
    return b.add(layers.Identity, x)


def _map_operation(b: Builder, x: Node) -> Node:
    b.tags.add("ops on a map")
    return b.pick(
        partial(b.op, "ops.relu", ops.relu),
        partial(b.op, "1 - 0.5 *", lambda t: 1 - 0.5 * t),
        partial(b.op, "ops.tanh", ops.tanh),
    )(x)


def _residual(b: Builder, x: Node) -> Node:
    """A convolution of the same size of map, joined with what it reads."""
    rows, columns, channels = b.size(x)
    if rows < 5 or columns < 5:
        return x
    kernel = b.number(1, 3), b.number(1, 3)
    padding, pads = padding_of(b, kernel)
    y = b.add(
        layers.Conv2D, x, stride=None if pads else (1, 1), filters=channels, kernel_size=kernel,
        padding=padding, activation=b.pick("relu", None), **b.data_format,
    )  # fmt: skip
    if padding == "valid" and kernel != (1, 1):
        cut = tuple((side // 2, side - 1 - side // 2) for side in kernel)
        x = b.add(layers.Cropping2D, x, cropping=cut, **b.data_format)
    return join(b, [x, y], "map", axis=b.channel_axis)


def _shared(b: Builder, x: Node) -> Node:
    """One convolution and one activation, called twice."""
    conv = b.make(layers.Conv2D, filters=b.size(x)[2], kernel_size=1,
                  use_bias=not b.channels_first, **b.data_format)  # fmt: skip
    activation = b.make(layers.Activation, activation=b.pick("relu", "tanh"))
    for _ in range(2):
        x = b.call(activation, b.call(conv, x))
    return x


def _squeeze_and_excite(b: Builder, x: Node) -> Node:
    channels = b.size(x)[2]
    b.tags.add("squeeze and excitation")
    way = b.pick("keepdims", "reshape") if not b.channels_first else "keepdims"
    gate = b.add(
        layers.GlobalAveragePooling2D, x, stride=None, keepdims=way == "keepdims", **b.data_format
    )
    if way == "reshape":
        gate = b.add(layers.Reshape, gate, target_shape=(1, 1, channels))
    for units, activation in ((2, "relu"), (channels, b.pick("sigmoid", "hard_sigmoid"))):
        if way == "keepdims":
            config = {"filters": units, "kernel_size": 1, **b.data_format}
            gate = b.add(layers.Conv2D, gate, activation=activation, **config)
        else:
            gate = b.add(layers.Dense, gate, units=units, activation=activation)
    if b.chance(40):
        return b.op("ops.multiply", ops.multiply, x, gate, tag="ops on a map")
    return b.add(layers.Multiply, x, gate)


def join(b: Builder, nodes: list[Node], place: str, axis: int = -1) -> Node:
    """Two or more tensors of one shape, by a layer or by an operation."""
    kind = b.pick("Add", "Concatenate", "Average", "Maximum", "Multiply", "Minimum", "Subtract")
    if kind == "Subtract":
        nodes = nodes[:2]
    if not b.chance(40):
        b.tags.add(f"{kind} of {place}s")
        return b.add(
            getattr(layers, kind), *nodes, **({"axis": axis} if kind == "Concatenate" else {})
        )
    if kind == "Concatenate":
        return b.op(
            "concatenate",
            lambda *t: ops.concatenate(t, axis=axis),
            *nodes,
            tag=f"ops joining {place}s",
        )
    join = {
        "Add": ops.add, "Subtract": ops.subtract, "Multiply": ops.multiply,
        "Maximum": ops.maximum, "Minimum": ops.minimum, "Average": lambda s, t: ops.add(s, t) / 2,
    }[kind]  # fmt: skip
    x = nodes[0]
    for y in nodes[1:]:
        x = b.op(kind.lower(), join, x, y, tag=f"ops joining {place}s")
    return x


def _nested(b: Builder, x: Node, depth: int) -> Node:
    b.tags.add(f"nested {depth + 1} deep")
    return b.nest(x, lambda start: [trunk(b, start, b.number(1, 2), depth + 1)])[0]


def prepare(b: Builder, x: Node) -> Node:
    """What people put before the first convolution."""
    if b.integers:
        x = b.add(layers.Rescaling, x, scale=1 / 40, offset=-3.2)
    kind = b.pick("augmentation", "Normalization") if b.chance(12) else None
    if kind == "augmentation" and not b.channels_first and not b.policy.endswith("16"):
        if b.chance(50):
            return b.add(layers.RandomFlip, x)
        return b.add(layers.RandomRotation, x, factor=0.2)
    if kind == "Normalization":
        channels = b.size(x)[2]
        mean, variance = [0.1, -0.2, 0.0, 0.3][:channels], [1.5, 0.5, 1.0, 0.7][:channels]
        config = {"mean": mean, "variance": variance}
        return b.add(layers.Normalization, x, axis=b.channel_axis, **config)
    return x


CHAINED = (_convolution, _convolution, _pool, _normalise_map, _elementwise_map, _borders)
BRANCHED = (_residual, _residual, _shared, _map_operation, _squeeze_and_excite)


def trunk(b: Builder, x: Node, blocks: int, depth: int = 0) -> Node:
    for _ in range(blocks):
        if depth < 2 and b.chance(20):
            x = _nested(b, x, depth)
            continue
        choices = CHAINED if b.chain else (*CHAINED, *BRANCHED)
        if b.valid:
            choices = tuple(block for block in choices if block is not _squeeze_and_excite)
        x = b.pick(*choices)(b, x)
    return x
