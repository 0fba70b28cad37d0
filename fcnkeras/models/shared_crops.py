"""Multi-crop in one pass: the network runs over the whole picture once, and each crop is the part
of its map that the crop's pixels lie in.

The exact way, `fed_model(model, "multicrop")`, runs the network over every crop. The two are equal,
to float rounding, for a network without padding and crops that begin at multiples of its stride.
They differ

- where layers pad: a crop that is fed alone ends in zeros, here it ends in the picture;
- where a crop begins between two places of the map: here it begins at the nearer one, at most half
  a stride away;
- where the network pools its own map (the gates of squeeze-and-excitation): here over the picture;
- where a layer with strides divides "same" padding by the size that it meets.

How much: `benchmarks/shared_crops.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import keras
from keras import layers

from fcnkeras.convert.ends import map_sizes
from fcnkeras.convert.forms import Layout
from fcnkeras.convert.graph import Call, ConversionError, Graph, Ref, run, trace
from fcnkeras.crop_pooling import CropPooling2D
from fcnkeras.layers import CropsToBatch, NativeWindow, PoolCrops

_MODES = {layers.GlobalMaxPooling2D: "max", layers.GlobalAveragePooling2D: "avg"}
# A multiple of every stride that networks have, in pixels.
_FURTHER = 2**7 * 9 * 5


def shared_crop_model(model: keras.Model) -> keras.Model:
    """Rebuilds a model so that the crops of a picture share one pass over it.

    Args:
        model: a channels-last model that `to_fcn` returned, with pooling "max" or "avg", with skip
            connections or several outputs too; or one of `fcnkeras.tasks.heads.task_model` with
            the head "pooled" or "multi_level".

    Returns:
        A model that shares every layer and weight with `model`. It takes whole pictures as
        `feeders.native` gives them, (batch, height, width, channels), and finds the crops that
        `feeders.multi_crop` would cut; a batch has pictures of one shape. Its outputs are those of
        the model for crops (`fed_model`, `fed_task_model`): a fully convolutional model joins crops
        as its places, a task model averages their logits before the activation.

    Raises:
        ValueError: the model does not pool its map, is channels first, or has another input beside
            the pictures.
        ConversionError: the size of a map does not follow from that of the picture by a stride.

    Example:
        >>> model = to_fcn(keras.applications.MobileNetV2(), pooling="avg")
        >>> shared = shared_crop_model(model)
        >>> shared(feeders.native(picture, 224).arrays / 127.5 - 1).shape
        (1, 1000)
    """
    graph = trace(model)
    _check_pictures(model, graph)
    tasks = any(layer.name == "head" for layer in model.layers if isinstance(layer, keras.Model))
    pools = _pools(graph, r"pooled_.+" if tasks else r"pooled(_\d+)?")
    if not (tasks or any(isinstance(layer, NativeWindow) for layer in graph.layers())):
        pools = []  # not made by `to_fcn`, so that the name means nothing
    if not pools:
        raise ValueError(
            f"Model '{model.name}' has no pooling that crops could share: make it with `to_fcn` "
            "and pooling 'max' or 'avg', or with `task_model` and the head 'pooled' or "
            "'multi_level'."
        )
    rules = stride_rules(graph, {call.inputs[0] for call in pools})
    picture = keras.Input(graph.inputs[0].shape[1:], dtype=graph.inputs[0].dtype, name="picture")
    crops: Any = None  # one of the vectors of crops, from which their number is read

    def call_layer(call: Call, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        nonlocal crops
        name = call.layer.name
        if call not in pools:
            x = call.layer(*args, **kwargs)
            return _join("avg", x, crops, name) if tasks and name.startswith("logits_") else x
        mode = _mode(call)
        pool = CropPooling2D(
            mode, *rules[call.inputs[0]], name=f"crop_{name}", dtype=call.outputs[0].dtype
        )
        crops = pool([args[0], picture])
        x = CropsToBatch(name=f"crops_to_batch_{name}", dtype=crops.dtype)(crops)
        return x if tasks else _join(mode, x, crops, name)

    values = run(graph, [picture], call_layer)
    outputs = keras.tree.pack_sequence_as(graph.structure, [values[ref] for ref in graph.outputs])
    return keras.Model(picture, outputs, name=f"{model.name}_shared_crops")


def stride_rules(
    graph: Graph, maps: set[Ref]
) -> dict[Ref, tuple[tuple[int, int], tuple[int, int]]]:
    """How many places maps have along pictures of any size: (pixels + extra) // stride.

    The rule is read off the shapes that the layers tell for a few sizes; nothing is computed.

    Args:
        graph: of a channels-last network with one input, the pictures.
        maps: outputs of its calls, (batch, rows, columns, channels).

    Returns:
        For each map the stride and the extra, (rows, columns) each.

    Raises:
        ConversionError: the sizes of a map follow no such rule.
    """
    windows = [layer for layer in graph.layers() if isinstance(layer, NativeWindow)]
    height, width = next((layer.native or layer.least for layer in windows), None) or (256, 256)
    known: dict[int, dict[Ref, tuple[int, int]]] = {}

    def sizes(more: int) -> dict[Ref, tuple[int, int]]:
        if more not in known:
            layout = Layout("channels_last")
            known[more] = map_sizes(graph, layout, (height + more, width + more), maps)
        return known[more]

    def rule(ref: Ref, axis: int, side: int) -> tuple[int, int]:
        def places(more: int) -> int:
            return sizes(more)[ref][axis]

        grown = places(_FURTHER) - places(0)
        if grown < 1 or _FURTHER % grown:
            raise _no_rule(graph, ref)
        stride = _FURTHER // grown
        low, high = 0, stride  # the least that a picture must grow to have one place more
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if places(middle) == places(0) else (low, middle)
        extra = stride * (places(0) + 1) - side - high
        if any((side + m + extra) // stride != places(m) for m in sorted(known)):
            raise _no_rule(graph, ref)
        return stride, extra

    rules = {}
    for ref in maps:
        (down, more_down), (right, more_right) = rule(ref, 0, height), rule(ref, 1, width)
        rules[ref] = (down, right), (more_down, more_right)
    return rules


def _check_pictures(model: keras.Model, graph: Graph) -> None:
    given = [tuple(ref.shape) for ref in graph.inputs]
    if len(given) != 1 or len(given[0]) != 4:
        raise ValueError(
            f"A model with one input, the pictures, is needed. Model '{model.name}' takes {given}"
        )
    if given[0][-1] is None or _channels_first(graph.layers()):
        raise ValueError(
            f"A channels-last model is needed, as feeders give pictures. Model '{model.name}' "
            f"takes {given[0]}"
        )


def _channels_first(all_layers: Iterable[Any]) -> bool:
    return any(getattr(layer, "data_format", None) == "channels_first" for layer in all_layers)


def _pools(graph: Graph, names: str) -> list[Call]:
    return [call for call in graph.calls if re.fullmatch(names, call.layer.name) and _mode(call)]


def _mode(call: Call) -> str | None:
    """ "max" or "avg" if a call is a global pooling of Keras' own, else None."""
    return _MODES.get(type(call.layer))


def _join(mode: str, scores: Any, crops: Any, name: str) -> Any:
    pool = PoolCrops(mode, name=f"crops_{name}", dtype=scores.dtype)
    return pool([scores, crops])


def _no_rule(graph: Graph, ref: Ref) -> ConversionError:
    call = graph.producer(ref)
    layer = "the input" if call is None else f"layer '{call.layer.name}'"
    return ConversionError(
        f"Crops cannot share the map of {layer}, whose size does not follow from the picture's by "
        "a whole stride: feed crops one by one (the feeder 'multicrop')."
    )
