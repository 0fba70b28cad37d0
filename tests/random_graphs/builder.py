"""Builds a Keras graph call by call, and computes its values beside it on a few pictures.

The values serve to scale every layer's weights at its first call, so that outputs differ from
picture to picture; the graph that results is never read back from Keras.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np
from keras import layers, ops

Stride = tuple[int, int] | None


@dataclass(frozen=True)
class Node:
    """A tensor of the graph.

    Attributes:
        tensor: the symbolic tensor.
        value: its value on the builder's pictures.
        name: its name in the script.
        stride: pixels between one place and the next; None where a place of a larger picture need
            not be the network slid there (borders were padded, or the whole map was looked at).
    """

    tensor: Any
    value: Any
    name: str
    stride: Stride

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.tensor.shape[1:])


@dataclass
class Builder:
    """Draws, makes layers, calls them, and keeps account of all three.

    Attributes:
        tape: random bytes. One string of bytes, as hypothesis then tries other graphs instead of
            variations of the last one, and still shrinks: a shorter string is a simpler graph.
        channels_first: where a map has its channels.
        policy: the dtype policy of every layer.
        chain: only layers that a Sequential model can hold may be added.
        valid: borders are never padded.
        integers: pictures are whole numbers of 0-255.
        borrowed: names for the next layers, which a conversion gives to layers that it adds.
        tags: what occurs in the graph.
        script: the graph as lines of Python.
        layers: every layer, in the order of the first calls.
    """

    tape: Iterator[int]
    channels_first: bool = False
    policy: str = "float32"
    chain: bool = False
    valid: bool = False
    integers: bool = False
    borrowed: list[str] = field(default_factory=list)
    tags: set[str] = field(default_factory=set)
    script: list[str] = field(default_factory=list)
    layers: list[Any] = field(default_factory=list)
    called: set[int] = field(default_factory=set)
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    # ---- draws -----------------------------------------------------------------------------

    def number(self, low: int, high: int) -> int:
        """Both ends included. Every choice is one byte, and the lowest behind the last one."""
        return low + next(self.tape, 0) * (high - low + 1) // 256

    def pick(self, *values: Any) -> Any:
        return values[self.number(0, len(values) - 1)]

    def chance(self, percent: int) -> bool:
        """True that often; the byte 0 is False."""
        return self.number(0, 99) >= 100 - percent

    # ---- maps ------------------------------------------------------------------------------

    @property
    def channel_axis(self) -> int:
        return 1 if self.channels_first else -1

    @property
    def data_format(self) -> dict[str, str]:
        return {"data_format": "channels_first"} if self.channels_first else {}

    @property
    def map_axes(self) -> tuple[int, int]:
        return (2, 3) if self.channels_first else (1, 2)

    def size(self, x: Node) -> tuple[int, int, int]:
        """Rows, columns and channels of a map."""
        rows, columns = (x.tensor.shape[axis] for axis in self.map_axes)
        return rows, columns, x.tensor.shape[self.channel_axis]

    # ---- calls -----------------------------------------------------------------------------

    def picture(self, shape: tuple[int, ...], value: Any, stride: Stride, dtype: str) -> Node:
        """A new input."""
        name = f"x{len(self.script)}"
        self.script.append(f"{name} = keras.Input({shape}, dtype={dtype!r})")
        return Node(keras.Input(shape, dtype=dtype), value, name, stride)

    def make(self, kind: type, **config: Any) -> Any:
        """A new layer; its name says its kind and number, which no operation's does."""
        self.tags.add(kind.__name__)
        name = f"{kind.__name__}_{len(self.layers)}"
        if self.borrowed:
            self.tags.add("borrowed name")
            name = self.borrowed.pop()
        config["name"] = name
        layer = kind(**config, dtype=self.policy)
        self.layers.append(layer)
        shown = ", ".join(f"{key}={value!r}" for key, value in config.items())
        self.script.append(f"{name} = layers.{kind.__name__}({shown})")
        return layer

    def add(self, kind: type, *given: Node, stride: Stride = (1, 1), **config: Any) -> Node:
        """Calls a new layer; `stride` is that of its own, None where it pads or sees everything.

        Convolutions of channels-first maps get no bias: `keras.ops.add` adds it along the columns
        of a map that has as many columns as channels (Keras 3.15 on TensorFlow).
        """
        if self.channels_first and "kernel_size" in config and given[0].shape[1:] != (1, 1):
            config["use_bias"] = False
        return self.call(self.make(kind, **config), *given, stride=stride)

    def call(self, layer: Any, *given: Node, stride: Stride = (1, 1)) -> Node:
        tensors = [node.tensor for node in given]
        values = [node.value for node in given]
        given_tensors = tensors[0] if len(given) == 1 else tensors
        # Keras takes the pictures of its augmentations by place only.
        if self.chance(4) and not type(layer).__name__.startswith("Random"):
            self.tags.add("called by keyword")
            tensor = layer(**{next(iter(inspect.signature(layer.call).parameters)): given_tensors})
        else:
            tensor = layer(given_tensors)
        if id(layer) in self.called:
            self.tags.add("shared")
        elif layer.weights:
            rescale(layer, values[0], self.rng)
        self.called.add(id(layer))
        value = layer(values[0] if len(given) == 1 else values)
        return self._node(tensor, value, given, stride, layer.name)

    def op(
        self, text: str, function: Callable, *given: Node, stride: Stride = (1, 1), tag: str = "ops"
    ) -> Node:
        """Calls a function of keras.ops, which the script shows as `text`."""
        self.tags.add(tag)
        tensor = function(*(node.tensor for node in given))
        return self._node(tensor, function(*(node.value for node in given)), given, stride, text)

    def _node(
        self, tensor: Any, value: Any, given: tuple[Node, ...], stride: Stride, text: str
    ) -> Node:
        name = f"x{len(self.script)}"
        self.script.append(f"{name} = {text}({', '.join(node.name for node in given)})")
        if len(given) > 1:
            self.tags.add("joined")
        return Node(tensor, value, name, _stride([node.stride for node in given], stride))

    def nest(self, x: Node, make: Callable[[Node], list[Node]]) -> list[Node]:
        """What `make` builds on a new input, put into a model of its own and called on `x`; or
        called twice, where its shapes allow it."""
        before = len(self.layers)
        start = self.picture(x.shape, x.value, x.stride, x.tensor.dtype)
        ends = make(start)
        name = f"model_{len(self.script)}"
        if self.chain:
            parts = [keras.Input(x.shape, dtype=x.tensor.dtype), *self.layers[before:]]
            model = keras.Sequential(parts, name=name)
        else:
            outputs = [end.tensor for end in ends]
            model = keras.Model(start.tensor, outputs if len(ends) > 1 else outputs[0], name=name)
        self.layers[before:] = [model]
        training = {"training": False} if self.chance(30) else {}
        tensors = keras.tree.flatten(model(x.tensor, **training))
        self.script.append(f"{name}({x.name}) gives {', '.join(end.name for end in ends)}")
        found = [replace(end, tensor=t) for end, t in zip(ends, tensors, strict=True)]
        again = len(ends) == 1 and not self.chain and ends[0].stride in (x.stride, None)
        if again and found[0].shape == x.shape and self.chance(50):
            self.tags.add("model called twice")
            found = [
                self._node(model(tensors[0]), model(found[0].value), (found[0],), (1, 1), name)
            ]
        return found


