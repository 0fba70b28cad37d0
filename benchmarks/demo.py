"""The demo over three seeds: accuracy of the ten ways to feed a network, on both generated tasks.

    python benchmarks/demo.py

writes benchmarks/results/demo.csv (a row for every task, seed and experiment) and
benchmarks/results/demo_summary.csv (mean and spread over the seeds). Each seed has pictures, new
weights, order and flips of its own; the settings are the demo's. About fifteen minutes on two
cores; interrupted, it goes on.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
from pathlib import Path

from fcnkeras.data.sources import generated_parts
from fcnkeras.experiments import DEMO, EXPERIMENTS, Listener, run_experiments
from fcnkeras.files import write_csv

RESULTS = Path(__file__).parent / "results"
TASKS, SEEDS = ("proportions", "styles"), (0, 1, 2)
KEPT = (
    "experiment",
    "title",
    "feeder",
    "size",
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "n_test",
    "best_epoch",
    "parameters",
    "seconds_per_picture",
    "training_seconds",
)


class Printer(Listener):
    def end(self, experiment, row, *, ran):
        print(f"  {experiment.number}. {experiment.title}: {row['accuracy']:.3f}", flush=True)


def summarise(rows: list[dict]) -> list[dict]:
    """Mean, spread, and the least lead over experiment 1 in the intervals of one seed."""
    summary = []
    for task in TASKS:
        first = {r["seed"]: r for r in rows if r["task"] == task and r["experiment"] == 1}
        for number in EXPERIMENTS:
            mine = [r for r in rows if r["task"] == task and r["experiment"] == number]
            accuracies = [row["accuracy"] for row in mine]
            clear = [row["accuracy_low"] > first[row["seed"]]["accuracy_high"] for row in mine]
            summary.append(
                {
                    "task": task,
                    "experiment": number,
                    "title": mine[0]["title"],
                    "feeder": mine[0]["feeder"],
                    "size": mine[0]["size"],
                    "seeds": len(mine),
                    "accuracy_mean": round(statistics.mean(accuracies), 4),
                    "accuracy_sd": round(statistics.stdev(accuracies), 4),
                    "accuracy_least": min(accuracies),
                    "accuracy_most": max(accuracies),
                    "seeds_clearly_above_1": sum(clear),
                    "training_seconds": round(statistics.mean(r["training_seconds"] for r in mine)),
                }
            )
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/demo_seeds"))
    out = parser.parse_args().out
    rows = []
    for task in TASKS:
        for seed in SEEDS:
            print(f"{task}, seed {seed}", flush=True)
            folder = out / f"{task}_{seed}"
            parts = generated_parts(task, folder / "pictures", seed=seed)
            settings = dataclasses.replace(DEMO, seed=seed)
            for row in run_experiments(parts, folder, settings, listener=Printer()):
                rows.append({"task": task, "seed": seed, **{key: row[key] for key in KEPT}})
    write_csv(RESULTS / "demo.csv", rows, list(rows[0]))
    summary = summarise(rows)
    write_csv(RESULTS / "demo_summary.csv", summary, list(summary[0]))
    for row in summary:
        print(*row.values(), sep="  ")


if __name__ == "__main__":
    main()
