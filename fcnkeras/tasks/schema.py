"""Several tasks that one model learns together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fcnkeras.data.art import parents
from fcnkeras.data.columns import Column
from fcnkeras.data.records import Collection
from fcnkeras.tasks.classes import ClassTask, GroupTask, LabelsTask
from fcnkeras.tasks.task import Results, Task


@dataclass(frozen=True)
class Schema:
    """What a model predicts: tasks in their order.

    Attributes:
        name: of the schema.
        tasks: at least one.

    Raises:
        ValueError: two tasks or two of their results have one name, or a task groups classes that
            no task of the schema has.

    Example:

    ```python
    schema = load_schema("art_composition")
    paintings = read_table("labels.csv", schema.columns())
    ```
    """

    name: str
    tasks: tuple[Task, ...]

    def __post_init__(self) -> None:
        if not self.tasks:
            raise ValueError(f"schema {self.name} must have a task. Received: none")
        _once("tasks", self.names)
        for task in self.tasks:
            if isinstance(task, GroupTask):
                members = self.members_of(task)
                if members.names and task.names:
                    task.parents(members.names)
        if self.is_fitted:
            _once("results", tuple(name for task in self.tasks for name in task.result_names))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the tasks."""
        return tuple(task.name for task in self.tasks)

    @property
    def is_fitted(self) -> bool:
        """Whether all classes and labels are known."""
        return all(getattr(task, "names", True) for task in self.tasks)

    def __getitem__(self, name: str) -> Task:
        for task in self.tasks:
            if task.name == name:
                return task
        raise KeyError(f"no task {name!r} in schema {self.name}: {', '.join(self.names)}")

    def members_of(self, task: GroupTask) -> ClassTask:
        """The task whose classes another one groups."""
        found = next((each for each in self.tasks if each.name == task.of), None)
        if not isinstance(found, ClassTask) or isinstance(found, GroupTask):
            raise ValueError(
                f"{task.name} must group a task of classes of schema {self.name}. "
                f"Received: {task.of!r}"
            )
        return found

    def columns(self) -> tuple[Column, ...]:
        """The columns of a table that tell all tasks, for `fcnkeras.data.tables.read_table`."""
        return tuple(task.as_column() for task in self.tasks)

    def fitted(self, collection: Collection) -> Schema:
        """The schema with the classes, labels and groups that it leaves to the data.

        Args:
            collection: the training pictures.

        Raises:
            ValueError: the collection lacks a task's target, or has other names for it than the
                schema or in another order.
            DataError: a class belongs to two groups, or to none.
        """
        found = []
        for task in self.tasks:
            if task.name not in collection.targets:
                held = ", ".join(collection.targets) or "none"
                raise ValueError(
                    f"the data must have the target {task.name} of schema {self.name}. "
                    f"Received: {held}"
                )
            if isinstance(task, (ClassTask, LabelsTask)):
                names = collection.names(task.name)
                if task.names and task.names != names:
                    raise ValueError(
                        f"the names of {task.name} must be those of schema {self.name}, "
                        f"{', '.join(task.names)}. Received: {', '.join(names) or 'none'}"
                    )
                if isinstance(task, GroupTask) and not task.names:
                    task = replace(task, names=names, members=_members(collection, task))
                task = replace(task, names=names)
            found.append(task)
        return replace(self, tasks=tuple(found))

    def results(self, outputs: Mapping[str, np.ndarray]) -> Results:
        """A model's raw outputs as named values, for tables and scoring.

        Args:
            outputs: by task, (n, values) each, as `model.predict` gives them.

        Returns:
            (n,) arrays by name, in the order of the tasks.
        """
        return {
            name: values
            for task in self.tasks
            for name, values in task.results(outputs[task.name]).items()
        }

    def evaluate(
        self,
        values: Mapping[str, np.ndarray],
        outputs: Mapping[str, np.ndarray],
        known: Mapping[str, np.ndarray] | None = None,
    ) -> dict[str, dict[str, Any]]:
        """The figures of merit of every task, see `Task.evaluate`.

        Args:
            values: encoded targets by task.
            outputs: by task, (n, values) each.
            known: (n,) bool by task, whether the record tells it; by default all do.

        Returns:
            The figures by task; of a task that no record tells only `{"records": 0}`.
        """
        figures: dict[str, dict[str, Any]] = {}
        for task in self.tasks:
            true, output = np.asarray(values[task.name]), np.asarray(outputs[task.name])
            if known is not None:
                told = np.asarray(known[task.name], bool)
                true, output = true[told], output[told]
            figures[task.name] = task.evaluate(true, output) if len(true) else {"records": 0}
        return figures


def _members(collection: Collection, task: GroupTask) -> tuple[tuple[str, ...], ...]:
    """The members of each group, as the records have them."""
    of = parents(collection, task.of, task.name)
    members = collection.names(task.of)
    return tuple(
        tuple(name for name, parent in zip(members, of, strict=True) if parent == group)
        for group in range(len(collection.names(task.name)))
    )


def _once(what: str, names: tuple[str, ...]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"the {what} of a schema must have different names. Received: {twice[0]}")
