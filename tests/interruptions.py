"""Trainings that are killed, and what must be the same after they went on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import pytest

# Keras on PyTorch draws dropout from PyTorch's own random numbers, which belong to no model.
keeps_dropout = pytest.mark.skipif(
    keras.backend.backend() == "torch", reason="PyTorch's random numbers are not kept"
)


class Killed(BaseException):
    """Nothing catches it."""


def kill_at(batch: int) -> Callable[[int, int, dict], None]:
    """A `tell` that ends the run after so many batches."""

    def tell(done: int, total: int, logs: dict) -> None:
        if done >= batch and not logs:
            raise Killed

    return tell


def without_seconds(history: Sequence[dict[str, float]]) -> list[dict[str, float]]:
    """A history as every run of it should be."""
    return [{key: row[key] for key in row if key != "seconds"} for row in history]
