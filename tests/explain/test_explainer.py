"""Pictures of any shape: what lights up lights up at its place in the original."""

import keras
import networks
import numpy as np
import pytest
from keras import layers
from networks import build
from PIL import Image
from squares import bright, lights_up, square

from fcnkeras import to_fcn
from fcnkeras.explain import METHODS, Explainer
from fcnkeras.images import ImageError
from fcnkeras.tasks.classes import ClassTask
from fcnkeras.tasks.heads import task_model
from fcnkeras.tasks.hue import HueTask
from fcnkeras.tasks.schema import Schema
from fcnkeras.tasks.scores import DistributionTask, ScoreTask

SIDE = 64
SIZES = {"landscape": (150, 230), "portrait": (230, 150), "strip": (60, 300), "square": (90, 90)}
QUICK = {"smoothgrad": {"samples": 3, "noise": 0.05}, "integrated-gradients": {"steps": 16}}


@pytest.fixture(scope="module")
def models():
    fixed = bright(keras.Input((SIDE, SIDE, 3)))
    return {
        "fixed": fixed,
        "flatten": bright(keras.Input((SIDE, SIDE, 3)), "flatten"),
        "point": to_fcn(fixed, window="point", pooling="avg"),
        "max": to_fcn(fixed, window="point", pooling="max"),
        "free": bright(keras.Input((None, None, 3))),
    }


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("feeder", ["squash", "crop", "pad", "multicrop", "native"])
def test_a_bright_square_lights_up_at_its_place(models, feeder, shape):
    height, width = SIZES[shape]
    at = (0.3, 0.54) if feeder == "crop" else (0.4, 0.7)
    at = at if width > height else at[::-1]
    pixels, box = square(height, width, at)
    model = models["point" if feeder in ("native", "pad") else "fixed"]
    found = Explainer(model, feeder=feeder, size=SIDE).explain(
        Image.fromarray(pixels), "grad-cam", 1
    )
    assert found.heat.shape == (height, width)
    assert found.heat.dtype == np.float32
    assert lights_up(found.heat, box)
    # Negative control: the same map upside down does not.
    assert shape == "square" or not lights_up(found.heat[::-1, ::-1], box)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_the_square(models, method):
    pixels, box = square(150, 230, (0.35, 0.7))
    found = Explainer(models["point"], names=("dark", "bright")).explain(
        Image.fromarray(pixels), method, "bright", **QUICK.get(method, {})
    )
    assert found.fed.arrays.shape == (1, 64, 99, 3)
    assert (found.method, found.target) == (method, "bright")
    assert 0 < found.output < 1
    assert found.heat.shape == (150, 230)
    assert lights_up(found.heat, box)
    adds_up = method in ("cam", "class-map", "attribute-map", "integrated-gradients")
    assert (found.completeness is not None) == ((adds_up and method != "cam") or method == "cam")


def test_max_pooling_tells_the_place_that_decided(models):
    pixels, (top, left, bottom, right) = square(230, 150, (0.7, 0.3))
    for feeder in ("native", "multicrop", "pad"):
        found = Explainer(models["max"], feeder=feeder).explain(
            Image.fromarray(pixels), "class-map", 1
        )
        y, x = found.decided
        assert top <= y <= bottom
        assert left <= x <= right


def test_parts_of_an_attribute_map_add_up(models):
    pixels, _ = square(150, 230)
    found = Explainer(models["free"], size=100).explain(Image.fromarray(pixels), "attribute-map", 1)
    assert sum(found.parts.values()) + found.bias == pytest.approx(found.score, rel=1e-4)
    assert found.bias == pytest.approx(-0.2, abs=1e-5)


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_turned_file(models, tmp_path, orientation):
    pixels, (top, left, bottom, right) = square(150, 230, (0.3, 0.75))
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    found = Explainer(models["point"]).explain(tmp_path / "turned.png", "saliency", 1)
    turned = {
        3: ((150, 230), (150 - bottom, 230 - right, 150 - top, 230 - left)),
        6: ((230, 150), (left, 150 - bottom, right, 150 - top)),
        8: ((230, 150), (230 - right, top, 230 - left, bottom)),
    }
    size, box = turned[orientation]
    assert found.heat.shape == size
    assert lights_up(found.heat, box)


def wrapped(model):
    """A Sequential model around another one."""
    outer = keras.Sequential([keras.Input((SIDE, SIDE, 3)), model], name="outer")
    assert outer(np.zeros((1, SIDE, SIDE, 3))).shape == (1, 2)
    return outer


def several(model):
    score = layers.Dense(1, activation="tanh", name="mark")
    pooled = layers.GlobalAveragePooling2D()(model.get_layer("last").output)
    both = keras.Model(model.input, [model.output, score(pooled)], name="several")
    score.set_weights([np.array([[30.0], [-1.0]]), np.zeros(1)])
    return both


def half():
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        return bright(keras.Input((SIDE, SIDE, 3)))
    finally:
        keras.mixed_precision.set_global_policy(before)


