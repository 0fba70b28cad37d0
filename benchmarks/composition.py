"""The composition of generated paintings: does a small network learn all of it, and which encoding
of a hue serves best?

Paintings whose attributes are known (`fcnkeras.data.procedural.make_art_composition`) are drawn
anew for each seed. A small network without any weights to start from learns all tasks of the schema
`art_composition` together, once for each encoding of the primary colour. Validation pictures choose
the epoch; the test pictures are used once. Settings were chosen on validation pictures of seed 0.

    python benchmarks/composition.py [--runs FOLDER]

writes benchmarks/results/composition.csv (a row for every seed and encoding; the Spearman
correlation of each score, the degrees by which hues miss, of pictures that are not black, the share
of colours named right among twelve hues and black, the share of harmonies named right of six, and
the share that a nearest neighbour among histograms of hues names right, which shows that the
harmony is there to be seen) and benchmarks/results/composition_summary.csv (mean and spread over
the seeds). Interrupted, it goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers
from PIL import Image

from fcnkeras.batching import FedPictures
from fcnkeras.data.art import read_art_composition
from fcnkeras.data.procedural import make_art_composition
from fcnkeras.data.records import Collection
from fcnkeras.data.sources import claim_folder
from fcnkeras.data.splits import stratified_split
from fcnkeras.files import write_csv, write_json
from fcnkeras.tasks.heads import compile_arguments, task_model
from fcnkeras.tasks.hue import ENCODINGS
from fcnkeras.tasks.schema import Schema
from fcnkeras.tasks.schemas import load_schema
from fcnkeras.training.evaluation import evaluate_tasks
from fcnkeras.training.stages import Recipe, Stage, fit_stages, jit_compile_mode

RESULTS = Path(__file__).parent / "results"
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Settings:
    """What all runs share; `units` are those of the fully connected layer."""

    pictures: int = 2500
    held_out: int = 400
    size: int = 96
    epochs: int = 18
    rate: float = 2e-3
    batch: int = 16
    width: int = 20
    units: int = 256


def read_parts(folder: Path, seed: int, settings: Settings) -> dict[str, Collection]:
    """The paintings of a seed, drawn if they are not there: "train", "val" and "test"."""
    held_out = settings.held_out
    counts = {"train": settings.pictures + held_out, "test": held_out}
    make_art_composition(folder, counts, seed=seed)
    whole = read_art_composition(folder / "labels.csv", check="exists")
    parts = {
        part: replace(whole, records=tuple(r for r in whole.records if r.path.parent.name == part))
        for part in counts
    }
    shares = {"train": settings.pictures / counts["train"], "val": held_out / counts["train"]}
    return {**parts, **stratified_split(parts["train"], shares, seed=seed, by="harmony")}


def small_network(width: int, units: int) -> keras.Model:
    """Seven convolutions for patterns, two of single pixels for colours; the averages of both, and
    what a fully connected layer makes of them."""

    def block(x: Any, filters: int, kernel: int = 3, strides: int = 1) -> Any:
        x = layers.Conv2D(filters, kernel, strides=strides, padding="same", use_bias=False)(x)
        return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))

    picture = keras.Input((None, None, 3))
    scaled = layers.Rescaling(1 / 127.5, -1)(picture)
    x = block(scaled, width, 5, 2)
    for filters in (2 * width, 4 * width, 6 * width):
        x = block(block(x, filters, 3, 2), filters)
    colours = block(layers.AveragePooling2D(2, padding="same")(scaled), 32, 1)
    colours = layers.AveragePooling2D(8, padding="same")(block(colours, 64, 1))
    joined = layers.Concatenate()([x, colours])
    means = layers.GlobalAveragePooling2D(keepdims=True)(joined)
    # A harmony is a relation of hues, which no weighted sum of averages tells.
    related = layers.Conv2D(units, 1, activation="relu", name="fc")(means)
    return keras.Model(picture, layers.Concatenate()([means, related]), name="small")


def schema_with(encoding: str, parts: dict[str, Collection]) -> Schema:
    schema = load_schema("art_composition").fitted(parts["train"])
    tasks = (replace(t, encoding=encoding) if t.kind == "hue" else t for t in schema.tasks)
    return replace(schema, tasks=tuple(tasks))


def train(
    parts: dict[str, Collection], schema: Schema, out: Path, settings: Settings, seed: int
) -> dict[str, Any]:
    """One run, from the beginning or from where it was; the figures of the test pictures."""
    file = out / "result.json"
    out.mkdir(parents=True, exist_ok=True)
    described = {**asdict(settings), "seed": seed, "schema": repr(schema)}
    claim_folder(out, described, parts, begun=file.exists() or (out / "history.csv").exists())
    if file.exists():
        return json.loads(file.read_text())
    keras.utils.set_random_seed(seed)
    model = task_model(small_network(settings.width, settings.units), schema)
    data = {
        name: FedPictures(
            part,
            "crop",
            settings.size,
            batch=settings.batch,
            targets=schema.names,
            shuffle=name == "train",
            flip=name == "train",
            seed=seed,
        )
        for name, part in parts.items()
    }

    def compile_model(optimizer: keras.optimizers.Optimizer) -> None:
        loss = compile_arguments(model)["loss"]
        model.compile(optimizer, loss, jit_compile=jit_compile_mode())

    recipe = Recipe((Stage(settings.epochs, settings.rate),), schedule="cosine")
    history = fit_stages(
        model,
        data["train"],
        data["val"],
        out,
        recipe,
        freeze=lambda stage: None,
        compile_model=compile_model,
    )
    result = {
        "best_epoch": int(recipe.best(history)["epoch"]) + 1,
        **{name: evaluate_tasks(model, data[name], schema).figures for name in ("val", "test")},
    }
    write_json(file, result)
    keras.utils.clear_session(free_memory=True)
    return result


def hue_histogram(path: Path) -> np.ndarray:
    """How often each of 36 hues occurs, from the commonest hue on; of length 1."""
    with Image.open(path) as picture:
        hues = np.asarray(picture.convert("HSV"))[..., 0]
        coloured = np.ptp(np.asarray(picture.convert("RGB"), float), axis=-1) > 12
    bins = np.rint(hues[coloured] * (36 / 255)).astype(int) % 36  # Pillow's hues go up to 255
    counts = np.bincount(bins, minlength=36)
    around = counts + np.roll(counts, 1) + np.roll(counts, -1)
    return np.sqrt(np.roll(counts, -int(np.argmax(around))) / max(1, counts.sum()))


def harmony_by_histogram(parts: dict[str, Collection]) -> float:
    """The share of harmonies that the nearest histogram of the training pictures tells."""
    train, test = (
        (
            np.array([hue_histogram(record.path) for record in parts[part].records]),
            np.array([record.targets["harmony"] for record in parts[part].records]),
        )
        for part in ("train", "test")
    )
    nearest = np.argmax(test[0] @ train[0].T, axis=1)
    return float(np.mean(train[1][nearest] == test[1]))


def row_of(result: dict[str, Any], part: str = "test") -> dict[str, Any]:
    """The figures that are compared, by column."""
    figures = result[part]
    row = {name: figure["srcc"] for name, figure in figures.items() if "srcc" in figure}
    colour = figures["primary_color"]
    row |= {"hue_degrees": colour["degrees_mean"], "hue_median": colour["degrees_median"]}
    row |= {"colour": colour["wheel_accuracy"], "black": colour["black_accuracy"]}
    row["harmony"] = figures["harmony"]["accuracy"]
    return {name: round(value, 4) for name, value in row.items()}


def summarise(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean and spread (standard deviation) over the seeds, of each encoding."""
    found = []
    names = [name for name in rows[0] if name not in ("seed", "encoding", "best_epoch")]
    for encoding in dict.fromkeys(row["encoding"] for row in rows):
        own = [row for row in rows if row["encoding"] == encoding]
        line: dict[str, Any] = {"encoding": encoding, "seeds": len(own)}
        for name in names:
            values = [row[name] for row in own]
            line[name] = f"{statistics.mean(values):.3f}"
            line[f"{name}_spread"] = f"{statistics.stdev(values):.3f}" if len(own) > 1 else ""
        found.append(line)
    return found


def study(runs: Path, results: Path, seeds: tuple[int, ...], settings: Settings) -> None:
    """Runs every seed and encoding; the two tables grow with each."""
    rows: list[dict[str, Any]] = []
    for seed in seeds:
        parts = read_parts(runs / f"pictures_{seed}", seed, settings)
        seen = {"harmony_histogram": round(harmony_by_histogram(parts), 4)}
        for encoding in ENCODINGS:
            schema = schema_with(encoding, parts)
            result = train(parts, schema, runs / f"{encoding}_{seed}", settings, seed)
            rows.append({"seed": seed, "encoding": encoding, **row_of(result), **seen})
            rows[-1]["best_epoch"] = result["best_epoch"]
            print(", ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
            write_csv(results / "composition.csv", rows, list(rows[0]))
            summary = summarise(rows)
            write_csv(results / "composition_summary.csv", summary, list(summary[0]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/composition"))
    study(parser.parse_args().runs, RESULTS, SEEDS, Settings())
    return 0


if __name__ == "__main__":
    sys.exit(main())
