"""A fully convolutional network against sliding the original over the same windows.

The FCN computes once what neighbouring windows share. How much that saves is counted in
multiplications, from the shapes of both graphs, and measured; `share` says how much of the counted
saving arrives. Weights are random, rescaled until the logits have a deviation near 1 (a network
with ImageNet's weights takes as long). Both sides are compiled by Keras (`predict_on_batch`), warm,
and run in turns; the windows of the sliding side are cut beforehand and are not timed, and of
several batch sizes it gets the fastest.

Columns of the CSV: network; padding (whether its convolutions pad); scale (of the native size);
pixels (side of the square picture); windows (that fit into it, one each stride of the network);
batch (of windows, on the sliding side); counted_fcn, counted_sliding (multiplications); counted
(their ratio); seconds_fcn, seconds_sliding (medians); measured (their ratio); share (measured /
counted); difference (largest between the FCN's map and the logits of the windows, relative to the
largest); same_decisions (share of windows whose largest logit is of the same class).

A network that pads sees zeros around each window, where the FCN sees the picture: there the two
differ. Without padding they are the same function, and must decide alike.

    python benchmarks/dense_vs_sliding.py [NETWORK ...] [--repeats N] [--out FILE.csv]

Exits with 1 if a network without padding does not give the same decisions.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers
from measuring import command_line, save, seconds, show
from multiplications import multiplications

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from networks import difference, random_pictures, rescale_weights

from fcnkeras import to_fcn
from fcnkeras.models.structure import map_model

SCALES = (1.5, 2, 3)
STRIDE = 32  # of every network here
BATCHES = (1, 2, 4, 8, 16, 32)
LIMIT = 1e-5
RESULT = Path(__file__).parent / "results" / "dense_vs_sliding.csv"


def vgg_without_padding() -> keras.Model:
    """VGG16's layers, a quarter as wide; without padding 224 pixels end in a map of 1x1."""
    x = picture = keras.Input((224, 224, 3))
    for block, (convolutions, filters) in enumerate(
        ((2, 16), (2, 32), (3, 64), (3, 128), (3, 128)), start=1
    ):
        for n in range(1, convolutions + 1):
            x = layers.Conv2D(filters, 3, activation="relu", name=f"block{block}_conv{n}")(x)
        x = layers.MaxPooling2D(name=f"block{block}_pool")(x)
    x = layers.Dense(256, activation="relu")(layers.Flatten()(x))
    return keras.Model(picture, layers.Dense(100)(x), name="vgg_without_padding")


def mobilenet_without_padding() -> keras.Model:
    """Depthwise blocks with strides, BatchNormalization and ReLU6, ending in an average."""
    picture = keras.Input((224, 224, 3))
    x = layers.Conv2D(32, 3, strides=2, use_bias=False)(picture)
    for filters in (48, 96, 192, 384):
        x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
        x = layers.DepthwiseConv2D(3, strides=2, use_bias=False)(x)
        x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
        x = layers.Conv2D(filters, 1, use_bias=False)(x)
    x = layers.GlobalAveragePooling2D()(layers.BatchNormalization()(x))
    return keras.Model(picture, layers.Dense(100)(x), name="mobilenet_without_padding")


def _application(name: str) -> Callable[[], keras.Model]:
    build = getattr(keras.applications, name)
    return lambda: build(weights=None, classifier_activation=None, name=name)


NETWORKS: dict[str, Callable[[], keras.Model]] = {
    "VGG16": _application("VGG16"),
    "MobileNetV2": _application("MobileNetV2"),
    "vgg_without_padding": vgg_without_padding,
    "mobilenet_without_padding": mobilenet_without_padding,
}


def measure(network: str, repeats: int) -> list[dict[str, Any]]:
    """The rows of one network, one for each scale."""
    keras.utils.set_random_seed(0)
    model = NETWORKS[network]()
    native = model.input_shape[1]
    rescale_weights(model, random_pictures(4, native, native, seed=1))
    fcn = map_model(to_fcn(model))
    batch = fastest_batch(model)
    return [measure_scale(model, fcn, network, scale, batch, repeats) for scale in SCALES]


