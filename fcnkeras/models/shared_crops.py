"""Multi-crop that shares work: the network runs over the whole picture once, up to some map, and
each crop goes on from the part of that map that its pixels lie in.

The exact way, `fed_model(model, "multicrop")`, runs the network over every crop. The two are equal,
to float rounding, for layers without padding and crops that begin at multiples of their stride.
In the shared layers they differ

- where layers pad: a crop that is fed alone ends in zeros, here it ends in the picture;
- where a crop begins between two places of the map: here it begins at the nearer one, at most half
  a stride away;
- where the network pools its own map (the gates of squeeze-and-excitation): here over the picture;
- where a layer looks at the size that it meets: "same" padding before strides, and the grid of a
  skip connection.

The fewer layers are shared, the closer it comes and the longer it takes. How much:
`benchmarks/shared_crops.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from fcnkeras.convert.ends import map_sizes
from fcnkeras.convert.forms import Layout
from fcnkeras.convert.graph import Call, ConversionError, Graph, Ref, run, trace
from fcnkeras.crop_windows import CropWindows
from fcnkeras.layers import CropsToBatch, NativeWindow, PoolCrops

_MODES = {layers.GlobalMaxPooling2D: "max", layers.GlobalAveragePooling2D: "avg"}
# A multiple of every stride that networks have, in pixels.
_FURTHER = 2**7 * 9 * 5


def shared_crop_model(model: keras.Model, until: str | None = None) -> keras.Model:
    """Rebuilds a model so that the crops of a picture share one pass over it.

    Args:
        model: a channels-last model that `to_fcn` returned, with pooling "max" or "avg", with skip
            connections or several outputs too; or one of `fcnkeras.tasks.heads.task_model`.
        until: the last layer that crops share; what comes behind runs for every crop. By default
            the one before the pooling: everything is shared but what works on single vectors.

    Returns:
        A model that shares every layer and weight with `model`. It takes whole pictures as
        `feeders.native` gives them, (batch, height, width, channels), and finds the crops that
        `feeders.multi_crop` would cut; a batch has pictures of one shape. Its outputs are those of
        the model for crops (`fed_model`, `fed_task_model`): a fully convolutional model joins crops
        as its places, a task model averages their logits before the activation.

    Raises:
        ValueError: the model does not pool its map, is channels first, has another input beside
            the pictures, or no layer `until` before its pooling.
        ConversionError: the size of a map does not follow from that of the picture by a stride.

    Example:
        >>> model = to_fcn(keras.applications.MobileNetV2(), pooling="avg")
        >>> shared = shared_crop_model(model, until="block_12_add")
        >>> shared(feeders.native(picture, 224).arrays / 127.5 - 1).shape
        (1, 1000)
    """
    graph = trace(model)
    _check_pictures(model, graph)
    tasks = any(layer.name == "head" for layer in model.layers if isinstance(layer, keras.Model))
    pools = _pools(graph, tasks)
    if not pools:
        raise ValueError(
            f"Model '{model.name}' has no pooling whose map crops could share: make it with "
            "`to_fcn` and pooling 'max' or 'avg', or with `task_model`."
        )
    shared, rest = _divided(model.name, graph, pools, until)
    rules = stride_rules(shared, set(rest.inputs))
    least = next((each.least for each in graph.layers() if isinstance(each, NativeWindow)), None)
    picture = keras.Input(graph.inputs[0].shape[1:], dtype=graph.inputs[0].dtype, name="picture")
    maps = run(shared, [picture], lambda call, args, kwargs: call.layer(*args, **kwargs))
    crops = [
        CropWindows(*rules[ref], least, name=f"crops_{number}", dtype=ref.dtype)(
            [maps[ref], picture]
        )
        for number, ref in enumerate(rest.inputs)
    ]
    as_batch = [
        CropsToBatch(name=f"crops_to_batch_{number}", dtype=each.dtype)(each)
        for number, each in enumerate(crops)
    ]

    def call_layer(call: Call, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        x, name, mode = call.layer(*args, **kwargs), call.layer.name, None
        if tasks:
            mode = "avg" if name.startswith("logits_") else None
        elif call in pools:
            mode = _MODES[type(call.layer)]
        return x if mode is None else _join(mode, x, crops[0], name)

    values = run(rest, as_batch, call_layer)
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
        # A map that was enlarged again grows in steps, which a few more sizes show.
        if any((side + m + extra) // stride != places(m) for m in {*known, *range(1, 5)}):
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
    formats = {getattr(layer, "data_format", None) for layer in graph.layers()}
    if given[0][-1] is None or "channels_first" in formats:
        raise ValueError(
            f"A channels-last model is needed, as feeders give pictures. Model '{model.name}' "
            f"takes {given[0]}"
        )


def _pools(graph: Graph, tasks: bool) -> list[Call]:
    """The calls that pool the last maps, by the names that `to_fcn` and `task_model` give them."""
    if tasks:
        return [call for call in graph.calls if call.layer.name.startswith("pooled_")]
    if not any(isinstance(layer, NativeWindow) for layer in graph.layers()):
        return []  # not made by `to_fcn`, so that the names mean nothing
    return [
        call
        for call in graph.calls
        if re.fullmatch(r"pooled(_\d+)?", call.layer.name) and type(call.layer) in _MODES
    ]


def _divided(
    name: str, graph: Graph, pools: Sequence[Call], until: str | None
) -> tuple[Graph, Graph]:
    """The calls that crops share, and the rest, whose inputs are the maps between the two."""
    shared = graph.before({call.inputs[0] for call in pools})
    if until is not None:
        found = [call for call in shared.calls if call.layer.name == until]
        if not found:
            raise ValueError(
                f"`until` must name a layer before the pooling. Model '{name}' has no {until!r}"
            )
        shared = graph.before(set(found[-1].outputs))
    own = {id(call) for call in shared.calls}
    rest = [call for call in graph.calls if id(call) not in own]
    made = {ref for call in rest for ref in call.outputs}
    cut = dict.fromkeys(ref for call in rest for ref in call.inputs if ref not in made)
    if flat := [ref for ref in cut if len(ref.shape) != 4]:
        raise ValueError(
            f"`until` must name a layer behind which only maps are needed. Behind {until!r} "
            f"'{_maker(graph, flat[0])}' is, of shape {flat[0].shape}"
        )
    return shared, Graph(list(cut), graph.outputs, rest)


def _join(mode: str, scores: Any, crops: Any, name: str) -> Any:
    pool = PoolCrops(mode, name=f"crops_{name}", dtype=scores.dtype)
    return pool([scores, crops])


def _maker(graph: Graph, ref: Ref) -> str:
    call = graph.producer(ref)
    return "picture" if call is None else call.layer.name


def _no_rule(graph: Graph, ref: Ref) -> ConversionError:
    return ConversionError(
        f"Crops cannot share the map of layer '{_maker(graph, ref)}', whose size does not follow "
        "from the picture's by a whole stride: feed crops one by one (the feeder 'multicrop')."
    )
