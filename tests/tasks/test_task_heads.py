"""Heads: what they compute, on any network and size, of each picture alone; fed and trained."""

import keras
import networks
import numpy as np
import pytest
from keras import layers

from fcnkeras import ConversionError, drop_top_dense, to_fcn
from fcnkeras.models.specs import SPECS, spec_of
from fcnkeras.tasks import heads
from fcnkeras.tasks.classes import ClassTask, GroupTask, LabelsTask
from fcnkeras.tasks.features import feature_model
from fcnkeras.tasks.hue import HueTask
from fcnkeras.tasks.outputs import GridPooling2D, TaskSchema, TaskWeight
from fcnkeras.tasks.schema import Schema
from fcnkeras.tasks.schemas import load_schema
from fcnkeras.tasks.scores import DistributionTask, ScoreTask

SMOKE = pytest.mark.smoke
SIDE = networks.SIDE
LEVELS = ("block1", "block2")
X = networks.random_pictures(8, SIDE, SIDE + 16)
# XLA compiles for longer than the tests run; JAX needs it.
JIT = {"jit_compile": "auto" if keras.backend.backend() == "jax" else False}
# On TensorFlow even a graph takes longer to make than a few steps without one.
QUICK = {"run_eagerly": True} if keras.backend.backend() == "tensorflow" else JIT
ARTISTS = ("degas", "manet", "monet", "renoir")
SCHEMA = Schema(
    "all_kinds",
    (
        ClassTask("artist", names=ARTISTS),
        GroupTask(
            "period",
            names=("impressionism", "realism"),
            of="artist",
            members=(("degas", "monet", "renoir"), ("manet",)),
        ),
        ScoreTask("contrast", low=1, high=10, output="tanh"),
        DistributionTask("votes", columns=("one", "two", "three")),
        HueTask("colour"),
        HueTask("hue_class", encoding="softmax"),
        HueTask("hue_code", encoding="embedding"),
        LabelsTask("tags", names=("tree", "sea")),
    ),
)
TARGETS = {
    "artist": np.array([0, 1, 2, 3, 0, 1, 2, 3]),
    "period": np.array([0, 1, 0, 0, 0, 1, 0, 0]),
    "contrast": np.linspace(1, 10, 8, dtype="float32"),
    "votes": np.eye(3, dtype="float32")[[0, 1, 2, 0, 1, 2, 0, 1]],
    **dict.fromkeys(
        ("colour", "hue_class", "hue_code"), np.tile(np.array([[0, 1, 0]], "float32"), (8, 1))
    ),
    "tags": np.tile(np.array([[1, np.nan]], "float32"), (8, 1)),
}


