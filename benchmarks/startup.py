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

import statistics
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from measuring import command_line, in_turns, save, tell

from fcnkeras.cli import app

RESULT = Path(__file__).parent / "results" / "startup.csv"
COMMANDS = [command.callback.__name__ for command in app.registered_commands if command.callback]
STARTS = {
    "python": ["-c", ""],
    "import keras": ["-c", "import keras"],
    "import fcnkeras": ["-c", "import fcnkeras"],
    "every name": ["-c", "from fcnkeras import *"],
    "fcnkeras --help": ["-m", "fcnkeras", "--help"],
    **{f"fcnkeras {name} --help": ["-m", "fcnkeras", name, "--help"] for name in COMMANDS},
}
MOST_HELP_SECONDS, MOST_TIMES_KERAS = 0.3, 1.05


def start(arguments: Sequence[str]) -> None:
    """A new Python, from its start to its end."""
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)


def measure(rounds: int) -> list[dict[str, Any]]:
    """One row for each start."""
    turns = {name: partial(start, arguments) for name, arguments in STARTS.items()}
    times = {name: found[1:] for name, found in in_turns(turns, rounds).items()}
    keras = statistics.median(times["import keras"])
    return [
        {
            "start": name,
            "seconds": round(statistics.median(found), 3),
            "least_seconds": round(min(found), 3),
            "most_seconds": round(max(found), 3),
            "times_keras": round(statistics.median(found) / keras, 3),
        }
        for name, found in times.items()
    ]


def is_quick(row: dict[str, Any]) -> bool:
    """Whether a row keeps its limit. The others are told without one: the help of a command
    takes longer than `fcnkeras --help` mostly because typer then loads pydantic."""
    if row["start"] == "fcnkeras --help":
        return float(row["seconds"]) <= MOST_HELP_SECONDS
    return row["start"] != "import fcnkeras" or float(row["times_keras"]) <= MOST_TIMES_KERAS


def main() -> int:
    parser = command_line(__doc__, RESULT)
    parser.add_argument("--rounds", type=int, default=11, help="(default: %(default)s)")
    arguments = parser.parse_args()
    rows = measure(arguments.rounds)
    for row in rows:
        tell(row)
    save(arguments.out, rows)
    slow = [row["start"] for row in rows if not is_quick(row)]
    print(f"{len(slow)} slow: {', '.join(slow) or 'none'}")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
