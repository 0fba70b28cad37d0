"""The real network on real photographs: as an FCN it names them as before, and looks there."""

import csv

import numpy as np
import pytest

from fcnkeras import MobileNetV2_fcn, feeders
from fcnkeras.images import open_picture
from fcnkeras.models.classifier import build_classifier
from fcnkeras.models.specs import SPECS
from fcnkeras.models.structure import map_model
from fcnkeras.report.maps import peak

# Where the named object is, as (left, top, right, bottom) shares of the picture: read off the
# photographs by eye. Of the portrait the object is the uniform.
OBJECTS = {
    "cat.jpg": (0.10, 0.10, 0.70, 1.00),
    "bird.jpg": (0.06, 0.20, 0.62, 0.85),
    "grace_hopper.jpg": (0.00, 0.48, 1.00, 1.00),
    "sunflower.jpg": (0.15, 0.05, 0.80, 1.00),
    "dragonfly.jpg": (0.22, 0.10, 0.78, 0.75),
}


@pytest.fixture(scope="module")
def weights(shared_data):
    return shared_data / "weights" / "mobilenet_v2_imagenet.weights.h5"


@pytest.fixture(scope="module")
def photos(shared_data):
    with (shared_data / "photos" / "labels.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["file"] for row in rows} == set(OBJECTS)
    return [(open_picture(shared_data / "photos" / r["file"]), r) for r in rows]


@pytest.fixture(scope="module")
def original(weights):
    return build_classifier(SPECS["MobileNetV2"], weights=weights, include_preprocessing=True)


@pytest.mark.parametrize("pooling", ["max", "avg"])
def test_fcn_names_the_photos_as_the_network_does(weights, photos, original, pooling):
    fcn = MobileNetV2_fcn(weights=weights, include_preprocessing=True, pooling=pooling)
    for picture, row in photos:
        squashed = feeders.squash(picture, 224).arrays.astype("float32")
        named = int(original.predict(squashed, verbose=0).argmax())
        assert named == int(row["imagenet_class"]), row["file"]
        for size in (224, 336):
            fed = feeders.native(picture, size).arrays.astype("float32")
            assert int(fcn.predict(fed, verbose=0).argmax()) == named, (row["file"], size)


def test_map_of_the_winning_class_peaks_on_the_object(weights, photos):
    fcn = MobileNetV2_fcn(weights=weights, include_preprocessing=True)
    scores = map_model(fcn)
    for picture, row in photos:
        left, top, right, bottom = OBJECTS[row["file"]]
        for size in (224, 336):
            fed = feeders.native(picture, size).arrays.astype("float32")
            winner = int(fcn.predict(fed, verbose=0).argmax())
            map2d = scores.predict(fed, verbose=0)[0, :, :, winner]
            y, x = peak(map2d, fed.shape[1], fed.shape[2], 224)
            where = x / fed.shape[2], y / fed.shape[1]
            assert left <= where[0] <= right, (row["file"], size, where)
            assert top <= where[1] <= bottom, (row["file"], size, where)


def test_without_its_weights_the_network_names_them_otherwise(photos):
    # The negative control of the tests above: random weights must not pass them.
    fcn = MobileNetV2_fcn(weights=None, include_preprocessing=True)
    right = 0
    for picture, row in photos:
        fed = feeders.native(picture, 224).arrays.astype("float32")
        right += int(np.argmax(fcn.predict(fed, verbose=0))) == int(row["imagenet_class"])
    assert right < len(photos)
