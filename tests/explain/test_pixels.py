"""From cells to pixels and back to the picture, against numbers worked by hand."""

import numpy as np
import pytest
from PIL import Image

from fcnkeras import feeders
from fcnkeras.explain.pixels import spread, to_original
from fcnkeras.placement import Placement, place


def test_spread_between_centres_and_with_the_mean_kept():
    cells = np.array([[[0.0, 4.0]]])
    centres = (np.array([0.5]), np.array([1.0, 5.0]))
    assert spread(cells, (1, 6), centres)[0, 0].tolist() == [0.0, 0.5, 1.5, 2.5, 3.5, 4.0]
    rng = np.random.default_rng(0)
    cells = rng.normal(size=(2, 3, 4))
    centres = (np.array([4.0, 10.0, 16.0]), np.array([9.0, 14.0, 19.0, 24.0]))
    kept = spread(cells, (20, 40), centres, keep_mean=True)
    np.testing.assert_allclose(kept.mean(axis=(1, 2)), cells.mean(axis=(1, 2)), rtol=1e-4)
    plain = spread(cells, (20, 40), centres)
    assert np.abs(plain.mean(axis=(1, 2)) - cells.mean(axis=(1, 2))).max() > 1e-3


def test_an_enlarged_map_is_interpolated():
    placement = Placement((4, 1), (2, 1), (0.5, 1.0))
    found = to_original(np.array([[[1.0, 3.0]]]), [placement])
    np.testing.assert_allclose(found, [[1.0, 1.5, 2.5, 3.0]])


def test_a_reduced_map_is_averaged():
    placement = Placement((2, 1), (6, 2), (3.0, 2.0))
    cells = np.array([[[1.0, 2, 3, 4, 5, 6], [3.0, 2, 1, 0, 1, 2]]])
    np.testing.assert_allclose(to_original(cells, [placement]), [[2.0, 3.0]])


def test_what_a_crop_leaves_out_is_not_known():
    (placement,) = place("crop", 8, 4, 4)
    found = to_original(np.arange(16.0).reshape(1, 4, 4), [placement])
    assert np.isnan(found[:, [0, 1, 6, 7]]).all()
    np.testing.assert_allclose(found[:, 2:6], np.arange(16.0).reshape(4, 4))


def test_padding_stays_outside():
    (placement,) = place("pad", 8, 4, 8)
    cells = np.full((1, 8, 8), 100.0)
    cells[0, 2:6] = np.arange(32.0).reshape(4, 8)
    np.testing.assert_allclose(to_original(cells, [placement]), np.arange(32.0).reshape(4, 8))


def test_overlapping_crops_are_averaged():
    placements = place("multicrop", 8, 4, 4)
    assert [p.offset[0] for p in placements] == [0, -2, -4]
    cells = np.stack([np.full((4, 4), value) for value in (1.0, 4.0, 7.0)])
    row = [1, 1, 2.5, 2.5, 5.5, 5.5, 7, 7]
    np.testing.assert_allclose(to_original(cells, placements), [row] * 4)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_map_as_the_file_stores_the_picture(orientation, tmp_path):
    # Of what the file stores, two pixels are known: the upper left one and its right neighbour.
    stored = np.zeros((8, 16, 3), "uint8")
    stored[0, 0], stored[0, 1] = 255, 128
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / "turned.png", exif=exif)
    fed = feeders.native(Image.open(tmp_path / "turned.png"), 8)
    maps = fed.arrays[..., 0].astype("float32")
    upright = to_original(maps, fed.placements)
    assert upright.shape == ((8, 16) if orientation < 5 else (16, 8))
    back = to_original(maps, fed.placements, stored=True)
    np.testing.assert_allclose(back, stored[..., 0])


@pytest.mark.parametrize("size", [(97, 203), (203, 97), (60, 300), (40, 31)])
@pytest.mark.parametrize("name", feeders.FEEDERS)
def test_there_and_back_is_the_picture(name, size):
    height, width = size
    y, x = np.mgrid[:height, :width]
    values = (40 + 80 * x / width + 100 * y / height).astype("uint8")
    fed = feeders.get_feeder(name)(Image.fromarray(np.stack([values] * 3, axis=2)), 64)
    found = to_original(fed.arrays[..., 0], fed.placements)
    assert found.shape == size
    seen = np.isfinite(found)
    assert seen.mean() == 1 or name == "crop"
    inside = seen & (x > 4) & (x < width - 5) & (y > 4) & (y < height - 5)
    assert np.abs(found - values)[inside].max() < 4
    assert np.abs(found[::-1] - values)[inside & inside[::-1]].max() > 20


def test_maps_must_fit_their_placements():
    with pytest.raises(ValueError, match=r"a map for each crop, of its size \[\(4, 4\)\]"):
        to_original(np.zeros((1, 4, 5)), place("crop", 8, 4, 4))
