"""`VGG16_fcn` and its siblings: networks of keras.applications, fully convolutional."""

from __future__ import annotations

from os import PathLike
from typing import Any

import keras

from fcnkeras.convert import to_fcn
from fcnkeras.models.classifier import build_classifier
from fcnkeras.models.specs import SPECS


def _constructor(
    function_name: str, network: str, imagenet: str = "downloaded by Keras", notes: str = ""
) -> Any:
    """The constructor of a network by the name of its spec; `imagenet` says where its weights come
    from, `notes` what else its users must know."""
    spec = SPECS[network]

    def build(
        weights: str | PathLike | None = "imagenet",
        classes: int = 1000,
        pooling: str | None = "max",
        pool_on: str = "logits",
        include_preprocessing: bool = False,
        window: str = "native",
        dropout: float = 0.0,
        name: str | None = None,
        verify: bool = True,
    ) -> keras.Model:
        model = build_classifier(
            spec,
            weights=weights,
            classes=classes,
            dropout=dropout,
            include_preprocessing=include_preprocessing,
        )
        return to_fcn(
            model, pooling=pooling, pool_on=pool_on, window=window, name=name, verify=verify
        )

    expects = {
        "caffe": "BGR minus ImageNet's means, "
        '`keras.applications.imagenet_utils.preprocess_input(x, mode="caffe")`',
        "tf": "RGB scaled to -1 to 1",
    }[spec.preprocessing]
    build.__name__ = build.__qualname__ = function_name
    build.__doc__ = f"""{network} as a fully convolutional network, for pictures of any size.

    Every weight of the original, the fully connected layers included, is kept.{notes}

    Args:
        weights: "imagenet" ({imagenet}), None (random), or the path of a weights file of
            {network} with 1000 or with `classes` classes.
        classes: number of classes. With other than 1000 the classifier is new, unless the weights
            file has one of that size; every other weight is kept.
        pooling: "max", "avg", or None for the map of shape (batch, rows, columns, classes).
        pool_on: "logits" or "probabilities"; see `fcnkeras.to_fcn`.
        include_preprocessing: with True the model takes RGB pixels of 0-255; with False what
            {network} was trained on ({expects}).
        window: "native" or "point"; see `fcnkeras.to_fcn`.
        dropout: share dropped before the classifier while training.
        name: the model's name.
        verify: proves at {spec.native}x{spec.native} that the result equals the original network.

    Returns:
        A `keras.Model`, float32 (batch, height, width, 3) with height and width at least
        {spec.native} to (batch, classes) probabilities.

    Raises:
        WeightsError: the weights cannot be downloaded, found, or do not fit.
        ConversionError: the result differs from the original network.

    Example:
        >>> model = {function_name}(weights=None, classes=2)
        >>> model(np.zeros((1, {spec.native}, {spec.native * 3 // 2}, 3), "float32")).shape
        (1, 2)
    """
    return build


VGG16_fcn = _constructor("VGG16_fcn", "VGG16")
VGG19_fcn = _constructor("VGG19_fcn", "VGG19")
InceptionV3_fcn = _constructor("InceptionV3_fcn", "InceptionV3")
Xception_fcn = _constructor("Xception_fcn", "Xception")
MobileNetV2_fcn = _constructor("MobileNetV2_fcn", "MobileNetV2")
ResNet50_fcn = _constructor("ResNet50_fcn", "ResNet50")
AlexNet_fcn = _constructor(
    "AlexNet_fcn",
    "AlexNet",
    imagenet="refused, as Keras has none: pass the path of `bvlc_alexnet.npy`",
    notes=" AlexNet's own dropout\n    of 0.5 behind fc6 and fc7 stays, whatever `dropout` is.",
)
