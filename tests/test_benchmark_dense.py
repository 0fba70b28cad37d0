"""What `benchmarks/dense_vs_sliding.py` counts and compares, by hand."""

import sys
from pathlib import Path

import keras
import networks
import numpy as np
import pytest
from keras import layers

from fcnkeras import to_fcn
from fcnkeras.models.structure import map_model

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import dense_vs_sliding
from multiplications import multiplications


def coarse():
    """64 pixels in four cells, and the stride of the benchmark's networks."""
    picture = keras.Input((64, 64, 3))
    x = layers.Flatten()(layers.Conv2D(4, 32, strides=32, activation="relu")(picture))
    return keras.Model(picture, layers.Dense(5)(x), name="coarse")


def test_multiplications_by_hand():
    inside = keras.Input((8, 8, 3))
    base = keras.Model(inside, layers.Conv2D(4, 3, strides=2)(inside))  # to 3x3
    picture = keras.Input((8, 8, 3))
    x = layers.BatchNormalization()(base(picture))
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(x)
    x = layers.Conv2D(6, 1, groups=2)(x)
    x = layers.Dense(7, name="hidden")(layers.GlobalAveragePooling2D()(layers.ReLU()(x)))
    model = keras.Model(picture, x)
    # Outputs times the weights that each of them sums over.
    assert multiplications(model, 8, 8) == 36 * 27 + 72 * 9 + 54 * 4 + 7 * 6


def test_a_fully_convolutional_network_multiplies_as_often_at_the_native_size():
    model = networks.flatten_valid()
    fcn = to_fcn(model)
    count = multiplications(model, 24, 30)
    assert count == 22 * 28 * 8 * 27 + 9 * 12 * 12 * 72 + 1296 * 16 + 16 * 5
    assert multiplications(fcn, 24, 30) == count
    # 28 rows: 26, 13 and 11; the head has three places.
    more = 26 * 28 * 8 * 27 + 11 * 12 * 12 * 72 + 3 * (1296 * 16 + 16 * 5)
    assert multiplications(fcn, 28, 30) == more


def test_the_published_count_of_a_known_network():
    """Sandler et al., "MobileNetV2", 2018, table 4: 300 million."""
    model = keras.applications.MobileNetV2(weights=None)
    assert multiplications(model, 224, 224) == pytest.approx(300e6, rel=0.005)


def test_a_kernel_of_another_kind_is_not_left_out():
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.SeparableConv2D(4, 3, name="apart")])
    with pytest.raises(ValueError, match=r"must be Conv2D, .* Received: 'apart' \(SeparableConv2D"):
        multiplications(model, 8, 8)


def test_a_row_by_hand():
    model = networks.rescale_weights(coarse(), networks.random_pictures(8, 64, 64))
    fcn = map_model(to_fcn(model))
    row = dense_vs_sliding.measure_scale(model, fcn, "coarse", 1.5, batch=3, repeats=1)
    assert (row["pixels"], row["windows"], row["batch"]) == (96, 4, 3)
    assert row["counted_fcn"] == 9 * 4 * 3072 + 4 * 5 * 16
    assert row["counted_sliding"] == 4 * (4 * 4 * 3072 + 16 * 5)
    assert row["counted"] == pytest.approx(196928 / 110912, abs=0.005)
    assert row["measured"] == pytest.approx(row["seconds_sliding"] / row["seconds_fcn"], rel=0.5)
    assert row["share"] == pytest.approx(row["measured"] / row["counted"], rel=0.02)
    assert dense_vs_sliding.decides_alike(row)
    # Rows taken for columns are seen.
    turned = keras.Model(fcn.input, layers.Permute((2, 1, 3))(fcn.output))
    row = dense_vs_sliding.measure_scale(model, turned, "coarse", 1.5, batch=4, repeats=1)
    assert not dense_vs_sliding.decides_alike(row)


def test_windows_row_by_row():
    rows, columns = np.mgrid[:96, :96]
    picture = np.stack([rows, columns, rows], axis=-1)
    windows = dense_vs_sliding.cut(picture, 32, 3)
    assert windows.shape == (9, 32, 32, 3)
    corners = windows[:, 0, 0, :2].tolist()
    assert corners[:4] == [[0, 0], [0, 32], [0, 64], [32, 0]]
