"""The proof that a fully convolutional network is the network it was made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from fcnkeras.convert.graph import Call, ConversionError, Graph, Ref, run, takes_training
from fcnkeras.convert.plan import ConversionPlan
from fcnkeras.convert.rules import Form, State

# Float32 rounding over the longest sums (25,088 products in VGG16's fc1) stays near 1e-6 of the
# largest value, a graphics card may round products to 10 bits; half precision keeps 8 to 11 bits.
# A wrong reshape differs by about 1.
TOLERANCE, HALF_TOLERANCE = 1e-3, 5e-2


@dataclass(frozen=True)
class Certificate:
    """What was compared, and how far it differed.

    Attributes:
        size: (height, width) in pixels of the pictures compared, the network's native size.
        differences: for every layer behind the end of the spatial part, the largest difference to
            its twin, relative to the layer's largest value; output layers before their activation.
        outputs: the same for each output of the finished model; empty where the plan says that
            they need not be equal.
        tolerance: the largest difference allowed.
        weights: (layer, shape in the source, shape in the result) of every reshaped weight.
    """

    size: tuple[int, int]
    differences: dict[str, float]
    outputs: tuple[float, ...]
    tolerance: float
    weights: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]

    @property
    def worst(self) -> float:
        """The largest relative difference of all."""
        return max([*self.differences.values(), *self.outputs])

    def __str__(self) -> str:
        lines = [
            f"compared at {self.size[0]}x{self.size[1]} pixels: largest relative difference "
            f"{self.worst:.1e} (allowed {self.tolerance:.0e})"
        ]
        lines += [f"  {layer}: {a} -> {b}" for layer, a, b in self.weights]
        return "\n".join(lines)


def certify(
    model: keras.Model,
    graph: Graph,
    plan: ConversionPlan,
    states: Mapping[Ref, State],
    twins: Mapping[int, Any],
    fcn: keras.Model,
) -> Certificate | None:
    """Runs the source and its twins on the same two pictures at the native size, and compares.

    Every layer behind the end of the spatial part is compared with its twin, and the finished
    model with `model` itself where the plan says that they must be equal. In the layer by layer
    comparison the twins see the native window even where the finished model does not, so that
    every weight is proven in every case.

    Returns:
        The certificate; None where the source has no native size to compare at.

    Raises:
        ConversionError: something differs, or is not finite.
    """
    if plan.native is None:
        return None
    channels = graph.inputs[0].shape[-1]
    assert channels is not None  # convolutions do not build without it
    shape = (2, *plan.native, channels)
    pictures = ops.cast(_pictures(shape), graph.inputs[0].dtype)
    linear = plan.linear_layers(graph)

    def call_source(call: Call, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        layer = _linear(call) if id(call.layer) in linear else call.layer
        return layer(*args, **_inference(call, kwargs))

    def call_twin(call: Call, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        if states[call.outputs[0]].form is Form.VECTOR and states[call.inputs[0]].form is Form.MAP:
            if isinstance(call.layer, layers.GlobalAveragePooling2D):
                return ops.mean(args[0], axis=(1, 2), keepdims=True)
            if isinstance(call.layer, layers.GlobalMaxPooling2D):
                return ops.max(args[0], axis=(1, 2), keepdims=True)
        return twins[id(call.layer)](*args, **_inference(call, kwargs))

    theirs = run(graph, [pictures], call_source)
    ours = run(graph, [pictures], call_twin)
    half = any(ref.dtype in ("float16", "bfloat16") for ref in theirs)
    tolerance = HALF_TOLERANCE if half else TOLERANCE
    differences: dict[str, float] = {}
    for call in graph.calls:
        ref = call.outputs[0]
        if states[ref].form is not Form.MAP:
            difference = _difference(call.layer.name, theirs[ref], ours[ref], tolerance)
            differences[call.layer.name] = max(difference, differences.get(call.layer.name, 0.0))
    outputs = []
    if plan.exact:
        values = keras.tree.flatten(model(pictures, training=False))
        results = keras.tree.flatten(fcn(pictures, training=False))
        for output, value, result in zip(plan.outputs, values, results, strict=True):
            outputs.append(_difference(f"{output.layer} (output)", value, result, tolerance))
    weights = tuple((s.layer, a, b) for s in plan.steps for a, b in s.weights)
    return Certificate(plan.native, differences, tuple(outputs), tolerance, weights)


def _pictures(shape: tuple[int, ...]) -> np.ndarray:
    """Noise for networks that take pixels of 0-255, and noise for those that take -1 to 1."""
    noise = np.random.default_rng(0).normal(size=shape).astype("float32")
    noise[0] = np.clip(127.5 + 64 * noise[0], 0, 255)
    return noise


def _linear(call: Call) -> Any:
    """The layer without its activation: a softmax near 0 or 1 would hide a difference."""
    layer = call.layer
    twin = type(layer).from_config({**layer.get_config(), "activation": "linear"})
    twin.build(call.inputs[0].shape)
    twin.set_weights(layer.get_weights())
    return twin


def _inference(call: Call, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Layers that augment pictures would do so if they were not told."""
    return {**kwargs, "training": False} if takes_training(call.layer) else kwargs


def _difference(name: str, value: Any, twin_value: Any, tolerance: float) -> float:
    a = np.asarray(keras.ops.convert_to_numpy(ops.cast(value, "float32")))
    b = np.asarray(keras.ops.convert_to_numpy(ops.cast(twin_value, "float32"))).reshape(a.shape)
    # Each picture by itself: the noise of 0-255 may give values a hundred times the other's, and
    # may be too much for a half-precision network that expects -1 to 1.
    pairs = [(x, y) for x, y in zip(a, b, strict=True) if np.isfinite(x).all()]
    if not pairs:
        raise ConversionError(
            f"Layer '{name}' gives values that are not finite on noise, so nothing can be "
            "proven: check the model's weights, or pass verify=False."
        )
    worst = max(float(np.abs(x - y).max() / max(np.abs(x).max(), 1e-30)) for x, y in pairs)
    if not worst <= tolerance:  # a twin's NaN is no proof either
        raise ConversionError(
            f"Layer '{name}' differs from its twin by {worst:.2g} of its largest value at the "
            f"native size; at most {tolerance:g} is float rounding. The model is not returned."
        )
    return worst
