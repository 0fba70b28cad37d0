"""Artist and period of real paintings: together or alone, and how much of the network to train?

Needs the folder of the People-Art paintings (styles of WikiArt) with its table `labels.csv`, and
the ImageNet weights of MobileNetV2. Taken are the artists with at least 10 works in one style, of
styles with at least two such artists, at most 20 works each; works of an artist with nearly the
same title (studies, states of one print) stay on one side of the division, which each seed makes
anew.

Tasks: the artist alone; the period (style) alone; "groups", one head in which P(period) is the sum
over its artists; "heads", two heads beside each other. Training: the head only; staged, the head
and then everything; everything at once. All see as many epochs; settings were fixed beforehand.

    python benchmarks/period_artist.py --data PAINTINGS --weights WEIGHTS.h5 [--runs FOLDER]

writes benchmarks/results/period_artist.csv (a row for every seed, task and training) and
benchmarks/results/period_artist_summary.csv (mean and spread over the seeds). Interrupted, it goes
on.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
from paintings import group_works

from fcnkeras.data.art import read_paintings
from fcnkeras.data.records import Collection
from fcnkeras.data.splits import stratified_split
from fcnkeras.files import write_csv
from fcnkeras.tasks.classes import ClassTask, GroupTask
from fcnkeras.tasks.schema import Schema
from fcnkeras.training.run import Settings, train_tasks
from fcnkeras.training.stages import Recipe, parse_stages

LEAST, MOST, SIDE = 10, 20, 128
SEEDS = (0, 1, 2)
TRAININGS = {
    "head only": "head:10@3e-3",
    "staged": "head:3@3e-3,all:7@1e-4",
    "all at once": "all:10@1e-4",
}
ARTIST, PERIOD = ClassTask("artist"), ClassTask("period")
TASKS = {
    "artist": Schema("artist", (ARTIST,)),
    "period": Schema("period", (PERIOD,)),
    "groups": Schema("groups", (ARTIST, GroupTask("period", of="artist"))),
    "heads": Schema("heads", (ARTIST, PERIOD)),
}
RESULTS = Path(__file__).parent / "results"


def choose(data: Path) -> Collection:
    """The paintings of the artists that have enough, with new names of classes."""
    whole = read_paintings(data / "labels.csv", check="exists")
    artists, periods = whole.names("artist"), whole.names("period")
    works = Counter((r.targets["artist"], r.targets["period"]) for r in whole.records)
    home = {artist: period for (artist, period), count in works.items() if count >= LEAST}
    homes = Counter(home.values())
    kept: dict[int, int] = {}
    records = []
    own_artists = sorted(a for a, p in home.items() if homes[p] > 1)
    own_periods = sorted({home[a] for a in own_artists})
    for record in whole.records:
        artist, period = record.targets["artist"], record.targets["period"]
        if artist in own_artists and home[artist] == period and kept.get(artist, 0) < MOST:
            kept[artist] = kept.get(artist, 0) + 1
            targets = {"artist": own_artists.index(artist), "period": own_periods.index(period)}
            records.append(replace(record, targets=targets))
    names = {
        "artist": tuple(artists[a] for a in own_artists),
        "period": tuple(periods[p] for p in own_periods),
    }
    return replace(whole, records=tuple(records), vocabularies=names)


def measure(
    task: str, training: str, seed: int, collection: Collection, weights: str, runs: Path
) -> dict[str, Any]:
    """One run: train, and read the figures on the test pictures."""
    groups = group_works(collection.records)
    fractions = {"train": 0.6, "val": 0.2, "test": 0.2}
    parts = stratified_split(
        collection, fractions, seed=seed, by="artist", group=lambda r: groups[r.path]
    )
    settings = Settings(
        Recipe(parse_stages(TRAININGS[training])),
        weights=weights,
        feeder="crop",
        size=SIDE,
        seed=seed,
    )
    folder = runs / f"{task}_{training.replace(' ', '_')}_{seed}"
    result = train_tasks(parts, TASKS[task], folder, settings)
    keras.utils.clear_session(free_memory=True)
    row: dict[str, Any] = {"task": task, "training": training, "seed": seed}
    for name in ("artist", "period"):
        found = result["test"].get(name, {})
        row[name] = round(found["accuracy"], 4) if found else ""
        row[f"{name}_macro_f1"] = round(found["macro_f1"], 4) if found else ""
    row |= {key: len(parts[key]) for key in fractions}
    return row | {"best_epoch": result["best_epoch"]}


def summarise(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean and spread (standard deviation) over the seeds."""
    found = []
    for training in TRAININGS:
        for task in TASKS:
            own = [row for row in rows if (row["task"], row["training"]) == (task, training)]
            line: dict[str, Any] = {"training": training, "task": task, "seeds": len(own)}
            for name in ("artist", "period"):
                values = [row[name] for row in own if row[name] != ""]
                line[name] = f"{statistics.mean(values):.3f}" if values else ""
                line[f"{name}_spread"] = (
                    f"{statistics.stdev(values):.3f}" if len(values) > 1 else ""
                )
            found += [line] if own else []
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="with labels.csv")
    parser.add_argument("--weights", required=True, help="of MobileNetV2, ImageNet")
    parser.add_argument("--runs", type=Path, default=Path("runs/period_artist"))
    arguments = parser.parse_args()
    collection = choose(arguments.data)
    rows = []
    for seed in SEEDS:
        for training in TRAININGS:
            for task in TASKS:
                row = measure(task, training, seed, collection, arguments.weights, arguments.runs)
                rows.append(row)
                print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
                write_csv(RESULTS / "period_artist.csv", rows, list(rows[0]))
                summary = summarise(rows)
                write_csv(RESULTS / "period_artist_summary.csv", summary, list(summary[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
