"""Graphs beyond the plain classifier: levels, channels first, operations, half precision."""

import keras
import networks
import numpy as np
import pytest
from keras import layers, ops
from networks import to_numpy

from fcnkeras import ConversionError, plan_conversion, to_fcn
from fcnkeras.layers import SamePlaces

LIMIT = 1e-5


def randomise(model, seed=0):
    """Weights by which outputs vary, whatever the layout: kernels of unit gain, random offsets."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        shape = tuple(weight.shape)
        if weight.path.endswith("kernel"):
            weight.assign(rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[:-1])))
        elif weight.path.endswith("variance"):
            weight.assign(rng.uniform(0.5, 1.5, shape))
        else:
            weight.assign(rng.normal(size=shape) * 0.3 + ("gamma" in weight.path))
    return model


def sliding(model, pictures, stride, channels_first=False):
    """The model on every window of larger pictures: (batch, rows, columns, ...)."""
    first = 2 if channels_first else 1
    height, width = model.input_shape[first : first + 2]
    rows = range(0, pictures.shape[first] - height + 1, stride)
    columns = range(0, pictures.shape[first + 1] - width + 1, stride)
    before = (slice(None),) * first
    windows = [
        pictures[(*before, slice(r, r + height), slice(c, c + width))]
        for r in rows
        for c in columns
    ]
    values = to_numpy(model(np.concatenate(windows)))
    values = values.reshape(len(rows), len(columns), len(pictures), -1)
    return values.transpose(2, 0, 1, 3)


def check_slid(model, size, stride, channels_first=False):
    pictures = networks.random_pictures(2, *size, seed=3)
    if channels_first:
        pictures = pictures.transpose(0, 3, 1, 2)
    places = sliding(model, pictures, stride, channels_first)
    assert places.shape[1] > 1 < places.shape[2] != places.shape[1]
    assert places.std(axis=(1, 2)).max() > 0.01, "places must differ"
    values = to_numpy(to_fcn(model, pooling=None)(pictures))
    assert networks.difference(values, places) < LIMIT


# ---- several levels ----------------------------------------------------------------------------


def levels(side=31, padding="valid", head=None):
    """Three maps of strides 2, 4 and 8, whose vectors meet twice."""
    picture = keras.Input((side, side + 8, 3))
    fine = layers.Conv2D(4, 3, strides=2, padding=padding, activation="relu")(picture)
    middle = layers.Conv2D(5, 3, strides=2, padding=padding, activation="relu")(fine)
    coarse = layers.Conv2D(6, 3, strides=2, padding=padding, activation="relu")(middle)
    x = layers.Concatenate(name="two")(
        [layers.GlobalAveragePooling2D()(middle), layers.GlobalMaxPooling2D()(coarse)]
    )
    x = layers.Dense(7, activation="relu")(x)
    first = layers.Dense(7, name="first")(layers.GlobalAveragePooling2D()(fine))
    x = layers.Add(name="all")([first, x])
    return randomise(keras.Model(picture, layers.Dense(4)(x)))


def test_levels_are_equal_at_the_native_size():
    model = levels(padding="same")
    pictures = networks.random_pictures(3, 31, 39)
    for pooling in ("max", "avg"):
        result = to_fcn(model, pooling=pooling)(pictures)
        assert networks.difference(result, model(pictures)) < LIMIT


def test_levels_slide_together():
    check_slid(levels(), (31 + 8 * 2 + 3, 39 + 8 * 3 + 5), stride=8)


def test_a_level_pooled_by_a_window_slides_with_a_deeper_one():
    """Its 1x1 map has a place at every step of the finer level, of which every second is met."""
    x = picture = keras.Input((20, 14, 3))
    fine = layers.Conv2D(5, (6, 5), activation="relu")(x)
    deep = layers.MaxPooling2D()(fine)
    window = layers.AveragePooling2D((15, 10), strides=1)(fine)
    joined = layers.Add()([layers.Reshape((5,))(window), layers.GlobalAveragePooling2D()(deep)])
    model = keras.Model(picture, layers.Dense(3)(joined))
    check_slid(randomise(model), (26, 19), stride=2)


def test_a_flattened_level_slides_with_a_pooled_one():
    picture = keras.Input((23, 23, 3))
    fine = layers.Conv2D(4, 3, strides=2, activation="relu")(picture)
    coarse = layers.Conv2D(5, 3, strides=2, activation="relu")(fine)
    flat = layers.Dense(6)(layers.Flatten()(fine))
    pooled = layers.Dense(6)(layers.GlobalAveragePooling2D()(coarse))
    model = keras.Model(picture, layers.Dense(3)(layers.Multiply()([flat, pooled])))
    check_slid(randomise(model), (32, 40), stride=4)


def test_the_plan_says_how_far_apart_the_windows_are():
    steps = {step.layer: step for step in plan_conversion(levels()).steps}
    strides = [step.config["strides"] for step in steps.values() if "pool_size" in step.config]
    assert sorted(strides) == [(1, 1), (2, 2), (4, 4)]


def test_padded_levels_meet_at_every_size():
    """Their maps can differ by a row, which a Concatenate would not take."""
    fcn = to_fcn(levels(32, padding="same"), pooling=None)
    assert any(isinstance(layer, SamePlaces) for layer in fcn.layers)
    for more in range(9):
        rows, columns = to_numpy(fcn(np.zeros((1, 32 + more, 40 + 2 * more, 3)))).shape[1:3]
        assert rows == -(-(32 + more) // 8) - 3
        assert columns == -(-(40 + 2 * more) // 8) - 4


def test_levels_as_points_of_the_coarsest_map():
    model = levels(32, padding="same")
    fcn = to_fcn(model, window="point", pooling=None)
    pictures = networks.random_pictures(2, 32, 40)
    assert to_numpy(fcn(pictures)).shape == (2, 4, 5, 4)
    affine = keras.Model(model.input, model.get_layer("two").output)
    plan = plan_conversion(affine, window="point", pooling="avg")
    assert not plan.exact  # one of them is a maximum
    with pytest.raises(ConversionError, match="single locations do not lie over each other"):
        plan_conversion(levels(33, padding="valid"), window="point")


def test_affine_levels_as_points_are_exact_under_the_average():
    picture = keras.Input((32, 48, 3))
    fine = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(picture)
    coarse = layers.Conv2D(5, 3, strides=2, padding="same", activation="relu")(fine)
    pools = [layers.GlobalAveragePooling2D()(x) for x in (fine, coarse)]
    model = keras.Model(picture, layers.Dense(3)(layers.Concatenate()(pools)))
    pictures = networks.random_pictures(3, 32, 48)
    fcn = to_fcn(randomise(model), window="point", pooling="avg")
    assert fcn.certificate.outputs
    assert networks.difference(fcn(pictures), model(pictures)) < LIMIT


def test_levels_whose_cells_are_no_multiples_are_refused():
    picture = keras.Input((36, 36, 3))
    two, three = (layers.Conv2D(4, 3, strides=n, name=f"by_{n}")(picture) for n in (2, 3))
    pools = [layers.GlobalAveragePooling2D(name=f"of_{i}")(x) for i, x in enumerate((two, three))]
    model = keras.Model(picture, layers.Dense(2)(layers.Concatenate()(pools)))
    with pytest.raises(ConversionError, match=r"'of_0' ends a map whose cells are 2x2 pixels.*3x3"):
        plan_conversion(model)


# ---- channels first ----------------------------------------------------------------------------

FIRST = {"data_format": "channels_first"}


def first_trunk(picture):
    x = layers.Conv2D(6, 3, strides=2, **FIRST)(picture)
    x = layers.BatchNormalization(axis=1)(x)
    x = layers.DepthwiseConv2D(3, activation="relu", **FIRST)(x)
    return layers.MaxPooling2D(2, strides=1, **FIRST)(x)


def first_average(x):
    x = layers.GlobalAveragePooling2D(keepdims=True, **FIRST)(x)
    x = layers.BatchNormalization(axis=1)(layers.Conv2D(5, 1, activation="relu", **FIRST)(x))
    return layers.Dense(4)(layers.Flatten()(x))


FIRST_HEADS = {
    "flatten in its order": lambda x: layers.Dense(4)(layers.Flatten(**FIRST)(x)),
    "flatten as it lies": lambda x: layers.Dense(4)(layers.Flatten(data_format="channels_last")(x)),
    "average": first_average,
    "operation": lambda x: layers.Dense(4, activation="tanh")(ops.max(x, axis=(2, 3))),
}


@pytest.mark.parametrize("head", FIRST_HEADS)
def test_channels_first(head):
    picture = keras.Input((3, 21, 27))
    model = randomise(keras.Model(picture, FIRST_HEADS[head](first_trunk(picture))))
    pictures = networks.random_pictures(3, 21, 27).transpose(0, 3, 1, 2)
    fcn = to_fcn(model)
    assert fcn.input_shape == (None, 3, None, None)
    assert networks.difference(fcn(pictures), model(pictures)) < LIMIT
    check_slid(model, (26, 36), stride=2, channels_first=True)
    with pytest.raises(ValueError, match=r"at least 21x27 pixels.*Received: 20x40"):
        fcn(np.zeros((1, 3, 20, 40)))


def test_flatten_that_takes_the_first_axis_for_channels():
    """A channels-last map, flattened column, channel, row."""
    picture = keras.Input((12, 15, 3))
    x = layers.Flatten(**FIRST)(layers.Conv2D(4, 3, activation="relu")(picture))
    model = randomise(keras.Model(picture, layers.Dense(3)(x)))
    check_slid(model, (15, 20), stride=1)


def test_both_layouts_in_one_model_are_refused():
    picture = keras.Input((12, 12, 12))
    x = layers.Conv2D(4, 1, name="last", data_format="channels_last")(picture)
    x = layers.GlobalAveragePooling2D(name="first", **FIRST)(x)
    with pytest.raises(ConversionError, match=r"'first' is channels_first and layer 'last' is"):
        plan_conversion(keras.Model(picture, layers.Dense(2)(x)))


# ---- operations and merges ---------------------------------------------------------------------


def features(width=6):
    picture = keras.Input((16, 19, 3))
    return picture, layers.Conv2D(width, 3, strides=2, activation="relu")(picture)


def operations():
    picture, x = features()
    mean, top = ops.mean(x, axis=(1, 2)), ops.max(x, axis=[-2, -3], keepdims=True)
    x = ops.concatenate([mean, ops.squeeze(top, (1, 2))], axis=1)
    x = layers.Dense(8)(x)
    x = ops.relu(x) + 0.5 * keras.activations.gelu(1 - x)
    x = x * np.linspace(0.5, 1.5, 8, dtype="float32")
    return keras.Model(picture, ops.softmax(layers.Dense(4)(x)))


def prelu():
    picture, x = features()
    x = layers.PReLU(alpha_initializer="ones")(layers.Dense(8)(layers.Flatten()(x)))
    x = layers.RMSNormalization()(x)
    return keras.Model(picture, layers.Dense(3, activation="sigmoid")(x))


def prelu_of_one_slope():
    picture, x = features()
    x = layers.PReLU(alpha_initializer="ones", shared_axes=[1])(
        layers.Dense(8)(layers.GlobalAveragePooling2D()(x))
    )
    return keras.Model(picture, layers.Dense(3)(x))


def flattened_sum():
    picture, x = features()
    other = layers.Flatten()(layers.Conv2D(6, 1)(x))
    x = ops.relu(layers.Add()([layers.Flatten()(x), other]))
    return keras.Model(picture, layers.Dense(3)(x))


def strided_on_the_vector():
    """A stride means nothing on a 1x1 map, and would leave places out of a larger one."""
    picture, x = features()
    x = layers.GlobalAveragePooling2D(keepdims=True)(x)
    return keras.Model(picture, layers.Flatten()(layers.Conv2D(4, 1, strides=2)(x)))


HEADS = [operations, prelu, prelu_of_one_slope, flattened_sum, strided_on_the_vector]


@pytest.mark.parametrize("network", HEADS)
def test_heads_of_other_layers(network):
    model = randomise(network())
    pictures = networks.random_pictures(3, 16, 19)
    assert networks.difference(to_fcn(model)(pictures), model(pictures)) < LIMIT
    last = model.layers[-1]
    if isinstance(last, layers.Layer) and getattr(last, "activation", None) is None:
        model = keras.Model(model.input, last.input)  # before a softmax
    check_slid(model, (20, 27), stride=2)


REFUSED = {
    "normalised over batch and places": lambda v: layers.GroupNormalization(2, name="bad")(v),
    "mean of a vector": lambda v: ops.mean(v, axis=-1, keepdims=True),
    "softmax over one number": lambda v: layers.Activation("softmax", name="bad")(
        layers.Reshape((6, 1, 1))(v)
    ),
    "softmax of a convolution over one number": lambda v: layers.Conv2D(
        6, 1, activation="softmax", name="bad", **FIRST
    )(layers.Reshape((6, 1, 1))(v)),
    "convolution over one number": lambda v: layers.Conv2D(1, 1, name="bad")(
        layers.Reshape((6, 1, 1))(v)
    ),
    "dense over one number": lambda v: layers.Flatten()(
        layers.Dense(3, name="bad")(layers.Reshape((6, 1, 1))(v))
    ),
    "a weight for each picture": lambda v: v * np.ones((2, 6), "float32"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_twin_is_refused(case):
    picture, x = features()
    x = REFUSED[case](layers.GlobalAveragePooling2D()(x))
    model = keras.Model(picture, layers.Flatten()(x))
    names = {call.name for call in model.operations}
    with pytest.raises(ConversionError, match=r"Layer '(\w+)'") as caught:
        to_fcn(model)
    assert str(caught.value).split("'")[1] in names


def test_a_map_turned_into_tokens_is_named():
    picture, x = features()
    tokens = layers.TimeDistributed(layers.Flatten(), name="tokens")(x)
    model = keras.Model(picture, layers.Dense(2)(layers.GlobalAveragePooling1D()(tokens)))
    with pytest.raises(ConversionError, match=r"'tokens' .* turns the map into .*\(None, 7, 54\)"):
        to_fcn(model)


def test_a_map_reshaped_by_an_operation_is_refused():
    """At its own size it would be equal, at another it would mix pictures."""
    picture, x = features()
    tokens = layers.Dense(6)(ops.reshape(x, (-1, 7 * 9, 6)))
    x = ops.reshape(tokens, (-1, 7, 9, 6))
    model = keras.Model(picture, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    with pytest.raises(ConversionError, match=r"'reshape\w*' \(Reshape\) reorders a map"):
        to_fcn(model)


# ---- structure and precision -------------------------------------------------------------------


def test_outputs_keep_their_structure(tmp_path):
    picture, x = features()
    x = layers.GlobalAveragePooling2D()(x)
    outputs = {"kind": layers.Dense(3, activation="softmax")(x), "more": [layers.Dense(1)(x), x]}
    model = randomise(keras.Model(picture, outputs))
    pictures = networks.random_pictures(2, 16, 19)
    fcn = to_fcn(model)
    fcn.save(tmp_path / "fcn.keras")
    for result in (fcn(pictures), keras.models.load_model(tmp_path / "fcn.keras")(pictures)):
        keras.tree.assert_same_structure(result, model(pictures))
        keras.tree.map_structure(
            lambda a, b: np.testing.assert_allclose(to_numpy(a), to_numpy(b), atol=1e-5),
            result,
            model(pictures),
        )


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16", "bfloat16"])
@pytest.mark.parametrize("network", [networks.flatten_valid, networks.average_deep_head])
def test_half_precision(policy, network):
    model = networks.build(network)
    keras.config.set_dtype_policy(policy)
    try:
        half = network()
    finally:
        keras.config.set_dtype_policy("float32")
    half.set_weights(model.get_weights())
    pictures = networks.random_pictures(3, *model.input_shape[1:])
    fcn = to_fcn(half)
    assert fcn.compute_dtype == "float32" or fcn.certificate.tolerance > 1e-3
    result, reference = fcn(pictures), half(pictures)
    assert keras.backend.standardize_dtype(result.dtype) == keras.backend.standardize_dtype(
        reference.dtype
    )
    result, reference = (to_numpy(ops.cast(v, "float32")) for v in (result, reference))
    assert networks.difference(result, reference) < 0.05
    assert networks.difference(result, to_numpy(model(pictures))) < 0.1


def test_an_average_in_float16_has_room():
    """4,096 cells of 100 sum to more than the largest float16."""
    picture = keras.Input((64, 64, 1), dtype="float16")
    x = layers.GlobalAveragePooling2D(dtype="float16")(picture)
    model = keras.Model(picture, layers.Dense(1, dtype="float16", kernel_initializer="ones")(x))
    result = to_fcn(model, verify=False)(np.full((1, 64, 80, 1), 100, "float16"))
    assert to_numpy(result) == pytest.approx(100, rel=1e-2)


@pytest.mark.parametrize("mode", ["int8", "float8"])
def test_quantised_layers_are_refused(mode):
    model = networks.build(networks.average_deep_head)
    model.get_layer("hidden").quantize(mode)
    with pytest.raises(ConversionError, match=rf"'hidden' .*is quantised \({mode}\).*float model"):
        to_fcn(model)


def test_lora_is_refused():
    model = networks.build(networks.average_deep_head)
    model.get_layer("hidden").enable_lora(2)
    with pytest.raises(ConversionError, match=r"'hidden' .*has LoRA weights"):
        to_fcn(model)
