"""`fcnkeras export`: what it writes, what it says, and one sentence for every mistake."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import galleries
import keras
import numpy as np
import pytest
from keras import layers
from test_cli import assert_one_sentence, call, run, tiny  # noqa: F401 - a fixture for every test

from fcnkeras import export_model, to_fcn
from fcnkeras.export import exporter

# Keras' own reading of TensorFlow's variables, under NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier as a .keras file, as weights, and made fully convolutional."""
    folder = tmp_path_factory.mktemp("files")
    keras.utils.set_random_seed(0)
    model = galleries.TinyNet(classes=4)
    model.save(folder / "model.keras")
    model.save_weights(folder / "model.weights.h5")
    to_fcn(model, pooling="avg").save(folder / "fcn.keras")
    return folder


def test_a_fully_convolutional_model(files: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "served"
    result = call("export", files / "fcn.keras", "--out", out)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert re.fullmatch(rf"savedmodel: {re.escape(str(out))}, 0\.\d MB, .*", lines[0])
    assert lines[1].startswith("compared with Keras: largest relative difference ")
    sizes = [line.split(":")[0].strip() for line in lines[2:5]]
    assert sizes == ["32x32", "48x48", "43x54"]
    assert lines[-1] == f"written: {out}"
    assert list(out.parent.iterdir()) == [out]
    fcn = keras.models.load_model(files / "fcn.keras")
    served = keras.layers.TFSMLayer(out, call_endpoint="serve")
    pictures = np.random.default_rng(0).normal(size=(2, 40, 70, 3)).astype("float32")
    np.testing.assert_allclose(served(pictures), fcn(pictures), atol=1e-6)


def test_a_classifier_is_converted_first(files: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.b" / "v1.2"
    weights = ("--network", "tiny", "--classes", 4)
    for arguments in ((files / "model.keras",), (files / "model.weights.h5", *weights)):
        result = call(
            "export", *arguments, "--format", "savedmodel", "--size", "32x40", "--out", out,
            "--pooling", "none", "--json",
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        told = json.loads(result.stdout)
        assert told["format"] == "savedmodel"
        ((size, difference),) = told["differences"]
        assert size == [32, 40]
        assert 0 <= difference < 1e-5
        assert told["certificate"]["size"] == [32, 32]
        served = keras.layers.TFSMLayer(out, call_endpoint="serve")
        assert served(np.zeros((1, 48, 64, 3), "float32")).shape == (1, 2, 3, 4)
    result = call("export", files / "model.keras", "--out", tmp_path / "m.keras")
    assert "made fully convolutional, compared at 32x32 pixels" in result.stdout


def test_a_fully_convolutional_model_in_the_old_format(files: Path, tmp_path: Path) -> None:
    keras.models.load_model(files / "fcn.keras").save(tmp_path / "old.h5")
    result = call("export", tmp_path / "old.h5", "--out", tmp_path / "new.keras")
    assert result.exit_code == 0, result.output
    pictures = np.random.default_rng(0).normal(size=(1, 40, 70, 3)).astype("float32")
    new, fcn = (keras.models.load_model(f) for f in (tmp_path / "new.keras", files / "fcn.keras"))
    np.testing.assert_allclose(new(pictures), fcn(pictures), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".onnx", ".xml", ".tflite"])
def test_other_runtimes(ending: str, files: Path, tmp_path: Path) -> None:
    """In a process of its own: nothing but the report on either stream."""
    modules = {".onnx": "onnxruntime", ".xml": "openvino", ".tflite": "ai_edge_litert"}
    pytest.importorskip(modules[ending], reason='needs pip install "fcnkeras[export]"')
    out = tmp_path / f"m{ending}"
    done = run("-m", "fcnkeras", "export", files / "fcn.keras", "--out", out, "--size", "40x50")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 4
    assert done.stdout.endswith(f"written: {out}\n")
    assert out.is_file()


def test_what_the_command_refuses(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    fcn, out = files / "fcn.keras", tmp_path / "m.keras"
    for arguments, texts in (
        ((files / "none.keras", "--out", out), ("No such model file", "none.keras")),
        ((fcn, "--out", tmp_path / "m.pb"), ("must end in one of .keras", "Received:", "m.pb")),
        ((fcn, "--out", out, "--format", "onnx"), ("'onnx' must have .onnx",)),
        ((fcn, "--out", tmp_path / "m.onnx"), ("ONNX needs the package onnx", "[export]")),
        ((fcn, "--out", out, "--size", "40"), ("HEIGHTxWIDTH", "Received: '40'")),
        ((fcn, "--out", out, "--size", "40x31"), ("at least 32x32", "(40, 31)")),
        ((fcn, "--out", out, "--pool-on", "logits"), ("any size already: --pool-on",)),
        ((files / "model.keras", "--out", out, "--pooling", "odd"), ("'odd'",)),
        ((fcn, "--out", fcn / "m.keras"), ("--out must lead to a folder",)),
    ):
        assert_one_sentence(call("export", *arguments), *texts)
    picture = keras.Input((None, 8, 3))
    x = layers.LSTM(3)(layers.Reshape((-1, 24), name="lines")(picture))
    keras.Model(picture, x).save(tmp_path / "recurrent.keras")
    result = call("export", tmp_path / "recurrent.keras", "--out", out)
    assert_one_sentence(result, "'lines'")
    assert [path.name for path in tmp_path.iterdir()] == ["recurrent.keras"]


def test_a_difference_is_an_error(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def add_a_percent(model: Any, arrays: Any) -> list[Any]:
        return [1.01 * values for values in genuine(model, arrays)]

    genuine = exporter.call_model
    monkeypatch.setattr(exporter, "call_model", add_a_percent)
    result = call("export", files / "fcn.keras", "--out", tmp_path / "m.keras", "--json")
    assert_one_sentence(result, "answers otherwise than Keras, by 0.0099 of the largest value")
    assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_the_command_is_the_function(files: Path, tmp_path: Path) -> None:
    fcn = keras.models.load_model(files / "fcn.keras")
    report = export_model(fcn, tmp_path / "a.keras")
    told = json.loads(
        call("export", files / "fcn.keras", "--out", tmp_path / "b.keras", "--json").stdout
    )
    assert told["differences"] == [[list(size), worst] for size, worst in report.differences]
    assert told["variation"] == pytest.approx(report.variation)
