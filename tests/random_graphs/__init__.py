"""Random classifiers: every kind of graph that conversion must turn or refuse, tiny."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import networks
import numpy as np
from hypothesis import assume
from hypothesis import strategies as st
from keras import layers

from random_graphs.builder import Builder, Node, Stride, numpy
from random_graphs.heads import ENDS, LAYER_ENDS, decide, end, flat, head, meet
from random_graphs.maps import prepare, trunk
from random_graphs.odd import AS_END, ON_MAP, ON_VECTOR

__all__ = ["ODD", "Output", "RandomGraph", "graphs", "numpy"]

TAPES = st.binary(min_size=60, max_size=400)
POLICIES = ("mixed_float16", "mixed_bfloat16", "float16", "bfloat16")


@dataclass(frozen=True)
class Output:
    """One output: the activation that it ends in, if any, and the pixels from place to place."""

    activation: str | None
    stride: Stride

    def logits(self, values: Any) -> np.ndarray:
        """The output's values without an activation that squeezes them, float64."""
        values = numpy(values).astype("float64")
        rest = 1e-3  # float32 keeps too few digits between the last thousandth and 1
        if self.activation == "softmax":
            return np.log(values + 1e-6)
        if self.activation == "sigmoid":
            values = np.clip(values, rest, 1 - rest)
            return np.log(values) - np.log(1 - values)
        if self.activation == "tanh":
            return np.arctanh(np.clip(values, rest - 1, 1 - rest))
        return values


@dataclass
class RandomGraph:
    """A classifier, and what is known of it by construction.

    Attributes:
        model: the classifier.
        outputs: one for every output, in the order of `keras.tree.flatten`.
        odd: the part that has no twin, or None.
        tags: what occurs in it.
        script: the graph as lines of Python.
        policy: the dtype policy of its layers.
        channels_first: the order of axes of its maps.
        integers: it takes pictures of whole numbers.
    """

    model: keras.Model
    outputs: list[Output]
    odd: str | None
    tags: set[str]
    script: list[str]
    policy: str
    channels_first: bool
    integers: bool

    def __repr__(self) -> str:
        head = f"RandomGraph of {self.policy}, channels_first={self.channels_first}"
        return "\n    ".join([f"{head}, odd={self.odd!r}", *self.script])

    @property
    def operations(self) -> list[Any]:
        """Every layer and operation, those of nested models included."""
        return list(_operations(self.model))

    def pictures(self, count: int, rows: int = 0, columns: int = 0) -> np.ndarray:
        """Pictures of the native size and so many rows and columns more."""
        shape = self.model.input_shape[1:]
        height, width, channels = (*shape[1:], shape[0]) if self.channels_first else shape
        size = height + rows, width + columns, channels
        return _pictures(count, size, self.channels_first, self.integers, seed=7)


def _pictures(
    count: int, size: tuple[int, ...], channels_first: bool, integers: bool, seed: int
) -> np.ndarray:
    pictures = networks.random_pictures(count, *size, seed=seed)
    if integers:
        pictures = np.clip(128 + 40 * pictures, 0, 255).astype("uint8")
    return pictures.transpose(0, 3, 1, 2) if channels_first else pictures


def _operations(model: keras.Model) -> Any:
    parts = model.layers if isinstance(model, keras.Sequential) else model.operations
    for part in parts:
        yield part
        if isinstance(part, keras.Model):
            yield from _operations(part)


ODD = {
    **{name: ("map", part) for name, part in ON_MAP.items()},
    **{name: ("end", part) for name, part in AS_END.items()},
    **{name: ("vector", part) for name, part in ON_VECTOR.items()},
    "quantised": ("weights", None),
}


@st.composite
def graphs(draw: Callable[[st.SearchStrategy], Any], odd: str | None = "sometimes") -> RandomGraph:
    """A random classifier.

    Args:
        odd: the odd part to put into it, None, or "sometimes": any, in every fifth graph.
    """
    state = random.getstate()
    try:
        return _graph(Builder(iter(draw(TAPES))), odd)
    finally:  # Keras takes seeds from the global generator, which hypothesis wants untouched
        random.setstate(state)


