"""What does explaining a picture cost, in forward passes of the same network?

Random weights, one picture of 224x224 pixels, every method in turn, so that other load on the
machine meets all alike; each figure is the median of the rounds. The first call of a method, in
which TensorFlow compiles the gradient, is told apart. Beside the measured multiple stands the
theoretical count: a gradient with respect to the picture is a forward pass and a backward pass of
the same number of multiplications, so 2; SmoothGrad with 25 copies 50 and a pass for the score;
integrated gradients 2 for each point of its way. The forward pass is compiled, as `predict` is;
methods that read maps run layer by layer, which in small networks costs more than the layers do.

The columns of the CSV: network, method, forward_seconds, seconds, ratio (seconds / forward),
theory (in forward passes), first_seconds.

    python benchmarks/explaining.py [--rounds 3] [--out FILE.csv]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from fcnkeras import to_fcn
from fcnkeras.explain import METHODS, targets
from fcnkeras.explain.network import Network
from fcnkeras.files import write_csv

RESULT = Path(__file__).parent / "results" / "explaining.csv"
SAMPLES, STEPS = 25, 32
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


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


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

    fcn.predict_on_batch(picture)
    first = {method: seconds(lambda m=method: explain(m)) for method in methods}  # type: ignore[misc]
    times: dict[str, list[float]] = {"forward": [], **{method: [] for method in methods}}
    for _ in range(rounds):
        times["forward"].append(seconds(lambda: fcn.predict_on_batch(picture)))
        for method in methods:
            times[method].append(seconds(lambda m=method: explain(m)))  # type: ignore[misc]
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
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    rows = [row for name in ("MobileNetV2", "VGG16") for row in measure(name, given.rounds)]
    write_csv(given.out, rows, list(rows[0]))


if __name__ == "__main__":
    main()
