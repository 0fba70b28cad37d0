"""The models that feeders' batches go into: masks, crops, shared weights."""

import networks
import numpy as np
import pytest

from fcnkeras import to_fcn
from fcnkeras.models.fed import fed_model


def softmax(values):
    powers = np.exp(values - values.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


@pytest.fixture(scope="module")
def model():
    return networks.build(networks.average_valid)


@pytest.mark.parametrize("feeder", ["squash", "crop"])
def test_plain_feeders_need_no_wrapper(model, feeder):
    fcn = to_fcn(model)
    assert fed_model(fcn, feeder) is fcn


@pytest.mark.parametrize("feeder", ["pad", "native"])
@pytest.mark.parametrize("pooling", ["max", "avg"])
@pytest.mark.parametrize("pool_on", ["logits", "probabilities"])
def test_a_mask_of_ones_is_the_plain_model(model, feeder, pooling, pool_on):
    fcn = to_fcn(model, pooling=pooling, pool_on=pool_on)
    pictures = networks.random_pictures(2, 40, 31)
    masked = fed_model(fcn, feeder)([pictures, np.ones((2, 40, 31), bool)])
    assert networks.difference(masked, fcn(pictures)) < 1e-5


@pytest.mark.smoke
def test_padding_never_wins(model):
    """Behind the picture stands what would win every class, if it were let."""
    fcn = to_fcn(model)
    wrapped = fed_model(fcn, "pad")
    pictures = networks.random_pictures(1, 24, 64)
    mask = np.zeros((1, 24, 64), bool)
    mask[:, :, :32] = True
    loud = pictures.copy()
    loud[:, :, 44:] *= 50  # pixels that no window half full of picture sees
    assert networks.difference(fcn(loud), fcn(pictures)) > 0.1, "without the mask it wins"
    assert networks.difference(wrapped([loud, mask]), wrapped([pictures, mask])) < 1e-5


def test_masked_maximum_of_the_places_that_count(model):
    # 24x64 pixels give 9x29 cells, windows of 9x9 and so 21 places; of a mask of the first 32
    # pixels a place counts if at least half of its 9 cells are picture. Cells are cut evenly:
    # 64 / 29 = 2.2 pixels, so cells 0 to 13 are picture and half of the 15th is: places 0 to 10.
    fcn = to_fcn(model, pooling="max")
    pictures = networks.random_pictures(2, 24, 64)
    mask = np.zeros((2, 24, 64), bool)
    mask[:, :, :32] = True
    places = networks.fcn_logits(fcn, pictures)
    assert places.shape == (2, 1, 21, 5)
    expected = softmax(places[:, 0, :11].max(1))
    assert networks.difference(fed_model(fcn, "native")([pictures, mask]), expected) < 1e-5
    assert networks.difference(expected, fcn(pictures)) > 1e-3


@pytest.mark.parametrize("pooling", ["max", "avg"])
@pytest.mark.parametrize("pool_on", ["logits", "probabilities"])
def test_crops_are_joined_as_the_places_are(model, pooling, pool_on):
    fcn = to_fcn(model, pooling=pooling, pool_on=pool_on)
    crops = networks.random_pictures(6, 28, 28).reshape(2, 3, 28, 28, 3)
    places = networks.fcn_logits(fcn, crops.reshape(6, 28, 28, 3))
    if pool_on == "probabilities":
        places = softmax(places)
    join = {"max": np.max, "avg": np.mean}[pooling]
    expected = join(join(places, axis=(1, 2)).reshape(2, 3, 5), axis=1)
    if pool_on == "logits":
        expected = softmax(expected)
    wrapped = fed_model(fcn, "multicrop")
    assert networks.difference(wrapped(crops), expected) < 1e-5
    # In other numbers of crops too.
    assert wrapped.predict(crops[:, :2], verbose=0).shape == (2, 5)


@pytest.mark.smoke
@pytest.mark.parametrize("feeder", ["pad", "multicrop"])
def test_training_the_wrapper_trains_the_network(model, feeder):
    fcn = to_fcn(model)
    wrapped = fed_model(fcn, feeder)
    pictures, before = networks.random_pictures(4, 30, 30), fcn.get_weights()
    batch = [pictures, np.ones((4, 30, 30), bool)] if feeder == "pad" else pictures[:, None]
    wrapped.compile("sgd", "sparse_categorical_crossentropy")
    wrapped.train_on_batch(batch, np.array([0, 1, 2, 3]))
    assert len(wrapped.weights) == len(fcn.weights) == len(before)
    assert all(np.abs(a - b).max() > 0 for a, b in zip(before, fcn.get_weights(), strict=True))


def test_exact_masks_are_for_native_pictures(model):
    fcn = to_fcn(model)
    pictures = networks.random_pictures(1, 26, 24)
    wide = np.pad(pictures, ((0, 0), (0, 0), (0, 30), (0, 0)), constant_values=9)
    mask = np.zeros((1, 26, 54), bool)
    mask[:, :, :24] = True
    exact = fed_model(fcn, "native", mask="exact")
    assert networks.difference(exact([wide, mask]), fcn(pictures)) < 1e-5
    for feeder in ("squash", "crop"):  # nothing to mask
        assert fed_model(fcn, feeder, mask="exact") is fcn


def test_refusals(model):
    with pytest.raises(ValueError, match=r"`mask` must be one of .* Received: 'exactly'"):
        fed_model(to_fcn(model), "native", mask="exactly")
    with pytest.raises(ValueError, match=r'"pad" makes it smaller .* Feed "native" pictures'):
        fed_model(to_fcn(model), "pad", mask="exact")
    with pytest.raises(ValueError, match="got 'padd'"):
        fed_model(to_fcn(model), "padd")
    with pytest.raises(ValueError, match="does not pool its map: convert it with pooling"):
        fed_model(to_fcn(model, pooling=None), "pad")
    with pytest.raises(ValueError, match=r"one output is needed. .* has 3"):
        fed_model(to_fcn(networks.several_outputs()), "native")
