"""Schemas as YAML: read with the line of every mistake, written, and built in.

```yaml
name: paintings
tasks:
  - name: contrast          # the target's name, and by default the column's
    kind: score             # classes, groups, labels, score, distribution or hue
    low: 1
    high: 10
    output: tanh
  - name: artist
    kind: classes           # without names: those that occur in the data
  - name: period
    kind: groups
    of: artist
    column: period_or_style
    groups:                 # optional, by default from the data
      baroque: [rubens, vermeer]
      cubism: [picasso]
```

The keys of a task are the attributes of its class in `fcnkeras.tasks`.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from fcnkeras.tasks.classes import ClassTask, GroupTask, LabelsTask
from fcnkeras.tasks.hue import HueTask
from fcnkeras.tasks.schema import Schema
from fcnkeras.tasks.scores import DistributionTask, ScoreTask
from fcnkeras.tasks.task import Task

KINDS: dict[str, type[Task]] = {
    kind.kind: kind
    for kind in (ClassTask, GroupTask, LabelsTask, ScoreTask, DistributionTask, HueTask)
}
BUILTIN = ("aadb", "art_composition", "ava_binary", "ava_distribution", "classes", "period_artist")


class SchemaError(ValueError):
    """A schema that cannot be used: a line for each mistake, with the file and its line."""


def load_schema(source: str | os.PathLike[str]) -> Schema:
    """Reads a schema.

    Args:
        source: the name of one that is built in, see `BUILTIN`, or a YAML file.

    Raises:
        SchemaError: there is no such schema, or it has mistakes.

    Example:
        >>> load_schema("ava_binary")["class"].names
        ('low', 'high')
    """
    if source in BUILTIN:
        text = resources.files("fcnkeras.tasks").joinpath("builtin", f"{source}.yaml").read_text()
        return parse_schema(text, str(source))
    try:
        text = Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SchemaError(
            f"a schema must be one of {', '.join(BUILTIN)}, or a YAML file. Received: {source} "
            f"({getattr(error, 'strerror', None) or 'not UTF-8'})"
        ) from error
    return parse_schema(text, str(source))


def parse_schema(text: str, where: str = "schema") -> Schema:
    """Reads a schema from YAML.

    Args:
        text: the YAML.
        where: what mistakes name as its file.

    Raises:
        SchemaError: every mistake with its line.
    """
    reader = _Reader(where)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        what = getattr(error, "problem", None) or "it holds a character that YAML does not allow"
        raise SchemaError(f"{where}:{line}: this is no YAML: {what}") from error
    schema = reader.schema(node)
    if schema is None or reader.problems:
        raise SchemaError("\n".join(reader.problems))
    return schema


def dump_schema(schema: Schema) -> str:
    """A schema as YAML, which `parse_schema` reads again."""
    tasks = []
    for task in schema.tasks:
        given: dict[str, Any] = {"name": task.name, "kind": task.kind}
        for field in dataclasses.fields(task):
            value = getattr(task, field.name)
            if field.name != "name" and value != field.default:
                given[field.name] = list(value) if isinstance(value, tuple) else value
        if "members" in given:
            groups = zip(given.pop("names"), given.pop("members"), strict=True)
            given["groups"] = {group: list(members) for group, members in groups}
        tasks.append(given)
    whole = {"name": schema.name, "tasks": tasks}
    return yaml.safe_dump(whole, sort_keys=False, allow_unicode=True, width=100)


class _Problem(Exception):
    """A mistake at a node."""

    def __init__(self, node: Any, text: str) -> None:
        super().__init__(text)
        self.node = node


class _Reader:
    """Makes a schema of YAML nodes and gathers the mistakes."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.problems: list[str] = []

    def schema(self, node: Any) -> Schema | None:
        try:
            keys = _mapping(node, "a schema", ("name", "tasks"), required=("name", "tasks"))
            name = _text(keys["name"], "name")
            nodes = _sequence(keys["tasks"], "tasks")
            if not nodes:
                raise _Problem(keys["tasks"], "tasks must have a task, got none")
        except _Problem as problem:
            self._tell(problem)
            return None
        tasks = [self._task(each) for each in nodes]
        if None in tasks:
            return None
        try:
            return Schema(name, tuple(task for task in tasks if task is not None))
        except ValueError as error:
            self._tell(_Problem(keys["tasks"], str(error)))
            return None

    def _task(self, node: Any) -> Task | None:
        label = "a task"
        try:
            given = _mapping(node, "a task", None, required=("name", "kind"))
            label = f"task {_text(given['name'], 'name')}"
            kind = _text(given["kind"], "kind")
            if kind not in KINDS:
                rule = f"kind must be one of {', '.join(KINDS)}, got {kind!r}"
                raise _Problem(given["kind"], rule)
            allowed = ["kind", *(field.name for field in dataclasses.fields(KINDS[kind]))]
            if kind == "groups":
                allowed = [key for key in allowed if key not in ("names", "members")] + ["groups"]
            given = _mapping(node, f"a task of kind {kind}", tuple(allowed))
            values = {key: _READ[key](child, key) for key, child in given.items() if key != "kind"}
            if "groups" in values:
                groups = values.pop("groups")
                values |= {"names": tuple(groups), "members": tuple(groups.values())}
            return KINDS[kind](**values)
        except _Problem as problem:
            self._tell(problem, f"{label}: ")
            return None
        except ValueError as error:
            self._tell(_Problem(node, str(error)), f"{label}: ")
            return None

    def _tell(self, problem: _Problem, label: str = "") -> None:
        line = 1 if problem.node is None else problem.node.start_mark.line + 1
        self.problems.append(f"{self.where}:{line}: {label}{problem}")


