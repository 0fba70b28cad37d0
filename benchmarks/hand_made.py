"""The small shapes of the sweep: those of the tests, and a few more that no public network has."""

from __future__ import annotations

import keras
import networks
from keras import layers, ops


def multi_level() -> keras.Model:
    """The averages of every block, joined and normalised: a head that reads maps of three sizes."""
    picture = keras.Input((31, 39, 3))
    x, averages = picture, []
    for number, filters in enumerate((6, 8, 12), 1):
        x = layers.Conv2D(filters, 3, strides=2, name=f"block{number}")(x)
        x = layers.ReLU(name=f"block{number}_out")(layers.BatchNormalization()(x))
        averages.append(layers.GlobalAveragePooling2D()(x))
    x = layers.UnitNormalization()(layers.Concatenate()(averages))
    return keras.Model(picture, layers.Dense(5, activation="sigmoid")(x), name="multi_level")


def multi_level_same() -> keras.Model:
    """A skip connection of vectors: a fine map and a coarse one, padded."""
    picture = keras.Input((32, 40, 3))
    fine = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(picture)
    coarse = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(fine)
    x = layers.Add()([layers.GlobalMaxPooling2D()(fine), layers.GlobalAveragePooling2D()(coarse)])
    return keras.Model(picture, layers.Dense(5, activation="softmax")(x), name="multi_level_same")


def channels_first() -> keras.Model:
    """Colours before rows and columns, and a Flatten that moves them back."""
    first = {"data_format": "channels_first"}
    picture = keras.Input((3, 24, 30))
    x = layers.Conv2D(8, 3, strides=2, **first)(picture)
    x = layers.ReLU()(layers.BatchNormalization(axis=1)(x))
    x = layers.MaxPooling2D(2, strides=1, **first)(x)
    x = layers.Dense(16, activation="relu")(layers.Flatten(**first)(x))
    return keras.Model(picture, layers.Dense(5, activation="softmax")(x), name="channels_first")


def operations() -> keras.Model:
    """A head of functions instead of layers."""
    picture = keras.Input((24, 24, 3))
    x = layers.Conv2D(12, 3, strides=2, activation="relu")(picture)
    x = ops.concatenate([ops.mean(x, axis=(1, 2)), ops.max(x, axis=(1, 2))], axis=1)
    x = ops.relu(layers.Dense(8)(x)) * 0.5 + 1
    return keras.Model(picture, layers.Dense(5, activation="softmax")(x), name="operations")


def vgg16_valid() -> keras.Model:
    """VGG16 with no padding at all, 256 pixels, whose FCN must be VGG16 slid over a picture."""

    def without_padding(layer: keras.Layer) -> keras.Layer:
        config = layer.get_config()
        if isinstance(layer, layers.Conv2D):
            config["padding"] = "valid"
        return type(layer).from_config(config)

    padded = keras.applications.VGG16(weights=None, include_top=False, input_shape=(256, 256, 3))
    trunk = keras.models.clone_model(padded, clone_function=without_padding)
    x = layers.Flatten(name="flatten")(trunk.output)
    for name in ("fc1", "fc2"):
        x = layers.Dense(4096, activation="relu", name=name)(x)
    x = layers.Dense(1000, activation="softmax", name="predictions")(x)
    return keras.Model(trunk.input, x, name="vgg16_valid")


SHAPES = (
    *networks.SINGLE_OUTPUT,
    networks.several_outputs,
    multi_level,
    multi_level_same,
    channels_first,
    operations,
    vgg16_valid,
)
