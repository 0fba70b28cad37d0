"""VGG16's first fully connected layer over a map: Keras' convolution, or windows and one product?

A kernel of 7x7x512x4096 is 411 MB. A processor's convolution rearranges it at every call before it
computes; `fcnkeras.layers.Im2colConv2D` gathers the windows and multiplies with the kernel as it
is. Both run in turns on the same map and weights, compiled by Keras, warm.

Columns of the CSV: backend; pixels (side of VGG16's picture); cells (side of the map); windows;
seconds_conv, seconds_product (medians); ratio (conv / product); difference (largest, relative).

    [KERAS_BACKEND=jax|torch] python benchmarks/window_product.py [--repeats N] [--out FILE.csv]

The rows of other backends that the file holds are kept.
"""

from __future__ import annotations

import statistics
import sys
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
from measuring import command_line, in_turns, save, tell

from fcnkeras.files import read_csv
from fcnkeras.layers import Im2colConv2D

RESULT = Path(__file__).parent / "results" / "window_product.csv"
NATIVE, PIXELS = 7, (224, 336, 448, 672)


def build(kind: type) -> keras.Model:
    """The layer as a model, for maps of any size."""
    inputs = keras.Input((None, None, 512))
    layer = kind(4096, NATIVE, kernel_initializer="zeros")
    model = keras.Model(inputs, layer(inputs))
    random = np.random.default_rng(0)
    layer.kernel.assign(random.normal(0, 0.01, layer.kernel.shape).astype("float32"))
    model.compile(jit_compile="auto" if keras.backend.backend() == "jax" else False)
    return model


def measure(models: list[keras.Model], pixels: int, repeats: int) -> dict[str, Any]:
    """One row: both ways in turns."""
    cells = pixels // 32
    maps = np.random.default_rng(1).normal(size=(1, cells, cells, 512)).astype("float32")
    theirs, ours = (model.predict_on_batch(maps) for model in models)
    turns = {i: partial(model.predict_on_batch, maps) for i, model in enumerate(models)}
    times = in_turns(turns, repeats)
    conv, product = (statistics.median(times[i][1:]) for i in turns)
    return {
        "backend": keras.backend.backend(),
        "pixels": pixels,
        "cells": cells,
        "windows": (cells - NATIVE + 1) ** 2,
        "seconds_conv": round(conv, 4),
        "seconds_product": round(product, 4),
        "ratio": round(conv / product, 2),
        "difference": f"{np.abs(theirs - ours).max() / np.abs(theirs).max():.1e}",
    }


def main() -> int:
    parser = command_line(__doc__, RESULT)
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    models = [build(keras.layers.Conv2D), build(Im2colConv2D)]
    rows = [measure(models, pixels, arguments.repeats) for pixels in PIXELS]
    for row in rows:
        tell(row)
    others = [r for r in read_csv(arguments.out) if r["backend"] != rows[0]["backend"]]
    save(arguments.out, [*others, *rows])
    return 0


if __name__ == "__main__":
    sys.exit(main())
