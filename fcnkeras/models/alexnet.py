"""`AlexNet`, which Keras does not have: as Caffe trained it, for the public `bvlc_alexnet.npy`."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import keras
from keras import layers

from fcnkeras.layers import LocalResponseNormalization
from fcnkeras.models.npy_weights import load_file

LEAST = 67  # pixels: 15 cells behind conv1, 7 behind pool1, 3 behind pool2, 1 behind pool5


def AlexNet(
    weights: str | PathLike | None = None,
    classes: int = 1000,
    input_shape: tuple[int, int, int] = (227, 227, 3),
    classifier_activation: str | None = "softmax",
    dropout: float = 0.5,
    name: str = "alexnet",
) -> keras.Model:
    """AlexNet with the two groups, the normalisation and the layer names of Caffe's BVLC AlexNet.

    The layers are `conv1`, `norm1`, `pool1`, `conv2`, `norm2`, `pool2`, `conv3`, `conv4`, `conv5`,
    `pool5`, `flatten`, `fc6`, `drop6`, `fc7`, `drop7`, `fc8`. For other classes, with every other
    weight kept, use `AlexNet_fcn(weights=path, classes=n)`, or `drop_top_dense(model, 1)` and a
    Dense layer behind it.

    Args:
        weights: None (random), or the path of `bvlc_alexnet.npy`, which is read without running
            anything in it, or of a weights file that Keras wrote. Keras offers no download.
        classes: number of classes, in a weights file the same.
        input_shape: (height, width, channels), each side at least 67; the public weights fit
            (227, 227, 3) only.
        classifier_activation: of the last layer; None for logits.
        dropout: share dropped behind `fc6` and `fc7` while training, 0 for none.
        name: the model's name.

    Returns:
        A `keras.Model`, float32 (batch, 227, 227, 3), BGR minus ImageNet's means as
        `keras.applications.imagenet_utils.preprocess_input(x, mode="caffe")` makes it from RGB
        pixels of 0-255, to (batch, classes).

    Raises:
        ValueError: an argument is out of its range, or the weights file is missing, does not fit,
            or asks for code to be run.

    Example:
        >>> AlexNet(classes=4)(np.zeros((1, 227, 227, 3), "float32")).shape
        (1, 4)

    Source: Krizhevsky, Sutskever, Hinton, "ImageNet Classification with Deep Convolutional Neural
    Networks", 2012; Caffe's models/bvlc_alexnet/deploy.prototxt.
    """
    if weights == "imagenet":
        raise ValueError(
            "Keras has no ImageNet weights of AlexNet to download: get the public file "
            "bvlc_alexnet.npy and pass its path as `weights`."
        )
    if classes < 1:
        raise ValueError(f"`classes` must be at least 1. Received: {classes}")
    if not 0 <= dropout < 1:
        raise ValueError(f"`dropout` must be in [0, 1). Received: {dropout}")
    if len(input_shape) != 3 or min(input_shape[:2]) < LEAST:
        raise ValueError(
            f"`input_shape` must be (height, width, channels), each side at least {LEAST}. "
            f"Received: {input_shape}"
        )
    if weights is not None and not Path(weights).is_file():
        raise ValueError(f"`weights` must be None or a file. No such file: {weights}")
    model = _build(classes, input_shape, classifier_activation, dropout, name)
    if weights is not None:
        load_file(model, Path(weights))
    return model


def _build(
    classes: int,
    input_shape: tuple[int, int, int],
    activation: str | None,
    dropout: float,
    name: str,
) -> keras.Model:
    picture = keras.Input(input_shape, name="picture")
    x = _conv(96, 11, "conv1", strides=4, padding="valid")(picture)
    x = LocalResponseNormalization(name="norm1")(x)
    x = layers.MaxPooling2D(3, 2, name="pool1")(x)
    x = _conv(256, 5, "conv2", groups=2)(x)
    x = LocalResponseNormalization(name="norm2")(x)
    x = layers.MaxPooling2D(3, 2, name="pool2")(x)
    x = _conv(384, 3, "conv3")(x)
    x = _conv(384, 3, "conv4", groups=2)(x)
    x = _conv(256, 3, "conv5", groups=2)(x)
    x = layers.MaxPooling2D(3, 2, name="pool5")(x)
    x = layers.Flatten(name="flatten")(x)
    for number in (6, 7):
        x = layers.Dense(4096, activation="relu", name=f"fc{number}")(x)
        x = layers.Dropout(dropout, name=f"drop{number}")(x)
    x = layers.Dense(classes, activation=activation, name="fc8")(x)
    return keras.Model(picture, x, name=name)


def _conv(filters: int, size: int, name: str, padding: str = "same", **options: Any) -> Any:
    return layers.Conv2D(filters, size, padding=padding, activation="relu", name=name, **options)
