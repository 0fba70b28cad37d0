"""`fcnkeras convert`: the proof, and one sentence for every file that is no such model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import galleries
import keras
import numpy as np
import pytest
from keras import layers
from test_cli import assert_one_sentence, call, tiny  # noqa: F401 - a fixture for every test

# Keras' own reading of TensorFlow's variables, under NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    keras.utils.set_random_seed(0)
    galleries.TinyNet(classes=4).save(tmp_path / "model.keras")
    return tmp_path / "model.keras"


def test_convert(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "fcn.keras"
    result = call("convert", model, "--out", out)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert "Conv2D" in result.stdout  # the plan
    assert "compared at 32x32 pixels: largest relative difference" in result.stdout  # the proof
    assert result.stdout.splitlines()[-1] == f"written: {out}"
    assert [path.name for path in out.parent.iterdir()] == ["fcn.keras"]
    fcn, source = (keras.models.load_model(path) for path in (out, model))
    pictures = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    np.testing.assert_allclose(fcn(pictures), source(pictures), atol=1e-5)
    assert fcn(np.zeros((1, 48, 70, 3), "float32")).shape == (1, 4)


def test_convert_to_a_map(model: Path, tmp_path: Path) -> None:
    assert call("convert", model, "--out", tmp_path / "f.keras", "--pooling", "none").exit_code == 0
    fcn = keras.models.load_model(tmp_path / "f.keras")
    assert fcn(np.zeros((1, 48, 64, 3), "float32")).shape == (1, 2, 3, 4)


def test_convert_as_json(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "fcn.keras"
    result = call("convert", model, "--out", out, "--json", "--pooling", "avg")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["written"] == str(out)
    assert told["plan"]["native"] == [32, 32]
    assert told["plan"]["pooling"] == "avg"
    becomes = {step["layer"]: step["becomes"] for step in told["plan"]["steps"]}
    assert becomes["fc1"] == "Conv2D"
    assert told["certificate"]["size"] == [32, 32]
    assert max(told["certificate"]["outputs"]) < 1e-5


def test_legacy_files_and_files_of_weights(model: Path, tmp_path: Path) -> None:
    source = keras.models.load_model(model)
    source.save(tmp_path / "old.h5")
    source.save_weights(tmp_path / "w.weights.h5")
    pictures = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    weights = (tmp_path / "w.weights.h5", "--network", "tiny", "--classes", 4)
    for arguments in ((tmp_path / "old.h5",), weights):
        out = tmp_path / "fcn.keras"
        result = call("convert", *arguments, "--out", out)
        assert result.exit_code == 0, result.output
        fcn = keras.models.load_model(out)
        np.testing.assert_allclose(fcn(pictures), source(pictures), atol=1e-5)
        out.unlink()
    # "tiny" was trained on -1 to 1, which the model itself can make of pixels.
    result = call("convert", *weights, "--include-preprocessing", "--out", out)
    assert result.exit_code == 0, result.output
    fcn = keras.models.load_model(out)
    np.testing.assert_allclose(fcn(pictures * 127.5 + 127.5), source(pictures), atol=1e-4)


def test_weights_that_are_not_the_network_s(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "w.weights.h5"
    keras.models.load_model(model).save_weights(file)
    (tmp_path / "broken.h5").write_bytes(b"\x89HDF\r\n\x1a\nbroken")
    keras.Sequential([keras.Input((4,)), layers.Dense(3)]).save_weights(tmp_path / "o.weights.h5")
    shutil.copy(tmp_path / "o.weights.h5", tmp_path / "renamed.h5")
    named = ("--network", "tiny", "--classes", 4)
    for arguments, texts in (
        ((file,), ("holds weights only", "--network NAME")),
        ((tmp_path / "renamed.h5",), ("Keras cannot load a model from", "No model config")),
        ((tmp_path / "broken.h5",), ("Keras cannot load a model from", "broken.h5")),
        ((file, "--network", "Huge"), ("Unknown network: 'Huge'", "VGG16")),
        ((file, "--network", "tiny"), ("do not fit Tiny with 1000 classes",)),
        ((tmp_path / "o.weights.h5", *named), ("do not fit Tiny with 4 or 1000 classes",)),
        ((tmp_path / "broken.h5", *named), ("do not fit Tiny", "broken.h5")),
        ((model, *named), ("A file of weights must end in .h5 or .hdf5 or .npy.",)),
        ((model, "--classes", 4), ("--classes goes with --network",)),
        ((model, "--include-preprocessing"), ("--include-preprocessing goes with --network",)),
        ((tmp_path, "--network", "tiny"), ("No such model file",)),
    ):
        for command in ("convert", "export"):
            result = call(command, *arguments, "--out", tmp_path / "fcn.keras")
            assert_one_sentence(result, *texts)
            assert not (tmp_path / "fcn.keras").exists()


@keras.saving.register_keras_serializable("test_cli_convert")
class Subclassed(keras.Model):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dense = layers.Dense(2)

    def call(self, x: Any) -> Any:
        return self.dense(x)


def save(folder: Path, kind: str) -> Path:
    """A file that cannot be converted."""
    path = folder / f"{kind}.keras"
    picture = keras.Input((8, 8, 3))
    if kind == "text":
        path.write_text("no model")
    elif kind == "zip":
        path.write_bytes(b"PK\x05\x06" + bytes(18))
    elif kind == "subclassed":
        subclassed = Subclassed()
        subclassed(np.zeros((1, 4), "float32"))
        subclassed.save(path)
    elif kind == "recurrent":
        x = layers.LSTM(3, name="memory")(layers.Reshape((8, 24), name="reshape")(picture))
        keras.Model(picture, layers.Dense(2)(x)).save(path)
    elif kind == "lambda":
        x = layers.Flatten()(layers.Lambda(lambda x: x * 2)(picture))
        keras.Model(picture, layers.Dense(2)(x)).save(path)
    elif kind == "unknown":

        class Unknown(layers.Layer):
            def call(self, x: Any) -> Any:
                return x

        keras.Model(picture, layers.Dense(2)(layers.Flatten()(Unknown()(picture)))).save(path)
    return path


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        ("missing", ("No such model file", "missing.keras")),
        ("text", ("Keras cannot load a model from", "text.keras")),
        ("zip", ("Keras cannot load a model from", "zip.keras")),
        ("lambda", ("Keras cannot load a model from", "lambda.keras")),
        ("unknown", ("Keras cannot load a model from", "Could not locate class 'Unknown'")),
        ("subclassed", ("is a Subclassed", "only Functional and Sequential")),
        ("recurrent", ("'reshape'", "reorders a map")),
    ],
)
def test_models_that_cannot_be_converted(tmp_path: Path, kind: str, texts: tuple[str, ...]) -> None:
    path = save(tmp_path, kind)
    out = tmp_path / "out" / "fcn.keras"
    assert_one_sentence(call("convert", path, "--out", out), *texts)
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and p != path]


def test_bad_arguments_of_convert(model: Path, tmp_path: Path) -> None:
    result = call("convert", model, "--out", tmp_path / "f.h5")
    assert_one_sentence(result, "--out must end in .keras. Received:", "f.h5")
    for option in ("pooling", "pool-on", "window"):
        result = call("convert", model, "--out", tmp_path / "f.keras", f"--{option}", "odd")
        assert_one_sentence(result, "'odd'")
    result = call("convert", model)
    assert result.exit_code == 2
    assert "Missing option '--out'" in result.stderr
