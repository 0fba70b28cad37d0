"""A model as a list of calls that explaining can run, run in part, and change on the way.

The model itself is only read: its layers are called as they are, and where a layer must do without
its activation, a shallow copy with the same weights is called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers, ops

from fcnkeras.convert.forms import activation_name, op_name
from fcnkeras.convert.graph import Call, Graph, Ref, run, trace
from fcnkeras.explain.gradients import no_gradients
from fcnkeras.tasks.outputs import HueVector, TaskWeight

CallFunction = Callable[[Call, Sequence[Any], dict[str, Any]], Any]

# What turns scores into outputs, and hides how strong they are.
_SQUASHING = {
    *("softmax", "logsoftmax", "log_softmax", "sigmoid", "logsigmoid", "log_sigmoid", "tanh"),
    *("hardsigmoid", "hard_sigmoid", "hardtanh", "hard_tanh", "softsign", "softplus"),
}
_PASSING = (layers.Identity, layers.Dropout, TaskWeight)


@dataclass(frozen=True)
class Outputs:
    """What a network says.

    Attributes:
        names: of its outputs.
        scores: of each output, (n, units), float32, before its softmax, sigmoid or tanh.
        values: of each output, (n, units), float32.
        hues: the outputs that tell a point of the colour wheel, by number.
    """

    names: tuple[str, ...]
    scores: tuple[Any, ...]
    values: tuple[Any, ...]
    hues: tuple[int, ...] = ()

    def index(self, name: str | None) -> int:
        """The place of an output; without a name that of the only one.

        Raises:
            ValueError: no such output, or several and no name.
        """
        if name is None and len(self.names) == 1:
            return 0
        if name not in self.names:
            raise ValueError(f"An output must be one of {', '.join(self.names)}. Received: {name}")
        return self.names.index(name)


@dataclass(frozen=True)
class _Ending:
    """How an output ends: the call that squashes it, or None, and whether in an argument."""

    call: Call | None
    squash: Callable[[Any], Any]
    inside: bool = False


def call_layer(call: Call, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Calls a layer as it is."""
    return call.layer(*args, **kwargs)


