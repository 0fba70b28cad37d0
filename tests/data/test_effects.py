"""What feeders lose and add, by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fcnkeras import placement
from fcnkeras.data.effects import effect, effects
from fcnkeras.feeders import FEEDERS
from fcnkeras.images import ImageError


def test_a_picture_of_three_to_one_by_hand():
    """300 x 100 at 100: nothing is rounded."""
    squash = effect("squash", 300, 100, 100)
    assert squash.distortion == pytest.approx(2)  # 1 against 1/3
    assert (squash.cropped, squash.padded, squash.pixels) == (0, 0, 10_000)
    crop = effect("crop", 300, 100, 100)
    assert crop.cropped == pytest.approx(2 / 3)
    assert (crop.distortion, crop.arrays) == (0, 1)
    multicrop = effect("multicrop", 300, 100, 100)
    assert (multicrop.arrays, multicrop.pixels) == (3, 30_000)
    assert multicrop.cropped == multicrop.repeated == pytest.approx(0)
    native = effect("native", 300, 100, 100)
    assert (native.pixels, native.distortion, native.enlarged) == (30_000, 0, 0)
    pad = effect("pad", 300, 100, 100)  # 100 x 33.3 drawn in 33 rows
    assert pad.padded == pytest.approx(0.67)
    assert pad.distortion == pytest.approx((1 / 3) / 0.33 - 1)


def test_what_several_crops_repeat():
    """150 x 100: three squares of 100 x 100 begin at 0, 25 and 50."""
    found = effect("multicrop", 150, 100, 100)
    assert found.cropped == pytest.approx(0)
    assert found.repeated == pytest.approx(150 * 100 / (150 * 100))
    assert effect("multicrop", 100, 100, 50).arrays == 1
    assert effect("multicrop", 100, 150, 50).repeated == pytest.approx(1)


def test_small_pictures_are_enlarged():
    assert effect("crop", 99, 300, 100).enlarged == 1
    assert effect("pad", 99, 300, 100).enlarged == 0
    assert effect("pad", 99, 99, 100).enlarged == 1


def test_a_collection():
    sizes = {(100, 100): 3, (300, 100): 1}
    found = effects("crop", sizes, 100)
    assert found["cropped"]["mean"] == pytest.approx(1 / 6)
    assert found["cropped"]["max"] == pytest.approx(2 / 3)
    assert found["pixels"] == {"mean": 10_000, "max": 10_000}
    assert (found["enlarged"], found["refused"]) == (0, 0)
    assert effects("crop", sizes, 101)["enlarged"] == 4


def test_what_would_be_too_large_is_counted(monkeypatch):
    monkeypatch.setattr(placement, "MAX_FED_PIXELS", 20_000)
    found = effects("native", {(100, 100): 2, (300, 100): 5}, 100)
    assert found["refused"] == 5
    assert found["pixels"] == {"mean": 10_000, "max": 10_000}
    assert effects("native", {(300, 100): 5}, 100)["pixels"] == {"mean": None, "max": None}
    with pytest.raises(ImageError, match="more than the limit"):
        effect("native", 300, 100, 100)


@pytest.mark.parametrize("name", sorted(FEEDERS))
@given(width=st.integers(1, 90), height=st.integers(1, 90), size=st.integers(1, 40))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_it_is_what_the_feeder_does(name, width, height, size):
    fed = FEEDERS[name](Image.new("RGB", (width, height)), size)
    found = effect(name, width, height, size)
    assert found.padded == pytest.approx(1 - fed.mask.mean())
    assert (found.arrays, found.pixels) == (len(fed.arrays), fed.mask.size)
    assert found.cropped >= -1e-9
    assert found.cropped < 1e-9 or name == "crop"
    assert found.repeated < 1e-9 or name == "multicrop"
    if name == "crop":
        assert found.cropped == pytest.approx(1 - min(width, height) / max(width, height))
    area = sum(np.prod((place.to_original([place.fed_size]) - place.to_original([[0, 0]])).ravel())
               for place in fed.placements)  # fmt: skip
    if name == "multicrop":
        assert (1 + found.repeated) * width * height == pytest.approx(area)
