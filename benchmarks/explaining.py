"""What does explaining a picture cost, in forward passes of the same network?

Random weights, one picture of 224x224 pixels, every method in turn, so that other load on the
machine meets all alike; each figure is the median of the rounds. The first call of a method, in
which TensorFlow compiles the gradient, is told apart. Beside the measured multiple stands the
theoretical count: a gradient with respect to the picture is a forward pass and a backward pass of
the same number of multiplications, so 2; SmoothGrad with 5 copies 10 and a pass for the score;
integrated gradients 2 for each point of its way. The forward pass is compiled, as `predict` is;
methods that read maps run layer by layer, which in small networks costs more than the layers do.

The columns of the CSV: network, method, forward_seconds, seconds, ratio (seconds / forward),
theory (in forward passes), first_seconds.

    python benchmarks/explaining.py [NETWORK ...] [--rounds 3] [--out FILE.csv]

The rows of other networks that the file holds are kept.
"""

from __future__ import annotations

import statistics
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
from measuring import command_line, in_turns, save, tell

from fcnkeras import to_fcn
from fcnkeras.explain import METHODS, targets
from fcnkeras.explain.network import Network
from fcnkeras.files import read_csv

RESULT = Path(__file__).parent / "results" / "explaining.csv"
NETWORKS = ("MobileNetV2", "VGG16")
SAMPLES, STEPS = 5, 5  # fewer than the defaults, which only take more of the same
# The maps' values, the score again where a method tells it apart, and the way back.
THEORY = {
    "saliency": 2,
    "guided-backpropagation": 2,
    "smoothgrad": 2 * SAMPLES + 1,
    "integrated-gradients": 2 * STEPS,
    "cam": 2,
    "grad-cam": 1,
    "grad-cam++": 1,
    "class-map": 2,
    "attribute-map": 1,
}
OPTIONS: dict[str, dict[str, Any]] = {
    "smoothgrad": {"samples": SAMPLES},
    "integrated-gradients": {"steps": STEPS, "tolerance": 1e-12},
}
LINEAR = ("cam", "attribute-map")  # need a head of one linear layer, which VGG16 has not


def measure(name: str, rounds: int) -> list[dict[str, Any]]:
    """The rows of one network."""
    fcn = to_fcn(getattr(keras.applications, name)(weights=None), pooling="avg", verify=False)
    network = Network(fcn)
    picture = np.random.default_rng(0).normal(size=(1, 224, 224, 3)).astype("float32")
    target = targets.unit(network.outputs([picture]), 0)
    methods = [m for m in METHODS if name != "VGG16" or m not in LINEAR]

    def explain(method: str) -> Any:
        options = OPTIONS.get(method, {})
        return METHODS[method](network, target, [picture], **options)

    turns = {"forward": partial(fcn.predict_on_batch, picture)}
    turns |= {method: partial(explain, method) for method in methods}
    times = in_turns(turns, rounds)
    first = {method: found.pop(0) for method, found in times.items()}
    forward = statistics.median(times["forward"])
    rows = []
    for method in methods:
        spent = statistics.median(times[method])
        rows.append(
            {
                "network": name,
                "method": method,
                "forward_seconds": round(forward, 3),
                "seconds": round(spent, 3),
                "ratio": round(spent / forward, 1),
                "theory": THEORY[method],
                "first_seconds": round(first[method], 2),
            }
        )
        tell(rows[-1])
    return rows


def main() -> None:
    parser = command_line(__doc__, RESULT, NETWORKS)
    parser.add_argument("--rounds", type=int, default=3, help="(default: %(default)s)")
    given = parser.parse_args()
    rows = [row for row in read_csv(given.out) if row["network"] not in given.networks]
    for name in given.networks:
        rows += measure(name, given.rounds)
        save(given.out, rows)


if __name__ == "__main__":
    main()