class Network:
    """A model that can be run from any of its tensors on.

    Args:
        model: Functional or Sequential, models nested in it are opened; its first input is a
            batch of pictures, (n, height, width, channels).
        join: how the scores of a batch become one, for the crops of one picture: "max", "avg", or
            None, which leaves each picture its own.

    Raises:
        ConversionError: the model's graph cannot be read.
        ValueError: the first input is no picture, channels last.
    """

    def __init__(self, model: keras.Model, join: str | None = None) -> None:
        self.model, self.join = model, join
        self.graph = trace(model)
        self.picture = self.graph.inputs[0]
        if len(self.picture.shape) != 4 or any(
            getattr(layer, "data_format", None) == "channels_first" for layer in self.graph.layers()
        ):
            raise ValueError(
                "A model of pictures, channels last, is needed. "
                f"'{model.name}' takes {self.picture.shape}"
            )
        structure = self.graph.structure
        if isinstance(structure, Mapping):
            names = keras.tree.flatten({key: key for key in structure})
        else:
            names = _distinct([self.layer_name(ref) for ref in self.graph.outputs])
        self.names = tuple(names)
        self.endings = [self._ending(ref) for ref in self.graph.outputs]
        self._kept: dict[Any, Any] = {}

    def kept(self, key: Any, make: Callable[[], Any]) -> Any:
        """What `make` gives, made once for each key."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def _ending(self, ref: Ref) -> _Ending:
        call = self.graph.producer(ref)
        while call is not None and isinstance(call.layer, _PASSING):
            call = self.graph.producer(call.inputs[0])
        if call is not None and isinstance(call.layer, HueVector):
            return _Ending(call, call.layer)
        if call is None or activation_name(call.layer) not in _SQUASHING:
            return _Ending(None, lambda score: score)
        if call.layer.__class__ in (layers.Activation, layers.Softmax) or op_name(call.layer):
            arguments = {key: value for key, value in call.kwargs.items() if value is not None}
            return _Ending(call, lambda score: call.layer(score, **arguments))
        return _Ending(call, call.layer.activation, inside=True)

    def layer_output(self, name: str) -> Ref:
        """The tensor that a layer, nested ones too, gives when it is last called.

        Raises:
            ValueError: no such layer.
        """
        found = [call.outputs[0] for call in self.graph.calls if call.layer.name == name]
        if not found:
            raise ValueError(f"`layer` must name a layer of '{self.model.name}'. Received: {name}")
        return found[-1]

    def layer_name(self, ref: Ref) -> str:
        """The name of the layer that makes a tensor."""
        call = self.graph.producer(ref)
        return "picture" if call is None else call.layer.name

    def calls_behind(self, refs: Sequence[Ref]) -> list[Call]:
        """The calls that lead from some tensors to the outputs, none of which makes one of them."""
        return _between(self.graph, refs)

    def joined(self, scores: Any) -> Any:
        """Scores of crops, (n, units), as the one of their picture, (1, units)."""
        if self.join is None:
            return scores
        return (ops.max if self.join == "max" else ops.mean)(scores, axis=0, keepdims=True)

    def tensors(self, inputs: Sequence[Any]) -> list[Any]:
        """The inputs as tensors; pictures as float32, whatever the model takes."""
        dtypes = ["float32", *(ref.dtype for ref in self.graph.inputs[1:])]
        pairs = zip(inputs, dtypes, strict=True)
        return [ops.convert_to_tensor(value, dtype) for value, dtype in pairs]

    def values(self, inputs: Sequence[Any], call: CallFunction = call_layer) -> dict[Ref, Any]:
        """Every tensor of the graph for these inputs."""
        with no_gradients():
            return run(self.graph, self.tensors(inputs), call)

    def behind(
        self, refs: Sequence[Ref], values: Mapping[Ref, Any], call: CallFunction = call_layer
    ) -> Callable[..., Outputs]:
        """The part of the network behind some of its tensors, as a function of them.

        Args:
            refs: the tensors, of which none is computed from another one any more.
            values: every tensor beside that path, see `values`; the inputs are enough if they are
                all of `refs`.
            call: what to do in place of calling a layer.
        """
        calls = self.calls_behind(refs)
        made = {ref for each in calls for ref in each.outputs} | set(refs)
        outside = {ref for each in calls for ref in each.inputs} - made
        outside |= {ref for ref in self.graph.outputs if ref not in made}
        fixed = sorted(outside, key=lambda ref: ref.index)
        part = Graph([*refs, *fixed], self.graph.outputs, calls)
        twins = {id(e.call): _without_activation(e.call.layer) for e in self.endings if e.inside}  # type: ignore[union-attr]

        def outputs_of(*tensors: Any) -> Outputs:
            scores: dict[int, Any] = {}
            endings = {id(each.call): each for each in self.endings if each.call is not None}

            def call_part(each: Call, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
                ending = endings.get(id(each))
                if ending is None:
                    return call(each, args, kwargs)
                score = twins[id(each)](*args, **kwargs) if ending.inside else args[0]
                scores[id(each)] = score
                return ending.squash(score)

            given = [*tensors, *(values[ref] for ref in fixed)]
            found = run(part, given, call_part)
            return self._outputs([found[ref] for ref in self.graph.outputs], scores)

        return outputs_of

    def outputs(self, inputs: Sequence[Any]) -> Outputs:
        """What the network says of pictures."""
        with no_gradients():
            return self.behind(self.graph.inputs, {})(*self.tensors(inputs))

    def _outputs(self, outputs: list[Any], scores: dict[int, Any]) -> Outputs:
        found, values = [], []
        for output, ending in zip(outputs, self.endings, strict=True):
            score = scores.get(id(ending.call), output)
            if self.join is not None:
                score = self.joined(score)
                output = ending.squash(score)
            found.append(ops.cast(score, "float32"))
            values.append(ops.cast(output, "float32"))
        hues = tuple(
            number
            for number, ending in enumerate(self.endings)
            if ending.call is not None and isinstance(ending.call.layer, HueVector)
        )
        return Outputs(self.names, tuple(found), tuple(values), hues)


def _between(graph: Graph, refs: Sequence[Ref]) -> list[Call]:
    needed, backward = set(graph.outputs), []
    for call in reversed(graph.calls):
        if needed.intersection(call.outputs) and not set(refs).intersection(call.outputs):
            needed.update(call.inputs)
            backward.append(call)
    reached, calls = set(refs), []
    for call in reversed(backward):
        if reached.intersection(call.inputs):
            reached.update(call.outputs)
            calls.append(call)
    return calls


def _without_activation(layer: Any) -> Any:
    """A layer that shares everything with another but ends in no activation.

    Keras has no shallow copy of layers: `copy.copy` writes a file and reads it back.
    """
    twin = object.__new__(type(layer))
    twin.__dict__.update(layer.__dict__)
    twin.__dict__["activation"] = keras.activations.linear
    return twin


def _distinct(names: Sequence[str]) -> list[str]:
    counts = {name: names.count(name) for name in names}
    return [
        name if counts[name] == 1 else f"{name}_{number + 1}" for number, name in enumerate(names)
    ]
