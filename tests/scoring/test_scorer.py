"""A model with its feeder and engine: named results, the same from every engine."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

import fcnkeras
from fcnkeras import feeders, to_fcn
from fcnkeras.models.shared_crops import shared_crop_model
from fcnkeras.scoring import converted, scorer
from fcnkeras.scoring.engines import KerasEngine
from fcnkeras.scoring.scorer import Scorer, load_model
from fcnkeras.tasks.classes import ClassTask, LabelsTask
from fcnkeras.tasks.heads import task_model
from fcnkeras.tasks.hue import HueTask
from fcnkeras.tasks.schema import Schema
from fcnkeras.tasks.scores import DistributionTask, ScoreTask

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None or keras.backend.backend() != "tensorflow",
    reason="needs OpenVINO and Keras on TensorFlow",
)


def strong(model, seed=0):
    """The model with weights by which outputs vary."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(rng.normal(0, 0.5 if weight.shape[-1:] == (3,) else 0.3, weight.shape))
    return model


def classifier(size=(32, 32), classes=3, activation="softmax"):
    picture = keras.Input((*size, 3), name="picture")
    x = layers.Rescaling(1 / 127.5, -1)(picture)
    x = layers.Conv2D(8, 3, strides=2, activation="relu")(x)
    x = layers.Conv2D(8, 3, activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    outputs = layers.Dense(classes, activation=activation, name="answer")(x)
    return strong(keras.Model(picture, outputs, name="small"))


def attributes(feeding=("native", 48)):
    picture = keras.Input((None, None, 3))
    x = layers.Rescaling(1 / 127.5, -1)(picture)
    x = layers.Conv2D(8, 3, strides=2, activation="relu", padding="same")(x)
    base = keras.Model(picture, layers.Conv2D(8, 3, padding="same", activation="relu")(x))
    schema = Schema(
        "all",
        (
            ScoreTask("contrast", low=1, high=10),
            ClassTask("style", names=("flat", "rough", "path")),
            LabelsTask("signs", names=("sun", "moon")),
            DistributionTask("votes"),
            HueTask("colour"),
        ),
    )
    return strong(task_model(base, schema, feeding=feeding))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(1)
    paths = []
    for number, size in enumerate([(64, 48), (48, 64), (90, 60), (61, 33), (50, 50), (160, 40)]):
        blocks = Image.fromarray(rng.integers(0, 256, (5, 7, 3), "uint8")).resize(size)
        paths.append(folder / f"{number}.png")
        blocks.save(paths[-1])
    return paths


def reference(model, path, feeder, size):
    """The softmax of the mean logits of the crops, with NumPy behind the network's vector."""
    with Image.open(path) as image:
        fed = feeders.get_feeder(feeder)(image, size).arrays.astype("float32")
    vectors = keras.Model(model.input, model.layers[-2].output)(fed)
    kernel, bias = (keras.ops.convert_to_numpy(w) for w in model.layers[-1].weights)
    logits = (keras.ops.convert_to_numpy(vectors) @ kernel + bias).mean(axis=0)
    shares = np.exp(logits - logits.max())
    return shares / shares.sum()


@pytest.mark.parametrize("feeder", ["squash", "crop", "pad", "multicrop"])
def test_a_classifier_of_one_size(pictures, feeder):
    model = classifier()
    found = Scorer(model, feeder=feeder, engine="keras", names=["a", "b", "c"], every=True)
    assert (found.feeder, found.size) == (feeder, 32)
    names = [name for name, _ in found.columns]
    assert names == ["class", "probability", "class_a", "class_b", "class_c"]
    for path in pictures:
        expected = reference(model, path, feeder, 32)
        result = found.score(path)
        assert result["class"] == "abc"[expected.argmax()]
        values = [result["class_a"], result["class_b"], result["class_c"]]
        np.testing.assert_allclose(values, expected, atol=1e-5)
        assert result["probability"] == max(values)


@pytest.mark.parametrize("engine", ["keras", pytest.param("openvino", marks=needs_openvino)])
def test_crops_may_share_one_pass(pictures, engine):
    fcn = to_fcn(classifier(), pooling="avg")
    options = {"feeder": "multicrop", "engine": engine, "every": True}
    exact = Scorer(fcn, **options)
    shared = Scorer(fcn, **options, share_crops="all")
    for path in pictures:
        with Image.open(path) as image:
            fed = feeders.native(image.convert("RGB"), shared.size).arrays.astype("float32")
        expected = keras.ops.convert_to_numpy(shared_crop_model(fcn)(fed))[0]
        result = shared.score(path)
        values = [result[f"class_{number}"] for number in range(3)]
        np.testing.assert_allclose(values, expected, atol=1e-5)
    assert shared.settings != exact.settings
    with pytest.raises(ValueError, match=r"goes with multicrop\. Received: crop"):
        Scorer(fcn, feeder="crop", share_crops="all")
    with pytest.raises(ValueError, match="`until` must name a layer before the pooling"):
        Scorer(fcn, feeder="multicrop", share_crops="no_such_layer")


def test_pictures_of_all_kinds(pictures):
    found = Scorer(classifier(), engine="keras")
    expected = found.score(str(pictures[0]))
    assert isinstance(expected["class"], int)
    with Image.open(pictures[0]) as image:
        pixels = np.asarray(image)
        assert found.score(image) == expected
    assert found.score(pixels) == expected
    assert found.score(pixels.astype("float32")) == expected
    with pytest.raises(ValueError, match=r"Pixels are 0-255\. Received: float64 from"):
        found.score(pixels / 255)
    with pytest.raises(ValueError, match=r"A picture is \(height, width, 3\)"):
        found.score(pixels[None])
    with pytest.raises(fcnkeras.ImageError, match="no such file"):
        found.score("none.png")


def test_native_pictures_get_what_they_get_alone(pictures):
    fcn = to_fcn(classifier(), pooling="avg")
    found = Scorer(fcn, engine="keras", every=True)
    assert (found.feeder, found.size) == ("native", 32)
    for path in pictures:
        with Image.open(path) as image:
            arrays = feeders.native(image, 32).arrays.astype("float32")
        expected = keras.ops.convert_to_numpy(fcn(arrays))[0]
        result = found.score(path)
        np.testing.assert_allclose([result[f"class_{i}"] for i in range(3)], expected, atol=1e-5)


def test_a_model_of_tasks_knows_everything(pictures, tmp_path):
    model = attributes()
    model.save(tmp_path / "m.keras")
    found = fcnkeras.load_model(tmp_path / "m.keras", engine="keras")
    assert (found.feeder, found.size) == ("native", 48)
    result = found.score(pictures[0])
    schema_names = ["contrast", "style", "style_flat", "style_rough", "style_path"]
    assert list(result)[:5] == schema_names
    assert {"signs_sun", "votes_mean", "votes_10", "colour_degrees"} < set(result)
    with Image.open(pictures[0]) as image:
        arrays = feeders.native(image, 48).arrays.astype("float32")
    outputs = {k: keras.ops.convert_to_numpy(v)[0] for k, v in model(arrays).items()}
    assert result["contrast"] == pytest.approx(1 + 9 * outputs["contrast"][0], abs=1e-4)
    shares = outputs["votes"]
    assert result["votes_mean"] == pytest.approx((shares * np.arange(1, 11)).sum(), abs=1e-4)
    assert result["style"] == ("flat", "rough", "path")[outputs["style"].argmax()]
    assert list(map(type, (result["style"], result["contrast"]))) == [str, float]


def test_outputs_of_other_models(pictures):
    two = classifier(classes=4, activation=None)
    assert [c for c, _ in Scorer(two, engine="keras").columns] == ["class", "score"]
    one = classifier(classes=1, activation="sigmoid")
    result = Scorer(one, engine="keras").score(pictures[0])
    (name,) = result
    assert name == "answer"
    vector = one.layers[-2].output
    path = layers.Dense(1, name="path")(vector)
    kind = layers.Dense(3, activation="softmax", name="kind")(vector)
    several = keras.Model(one.input, {"path": path, "kind": kind})
    columns = Scorer(several, engine="keras").columns
    assert sorted(columns) == [
        ("kind", "index"),
        ("kind_probability", "number"),
        ("path_output", "number"),
    ]


@needs_openvino
@pytest.mark.parametrize(
    ("kind", "feeder"),
    [
        ("tasks", "pad"),
        *(
            pytest.param(kind, feeder, marks=pytest.mark.slow)
            for kind in ("classifier", "fcn", "tasks")
            for feeder in ("squash", "multicrop", "native", "pad")
            if (kind, feeder) not in (("tasks", "pad"), ("classifier", "native"))
        ),
    ],
)
def test_engines_agree(pictures, tmp_path, feeder, kind):
    make = {
        "classifier": classifier,
        "fcn": lambda: to_fcn(classifier(), pooling="max"),
        "tasks": attributes,
    }[kind]
    make().save(tmp_path / "m.keras")
    options = {"feeder": feeder, "every": kind != "tasks"}
    keras_one, openvino = (
        load_model(tmp_path / "m.keras", engine=engine, **options) for engine in ("keras", "auto")
    )
    assert (openvino.engine.name, openvino.engine_note) == ("openvino", "")
    for path in pictures:
        expected, found = keras_one.score(path), openvino.score(path)
        assert list(found) == list(expected)
        for name, value in expected.items():
            if isinstance(value, float):
                assert found[name] == pytest.approx(value, rel=1e-4, abs=1e-4)


@pytest.mark.slow
@needs_openvino
def test_the_converted_model_is_kept_beside_the_file(pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "m.keras"
    classifier().save(path)
    first = load_model(path).score(pictures[0])

    def refuse(*_):
        raise AssertionError("converted again")

    with monkeypatch.context() as patch:
        patch.setattr(converted, "convert", refuse)
        assert load_model(path).score(pictures[0]) == first
    (folder,) = tmp_path.glob("m.keras.openvino-*")
    assert sorted(p.name for p in folder.iterdir()) == ["model.bin", "model.xml"]
    (folder / "model.xml").write_text("damaged")
    assert load_model(path).score(pictures[0]) == first
    classifier(classes=4).save(path)
    assert load_model(path).engine.name == "openvino"
    (other,) = tmp_path.glob("m.keras.openvino-*")
    assert other != folder
    assert not (tmp_path / "cache").exists()
    # A folder that cannot be written.
    shutil.rmtree(other)
    real = converted.tempfile.mkdtemp

    def mkdtemp(dir, prefix):
        if Path(dir) == tmp_path:
            raise PermissionError
        return real(dir=dir, prefix=prefix)

    monkeypatch.setattr(converted.tempfile, "mkdtemp", mkdtemp)
    assert load_model(path).engine.name == "openvino"
    assert len(list((tmp_path / "cache" / "fcnkeras").iterdir())) == 1


def test_auto_says_why_not_openvino(pictures, monkeypatch):
    monkeypatch.setattr(converted.importlib.util, "find_spec", lambda name: None)
    found = Scorer(classifier())
    assert isinstance(found.engine, KerasEngine)
    assert found.engine_note.startswith("OpenVINO is not installed")
    with pytest.raises(scorer.EngineError, match="cannot be used: OpenVINO is not installed"):
        Scorer(classifier(), engine="openvino")


@needs_openvino
def test_what_differs_is_not_taken(monkeypatch):
    monkeypatch.setattr(converted, "TOLERANCE", -1.0)
    found = Scorer(classifier())
    assert found.engine.name == "keras"
    assert "OpenVINO answers otherwise than Keras" in found.engine_note


def test_what_the_results_depend_on(tmp_path):
    model = classifier()
    base = Scorer(model, engine="keras").settings
    assert Scorer(model, engine="keras").settings == base
    others = [
        Scorer(strong(classifier(), seed=1), engine="keras"),
        Scorer(model, engine="keras", feeder="crop"),
        Scorer(model, engine="keras", names=["a", "b", "c"]),
        Scorer(model, engine="keras", preprocessing="tf"),
        Scorer(to_fcn(model), engine="keras", size=64),
    ]
    assert len({json.dumps(other.settings) for other in [*others]} | {json.dumps(base)}) == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "abacus"}, "`engine` must be one of"),
        ({"feeder": "bend"}, "the feeder must be one of"),
        ({"feeder": "native"}, "takes pictures of 32x32 only"),
        ({"size": 48}, "takes pictures of 32x32 only"),
        ({"names": ["a", "b"]}, "must be 3, all different. Received: 2"),
        ({"names": ["a", "b", "b"]}, "Received: 3, 2 different"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(ValueError, match=message):
        Scorer(classifier(), **{"engine": "keras", **options})


def test_models_that_do_not_fit(tmp_path):
    with pytest.raises(ValueError, match="knows its classes"):
        Scorer(attributes(), names=["a"])
    with pytest.raises(ValueError, match="one vector for each picture"):
        Scorer(to_fcn(classifier(), pooling=None))
    with pytest.raises(ValueError, match="needs a size of 32 at least"):
        Scorer(to_fcn(classifier()), size=20)
    with pytest.raises(ValueError, match="No such model file"):
        load_model(tmp_path / "none.keras")


@pytest.mark.parametrize("ending", ["keras", "h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_a_model_file_runs_no_code(tmp_path, ending):
    mark = tmp_path / "ran"
    picture = keras.Input((32, 32, 3))
    code = eval(f"lambda pixels: (open({str(mark)!r}, 'w').close(), pixels)[1]")
    x = layers.Lambda(code)(picture)
    model = keras.Model(picture, layers.GlobalAveragePooling2D()(x))
    mark.unlink()
    model.save(tmp_path / f"m.{ending}")
    with pytest.raises(ValueError, match="Keras cannot load a model"):
        load_model(tmp_path / f"m.{ending}", engine="keras")
    assert not mark.exists()
