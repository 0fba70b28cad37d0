"""What a run of the experiments has left in its folder, read and checked."""

from __future__ import annotations

import csv
import json
import math
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Value = TypeVar("Value")


@dataclass(frozen=True)
class Experiment:
    """One line of `results.csv`; what the file leaves empty is `None`.

    Attributes:
        accuracy: Share of right answers on the test pictures, 0 to 1.
        low: Lower end of its 95% interval.
        high: Upper end of its 95% interval.
        best_epoch: The epoch whose weights were kept, counted from 1.
    """

    number: int
    title: str
    network: str
    fcn: bool
    feeder: str
    size: str
    skip: bool
    accuracy: float
    low: float
    high: float
    n_test: int
    best_epoch: int | None
    epochs: int | None
    val_accuracy: float | None
    val_loss: float | None
    parameters: int | None
    seconds_per_picture: float | None
    training_seconds: float | None

    def overlaps(self, other: Experiment) -> bool:
        """Whether the two 95% intervals have a point in common."""
        return self.low <= other.high and other.low <= self.high


@dataclass(frozen=True)
class Predictions:
    """The answers of one experiment on the test pictures.

    Attributes:
        files: Paths as the runner wrote them, absolute or from its working folder.
        classes: The class names, in the order of the probability columns.
        labels: int64, shape `(pictures,)`, indices into `classes`.
        predicted: int64, shape `(pictures,)`, indices into `classes`.
        probabilities: float64, shape `(pictures, classes)`.
    """

    files: Sequence[str]
    classes: Sequence[str]
    labels: Array
    predicted: Array
    probabilities: Array

    @property
    def accuracy(self) -> float:
        """Share of right answers, 0 to 1."""
        return float(np.mean(self.labels == self.predicted))

    def confusion(self) -> Array:
        """int64, shape `(classes, classes)`: row label, column answer."""
        counts = np.zeros((len(self.classes),) * 2, np.int64)
        np.add.at(counts, (self.labels, self.predicted), 1)
        return counts

    def worst(self, count: int) -> list[int]:
        """Indices of the wrong answers that were given with the highest probability."""
        wrong = np.flatnonzero(self.labels != self.predicted)
        certainty = self.probabilities[wrong, self.predicted[wrong]]
        return [int(i) for i in wrong[np.argsort(-certainty, kind="stable")][:count]]


@dataclass(frozen=True)
class ClassMap:
    """The verdicts of a fully convolutional network at every location of one picture.

    Attributes:
        file: The picture's path.
        picture: uint8 RGB, shape `(height, width, 3)`, as the network was fed.
        logits: float32, shape `(rows, cols, classes)`.
        label: Index of the class.
        predicted: Index of the network's answer.
    """

    file: str
    picture: Array
    logits: Array
    label: int
    predicted: int


RESULT_COLUMNS = (
    "experiment",
    "title",
    "network",
    "fcn",
    "feeder",
    "size",
    "skip",
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "n_test",
    "best_epoch",
    "epochs",
    "val_accuracy",
    "val_loss",
    "parameters",
    "seconds_per_picture",
    "training_seconds",
)


def read_results(path: Path) -> list[Experiment]:
    """Reads `results.csv`, sorted by experiment.

    Raises:
        ValueError: The file is missing or malformed; the message names it.
    """
    if not path.is_file():
        raise ValueError(f"A report needs the results of the experiments; there is no file {path}.")
    with _naming(path):
        experiments = [_experiment(row) for row in _rows(path, RESULT_COLUMNS)]
        numbers = [e.number for e in experiments]
        if len(set(numbers)) < len(numbers):
            raise ValueError(f"an experiment may stand there once, received {numbers}")
    return sorted(experiments, key=lambda e: e.number)


def _experiment(row: dict[str, str]) -> Experiment:
    accuracy, low, high = (
        _number(row, key, float) for key in ("accuracy", "accuracy_low", "accuracy_high")
    )
    if not 0 <= low <= accuracy <= high <= 1:
        raise ValueError(
            "accuracy_low, accuracy and accuracy_high must be shares between 0 and 1 that "
            f"ascend, received {low}, {accuracy}, {high}"
        )
    return Experiment(
        number=_number(row, "experiment", int),
        title=row["title"],
        network=row["network"],
        fcn=_flag(row, "fcn"),
        feeder=row["feeder"],
        size=row["size"],
        skip=_flag(row, "skip"),
        accuracy=accuracy,
        low=low,
        high=high,
        n_test=_number(row, "n_test", int),
        best_epoch=_optional(row, "best_epoch", int),
        epochs=_optional(row, "epochs", int),
        val_accuracy=_optional(row, "val_accuracy", float),
        val_loss=_optional(row, "val_loss", float),
        parameters=_optional(row, "parameters", int),
        seconds_per_picture=_optional(row, "seconds_per_picture", float),
        training_seconds=_optional(row, "training_seconds", float),
    )


def read_settings(path: Path) -> dict[str, Any]:
    """Reads `settings.json`; a missing file has no settings.

    Raises:
        ValueError: It is no JSON object.
    """
    if not path.is_file():
        return {}
    with _naming(path):
        settings = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(settings, dict):
            raise ValueError(f"an object was expected, received {type(settings).__name__}")
    return settings


