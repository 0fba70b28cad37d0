"""What a trained classifier answers: predictions, and the maps behind a few of them, as files."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

from fcnkeras.batching import FedPictures
from fcnkeras.data.records import Collection
from fcnkeras.files import write_atomically, write_csv
from fcnkeras.models.structure import map_model, native_size


def predict_timed(fed: keras.Model, data: FedPictures) -> tuple[np.ndarray, float]:
    """Probabilities in the order of the records, and the seconds that it took, feeding included."""
    fed.predict(data, steps=min(2, len(data)), verbose=0)  # the first call builds the function
    start = time.perf_counter()
    rows = fed.predict(data, verbose=0)
    seconds = time.perf_counter() - start
    return data.in_order(rows), seconds


def write_predictions(folder: Path, test: Collection, probabilities: np.ndarray) -> int:
    """Writes `predictions.csv`; returns how many were right."""
    predicted = probabilities.argmax(axis=1)
    rows = []
    for record, scores, choice in zip(test.records, probabilities, predicted, strict=True):
        named = {f"p_{name}": f"{p:.6g}" for name, p in zip(test.classes, scores, strict=True)}
        label = test.classes[record.targets["class"]]
        rows.append(
            {"file": str(record.path), "label": label, "predicted": test.classes[choice], **named}
        )
    columns = ("file", "label", "predicted", *(f"p_{name}" for name in test.classes))
    write_csv(folder / "predictions.csv", rows, columns)
    return int((predicted == test.labels).sum())


def write_maps(
    folder: Path, fcn: keras.Model, data: FedPictures, probabilities: np.ndarray, count: int
) -> None:
    """Writes `maps.npz`: the map of scores of a few test pictures, spread over the classes."""
    maps = map_model(fcn)
    arrays: dict[str, Any] = {"window": (native_size(fcn) or (0, 0))[0]}
    chosen = np.linspace(0, len(data.records) - 1, min(count, len(data.records))).round()
    for k, index in enumerate(chosen.astype(int)):
        crops = data.fed(index).arrays
        scores = keras.ops.convert_to_numpy(maps(crops.astype("float32"), training=False))
        # Of several crops the one with the highest score is shown.
        best = int(scores.max(axis=(1, 2))[:, probabilities[index].argmax()].argmax())
        arrays |= {
            f"picture_{k}": crops[best],
            f"map_{k}": scores[best],
            f"label_{k}": data.records[index].targets["class"],
            f"predicted_{k}": probabilities[index].argmax(),
            f"file_{k}": str(data.records[index].path),
        }
    write_atomically(folder / "maps.npz", lambda path: np.savez_compressed(path, **arrays))
