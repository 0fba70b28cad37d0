"""The parts of a network that maps are read from: its last map, its pooling, its classifier."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from keras import layers

from fcnkeras.convert.forms import pools_by
from fcnkeras.convert.graph import Call, Ref
from fcnkeras.explain.network import Network
from fcnkeras.layers import MaskedGlobalPooling2D

_PASSING = (layers.Identity, layers.Dropout, layers.Reshape, layers.Flatten)
_FEATURES = re.compile(r"features(_\d+)?")


def score_of(network: Network, number: int) -> Ref | None:
    """The tensor that is an output's score; None if it appears only inside a layer, before the
    activation that this ends in."""
    ending = network.endings[number]
    if ending.call is None:
        return network.graph.outputs[number]
    return None if ending.inside else ending.call.inputs[0]


def last_call(network: Network, number: int) -> Call:
    """The call that makes an output's score."""
    score = score_of(network, number)
    call = network.endings[number].call if score is None else network.graph.producer(score)
    if call is None:
        raise ValueError(f"Output '{network.names[number]}' is an input of the network.")
    return call


def pooling_of(network: Network, number: int) -> Call | None:
    """The call that pools the map of an output's scores; None if the network pools before its
    classifier, or not at all."""
    call: Call | None = None
    if score_of(network, number) is not None:
        call = last_call(network, number)
        while call is not None and isinstance(call.layer, _PASSING):
            call = network.graph.producer(call.inputs[0])
    if call is None or len(call.inputs[0].shape) != 4 or pooling_mode(call.layer) is None:
        return None
    return call


def pooling_mode(layer: Any) -> str | None:
    """ "max" or "avg" for what pools a whole map; None for everything else."""
    return layer.mode if isinstance(layer, MaskedGlobalPooling2D) else pools_by(layer)


def linear_classifier(network: Network, number: int) -> tuple[Call, Ref, bool]:
    """The one linear layer behind the last map, for networks that have no more than that.

    Returns:
        The call of the Dense layer or 1x1 convolution; the map whose channels it weighs; whether
        what lies between and behind is no more than the map's average.

    Raises:
        ValueError: the network has another head.
    """
    graph = network.graph
    call: Call | None = last_call(network, number)
    passed: list[Call] = []
    while call is not None and not _has_weights(call):
        passed.append(call)
        call = graph.producer(call.inputs[0]) if _passes(call) else None
    if call is None or not _is_linear(call, network, number):
        raise ValueError(_CAM.format(network.model.name))
    ref = call.inputs[0]
    ends = set(feature_maps(network, number))
    producer = graph.producer(ref)
    while producer is not None and ref not in ends and _passes(producer, windows=bool(ends)):
        passed.append(producer)
        ref = producer.inputs[0]
        producer = graph.producer(ref)
    if len(ref.shape) != 4:
        raise ValueError(_CAM.format(network.model.name))
    kinds = [each.layer for each in passed if not isinstance(each.layer, _PASSING)]
    return call, ref, [pools_by(kind) for kind in kinds] == ["avg"]


_CAM = (
    "Class activation maps need a network that pools its last map and ends in one Dense layer or "
    "1x1 convolution; use grad-cam for '{}', which does not."
)


def _passes(call: Call, windows: bool = False) -> bool:
    """Whether a call leaves channels as they are, or pools a map; with `windows`, also one that
    averages the map in windows."""
    before, after = call.inputs[0].shape, call.outputs[0].shape
    if isinstance(call.layer, layers.Flatten | layers.Reshape):  # of one place only
        return before[-1] == after[-1]
    if isinstance(call.layer, layers.AveragePooling2D):
        return windows
    return isinstance(call.layer, _PASSING) or pooling_mode(call.layer) is not None


def _is_linear(call: Call, network: Network, number: int) -> bool:
    layer = call.layer
    inside = network.endings[number].call is call
    if isinstance(layer, layers.Conv2D) and layer.kernel_size != (1, 1):
        return False
    is_kind = isinstance(layer, layers.Dense) or type(layer) is layers.Conv2D
    return is_kind and (inside or layer.activation.__name__ == "linear")


def before(network: Network, number: int) -> list[Call]:
    """The calls that an output needs, in their order."""
    return network.graph.before({network.graph.outputs[number]}).calls


def feature_maps(network: Network, number: int) -> list[Ref]:
    """The maps that `to_fcn` named as the ends of the spatial part, as far as an output reads
    them."""
    calls = before(network, number)
    return [call.outputs[0] for call in calls if _FEATURES.fullmatch(call.layer.name)]


def last_map(network: Network, number: int) -> Ref:
    """The map that ends the spatial part: the features of a model of `to_fcn`, else the last map
    with more than one place and with a layer with weights behind it, which a classifier's own
    map has not.

    Raises:
        ValueError: the network has none.
    """
    if found := feature_maps(network, number):
        return found[-1]
    calls = before(network, number)
    weighted: set[Ref] = set()
    for call in reversed(calls):
        out = call.outputs[0]
        if out in weighted and len(out.shape) == 4 and out.shape[1:3] != (1, 1):
            return out
        if _has_weights(call) or out in weighted:
            weighted.update(call.inputs)
    raise ValueError(f"'{network.model.name}' has no map before its last layer with weights.")


def pooled_maps(network: Network, number: int) -> list[Ref]:
    """The maps whose pooled channels a head joins and weighs, from the picture up."""
    if found := feature_maps(network, number):
        return found
    calls = {call.outputs[0]: call for call in before(network, number)}
    waiting, ends, seen = [network.graph.outputs[number]], [], set()
    while waiting:
        ref = waiting.pop()
        if ref in seen:
            continue
        seen.add(ref)
        if len(ref.shape) == 4 and ref.shape[1:3] != (1, 1):
            ends.append(ref)
        elif ref in calls:
            waiting += calls[ref].inputs
    ends = [ref for ref in ends if ref in calls]
    if not ends or _is_last_layer(network, number, ends):
        return [last_map(network, number)]
    return sorted(ends, key=lambda ref: ref.index)


def _is_last_layer(network: Network, number: int, ends: Sequence[Ref]) -> bool:
    """Whether no layer with weights lies behind these maps."""
    reached = set(ends)
    for call in before(network, number):
        if reached.intersection(call.inputs) and not reached.intersection(call.outputs):
            if _has_weights(call):
                return False
            reached.update(call.outputs)
    return True


def _has_weights(call: Call) -> bool:
    return bool(getattr(call.layer, "weights", ()))
