"""Small pictures, and a small network that stands among the known ones while a test runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
from keras import layers
from PIL import Image

from fcnkeras.batching import FedPictures
from fcnkeras.data.records import Collection, Record, read_class_folders
from fcnkeras.models import specs

NATIVE = 32
TINY = specs.NetworkSpec(
    "Tiny", "galleries:TinyNet", NATIVE, "tf", "block1_pool", ("block1_pool", "block2_pool")
)


def TinyNet(
    weights: str | None = None, classes: int = 1000, classifier_activation: str = "softmax"
) -> keras.Model:
    """Two blocks of convolutions and a flattened head, for pictures of 32x32 pixels."""
    picture = keras.Input((NATIVE, NATIVE, 3))
    x = picture
    for block in (1, 2):
        x = layers.Conv2D(6, 3, 2, padding="same", activation="relu", name=f"block{block}_conv")(x)
        x = layers.MaxPooling2D(name=f"block{block}_pool")(x)
    x = layers.Dense(12, activation="relu", name="fc1")(layers.Flatten(name="flatten")(x))
    x = layers.Dense(classes, activation=classifier_activation, name="predictions")(x)
    return keras.Model(picture, x, name="tiny")


def solid(folder: Path, sizes: Sequence[tuple[int, int]]) -> Collection:
    """Pictures of one colour each, of these (width, height). Picture i has class i and the colour
    `colour(i)`."""
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for i, size in enumerate(sizes):
        path = folder / f"{i:03}.png"
        Image.new("RGB", size, colour(i)).save(path)
        records.append(Record(path, {"class": i}))
    return Collection(tuple(records), tuple(str(i) for i in range(len(sizes))))


def colour(i: int) -> tuple[int, int, int]:
    return 3 * i % 256, (255 - 3 * i) % 256, i


def class_folders(folder: Path, count: int, *, seed: int = 0) -> Path:
    """Two class folders, "reddish" and "greenish", of `count` noisy pictures each, in sizes from
    40x40 to 120x40 and 40x80."""
    rng = np.random.default_rng(seed)
    sizes = ((40, 40), (60, 40), (40, 80), (120, 40))
    for name, tint in (("reddish", (60, 0, 0)), ("greenish", (0, 60, 0))):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            width, height = sizes[i % len(sizes)]
            pixels = rng.integers(0, 190, (height, width, 3)) + tint
            Image.fromarray(pixels.astype("uint8")).save(folder / name / f"{i}.png")
    return folder


def fed_parts(folder: Path) -> tuple[FedPictures, FedPictures]:
    """Batches of the class folders below "train", mirrored and of an order of their own in each
    epoch, and of those below "val"."""
    train, val = (
        FedPictures(
            read_class_folders(folder / part),
            "crop",
            NATIVE,
            batch=4,
            shuffle=part == "train",
            flip=part == "train",
            seed=1,
        )
        for part in ("train", "val")
    )
    return train, val