@pytest.mark.parametrize("method", ["saliency", "guided-backpropagation", "grad-cam", "cam"])
def test_nested_sequential_several_outputs_and_half_precision(models, method):
    pixels, box = square(150, 230, (0.35, 0.7))
    image = Image.fromarray(pixels)
    cases = [(wrapped(models["fixed"]), 1), (several(models["fixed"]), "mark"), (half(), 1)]
    for model, target in cases:
        found = Explainer(model, feeder="squash").explain(image, method, target)
        assert lights_up(found.heat, box), model.name
    plain = Explainer(models["fixed"]).explain(image, method, 1)
    nested = Explainer(wrapped(models["fixed"])).explain(image, method, 1)
    np.testing.assert_allclose(nested.heat, plain.heat, rtol=1e-4, atol=1e-6)
    mixed = Explainer(half()).explain(image, method, 1)
    assert np.abs(mixed.heat - plain.heat).max() < 0.05 * np.abs(plain.heat).max()


def test_preprocessing_is_put_before_the_model():
    model = build(networks.average_valid)
    image = Image.fromarray(square(60, 90)[0])
    explainer = Explainer(model, preprocessing="caffe")
    found = explainer.explain(image, "saliency", 2)
    x = np.asarray(found.fed.arrays, "float32")[..., ::-1] - [103.939, 116.779, 123.68]
    expected = networks.to_numpy(model(x))[0, 2]
    assert found.output == pytest.approx(expected, rel=1e-4)


def test_targets_in_words(models):
    image = Image.fromarray(square(90, 90)[0])
    explainer = Explainer(several(models["fixed"]), names={"kind": ("dark", "bright")})
    for target, words in [
        ("top", "kind: bright"),
        ("kind:dark", "kind: dark"),
        ("Bright", "kind: bright"),
        ("kind:0", "kind: dark"),
        ("mark", "mark"),
        ("kind:mean", "mean of kind"),
        ("kind:hue=30", "kind near 30°"),
    ]:
        assert explainer.explain(image, "saliency", target).target == words
    with pytest.raises(ValueError, match=r"A target must be top, .* \(kind, mark\)\. Received: 'c"):
        explainer.explain(image, "saliency", "cat")
    with pytest.raises(ValueError, match=r"must be from 0 to 1\. Received: 7"):
        explainer.explain(image, "saliency", "kind:7")
    with pytest.raises(ValueError, match=r"An output must be one of kind, mark\. Received: None"):
        explainer.explain(image, "saliency", 1)


def test_mistakes_are_told_in_one_sentence(models, tmp_path):
    with pytest.raises(ValueError, match=r"takes pictures of 64x64 only.*Received: native, None"):
        Explainer(models["fixed"], feeder="native")
    with pytest.raises(ValueError, match=r"takes pictures of 64x64 only.*Received: crop, 99"):
        Explainer(models["fixed"], feeder="crop", size=99)
    with pytest.raises(ValueError, match="feeder must be one of"):
        Explainer(models["fixed"], feeder="bend")
    with pytest.raises(ValueError, match=r"A method must be one of saliency.*Received: 'magic'"):
        Explainer(models["fixed"]).explain(Image.new("RGB", (9, 9)), "magic")
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(ImageError):
        Explainer(models["fixed"]).explain(tmp_path / "broken.jpg")


def task_network(head="multi_level"):
    base = keras.Sequential([keras.Input((None, None, 3)), layers.Rescaling(1 / 255)], name="base")
    for number in range(2):
        base.add(layers.Conv2D(4, 3, strides=2, activation="relu", name=f"block{number}"))
    keras.utils.set_random_seed(3)
    tasks = (
        ClassTask("artist", names=("Monet", "Manet", "Dürer")),
        ScoreTask("light"),
        HueTask("colour"),
        DistributionTask("mark"),
    )
    levels = ("block0", "block1") if head == "multi_level" else None
    model = task_model(base, Schema("paintings", tasks), head, levels=levels, learned_weights=True)
    for weight in model.weights:
        if len(weight.shape) > 1:
            weight.assign(np.random.default_rng(len(weight.path)).normal(size=weight.shape))
    return model


@pytest.mark.parametrize("feeder", ["native", "pad", "multicrop"])
@pytest.mark.parametrize("target", ["artist:Monet", "light", "colour", "colour:hue=30"])
def test_models_of_tasks_know_their_names_and_add_up(target, feeder):
    explainer = Explainer(task_network(), feeder=feeder, size=40)
    found = explainer.explain(Image.fromarray(square(60, 90)[0]), "attribute-map", target)
    assert list(found.parts) == ["block0", "block1"]
    assert found.completeness < 1e-4
    assert sum(found.parts.values()) + found.bias == pytest.approx(found.score, rel=1e-4)
    if target == "light":
        assert 1 / (1 + np.exp(-found.score)) == pytest.approx(found.output, rel=1e-4)
    if target == "colour":  # the hue that was found, in which direction the answer is longest
        raw = networks.to_numpy(explainer.outputs(found.fed).scores[1])[0, :2]
        assert found.score == pytest.approx(np.hypot(*raw), rel=1e-3)
    assert explainer.explain(Image.new("RGB", (60, 90)), "saliency", "mark:mean").score > 1
