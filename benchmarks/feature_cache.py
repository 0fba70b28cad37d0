"""How much faster is an epoch of head training from the feature cache, and is it the same training?

Makes pictures in a temporary folder, and trains the same new head on MobileNetV2, frozen, in two
ways that take turns, epoch by epoch:

- "network": Keras' own epoch of the whole model; its pictures are decoded before and kept in memory
- "cache": the head alone, on features that `cached_features` computed once

Both begin with the same weights, see the same batches in the same order, without augmentation, and
are measured by the same clock, from the begin of an epoch to its end, without validation. The first
epoch of each builds its function and does not count.

The columns of the CSV: way, first_seconds (of the cache: to compute and write the features of the
training pictures), epoch_seconds (median), times_network (how many epochs fit into one of the
network), val_accuracy, val_loss (after all epochs), epochs, pictures (training), size, batch,
network, weights, machine.

Goals: the cache's epoch at least 50 times faster, and figures on the validation pictures that
differ by at most 0.001.

    python benchmarks/feature_cache.py [--weights WEIGHTS.h5] [--pictures 400] [--out FILE.csv]

Exits with 1 if a goal is missed.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers
from measuring import command_line, save, tell
from PIL import Image

from fcnkeras.batching import FedPictures
from fcnkeras.data.records import Collection, Record
from fcnkeras.models.classifier import build_classifier
from fcnkeras.models.specs import get_spec
from fcnkeras.tasks.features import feature_model
from fcnkeras.training.feature_cache import cached_features
from fcnkeras.training.stages import jit_compile_mode

RESULT = Path(__file__).parent / "results" / "feature_cache.csv"
LEAST_TIMES = 50
MOST_DIFFERENCE = 1e-3
NETWORK = "MobileNetV2"
CLASSES = ("reddish", "greenish", "blueish", "grey")
COLUMNS = (
    "way", "first_seconds", "epoch_seconds", "times_network", "val_accuracy", "val_loss",
    "epochs", "pictures", "size", "batch", "network", "weights", "machine",
)  # fmt: skip


class Clock(keras.callbacks.Callback):
    """Measures every epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.seconds.append(time.perf_counter() - self.start)


def make_pictures(folder: Path, count: int, size: int, seed: int) -> Collection:
    """Soft patches of colour with a slight tint, which is the class, as JPEG."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    records = []
    for index in range(count):
        kind = index % len(CLASSES)
        patches = rng.integers(0, 196, (8, 8, 3))
        if kind < 3:
            patches[..., kind] += 60
        width = round(size * rng.uniform(1, 2))
        picture = Image.fromarray(patches.astype(np.uint8))
        path = folder / f"{index:04}.jpg"
        picture.resize((width, size), Image.Resampling.BICUBIC).save(path)
        records.append(Record(path, {"class": kind}))
    return Collection(tuple(records), CLASSES)


def new_head(channels: int) -> keras.Model:
    keras.utils.set_random_seed(0)
    top = layers.Dense(len(CLASSES), activation="softmax")
    return keras.Sequential([keras.Input((channels,)), top], name="head")


def compiled(model: keras.Model) -> keras.Model:
    loss = "sparse_categorical_crossentropy"
    optimizer = keras.optimizers.Adam(0.01)
    model.compile(optimizer, loss, metrics=["accuracy"], jit_compile=jit_compile_mode())
    return model


def measure(folder: Path, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    spec = get_spec(NETWORK)
    weights = str(arguments.weights) if arguments.weights else None
    base = build_classifier(spec, weights=weights, include_preprocessing=True)
    features = feature_model(base)
    features.trainable = False
    size, batch = arguments.size, arguments.batch
    counts = {"train": arguments.pictures, "val": max(4, arguments.pictures // 4)}
    data = {
        part: FedPictures(
            make_pictures(folder / part, count, size, seed),
            "crop",
            size,
            batch=batch,
            shuffle=part == "train",
            cache_bytes=16 << 30,
        )
        for seed, (part, count) in enumerate(counts.items())
    }
    start = time.perf_counter()
    train = cached_features(features, data["train"], folder / "features")  # decodes them, too
    first = time.perf_counter() - start
    val = cached_features(features, data["val"], folder / "features")
    channels = features.output_shape[-1]
    whole = keras.Model(features.input, new_head(channels)(features.output))
    ways = {
        "network": (compiled(whole), data["train"], data["val"]),
        "cache": (compiled(new_head(channels)), train, val),
    }
    clocks = {way: Clock() for way in ways}
    for epoch in range(arguments.epochs):
        for way, (model, fed, _) in ways.items():
            model.fit(
                fed,
                initial_epoch=epoch,
                epochs=epoch + 1,
                shuffle=False,
                verbose=0,
                callbacks=[clocks[way]],
            )
    rows = []
    for way, (model, _, held_out) in ways.items():
        loss, accuracy = model.evaluate(held_out, verbose=0)
        seconds = statistics.median(clocks[way].seconds[1:])
        rows.append(
            {"way": way, "epoch_seconds": seconds, "val_accuracy": accuracy, "val_loss": loss}
        )
    rows[1]["first_seconds"] = first
    shared = {
        "epochs": arguments.epochs,
        "pictures": arguments.pictures,
        "size": size,
        "batch": batch,
        "network": NETWORK,
        "weights": "ImageNet" if arguments.weights else "random",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    for row in rows:
        row |= {"times_network": rows[0]["epoch_seconds"] / row["epoch_seconds"], **shared}
    return rows


def main() -> int:
    parser = command_line(__doc__, RESULT)
    parser.add_argument("--weights", type=Path, help="ImageNet weights; random ones by default")
    parser.add_argument("--pictures", type=int, default=400)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--test-size", action="store_true", help="few small pictures")
    arguments = parser.parse_args()
    if arguments.test_size:
        vars(arguments).update(pictures=8, size=32, batch=4, epochs=2)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(Path(folder), arguments)
    lines = [
        {key: f"{value:.5g}" if isinstance(value, float) else value for key, value in row.items()}
        for row in rows
    ]
    save(arguments.out, lines, COLUMNS)
    for line in lines:
        tell(line, COLUMNS[:6])
    network, cache = rows
    same = all(
        abs(cache[key] - network[key]) <= MOST_DIFFERENCE for key in ("val_accuracy", "val_loss")
    )
    return int(cache["times_network"] < LEAST_TIMES or not same)


if __name__ == "__main__":
    sys.exit(main())
