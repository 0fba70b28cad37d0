"""Original classifiers with the weights and the classes that one wants."""

from __future__ import annotations

import warnings
from os import PathLike
from pathlib import Path

import keras
from keras import layers

from fcnkeras.layers import Preprocessing
from fcnkeras.models.npy_weights import assign_weights, read_npy_weights
from fcnkeras.models.specs import NetworkSpec

IMAGENET_CLASSES = 1000


class WeightsError(ValueError):
    """Weights could not be had, or do not fit the network."""


def build_classifier(
    spec: NetworkSpec,
    *,
    weights: str | PathLike | None = "imagenet",
    classes: int = IMAGENET_CLASSES,
    dropout: float = 0.0,
    include_preprocessing: bool = False,
) -> keras.Model:
    """The original network, (batch, native, native, 3) to (batch, classes) probabilities.

    Args:
        spec: which network.
        weights: "imagenet" (downloaded by Keras; for a network without them, its own), None, or
            the path of a weights file for 1000 or for `classes` classes.
        classes: with other than 1000 the classifier is new, unless the file has one of that size;
            every other weight, VGG's fc1 and fc2 included, is kept.
        dropout: share dropped before the classifier while training.
        include_preprocessing: whether the model itself turns RGB pixels of 0-255 into what the
            network expects. Without, the caller does, as with `keras.applications`.

    Raises:
        WeightsError: no network access for the download, no such file, or a file that does not fit.
        ValueError: `classes` is below 1 or `dropout` outside [0, 1).
    """
    if classes < 1:
        raise ValueError(f"`classes` must be at least 1. Received: {classes}")
    if not 0 <= dropout < 1:
        raise ValueError(f"`dropout` must be in [0, 1). Received: {dropout}")
    if weights is None:
        model = spec.constructor(weights=None, classes=classes)
    elif weights in ("imagenet", spec.weights):
        model = _download(spec)
    else:
        model = _from_file(spec, Path(weights), classes)
    kept = int(model.output.shape[-1]) == classes
    if dropout or not kept:
        model = _new_classifier(model, classes, dropout, keep=kept)
    if include_preprocessing:
        model = _with_preprocessing(model, spec.preprocessing)
    return model


def _download(spec: NetworkSpec) -> keras.Model:
    try:
        return spec.constructor(weights=spec.weights)
    except OSError as error:
        raise _no_network(spec, error) from error
    except Exception as error:  # keras.utils.get_file raises a bare Exception
        if "URL fetch failure" not in str(error):
            raise
        raise _no_network(spec, error) from error


def _no_network(spec: NetworkSpec, error: Exception) -> WeightsError:
    return WeightsError(
        f"The {spec.weights} weights of {spec.name} could not be downloaded ({_reason(error)}): "
        "connect to the network once, or pass the path of a weights file."
    )


def _reason(error: Exception) -> str:
    return str(error).rsplit(": ", 1)[-1].strip()[:120] or type(error).__name__


def _from_file(spec: NetworkSpec, path: Path, classes: int) -> keras.Model:
    if not path.is_file():
        raise WeightsError(f"`weights` must be 'imagenet', None or a file. No such file: {path}")
    try:
        arrays = read_npy_weights(path) if path.suffix == ".npy" else None
    except ValueError as error:
        raise WeightsError(str(error)) from error
    problem: Exception | None = None
    for count in dict.fromkeys((classes, IMAGENET_CLASSES)):
        model = spec.constructor(weights=None, classes=count)
        try:
            with warnings.catch_warnings():
                # Keras looks for each layer a second time, under a private list of the graph, which
                # files of other versions do not have; the layers themselves are loaded.
                warnings.filterwarnings("ignore", message="Skipping nested container")
                if arrays is None:
                    model.load_weights(path)
                else:
                    assign_weights(model, arrays)
        except (ValueError, OSError, KeyError) as error:
            problem = error
        else:
            return model
    first = str(problem).strip().splitlines()[0][:160]
    counts = " or ".join(str(count) for count in dict.fromkeys((classes, IMAGENET_CLASSES)))
    raise WeightsError(
        f"The weights in {path} do not fit {spec.name} with {counts} classes ({first})"
    ) from problem


def _new_classifier(model: keras.Model, classes: int, dropout: float, *, keep: bool) -> keras.Model:
    """The model with a classifier of `classes` in place of its last layer, or with dropout before
    the one it has."""
    last = model.layers[-1]
    x = last.input
    if dropout:
        x = layers.Dropout(dropout, name="classifier_dropout")(x)
    classifier = layers.Dense(classes, activation="softmax", name=last.name)
    new = keras.Model(model.input, classifier(x), name=model.name)
    if keep:
        classifier.set_weights(last.get_weights())
    return new


def _with_preprocessing(model: keras.Model, mode: str) -> keras.Model:
    if mode == "none":
        return model
    picture = keras.Input(model.input.shape[1:], name="picture")
    x = Preprocessing(mode, name="preprocessing")(picture)
    return keras.Model(picture, model(x), name=model.name)
