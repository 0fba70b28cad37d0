"""Hues as numbers: twelve places on the colour wheel and black, and the ways to encode them.

A hue is (cosine, sine, black): a vector of length 1, and 1 for black (`fcnkeras.encoding`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from fcnkeras.data.columns import WHEEL

NAMES = (*WHEEL, "black")
PLACES = len(NAMES)
BLACK = PLACES - 1
_ANGLES = 2 * np.pi * np.arange(len(WHEEL)) / len(WHEEL)
_HUES = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1).astype("float32")


def _codes() -> np.ndarray:
    """A code of length 1 and ten numbers for each of the 13 colours: the five lowest frequencies.

    They sum to 0, so that the guess that knows nothing is 0. It knows nothing of the wheel, as
    an embedding of categories does not: what is far on the wheel may be near as a code.
    """
    turns = 2 * np.pi * np.outer(np.arange(PLACES), np.arange(1, 6)) / PLACES
    codes = np.concatenate([np.cos(turns), np.sin(turns)], axis=1) / np.sqrt(5)
    return codes.astype("float32")


CODES = _codes()


def place_of(hues: Any) -> Any:
    """The nearest place of each hue (n, 3): 0 to 11 on the wheel, 12 for black; (n,) int32."""
    degrees = ops.arctan2(hues[:, 1], hues[:, 0]) * (180.0 / np.pi)
    place = ops.cast(ops.floor(degrees / 30.0 + 0.5), "int32") % len(WHEEL)
    return ops.where(hues[:, 2] > 0.5, BLACK, place)


def decode(output: Any, encoding: str) -> Any:
    """What a head gave as hues (n, 3): cosine and sine of the hue, the share of black.

    A hue is there for black too, the likeliest of the others, so that the error in degrees can be
    told apart from that of the flag. Black is what has a share above 0.5.

    Args:
        output: (n, 3) for "vector", (n, 13) probabilities for "softmax", (n, 10) for "embedding".
        encoding: one of these.
    """
    if encoding == "vector":
        return output
    if encoding == "embedding":
        # Of codes of one length, the nearest has the greatest product.
        output = ops.matmul(output, ops.convert_to_tensor(CODES.T, output.dtype))
    hue = ops.argmax(output[:, :BLACK], axis=-1)
    best = ops.max(output[:, :BLACK], axis=-1)
    black = output[:, BLACK]
    if encoding == "embedding":
        share = ops.cast(black > best, output.dtype)
    else:
        share = black / ops.maximum(black + best, 1e-12)
    vector = ops.take(ops.convert_to_tensor(_HUES, output.dtype), hue, axis=0)
    return ops.concatenate([vector, share[:, None]], axis=-1)
