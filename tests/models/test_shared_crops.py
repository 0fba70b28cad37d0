"""Crops that share one pass over the picture: equal to crops fed one by one where nothing pads."""

import keras
import networks
import numpy as np
import pytest
from keras import layers

from fcnkeras import ConversionError, add_skip_connection, to_fcn
from fcnkeras.convert.graph import trace
from fcnkeras.crop_windows import CropWindows
from fcnkeras.models.fed import fed_model
from fcnkeras.models.shared_crops import shared_crop_model, stride_rules
from fcnkeras.placement import place
from fcnkeras.tasks import heads
from fcnkeras.tasks.classes import ClassTask
from fcnkeras.tasks.schema import Schema
from fcnkeras.tasks.scores import ScoreTask

SIDE = networks.SIDE
SCHEMA = Schema(
    "two", (ClassTask("artist", names=("a", "b", "c")), ScoreTask("contrast", low=1, high=10))
)
LEVELS = ("conv1", "conv2")
# Without padding, of stride 2.
VALID = (
    networks.average_valid,
    networks.nested,
    networks.sequential,
    networks.whole_map_convolution,
    networks.joined_vectors,
)


def softmax(values):
    powers = np.exp(values - values.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def cut(pictures, starts, side=SIDE):
    """Squares (batch, crops, side, side, 3) along the columns."""
    return np.stack([pictures[:, :, start : start + side] for start in starts], axis=1)


def turned(pictures):
    return np.ascontiguousarray(np.swapaxes(pictures, -3, -2))


def padded_late():
    """Padding behind "conv1" only."""
    picture = keras.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(8, 3, strides=2, activation="relu", name="conv1")(picture)
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="conv2")(x)
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="conv3")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(picture, layers.Dense(5, activation="softmax")(x), name="padded_late")


@pytest.fixture(scope="module")
def model():
    return networks.build(networks.average_valid)


@pytest.fixture(scope="module")
def base():
    """Two convolutions without padding, whose maps have strides 1 and 2, for any size."""
    picture = keras.Input((None, None, 3))
    x = layers.Conv2D(8, 3, activation="relu", name="conv1")(picture)
    x = layers.Conv2D(8, 3, strides=2, activation="relu", name="conv2")(x)
    keras.utils.set_random_seed(3)
    return keras.Model(picture, x, name="base")


# ---- the layer ---------------------------------------------------------------------------------


def windows_of(height, width, stride=(1, 1), **kwargs):
    """What the layer cuts out of a map whose places hold their row and column."""
    rows, columns = height // stride[0], width // stride[1]
    places = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), axis=-1)
    picture = np.zeros((1, height, width, 3), "float32")
    found = CropWindows(stride, **kwargs)([places[None].astype("float32"), picture])
    return networks.to_numpy(found)[0]


@pytest.mark.smoke
def test_windows_by_hand():
    # 8 x 19: three crops of 8 from 0, 5.5 and 11; with places of 4 x 2 pixels, in columns from
    # 0, 2.75 (so 3) and 5.5 (so 6, but a crop has 4 of 9 places: 5).
    found = windows_of(8, 19, stride=(4, 2))
    assert found.shape == (3, 2, 4, 2)
    assert found[:, 0, 0].tolist() == [[0, 0], [0, 3], [0, 5]]
    assert found[1, :, :, 0].tolist() == [[0] * 4, [1] * 4]
    assert found[1, 0, :, 1].tolist() == [3, 4, 5, 6]
    # Upright, with the strides turned too.
    tall = windows_of(19, 8, stride=(2, 4))
    np.testing.assert_array_equal(tall, found.swapaxes(1, 2)[..., ::-1])
    # One crop of a square picture; four of one that three would leave gaps in.
    assert windows_of(8, 8).shape == (1, 8, 8, 2)
    assert windows_of(8, 25)[:, 0, 0, 1].tolist() == [0, 6, 11, 17]


