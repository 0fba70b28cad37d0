"""Exact masks: each picture of a mixed batch gets what the network gives it alone."""

import keras
import networks
import numpy as np
import pytest
from keras import layers
from mixed_batches import PROPORTIONS, answers, mixed_batch, one_by_one

from fcnkeras import ConversionError, add_skip_connection, to_fcn
from fcnkeras.models.exact import exact_masks
from fcnkeras.models.fed import fed_model

WAYS = [(pooling, window) for pooling in ("max", "avg") for window in ("native", "point")]


def times(factor):
    return [(rows * factor // 24, columns * factor // 24) for rows, columns in PROPORTIONS]


def rescaled(model):
    return networks.rescale_weights(
        model, networks.random_pictures(8, *model.input_shape[1:3], seed=1)
    )


def compare(fcn, sizes=PROPORTIONS):
    """How far the rows of a batch are from the pictures alone: with the exact mask, and with no
    mask at all."""
    pictures, mask, alone = mixed_batch(sizes)
    expected = one_by_one(fcn, alone)
    assert expected.std(axis=0).max() > 0.01, "the pictures differ"
    exact = answers(exact_masks(fcn), [pictures, mask])
    return networks.difference(exact, expected), networks.difference(
        answers(fcn, pictures), expected
    )


def head(x, name):
    x = layers.GlobalAveragePooling2D()(x)
    return layers.Dense(networks.CLASSES, name=name)(x)


# ---- networks ----------------------------------------------------------------------------------


def vgg_blocks():
    """VGG16's blocks, an eighth as wide, for 32 pixels."""
    x = picture = keras.Input((32, 32, 3))
    for convolutions, filters in ((2, 8), (2, 16), (3, 32), (3, 64), (3, 64)):
        for _ in range(convolutions):
            x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D(2)(x)
    x = layers.Dense(32, activation="relu")(layers.Flatten()(x))
    return keras.Model(picture, layers.Dense(networks.CLASSES)(x))


def residual():
    """Strides with padding "same", of which each size of picture has its own; a window of even
    size; a maximum at the border; residuals with and without projection."""
    picture = keras.Input((24, 24, 3))
    x = layers.Conv2D(8, 7, strides=2, padding="same", use_bias=False)(picture)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    for filters, stride, window in ((8, 1, 3), (12, 2, 4)):
        y = layers.Conv2D(filters, window, strides=stride, padding="same")(x)
        y = layers.ReLU()(layers.BatchNormalization()(y))
        y = layers.Conv2D(filters, 3, padding="same", dilation_rate=2)(y)
        y = layers.BatchNormalization()(y)
        if stride > 1:
            x = layers.Conv2D(filters, 1, strides=stride, padding="same")(x)
        x = layers.ReLU()(layers.Add()([x, y]))
    return keras.Model(picture, head(x, "predictions"))


def branches():
    """Averages at the border, separable convolutions, cut and enlarged maps, joined."""
    picture = keras.Input((24, 24, 3))
    x = layers.ZeroPadding2D(((0, 1), (2, 1)))(layers.Rescaling(0.5, 0.3)(picture))
    x = layers.Conv2D(8, 3, strides=2, activation="relu")(x)
    averages = layers.AveragePooling2D(3, strides=1, padding="same")(x)
    separable = layers.SeparableConv2D(8, 3, padding="same", activation="relu")(x)
    enlarged = layers.Cropping2D(((1, 0), (0, 1)))(layers.UpSampling2D(2)(x))
    enlarged = layers.ZeroPadding2D(((1, 0), (0, 1)))(enlarged)
    enlarged = layers.DepthwiseConv2D(2, strides=2, activation="relu")(enlarged)
    x = layers.Concatenate()([averages, separable, enlarged])
    x = layers.LayerNormalization()(x)
    return keras.Model(picture, head(x, "predictions"))


def levels():
    """Averages of two maps of different sizes, which meet place by place."""
    picture = keras.Input((24, 24, 3))
    fine = layers.Conv2D(6, 3, strides=2, padding="same", activation="relu")(picture)
    coarse = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(fine)
    ends = [layers.GlobalAveragePooling2D()(fine), layers.GlobalAveragePooling2D()(coarse)]
    x = layers.Dense(networks.CLASSES, name="predictions")(layers.Concatenate()(ends))
    return keras.Model(picture, x)


SMALL = (residual, branches, levels, networks.squeeze_and_excitation, networks.shared_layer)


# ---- the same as alone -------------------------------------------------------------------------


@pytest.mark.parametrize(("pooling", "window"), WAYS)
@pytest.mark.parametrize("network", SMALL, ids=lambda network: network.__name__)
def test_a_mixed_batch_gives_what_the_pictures_give_alone(network, pooling, window):
    if network is levels and window == "point" and keras.backend.backend() == "torch":
        pytest.skip("averages over uneven padding are refused on PyTorch")
    fcn = to_fcn(networks.build(network), pooling=pooling, window=window, verify=False)
    exact, without = compare(fcn)
    assert exact < 1e-5
    assert without > 0.05, "without the mask the padding is in the answers"


@pytest.mark.smoke
def test_a_mixed_batch_of_three():
    exact, without = compare(
        to_fcn(networks.build(residual), verify=False), [(24, 31), (40, 24), (27, 28)]
    )
    assert exact < 1e-5
    assert without > 0.05


@pytest.mark.parametrize("pooling", ["max", "avg"])
def test_vgg_blocks(pooling):
    fcn = to_fcn(networks.build(vgg_blocks), pooling=pooling, verify=False)
    exact, without = compare(fcn, times(32))
    assert exact < 1e-5
    assert without > 0.05


@pytest.mark.parametrize(("pooling", "window"), WAYS)
def test_mobilenet_v2(pooling, window):
    model = keras.applications.MobileNetV2(
        weights=None, input_shape=(48, 48, 3), alpha=0.35, classes=5, classifier_activation=None
    )
    fcn = to_fcn(rescaled(model), pooling=pooling, window=window, verify=False)
    exact, without = compare(fcn, times(48))
    assert exact < 1e-4
    assert without > 0.05


@pytest.mark.slow
@pytest.mark.parametrize("network", ["VGG16", "MobileNetV2", "ResNet50", "InceptionV3", "Xception"])
def test_keras_applications(network):
    """Whole networks at their full width; the least size that Inception and Xception take."""
    side = 80 if network in ("InceptionV3", "Xception") else 64
    model = getattr(keras.applications, network)(
        weights=None, input_shape=(side, side, 3), classes=5, classifier_activation=None
    )
    model = rescaled(model)
    for pooling in ("max", "avg"):
        exact, without = compare(to_fcn(model, pooling=pooling, verify=False), times(side))
        assert exact < 1e-4
        assert without > 0.05


@pytest.mark.parametrize("pool_on", ["logits", "probabilities"])
def test_skip_connection(pool_on):
    """Also in a loaded model, whose own layers have the names that new ones would get."""
    picture = keras.Input((24, 24, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="fine")(picture)
    x = layers.MaxPooling2D(3, strides=2, padding="same", name="max_pooling2d")(x)
    x = layers.Conv2D(8, 3, strides=2, activation="relu")(layers.Minimum(name="minimum")([x, x]))
    x = layers.Dense(8, activation="relu")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(picture, layers.Dense(networks.CLASSES, activation="softmax")(x))
    fcn = add_skip_connection(to_fcn(networks.build(lambda: model), pool_on=pool_on), "fine")
    networks.rescale_weights(fcn, networks.random_pictures(8, 40, 40, seed=1))
    keras.backend.clear_session()
    exact, without = compare(fcn)
    assert exact < 1e-5
    assert without > 0.05


def test_several_outputs():
    fcn = to_fcn(networks.build(networks.several_outputs))
    pictures, mask, alone = mixed_batch([(24, 40), (33, 24)])
    exact = exact_masks(fcn)([pictures, mask])
    expected = [[networks.to_numpy(value) for value in fcn(picture)] for picture in alone]
    for values, *pair in zip(exact, *expected, strict=True):
        assert networks.difference(values, np.concatenate(pair)) < 1e-5


# ---- against the fast mask ---------------------------------------------------------------------


def edge_finder():
    """One cell a pixel, one class: how much a 3x3 neighbourhood brightens from left to right, so
    that it cries out where a picture ends and brighter padding begins."""
    picture = keras.Input((1, 1, 1))
    x = layers.Conv2D(1, (1, 3), padding="same", use_bias=False, name="edge")(picture)
    x = layers.Dense(1, use_bias=False, name="score")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(picture, x)
    model.get_layer("edge").kernel.assign(np.reshape([-1, 0, 1], (1, 3, 1, 1)))
    model.get_layer("score").kernel.assign([[1]])
    return model


@pytest.mark.smoke
@pytest.mark.parametrize("pooling", ["max", "avg"])
def test_what_each_mask_lets_in(pooling):
    """A picture of one row, 1 2 4 5, then padding of 9, 3, 30, 0. Differences of neighbours, a
    zero beyond either end of what the network sees:

    alone           2  3  3 -4
    in the batch    2  3  3  5 | -2 21 -3 -30

    Without a mask the edge inside the padding wins the maximum, 21. The fast mask lets no place
    of the padding count, but the last place of the picture has seen it: 5. The exact mask has
    the picture's own values, 3 and an average of 1.
    """
    fcn = to_fcn(edge_finder(), pooling=pooling, window="point", verify=False)
    row = np.reshape(np.array([1, 2, 4, 5, 9, 3, 30, 0], "float32"), (1, 1, 8, 1))
    mask = np.array([[[1, 1, 1, 1, 0, 0, 0, 0]]], bool)
    expected = {
        "max": {"none": 21, "fast": 5, "exact": 3},
        "avg": {"none": (2 + 3 + 3 + 5 - 2 + 21 - 3 - 30) / 8, "fast": 13 / 4, "exact": 1},
    }[pooling]
    found = {
        "none": answers(fcn, row),
        "fast": answers(fed_model(fcn, "native"), [row, mask]),
        "exact": answers(fed_model(fcn, "native", mask="exact"), [row, mask]),
    }
    for way, value in found.items():
        assert value[0, 0] == pytest.approx(expected[way], rel=1e-5), way


def test_what_is_behind_the_picture_does_not_matter():
    fcn = to_fcn(networks.build(residual), pooling="avg")
    model = exact_masks(fcn)
    quiet, mask, _ = mixed_batch(PROPORTIONS, noise=0)
    loud, _, _ = mixed_batch(PROPORTIONS, noise=1e4)
    wide = np.pad(loud, ((0, 0), (0, 5), (0, 12), (0, 0)), constant_values=7)
    wide_mask = np.pad(mask, ((0, 0), (0, 5), (0, 12)))
    expected = answers(model, [quiet, mask])
    assert networks.difference(answers(model, [loud, mask]), expected) < 1e-5
    assert networks.difference(answers(model, [wide, wide_mask]), expected) < 1e-5


def test_no_answer_where_there_is_none_alone():
    fcn = to_fcn(networks.build(networks.flatten_valid))  # a window of 24 x 30 pixels
    pictures, mask, alone = mixed_batch([(40, 40), (24, 25), (30, 30)])
    mask[2, 0] = False  # not at the top
    found = answers(exact_masks(fcn), [pictures, mask])
    assert networks.difference(found[:1], one_by_one(fcn, alone[:1])) < 1e-5
    assert np.isnan(found[1:]).all()
    with pytest.raises(ValueError, match="at least 24x30 pixels"):
        fcn(alone[1])


# ---- life with a model -------------------------------------------------------------------------


def test_saving_and_loading(tmp_path):
    fcn = to_fcn(networks.build(branches))
    fcn.save(tmp_path / "fcn.keras")
    model = exact_masks(keras.models.load_model(tmp_path / "fcn.keras"))
    model.save(tmp_path / "exact.keras")
    again = keras.models.load_model(tmp_path / "exact.keras")
    pictures, mask, alone = mixed_batch(PROPORTIONS[:3])
    expected = one_by_one(fcn, alone)
    assert networks.difference(again.predict([pictures, mask], verbose=0), expected) < 1e-5


@pytest.mark.smoke
def test_training_is_that_of_single_pictures_of_one_size():
    """Three pictures of one size in a larger array train as they do without padding: the losses,
    the statistics of BatchNormalization, and every weight of the network."""
    pictures, mask, alone = mixed_batch([(26, 31)] * 3)
    wide = np.pad(pictures, ((0, 0), (0, 9), (0, 20), (0, 0)), constant_values=5)
    wide_mask = np.pad(mask, ((0, 0), (0, 9), (0, 20)))
    labels = np.array([0, 3, 1])
    plain, fcn = to_fcn(networks.build(residual)), to_fcn(networks.build(residual))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    before = fcn.get_weights()
    losses = []
    wrapped = fed_model(fcn, "native", mask="exact")
    for model, batch in ((plain, np.concatenate(alone)), (wrapped, [wide, wide_mask])):
        model.compile(keras.optimizers.SGD(0.1), loss)
        losses.append(float(model.train_on_batch(batch, labels)))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    for old, one, other in zip(before, plain.get_weights(), fcn.get_weights(), strict=True):
        assert old.ndim == 1 or np.abs(other - old).max() > 1e-3  # every kernel has moved
        np.testing.assert_allclose(one, other, atol=2e-4)


def test_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = networks.build(residual)
    finally:
        keras.config.set_dtype_policy("float32")
    exact, without = compare(to_fcn(model, pooling="avg", verify=False))
    assert exact < 0.05
    assert without > 0.2


# ---- refusals ----------------------------------------------------------------------------------


@keras.saving.register_keras_serializable("fcnkeras_tests")
class Mirror(layers.Layer):
    """Looks at the other end of the row."""

    def call(self, values):
        return keras.ops.flip(values, axis=2)

    def compute_output_shape(self, input_shape):
        return input_shape


@keras.saving.register_keras_serializable("fcnkeras_tests")
def swish_of_rows(values):
    return values * keras.ops.mean(values, axis=2, keepdims=True)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (lambda: Mirror(name="odd"), r"'odd' \(Mirror\) has no exact mask: it may read more than"),
        (
            lambda: layers.Conv2DTranspose(4, 3, strides=2, name="odd"),
            r"'odd' \(Conv2DTranspose\) has no exact mask: it may read more than one cell",
        ),
        (
            lambda: layers.UpSampling2D(2, interpolation="bilinear", name="odd"),
            r"'odd' \(UpSampling2D\) has no exact mask: it interpolates \(bilinear\)",
        ),
        (
            lambda: layers.GroupNormalization(4, name="odd"),
            r"'odd' \(GroupNormalization\) has no exact mask",
        ),
        (
            lambda: layers.Activation(swish_of_rows, name="odd"),
            r"'odd' \(Activation\) has no exact mask: it calls a function that may read more",
        ),
        (
            lambda: layers.Conv2D(4, 3, activation=swish_of_rows, name="odd"),
            r"'odd' \(Conv2D\) has no exact mask: it calls a function that may read more",
        ),
    ],
    ids=["custom", "transposed", "bilinear", "groups", "function", "function of a convolution"],
)
def test_layers_without_a_rule_are_named(layer, message):
    picture = keras.Input((24, 24, 3))
    x = layers.Conv2D(8, 3, name="conv")(picture)
    fcn = to_fcn(keras.Model(picture, head(layer()(x), "predictions")), verify=False)
    with pytest.raises(ConversionError, match=message + r".*Take the fast mask"):
        fed_model(fcn, "native", mask="exact")
    assert fed_model(fcn, "native").name.endswith("_masked")


@keras.saving.register_keras_serializable("fcnkeras_tests")
class RootMeanSquare(layers.GlobalAveragePooling2D):
    """Pools, but is neither a mean nor a maximum."""

    def call(self, values):
        return keras.ops.sqrt(super().call(values**2))


def test_a_kind_of_pooling_of_its_own_is_not_taken_for_a_mean():
    picture = keras.Input((24, 24, 3))
    x = layers.Conv2D(8, 3, activation="relu")(picture)
    gate = RootMeanSquare(keepdims=True, name="odd")(x)
    x = layers.Multiply()([x, layers.Dense(8, activation="sigmoid")(gate)])
    fcn = to_fcn(keras.Model(picture, head(x, "predictions")), verify=False)
    with pytest.raises(ConversionError, match=r"'odd' \(RootMeanSquare\) has no exact mask"):
        exact_masks(fcn)


def test_one_pooling_layer_for_two_maps():
    picture = keras.Input((24, 24, 3))
    pool = layers.GlobalAveragePooling2D(keepdims=True)
    x = layers.Conv2D(8, 3, activation="relu")(picture)
    x = layers.Multiply()([x, pool(x)])
    x = layers.Multiply()([x, pool(x)])
    model = keras.Model(picture, head(x, "predictions"))
    assert compare(to_fcn(networks.build(lambda: model), verify=False))[0] < 1e-5


def test_maps_that_fit_for_some_sizes_only_are_refused():
    picture = keras.Input((24, 24, 3))
    up = layers.UpSampling2D(2)(layers.MaxPooling2D(2)(picture))
    x = layers.Add(name="join")([picture, up])  # odd sizes lose a row
    fcn = to_fcn(keras.Model(picture, head(x, "predictions")), verify=False)
    with pytest.raises(ConversionError, match=r"'join' \(Add\) .* 3 pixels give 3 and 2 cells"):
        exact_masks(fcn)


def test_other_refusals():
    model = networks.build(networks.average_valid)
    with pytest.raises(ValueError, match="does not pool its map: convert it with pooling"):
        exact_masks(to_fcn(model, pooling=None))
    inputs = [keras.Input((8, 8, 3)), keras.Input((8, 8, 3))]
    two = keras.Model(inputs, layers.GlobalMaxPooling2D()(layers.Add()(inputs)), name="two")
    with pytest.raises(ValueError, match=r"one input, the pictures, is needed. Model 'two' has 2"):
        exact_masks(two)


def test_the_helper_puts_every_picture_where_the_mask_says():
    pictures, mask, alone = mixed_batch(PROPORTIONS)
    assert len({rows / columns for rows, columns in PROPORTIONS}) == len(PROPORTIONS) >= 8
    for row, picture in enumerate(alone):
        np.testing.assert_array_equal(pictures[row][mask[row]], picture.reshape(-1, 3))
