"""Padded batches of pictures of many proportions, with noise where the padding is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import networks
import numpy as np

# (height, width) for a native side of 24: nine proportions from 1:4 to 4:1, odd and even sides.
PROPORTIONS = ((24, 24), (24, 33), (35, 24), (24, 48), (51, 24), (24, 70), (95, 24), (25, 96))
PROPORTIONS += ((31, 41),)


def mixed_batch(
    sizes: Sequence[tuple[int, int]], *, noise: float = 30.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Pictures of these sizes, each at the top left of its array.

    Args:
        sizes: (height, width) of each picture.
        noise: deviation of what stands in the padding; pictures have about 1.
        seed: of pictures and noise.

    Returns:
        The batch (pictures, height, width, 3) float32, its mask bool (pictures, height, width),
        and each picture alone, (1, its height, its width, 3).
    """
    height, width = np.max(sizes, axis=0)
    rng = np.random.default_rng(seed)
    pictures = rng.normal(scale=noise, size=(len(sizes), height, width, 3)).astype("float32")
    mask = np.zeros(pictures.shape[:3], bool)
    alone = []
    for number, (rows, columns) in enumerate(sizes):
        alone.append(networks.random_pictures(1, rows, columns, seed=seed + number))
        pictures[number, :rows, :columns] = alone[-1][0]
        mask[number, :rows, :columns] = True
    return pictures, mask, alone


def answers(model: Any, pictures: Any) -> np.ndarray:
    """What a model says, float64."""
    return networks.to_numpy(model(pictures, training=False), "float64")


def one_by_one(model: Any, alone: Sequence[np.ndarray]) -> np.ndarray:
    """What a model says of each picture alone, float64 (pictures, classes)."""
    return np.concatenate([answers(model, picture) for picture in alone])
