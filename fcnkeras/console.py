"""What a run says while it goes: bars on a terminal, plain lines in a pipe, a table at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from fcnkeras.experiments import Experiment, Listener

PIPE_WIDTH = 120


def make_console(*, stderr: bool = False) -> Console:
    """A console that does not squeeze tables into 80 columns when it writes to a pipe."""
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        console = Console(stderr=stderr, highlight=False, width=PIPE_WIDTH)
    return console


class ConsoleListener(Listener):
    """Tells how experiments go.

    Args:
        console: where to.
        name: of the run, put before every line.
    """

    def __init__(self, console: Console, name: str) -> None:
        self.console = console
        self.name = name
        self.bar: Progress | None = None
        self.figures = ""

    def begin(self, experiment: Experiment) -> None:
        self.figures = ""
        if self.console.is_terminal:
            self.bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[figures]}"),
                console=self.console,
                transient=True,
            )
            self.task = self.bar.add_task(self._named(experiment), total=None, figures="")
            self.bar.start()

    def progress(self, done: int, total: int, logs: dict) -> None:
        if logs:
            self.figures = f"epoch {logs['epoch']}, validation accuracy {logs['val_accuracy']:.3f}"
        if self.bar:
            self.bar.update(self.task, completed=done, total=total, figures=self.figures)

    def end(self, experiment: Experiment, row: Mapping[str, Any], *, ran: bool) -> None:
        if self.bar:
            self.bar.stop()
        state = f"{row['training_seconds']:.0f} s of training" if ran else "finished before"
        self.console.print(
            f"{self._named(experiment)}: accuracy {_accuracy(row)}, {state}",
            markup=False,
            soft_wrap=True,
        )

    def stop(self) -> None:
        """Ends the bar of an experiment that was interrupted."""
        if self.bar:
            self.bar.stop()

    def _named(self, experiment: Experiment) -> str:
        return f"{self.name} {experiment.number}. {experiment.title}".lstrip()


class EpochLines:
    """Tells how a training goes: a bar on a terminal, and a line for every epoch.

    Args:
        console: where to.
        monitor: the figure that matters.

    Use it as a context, and give `tell` to the training.
    """

    def __init__(self, console: Console, monitor: str) -> None:
        self.console, self.monitor = console, monitor
        self.bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.task = self.bar.add_task("training", total=None)

    def __enter__(self) -> EpochLines:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def tell(self, done: int, total: int, logs: dict) -> None:
        """After every batch, and after every epoch with its logs."""
        self.bar.update(self.task, completed=done, total=total)
        if logs:
            self.console.print(
                f"epoch {logs['epoch']} (stage {logs['stage'] + 1}): loss {logs['loss']:.4f}, "
                f"{self.monitor} {logs[self.monitor]:.4f}, learning rate "
                f"{logs['learning_rate']:.2g}, {logs['seconds']:.1f} s",
                markup=False,
                soft_wrap=True,
            )


def results_table(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """The results of a run as a table."""
    table = Table(title=Text(title), title_justify="left")
    numeric = {"accuracy [95 % interval]", "size", "parameters", "s/picture", "training s", ""}
    for column in (
        "",
        "experiment",
        "fed by",
        "size",
        "accuracy [95 % interval]",
        "parameters",
        "s/picture",
        "training s",
    ):
        table.add_column(column, justify="right" if column in numeric else "left")
    best = max((row["accuracy"] for row in rows), default=0.0)
    for row in rows:
        table.add_row(
            str(row["experiment"]),
            row["title"],
            row["feeder"],
            str(row["size"]),
            _accuracy(row),
            f"{row['parameters']:,}",
            f"{row['seconds_per_picture']:.4f}",
            f"{row['training_seconds']:.0f}",
            style="bold" if row["accuracy"] == best else "",
        )
    return table


def _accuracy(row: Mapping[str, Any]) -> str:
    low, high = row["accuracy_low"], row["accuracy_high"]
    return f"{row['accuracy']:.1%} [{low:.1%}, {high:.1%}]".replace("%", " %")
