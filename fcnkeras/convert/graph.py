"""A model's calls as plain data: what calls what, in order, with nested models opened.

Keras offers no public way to read a model's graph; the two private attributes that this needs
(`Sequential._functional`, `Function._nodes_by_depth`) are touched here and nowhere else.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras


class ConversionError(ValueError):
    """A model cannot be made fully convolutional: names the layer, the rule and the way out."""


@dataclass(frozen=True)
class Ref:
    """One tensor of the graph: its number, and the shape and dtype it has in the source model."""

    index: int
    shape: tuple[int | None, ...]
    dtype: str


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a layer: arguments with every tensor replaced by its `Ref`."""

    layer: Any
    args: tuple
    kwargs: dict[str, Any]
    outputs: tuple[Ref, ...]

    @property
    def inputs(self) -> tuple[Ref, ...]:
        leaves = keras.tree.flatten((self.args, self.kwargs))
        return tuple(leaf for leaf in leaves if isinstance(leaf, Ref))


@dataclass
class Graph:
    """A model as a list of calls, in an order in which they can be made.

    Attributes:
        tensors: the model's own tensor of each `Ref` that does not lie inside a nested model.
        structure: the model's output: a tensor, a list, a dict or any nest of them.
    """

    inputs: list[Ref] = field(default_factory=list)
    outputs: list[Ref] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    tensors: dict[Ref, keras.KerasTensor] = field(default_factory=dict)
    structure: Any = None
    _count: int = 0

    def new_ref(self, tensor: keras.KerasTensor) -> Ref:
        self._count += 1
        return Ref(self._count, tuple(tensor.shape), keras.backend.standardize_dtype(tensor.dtype))

    def layers(self) -> Iterator[Any]:
        """Every layer once, in the order of its first call."""
        yield from {id(call.layer): call.layer for call in self.calls}.values()

    def before(self, refs: set[Ref]) -> Graph:
        """The part of the graph that these need."""
        needed, calls = set(refs), []
        for call in reversed(self.calls):
            if needed.intersection(call.outputs):
                needed.update(call.inputs)
                calls.append(call)
        return Graph(self.inputs, self.outputs, calls[::-1])

    def producer(self, ref: Ref) -> Call | None:
        """The call that gives `ref`; None for an input."""
        return next((call for call in self.calls if ref in call.outputs), None)


def trace(model: keras.Model) -> Graph:
    """Reads the graph of a Functional or Sequential model, nested models included.

    Raises:
        ConversionError: the model, or one inside it, is neither Functional nor Sequential.
        TypeError: not a model.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"`model` must be a keras.Model. Received: {model!r}")
    graph = Graph()
    functional = _functional(model)
    graph.inputs = [graph.new_ref(tensor) for tensor in functional.inputs]
    refs = _walk(functional, graph.inputs, graph, training=None)
    graph.outputs = [refs[id(tensor)][0] for tensor in functional.outputs]
    graph.tensors = dict(refs.values())
    graph.structure = functional.output
    return graph


def run(graph: Graph, inputs: Sequence[Any], call_fn: Callable[..., Any]) -> dict[Ref, Any]:
    """Makes every call of the graph with `call_fn(call, args, kwargs)`.

    Works on symbolic tensors, which builds a model, and on arrays, which computes its values.

    Returns:
        The value of every `Ref`.
    """
    values: dict[Ref, Any] = dict(zip(graph.inputs, inputs, strict=True))
    for call in graph.calls:
        args, kwargs = _map_tensors((call.args, call.kwargs), Ref, values.__getitem__)
        results = keras.tree.flatten(call_fn(call, args, kwargs))
        values.update(zip(call.outputs, results, strict=True))
    return values


def _functional(model: keras.Model) -> Any:
    if isinstance(model, keras.Sequential):
        if not model.built:
            raise ConversionError(
                f"Model '{model.name}' has no shape yet: build it, or give it an Input layer, "
                "before it is converted."
            )
        model = model._functional
    if not hasattr(model, "_nodes_by_depth"):
        raise ConversionError(
            f"Model '{model.name}' is a {type(model).__name__}, whose graph cannot be read: "
            "only Functional and Sequential models are converted. Write it with the Functional API."
        )
    return model


def _walk(
    model: Any, inputs: list[Ref], graph: Graph, training: bool | None
) -> dict[int, tuple[Ref, keras.KerasTensor]]:
    """Appends a model's calls to the graph; returns what each of its tensors, by id, became."""
    refs = {id(tensor): (ref, tensor) for tensor, ref in zip(model.inputs, inputs, strict=True)}
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if node.is_input:
                continue
            args, kwargs = _map_tensors(
                (node.arguments.args, node.arguments.kwargs),
                keras.KerasTensor,
                lambda tensor: refs[id(tensor)][0],
            )
            kwargs = {key: value for key, value in kwargs.items() if value is not None}
            if not args and "inputs" in kwargs:
                args = (kwargs.pop("inputs"),)
            if training is not None and takes_training(node.operation):
                kwargs["training"] = training  # as in Keras, the outer model's word counts
            if isinstance(node.operation, keras.Model):
                inner = _functional(node.operation)
                given = [leaf for leaf in keras.tree.flatten(args) if isinstance(leaf, Ref)]
                inside = _walk(inner, given, graph, kwargs.get("training"))
                outputs = [inside[id(tensor)][0] for tensor in inner.outputs]
            else:
                outputs = [graph.new_ref(tensor) for tensor in node.output_tensors]
                graph.calls.append(Call(node.operation, args, kwargs, tuple(outputs)))
            for tensor, ref in zip(node.output_tensors, outputs, strict=True):
                refs[id(tensor)] = (ref, tensor)
    return refs


def takes_training(operation: Any) -> bool:
    """Whether an operation behaves differently in training."""
    return "training" in inspect.signature(operation.call).parameters


def _map_tensors(structure: Any, kind: type, function: Callable[[Any], Any]) -> Any:
    """`keras.tree.map_structure` for leaves of one kind; tuples and dicts stay plain."""
    if isinstance(structure, kind):
        return function(structure)
    if isinstance(structure, Mapping):
        return {key: _map_tensors(value, kind, function) for key, value in structure.items()}
    if isinstance(structure, (list, tuple)):
        return type(structure)(_map_tensors(value, kind, function) for value in structure)
    return structure
