"""Export: every format runs elsewhere as in Keras, at any size; nothing wrong is left behind."""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import networks
import numpy as np
import pytest
from keras import layers

from fcnkeras import ExportError, add_skip_connection, export_model, to_fcn
from fcnkeras.export import FORMATS, check, get_format, has_free_size
from fcnkeras.layers import LocalResponseNormalization
from fcnkeras.models.fed import fed_model
from fcnkeras.models.shared_crops import shared_crop_model

# TensorFlow's own reading of flatbuffers and of arrays, under NumPy 2.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]
TENSORFLOW = keras.backend.backend() == "tensorflow"
needs_tensorflow = pytest.mark.skipif(not TENSORFLOW, reason="written on TensorFlow only")
Run = Callable[[dict[str, Any]], dict[str, Any]]


def usable(name: str) -> Any:
    """The format, or a skip that says what it lacks."""
    if not TENSORFLOW and name != "keras":
        pytest.skip(f"{name} is written on Keras' TensorFlow backend only")
    for module in FORMATS[name].modules:
        pytest.importorskip(module, reason=f'{name} needs {module}: pip install "fcnkeras[export]"')
    return FORMATS[name]


# ---- the networks ------------------------------------------------------------------------------


def alexnet_in_miniature() -> keras.Model:
    """Grouped convolutions and local response normalisation, 32 x 36 pixels."""
    picture = keras.Input((32, 36, 3))
    x = layers.Conv2D(8, 5, strides=2, activation="relu")(picture)
    x = layers.MaxPooling2D(3, 2)(LocalResponseNormalization(alpha=0.1)(x))
    x = layers.Conv2D(16, 5, padding="same", groups=2, activation="relu")(x)
    x = layers.Flatten()(layers.MaxPooling2D(3, 2)(x))
    x = layers.Dropout(0.5)(layers.Dense(16, activation="relu")(x))
    return keras.Model(picture, layers.Dense(5, activation="softmax")(x), name="alexnet_mini")


def skip() -> keras.Model:
    """With new channels that count, as after training."""
    model = add_skip_connection(network("flatten"), "conv1", filters=4)
    kernel = model.get_layer("fc1").kernel
    noise = 0.1 * np.random.default_rng(0).normal(size=kernel.shape)
    kernel.assign(kernel + noise)
    return model


NETWORKS: dict[str, Callable[[], keras.Model]] = {
    "average": lambda: to_fcn(networks.build(networks.nested), pooling="avg"),
    "flatten": lambda: to_fcn(networks.build(networks.flatten_valid)),
    "skip": skip,
    "alexnet": lambda: to_fcn(networks.build(alexnet_in_miniature)),
    "masked": lambda: fed_model(network("flatten"), "pad"),
    "crops": lambda: fed_model(network("flatten"), "multicrop"),
    "shared": lambda: shared_crop_model(network("average"), until="norm"),
    "outputs": lambda: to_fcn(networks.build(networks.several_outputs)),
    "map": lambda: to_fcn(networks.build(networks.flatten_valid), pooling=None),
}


@functools.cache
def network(name: str) -> keras.Model:
    return NETWORKS[name]()


# ---- other ways to run the files than the code under test has ----------------------------------


def open_keras(path: Path) -> Run:
    model = keras.models.load_model(path)

    def run(arrays: dict[str, Any]) -> dict[str, Any]:
        given = list(arrays.values())
        outputs = model.predict(given if len(given) > 1 else given[0], verbose=0)
        outputs = outputs if isinstance(outputs, list) else [outputs]
        return {f"output_{i}": output for i, output in enumerate(outputs)}

    return run


def open_savedmodel(path: Path) -> Run:
    import tensorflow as tf

    model = tf.saved_model.load(str(path))

    def run(arrays: dict[str, Any]) -> dict[str, Any]:
        given = list(arrays.values())
        outputs = keras.tree.flatten(model.serve(given if len(given) > 1 else given[0]))
        return {f"output_{i}": output.numpy() for i, output in enumerate(outputs)}

    return run


