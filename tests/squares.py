"""A network that finds what is bright, and pictures with a bright square at a known place."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers


def bright(picture, head="average"):
    """Two classes: 1 where something is bright. Works on pixels of 0-255."""
    conv = layers.Conv2D(2, 5, strides=2, padding="same", activation="relu", name="conv")
    x = conv(layers.Rescaling(1 / 255)(picture))
    x = layers.AveragePooling2D(2, name="last")(x)
    x = {"average": layers.GlobalAveragePooling2D, "flatten": layers.Flatten}[head]()(x)
    dense = layers.Dense(2, activation="softmax", name="kind")
    model = keras.Model(picture, dense(x), name="bright")
    kernel = np.zeros((5, 5, 3, 2))
    kernel[..., 0] = 1 / 75  # the second channel is the same everywhere
    conv.set_weights([kernel, np.array([-0.5, 0.1])])
    scale = 40 * 2 / x.shape[-1]
    weights = np.tile([[-scale, scale], [0.1, -0.1]], (x.shape[-1] // 2, 1))
    dense.set_weights([weights, np.array([0.1, -0.2])])
    return model


def square(height, width, at=(0.4, 0.55), side=0.3):
    """A dark picture with a bright square; the square as (top, left, bottom, right)."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(10, 40, (height, width, 3), "uint8")
    length = round(side * min(height, width))
    top, left = round(at[0] * height - length / 2), round(at[1] * width - length / 2)
    pixels[top : top + length, left : left + length] = 250
    return pixels, (top, left, top + length, left + length)


def lights_up(heat, box):
    """Whether a map is highest in a box, and has most of its weight there or next to it."""
    top, left, bottom, right = box
    heat = np.nan_to_num(heat, nan=float(np.nanmin(heat)))
    y, x = np.unravel_index(heat.argmax(), heat.shape)
    margin = 3 + 0.1 * (bottom - top)
    inside = top - margin <= y <= bottom + margin and left - margin <= x <= right + margin
    outside = np.ones(heat.shape, bool)
    wide = round(0.7 * (bottom - top))
    outside[max(0, top - wide) : bottom + wide, max(0, left - wide) : right + wide] = False
    middle = np.abs(heat[top:bottom, left:right]).mean()
    return inside and (not outside.any() or np.abs(heat[outside]).mean() < 0.4 * middle)
