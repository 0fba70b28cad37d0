"""Is an FCN the network that it was made from? Full-size networks, every combination of options.

Each network of `keras.applications` with 1000 classes is built with random weights that are
rescaled until its logits have a standard deviation near 1 over random pictures (on freshly
initialised weights, whose outputs hardly vary, parity would prove little). Every combination of
`window`, `pooling` and `pool_on` is converted, and compared with the original at its native size:

- `pool_on="logits"`: the pooled map before the softmax with the original's logits, whose last
  product is computed in NumPy with double precision;
- `pool_on="probabilities"`: the outputs, and, where equality must hold, the map's logits too;
- a map of several places is compared at each of them.

The columns of the CSV: network, native (pixels), window, pooling, pool_on, must_equal (what
`ConversionPlan.exact` says), logit_std (over pictures, mean of the classes), relative_difference
(largest, relative to the largest reference value), ok (not must_equal, or at most 1e-5).

    python benchmarks/conversion_parity.py [NETWORK ...] [--out FILE.csv]

Exits with 1 if a row that must be equal is not.
"""

from __future__ import annotations

import gc
import itertools
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from measuring import command_line, save, show
from networks import difference, fcn_logits, logits, random_pictures, rescale_weights

from fcnkeras import plan_conversion, to_fcn

NETWORKS = ("VGG16", "VGG19", "InceptionV3", "Xception", "MobileNetV2", "ResNet50")
WINDOWS, POOLINGS, POOL_ON = ("native", "point"), ("max", "avg", None), ("logits", "probabilities")
LIMIT = 1e-5
RESULT = Path(__file__).parent / "results" / "conversion_parity.csv"


def measure(network: str, seed: int = 0) -> list[dict[str, Any]]:
    """The rows of one network, one for every combination of options."""
    keras.utils.set_random_seed(seed)
    model = getattr(keras.applications, network)(weights=None)
    height, width = model.input_shape[1:3]
    pictures = random_pictures(6, height, width, seed=seed + 1)
    rescale_weights(model, pictures, seed)
    reference, probabilities = logits(model, pictures), np.asarray(model(pictures))
    rows = []
    for window, pooling, pool_on in itertools.product(WINDOWS, POOLINGS, POOL_ON):
        chosen = {"window": window, "pooling": pooling, "pool_on": pool_on}
        exact = plan_conversion(model, **chosen).exact
        fcn = to_fcn(model, verify=False, **chosen)
        if pool_on == "logits":
            pooled = keras.Model(fcn.input, fcn.get_layer("pooled").output)(pictures)
            worst = _largest(pooled, reference)
        else:
            worst = _largest(fcn(pictures), probabilities)
            if exact:
                worst = max(worst, _largest(fcn_logits(fcn, pictures), reference))
        rows.append(
            {
                "network": network,
                "native": height,
                **chosen,
                "must_equal": exact,
                "logit_std": round(float(reference.std(axis=0).mean()), 3),
                "relative_difference": float(f"{worst:.2e}"),
                "ok": not exact or worst <= LIMIT,
            }
        )
        del fcn
        gc.collect()
    return rows


def _largest(values: Any, reference: np.ndarray) -> float:
    """The largest difference, at every place where `values` are a map."""
    values = np.asarray(values)
    if values.ndim == 4:
        reference = np.broadcast_to(reference[:, None, None], values.shape)
    return difference(values, reference)


def main() -> int:
    parser = command_line(__doc__, RESULT, NETWORKS)
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for network in arguments.networks:
        found = measure(network)
        show(found)
        rows += found
        keras.backend.clear_session()
        gc.collect()
    save(arguments.out, rows)
    must = [row for row in rows if row["must_equal"]]
    worst = max(row["relative_difference"] for row in must)
    failed = sum(not row["ok"] for row in rows)
    print(f"{len(must)} of {len(rows)} rows must be equal; largest difference {worst:.1e}")
    print(f"{failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
