"""The words of a conversion: forms of tensors, steps, and what counts as pooling or activation."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
from keras import layers

KEPT = "kept"


class Form(enum.Enum):
    MAP = "map"
    FLAT = "flattened map"
    VECTOR = "vector"


@dataclass(frozen=True)
class Layout:
    """Where the axes of a model's maps are: "channels_last" or "channels_first"."""

    data_format: str

    @property
    def spatial(self) -> tuple[int, int]:
        return (1, 2) if self.data_format == "channels_last" else (2, 3)

    @property
    def channel(self) -> int:
        return 3 if self.data_format == "channels_last" else 1

    def size(self, shape: tuple[int | None, ...]) -> tuple[int | None, int | None]:
        rows, columns = self.spatial
        return shape[rows], shape[columns]

    def shape(self, batch: Any, size: tuple[Any, Any], channels: Any) -> tuple:
        """The shape of a map of this size."""
        last = self.data_format == "channels_last"
        return (batch, *size, channels) if last else (batch, channels, *size)


@dataclass(frozen=True)
class Grid:
    """The places of a head's map: the (rows, columns) of the feature map that they were cut from,
    at the native size, those of the window that one place sees, and those from one window to the
    next."""

    cells: tuple[int | None, ...]
    window: tuple[int, int]
    stride: tuple[int, int] = (1, 1)


@dataclass(frozen=True)
class State:
    """What is known of one tensor: its form, its grid where the spatial part has ended, and the
    order in which a flattened map holds its height, width and channels."""

    form: Form
    grid: Grid | None = None
    order: str = "hwc"


@dataclass(frozen=True)
class Step:
    """What one layer becomes.

    Attributes:
        layer: the layer's name.
        kind: its class.
        becomes: the class of its twin.
        rule: why, in a few words.
        config: what differs in the twin's configuration.
        weights: (shape in the source, shape in the twin) of every reshaped weight.
        order: of the rows of a kernel that reads a flattened map: height, width, channels.
    """

    layer: str
    kind: str
    becomes: str
    rule: str
    config: Mapping[str, Any] = field(default_factory=dict)
    weights: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = ()
    order: str = "hwc"


@dataclass(frozen=True)
class Place:
    """Where in the graph a call stands, as far as its rule depends on it.

    Attributes:
        layout: of the model's maps.
        inner: whether the spatial part goes on behind it, though it pools (squeeze-and-excitation).
        window: "native" or "point".
        stride: for the end of a map, cells from one window to the next, so that the places of maps
            of different sizes meet.
    """

    layout: Layout
    inner: bool
    window: str
    stride: tuple[int, int]


# Activations of keras.ops that a network may end in or call between its layers.
ACTIVATION_OPS = frozenset(
    [
        "Sigmoid",
        "Tanh",
        "Relu",
        "Relu6",
        "ReLU",
        "LeakyRelu",
        "Elu",
        "Softplus",
        "Gelu",
        "Silu",
        "Selu",
        "HardSigmoid",
        "HardSilu",
        "HardTanh",
        "Softsign",
    ]
)


def activation_name(layer: Any) -> str | None:
    """The name of the activation that a layer ends in; None for none or linear."""
    if isinstance(layer, layers.Softmax | layers.ReLU | layers.LeakyReLU | layers.ELU):
        return type(layer).__name__.lower()
    if op_name(layer) in {*ACTIVATION_OPS, "Softmax"}:
        return op_name(layer).lower()
    function: Callable | None = getattr(layer, "activation", None)
    if function is None or function is keras.activations.linear:
        return None
    return getattr(function, "__name__", type(function).__name__)


def op_name(operation: Any) -> str:
    """The class of an operation of keras.ops, such as "Add" for `a + b`; "" for a layer."""
    return "" if isinstance(operation, keras.Layer) else type(operation).__name__


_AVERAGES, _MAXIMA = (layers.GlobalAveragePooling2D, "Mean"), (layers.GlobalMaxPooling2D, "Max")
POOLS = (layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D)


def pools_by(layer: Any) -> str | None:
    """ "avg" or "max" for what pools a map; None for everything else."""
    for name, (kind, op) in {"avg": _AVERAGES, "max": _MAXIMA}.items():
        if isinstance(layer, kind) or op_name(layer) == op:
            return name
    return None


def size_text(cells: tuple[int | None, ...]) -> str:
    return "x".join(map(str, cells))


def same(layer: Any, rule: str, config: Mapping[str, Any] | None = None) -> Step:
    kind = type(layer).__name__
    return Step(layer.name, kind, kind, rule, config or {})


def identity(layer: Any, rule: str) -> Step:
    return Step(layer.name, type(layer).__name__, "Identity", rule)
