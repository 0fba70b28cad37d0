import numpy as np
import pytest

from fcnkeras.report import maps


def test_centres_of_windows_by_hand():
    # Windows of 4 in a side of 10, three of them: they begin at 0, 3 and 6.
    assert maps.window_centres(3, 10, 4).tolist() == [2.0, 5.0, 8.0]
    assert maps.window_centres(1, 10, 4).tolist() == [5.0]


def test_a_map_is_interpolated_between_window_centres():
    # Centres at x = 1 and x = 5 of 6; pixels have their middles at 0.5, 1.5, ... 5.5.
    row = maps.upsample(np.array([[0.0, 4.0]]), 1, 6, 2)[0]
    assert row.tolist() == [0.0, 0.5, 1.5, 2.5, 3.5, 4.0]
    # Negative control: stretching the map over the picture would put its centres at 1.5 and 4.5.
    stretched = np.interp(np.arange(6) + 0.5, [1.5, 4.5], [0.0, 4.0])
    assert not np.allclose(row, stretched)


def test_rows_and_columns_are_not_exchanged():
    # Rows at y = 1, 3 (window 2 in 4), columns at x = 1, 3.5, 6 (window 2 in 7).
    values = np.array([[0.0, 10.0, 20.0], [100.0, 110.0, 120.0]])
    up = maps.upsample(values, 4, 7, 2)
    assert up.shape == (4, 7)
    assert up.dtype == np.float32
    assert up[:, 0].tolist() == [0.0, 25.0, 75.0, 100.0]
    np.testing.assert_allclose(up[0], [0, 2, 6, 10, 14, 18, 20])
    np.testing.assert_allclose(up[2, 3], 75 + 10)  # both interpolations add


def test_a_single_location_covers_the_picture():
    assert (maps.upsample(np.array([[7.0]]), 3, 5, 3) == 7).all()


def test_a_window_may_differ_in_height_and_width():
    up = maps.upsample(np.array([[0.0, 1.0], [2.0, 3.0]]), 4, 8, (2.0, 4.0))
    # Rows at y = 1, 3; columns at x = 2, 6.
    np.testing.assert_allclose(up[0], [0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1])
    np.testing.assert_allclose(up[:, 0], [0, 0.5, 1.5, 2])


def test_peak_is_the_centre_of_the_highest_window():
    values = np.zeros((2, 3))
    values[1, 2] = 5
    assert maps.peak(values, 4, 7, 2) == (3.0, 6.0)


@pytest.mark.parametrize(
    ("values", "height", "window", "message"),
    [
        (np.zeros((2, 2, 2)), 9, 4, r"\(2, 2, 2\)"),
        (np.zeros((2, 1)), 4, 4, "longer than 4; received a side of 4"),
        (np.zeros((1, 1)), 4, 0, "received 1 and 0"),
    ],
)
def test_impossible_maps_are_refused(values, height, window, message):
    with pytest.raises(ValueError, match=message):
        maps.upsample(values, height, 9, window)


def test_signed_colours_have_zero_in_the_middle():
    blue, middle, red = maps.colours(np.array([-1.0, 0.0, 1.0]), -1, 4, signed=True).astype(int)
    assert np.ptp(middle) < 8  # grey
    far = maps.colours(np.array([4.0]), -1, 4, signed=True).astype(int)[0]
    assert blue[2] > blue[0]
    assert red[0] > red[2]
    assert far[0] - far[2] > red[0] - red[2]  # the scale reaches to 4 on both sides


def test_unsigned_colours_grow_lighter_in_even_steps():
    rgb = maps.colours(np.linspace(0, 1, 9), 0, 1) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    lightness = 116 * np.cbrt(luminance) - 16  # CIE L*
    steps = np.diff(lightness)
    assert steps.min() > 0.7 * steps.mean()


def test_overlay_blends_by_alpha():
    picture = np.full((40, 60, 3), 100, np.uint8)
    heat = np.zeros((40, 60))
    heat[:, 30:] = 1
    solid = np.asarray(maps.overlay(picture, heat, alpha=1)).astype(int)
    half = np.asarray(maps.overlay(picture, heat, alpha=0.5)).astype(int)
    assert np.asarray(maps.overlay(picture, heat, alpha=0)).tolist() == picture.tolist()
    assert np.abs(half - (solid + 100) / 2).max() <= 1
    # viridis: from dark violet (68, 1, 84) to yellow (253, 231, 37), as its authors published it
    assert np.abs(solid[0, 0] - (68, 1, 84)).max() <= 1
    assert np.abs(solid[0, -1] - (253, 231, 37)).max() <= 1


def test_overlay_rings_the_marked_place_and_only_that():
    picture = np.full((100, 200, 3), 90, np.uint8)
    heat = np.zeros((100, 200))
    plain = np.asarray(maps.overlay(picture, heat))
    marked = np.asarray(maps.overlay(picture, heat, mark=(30.0, 150.0)))
    y, x = np.nonzero((plain != marked).any(axis=2))
    assert abs(y.mean() - 30) < 1
    assert abs(x.mean() - 150) < 1
    assert np.ptp(y) < 20
    assert np.ptp(x) < 20
    assert (marked[30, 150] == plain[30, 150]).all()  # the place itself stays visible


@pytest.mark.parametrize("heat", [np.zeros((60, 40)), np.full((40, 60), np.nan)])
def test_overlay_refuses_what_does_not_fit(heat):
    with pytest.raises(ValueError, match="received"):
        maps.overlay(np.zeros((40, 60, 3), np.uint8), heat)
