"""`ResNet18` and `ResNet34`, which Keras does not have, with the names of its ResNet50."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import keras
from keras import layers

from fcnkeras.models.npy_weights import load_file


def ResNet18(weights: str | PathLike | None = None, **options: Any) -> keras.Model:
    """ResNet-18: two residual blocks in each of four stages. See `ResNet34`."""
    return _resnet((2, 2, 2, 2), "resnet18", weights, **options)


def ResNet34(weights: str | PathLike | None = None, **options: Any) -> keras.Model:
    """ResNet-34: three, four, six and three residual blocks of two 3x3 convolutions each.

    Args:
        weights: None (random), or the path of a weights file that Keras wrote. Keras offers no
            download.
        options: classes (1000), input_shape ((224, 224, 3)), classifier_activation ("softmax")
            and name, as those of `keras.applications.ResNet50`.

    Returns:
        A `keras.Model`, float32 (batch, 224, 224, 3), RGB scaled to 0-1 and normalised by
        ImageNet's means and deviations, to (batch, classes). The last layer of block n of stage s
        is "conv<s>_block<n>_out", s from 2 to 5, as in Keras' ResNet50.

    Raises:
        ValueError: no such weights file, or one that does not fit.

    Example:
        >>> ResNet18(classes=4)(np.zeros((1, 224, 224, 3), "float32")).shape
        (1, 4)

    Source: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", 2015.
    """
    return _resnet((3, 4, 6, 3), "resnet34", weights, **options)


def _resnet(
    blocks: tuple[int, ...],
    own_name: str,
    weights: str | PathLike | None,
    classes: int = 1000,
    input_shape: tuple[int, int, int] = (224, 224, 3),
    classifier_activation: str | None = "softmax",
    name: str | None = None,
) -> keras.Model:
    if weights == "imagenet":
        raise ValueError(
            f"Keras has no ImageNet weights of {own_name} to download: pass the path of a weights "
            "file, or None for random ones."
        )
    if weights is not None and not Path(weights).is_file():
        raise ValueError(f"`weights` must be None or a file. No such file: {weights}")
    picture = keras.Input(input_shape, name="picture")
    x = layers.ZeroPadding2D(3, name="conv1_pad")(picture)
    x = _conv(x, 64, 7, 2, "conv1", padding="valid")
    x = layers.ZeroPadding2D(1, name="pool1_pad")(x)
    x = layers.MaxPooling2D(3, 2, name="pool1_pool")(x)
    for stage, count in enumerate(blocks, start=2):
        for block in range(1, count + 1):
            strides = 2 if stage > 2 and block == 1 else 1
            x = _block(x, 2 ** (4 + stage), strides, f"conv{stage}_block{block}")
    x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
    x = layers.Dense(classes, activation=classifier_activation, name="predictions")(x)
    model = keras.Model(picture, x, name=name or own_name)
    if weights is not None:
        load_file(model, Path(weights))
    return model


def _block(x: Any, filters: int, strides: int, name: str) -> Any:
    """Two 3x3 convolutions beside a shortcut; the sum goes through a ReLU."""
    shortcut = x
    if strides > 1 or x.shape[-1] != filters:
        shortcut = _conv(x, filters, 1, strides, f"{name}_0", activation=False)
    x = _conv(x, filters, 3, strides, f"{name}_1")
    x = _conv(x, filters, 3, 1, f"{name}_2", activation=False)
    return layers.ReLU(name=f"{name}_out")(layers.Add(name=f"{name}_add")([shortcut, x]))


def _conv(
    x: Any,
    filters: int,
    size: int,
    strides: int,
    name: str,
    padding: str = "same",
    activation: bool = True,
) -> Any:
    if padding == "same" and size > 1:  # by as much on every side, as PyTorch's weights expect
        x = layers.ZeroPadding2D(size // 2, name=f"{name}_zeros")(x)
    conv = layers.Conv2D(
        filters, size, strides, use_bias=False, kernel_initializer="he_normal", name=f"{name}_conv"
    )
    x = layers.BatchNormalization(epsilon=1e-5, name=f"{name}_bn")(conv(x))
    return layers.ReLU(name=f"{name}_relu")(x) if activation else x
