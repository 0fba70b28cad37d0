"""`SmallVGG`: a VGG in miniature, whose starting weights the project trained itself."""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike
from pathlib import Path

import keras
from keras import layers

GENERATED_WEIGHTS = Path(__file__).parent / "weights" / "small_vgg.weights.h5"
GENERATED_CLASSES = 34  # of the generated task "pretraining"
BLOCKS = ((16,), (32,), (64, 64), (64,))  # the filters of each convolution of each block
UNITS = 128  # of fc1 and of fc2


def SmallVGG(
    weights: str | PathLike | None = "generated",
    classes: int = GENERATED_CLASSES,
    input_shape: tuple[int, int, int] = (64, 64, 3),
    classifier_activation: str | None = "softmax",
    name: str = "small_vgg",
) -> keras.Model:
    """A small VGG: four blocks of convolutions, `flatten`, `fc1`, `fc2`, `predictions`.

    Made for pictures of 64x64 pixels, 23 million multiply-adds each; the layers bear VGG's names.

    Args:
        weights: "generated" (trained on generated pictures by `scripts/pretrain_small_vgg.py`, in
            the package), None (random), or the path of a weights file.
        classes: number of classes. With other than the 34 of the weights the classifier is new
            and every other weight, fc1 and fc2 included, is kept.
        input_shape: (height, width, 3), each side at least 16; weights fit (64, 64, 3) only.
        classifier_activation: of the last layer; None for logits.
        name: the model's name.

    Returns:
        A `keras.Model`, float32 (batch, 64, 64, 3), RGB pixels of 0-255, to (batch, classes).

    Raises:
        ValueError: `weights` is neither "generated", None nor a file, or does not fit.

    Example:
        >>> SmallVGG(classes=4)(np.zeros((1, 64, 64, 3), "float32")).shape
        (1, 4)
    """
    if weights is None:
        return _build(classes, input_shape, classifier_activation, name)
    if tuple(input_shape) != (64, 64, 3):
        raise ValueError(f"The weights fit pictures of (64, 64, 3). Received: {input_shape}")
    path = GENERATED_WEIGHTS if weights == "generated" else Path(weights)
    if not path.is_file():
        raise ValueError(f"`weights` must be 'generated', None or a file. No such file: {path}")
    trained = _build(GENERATED_CLASSES, input_shape, classifier_activation, name)
    trained.load_weights(path)
    if classes == GENERATED_CLASSES:
        return trained
    model = _build(classes, input_shape, classifier_activation, name)
    for layer in model.layers[:-1]:
        layer.set_weights(trained.get_layer(layer.name).get_weights())
    return model


def _build(
    classes: int, input_shape: tuple[int, int, int], activation: str | None, name: str
) -> keras.Model:
    picture = keras.Input(input_shape, name="picture")
    x = layers.Rescaling(1 / 127.5, offset=-1, name="preprocessing")(picture)
    for layer in _feature_layers():
        x = layer(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(UNITS, activation="relu", kernel_initializer="he_uniform", name="fc1")(x)
    x = layers.Dense(UNITS, activation="relu", kernel_initializer="he_uniform", name="fc2")(x)
    x = layers.Dense(classes, activation=activation, name="predictions")(x)
    return keras.Model(picture, x, name=name)


def _feature_layers() -> Iterator[keras.Layer]:
    for number, block in enumerate(BLOCKS, start=1):
        for conv, filters in enumerate(block, start=1):
            yield layers.Conv2D(
                filters,
                3,
                padding="same",
                activation="relu",
                kernel_initializer="he_uniform",
                name=f"block{number}_conv{conv}",
            )
        yield layers.MaxPooling2D(2, name=f"block{number}_pool")