def _stride(given: list[Stride], own: Stride) -> Stride:
    """The stride behind a call; places of a coarse and a fine map meet where both have one."""
    known = [stride for stride in given if stride is not None]
    if own is None or len(known) < len(given):
        return None
    rows, columns = (math.lcm(*(stride[axis] for stride in known)) for axis in (0, 1))
    return rows * own[0], columns * own[1]


# ---- weights -----------------------------------------------------------------------------------


def rescale(layer: Any, values: Any, rng: np.random.Generator) -> None:
    """Gives a layer random weights; one with a kernel outputs of mean about 0 and deviation about
    1 for `values`."""
    if isinstance(layer, layers.BatchNormalization):
        rescale_statistics(layer, numpy(values), rng)
    for weight in layer.trainable_weights:
        if weight.name in ("gamma", "scale"):
            weight.assign(rng.uniform(0.7, 1.3, weight.shape))
        elif weight.name == "alpha":
            weight.assign(rng.uniform(0.1, 0.5, weight.shape))
        else:
            weight.assign(rng.normal(scale=0.5, size=weight.shape))
    if any(hasattr(layer, name) for name in ("pointwise_kernel", "kernel")):
        rescale_kernel(layer, values, rng)


def rescale_statistics(layer: Any, values: np.ndarray, rng: np.random.Generator) -> None:
    axes = tuple(axis for axis in range(values.ndim) if axis != layer.axis % values.ndim)
    mean, deviation = values.mean(axes), values.std(axes) + 0.05
    layer.moving_mean.assign(mean + 0.2 * deviation * rng.normal(size=mean.shape))
    layer.moving_variance.assign((deviation * rng.uniform(0.8, 1.2, mean.shape)) ** 2)


def rescale_kernel(layer: Any, values: Any, rng: np.random.Generator) -> None:
    activation, layer.activation = layer.activation, keras.activations.linear
    results = numpy(layer(values))
    layer.activation = activation
    first = getattr(layer, "data_format", None) == "channels_first"
    channels = 1 if first else results.ndim - 1
    # Centred for each channel, but scaled by one number: a scale for each channel would blow up
    # those that hardly vary, and their rounding with them.
    mean = results.mean(tuple(axis for axis in range(results.ndim) if axis != channels))
    shape = [-1 if axis == channels else 1 for axis in range(results.ndim)]
    biased = getattr(layer, "bias", None) is not None
    deviation = float(
        (results - mean.reshape(shape)).std() if biased else (results**2).mean() ** 0.5
    )
    deviation = max(deviation, 0.02)
    kernel = getattr(layer, "pointwise_kernel", None)
    kernel = layer.kernel if kernel is None else kernel
    kernel.assign(numpy(kernel) / deviation)
    if biased:
        noise = rng.normal(scale=0.3, size=mean.shape)
        layer.bias.assign((numpy(layer.bias) - mean) / deviation + noise)


def numpy(value: Any) -> np.ndarray:
    """As float32, which NumPy's functions and half precision need."""
    return np.asarray(ops.convert_to_numpy(ops.cast(value, "float32")))
