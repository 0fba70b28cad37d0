"""What `train` and `evaluate` share: where labelled pictures come from, and tables of figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import keras
    from rich.console import Console
    from rich.table import Table

    from fcnkeras.tasks.schema import Schema

Labels = Annotated[
    Path,
    typer.Argument(
        metavar="LABELS",
        help="A folder of class folders, a CSV file, AVA.txt, or the folder of AADB's label files.",
    ),
]
SchemaName = Annotated[
    str | None,
    typer.Option(
        "--schema",
        help="ava_binary, ava_distribution, aadb, art_composition, period_artist, classes, or a "
        "YAML file. Default: what the labels look like.",
    ),
]
File = Annotated[
    str | None,
    typer.Option(
        help='CSV: the column of the file, or a pattern, "{ID}.jpg".', show_default="file"
    ),
]
Root = Annotated[
    Path | None, typer.Option(help="The folder of the pictures. Default: that of the labels.")
]
Margin = Annotated[
    float, typer.Option(help="ava_binary: leaves out mean scores nearer to 5 than this.")
]


def check_labels(labels: Path) -> None:
    """Raises, before anything slow, if there are no labels."""
    if not labels.exists():
        raise ValueError(f"No such folder or file of labels: {labels}")


def find_schema(name: str | None, labels: Path) -> Schema:
    """The schema that was named, or the one that fits what the labels look like."""
    from fcnkeras.tasks.schemas import load_schema
    from fcnkeras.tasks.sources import default_schema

    chosen = name or default_schema(labels)
    if chosen is None:
        raise ValueError(f"{labels} is a table: say what to learn from it, --schema NAME.")
    return load_schema(chosen)


def report_writer(
    model: keras.Model, feeder: str, size: int, console: Console
) -> Callable[[Path], Path]:
    """Writes the page of a folder, with maps of what the model saw in its worst errors."""
    from fcnkeras.report import write_training_report
    from fcnkeras.report.error_maps import error_maps

    def write(out: Path) -> Path:
        try:
            return write_training_report(out, error_maps(model, feeder, size))
        except ValueError as error:  # a head that cannot be explained; the rest is told
            page = write_training_report(out)
            console.print(f"no maps of the errors: {error}", markup=False, soft_wrap=True)
            return page

    return write


def figures_table(title: str, figures: Mapping[str, Mapping[str, Any]]) -> Table:
    """The figures of every task, without those that are tables themselves."""
    from rich.table import Table
    from rich.text import Text

    table = Table("task", "figure", title=Text(title), title_justify="left")
    table.add_column("value", justify="right")
    for task, found in figures.items():
        for place, (name, value) in enumerate(found.items()):
            if name in ("per_class", "confusion"):
                continue
            table.add_row(task if place == 0 else "", name.replace("_", " "), number(value))
    return table


def number(value: Any) -> str:
    """A figure in a table."""
    if value is None or isinstance(value, str):
        return value or "–"
    if isinstance(value, list):
        return " to ".join(number(each) for each in value)
    return str(value) if isinstance(value, int) else f"{value:.4f}"
