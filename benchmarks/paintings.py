"""The experiments on real paintings: which way of feeding tells six styles apart best?

Needs a folder of class folders (the People-Art paintings, styles of WikiArt) and the ImageNet
weights of MobileNetV2. For each seed the paintings are divided anew, 60/20/20 by style, with the
works of one artist that have nearly the same title (studies, details, states of one print) kept
on one side; seeds, learning rate, frozen blocks and epochs were fixed before any test figure was
used (the learning rate and the frozen blocks on the validation pictures of another seed, with
experiment 1 alone).

    python benchmarks/paintings.py --data PAINTINGS --weights WEIGHTS.h5

writes benchmarks/results/paintings.csv (a row for every seed and experiment) and
benchmarks/results/paintings_summary.csv (mean and spread over the seeds). Interrupted, it goes on.
"""

from __future__ import annotations

import argparse
import csv
import re
import statistics
import sys
from difflib import SequenceMatcher
from pathlib import Path

import keras
import numpy as np

from fcnkeras.data.records import Collection, Record, read_class_folders
from fcnkeras.data.splits import stratified_split
from fcnkeras.experiments import Listener, Settings, run_experiments
from fcnkeras.files import write_csv

STYLES = (
    "impressionism",
    "northern-renaissance",
    "realism",
    "suprematism",
    "tonalism",
    "ukiyo-e",
)
PER_STYLE = 60  # spread evenly over the files in alphabetical order, that is over the artists
SEEDS = (0, 1, 2)
EXPERIMENTS = (1, 2, 3, 6, 7, 8, 9, 10)
RESULTS = Path(__file__).parent / "results"
# Of two titles of one artist without digits: above this they count as one work.
SAME_WORK = 0.8


def group_works(records: tuple[Record, ...]) -> dict[Path, str]:
    """A name for each painting's group: an artist's works with nearly the same title share one."""
    groups: dict[Path, str] = {}
    known: dict[str, list[tuple[str, str]]] = {}
    for record in records:
        artist, _, title = record.path.stem.partition("_")
        title = re.sub(r"[\d-]+", " ", title).strip()
        same = (
            group
            for other, group in known.setdefault(artist, [])
            if SequenceMatcher(None, other, title).ratio() > SAME_WORK
        )
        group = next(same, f"{artist}/{title}/{len(known[artist])}")
        known[artist].append((title, group))
        groups[record.path] = group
    return groups


def chosen_styles(folder: Path) -> Collection:
    """At most `PER_STYLE` paintings of each of the six styles, with indices 0 to 5."""
    everything = read_class_folders(folder)
    index = {everything.classes.index(style): i for i, style in enumerate(STYLES)}
    records: list[Record] = []
    for source, target in index.items():
        mine = [record for record in everything.records if record.targets["class"] == source]
        spread = np.linspace(0, len(mine) - 1, min(PER_STYLE, len(mine))).round().astype(int)
        records += [Record(mine[i].path, {"class": target}) for i in spread]
    return Collection(tuple(records), STYLES, everything.rejected)


class Printer(Listener):
    def end(self, experiment, row, *, ran):
        print(f"  {experiment.number}. {experiment.title}: {row['accuracy']:.3f}", flush=True)


def summarise(rows: list[dict]) -> list[dict]:
    """Mean and spread over the seeds, and the difference to experiment 1 on the same pictures."""
    summary = []
    for number in sorted({int(row["experiment"]) for row in rows}):
        mine = {row["seed"]: row for row in rows if int(row["experiment"]) == number}
        first = {row["seed"]: row for row in rows if int(row["experiment"]) == 1}
        accuracies = [float(row["accuracy"]) for row in mine.values()]
        gains = [float(mine[s]["accuracy"]) - float(first[s]["accuracy"]) for s in mine]
        row = next(iter(mine.values()))
        summary.append(
            {
                "experiment": number,
                "title": row["title"],
                "feeder": row["feeder"],
                "size": row["size"],
                "seeds": len(mine),
                "accuracy_mean": round(statistics.mean(accuracies), 4),
                "accuracy_sd": round(statistics.stdev(accuracies), 4) if len(mine) > 1 else "",
                "gain_over_1_mean": round(statistics.mean(gains), 4),
                "gain_over_1_least": round(min(gains), 4),
                "gain_over_1_most": round(max(gains), 4),
                "seconds_per_picture": round(
                    statistics.mean(float(r["seconds_per_picture"]) for r in mine.values()), 4
                ),
                "training_seconds": round(
                    statistics.mean(float(r["training_seconds"]) for r in mine.values())
                ),
            }
        )
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/paintings"))
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--pooling", default="max")
    parser.add_argument("--name", default="paintings", help="of the result files")
    parser.add_argument("--only", default=",".join(map(str, EXPERIMENTS)))
    arguments = parser.parse_args()
    collection = chosen_styles(arguments.data)
    groups = group_works(collection.records)
    print(f"{len(collection)} paintings in {len(set(groups.values()))} groups", flush=True)
    rows = []
    for seed in SEEDS:
        parts = stratified_split(
            collection,
            {"train": 0.6, "val": 0.2, "test": 0.2},
            seed=seed,
            group=lambda record: groups[record.path],
        )
        settings = Settings(
            network="MobileNetV2",
            weights=str(arguments.weights),
            pooling=arguments.pooling,
            epochs=arguments.epochs,
            frozen=-1,
            seed=seed,
        )
        print(f"seed {seed}: { {name: len(part) for name, part in parts.items()} }", flush=True)
        numbers = [int(number) for number in arguments.only.split(",")]
        out = arguments.out / f"seed_{seed}"
        for row in run_experiments(parts, out, settings, numbers=numbers, listener=Printer()):
            rows.append({"seed": seed, "pooling": arguments.pooling, **row})
    columns = [key for key in rows[0] if key not in ("network", "fcn")]
    write_csv(
        RESULTS / f"{arguments.name}.csv",
        [{key: row[key] for key in columns} for row in rows],
        columns,
    )
    summary = summarise(rows)
    write_csv(RESULTS / f"{arguments.name}_summary.csv", summary, list(summary[0]))
    csv.DictWriter(sys.stdout, list(summary[0])).writerows(summary)
    print(f"Keras {keras.__version__} on {keras.backend.backend()}")


if __name__ == "__main__":
    main()
