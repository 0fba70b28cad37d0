"""`fcnkeras inspect`: what a collection of pictures holds, and what is wrong with it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from fcnkeras.cli.common import INCOMPLETE, one_sentence, quiet_stderr

if TYPE_CHECKING:
    from fcnkeras.data.columns import Column
    from fcnkeras.data.inspection import Inspection
    from fcnkeras.data.records import Collection

SHOWN = 20
# Scores of a table need a range, and here it is asked for.
_ANY = 1e300
_WORDS = ("", "reason", "file", "same as", "labels")
_FIGURES = ("min", "median", "mean", "max", "deviation")
_KINDS = {
    "ClassColumn": "class",
    "ScoreColumn": "score",
    "DistributionColumn": "distribution",
    "HueColumn": "hue",
    "LabelsColumn": "labels",
}


class _Section(NamedTuple):
    """A part of the report: a table, in each row of which the first cell says what it is about."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def inspect(
    source: Annotated[
        Path, typer.Argument(metavar="DIR|CSV", help="Pictures, class folders, or a table.")
    ],
    file: Annotated[
        str | None,
        typer.Option(help='Table: the column of the file, or a pattern, "{ID}.jpg".'),
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="Table: the folder of the pictures. Default: its own.")
    ] = None,
    class_columns: Annotated[
        list[str] | None, typer.Option("--class", help="Table: a column of classes.")
    ] = None,
    score_columns: Annotated[
        list[str] | None,
        typer.Option("--score", help="Table: a column of numbers, COLUMN or COLUMN:LOW:HIGH."),
    ] = None,
    distributions: Annotated[
        list[str] | None,
        typer.Option("--distribution", help="Table: votes for 1, 2 ..., NAME=COLUMN,COLUMN,..."),
    ] = None,
    hue_columns: Annotated[
        list[str] | None, typer.Option("--hue", help="Table: a column of hues.")
    ] = None,
    label_columns: Annotated[
        list[str] | None,
        typer.Option("--labels", help="Table: a column of several names, divided by semicolons."),
    ] = None,
    size: Annotated[int, typer.Option(help="That the feeders would be given.")] = 224,
    max_pixels: Annotated[int | None, typer.Option(help="Larger pictures count as broken.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Headers only: damaged pixels go unnoticed.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Tell what a collection holds: classes, sizes, broken and duplicate files, missing labels.

    And what each feeder would lose of the pictures, or add to them. A folder's sub-folders are its
    classes; of a table say which columns to read, each option as often as wanted.

    Example: fcnkeras inspect photos

    A table: fcnkeras inspect labels.csv --file "{ID}.jpg" --root photos --class artist

    Exit codes: 0 all files can be read; 2 bad input; 3 some are broken, or rows have no file.
    """
    with one_sentence():
        columns = _columns(class_columns, score_columns, distributions, hue_columns, label_columns)
        collection, targets, others = _read(source, columns, file, root)
        with quiet_stderr():  # of the libraries that decode
            found = _inspect(
                collection,
                bar=not as_json,
                targets=targets,
                size=size,
                quick=quick,
                max_pixels=max_pixels,
                others=others,
            )
    if as_json:
        typer.echo(json.dumps({"source": str(source), **found.to_dict()}, indent=2))
    else:
        _print(source, found)
    if found.broken or found.without_file:
        raise typer.Exit(INCOMPLETE)


def _columns(
    classes: list[str] | None,
    scores: list[str] | None,
    distributions: list[str] | None,
    hues: list[str] | None,
    labels: list[str] | None,
) -> list[Column]:
    from fcnkeras.data.columns import (
        ClassColumn,
        DistributionColumn,
        HueColumn,
        LabelsColumn,
        ScoreColumn,
    )

    found: list[Column] = [ClassColumn(name) for name in classes or ()]
    for text in scores or ():
        name, low, high = _range(text)
        found.append(ScoreColumn(name, low, high))
    for text in distributions or ():
        name, _, listed = text.partition("=")
        if not (name and listed):
            raise ValueError(f"--distribution takes NAME=COLUMN,COLUMN,... Received: {text!r}")
        found.append(DistributionColumn(name, tuple(listed.split(","))))
    found += [HueColumn(name) for name in hues or ()]
    return found + [LabelsColumn(name) for name in labels or ()]


def _range(text: str) -> tuple[str, float, float]:
    number = r"-?[0-9]+(?:\.[0-9]+)?"
    match = re.fullmatch(rf"(.+):({number}):({number})", text)
    return (match[1], float(match[2]), float(match[3])) if match else (text, -_ANY, _ANY)


def _read(
    source: Path, columns: list[Column], file: str | None, root: Path | None
) -> tuple[Collection, dict[str, str] | None, dict[str, int]]:
    """The collection, the kinds of its targets if a table names them, and what is no picture."""
    from fcnkeras.data.inspection import folder_collection
    from fcnkeras.data.tables import read_table

    if source.is_dir():
        if columns or file is not None or root is not None:
            raise ValueError(
                f"--file, --root and the columns go with a table. Received: the folder {source}"
            )
        collection, others = folder_collection(source)
        return collection, None, others
    collection = read_table(source, columns, file=file or "file", root=root, check="exists")
    return collection, {column.name: _KINDS[type(column).__name__] for column in columns}, {}


def _inspect(collection: Collection, *, bar: bool, **options: Any) -> Inspection:
    """Inspects behind a bar, where there is a terminal to show it."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from fcnkeras.data.inspection import inspect_collection

    console = Console()
    if not (bar and console.is_terminal):
        return inspect_collection(collection, **options)
    with Progress(
        TextColumn("reading"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    ) as progress:
        task = progress.add_task("", total=len(collection))
        return inspect_collection(
            collection, progress=lambda done: progress.update(task, completed=done), **options
        )


def _print(source: Path, found: Inspection) -> None:
    """Tables on a terminal, and lines that tell the same in a pipe."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    head = [
        f"{_shown(source)}: {found.readable:,} of {found.files:,} files can be read, "
        f"{found.bytes / 1e6:,.1f} MB"
        + ("" if found.decoded else " (headers only: damaged pixels go unnoticed)")
    ]
    for title, counts in (
        ("formats", found.formats),
        ("modes", found.modes),
        ("not looked at", found.others),
    ):
        if counts:
            listed = ", ".join(f"{_shown(key or 'no ending')} {n:,}" for key, n in counts.items())
            head.append(f"{title}: {listed}")
    for line in head:
        typer.echo(line)
    for section in _sections(found):
        if not section.rows:
            continue
        if not console.is_terminal:
            for first, *cells in section.rows:
                pairs = zip(section.columns[1:], cells, strict=True)
                told = ", ".join(f"{name} {cell}" for name, cell in pairs if cell and name)
                typer.echo(f"{section.title}: {first}" + (f": {told}" if told else ""))
            continue
        table = Table(*section.columns, title=Text(section.title), title_justify="left")
        for column in table.columns[1:]:
            column.justify = "left" if column.header in _WORDS else "right"
        for row in section.rows[:SHOWN]:
            table.add_row(*(Text(cell) for cell in row))  # a name may hold what looks like markup
        console.print(table)
        if len(section.rows) > SHOWN:
            typer.echo(f"... and {len(section.rows) - SHOWN:,} more: --json lists all")


def _sections(found: Inspection) -> Iterator[_Section]:
    for name, target in found.targets.items():
        yield _target_section(name, target)
    counted = [
        (name, f"{len(target['missing']):,}")
        for name, target in found.targets.items()
        if target["missing"]
    ]
    yield _Section("missing labels", ("target", "pictures"), counted)
    sizes = [
        (name.replace("_", " "), *(f"{values[key]:,.0f}" for key in _FIGURES[:4]))
        for name, values in found.sizes.items()
        if values
    ]
    yield _Section("sizes", ("pixels", *_FIGURES[:4]), sizes)
    most = max(1, *found.aspects.values())
    aspects = [
        (name, f"{count:,}", "#" * -(-30 * count // most))
        for name, count in found.aspects.items()
        if found.readable
    ]
    yield _Section("aspect", ("long : short side", "pictures", ""), aspects)
    yield _feeder_section(found)
    yield _Section(
        "broken", ("file", "reason"), [(_shown(bad.path), bad.reason) for bad in found.broken]
    )
    rows = [
        (f"{_shown(bad.table or '')}, line {bad.line}", f"{_shown(bad.path)}: {bad.reason}")
        for bad in found.without_file
    ]
    yield _Section("rows without a file", ("row", "file"), rows)
    duplicates = [
        (
            _shown(same.paths[0]),
            ", ".join(_shown(path) for path in same.paths[1:]),
            "differ" if same.differ else "",
        )
        for same in found.duplicates
    ]
    yield _Section("duplicates", ("file", "same as", "labels"), duplicates)


def _target_section(name: str, target: dict[str, Any]) -> _Section:
    title, kind = _shown(name), target["kind"]
    if kind in ("score", "distribution"):
        rows = [
            (what, *(f"{target[key][figure]:.4g}" for figure in _FIGURES))
            for key, what in (("values", "mean" if kind == "distribution" else kind),
                              ("votes", "votes"))
            if target.get(key)
        ]  # fmt: skip
        return _Section(title, (kind, *_FIGURES), rows)
    counts = target["counts"]
    if kind == "labels":
        states = ("with", "without", "unknown")
        listed = [
            (_shown(key), *(f"{n[state]:,}" for state in states)) for key, n in counts.items()
        ]
        return _Section(title, ("label", *states), listed)
    known = max(1, target["known"])
    rows = [
        (_shown(key), f"{count:,}", f"{100 * count / known:.1f} %")
        for key, count in counts.items()
        if count or kind == "class"
    ]
    return _Section(title, (kind, "pictures", "share"), rows)


def _feeder_section(found: Inspection) -> _Section:
    columns = ("cropped", "padded", "repeated", "distortion")
    rows = []
    for name, told in found.feeders.items():
        if told["pixels"]["mean"] is None:
            continue
        shares = [
            f"{100 * told[key]['mean']:.1f} % (max {100 * told[key]['max']:.1f} %)"
            for key in columns
        ]
        rows.append(
            (
                name,
                *shares,
                f"{told['arrays']['mean']:.2f}",
                f"{told['pixels']['mean']:,.0f}",
                f"{told['enlarged']:,}",
                f"{told['refused']:,}",
            )
        )
    more = ("arrays", "pixels", "enlarged", "refused")
    return _Section(f"feeders at {found.size}", ("feeder", *columns, *more), rows)


def _shown(name: object) -> str:
    """A name as it stands, or with escapes where it would disturb a terminal."""
    text = str(name)
    return text if text.isprintable() else ascii(text)