def measure_scale(
    model: keras.Model, fcn: keras.Model, network: str, scale: float, batch: int, repeats: int
) -> dict[str, Any]:
    """One row: `fcn`, the map of `model`, against `model` on each window, in turns."""
    native = model.input_shape[1]
    side = round(native * scale)
    picture = random_pictures(1, side, side, seed=2)
    across = (side - native) // STRIDE + 1
    windows = cut(picture[0], native, across)
    places = fcn.predict_on_batch(picture)[0, :across, :across].reshape(len(windows), -1)
    logits = slide(model, windows, batch)
    rounds = [in_turns(model, fcn, picture, windows, batch) for _ in range(repeats)]
    counted = {
        "fcn": multiplications(fcn, side, side),
        "sliding": len(windows) * multiplications(model, native, native),
    }
    medians = {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
    ratio, counted_ratio = (values["sliding"] / values["fcn"] for values in (medians, counted))
    return {
        "network": network,
        "padding": "without" not in network,
        "scale": scale,
        "pixels": side,
        "windows": len(windows),
        "batch": batch,
        "counted_fcn": counted["fcn"],
        "counted_sliding": counted["sliding"],
        "counted": round(counted_ratio, 2),
        "seconds_fcn": round(medians["fcn"], 4),
        "seconds_sliding": round(medians["sliding"], 3),
        "measured": round(ratio, 2),
        "share": round(ratio / counted_ratio, 3),
        "difference": float(f"{difference(places, logits):.1e}"),
        "same_decisions": round(float(np.mean(places.argmax(1) == logits.argmax(1))), 4),
    }


def in_turns(
    model: keras.Model, fcn: keras.Model, picture: np.ndarray, windows: np.ndarray, batch: int
) -> dict[str, float]:
    """Seconds of the FCN for the picture, a mean, and of the original for all windows.

    The windows are done in four parts with the FCN between them, so that whatever else the
    machine does meets both sides.
    """
    part = max(batch, -(-len(windows) // (4 * batch)) * batch)
    dense, sliding = [], 0.0
    for start in range(0, len(windows), part):
        some = windows[start : start + part]
        dense.append(seconds(lambda: fcn.predict_on_batch(picture)))
        sliding += seconds(lambda: slide(model, some, batch))  # noqa: B023
    return {"fcn": statistics.mean(dense), "sliding": sliding}


def cut(picture: np.ndarray, native: int, across: int) -> np.ndarray:
    """The windows of a picture, row by row: (across * across, native, native, 3)."""
    starts = range(0, across * STRIDE, STRIDE)
    return np.stack([picture[y : y + native, x : x + native] for y in starts for x in starts])


def slide(model: keras.Model, windows: np.ndarray, batch: int) -> np.ndarray:
    """What the original says of every window."""
    starts = range(0, len(windows), batch)
    return np.concatenate([model.predict_on_batch(windows[i : i + batch]) for i in starts])


def fastest_batch(model: keras.Model) -> int:
    """The batch size at which the original takes least time for a window."""
    native = model.input_shape[1]
    windows = random_pictures(max(BATCHES), native, native, seed=3)
    times = {}
    for batch in BATCHES:
        some = windows[: max(batch, 8)]
        model.predict_on_batch(some[:batch])
        times[batch] = min(seconds(lambda: slide(model, some, batch)) for _ in range(2)) / len(some)  # noqa: B023
    return min(times, key=lambda batch: times[batch])


def main() -> int:
    parser = command_line(__doc__, RESULT, NETWORKS)
    parser.add_argument("--repeats", type=int, default=3, help="rounds (default: %(default)s)")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for network in arguments.networks:
        found = measure(network, arguments.repeats)
        show(found, ("counted_fcn", "counted_sliding"))
        rows += found
        keras.backend.clear_session()
    save(arguments.out, rows)
    wrong = [row for row in rows if not row["padding"] and not decides_alike(row)]
    print(f"{len(wrong)} rows without padding differ")
    return 1 if wrong else 0


def decides_alike(row: dict[str, Any]) -> bool:
    """Whether the FCN's map is, to rounding, what the original says of the windows."""
    return row["difference"] <= LIMIT and row["same_decisions"] == 1


if __name__ == "__main__":
    sys.exit(main())
