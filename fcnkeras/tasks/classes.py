"""Tasks with names: one class, groups of classes, any number of labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np

from fcnkeras.data.columns import ClassColumn, Column, LabelsColumn
from fcnkeras.tasks import fit_metrics, losses, metrics
from fcnkeras.tasks.task import Results, Task


@dataclass(frozen=True)
class ClassTask(Task):
    """One of several classes.

    Attributes:
        names: the classes by index; empty until the data are known, see `Schema.fitted`.
        column: the column of a table; by default the task's name.
    """

    kind: ClassVar[str] = "classes"
    target: ClassVar[str] = "class"

    names: tuple[str, ...] = ()
    column: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_names(self.name, self.names)

    @property
    def size(self) -> int:
        return len(_known_names(self))

    def output_layer(self) -> keras.Layer:
        return keras.layers.Activation("softmax", name=self.name, dtype="float32")

    def loss(self) -> keras.losses.Loss:
        return losses.ClassLoss(name=self.name)

    def metrics(self) -> list[keras.metrics.Metric]:
        return [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]

    def as_column(self) -> Column:
        return ClassColumn(self.name, self.column, self.names or None)

    @property
    def result_names(self) -> tuple[str, ...]:
        return (self.name, *(f"{self.name}_{name}" for name in _known_names(self)))

    def results(self, output: np.ndarray) -> Results:
        chosen = np.array(_known_names(self))[output.argmax(axis=1)]
        return dict(zip(self.result_names, (chosen, *output.T), strict=True))

    def errors(self, values: np.ndarray, output: np.ndarray) -> np.ndarray:
        return 1.0 - output[np.arange(len(output)), values].astype("float64")

    def evaluate(self, values: np.ndarray, output: np.ndarray) -> dict[str, Any]:
        matrix = metrics.confusion_matrix(values, output.argmax(axis=1), len(self.names))
        right, total = int(np.trace(matrix)), len(values)
        return {
            "records": total,
            "accuracy": right / total,
            "accuracy_interval": list(metrics.wilson_interval(right, total)),
            "balanced_accuracy": metrics.balanced_accuracy(matrix),
            "macro_f1": metrics.macro_f1(matrix),
            "per_class": metrics.class_table(matrix, self.names),
            "confusion": matrix.tolist(),
        }


@dataclass(frozen=True)
class GroupTask(ClassTask):
    """Groups of another task's classes, such as the periods of artists.

    A group's probability is the sum over its members, so that the two never contradict each other.

    Attributes:
        of: the task of the members.
        names: the groups by index.
        members: for each group the names of its members; empty until the data are known.

    Raises:
        ValueError: a member is listed under two groups.
    """

    kind: ClassVar[str] = "groups"

    of: str = ""
    members: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.of:
            raise ValueError(f"{self.name} must tell the task that it groups. Received: none")
        if len(self.members) != len(self.names):
            raise ValueError(
                f"{self.name} must have members for each of its {len(self.names)} names. "
                f"Received: {len(self.members)}"
            )
        first: dict[str, str] = {}
        for group, members in zip(self.names, self.members, strict=True):
            for member in members:
                if member in first:
                    raise ValueError(
                        f"every {self.of} must belong to one {self.name}. Received: {member} under "
                        f"{first[member]} and {group}"
                    )
                first[member] = group

    @property
    def size(self) -> int:
        return 0

    def parents(self, members: tuple[str, ...]) -> tuple[int, ...]:
        """The index of the group of each of these members."""
        of = {name: i for i, group in enumerate(self.members) for name in group}
        if set(of) != set(members):
            wrong = sorted(set(of) ^ set(members))[0]
            where = "it is of none" if wrong in members else f"{self.of} does not have it"
            raise ValueError(
                f"the groups of {self.name} must hold the classes of {self.of}, each once. "
                f"Received: {wrong}, {where}"
            )
        return tuple(of[member] for member in members)


@dataclass(frozen=True)
class LabelsTask(Task):
    """Any number of labels at once.

    Attributes:
        names: the labels by index; empty until the data are known.
        column: the column of a table that lists them; by default the task's name.
        separator: what stands between them there.
        empty_is_none: whether an empty list says that none applies; by default it says nothing.
        columns: instead of a list, one column for each name, with 0 or 1.
    """

    kind: ClassVar[str] = "labels"
    target: ClassVar[str] = "labels"

    names: tuple[str, ...] = ()
    column: str | None = None
    separator: str = ";"
    empty_is_none: bool = False
    columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.columns and not self.names:
            object.__setattr__(self, "names", self.columns)
        _check_names(self.name, self.names, least=1)
        self.as_column()  # checks what stands in the way of reading a table

    @property
    def size(self) -> int:
        return len(_known_names(self))

    def output_layer(self) -> keras.Layer:
        return keras.layers.Activation("sigmoid", name=self.name, dtype="float32")

    def loss(self) -> keras.losses.Loss:
        return losses.LabelsLoss(name=self.name)

    def metrics(self) -> list[keras.metrics.Metric]:
        return [fit_metrics.LabelsAccuracy(name="accuracy")]

    def as_column(self) -> Column:
        return LabelsColumn(
            self.name,
            self.column,
            self.separator,
            self.empty_is_none,
            self.columns,
            self.names or None,
        )

    @property
    def result_names(self) -> tuple[str, ...]:
        return tuple(f"{self.name}_{name}" for name in _known_names(self))

    def results(self, output: np.ndarray) -> Results:
        return dict(zip(self.result_names, output.T, strict=True))

    def errors(self, values: np.ndarray, output: np.ndarray) -> np.ndarray:
        apart = np.abs(output.astype("float64") - values)
        known = ~np.isnan(values)
        return np.where(known, apart, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)

    def evaluate(self, values: np.ndarray, output: np.ndarray) -> dict[str, Any]:
        rows = []
        for name, true, share in zip(self.names, values.T, output.T, strict=True):
            known = ~np.isnan(true)
            pair = (true[known] > 0.5).astype(int), (share[known] > 0.5).astype(int)
            matrix = metrics.confusion_matrix(*pair, 2)
            row = metrics.class_table(matrix, ("no", name))[1]
            accuracy = np.trace(matrix) / known.sum() if known.any() else math.nan
            rows.append({**row, "known": int(known.sum()), "accuracy": float(accuracy)})
        weights = np.array([row["known"] for row in rows])
        accuracies = np.array([row["accuracy"] for row in rows])[weights > 0]
        f1s = np.array([row["f1"] for row in rows])
        return {
            "records": len(values),
            "accuracy": float(np.average(accuracies, weights=weights[weights > 0])),
            "macro_f1": float(f1s[~np.isnan(f1s)].mean()) if (~np.isnan(f1s)).any() else math.nan,
            "per_class": rows,
        }


def _check_names(task: str, names: tuple[str, ...], least: int = 2) -> None:
    if names and (len(names) < least or len(set(names)) < len(names) or "" in names):
        what = "two or more, different and" if least == 2 else "different and"
        raise ValueError(f"the names of {task} must be {what} not empty. Received: {names}")


def _known_names(task: ClassTask | LabelsTask) -> tuple[str, ...]:
    if not task.names:
        raise ValueError(
            f"the names of {task.name} must be known: list them in the schema, or take them from "
            "the data with `Schema.fitted`. Received: none"
        )
    return task.names
