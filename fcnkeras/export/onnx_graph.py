"""A Keras model as an ONNX file, on the TensorFlow backend.

Not by Keras' own exporter, which carries the weights through every step of the conversion as
constants (minutes and 16 GB for VGG16) and leaves grouped convolutions unconverted. Here the
weights enter the graph as inputs, so that only the graph is converted; then they take the inputs'
places, and ONNX Runtime folds what depends on them alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras

from fcnkeras.export.check import input_structure, output_names

LARGEST = 2**31 - 2**20  # bytes: what one file of the protobuf format can hold


def write_onnx(model: keras.Model, path: Path) -> None:
    """Writes `model` to `path`.

    Raises:
        ValueError: the weights do not fit into one file.
    """
    import onnx
    from onnx import numpy_helper

    weights = [keras.ops.convert_to_numpy(weight) for weight in model.weights]
    if sum(weight.nbytes for weight in weights) > LARGEST:
        raise ValueError(f"An ONNX file holds 2 GB of weights. {model.name} has more.")
    proto = _convert(model)
    graph = proto.graph
    inputs = {tensor.name: tensor for tensor in graph.input}
    for number, weight in enumerate(weights):
        if f"weight_{number}" in inputs:
            del inputs[f"weight_{number}"]
            graph.initializer.append(numpy_helper.from_array(weight, f"weight_{number}"))
    del graph.input[:]
    graph.input.extend(inputs.values())
    for tensor in graph.input:
        _name_sizes(tensor)
    for tensor in graph.output:
        _name_sizes(tensor, {3: ["batch", "rows", "columns"]})
    unfolded = path.with_name(f"unfolded_{path.name}")
    onnx.save(proto, unfolded)
    del proto, graph
    _fold(unfolded, path)


def _convert(model: keras.Model) -> Any:
    """The model as an ONNX graph whose weights are inputs, "weight_0" and so on."""
    import tensorflow as tf
    import tf2onnx

    pictures = [tf.TensorSpec(t.shape, t.dtype, name=t.name) for t in model.inputs]
    weights = [
        tf.TensorSpec(weight.shape, weight.dtype, name=f"weight_{number}")
        for number, weight in enumerate(model.weights)
    ]

    def serve(*tensors: Any) -> dict[str, Any]:
        flat = list(tensors[: len(pictures)])
        given = keras.tree.pack_sequence_as(input_structure(model), flat)
        values = zip(model.weights, tensors[len(pictures) :], strict=True)
        with keras.StatelessScope(state_mapping=list(values)):
            outputs = keras.tree.flatten(model(given, training=False))
        return dict(zip(output_names(model), outputs, strict=True))

    signature = [*pictures, *weights]
    function = tf.function(serve, input_signature=signature)
    with _functions_opened():
        return tf2onnx.convert.from_function(function, signature)[0]


@contextmanager
def _functions_opened() -> Iterator[None]:
    """Traces functions within functions as part of the outer one: Keras hides grouped convolutions
    in one, for XLA, where the converter cannot see them."""
    import tensorflow as tf

    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


PICTURE = {3: ["batch", "height", "width"], 4: ["batch", "crops", "height", "width"]}


def _name_sizes(tensor: Any, names: Mapping[int, Sequence[str]] = PICTURE) -> None:
    """Gives free sizes names that say what they are, the same name where they are equal."""
    free = [size for size in tensor.type.tensor_type.shape.dim if not size.HasField("dim_value")]
    for size, name in zip(free, names.get(len(free), ["batch"]), strict=False):
        size.dim_param = name


def _fold(source: Path, target: Path) -> None:
    """Writes a graph again, with everything computed that does not depend on its inputs."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # The basic level stays within the standard's own operations.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
    source.unlink()
    proto = onnx.load(target)
    used = {node.domain for node in proto.graph.node}
    sets = [each for each in proto.opset_import if each.domain in used]
    del proto.opset_import[:]
    proto.opset_import.extend(sets)
    onnx.save(proto, target)
