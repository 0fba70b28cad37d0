"""The formats: how each file is written, and how its own runtime opens it.

`write(model, path)` makes the file. `open(path, names)` returns a function from arrays by input
name to the outputs of these names, in their order. In every format but Keras' own the inputs have
the names of the model's inputs and the outputs those of `output_names`.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from fcnkeras.export.check import call_model, input_structure
from fcnkeras.export.onnx_graph import write_onnx

Run = Callable[[Mapping[str, Any]], list[Any]]


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        name: as users write it.
        ending: of the file's name; "" for a folder.
        title: what people call it.
        modules: the packages that it needs, all in the extra `export`.
        write: makes the file at a path.
        open: the file at a path as a function that gives the outputs of these names.
    """

    name: str
    ending: str
    title: str
    modules: tuple[str, ...]
    write: Callable[[keras.Model, Path], None]
    open: Callable[[Path, Sequence[str]], Run]


def get_format(path: Path, name: str | None = None) -> Format:
    """The format that a file is to have, by its name or else by the ending of the path.

    Raises:
        ValueError: no such format or ending, or the two do not go together.
        ImportError: a package that the format needs is not installed.
    """
    by_ending = {form.ending: form for form in FORMATS.values()}
    if name is not None and name not in FORMATS:
        raise ValueError(f"`format` must be one of {', '.join(FORMATS)}. Received: {name!r}")
    if name is None and path.suffix not in by_ending:
        endings = ", ".join(form.ending or "no ending" for form in FORMATS.values())
        raise ValueError(f"The path must end in one of {endings}. Received: {path}")
    form = by_ending[path.suffix] if name is None else FORMATS[name]
    # A folder may have a dot in its name, as long as it does not look like one of the files.
    if path.suffix != form.ending and (form.ending or path.suffix in by_ending):
        raise ValueError(
            f"A file of format {form.name!r} must have {form.ending or 'no ending'}. "
            f"Received: {path}"
        )
    for module in form.modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ImportError(
                f"{form.title} needs the package {module}, which cannot be imported "
                f'({error}): pip install "fcnkeras[export]"'
            ) from error
    return form


# ---- Keras and TensorFlow ----------------------------------------------------------------------


def _write_keras(model: keras.Model, path: Path) -> None:
    model.save(path)


def _open_keras(path: Path, names: Sequence[str]) -> Run:
    model = keras.models.load_model(path, compile=False)

    return lambda arrays: call_model(model, arrays)


def _write_savedmodel(model: keras.Model, path: Path) -> None:
    import tensorflow as tf

    # `model.export` also tracks the model itself, and with it every weight a second time.
    archive = keras.export.ExportArchive()
    archive.add_endpoint(
        "serve",
        functools.partial(model.__call__, training=False),
        input_signature=[
            keras.tree.map_structure(
                lambda tensor: tf.TensorSpec(tensor.shape, tensor.dtype, name=tensor.name),
                input_structure(model),
            )
        ],
    )
    archive.write_out(str(path), verbose=False)


def _open_savedmodel(path: Path, names: Sequence[str]) -> Run:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    function = loaded.signatures["serving_default"]

    def run(arrays: Mapping[str, Any], loaded: Any = loaded) -> list[Any]:  # keeps its variables
        outputs = function(**{name: tf.constant(array) for name, array in arrays.items()})
        return [outputs[name].numpy() for name in names]

    return run


# ---- the runtimes of others --------------------------------------------------------------------


def _open_onnx(path: Path, names: Sequence[str]) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda arrays: session.run(list(names), dict(arrays))


def _write_openvino(model: keras.Model, path: Path) -> None:
    # Not by Keras' own exporter: with layers that ask for sizes while they run it leaves those
    # sizes as outputs, and it names the outputs by the insides of the graph.
    import openvino

    folder = path.with_suffix(".savedmodel")
    _write_savedmodel(model, folder)
    openvino.serialize(openvino.convert_model(str(folder)), str(path))


def _open_openvino(path: Path, names: Sequence[str]) -> Run:
    import openvino

    # Without the hint a processor that can do so computes in bfloat16.
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(str(path), "CPU", exact)

    def run(arrays: Mapping[str, Any]) -> list[Any]:
        outputs = compiled(dict(arrays))
        return [outputs[name] for name in names]

    return run


def _write_litert(model: keras.Model, path: Path) -> None:
    import tensorflow as tf

    # Keras would also allow operations for which phones need all of TensorFlow.
    built_in = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}
    model.export(str(path), format="litert", verbose=False, target_spec=built_in)


def _open_litert(path: Path, names: Sequence[str]) -> Run:
    from ai_edge_litert.interpreter import Interpreter

    # The signature brings the inputs to their sizes; outputs without it come in any order.
    runner = Interpreter(model_path=str(path)).get_signature_runner()

    def run(arrays: Mapping[str, Any]) -> list[Any]:
        outputs = runner(**arrays)
        return [outputs[name] for name in names]

    return run


FORMATS = {
    form.name: form
    for form in (
        Format("keras", ".keras", "Keras", (), _write_keras, _open_keras),
        Format("savedmodel", "", "SavedModel", (), _write_savedmodel, _open_savedmodel),
        Format("onnx", ".onnx", "ONNX", ("onnx", "tf2onnx", "onnxruntime"), write_onnx, _open_onnx),
        Format("openvino", ".xml", "OpenVINO", ("openvino",), _write_openvino, _open_openvino),
        Format("litert", ".tflite", "LiteRT", ("ai_edge_litert",), _write_litert, _open_litert),
    )
}
