"""The proof that a fully convolutional network is the network it was made from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from fcnkeras.convert.forms import Form, Layout, State, pools_by
from fcnkeras.convert.graph import Call, ConversionError, Graph, Ref, run, takes_training
from fcnkeras.convert.plan import ConversionPlan
from fcnkeras.convert.surgery import move_weights

# Float32 rounding over the longest sums (25,088 products in VGG16's fc1) stays near 1e-6 of the
# largest value, a graphics card may round products to 10 bits; half precision keeps 8 to 11 bits.
# A wrong reshape differs by about 1.
TOLERANCE, HALF_TOLERANCE = 1e-3, 5e-2
# Between the noise of a network that takes -1 to 1 and that of one that takes 0 to 255: neither
# drowns the offsets of the one nor starves the kernels of the other.
NOISE = 11.0
SAMPLED_ROWS = 128  # of a reshaped kernel; any wrong order moves nearly all
# What a model of free size is compared at.
FREE_SIZE = (224, 224)


@dataclass(frozen=True)
class Certificate:
    """What was compared when a model was made fully convolutional, and how far it differed.

    Attributes:
        size: (height, width) in pixels of the picture compared: the network's native size.
        differences: for every map that ends the spatial part, and every layer behind, the largest
            difference to its twin, relative to its largest value; output layers before their
            activation.
        outputs: the same for each output of the finished model; empty where the plan says that
            they need not be equal.
        tolerance: the largest difference allowed.
        weights: (layer, shape in the source, shape in the result) of every reshaped weight.
        parameters: numbers in all weights of the source, each of which is in the result.
    """

    size: tuple[int, int]
    differences: dict[str, float]
    outputs: tuple[float, ...]
    tolerance: float
    weights: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]
    parameters: int

    @property
    def worst(self) -> float:
        """The largest relative difference of all."""
        return max([*self.differences.values(), *self.outputs])

    def __str__(self) -> str:
        lines = [
            f"compared at {self.size[0]}x{self.size[1]} pixels: largest relative difference "
            f"{self.worst:.1e} (allowed {self.tolerance:.0e})",
            f"{self.parameters:,} parameters moved, none left; reshaped: "
            f"{len(self.weights) or 'none'}",
        ]
        lines += [f"  {layer}: {a} -> {b}" for layer, a, b in self.weights]
        return "\n".join(lines)


@keras.saving.register_keras_serializable("fcnkeras")
class FullyConvolutional(keras.Model):
    """A Functional model that `to_fcn` made; it keeps its certificate, in files too."""

    @property
    def certificate(self) -> Certificate | None:
        """What was proven of the conversion, before any training; None with `verify=False`."""
        text = self.get_layer("native_window").certificate
        if text is None:
            return None
        fields = json.loads(text)
        weights = tuple((name, tuple(a), tuple(b)) for name, a, b in fields.pop("weights"))
        size, outputs = tuple(fields.pop("size")), tuple(fields.pop("outputs"))
        return Certificate(size=size, outputs=outputs, weights=weights, **fields)

    @certificate.setter
    def certificate(self, certificate: Certificate) -> None:
        self.get_layer("native_window").certificate = json.dumps(asdict(certificate))


def certify(
    model: keras.Model,
    graph: Graph,
    plan: ConversionPlan,
    states: Mapping[Ref, State],
    twins: Mapping[int, Any],
    tensors: Mapping[Ref, keras.KerasTensor],
    fcn: keras.Model,
) -> Certificate:
    """Runs the source and the result on one picture of the native size, and compares.

    Three comparisons: the maps that end the spatial part; every layer behind them with its twin;
    and the outputs, where the plan says that they must be equal. `tensors` are the result's own,
    by what they are in the source. Where its windows are not the native one, the twins are run
    once more on the source's maps, so that every weight is proven in every case.

    Raises:
        ConversionError: something differs, or is not finite, or a weight is left over.
    """
    size, layout = plan.native or FREE_SIZE, Layout(plan.data_format)
    shape = layout.shape(1, size, graph.inputs[0].shape[layout.channel])
    picture = ops.cast(_noise(shape, graph.inputs[0].dtype), graph.inputs[0].dtype)
    head = [call for call in graph.calls if states[call.outputs[0]].form is not Form.MAP]
    ends = [call.inputs[0] for call in head if states[call.inputs[0]].form is Form.MAP]
    maps = list(dict.fromkeys(ends))
    theirs, their_outputs = _source_values(model, graph, maps, head, picture)
    shown = [call.outputs[0] for call in head if states[call.outputs[0]].form is Form.VECTOR]
    native = plan.window == "native"
    if native:  # an activation behind the pooling is compared as the output
        shown = [ref for ref in shown if ref in tensors]
    probed = {ref: tensors[ref] for ref in shown} if native else {}
    our_maps, ours, our_outputs = _result_values(fcn, len(maps), probed, picture)
    their_maps = [_channels_last(theirs[ref], layout) for ref in maps]
    half = any(ref.dtype in ("float16", "bfloat16") for ref in theirs)
    compare = _Comparison(HALF_TOLERANCE if half else TOLERANCE)
    for ref, their_map, our_map in zip(maps, their_maps, our_maps, strict=True):
        producer = graph.producer(ref)
        compare(producer.layer.name if producer else "the input", their_map, our_map)
    linear = plan.linear_layers(graph)
    if not native:
        ours = run(Graph(maps, calls=head), their_maps, _calls_twin(states, twins))
    for call in head:
        if call.outputs[0] in shown:
            value = theirs[call.outputs[0]]
            if id(call.layer) in linear:
                value = _linear(call)(theirs[call.inputs[0]])
            compare(call.layer.name, value, ours[call.outputs[0]])
    outputs = []
    if plan.exact:
        for output, value, result in zip(plan.outputs, their_outputs, our_outputs, strict=True):
            outputs.append(compare.difference(f"{output.layer} (output)", value, result))
    weights = tuple((s.layer, a, b) for s in plan.steps for a, b in s.weights)
    _check_weights(graph, plan, twins)
    parameters = _parameters(model, graph, fcn)
    return Certificate(size, compare.found, tuple(outputs), compare.tolerance, weights, parameters)


def _noise(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    noise = np.random.default_rng(0).normal(size=shape)
    if "int" in dtype:
        return np.clip(127.5 + 64 * noise, 0, 255)
    return (NOISE * noise).astype("float32")


def _source_values(
    model: keras.Model, graph: Graph, maps: list[Ref], head: list[Call], picture: Any
) -> tuple[dict[Ref, Any], list[Any]]:
    """What the source's own layers give: the maps that end its spatial part, everything behind
    them, and its outputs. One pass where the model's own tensors reach all of these."""
    refs = list(dict.fromkeys([*maps, *(ref for call in head for ref in call.outputs)]))
    # A subclass may do in its `call` what its graph does not say.
    plain = type(model).call.__module__.startswith("keras.")
    if plain and all(ref in graph.tensors for ref in refs):
        probe = keras.Model(model.inputs, [graph.tensors[ref] for ref in refs])
        values = dict(zip(refs, probe([picture], training=False), strict=True))
        return values, [values[ref] for ref in graph.outputs]
    values = run(graph, [picture], lambda call, a, k: call.layer(*a, **_inference(call, k)))
    outputs = keras.tree.flatten(model(picture, training=False))
    return {ref: values[ref] for ref in refs}, outputs


