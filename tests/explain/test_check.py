"""The checks tell a real method from an edge detector, and curves are what they say."""

import keras
import numpy as np
import pytest
from networks import build, random_pictures, to_numpy
from PIL import Image
from squares import bright, square
from test_maps_that_add_up import residual

from fcnkeras import to_fcn
from fcnkeras.explain import Explainer, check, targets
from fcnkeras.explain.explainer import Checker
from fcnkeras.explain.network import Network


@pytest.mark.parametrize("method", ["saliency", "grad-cam", "integrated-gradients"])
def test_randomisation_separates_a_method_from_an_edge_detector(method):
    explainer = Explainer(to_fcn(build(residual), window="point", pooling="avg"), size=72)
    checker = Checker(explainer)
    pictures = random_pictures(4, 72, 96, seed=8)
    found, control = [], []
    for picture in pictures:
        fed = explainer.feed(as_image(picture))
        found.append(checker.check(fed, method, 1).correlations["all"])
        control.append(checker.check(fed, check.edges, 1).correlations["all"])
    assert np.mean(found) < 0.6
    assert min(control) > 0.999


def as_image(picture):
    scaled = (picture - picture.min()) / np.ptp(picture) * 255
    return Image.fromarray(scaled.astype("uint8"))


def test_random_weights_keep_their_values_but_not_their_order():
    model = build(residual)
    before = [to_numpy(w) for w in model.weights]
    everything, top = (check.randomised(model, layers, seed=3) for layers in ("all", "top"))
    moved = [not np.array_equal(a, to_numpy(b)) for a, b in zip(before, top.weights, strict=True)]
    assert moved == [False] * (len(before) - 2) + [True, True]
    for old, weight, own in zip(before, everything.weights, model.weights, strict=True):
        np.testing.assert_array_equal(to_numpy(own), old)  # the model itself is only read
        np.testing.assert_array_equal(np.sort(to_numpy(weight).ravel()), np.sort(old.ravel()))
    again = check.randomised(model, "all", seed=3)
    x = random_pictures(1, 32, 32)
    np.testing.assert_array_equal(to_numpy(again(x)), to_numpy(everything(x)))
    with pytest.raises(ValueError, match=r"`layers` must be 'top' or 'all'\. Received: 'some'"):
        check.randomised(model, "some")


def test_rank_correlation_by_hand():
    # Ranks 0 1 2 3 and 0 2.5 1 2.5: deviations -1.5 -.5 .5 1.5 and -1.5 1 -.5 1, 3 / (5 * 4.5)^.5
    one, other = np.array([1.0, 2, 30, 400]), np.array([[-5.0, 9], [0, 9]])
    assert check.rank_correlation(one, other) == pytest.approx(3 / np.sqrt(5 * 4.5))
    assert check.rank_correlation(one, np.exp(-one)) == pytest.approx(-1)
    assert check.rank_correlation(one, np.ones(4)) == 0


def brightness():
    """Tells the mean of a picture."""
    picture = keras.Input((10, 10, 1))
    return keras.Model(picture, keras.layers.GlobalAveragePooling2D()(picture))


def test_deletion_and_insertion_by_hand():
    x = np.zeros((1, 10, 10, 1), "float32")
    x[0, :5] = 2.0  # the upper half; the mean is 1
    network = Network(brightness())
    target = targets.resolve(0, network.outputs([x]))
    heat = x[..., 0]
    deletion, insertion = check.deletion_and_insertion(network, target, [x], heat, steps=4)
    assert deletion.shares.tolist() == [0, 0.25, 0.5, 0.75, 1]
    # A quarter of the pixels goes from 2 to the mean 1, then the next; then 0 becomes 1.
    np.testing.assert_allclose(deletion.scores, [1, 0.75, 0.5, 0.75, 1], rtol=1e-5)
    assert deletion.area == pytest.approx(0.75)
    assert insertion.scores[-1] == pytest.approx(1, rel=1e-5)
    assert insertion.scores[0] == pytest.approx(1, rel=0.1)
    wrong, _ = check.deletion_and_insertion(network, target, [x], -heat, steps=4)
    assert wrong.area > deletion.area


@pytest.mark.parametrize("feeder", ["squash", "multicrop", "pad"])
def test_what_a_method_marks_matters_more_than_chance(feeder):
    model = bright(keras.Input((64, 64, 3)))
    if feeder == "pad":
        from fcnkeras import to_fcn

        model = to_fcn(model, window="point", pooling="avg")
    found = Checker(Explainer(model, feeder=feeder)).check(
        as_image(square(90, 150)[0]), "grad-cam", 1
    )
    assert found.deletion < found.random_deletion - 0.02
    assert found.insertion > found.random_insertion + 0.02
    assert set(found.correlations) == {"top", "all"}