@pytest.mark.parametrize("size", [(400, 300), (300, 400), (1000, 997), (900, 300), (901, 300)])
def test_the_crops_are_those_of_the_feeder(size):
    placements = place("multicrop", *size, 20)
    ((width, height),) = {one.fed_size for one in place("native", *size, 20)}
    found = windows_of(height, width)
    assert found.shape == (len(placements), 20, 20, 2)
    starts = np.array([(-one.offset[1], -one.offset[0]) for one in placements])
    assert np.abs(found[:, 0, 0] - starts).max() < 1


def test_crops_that_are_too_small_are_refused(model):
    with pytest.raises(ValueError, match=r"at least 30 pixels, .* 24x30 .* Received: 26"):
        shared_crop_model(to_fcn(networks.build(networks.flatten_valid)))(np.zeros((1, 26, 50, 3)))
    assert windows_of(8, 20, least=(8, 8)).shape == (3, 8, 8, 2)


# ---- equal where nothing pads ------------------------------------------------------------------


@pytest.mark.parametrize("network", VALID, ids=lambda network: network.__name__)
def test_equal_to_the_original_network_on_every_crop(network):
    """Against the network as it was before the conversion, and NumPy."""
    source = networks.build(network)
    pictures = networks.random_pictures(2, SIDE, SIDE + 16)
    crops = cut(pictures, (0, 8, 16))
    alone = networks.logits(source, crops.reshape(-1, SIDE, SIDE, 3)).reshape(2, 3, -1)
    for pooling, join in (("avg", np.mean), ("max", np.max)):
        shared = shared_crop_model(to_fcn(source, pooling=pooling))
        expected = softmax(join(alone, axis=1))
        assert networks.difference(shared(pictures), expected) < 1e-5
        # Compiled, so that sizes are known to the layers only when they run.
        assert networks.difference(shared.predict(pictures, verbose=0), expected) < 1e-5
        moved = cut(pictures, (0, 6, 16)).reshape(-1, SIDE, SIDE, 3)
        wrong = softmax(join(networks.logits(source, moved).reshape(2, 3, -1), axis=1))
        assert networks.difference(wrong, expected) > 1e-3, "the test would see one place"


@pytest.mark.smoke
@pytest.mark.parametrize("pooling", ["max", "avg"])
@pytest.mark.parametrize("pool_on", ["logits", "probabilities"])
@pytest.mark.parametrize("window", ["native", "point"])
def test_equal_to_the_model_for_crops(model, pooling, pool_on, window):
    fcn = to_fcn(model, pooling=pooling, pool_on=pool_on, window=window)
    pictures = networks.random_pictures(2, 30, 50)
    crops = cut(pictures, (0, 10, 20), side=30)
    expected = fed_model(fcn, "multicrop")(crops)
    assert networks.difference(shared_crop_model(fcn)(pictures), expected) < 1e-5
    # Upright, and as many crops as leave no gap.
    long = turned(networks.random_pictures(2, 30, 102))
    crops = np.stack([long[:, start : start + 30] for start in (0, 24, 48, 72)], axis=1)
    expected = fed_model(fcn, "multicrop")(crops)
    assert networks.difference(shared_crop_model(fcn)(long), expected) < 1e-5


def test_a_square_picture_is_its_only_crop():
    fcn = to_fcn(networks.build(networks.flatten_same))
    pictures = networks.random_pictures(2, 31, 31)
    assert networks.difference(shared_crop_model(fcn)(pictures), fcn(pictures)) < 1e-5


def test_not_equal_between_places_and_where_layers_pad(model):
    def difference(source, starts):
        fcn = to_fcn(source)
        pictures = networks.random_pictures(2, SIDE, SIDE + starts[-1])
        expected = fed_model(fcn, "multicrop")(cut(pictures, starts))
        return networks.difference(shared_crop_model(fcn)(pictures), expected)

    assert difference(model, (0, 8, 16)) < 1e-5
    assert difference(model, (0, 7, 14)) > 1e-3  # 7 is half a place
    assert difference(networks.build(networks.maximum_same), (0, 8, 16)) > 1e-3