def _result_values(
    fcn: keras.Model, count: int, probed: Mapping[Ref, keras.KerasTensor], picture: Any
) -> tuple[list[Any], dict[Ref, Any], list[Any]]:
    """The maps at the end of the result's spatial part, the values of its tensors `probed`, and
    its outputs, in one pass."""
    names = [f"features_{number + 1}" if number else "features" for number in range(count)]
    maps = [fcn.get_layer(name).output for name in names]
    wanted = [*maps, *probed.values(), *fcn.outputs]
    values = keras.Model(fcn.inputs, wanted)([picture], training=False)
    vectors = dict(zip(probed, values[count:], strict=False))
    return values[:count], vectors, values[count + len(probed) :]


def _channels_last(values: Any, layout: Layout) -> Any:
    return ops.transpose(values, (0, *layout.spatial, layout.channel))


def _calls_twin(states: Mapping[Ref, State], twins: Mapping[int, Any]) -> Any:
    def call_twin(call: Call, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        pools = pools_by(call.layer)
        if pools and states[call.inputs[0]].form is Form.MAP:
            pool = {"avg": ops.mean, "max": ops.max}[pools]
            return pool(ops.cast(args[0], "float32"), axis=(1, 2), keepdims=True)
        return twins[id(call.layer)](*args, **_inference(call, kwargs))

    return call_twin


def _check_weights(graph: Graph, plan: ConversionPlan, twins: Mapping[int, Any]) -> None:
    """Compares weights number by number, of large reshaped kernels so many rows: behind an
    activation that saturates, or in the rounding of half precision, a difference can hide."""
    for layer, step in zip(graph.layers(), plan.steps, strict=True):
        own_weights = getattr(twins[id(layer)], "weights", ())
        for weight, own in zip(getattr(layer, "weights", ()), own_weights, strict=True):
            ours, theirs = ops.convert_to_tensor(own), ops.convert_to_tensor(weight)
            if len(own.shape) == 4 and len(weight.shape) == 2:
                theirs, ours = _rows(theirs, ours, step.order)
            same = ops.equal(theirs, ops.reshape(ops.cast(ours, theirs.dtype), theirs.shape))
            if not bool(ops.all(ops.logical_or(same, ops.isnan(ops.cast(theirs, "float32"))))):
                raise ConversionError(
                    f"Layer '{layer.name}': its weight {weight.name} differs from its twin's. The "
                    "model is not returned."
                )


def _rows(kernel: Any, twin: Any, order: str) -> tuple[Any, Any]:
    """The same rows of a Dense layer's kernel, (rows, units), and of its twin's, (height, width,
    channels, units); all of a small one."""
    sides = dict(zip("hwc", twin.shape, strict=False))
    rows = np.arange(kernel.shape[0])
    if len(rows) > SAMPLED_ROWS:
        rows = np.random.default_rng(0).choice(rows, SAMPLED_ROWS, replace=False)
    of = dict(zip(order, np.unravel_index(rows, [sides[axis] for axis in order]), strict=True))
    places = np.ravel_multi_index([of[axis] for axis in "hwc"], list(sides.values()))
    flat = ops.reshape(twin, (-1, twin.shape[-1]))
    return ops.take(kernel, rows, axis=0), ops.take(flat, places, axis=0)


def _parameters(model: keras.Model, graph: Graph, fcn: keras.Model) -> int:
    own = {id(w): w for layer in graph.layers() for w in getattr(layer, "weights", [])}
    theirs, ours = (sum(int(np.prod(w.shape)) for w in ws) for ws in (own.values(), fcn.weights))
    if theirs != ours:
        raise ConversionError(
            f"{model.name} has {theirs} parameters and its result {ours}: it is not returned."
        )
    return theirs


def _linear(call: Call) -> Any:
    """The layer without its activation: a softmax near 0 or 1 would hide a difference."""
    layer = call.layer
    config = {**layer.get_config(), "activation": "linear"}
    config |= {key: "zeros" for key in config if key.endswith("_initializer")}  # drawing is slow
    twin = type(layer).from_config(config)
    twin.build(call.inputs[0].shape)
    move_weights([layer], {id(layer): twin})
    return twin


def _inference(call: Call, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Layers that augment pictures would do so if they were not told."""
    return {**kwargs, "training": False} if takes_training(call.layer) else kwargs


class _Comparison:
    """Collects the largest difference of every layer; raises where one is above the tolerance."""

    def __init__(self, tolerance: float) -> None:
        self.tolerance = tolerance
        self.found: dict[str, float] = {}

    def __call__(self, layer: str, value: Any, twin_value: Any) -> None:
        difference = self.difference(layer, value, twin_value)
        self.found[layer] = max(difference, self.found.get(layer, 0.0))

    def difference(self, name: str, value: Any, twin_value: Any) -> float:
        a = np.asarray(ops.convert_to_numpy(ops.cast(value, "float32")))
        b = np.asarray(ops.convert_to_numpy(ops.cast(twin_value, "float32"))).reshape(a.shape)
        if not np.isfinite(a).all():
            raise ConversionError(
                f"Layer '{name}' gives values that are not finite on noise, so nothing can be "
                "proven: check the model's weights, or pass verify=False."
            )
        difference = float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-30))
        if not difference <= self.tolerance:  # a twin's NaN is no proof either
            raise ConversionError(
                f"Layer '{name}' differs from its twin by {difference:.2g} of its largest value at "
                f"the native size; at most {self.tolerance:g} is float rounding. The model is not "
                "returned."
            )
        return difference