def open_onnx(path: Path) -> Run:
    import onnx
    from onnx.reference import ReferenceEvaluator

    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    names = [output.name for output in model.graph.output]
    evaluator = ReferenceEvaluator(model)
    return lambda arrays: dict(zip(names, evaluator.run(None, arrays), strict=True))


def open_openvino(path: Path) -> Run:
    import openvino

    model = openvino.Core().read_model(path)
    compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda arrays: {k.any_name: v for k, v in compiled(arrays).to_dict().items()}


def open_litert(path: Path) -> Run:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))

    def run(arrays: dict[str, Any]) -> dict[str, Any]:
        inputs = {d["name"].split("_", 2)[2].split(":")[0]: d for d in details()}
        for name, array in arrays.items():
            interpreter.resize_tensor_input(inputs[name]["index"], array.shape)
        interpreter.allocate_tensors()
        for name, array in arrays.items():
            interpreter.set_tensor(inputs[name]["index"], array)
        interpreter.invoke()
        found = interpreter.get_output_details()
        names = {d["name"]: d["index"] for d in found}
        order = sorted(names, key=lambda name: int(name.rpartition(":")[2]))
        return {f"output_{i}": interpreter.get_tensor(names[n]) for i, n in enumerate(order)}

    details = interpreter.get_input_details
    return run


OPEN = {
    "keras": open_keras,
    "savedmodel": open_savedmodel,
    "onnx": open_onnx,
    "openvino": open_openvino,
    "litert": open_litert,
}
# (height, width, batch): the native size, a larger square, one that is neither; other sizes than
# the package itself tries.
SIZES = ((32, 36, 3), (50, 50, 1), (61, 43, 2))


def inputs_of(model: keras.Model, height: int, width: int, batch: int) -> dict[str, Any]:
    arrays: dict[str, Any] = {}
    for tensor in model.inputs:
        if tensor.name == "mask":
            arrays["mask"] = np.zeros((batch, height, width), bool)
            arrays["mask"][:, 3:, : width - 8] = True
        elif tensor.name == "crops":
            crops = networks.random_pictures(batch * 4, height, width, seed=3)
            arrays["crops"] = crops.reshape(batch, 4, height, width, 3)
        else:
            arrays[tensor.name] = networks.random_pictures(batch, height, width, seed=3)
    return arrays


# The rest only differs from these in what Keras' own layers do.
QUICK = ("skip", "alexnet", "masked", "outputs")


@pytest.mark.parametrize(
    ("form", "name"),
    [
        pytest.param(
            form,
            name,
            marks=() if FORMATS[form].modules == () or name in QUICK else pytest.mark.slow,
        )
        for form in FORMATS
        for name in NETWORKS
    ],
)
def test_every_format_runs_elsewhere_as_in_keras(form: str, name: str, tmp_path: Path) -> None:
    ending = usable(form).ending
    model, path = network(name), tmp_path / f"model{ending}"
    report = export_model(model, path)
    assert report.format == form
    assert report.worst is not None
    assert report.worst < 1e-4
    assert len(report.differences) == 3
    run = OPEN[form](path)
    for size in SIZES:
        arrays = inputs_of(model, *size)
        given = list(arrays.values())
        expected = keras.tree.flatten(model(given if len(given) > 1 else given[0]))
        outputs = run(arrays)
        assert sorted(outputs) == [f"output_{i}" for i in range(len(expected))]
        for i, reference in enumerate(expected):
            assert networks.difference(outputs[f"output_{i}"], networks.to_numpy(reference)) < 1e-4
    beside = {"openvino": ["model.bin", "model.xml"]}.get(form, [f"model{ending}"])
    assert sorted(p.name for p in tmp_path.iterdir()) == beside
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert report.bytes == sum(p.stat().st_size for p in files)