def test_what_pads_may_run_for_every_crop():
    source = networks.build(padded_late)
    pictures = networks.random_pictures(2, SIDE, SIDE + 16)
    exact = fed_model(to_fcn(source), "multicrop")(cut(pictures, (0, 8, 16)))
    far, near = (
        networks.difference(shared_crop_model(to_fcn(source), until=until)(pictures), exact)
        for until in ("conv2", "conv1")
    )
    assert near < 1e-5
    assert far > 1e-3


def test_several_outputs():
    fcn = to_fcn(networks.build(networks.several_outputs), pooling="avg")
    pictures = networks.random_pictures(2, SIDE, SIDE + 16)
    crops = cut(pictures, (0, 8, 16)).reshape(-1, SIDE, SIDE, 3)
    found = shared_crop_model(fcn)(pictures)
    assert [tuple(output.shape) for output in found] == [(2, 5), (2, 1), (2, 3)]
    # The second has no activation, so that the crops' own answers can be averaged.
    scores = networks.to_numpy(fcn(crops)[1]).reshape(2, 3, 1).mean(axis=1)
    assert networks.difference(found[1], scores) < 1e-5
    tags = networks.to_numpy(fcn(crops)[2]).reshape(2, 3, 3)
    mean = np.log(tags / (1 - tags)).mean(axis=1)
    assert networks.difference(found[2], 1 / (1 + np.exp(-mean))) < 1e-5


def test_skip_connections(model):
    fcn = add_skip_connection(to_fcn(model), "conv1", filters=4)
    kernel = fcn.get_layer("predictions").kernel
    kernel.assign(kernel + 0.1 * np.random.default_rng(0).normal(size=kernel.shape))
    pictures = networks.random_pictures(2, SIDE, SIDE + 16)
    expected = fed_model(fcn, "multicrop")(cut(pictures, (0, 8, 16)))
    # Two maps are cut, one finer than the other, and joined crop by crop.
    assert networks.difference(shared_crop_model(fcn, until="conv2")(pictures), expected) < 1e-5
    # Joined before, they are laid over each other by the size of the whole.
    assert 1e-4 < networks.difference(shared_crop_model(fcn)(pictures), expected) < 0.05


@pytest.mark.parametrize("head", [pytest.param("pooled", marks=pytest.mark.smoke), "mlsp"])
def test_task_models(base, head):
    check_task_model(heads.task_model(base, SCHEMA, head, levels=LEVELS))


def test_task_model_of_several_levels(base):
    tasks = heads.task_model(base, SCHEMA, "multi_level", levels=LEVELS)
    check_task_model(tasks)
    check_task_model(tasks, until="conv1")


def check_task_model(tasks, until=None):
    pictures = networks.random_pictures(2, SIDE, SIDE + 16)
    crops = cut(pictures, (0, 8, 16))
    expected = heads.fed_task_model(tasks, "multicrop")(crops)
    shared = shared_crop_model(tasks, until)
    assert heads.schema_of(shared) == SCHEMA
    found = shared(pictures)
    assert list(found) == list(expected)
    whole = tasks(pictures)
    for name in SCHEMA.names:
        assert networks.difference(found[name], expected[name]) < 1e-5
        assert networks.difference(whole[name], expected[name]) > 1e-4


def test_fully_connected_layers_and_tasks():
    tasks = heads.task_model(networks.build(networks.flatten_valid), SCHEMA, pooling="max")
    pictures = networks.random_pictures(2, 32, 52)
    expected = heads.fed_task_model(tasks, "multicrop")(cut(pictures, (0, 10, 20), side=32))
    found = shared_crop_model(tasks)(pictures)
    assert networks.difference(found["artist"], expected["artist"]) < 1e-5


# ---- a model like any other --------------------------------------------------------------------


def test_weights_are_shared_and_the_model_is_saved(model, tmp_path):
    fcn = to_fcn(model)
    shared = shared_crop_model(fcn)
    assert {id(weight) for weight in shared.weights} == {id(weight) for weight in fcn.weights}
    pictures, before = networks.random_pictures(4, SIDE, 40), fcn.get_weights()
    shared.compile("sgd", "sparse_categorical_crossentropy")
    shared.train_on_batch(pictures, np.array([0, 1, 2, 3]))
    assert all(np.abs(a - b).max() > 0 for a, b in zip(before, fcn.get_weights(), strict=True))
    shared.save(tmp_path / "shared.keras")
    loaded = keras.models.load_model(tmp_path / "shared.keras")
    assert networks.difference(loaded(pictures), shared(pictures)) < 1e-6


