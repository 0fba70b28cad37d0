"""Class activation maps: what the last map's channels say, weighed by what they mean for a class.

Arguments are those of `fcnkeras.explain.saliency`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from fcnkeras.explain import parts, places
from fcnkeras.explain.gradients import gradient_function
from fcnkeras.explain.network import Network
from fcnkeras.explain.saliency import Maps
from fcnkeras.explain.targets import Target

Array = np.ndarray


def class_activation_map(network: Network, target: Target, inputs: Sequence[Any]) -> Maps:
    """The last map's channels, weighed by the classifier's kernel.

    Under global average pooling the mean over the places and the bias make the score.

    Returns:
        Signed maps, (n, rows, columns).

    Raises:
        ValueError: the network has another head than pooling and one linear layer, or the target
            is not the score of a class.

    Source: Zhou et al., "Learning Deep Features for Discriminative Localization", 2016.
    """
    if target.place is None:
        raise ValueError(
            f"A class activation map explains the score of a class. Received: {target.name}"
        )
    number, index = target.place
    call, ref, averages = parts.linear_classifier(network, number)
    values = network.values(inputs)
    channels = _array(values[ref])
    kernel = _array(call.layer.kernel).reshape(channels.shape[-1], -1)[:, index]
    bias = float(_array(call.layer.bias)[index]) if call.layer.use_bias else 0.0
    scores = _array(target.score(network.outputs(inputs)))
    found = channels @ kernel
    error = None
    if averages and network.join != "max":
        totals = found.mean(axis=(1, 2)) + bias
        error = relative_error(totals.mean(keepdims=True) if network.join else totals, scores)
    return Maps(found, scores, True, places.centres(network.graph, ref, values), completeness=error)


def grad_cam(
    network: Network, target: Target, inputs: Sequence[Any], *, layer: str | None = None
) -> Maps:
    """A map's channels, weighed by the mean of the score's gradient; what is positive of it.

    Args:
        network, target, inputs: see `fcnkeras.explain.saliency`.
        layer: any layer with a map, of nested models too; by default the last map before the head.

    Raises:
        ValueError: no such layer, or it gives no map.

    Source: Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
    Localization", 2017.
    """
    scores, channels, slopes, centres = _gradients(network, target, inputs, layer)
    weights = slopes.mean(axis=(1, 2), keepdims=True)
    return Maps(np.maximum((weights * channels).sum(axis=-1), 0), scores, centres=centres)


def grad_cam_plus_plus(
    network: Network, target: Target, inputs: Sequence[Any], *, layer: str | None = None
) -> Maps:
    """Grad-CAM with gradients weighed place by place, so that several objects of one class count.

    Arguments and errors are those of `grad_cam`.

    Source: Chattopadhay et al., "Grad-CAM++: Improved Visual Explanations for Deep Convolutional
    Networks", 2018, equations 10 to 13 and 19, for the exponential of the score.
    """
    scores, channels, slopes, centres = _gradients(network, target, inputs, layer)
    slopes = slopes.astype("float64")  # the cubes of small numbers leave float32
    below = 2 * slopes**2 + channels.sum(axis=(1, 2), keepdims=True) * slopes**3
    shares = np.divide(slopes**2, below, out=np.zeros_like(slopes), where=below != 0)
    weights = (shares * np.maximum(slopes, 0)).sum(axis=(1, 2), keepdims=True)
    found = np.maximum((weights * channels).sum(axis=-1), 0)
    return Maps(found.astype("float32"), scores, centres=centres)


def _gradients(
    network: Network, target: Target, inputs: Sequence[Any], layer: str | None
) -> tuple[Array, Array, Array, tuple[Array, Array]]:
    """The scores, a layer's map, the gradient of the scores there, and its cells' centres."""
    number = target.place[0] if target.place else 0
    ref = parts.last_map(network, number) if layer is None else network.layer_output(layer)
    if len(ref.shape) != 4:
        raise ValueError(
            f"`layer` must give a map, (n, rows, columns, channels). Received: {layer}"
        )
    values = network.values(inputs)
    outputs_of = network.behind([ref], values)
    gradients = gradient_function(
        lambda channels: target.score(outputs_of(channels)), [tuple(values[ref].shape)]
    )
    scores, (slopes,) = gradients(values[ref])
    centres = places.centres(network.graph, ref, values)
    return scores, _array(values[ref]), slopes.astype("float32"), centres


def relative_error(found: Array, scores: Array) -> float:
    """The largest distance from a score, relative to it."""
    return float((np.abs(found - scores) / np.maximum(np.abs(scores), 1e-12)).max())


def _array(tensor: Any) -> Array:
    return ops.convert_to_numpy(ops.cast(tensor, "float32"))
