"""What a column of a table means: how its cells become the value of a target.

A cell that is empty says nothing, and `parse` then gives `None`: the picture lacks the target.

| kind | cells | value in `Record.targets` |
|---|---|---|
| `ClassColumn` | a name | the index of the name (int) |
| `ScoreColumn` | a number | the number (float) |
| `DistributionColumn` | the votes for each score, one column each | the votes (tuple) |
| `HueColumn` | a hue's name, degrees, or black | `Hue` |
| `LabelsColumn` | several names, or one column of 0 and 1 each | 1, 0 or `None` per name (tuple) |
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self, TypeVar

Cells = Mapping[str, str]
"""The cells of one row by their column; an empty one for what is not known."""

WHEEL = (
    "red",
    "orange",
    "yellow",
    "green-yellow",
    "green",
    "green-cyan",
    "cyan",
    "blue-cyan",
    "blue",
    "blue-magenta",
    "magenta",
    "red-magenta",
)
"""The twelve hues of the colour wheel, 30 degrees apart, from red at 0 (the hue of HSV)."""


class CellError(ValueError):
    """A cell that its column cannot read.

    Attributes:
        column: The column of the table.
        rule: What the cell must be.
        value: What it is.
    """

    def __init__(self, column: str, rule: str, value: str) -> None:
        super().__init__(f"column {column} must hold {rule}, got {value!r}")
        self.column = column
        self.rule = rule
        self.value = value


class Hue(NamedTuple):
    """A hue on the colour wheel, or black, which has none.

    Attributes:
        degrees: 0 (red) to below 360, yellow 60, green 120; 0 for black.
        black: Whether it is black.
    """

    degrees: float
    black: bool = False

    @property
    def place(self) -> int:
        """The index of the nearest name in `WHEEL`; 12 for black."""
        return 12 if self.black else math.floor(self.degrees / 30 + 0.5) % 12

    @property
    def name(self) -> str:
        """The nearest name in `WHEEL`, or "black"."""
        return (*WHEEL, "black")[self.place]


@dataclass(frozen=True)
class Column:
    """What all kinds of column have in common.

    Attributes:
        name: The name of the target.
    """

    name: str

    @property
    def sources(self) -> tuple[str, ...]:
        """The columns of the table that it reads."""
        raise NotImplementedError

    def parse(self, cells: Cells) -> Any:
        """Reads one row.

        Args:
            cells: The row; blanks around the cells are gone.

        Returns:
            What `encode` takes, or `None` if the row does not tell.

        Raises:
            CellError: A cell is not what it must be.
        """
        raise NotImplementedError

    def fitted(self, values: Iterable[Any]) -> Self:
        """The column with all its names known, from all that `parse` gave."""
        return self

    def encode(self, value: Any) -> Any:
        """What `parse` gave as the value of a target; the names must be known."""
        return value


@dataclass(frozen=True)
class ClassColumn(Column):
    """One of several names. Its target is the index of the name.

    Attributes:
        name: The name of the target.
        column: The column of the table; by default the target's name.
        names: The classes and their order. By default those that occur, sorted.
    """

    column: str | None = None
    names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        _check_names(self)

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.column or self.name,)

    def parse(self, cells: Cells) -> str | None:
        (column,) = self.sources
        value = cells[column]
        if value and self.names is not None and value not in self.names:
            raise CellError(column, f"one of {_listed(self.names)}", value)
        return value or None

    def fitted(self, values: Iterable[str]) -> Self:
        return _named(self, values)

    def encode(self, value: str) -> int:
        return (self.names or ()).index(value)


@dataclass(frozen=True)
class ScoreColumn(Column):
    """A number in a range.

    Attributes:
        name: The name of the target.
        low, high: The least and the greatest number that the table may hold.
        column: The column of the table; by default the target's name.
        mapped: The range that `low` to `high` is mapped to, such as (-1, 1) for a tanh. By default
            the target is the number as it stands.
    """

    low: float
    high: float
    column: str | None = None
    mapped: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for low, high in ((self.low, self.high), self.mapped or (0, 1)):
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise ValueError(f"the range of {self.name} must rise, got {low} to {high}")

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.column or self.name,)

    def parse(self, cells: Cells) -> float | None:
        (column,) = self.sources
        text = cells[column]
        if not text:
            return None
        value = _number(text)
        if value is None or not self.low <= value <= self.high:
            raise CellError(column, f"a number from {self.low:g} to {self.high:g}", text)
        if self.mapped is None:
            return value
        low, high = self.mapped
        return low + (high - low) * (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class DistributionColumn(Column):
    """How many voted for each of the scores 1, 2, 3 and so on.

    Its target is the votes as they stand, ints where they are whole numbers, so that the number of
    voters is kept: divide by the sum for probabilities, and see `moments` for the mean.

    Attributes:
        name: The name of the target.
        columns: The columns of the table, from the score 1 upwards.
    """

    columns: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.columns)) < max(2, len(self.columns)):
            raise ValueError(
                f"{self.name} must be counted in two different columns or more, got {self.columns}"
            )

    @property
    def sources(self) -> tuple[str, ...]:
        return tuple(self.columns)

    def parse(self, cells: Cells) -> tuple[float, ...] | None:
        texts = [cells[column] for column in self.columns]
        if not any(texts):
            return None
        counts = []
        for column, text in zip(self.columns, texts, strict=True):
            count = int(text) if text.isdecimal() else _number(text)
            if count is None or count < 0:
                raise CellError(column, "a number of votes, 0 or more", text)
            counts.append(count)
        if not any(counts):
            shown = f"{self.columns[0]} to {self.columns[-1]}"
            raise CellError(shown, "at least one vote", "0")
        return tuple(counts)


@dataclass(frozen=True)
class HueColumn(Column):
    """A hue: a name of `WHEEL` (either half first, in any case), degrees, or black.

    Attributes:
        name: The name of the target.
        column: The column of the table; by default the target's name.
    """

    column: str | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.column or self.name,)

    def parse(self, cells: Cells) -> Hue | None:
        (column,) = self.sources
        text = cells[column]
        if not text:
            return None
        words = "-".join(sorted(text.lower().replace("_", " ").replace("-", " ").split()))
        if words in _HUES:
            return _HUES[words]
        degrees = _number(text)
        if degrees is None or not 0 <= degrees <= 360:
            rule = f"0 to 360 degrees, black, or one of {', '.join(WHEEL)}"
            raise CellError(column, rule, text)
        return Hue(degrees % 360)


@dataclass(frozen=True)
class LabelsColumn(Column):
    """Any number of names at once. Its target has a 1 or 0 for each name, `None` where not known.

    Attributes:
        name: The name of the target.
        column: The column of the table that lists the names; by default the target's name.
        separator: What stands between them there.
        empty_is_none: Whether an empty list says that no name applies. By default it says nothing.
        columns: Instead of a list: one column for each name, with 0 or 1 (false or true, no or
            yes).
        names: The labels and their order. By default `columns`, or the names that occur, sorted.
    """

    column: str | None = None
    separator: str = ";"
    empty_is_none: bool = False
    columns: tuple[str, ...] = ()
    names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.columns and self.column is not None:
            raise ValueError(f"{self.name} must have a column or columns, got both")
        if self.columns and self.names is None:
            object.__setattr__(self, "names", tuple(self.columns))
        _check_names(self)
        if self.columns and len(self.columns) != len(self.names or ()):
            raise ValueError(
                f"{self.name} must have a name for each of its columns, got "
                f"{len(self.names or ())} for {len(self.columns)}"
            )

    @property
    def sources(self) -> tuple[str, ...]:
        return tuple(self.columns) or (self.column or self.name,)

    def parse(self, cells: Cells) -> tuple[Any, ...] | None:
        if self.columns:
            flags = tuple(_flag(column, cells[column]) for column in self.columns)
            return None if all(flag is None for flag in flags) else flags
        (column,) = self.sources
        listed = [each.strip() for each in cells[column].split(self.separator)]
        found = tuple(dict.fromkeys(each for each in listed if each))
        for each in found:
            if self.names is not None and each not in self.names:
                raise CellError(column, f"names out of {_listed(self.names)}", each)
        return found if found or self.empty_is_none else None

    def fitted(self, values: Iterable[tuple[str, ...]]) -> Self:
        return _named(self, (each for value in values for each in value))

    def encode(self, value: tuple[Any, ...]) -> tuple[int | None, ...]:
        if self.columns:
            return value
        return tuple(int(name in value) for name in self.names or ())


def moments(counts: Sequence[float]) -> tuple[float, float]:
    """The mean and the standard deviation of the scores 1, 2, 3 and so on with these votes.

    Args:
        counts: The votes, or the probabilities, of each score.

    Returns:
        The mean, and the standard deviation of the votes themselves (not of a sample).

    Example:

    ```python
    moments((1, 0, 1))  # (2.0, 1.0)
    ```
    """
    total = sum(counts)
    mean = sum(score * count for score, count in enumerate(counts, 1)) / total
    squares = sum(count * (score - mean) ** 2 for score, count in enumerate(counts, 1))
    return mean, math.sqrt(squares / total)


_HUES = {
    "-".join(sorted(name.split("-"))): Hue(30.0 * index) for index, name in enumerate(WHEEL)
} | {"black": Hue(0.0, black=True)}

_FLAGS = {"0": 0, "0.0": 0, "false": 0, "no": 0, "1": 1, "1.0": 1, "true": 1, "yes": 1}


def _flag(column: str, text: str) -> int | None:
    if not text:
        return None
    if text.lower() not in _FLAGS:
        raise CellError(column, "0 or 1", text)
    return _FLAGS[text.lower()]


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


_Named = TypeVar("_Named", bound=ClassColumn | LabelsColumn)


def _named(column: _Named, found: Iterable[str]) -> _Named:
    """The column with the names that occur, unless it has names, or none occurs."""
    names = tuple(sorted(set(found))) if column.names is None else ()
    return replace(column, names=names) if names else column


def _check_names(column: ClassColumn | LabelsColumn) -> None:
    names = column.names
    if names is not None and (not names or len(set(names)) != len(names) or "" in names):
        raise ValueError(f"the names of {column.name} must be different and not empty, got {names}")


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:15])
    return shown if len(names) <= 15 else f"{shown} and {len(names) - 15} more"
