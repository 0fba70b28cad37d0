"""What do batches of native pictures add to them, and does training wait for them?

Makes JPEGs of 1:3 to 3:1 in a temporary folder, even on the scale of logarithms, and trains
MobileNetV2 on them, fully convolutional, from random weights, in three ways that take turns:

- "one at a time": every picture alone, in its own shape
- "padded": batches in a few shapes chosen from the collection, black around, with masks
- "bent": batches in as many shapes, to which the pictures are resized

Nothing is kept in memory, so that every epoch decodes every picture. A step waits for its batch
from the end of the step before until the batch is ready; the share of the epoch's time that all
steps wait is what counts, the first of an epoch too. Goal: under 5 % for the batches.

The columns of the CSV: way, most_shapes (asked for), shapes (there are), batches, padding (the
share of padding in all pixels), distortion and most_distorted (by how much more a picture is
stretched along one axis than along the other, the mean and the largest), pictures_per_second,
times_one (pictures per second, of one at a time), waiting, both medians over the rounds; pictures,
size, batch, network, workers, machine. Ways that are not trained show what other numbers of shapes
would add.

Speeds depend on what else the machine does; the ways take turns, so that their ratios do so less.

    python benchmarks/batching.py [--pictures 400] [--size 224] [--alpha 1.0] [--out FILE.csv]

Exits with 1 if batches wait for 5 % of the time or more.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers
from measuring import command_line, save, tell
from PIL import Image

from fcnkeras import to_fcn
from fcnkeras.batching import FedPictures
from fcnkeras.data.records import Collection, Record
from fcnkeras.models.fed import fed_model

RESULT = Path(__file__).parent / "results" / "batching.csv"
GOAL = 0.05
CLASSES = 10
SHAPES = 8
BENT = 0.15  # eight shapes that each reach so far on either side go from 1:3 to 3:1
# fmt: off
COLUMNS = (
    "way", "most_shapes", "shapes", "batches", "padding", "distortion", "most_distorted",
    "pictures_per_second", "times_one", "waiting", "pictures", "size", "batch", "network",
    "workers", "machine",
)
# fmt: on


class Watched(FedPictures):
    """Notes when each batch is ready."""

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        item = super().__getitem__(index)
        self.ready[index] = time.perf_counter()
        return item


class Waiting(keras.callbacks.Callback):
    """Adds up how long steps wait for their batch."""

    def __init__(self, data: Watched) -> None:
        super().__init__()
        self.data = data

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.start = self.end = time.perf_counter()
        self.waited = 0.0

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self.waited += max(0.0, self.data.ready[batch] - self.end)
        self.end = time.perf_counter()

    @property
    def seconds(self) -> float:
        return self.end - self.start


def make_pictures(folder: Path, count: int, megapixels: float, seed: int = 0) -> Collection:
    """Soft patches of colour with grain, as JPEG."""
    rng = np.random.default_rng(seed)
    aspects = np.exp(rng.permutation(np.linspace(-math.log(3), math.log(3), count)))
    seeds = rng.integers(0, 2**32, count).tolist()

    def make(index: int) -> Record:
        own = np.random.default_rng(seeds[index])
        width = round(math.sqrt(megapixels * 1e6 * aspects[index]))
        height = round(megapixels * 1e6 / width)
        patches = Image.fromarray(own.integers(0, 256, (24, 24, 3), dtype=np.uint8))
        pixels = np.asarray(patches.resize((width, height), Image.Resampling.BICUBIC), np.int16)
        grain = own.integers(-6, 7, (height, width, 1), dtype=np.int16)
        path = folder / f"{index:04}.jpg"
        Image.fromarray(np.clip(pixels + grain, 0, 255).astype(np.uint8)).save(path, quality=90)
        return Record(path, {"class": index % CLASSES})

    with ThreadPoolExecutor() as pool:
        records = tuple(pool.map(make, range(count)))
    return Collection(records, tuple(str(index) for index in range(CLASSES)))


def make_model(size: int, alpha: float) -> keras.Model:
    net = keras.applications.MobileNetV2((size, size, 3), alpha, weights=None, classes=CLASSES)
    picture = keras.Input((size, size, 3))
    whole = keras.Model(picture, net(layers.Rescaling(1 / 127.5, -1)(picture)))
    model = fed_model(to_fcn(whole), "native")
    model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=False)
    return model


def describe(way: str, data: FedPictures, most_shapes: int | str) -> dict[str, Any]:
    report = data.report()
    counts = [bucket.count for bucket in report]
    pixels = [bucket.count * bucket.height * bucket.width for bucket in report]
    return {
        "way": way,
        "most_shapes": most_shapes,
        "shapes": len(report),
        "batches": len(data),
        "padding": np.average([bucket.padding for bucket in report], weights=pixels),
        "distortion": np.average([bucket.distortion for bucket in report], weights=counts),
        "most_distorted": max(bucket.most_distorted for bucket in report),
        "pictures": len(data.records),
        "size": data.size,
        "batch": data.batch,
    }


def epoch(model: keras.Model, data: Watched, steps: int | None = None) -> tuple[float, float]:
    """Trains an epoch; the pictures per second, and the share of time that steps waited."""
    data.ready = {}
    waiting = Waiting(data)
    model.fit(data, shuffle=False, verbose=0, callbacks=[waiting], steps_per_epoch=steps)
    return len(data.records) / waiting.seconds, waiting.waited / waiting.seconds


def measure(collection: Collection, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    options = {"shuffle": True, "flip": True, "cache_bytes": 0, "max_shapes": SHAPES}
    batch, size = arguments.batch, arguments.size
    ways = {
        "one at a time": Watched(
            collection, "native", size, batch=1, **{**options, "max_shapes": len(collection)}
        ),
        "padded": Watched(collection, "native", size, batch=batch, **options),
        "bent": Watched(collection, "native", size, batch=batch, distortion=BENT, **options),
    }
    rows = [
        describe(way, data, "" if way == "one at a time" else SHAPES) for way, data in ways.items()
    ]
    models = {}
    for way, data in ways.items():
        models[way] = make_model(size, arguments.alpha)
        epoch(models[way], data, steps=min(4, len(data)))  # builds its function
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for _ in range(arguments.rounds):
        for way, data in ways.items():
            found[way].append(epoch(models[way], data))
    for row in rows:
        row["pictures_per_second"], row["waiting"] = (
            statistics.median(values) for values in zip(*found[row["way"]], strict=True)
        )
        row["times_one"] = row["pictures_per_second"] / rows[0]["pictures_per_second"]
    for most in (1, 2, 4, 16):
        other = FedPictures(collection, "native", size, batch=batch, max_shapes=most)
        rows.append(describe("padded", other, most))
    shared = {
        "network": f"MobileNetV2, alpha {arguments.alpha:g}",
        "workers": ways["padded"].workers,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    return [row | shared for row in rows]


def main() -> int:
    parser = command_line(__doc__, RESULT)
    parser.add_argument("--pictures", type=int, default=400)
    parser.add_argument("--megapixels", type=float, default=2.0)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--alpha", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--test-size", action="store_true", help="few small pictures, one round")
    arguments = parser.parse_args()
    if arguments.test_size:
        small = {"pictures": 12, "megapixels": 0.05, "size": 96, "alpha": 0.35}
        vars(arguments).update(small, batch=4, rounds=1)
    with tempfile.TemporaryDirectory() as folder:
        collection = make_pictures(Path(folder), arguments.pictures, arguments.megapixels)
        rows = measure(collection, arguments)
    lines = [
        {key: f"{value:.4g}" if isinstance(value, float) else value for key, value in row.items()}
        for row in rows
    ]
    save(arguments.out, lines, COLUMNS)
    for line in lines:
        tell(line, COLUMNS[:10])
    return int(any(row["waiting"] >= GOAL for row in rows[1:3]))


if __name__ == "__main__":
    sys.exit(main())
