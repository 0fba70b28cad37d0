"""What a model's raw outputs mean: named results, a column each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from fcnkeras.convert.forms import activation_name
from fcnkeras.convert.graph import ConversionError, trace
from fcnkeras.scoring.tables import FIXED, Column
from fcnkeras.tasks.outputs import TaskSchema
from fcnkeras.tasks.schemas import parse_schema
from fcnkeras.tasks.task import Results


class Answers:
    """Turns raw outputs into results.

    A model of `fcnkeras.tasks` gives the results of its schema. Of any other model, an output of
    one number is that number, and an output of several is the greatest one: the columns "class"
    and "probability" ("score" if the model does not end in a softmax), with the name of the output
    instead of "class" where there are several outputs.

    Args:
        model: of one picture, as it was saved.
        names: of the classes of its first output; by default they are numbers.
        every: whether each class of a model without schema has a column too.

    Attributes:
        columns: the names and kinds of the results.

    Raises:
        ValueError: the model gives maps, or `names` are not as many as its classes, or of a model
            that knows its own.
    """

    def __init__(
        self, model: keras.Model, names: Sequence[str] | None = None, every: bool = False
    ) -> None:
        outputs = keras.tree.flatten(model.outputs)
        for output in outputs:
            if len(output.shape) != 2 or output.shape[1] is None:
                raise ValueError(
                    f"A model of one vector for each picture is needed: convert '{model.name}' "
                    f"with --pooling max or avg. Received output shape: {output.shape}"
                )
        self._units = [int(output.shape[1]) for output in outputs]
        self._every = every
        self._schema, self._names, self._scored = None, None, []
        text = _schema_text(model)
        if text is None:
            self._outputs = _output_names(model, len(outputs))
            self._names = _checked_names(names, self._units[0])
            self._scored = _scored_names(model, len(outputs))
        elif names is not None or every:
            raise ValueError(f"'{model.name}' knows its classes: it takes no names of them.")
        else:
            self._schema = parse_schema(text)
            # Keras flattens a dict by its sorted keys.
            self._outputs = sorted(self._schema.names)
        probe = self._results([np.full((1, units), 1 / units, "float32") for units in self._units])
        self.columns: tuple[Column, ...] = tuple(
            (f"{name}_output" if name in FIXED else name, _kind(values))
            for name, values in probe.items()
        )

    def rows(self, outputs: Sequence[np.ndarray]) -> list[tuple[float | int | str, ...]]:
        """The results of each picture, in the order of `columns`.

        Args:
            outputs: of the model, flattened, (n, values) each.

        Returns:
            n tuples; numbers are float32 written in the fewest digits that tell them apart.
        """
        results = self._results(outputs)
        columns = [
            [_value(value, kind) for value in values]
            for values, (_, kind) in zip(results.values(), self.columns, strict=True)
        ]
        return list(zip(*columns, strict=True))

    def _results(self, outputs: Sequence[np.ndarray]) -> Results:
        named = dict(zip(self._outputs, outputs, strict=True))
        if self._schema is not None:
            return self._schema.results(named)
        results: Results = {}
        for number, (name, output) in enumerate(named.items()):
            if self._units[number] == 1:
                results[name] = output[:, 0]
                continue
            classes = np.array(self._names) if self._names and not number else None
            best = output.argmax(axis=1)
            several = len(named) > 1
            results[name if several else "class"] = best if classes is None else classes[best]
            scored = self._scored[number]
            results[f"{name}_{scored}" if several else scored] = output.max(axis=1)
            if self._every:
                labels = range(output.shape[1]) if classes is None else classes
                for label, values in zip(labels, output.T, strict=True):
                    results[f"{name if several else 'class'}_{label}"] = values
        return results


def _schema_text(model: keras.Model) -> str | None:
    try:
        layers = trace(model).layers()
    except ConversionError:
        return None
    return next((layer.text for layer in layers if isinstance(layer, TaskSchema)), None)


def _scored_names(model: keras.Model, count: int) -> list[str]:
    """ "probability" for every output that ends in a softmax, else "score"."""
    try:
        graph = trace(model)
    except ConversionError:
        return ["score"] * count
    last = [graph.producer(ref) for ref in graph.outputs]
    return [
        "probability" if call is not None and activation_name(call.layer) == "softmax" else "score"
        for call in last
    ]


def _output_names(model: keras.Model, count: int) -> list[str]:
    names = list(getattr(model, "output_names", None) or [])
    if len(names) == count == len(set(names)):
        return names
    return [f"output_{number}" for number in range(count)] if count > 1 else ["score"]


def _checked_names(names: Sequence[str] | None, units: int) -> tuple[str, ...] | None:
    if names is None:
        return None
    if len(names) != units or len(set(names)) != units:
        raise ValueError(
            f"The names of the classes must be {units}, all different. "
            f"Received: {len(names)}, {len(set(names))} different"
        )
    return tuple(names)


def _kind(values: np.ndarray) -> str:
    kind = np.asarray(values).dtype.kind
    return {"f": "number", "i": "index", "u": "index"}.get(kind, "text")


def _value(value: Any, kind: str) -> float | int | str:
    if kind == "number":
        return float(str(np.float32(value)))
    return int(value) if kind == "index" else str(value)