def _graph(b: Builder, name: str | None) -> RandomGraph:
    b.chain = b.chance(25)
    b.valid = b.chance(45)
    b.channels_first = b.chance(15)
    if not b.channels_first and b.chance(14):  # TensorFlow has no such halves on a CPU
        b.policy = b.pick(*POLICIES)
    b.borrowed = ["features", "picture", "pooled"] if b.chance(10) else []
    if name == "sometimes":
        name = b.pick(*ODD) if b.chance(20) else None
    place, part = ODD[name] if name else (None, None)
    size = b.number(8, 20), b.number(8, 20), b.number(1, 4)
    b.integers = b.chance(8)
    value = keras.ops.convert_to_tensor(_pictures(6, size, b.channels_first, b.integers, seed=1))
    shape = (size[2], *size[:2]) if b.channels_first else size
    picture = b.picture(shape, value, (1, 1), "uint8" if b.integers else "float32")
    found, structure = _classifier(b, picture, place, part)
    assume(all(np.isfinite(numpy(node.value)).all() for node, _ in found))  # halves may overflow
    model = _model(b, picture, [node.tensor for node, _ in found], structure)
    if name == "quantised":
        for part in _operations(model):
            if isinstance(part, layers.Dense) and part.compute_dtype != "float16":
                part.quantize("int8")
    outputs = [Output(activation, node.stride) for node, activation in found]
    if structure == "dict":
        outputs = outputs[::-1]  # as sorted by name
    b.tags |= _facts(b, size, outputs, structure)
    return RandomGraph(
        model, outputs, name, b.tags, b.script, b.policy, b.channels_first, b.integers
    )


def _classifier(
    b: Builder, picture: Node, place: str | None, part: Any
) -> tuple[list[tuple[Node, str | None]], str]:
    """Map, ends, heads and outputs; also how the outputs are given."""
    b.chain = b.chain and part is None
    x = trunk(b, prepare(b, picture), b.number(1, 3))
    if place == "map":
        x = part(b, x)
    levels = _levels(b, x)
    # An operation does not say where the channels are, which a layer must have said before.
    untold = b.channels_first and not any("data_format" in line for line in b.script)
    kinds = LAYER_ENDS if b.chain or untold else ENDS
    ends = [end(b, y, b.pick(*kinds)) for y in levels[place == "end" :]]
    if place == "end":
        ends.insert(0, part(b, x))
    if place == "vector":
        ends[0] = part(b, flat(b, ends[0]))
    if len(ends) > 1 and not b.chance(30):  # else each end has a head of its own
        b.tags.add("ends joined")
        ends = [meet(b, ends)]
    found = []
    for x in ends:
        x = head(b, x, b.number(0, 3))
        if len(x.shape) == 1 and not b.chain and b.chance(6):
            b.tags.add("output that is read on")
            found.append((x, None))
        found.append(decide(b, x))
        if not b.chain and b.chance(15):
            found.append(decide(b, x))
    return found, b.pick("list", "dict") if len(found) > 1 else "single"


def _levels(b: Builder, x: Node) -> list[Node]:
    """The maps to be ended: one, one twice, or one and a deeper one."""
    if b.chain or not b.chance(35):
        return [x]
    kind = b.pick("levels of a nested model", "one map ended twice", "several levels")
    b.tags.add(kind)
    if kind == "levels of a nested model":

        def make(start: Node) -> list[Node]:
            fine = trunk(b, start, 1, depth=1)
            return [fine, trunk(b, fine, b.number(1, 2), depth=1)]

        return b.nest(x, make)
    return [x, x if kind == "one map ended twice" else trunk(b, x, b.number(1, 2))]


def _model(b: Builder, picture: Node, tensors: list[Any], structure: str) -> keras.Model:
    if b.chain:
        return keras.Sequential(
            [keras.Input(picture.shape, dtype=picture.tensor.dtype), *b.layers], name="classifier"
        )
    outputs: Any = tensors
    if structure == "single":
        outputs = tensors[0]
    if structure == "dict":  # keys in another order than that of their names
        outputs = {f"output_{9 - number}": t for number, t in enumerate(tensors)}
    return keras.Model(picture.tensor, outputs, name="classifier")


def _facts(b: Builder, size: tuple, outputs: list[Output], structure: str) -> set[str]:
    facts = {f"{structure} output", f"{size[2]} channels", b.policy}
    if size[0] != size[1]:
        facts.add("not square")
    if b.integers:
        facts.add("uint8")
    if b.channels_first:
        facts.add("channels_first")
    if b.chain:
        facts.add("Sequential")
    if all(output.stride for output in outputs):
        facts.add("slides")
    return facts