def test_half_precision(model):
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_float16")
        half = keras.models.clone_model(model)
    finally:
        keras.config.set_dtype_policy(before)
    half.set_weights(model.get_weights())
    fcn = to_fcn(half, verify=False)
    pictures = networks.random_pictures(2, SIDE, 40)
    expected = fed_model(fcn, "multicrop")(cut(pictures, (0, 8, 16)))
    assert networks.difference(shared_crop_model(fcn)(pictures), expected) < 1e-2


# ---- rules and refusals ------------------------------------------------------------------------


def test_rules_by_hand(model):
    # conv1 takes 2 pixels off, pool1 halves and rounds down, conv2 takes 2 cells off: of s pixels
    # (s - 2) // 2 - 2 = (s - 6) // 2 cells; windows of 9 cells leave (s - 22) // 2 places.
    graph = trace(to_fcn(model))
    refs = {call.layer.name: call.outputs[0] for call in graph.calls}
    wanted = {refs["conv1"], refs["features"], refs["predictions"]}
    rules = stride_rules(graph, wanted)
    assert rules[refs["conv1"]] == ((1, 1), (-2, -2))
    assert rules[refs["features"]] == ((2, 2), (-6, -6))
    assert rules[refs["predictions"]] == ((2, 2), (-22, -22))


def test_rules_of_another_stride_along_each_axis():
    picture = keras.Input((None, None, 3))
    x = layers.Conv2D(4, (3, 5), strides=(5, 3), padding="valid")(picture)
    x = layers.Conv2D(4, 3, strides=(1, 2), padding="same")(x)
    graph = trace(keras.Model(picture, x))
    ((stride, extra),) = stride_rules(graph, set(graph.outputs)).values()
    # Rows: (s - 3) // 5 + 1. Columns: half of (s - 5) // 3 + 1, rounded up.
    assert (stride, extra) == ((5, 6), (2, 1))


def enlarged():
    picture = keras.Input((SIDE, SIDE, 3))
    x = layers.UpSampling2D(2)(layers.Conv2D(4, 3, strides=2, name="conv1")(picture))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(picture, layers.Dense(5, activation="softmax")(x), name="enlarged")


def test_refusals(model, base):
    with pytest.raises(ValueError, match=r"no pooling whose map crops could share: make it with"):
        shared_crop_model(to_fcn(model, pooling=None))
    with pytest.raises(ValueError, match=r"'average_valid' has no pooling whose map"):
        shared_crop_model(model)
    fcn = to_fcn(model)
    with pytest.raises(ValueError, match=r"`until` must name a layer before .* no 'conv9'"):
        shared_crop_model(fcn, until="conv9")
    with pytest.raises(ValueError, match="no 'pooled'"):
        shared_crop_model(fcn, until="pooled")
    with pytest.raises(ValueError, match=r"one input, the pictures, .* takes \[\(None"):
        shared_crop_model(fed_model(fcn, "pad"))
    flat = keras.Input((3, None, None))
    first = keras.Model(flat, layers.GlobalMaxPooling2D("channels_first")(flat))
    with pytest.raises(ValueError, match=r"channels-last model is needed"):
        shared_crop_model(first)
    odd = to_fcn(enlarged(), window="point", verify=False)
    with pytest.raises(ConversionError, match=r"whose size does not follow .* feed crops one by"):
        shared_crop_model(odd)
    assert shared_crop_model(odd, until="conv1")(np.zeros((1, SIDE, 40, 3))).shape == (1, 5)


def test_a_gate_cannot_be_cut():
    fcn = to_fcn(networks.build(networks.squeeze_and_excitation))
    assert shared_crop_model(fcn)(np.zeros((1, SIDE, 40, 3))).shape == (1, 5)
    with pytest.raises(ValueError, match=r"behind which only maps .* 'squeeze' is, of shape"):
        shared_crop_model(fcn, until="squeeze")