def read_rejected(path: Path) -> list[tuple[str, str]]:
    """Reads `rejected.csv`: `(file, reason)` of each picture that could not be read.

    Raises:
        ValueError: The file is malformed.
    """
    if not path.is_file() or path.stat().st_size == 0:
        return []
    with _naming(path):
        return [(row["file"], row["reason"]) for row in _rows(path, ("file", "reason"))]


def read_history(path: Path) -> dict[str, Array]:
    """Reads a file of Keras' `CSVLogger`.

    Returns:
        Each column as float64 of shape `(epochs,)`, sorted by `epoch` (from 0); of an epoch that
        was run again the last line counts, and what is no number there is NaN.

    Raises:
        ValueError: The file is missing, malformed or without an epoch.
    """
    with _naming(path):
        last = {_number(row, "epoch", int): row for row in _rows(path, ("epoch", "loss"))}
        if not last:
            raise ValueError("no epoch has been written")
        rows = [last[epoch] for epoch in sorted(last)]
        return {key: np.array([_measured(row[key]) for row in rows]) for key in rows[0]}


def read_predictions(path: Path) -> Predictions:
    """Reads `predictions.csv`.

    Raises:
        ValueError: The file is missing, malformed or empty.
    """
    with _naming(path):
        rows = list(_rows(path, ("file", "label", "predicted")))
        if not rows:
            raise ValueError("no picture has been written")
        columns = [key for key in rows[0] if key.startswith("p_")]
        classes = [key.removeprefix("p_") for key in columns]
        index = {name: i for i, name in enumerate(classes)}
        for row in rows:
            for key in ("label", "predicted"):
                if row[key] not in index:
                    raise ValueError(f"{key} {row[key]!r} has no column p_{row[key]}")
        return Predictions(
            files=[row["file"] for row in rows],
            classes=classes,
            labels=np.array([index[row["label"]] for row in rows]),
            predicted=np.array([index[row["predicted"]] for row in rows]),
            probabilities=np.array([[_number(row, key, float) for key in columns] for row in rows]),
        )


def read_maps(path: Path) -> tuple[list[ClassMap], int]:
    """Reads `maps.npz`.

    Returns:
        The maps and the side in pixels of the network's native window.

    Raises:
        ValueError: The file is missing or malformed.
    """
    with _naming(path), np.load(path) as file:
        maps: list[ClassMap] = []
        while f"picture_{len(maps)}" in file:
            k = len(maps)
            one = ClassMap(
                file=str(file[f"file_{k}"]),
                picture=file[f"picture_{k}"],
                logits=file[f"map_{k}"],
                label=int(file[f"label_{k}"]),
                predicted=int(file[f"predicted_{k}"]),
            )
            _check_map(one, k)
            maps.append(one)
        return maps, int(file["window"])


def _check_map(one: ClassMap, k: int) -> None:
    picture, logits = one.picture, one.logits
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(
            f"picture_{k} must be uint8 of the shape (height, width, 3), received {picture.dtype} "
            f"of {picture.shape}"
        )
    if logits.ndim != 3 or 0 in logits.shape or logits.shape[2] < 2:
        raise ValueError(
            f"map_{k} must have the shape (rows, cols, classes) with two classes or more, "
            f"received {logits.shape}"
        )
    if not 0 <= min(one.label, one.predicted) <= max(one.label, one.predicted) < logits.shape[2]:
        raise ValueError(
            f"label_{k} and predicted_{k} must be below {logits.shape[2]}, the number of classes, "
            f"received {one.label} and {one.predicted}"
        )


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turns everything a damaged file can raise into a ValueError that names the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise ValueError(f"There is no file {path}.") from error
    except KeyError as error:
        raise ValueError(f"{path} cannot be used: {error.args[0]} is missing.") from error
    except (ValueError, OSError, EOFError, csv.Error, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} cannot be used: {error}.") from error


def _rows(path: Path, required: Sequence[str]) -> Iterator[dict[str, str]]:
    # surrogateescape: a file name that is no valid UTF-8 must not hide the other pictures.
    with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        reader = csv.DictReader(file)
        missing = [name for name in required if name not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(f"the column {missing[0]} is missing")
        for row in reader:
            if None in row or None in row.values():
                raise ValueError(
                    f"line {reader.line_num} has not as many cells as the header, "
                    f"{len(reader.fieldnames or ())}"
                )
            yield row


def _number(row: dict[str, str], key: str, kind: Callable[[str], Value]) -> Value:
    try:
        return kind(row[key])
    except ValueError:
        raise ValueError(f"{key} must be a number, received {row[key]!r}") from None


def _optional(row: dict[str, str], key: str, kind: Callable[[str], Value]) -> Value | None:
    return None if row[key].strip().lower() in ("", "nan") else _number(row, key, kind)


def _measured(text: str) -> float:
    """A measured value; CSVLogger writes `NA` for what an epoch did not measure."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _flag(row: dict[str, str], key: str) -> bool:
    value = row[key].strip().lower()
    if value not in ("true", "false"):
        raise ValueError(f"{key} must be true or false, received {row[key]!r}")
    return value == "true"
