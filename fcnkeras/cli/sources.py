"""The models that commands read: whole ones, or the weights of a network by its name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import keras

WHOLE = (".keras", ".h5", ".hdf5")
WEIGHTS = (".h5", ".hdf5", ".npy")

ModelFile = Annotated[
    Path, typer.Argument(help="A Keras model, .keras or .h5; with --network, its weights.")
]
Network = Annotated[
    str | None,
    typer.Option(help="For a file of weights (.weights.h5): VGG16, ResNet50, MobileNetV2 ..."),
]
Classes = Annotated[int | None, typer.Option(help="Of the weights, with --network. Default: 1000.")]
Preprocessing = Annotated[
    bool,
    typer.Option(
        "--include-preprocessing",
        help="With --network: the model takes RGB pixels of 0-255.",
    ),
]
Pooling = Annotated[
    str | None, typer.Option(help="max, avg or none (the map itself).", show_default="max")
]
PoolOn = Annotated[str | None, typer.Option(help="logits or probabilities.", show_default="logits")]
Window = Annotated[str | None, typer.Option(help="native or point.", show_default="native")]


def conversion_options(
    pooling: str | None, pool_on: str | None, window: str | None
) -> dict[str, Any]:
    """What was given, as `to_fcn` takes it."""
    given = {"pooling": pooling, "pool_on": pool_on, "window": window}
    return {
        key: None if (key, value) == ("pooling", "none") else value
        for key, value in given.items()
        if value is not None
    }


def check_source(path: Path, network: str | None, classes: int | None, preprocessing: bool) -> None:
    """Raises, before anything slow, if the options do not fit together or the file cannot be it."""
    if not path.is_file():
        raise ValueError(f"No such model file: {path}")
    if network is None:
        given = "--classes" if classes is not None else "--include-preprocessing"
        if classes is not None or preprocessing:
            raise ValueError(f"{given} goes with --network and a file of weights only.")
        if path.name.endswith(".weights.h5") or path.suffix == ".npy":
            raise ValueError(f"{path} holds weights only: say of which network, --network NAME.")
    endings = WHOLE if network is None else WEIGHTS
    if path.suffix not in endings:
        what = "A model" if network is None else "A file of weights"
        raise ValueError(f"{what} must end in {' or '.join(endings)}. Received: {path}")


def load_source(
    path: Path, network: str | None, classes: int | None, preprocessing: bool
) -> keras.Model:
    """The model in a file, or the network that the file holds the weights of."""
    if network is None:
        from fcnkeras.saved import load_saved

        return load_saved(path)
    from fcnkeras.models.classifier import IMAGENET_CLASSES, build_classifier
    from fcnkeras.models.specs import get_spec

    return build_classifier(
        get_spec(network),
        weights=path,
        classes=IMAGENET_CLASSES if classes is None else classes,
        include_preprocessing=preprocessing,
    )