def residual(top=True):
    """Two blocks, the second residual, with BatchNormalization; a pooled classifier or no top."""
    picture = keras.Input((None, None, 3) if not top else (SIDE, SIDE, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same", name="conv1")(picture)
    x = layers.ReLU(name="block1")(layers.BatchNormalization(name="bn1")(x))
    y = layers.Conv2D(8, 3, padding="same", activation="relu", name="conv2")(x)
    x = layers.Add(name="block2")([x, y])
    if not top:
        return keras.Model(picture, x, name="residual")
    x = layers.GlobalAveragePooling2D(name="gap")(x)
    x = layers.Dense(5, activation="softmax", name="predictions")(x)
    return keras.Model(picture, x, name="residual_top")


def flat():
    """Fully connected layers behind a Flatten, as in VGG."""
    picture = keras.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(6, 3, strides=2, padding="same", activation="relu", name="block1")(picture)
    x = layers.MaxPooling2D(2, name="block2")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(9, activation="relu", name="fc1")(x)
    x = layers.Dense(7, activation="relu", name="fc2")(x)
    return keras.Model(picture, layers.Dense(5, activation="softmax", name="fc3")(x), name="flat")


@pytest.fixture(scope="module")
def classifier():
    return networks.build(residual)


@pytest.fixture(scope="module")
def topless(classifier):
    """The same network without its top, for any size."""
    model = residual(False)
    model.set_weights(classifier.get_weights()[: len(model.weights)])
    return model


@pytest.fixture(scope="module")
def vgg():
    return networks.build(flat)


def values(model, x):
    return {name: networks.to_numpy(output) for name, output in model(x).items()}


def difference(a, b):
    return max(np.abs(a[name] - b[name]).max() for name in a)


def map_of(model, layer, x):
    """A layer's map by Keras alone."""
    inner = keras.Model(model.input, model.get_layer(layer).output)
    return networks.to_numpy(inner(x))


@pytest.mark.parametrize("head", ["pooled", pytest.param("multi_level", marks=SMOKE), "mlsp"])
def test_a_picture_alone_and_in_a_batch_of_eight(classifier, head):
    model = heads.task_model(classifier, SCHEMA, head, levels=LEVELS)
    together = values(model, X)
    assert set(together) == set(SCHEMA.names)
    assert [together[task.name].shape[0] for task in SCHEMA.tasks] == [8] * 8
    for i in (0, 5):
        alone = values(model, X[i : i + 1])
        assert difference(alone, {name: rows[i : i + 1] for name, rows in together.items()}) < 1e-5
    # P(period) is the sum over its artists.
    by_hand = together["artist"] @ np.array([[1, 0], [0, 1], [1, 0], [1, 0]])
    np.testing.assert_allclose(together["period"], by_hand, atol=1e-6)
    assert together["period"].std(axis=0).min() > 1e-4  # and not because all are alike


def test_normalising_over_the_batch_is_found_out(classifier):
    """The negative control of the test above, with the mistake of the older systems."""
    given = feature_model(classifier, "multi_level", levels=LEVELS)
    wrong = layers.UnitNormalization(axis=0)(given.get_layer("levels").output)
    features = keras.Model(given.input, wrong)
    model = heads.join_models(features, heads.head_model((16,), SCHEMA))
    together = values(model, X)
    alone = values(model, X[:1])
    assert difference(alone, {name: rows[:1] for name, rows in together.items()}) > 1e-2


def test_pooled_by_hand(classifier, topless):
    """The top goes; the map's mean stays, at the native size and at another."""
    for base in (classifier, topless):
        features = feature_model(base)
        for x in (X[:, :, :SIDE], X):
            expected = map_of(topless, "block2", x).mean(axis=(1, 2))
            np.testing.assert_allclose(networks.to_numpy(features(x)), expected, atol=1e-5)
        highest = feature_model(base, pooling="max")(X)
        expected = map_of(topless, "block2", X).max(axis=(1, 2))
        np.testing.assert_allclose(networks.to_numpy(highest), expected, atol=1e-5)


@pytest.mark.parametrize("drop_top", [None, 1, 2, 3])
def test_pooled_keeps_the_fully_connected_layers_that_are_left(vgg, drop_top):
    features = feature_model(vgg, drop_top=drop_top)
    square = X[:, :, :SIDE]
    if drop_top == 3:
        expected = map_of(vgg, "block2", square).mean(axis=(1, 2))
    else:
        expected = networks.to_numpy(drop_top_dense(vgg, drop_top or 1)(square))
    np.testing.assert_allclose(networks.to_numpy(features(square)), expected, atol=1e-5)
    assert features(X).shape == expected.shape
    converted = feature_model(to_fcn(vgg), drop_top=drop_top)
    np.testing.assert_allclose(
        networks.to_numpy(converted(X)), networks.to_numpy(features(X)), atol=1e-5
    )


def test_multi_level_by_hand(classifier, topless):
    features = networks.to_numpy(feature_model(classifier, "multi_level", levels=LEVELS)(X))
    joined = np.concatenate([map_of(topless, name, X).mean(axis=(1, 2)) for name in LEVELS], axis=1)
    expected = joined / np.linalg.norm(joined, axis=1, keepdims=True)
    np.testing.assert_allclose(features, expected, atol=1e-5)


def area_means(maps, grid):
    """Means over the cells of a grid by brute force: every place repeated until all borders fit."""
    for axis, cells in enumerate(grid, start=1):
        places = maps.shape[axis]
        fine = np.repeat(maps, cells, axis=axis)
        shape = [*fine.shape[:axis], cells, places, *fine.shape[axis + 1 :]]
        maps = fine.reshape(shape).mean(axis=axis + 1)
    return maps


@pytest.mark.parametrize("size", [pytest.param((7, 9), marks=SMOKE), (4, 3), (1, 11), (10, 5)])
def test_grid_pooling_by_brute_force(size):
    maps = np.random.default_rng(3).normal(size=(2, *size, 3)).astype("float32")
    pool = GridPooling2D((5, 4))
    np.testing.assert_allclose(networks.to_numpy(pool(maps)), area_means(maps, (5, 4)), atol=1e-5)
    free = keras.Input((None, None, 3))
    model = keras.Model(free, pool(free))
    assert model.output.shape == (None, 5, 4, 3)
    assert networks.difference(model.predict(maps, verbose=0), pool(maps)) < 1e-5


def test_mlsp_is_frozen_and_on_a_grid(classifier, topless):
    features = feature_model(classifier, "mlsp", levels=LEVELS, grid=(2, 3))
    assert not features.trainable_weights
    found = networks.to_numpy(features(X))
    expected = [area_means(map_of(topless, name, X), (2, 3)) for name in LEVELS]
    np.testing.assert_allclose(found, np.concatenate(expected, axis=-1), atol=1e-5)
    model = heads.task_model(classifier, SCHEMA, "mlsp", levels=LEVELS, units=12)
    assert model.get_layer("head").get_layer("grid_conv2").kernel.shape == (3, 3, 12, 12)
    assert classifier.trainable_weights  # the given one is only read


def test_the_given_network_is_only_read(classifier):
    before = classifier.get_weights()
    model = heads.task_model(classifier, SCHEMA, "multi_level", levels=LEVELS)
    for weight in model.weights:
        weight.assign(weight + 1)
    for a, b in zip(before, classifier.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_nested_networks_are_opened(classifier):
    picture = keras.Input((SIDE, SIDE, 3))
    nested = keras.Model(picture, classifier(layers.Rescaling(0.5)(picture)), name="nested")
    expected = feature_model(classifier, "multi_level", levels=LEVELS)(X)
    found = feature_model(nested, "multi_level", levels=LEVELS)(2 * X)
    assert networks.difference(found, expected) < 1e-5


@pytest.mark.slow
def test_resnet50_has_sixteen_blocks_and_15104_values():
    base = keras.applications.ResNet50(include_top=False, weights=None)
    model = heads.task_model(base, load_schema("art_composition"), "multi_level")
    features, _ = heads.split_model(model)
    assert features.output.shape == (None, 15104)
    names = [layer.name for layer in features.layers if layer.name.startswith("pooled_")]
    assert len(names) == 16
    assert {name.removeprefix("pooled_") for name in names} == set(SPECS["ResNet50"].levels)


def test_levels_of_every_network():
    """Of MobileNetV2 the channels are those of its paper's table 2."""
    channels = 16 + 2 * 24 + 3 * 32 + 4 * 64 + 3 * 96 + 3 * 160 + 320
    base = keras.applications.MobileNetV2(include_top=False, weights=None)
    assert feature_model(base, "multi_level").output.shape == (None, channels)
    # The network may have another name, and is then named.
    renamed = keras.Model(base.input, base.output, name="mine")
    assert spec_of(renamed) is None
    with pytest.raises(ValueError, match=r"`levels` must name the layers .* 'mine' is none"):
        feature_model(renamed, "multi_level")
    named = feature_model(renamed, "multi_level", levels="MobileNetV2")
    assert named.output.shape == (None, channels)


@pytest.mark.parametrize(
    ("name", "network"),
    [
        ("resnet50", "ResNet50"),
        ("resnet50_fcn", "ResNet50"),
        ("mobilenetv2_1.00_224_fcn", "MobileNetV2"),
        ("small_vgg", "SmallVGG"),
        ("alexnet_without_top_1", "AlexNet"),
        ("resnet50v2", None),
        ("resnet101", None),
    ],
)
def test_a_network_is_known_by_its_name(name, network):
    x = keras.Input((2,))
    spec = spec_of(keras.Model(x, x, name=name))
    assert (spec.name if spec else None) == network


@pytest.mark.parametrize("head", ["pooled", "multi_level"])
def test_masks_keep_padding_out(classifier, head):
    model = heads.task_model(classifier, SCHEMA, head, levels=LEVELS)
    fed = heads.fed_task_model(model, "native")
    assert fed.get_layer("head") is model.get_layer("head")
    mask = np.ones(X.shape[:3], bool)
    assert difference(values(fed, [X, mask]), values(model, X)) < 1e-5
    # The same picture with black on its right: without a mask it counts.
    wide = np.pad(X, ((0, 0), (0, 0), (0, 24), (0, 0)))
    mask = np.pad(mask, ((0, 0), (0, 0), (0, 24)))
    kept = difference(values(fed, [wide, mask]), values(model, X))
    lost = difference(values(model, wide), values(model, X))
    assert kept < lost / 3


@pytest.mark.parametrize("head", ["pooled", "multi_level"])
def test_models_with_masks_are_split(classifier, head):
    fed = heads.fed_task_model(heads.task_model(classifier, SCHEMA, head, levels=LEVELS), "native")
    mask = np.arange(SIDE + 16) < SIDE
    inputs = [X, np.broadcast_to(mask, X.shape[:3])]
    features, top = heads.split_model(fed)
    assert difference(values(top, features(inputs)), values(fed, inputs)) < 1e-6


def test_masks_know_the_window_of_fully_connected_layers(vgg):
    fed = heads.fed_task_model(heads.task_model(vgg, SCHEMA), "pad")
    # 24 pixels are 6 cells of the map, which fc1 sees all.
    assert fed.get_layer("masked_pooled_top").window == (6, 6)
    mask = np.ones(X.shape[:3], bool)
    assert fed([X, mask])["contrast"].shape == (8, 1)


@pytest.mark.parametrize("head", ["pooled", "mlsp"])
def test_crops_are_joined_before_the_activation(classifier, head):
    model = heads.task_model(classifier, SCHEMA, head, levels=LEVELS)
    fed = heads.fed_task_model(model, "multicrop")
    found = values(fed, np.stack([X, X[::-1]], axis=1))
    features, inner = heads.split_model(model)
    logits = keras.Model(inner.input, inner.get_layer("logits_artist").output)(features(X))
    logits = networks.to_numpy(logits)
    mean = (logits + logits[::-1]) / 2
    expected = np.exp(mean) / np.exp(mean).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found["artist"], expected, atol=1e-5)
    np.testing.assert_allclose(
        found["period"][:, 1], expected[:, ARTISTS.index("manet")], atol=1e-5
    )


def test_other_feeders_leave_the_model(classifier):
    model = heads.task_model(classifier, SCHEMA)
    assert heads.fed_task_model(model, "squash") is model
    with pytest.raises(ValueError, match="zoom"):
        heads.fed_task_model(model, "zoom")


@pytest.mark.parametrize("learned", [False, pytest.param(True, marks=SMOKE)])
def test_training_saving_and_splitting(classifier, tmp_path, learned):
    keras.utils.set_random_seed(0)
    model = heads.task_model(classifier, SCHEMA, learned_weights=learned, dropout=0.1)
    arguments = heads.compile_arguments(model)
    model.compile(keras.optimizers.Adam(0.01), **QUICK, **arguments)
    weights = {name: np.ones(8, "float32") for name in SCHEMA.names}
    weights["contrast"][2:] = 0
    history = model.fit(
        X, TARGETS, sample_weight=weights, epochs=4, batch_size=8, shuffle=False, verbose=0
    ).history
    assert np.isfinite(list(history.values())).all()
    assert history["loss"][-1] < history["loss"][0]
    assert {"artist_accuracy", "contrast_mae", "votes_emd", "colour_degrees"} <= set(history)
    held = [layer for layer in model.get_layer("head").layers if isinstance(layer, TaskWeight)]
    assert len(held) == (8 if learned else 0)
    assert all(abs(float(networks.to_numpy(layer.log_variance))) > 1e-6 for layer in held)

    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert heads.schema_of(again) == SCHEMA
    expected = values(model, X)
    assert difference(values(again, X), expected) < 1e-6
    features, head = heads.split_model(again)
    assert difference(values(head, features(X)), expected) < 1e-5
    # A head that is trained on features is the head of the whole model.
    head.compile("sgd", **QUICK, **heads.compile_arguments(head))
    head.fit(networks.to_numpy(features(X)), TARGETS, verbose=0)
    joined = heads.join_models(features, head)
    assert difference(values(joined, X), values(again, X)) < 1e-6
    assert difference(values(joined, X), expected) > 1e-6


def test_weights_of_tasks():
    schema = Schema("two", (ScoreTask("a"), ScoreTask("b", weight=3)))
    head = heads.head_model((4,), schema)
    head.compile("sgd", **JIT, **heads.compile_arguments(head))
    x = np.ones((2, 4), "float32")
    found = head.evaluate(x, {"a": np.zeros(2), "b": np.ones(2)}, return_dict=True, verbose=0)
    assert found["loss"] == pytest.approx(found["a_loss"] + 3 * found["b_loss"], rel=1e-5)


@pytest.mark.parametrize(
    ("name", "tasks", "shown"),
    [
        ("one", [ClassTask("artist", names=ARTISTS)], {"loss", "accuracy"}),
        (
            "two",
            [SCHEMA["hue_code"], SCHEMA["tags"]],
            {"loss", "hue_code_degrees", "hue_code_wheel_accuracy", "tags_accuracy"},
        ),
    ],
)
def test_training_in_a_graph(classifier, name, tasks, shown):
    schema = Schema(name, tuple(tasks))
    model = heads.task_model(classifier, schema)
    model.compile("sgd", **JIT, **heads.compile_arguments(model))
    targets = {task: TARGETS[task] for task in schema.names}
    history = model.fit(X, targets, validation_data=(X, targets), verbose=0).history
    assert shown <= set(history)
    assert {f"val_{name}" for name in shown} <= set(history)
    assert np.isfinite(list(history.values())).all()


def test_outputs_are_float32_in_half_precision(classifier):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        base = residual()
        model = heads.task_model(base, SCHEMA, "multi_level", levels=LEVELS)
    finally:
        keras.config.set_dtype_policy("float32")
    assert base.get_layer("conv2").compute_dtype == "float16"
    assert {networks.to_numpy(y).dtype for y in model(X[:2]).values()} == {np.dtype("float32")}
    length = networks.to_numpy(heads.split_model(model)[0](X[:2]))
    np.testing.assert_allclose(np.linalg.norm(length, axis=1), 1, rtol=1e-5)


def two_outputs():
    base = residual(False)
    return keras.Model(base.input, [base.output, base.get_layer("block1").output])


def joined_vectors():
    base = residual(False)
    pools = layers.GlobalAveragePooling2D()(base.output), layers.GlobalMaxPooling2D()(base.output)
    return keras.Model(base.input, layers.Concatenate()(pools), name="joined")


@pytest.mark.parametrize(
    ("make", "options", "error", "message"),
    [
        (residual, {"head": "top"}, ValueError, r"one of pooled, .* Received: 'top'"),
        (residual, {"pooling": "sum"}, ValueError, r"'avg' or 'max'. Received: 'sum'"),
        (residual, {"drop_top": -1}, ValueError, r"0 or more. Received: -1"),
        (residual, {"drop_top": 2}, ValueError, r"must be at most 1"),
        (residual, {"head": "mlsp", "levels": ("block3",)}, ValueError, r"has no 'block3'"),
        (residual, {"head": "mlsp", "levels": ("gap",)}, ValueError, r"has no 'gap'"),
        (residual, {"head": "mlsp", "levels": ()}, ValueError, r"each once. Received: \(\)"),
        (residual, {"head": "mlsp", "levels": "VGG99"}, ValueError, r"Unknown network: 'VGG99'"),
        (two_outputs, {}, ValueError, r"one output is needed. .* has several"),
        (joined_vectors, {}, ConversionError, r"head of 'joined' branches"),
    ],
)
def test_what_has_no_features(make, options, error, message):
    with pytest.raises(error, match=message):
        feature_model(make(), **options)


def test_what_is_no_task_model(classifier):
    for function in (heads.schema_of, heads.split_model, heads.compile_arguments):
        with pytest.raises(ValueError, match="'residual_top' was not made by `task_model`"):
            function(classifier)
    with pytest.raises(ValueError, match=r"`dropout` must be in \[0, 1\). Received: 1"):
        heads.head_model((4,), SCHEMA, dropout=1)
    with pytest.raises(ValueError, match="names of class must be known"):
        heads.head_model((4,), load_schema("classes"))
    mlsp = heads.task_model(classifier, SCHEMA, "mlsp", levels=LEVELS)
    with pytest.raises(ValueError, match=r"averages over a grid, .* use the feeder squash"):
        heads.fed_task_model(mlsp, "native")
    too_many = to_fcn(classifier)
    with pytest.raises(ValueError, match=r"`drop_top` must be at most 1, .* Received: 2"):
        feature_model(too_many, drop_top=2)


def test_layers_are_saved_and_come_back():
    for layer in (GridPooling2D((2, 3)), TaskSchema("name: x")):
        again = keras.layers.deserialize(keras.layers.serialize(layer))
        assert again.get_config() == layer.get_config()
    with pytest.raises(ValueError, match=r"at least 1x1. Received: \(0, 2\)"):
        GridPooling2D((0, 2))
