"""How long does the command line take to say its help, and what does `import fcnkeras` cost?

Every start is a process of its own; the starts take turns, so that other load on the machine meets
all alike, and a first round, which fills the disk's cache and compiles modules, does not count.
Each figure is the median of the rounds. `import fcnkeras` loads its names when they are first used;
`every name` uses them all, and so imports Keras too.

The columns of the CSV: start, seconds (median), least_seconds, most_seconds, times_keras (the
median as a multiple of that of `import keras`, with the backend Keras is set to).

    python benchmarks/startup.py [--rounds 11] [--out FILE.csv]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fcnkeras.files import write_csv

RESULT = Path(__file__).parent / "results" / "startup.csv"
COMMANDS = ("convert", "experiments", "train", "evaluate", "explain", "export", "inspect")
STARTS = {
    "python": ["-c", ""],
    "import keras": ["-c", "import keras"],
    "import fcnkeras": ["-c", "import fcnkeras"],
    "every name": ["-c", "from fcnkeras import *"],
    "fcnkeras --help": ["-m", "fcnkeras", "--help"],
    **{f"fcnkeras {name} --help": ["-m", "fcnkeras", name, "--help"] for name in COMMANDS},
}
MOST_HELP_SECONDS, MOST_TIMES_KERAS = 0.3, 1.05


def seconds(arguments: Sequence[str]) -> float:
    """How long a new Python takes from its start to its end."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - start


def measure(rounds: int) -> list[dict[str, Any]]:
    """One row for each start."""
    times: dict[str, list[float]] = {start: [] for start in STARTS}
    for i in range(rounds + 1):
        for start, arguments in STARTS.items():
            spent = seconds(arguments)
            if i:
                times[start].append(spent)
    keras = statistics.median(times["import keras"])
    return [
        {
            "start": start,
            "seconds": round(statistics.median(found), 3),
            "least_seconds": round(min(found), 3),
            "most_seconds": round(max(found), 3),
            "times_keras": round(statistics.median(found) / keras, 3),
        }
        for start, found in times.items()
    ]


def is_quick(row: dict[str, Any]) -> bool:
    """Whether a row keeps its limit. The others are told without one: the help of a command
    takes longer than `fcnkeras --help` mostly because typer then loads pydantic."""
    if row["start"] == "fcnkeras --help":
        return float(row["seconds"]) <= MOST_HELP_SECONDS
    return row["start"] != "import fcnkeras" or float(row["times_keras"]) <= MOST_TIMES_KERAS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=11, help="(default: %(default)s)")
    parser.add_argument("--out", type=Path, default=RESULT, help="the CSV (default: %(default)s)")
    arguments = parser.parse_args()
    rows = measure(arguments.rounds)
    for row in rows:
        print(", ".join(f"{key} {value}" for key, value in row.items()))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_csv(arguments.out, rows, list(rows[0]))
    slow = [row["start"] for row in rows if not is_quick(row)]
    print(f"wrote {arguments.out}; {len(slow)} slow: {', '.join(slow) or 'none'}")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
