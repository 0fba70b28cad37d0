"""How well a model does its tasks: figures, predictions and the worst errors, as files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from fcnkeras.batching import FedPictures, picture_errors
from fcnkeras.data.columns import Hue
from fcnkeras.data.records import Rejected
from fcnkeras.encoding import encode_target
from fcnkeras.files import write_csv, write_json
from fcnkeras.tasks.schema import Schema

WORST = 24


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a model answered to the pictures of a collection.

    Attributes:
        schema: what it predicts.
        data: the pictures.
        values: encoded targets by task, (records, ...).
        known: by task, whether a record tells it and its picture could be read, bool (records,).
        outputs: of the model by task, (records, values), NaN for pictures that could not be read.
        figures: of merit by task, see `Task.evaluate`.
    """

    schema: Schema
    data: FedPictures
    values: dict[str, np.ndarray]
    known: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    figures: dict[str, dict[str, Any]]


def evaluate_tasks(fed: keras.Model, data: FedPictures, schema: Schema) -> Evaluation:
    """Lets a model answer to pictures, and compares.

    Args:
        fed: takes what `data` yields and gives a dict by task, see `heads.fed_task_model`.
        data: not shuffled, with the schema's tasks as targets.
        schema: fitted.

    Raises:
        ValueError: the data's targets are of other kinds than the schema's tasks, or shuffled.
        ImageError: a picture cannot be read, unless `data` skips those.
    """
    check_kinds(data, schema)
    with picture_errors(data):
        rows = fed.predict(data, verbose=0)
    outputs = {name: data.in_order(rows[name]) for name in schema.names}
    values, known = {}, {}
    for name in schema.names:
        encoded = encode_target(data.collection, name)
        readable = ~np.isnan(outputs[name].reshape(len(outputs[name]), -1)).any(axis=1)
        values[name], known[name] = encoded.values, encoded.known & readable
    figures = schema.evaluate(values, outputs, known)
    return Evaluation(schema, data, values, known, outputs, figures)


def check_kinds(data: FedPictures, schema: Schema) -> None:
    """Raises `ValueError` where the data tell something else than a task learns."""
    for task in schema.tasks:
        if data.kinds.get(task.name) != task.target:
            raise ValueError(
                f"the data must tell a {task.target} for task {task.name}. "
                f"Received: {data.kinds.get(task.name, 'nothing')}"
            )


def write_evaluation(folder: Path, evaluation: Evaluation) -> dict[str, dict[str, Any]]:
    """Writes what an evaluation found.

    Args:
        folder: for `evaluation.json` (figures; NaN as null), `predictions.csv` (a row a picture:
            file, what is known and what was answered), `classes_<task>.csv` and
            `confusion_<task>.csv` of tasks with classes, and `errors.csv` (the worst pictures of
            each task).

    Returns:
        The figures, as in `evaluation.json`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures = _plain(evaluation.figures)
    write_json(folder / "evaluation.json", figures)
    rows, columns = _predictions(evaluation)
    write_csv(folder / "predictions.csv", rows, columns)
    for name, figure in figures.items():
        if table := figure.get("per_class"):
            write_csv(folder / f"classes_{name}.csv", table, list(table[0]))
        if table and (matrix := figure.get("confusion")):
            names = [row["class"] for row in table]
            lines = [
                {"label": label, **dict(zip(names, line, strict=True))}
                for label, line in zip(names, matrix, strict=True)
            ]
            write_csv(folder / f"confusion_{name}.csv", lines, ["label", *names])
    columns = ["task", "file", "label", "answer", "error"]
    write_csv(folder / "errors.csv", worst_errors(evaluation), columns)
    return figures


def write_rejected(folder: Path, rejected: Sequence[tuple[str, Rejected]]) -> int:
    """Writes `rejected.csv`, the pictures that could not be read and their parts; counts them."""
    rows = [{"part": part, "file": str(r.path), "reason": r.reason} for part, r in rejected]
    write_csv(folder / "rejected.csv", rows, ("part", "file", "reason"))
    return len(rows)


def worst_errors(evaluation: Evaluation, count: int = WORST) -> list[dict[str, Any]]:
    """The pictures that a model got most wrong, for every task, the worst first."""
    found = []
    for task in evaluation.schema.tasks:
        known = np.flatnonzero(evaluation.known[task.name])
        if not len(known):
            continue
        outputs = evaluation.outputs[task.name][known]
        errors = task.errors(evaluation.values[task.name][known], outputs)
        results = task.results(outputs)
        rows: list[dict[str, Any]] = []
        for place in np.argsort(-errors, kind="stable"):
            record = evaluation.data.records[known[place]]
            row = {
                "task": task.name,
                "file": str(record.path),
                "label": _told(evaluation, task.name, record.targets[task.name]),
                "answer": _answer({k: v[place] for k, v in results.items()}, task.name),
                "error": f"{errors[place]:.6g}",
            }
            if errors[place] <= 0 or len(rows) == count:
                break
            rows += [row] if row["label"] != row["answer"] else []
        found += rows
    return found


def _predictions(evaluation: Evaluation) -> tuple[list[dict[str, Any]], list[str]]:
    answered = {name: np.nan_to_num(output) for name, output in evaluation.outputs.items()}
    results = evaluation.schema.results(answered)
    labels = [f"label_{name}" for name in evaluation.schema.names]
    broken = {rejected.path: rejected.reason for rejected in evaluation.data.rejected}
    rows = []
    for index, record in enumerate(evaluation.data.records):
        row: dict[str, Any] = {"file": str(record.path)}
        row["error"] = broken.get(record.path, "")
        for name in evaluation.schema.names:
            value = record.targets.get(name)
            row[f"label_{name}"] = "" if value is None else _told(evaluation, name, value)
        if not row["error"]:
            row |= {name: _text(values[index]) for name, values in results.items()}
        rows.append(row)
    return rows, ["file", "error", *labels, *results]


def _names(evaluation: Evaluation, task: str) -> tuple[str, ...]:
    return tuple(getattr(evaluation.schema[task], "names", ()))


def _told(evaluation: Evaluation, task: str, value: Any) -> str:
    """A target as a table shows it."""
    names = _names(evaluation, task)
    if isinstance(value, Hue):
        return value.name if value.black else f"{value.degrees:g}"
    if isinstance(value, Sequence) and names:
        return ";".join(name for name, flag in zip(names, value, strict=True) if flag)
    if isinstance(value, Sequence):
        return ";".join(f"{votes:g}" for votes in value)
    return names[value] if names else f"{value:g}"


def _answer(results: dict[str, Any], task: str) -> str:
    """What a model says of one picture, in a few words."""
    if task in results:
        return _text(results[task])
    return ", ".join(f"{name.removeprefix(task + '_')} {_text(v)}" for name, v in results.items())


def _text(value: Any) -> str:
    return str(value) if isinstance(value, str) else f"{float(value):.6g}"


def _plain(value: Any) -> Any:
    """As JSON has it: arrays as lists, numbers that have no meaning as null."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(each) for each in value]
    if isinstance(value, (np.integer, np.floating)):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
