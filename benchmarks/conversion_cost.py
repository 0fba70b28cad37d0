"""What does a conversion cost, against building the network that it converts?

Builds `keras.applications.VGG16(weights=None)`, 138 million parameters, and makes it fully
convolutional, proof included, as a user's program does: once, in a process of its own. Goals:
`to_fcn` takes no longer than the building, and the peak of memory stays under both models plus
10 %. `--again` does both several times in one process, where the building gets faster, as the
memory for the weights is there already, and the proof, two passes over a picture, does not.

Memory is measured in further processes, in which NumPy draws the weights: the generator of
TensorFlow keeps memory of 1.5 times the model, in which a conversion would disappear.

The columns of the CSV: process (fresh, or again for a repetition), build_seconds, convert_seconds,
ratio (convert / build), models_mib (the weights of both), peak_mib (the most that the process held
while converting, above what it held before building), peak_ratio (peak / models). Memory needs
Linux, which lets a process reset its own peak; elsewhere its columns stay empty.

    python benchmarks/conversion_cost.py [--network VGG16] [--runs 5] [--again 4] [--out FILE.csv]

Exits with 1 if the median ratio of fresh processes is above 1, or the peak above 1.1.
"""

from __future__ import annotations

import gc
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
from measuring import PeakMemory, command_line, run_child, save, tell

from fcnkeras import to_fcn

CHILD = "--measure"
RESULT = Path(__file__).parent / "results" / "conversion_cost.csv"


def measure_times(network: str, again: int) -> list[dict[str, Any]]:
    """The first building and conversion of this process, and so many more."""
    rows = []
    for number in range(1 + again):
        keras.backend.clear_session()
        gc.collect()
        start = time.perf_counter()
        model = getattr(keras.applications, network)(weights=None)
        built = time.perf_counter()
        to_fcn(model)
        converted = time.perf_counter()
        rows.append(
            {
                "process": "again" if number else "fresh",
                "build_seconds": round(built - start, 3),
                "convert_seconds": round(converted - built, 3),
                "ratio": round((converted - built) / (built - start), 3),
            }
        )
    return rows


def measure_memory(network: str) -> dict[str, Any]:
    """The peak of the first conversion in this process."""

    def draw(self: Any, shape: Any, dtype: Any = None) -> Any:
        values = np.random.default_rng(0).normal(0, 0.01, shape).astype(dtype or "float32")
        return keras.ops.convert_to_tensor(values)

    keras.initializers.GlorotUniform.__call__ = draw
    with PeakMemory() as building:
        model = getattr(keras.applications, network)(weights=None)
    with PeakMemory() as converting:
        fcn = to_fcn(model)
    models = sum(np.prod(w.shape) * 4 for m in (model, fcn) for w in m.weights)
    if building.before is None or converting.before is None or converting.bytes is None:
        return {"models_mib": round(models / 2**20), "peak_mib": "", "peak_ratio": ""}
    peak = converting.before - building.before + converting.bytes
    return {
        "models_mib": round(models / 2**20),
        "peak_mib": round(peak / 2**20),
        "peak_ratio": round(peak / models, 3),
    }


def warm_up() -> None:
    """What the libraries load once belongs to neither side."""
    to_fcn(keras.applications.MobileNetV2((96, 96, 3), weights=None))


def main() -> int:
    parser = command_line(__doc__, RESULT)
    parser.add_argument("--network", default="VGG16", help="a class of keras.applications")
    parser.add_argument("--runs", type=int, default=5, help="fresh processes")
    parser.add_argument("--again", type=int, default=4, help="repetitions in the last of them")
    arguments = parser.parse_args()

    def child(*what: str) -> dict[str, Any]:
        found = run_child(Path(__file__), [CHILD, arguments.network, *what], timeout=600)
        if "crash" in found:
            parser.exit(1, f"the process that measures {what[0]} {found['crash']}\n")
        return found

    memory = child("memory")
    rows = []
    for left in reversed(range(arguments.runs)):
        for row in child("time", "0" if left else str(arguments.again))["rows"]:
            rows.append({**row, **memory})
            tell(rows[-1])
    save(arguments.out, rows)
    ratios = {
        process: statistics.median(row["ratio"] for row in rows if row["process"] == process)
        for process in dict.fromkeys(row["process"] for row in rows)
    }
    peak = memory["peak_ratio"]
    told = ", ".join(f"{process} {ratio:.2f}" for process, ratio in ratios.items())
    print(f"median ratio: {told}; peak {peak or 'unknown'} of both models")
    return 1 if ratios["fresh"] > 1 or (peak or 0) > 1.1 else 0


def measure(network: str, what: str, *again: str) -> dict[str, Any]:
    """What a child process measures."""
    warm_up()
    if what == "memory":
        return measure_memory(network)
    return {"rows": measure_times(network, int(again[0]))}


if __name__ == "__main__":
    if CHILD in sys.argv[1:2]:
        *arguments, result = sys.argv[2:]
        Path(result).write_text(json.dumps(measure(*arguments)))
        sys.exit(0)
    sys.exit(main())