@pytest.mark.parametrize("form", [form for form in FORMATS if form != "keras"])
def test_named_outputs_keep_their_names(form: str, tmp_path: Path) -> None:
    ending = usable(form).ending
    fcn = to_fcn(networks.build(networks.several_outputs))
    first, second, *_ = fcn.outputs
    model = keras.Model(fcn.input, {"texture": first, "colour": second}, name="named")
    export_model(model, tmp_path / f"m{ending}")
    arrays = inputs_of(model, *SIZES[1])
    expected = model(*arrays.values())
    assert not np.array_equal(expected["texture"].shape, expected["colour"].shape)
    outputs = FORMATS[form].open(tmp_path / f"m{ending}", ["texture", "colour"])(arrays)
    for name, output in zip(("texture", "colour"), outputs, strict=True):
        assert networks.difference(output, networks.to_numpy(expected[name])) < 1e-4
    if form in ("onnx", "openvino"):
        assert sorted(OPEN[form](tmp_path / f"m{ending}")(arrays)) == ["colour", "texture"]


@needs_tensorflow
def test_the_onnx_file_is_plain(tmp_path: Path) -> None:
    usable("onnx")
    import onnx

    export_model(network("alexnet"), tmp_path / "a.onnx")
    model = onnx.load(tmp_path / "a.onnx")
    assert [each.domain for each in model.opset_import] == [""]
    shapes = {
        tensor.name: [d.dim_param or d.dim_value for d in tensor.type.tensor_type.shape.dim]
        for tensor in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {"picture": ["batch", "height", "width", 3], "output_0": ["batch", 5]}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    groups = [a.i for node in convolutions for a in node.attribute if a.name == "group"]
    assert sorted(groups) == [1, 1, 2]  # fc6 is a matrix product
    # The picture is brought to channels first once, the last map back and forth for fc6's matrix
    # product, and no weight is rearranged at run time.
    assert sum(node.op_type == "Transpose" for node in model.graph.node) <= 3


# ---- nothing wrong is left behind --------------------------------------------------------------


def damaged(model: keras.Model) -> keras.Model:
    """With the kernel of one convolution mirrored: every shape and every sum stays."""
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    kernel = twin.get_layer("conv2").kernel
    kernel.assign(keras.ops.flip(kernel, axis=0))
    return twin


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_with_other_weights_is_noticed(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = usable(form)
    model = network("flatten")
    wrong = dataclasses.replace(genuine, write=lambda m, path: genuine.write(damaged(m), path))
    monkeypatch.setitem(FORMATS, form, wrong)
    with pytest.raises(ExportError, match="answers otherwise than Keras"):
        export_model(model, tmp_path / f"m{genuine.ending}")
    assert list(tmp_path.iterdir()) == []
    export_model(model, tmp_path / f"m{genuine.ending}", verify=False)
    assert list(tmp_path.iterdir()) != []


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda outputs: [o * 1.01 for o in outputs], "at 24x30 pixels answers otherwise"),
        (lambda outputs: [o[:1] for o in outputs], "by inf of the largest value"),
        (lambda outputs: [o * np.nan for o in outputs], "by inf of the largest value"),
        (lambda outputs: [1 / 0], "at 24x30 pixels cannot run .* ZeroDivisionError"),
        (lambda outputs: [o if len(o) == 2 else o + 1 for o in outputs], "at 45x45 pixels answers"),
    ],
)
def test_wrong_answers_are_noticed(
    change: Callable, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = FORMATS["keras"]

    def open_wrong(path: Path, names: list[str]) -> Any:
        run = genuine.open(path, names)
        return lambda arrays: change(run(arrays))

    path = tmp_path / "m.keras"
    path.write_text("what was there before")
    monkeypatch.setitem(FORMATS, "keras", dataclasses.replace(genuine, open=open_wrong))
    with pytest.raises(ExportError, match=text):
        export_model(network("flatten"), path)
    assert path.read_text() == "what was there before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("\x1b[1mno\x1b[0m\nsuch op")])
def test_an_interrupted_export_leaves_what_was_there(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(model: keras.Model, path: Path) -> None:
        path.write_text("half")
        raise error

    wrong = dataclasses.replace(FORMATS["keras"], write=interrupted)
    monkeypatch.setitem(FORMATS, "keras", wrong)
    (tmp_path / "m.keras").write_text("before")
    with pytest.raises((KeyboardInterrupt, ExportError)) as caught:
        export_model(network("flatten"), tmp_path / "m.keras")
    if isinstance(error, RuntimeError):
        assert str(caught.value).endswith("cannot hold flatten_valid_fcn: RuntimeError: no")
    assert [p.name for p in tmp_path.iterdir()] == ["m.keras"]
    assert (tmp_path / "m.keras").read_text() == "before"


@needs_tensorflow
def test_a_savedmodel_replaces_a_savedmodel_only(tmp_path: Path) -> None:
    folder = tmp_path / "served"
    folder.mkdir()  # an empty folder may be used
    export_model(network("average"), folder, sizes=[(24, 24)])
    (folder / "old").write_text("x")
    export_model(network("average"), folder, sizes=[(24, 24)])
    assert not (folder / "old").exists()
    assert (folder / "saved_model.pb").is_file()
    assert list(tmp_path.iterdir()) == [folder]
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("x")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match=r"holds something other than a SavedModel: .*photos"):
        export_model(network("average"), tmp_path / "photos")
    with pytest.raises(ValueError, match="A folder is to be written, and this is a file"):
        export_model(network("average"), tmp_path / "file")
    with pytest.raises(ValueError, match="A file is to be written, and this is a folder"):
        export_model(network("average"), folder.rename(tmp_path / "m.keras"))


# ---- what is refused ---------------------------------------------------------------------------


def test_formats_by_ending_and_by_name(tmp_path: Path) -> None:
    assert get_format(Path("a/m.keras")).name == "keras"
    assert get_format(Path("a/m")).name == "savedmodel"
    assert get_format(Path("v1.2"), "savedmodel").name == "savedmodel"
    with pytest.raises(ValueError, match=r"must end in one of .keras, .*\.tflite. Received: m\.pb"):
        get_format(Path("m.pb"))
    with pytest.raises(ValueError, match=r"'onnx' must have \.onnx\. Received: m"):
        get_format(Path("m"), "onnx")
    with pytest.raises(ValueError, match=r"'savedmodel' must have no ending. Received: m\.onnx"):
        get_format(Path("m.onnx"), "savedmodel")
    with pytest.raises(ValueError, match=r"`format` must be one of keras, .* Received: 'caffe'"):
        get_format(Path("m"), "caffe")


@pytest.mark.parametrize(
    ("ending", "module", "title"),
    [
        (".onnx", "tf2onnx", "ONNX"),
        (".xml", "openvino", "OpenVINO"),
        (".tflite", "ai_edge_litert", "LiteRT"),
    ],
)
def test_without_the_extra(
    ending: str, module: str, title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for other in FORMATS[get_name(ending)].modules:
        monkeypatch.setitem(sys.modules, other, type(sys)(other))
    monkeypatch.setitem(sys.modules, module, None)
    text = rf'^{title} needs the package {module}, .*: pip install "fcnkeras\[export\]"$'
    with pytest.raises(ImportError, match=text):
        export_model(network("flatten"), tmp_path / f"m{ending}")
    assert list(tmp_path.iterdir()) == []


def get_name(ending: str) -> str:
    return next(form.name for form in FORMATS.values() if form.ending == ending)


def test_other_backends_write_keras_files_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if TENSORFLOW:
        monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ExportError, match="SavedModel is written on Keras' TensorFlow backend"):
        export_model(network("flatten"), tmp_path / "m")
    assert export_model(network("flatten"), tmp_path / "m.keras").worst == pytest.approx(
        0, abs=1e-5
    )


def test_models_that_cannot_be_exported(tmp_path: Path) -> None:
    fixed = networks.build(networks.flatten_valid)
    text = r"make flatten_valid fully convolutional .* \[\(None, 24, 30, 3\)\]"
    with pytest.raises(ValueError, match=text):
        export_model(fixed, tmp_path / "m.keras")
    with pytest.raises(TypeError, match=r"A Keras model is needed. Received: str"):
        export_model("model.keras", tmp_path / "m.keras")  # type: ignore[arg-type]
    for sizes in ([(24, 29)], [(23, 40), (40, 40)], []):
        with pytest.raises(ValueError, match=r"`sizes` must be .* of at least 24x30 pixels"):
            export_model(network("flatten"), tmp_path / "m.keras", sizes=sizes)
    picture = keras.Input((None, None, 3), batch_size=2)
    assert not has_free_size(keras.Model(picture, layers.GlobalMaxPooling2D()(picture)))
    assert list(tmp_path.iterdir()) == []


# ---- the parts ---------------------------------------------------------------------------------


def test_largest_difference() -> None:
    reference = [np.array([[1.0, 10.0], [0.5, 0.0]]), np.array([[4.0], [2.0]])]
    same = [value.copy() for value in reference]
    assert check.largest_difference(same, reference) == 0
    same[0][1, 1] = 0.005  # of 0.5, the largest of its picture: 1 %
    assert check.largest_difference(same, reference) == pytest.approx(0.01)
    same[1][0] = 5  # of 4
    assert check.largest_difference(same, reference) == pytest.approx(0.25)
    assert check.largest_difference([r[:1] for r in reference], reference) == np.inf
    assert check.largest_difference([reference[0] * np.nan, reference[1]], reference) == np.inf
    # A picture on which Keras itself is not finite is left out, but not all of them.
    partly = [np.array([[np.nan], [2.0]])]
    assert check.largest_difference([np.array([[1.0], [1.0]])], partly) == 0.5
    assert check.largest_difference(partly, [partly[0] * np.nan]) == np.inf
    with pytest.raises(ValueError, match="zip"):
        check.largest_difference(same[:1], reference)


def test_sizes_and_pictures_to_compare() -> None:
    assert check.default_sizes(network("flatten")) == ((24, 30), (45, 45), (32, 50))
    assert check.default_sizes(network("crops")) == ((24, 30), (45, 45), (32, 50))
    picture = keras.Input((None, None, 3))
    free = keras.Model(picture, layers.GlobalMaxPooling2D()(picture))
    assert check.default_sizes(free) == ((256, 256), (384, 384), (342, 427))
    arrays = check.make_inputs(network("masked"), (40, 60), 2)
    assert arrays["picture"].shape == (2, 40, 60, 3)
    first, second = arrays["picture"]
    assert (first.min(), first.max()) == (0, 255)
    assert -6 < second.min() < -2 < 2 < second.max() < 6
    assert arrays["mask"].dtype == bool
    assert arrays["mask"].sum() == 40 * 45 + 40 * 60
    assert check.make_inputs(network("crops"), (40, 60), 2)["crops"].shape == (2, 3, 40, 60, 3)


def test_the_report_says_what_a_comparison_is_worth(tmp_path: Path) -> None:
    report = export_model(network("average"), tmp_path / "m.keras")
    lines = str(report).splitlines()
    assert lines[0].startswith(f"keras: {tmp_path / 'm.keras'}, 0.0 MB, ")
    assert lines[1].startswith("compared with Keras: largest relative difference ")
    assert [line.split(":")[0] for line in lines[2:]] == ["  24x24", "  36x36", "  32x40"]
    picture = keras.Input((None, None, 3))
    constant = layers.GlobalMaxPooling2D()(layers.Rescaling(0, offset=1)(picture))
    report = export_model(keras.Model(picture, constant), tmp_path / "c.keras", sizes=[(8, 8)])
    assert report.variation == 0
    assert str(report).endswith("so that this comparison proves little.")
    report = export_model(network("average"), tmp_path / "m.keras", verify=False)
    assert report.worst is None
    assert str(report).endswith("not compared with Keras")


@needs_tensorflow
def test_a_savedmodel_holds_every_weight_once(tmp_path: Path) -> None:
    import tensorflow as tf

    export_model(network("flatten"), tmp_path / "served", verify=False)
    variables = tf.train.list_variables(str(tmp_path / "served" / "variables" / "variables"))
    shapes = sorted(tuple(shape) for name, shape in variables if name.endswith("VARIABLE_VALUE"))
    assert shapes == sorted(tuple(weight.shape) for weight in network("flatten").weights)


@needs_tensorflow
def test_half_precision_is_allowed_more(tmp_path: Path) -> None:
    assert not check.is_half(network("average"))
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = to_fcn(networks.build(networks.average_valid))
    finally:
        keras.config.set_dtype_policy("float32")
    assert check.is_half(model)
    assert export_model(model, tmp_path / "served").tolerance == pytest.approx(0.05)