def _mapping(
    node: Any, what: str, allowed: tuple[str, ...] | None, required: tuple[str, ...] = ()
) -> dict[str, Any]:
    if not isinstance(node, yaml.MappingNode):
        raise _Problem(node, f"{what} must be keys and values, got {_shown(node)}")
    found: dict[str, Any] = {}
    for key_node, value in node.value:
        key = _text(key_node, "a key")
        if allowed is not None and key not in allowed:
            rule = f"{what} has the keys {', '.join(allowed)}, got {key!r}"
            raise _Problem(key_node, rule)
        if key in found:
            raise _Problem(key_node, f"every key must be there once, got {key!r} twice")
        found[key] = value
    for key in required:
        if key not in found:
            raise _Problem(node, f"{what} must have the key {key!r}, got {_listed(found)}")
    return found


def _sequence(node: Any, key: str) -> list[Any]:
    if not isinstance(node, yaml.SequenceNode):
        raise _Problem(node, f"{key} must be a list, got {_shown(node)}")
    return node.value


def _text(node: Any, key: str) -> str:
    if not isinstance(node, yaml.ScalarNode) or not node.value:
        raise _Problem(node, f"{key} must be text, got {_shown(node)}")
    if not node.tag.endswith(":str"):
        raise _Problem(node, f"{key} must be text, write it in quotes: '{node.value}'")
    return node.value


def _texts(node: Any, key: str) -> tuple[str, ...]:
    return tuple(_text(each, f"each of {key}") for each in _sequence(node, key))


def _number(node: Any, key: str) -> float:
    try:
        value = float(node.value) if isinstance(node, yaml.ScalarNode) else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise _Problem(node, f"{key} must be a number, got {_shown(node)}")
    return value


def _flag(node: Any, key: str) -> bool:
    if not isinstance(node, yaml.ScalarNode) or not node.tag.endswith(":bool"):
        raise _Problem(node, f"{key} must be true or false, got {_shown(node)}")
    return node.value.lower() in ("true", "yes", "on")


def _groups(node: Any, key: str) -> dict[str, tuple[str, ...]]:
    """Members by their group; a member under two groups is told by its second line."""
    seen: dict[str, str] = {}
    found = {}
    for group, members in _mapping(node, key, None).items():
        found[group] = _texts(members, f"the members of {group}")
        for member, child in zip(found[group], members.value, strict=True):
            if member in seen:
                rule = f"{member!r} must belong to one group, got {seen[member]!r} and {group!r}"
                raise _Problem(child, rule)
            seen[member] = group
    return found


_READ: dict[str, Callable[[Any, str], Any]] = {
    **dict.fromkeys(("name", "column", "separator", "output", "encoding", "of"), _text),
    **dict.fromkeys(("names", "columns"), _texts),
    **dict.fromkeys(("weight", "low", "high", "threshold"), _number),
    "empty_is_none": _flag,
    "groups": _groups,
}
"""How the value of each key is read."""


def _shown(node: Any) -> str:
    if isinstance(node, yaml.ScalarNode):
        return repr(node.value) if node.value else "nothing"
    return {yaml.MappingNode: "keys and values", yaml.SequenceNode: "a list"}.get(
        type(node), "nothing"
    )


def _listed(keys: Any) -> str:
    return ", ".join(keys) or "none"
