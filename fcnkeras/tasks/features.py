"""Models from pictures to the features that heads read, of any network and at any picture size.

| head | features |
|---|---|
| pooled | the network's last map, pooled: (batch, channels) |
| multi_level | the global average of every block's map, joined, of length 1: (batch, channels) |
| mlsp | every block's map, averaged over a fixed grid, joined: (batch, rows, columns, channels) |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from fcnkeras.convert import ConversionError, to_fcn
from fcnkeras.convert.graph import Call, Graph, Ref, run, trace
from fcnkeras.convert.surgery import clone_layers, made_anew, move_weights
from fcnkeras.layers import NativeWindow
from fcnkeras.models.heads import drop_top_dense
from fcnkeras.models.specs import get_spec, spec_of
from fcnkeras.tasks.outputs import GridPooling2D

HEADS = ("pooled", "multi_level", "mlsp")
POOLINGS = {"avg": layers.GlobalAveragePooling2D, "max": layers.GlobalMaxPooling2D}


def feature_model(
    base: keras.Model,
    head: str = "pooled",
    *,
    levels: str | Sequence[str] | None = None,
    drop_top: int | None = None,
    pooling: str = "avg",
    grid: tuple[int, int] = (5, 5),
    name: str | None = None,
) -> keras.Model:
    """A new model from pictures of any size to the features that a head reads.

    Args:
        base: any Functional or Sequential network for pictures, channels last: a classifier, one
            without its top, or one that `to_fcn` returned. Models nested in it are opened. It is
            only read.
        head: "pooled", "multi_level" or "mlsp".
        levels: of the latter two: the layers whose maps are read, or the name of a network of
            `fcnkeras.models.specs`; by default the network of `base`'s name.
        drop_top: of "pooled": how many fully connected layers to cut off the end of `base`; by
            default the classifier, if it ends in a softmax or sigmoid. Those that are left are
            laid on every place of the map, as `to_fcn` does. With 0, of a model that `to_fcn`
            returned the map is read that it pools.
        pooling: of "pooled": "avg" or "max".
        grid: of "mlsp": rows and columns of the grid.
        name: the model's name.

    Returns:
        A `keras.Model` with weights of its own, (batch, height, width, channels) in the pixel
        range of `base` to features, see above. That of "mlsp" is frozen.

    Raises:
        ValueError: an argument is none of its values, or `base` has no such layer, several
            outputs, or channels first.
        ConversionError: the fully connected layers cannot be laid on a map.

    Source: Malu, Bapi, Indurkhya, "Learning Photography Aesthetics with Deep CNNs", 2017, for
    "multi_level"; Hosu, Goldlücke, Saupe, "Effective Aesthetics Prediction with Multi-level
    Spatially Pooled Features", 2019, for "mlsp".
    """
    if head not in HEADS:
        raise ValueError(f"`head` must be one of {', '.join(HEADS)}. Received: {head!r}")
    if pooling not in POOLINGS:
        raise ValueError(f"`pooling` must be 'avg' or 'max'. Received: {pooling!r}")
    name = name or f"{base.name}_features"
    if head == "pooled":
        graph, ref = _last_map(base, drop_top)
        inputs, (last,) = _copied(graph, [ref])
        return keras.Model(inputs, POOLINGS[pooling](name="pooled_top")(last), name=name)
    graph = _checked(base)
    names = _level_names(base, levels)
    refs = [_map_of(graph, level, base.name) for level in names]
    inputs, maps = _copied(graph, refs)
    pooled = [_pool(head, level, grid)(each) for level, each in zip(names, maps, strict=True)]
    joined = layers.Concatenate(name="levels")(pooled) if len(pooled) > 1 else pooled[0]
    if head == "multi_level":
        # Over the channels of each picture: over the batch, a picture's features would depend on
        # its neighbours.
        joined = layers.UnitNormalization(axis=-1, name="unit_length", dtype="float32")(joined)
    model = keras.Model(inputs, joined, name=name)
    if head == "mlsp":
        model.trainable = False
    return model


def _pool(head: str, level: str, grid: tuple[int, int]) -> keras.Layer:
    if head == "mlsp":
        return GridPooling2D(grid, name=f"pooled_{level}")
    return layers.GlobalAveragePooling2D(name=f"pooled_{level}")


def _level_names(base: keras.Model, levels: str | Sequence[str] | None) -> tuple[str, ...]:
    if levels is None:
        spec = spec_of(base)
        if spec is None:
            raise ValueError(
                f"`levels` must name the layers whose maps are read, as '{base.name}' is none of "
                "the networks in fcnkeras.models.specs. Received: None"
            )
        return spec.levels
    names = get_spec(levels).levels if isinstance(levels, str) else tuple(levels)
    if not names or len(set(names)) < len(names):
        raise ValueError(f"`levels` must name layers, each once. Received: {levels}")
    return names


def _map_of(graph: Graph, level: str, name: str) -> Ref:
    found = [call.outputs[0] for call in graph.calls if call.layer.name == level]
    if not found or len(found[-1].shape) != 4:
        raise ValueError(f"`levels` must name layers with a map. '{name}' has no {level!r}")
    return found[-1]


def _checked(base: keras.Model) -> Graph:
    """The graph of a network for pictures, channels last."""
    graph = trace(base)
    if len(graph.inputs) != 1 or len(graph.inputs[0].shape) != 4:
        raise ValueError(f"A network with pictures as its one input is needed: '{base.name}'")
    if graph.inputs[0].shape[-1] is None or any(
        getattr(layer, "data_format", None) == "channels_first" for layer in graph.layers()
    ):
        raise ValueError(f"A channels-last network is needed. Received: '{base.name}'")
    return graph


def _last_map(base: keras.Model, drop_top: int | None) -> tuple[Graph, Ref]:
    """The map that the pooled head reads, and the graph that it is of."""
    graph = _checked(base)
    if len(graph.outputs) != 1:
        raise ValueError(f"A network with one output is needed. '{base.name}' has several.")
    count = int(_classifies(graph)) if drop_top is None else drop_top
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise ValueError(f"`drop_top` must be a whole number, 0 or more. Received: {drop_top}")
    if any(isinstance(layer, NativeWindow) for layer in graph.layers()):
        return graph, _cut_map(graph, count, base.name)
    cut = drop_top_dense(base, count) if count else base
    graph = trace(cut)
    kept = [call for call in _tail(graph) if isinstance(call.layer, layers.Dense)]
    if kept:  # fully connected layers on vectors, which see a window of the map
        fcn = to_fcn(cut, pooling=None, name=base.name)
        graph = trace(fcn)
        return graph, graph.outputs[0]
    return graph, _end_of_maps(graph, base.name)


def _tail(graph: Graph) -> list[Call]:
    """The calls that lead to the output, from the end, as far as they form a chain; the last of
    them may join several."""
    found = []
    ref: Ref | None = graph.outputs[0]
    while ref is not None and (call := graph.producer(ref)) is not None:
        found.append(call)
        ref = call.inputs[0] if len(call.inputs) == 1 else None
    return found


def _classifies(graph: Graph) -> bool:
    """Whether a network ends in the softmax or sigmoid of its last layer with weights."""
    for call in _tail(graph):
        activation = getattr(call.layer, "activation", None)
        name = getattr(activation, "__name__", "")
        if isinstance(call.layer, layers.Softmax) or name in ("softmax", "sigmoid"):
            return True
        if call.layer.weights:
            return False
    return False


def _cut_map(graph: Graph, count: int, name: str) -> Ref:
    """The map before the last `count` convolutions of the head of a fully convolutional model."""
    tail = _tail(graph)
    ends = [i for i, call in enumerate(tail) if call.layer.name == "features"]
    # A skip connection joins maps before the head.
    head = tail[: ends[0]] if ends else tail
    convs = [call for call in head if isinstance(call.layer, layers.Conv2D)]
    if count > len(convs):
        raise ValueError(
            f"`drop_top` must be at most {len(convs)}, the layers of the head of '{name}'. "
            f"Received: {count}"
        )
    if count:
        return convs[count - 1].inputs[0]
    return _end_of_maps(graph, name)


def _end_of_maps(graph: Graph, name: str) -> Ref:
    """The last tensor of the chain to the output that is a map."""
    for ref in (graph.outputs[0], *(ref for call in _tail(graph) for ref in call.inputs)):
        if len(ref.shape) == 4:
            return ref
    raise ConversionError(f"The head of '{name}' branches, so it has no last map.")


def _copied(graph: Graph, refs: Sequence[Ref]) -> tuple[Any, list[Any]]:
    """The part of the graph that the refs need, with new layers, on pictures of any size."""
    part = graph.before(set(refs))
    clones = clone_layers(part)

    def call_clone(call: Call, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        with made_anew(call.layer):
            return clones[id(call.layer)](*args, **kwargs)

    (source,) = part.inputs
    picture = keras.Input((None, None, source.shape[-1]), dtype=source.dtype, name="picture")
    values = run(part, [picture], call_clone)
    move_weights(part.layers(), clones)
    return picture, [values[ref] for ref in refs]
