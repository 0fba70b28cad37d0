"""The `fcnkeras` command. Everything heavy is imported inside the command that needs it."""

from __future__ import annotations

import typer

from fcnkeras.cli import convert, evaluate, experiments, explain, export, inspect, score, train

app = typer.Typer(
    help="Keras image classifiers, fully convolutional, fed with pictures as they are.",
    epilog="With FCNKERAS_TRACEBACK=1 in the environment an error shows where it comes from.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: rich would take as long to load as all the rest
    add_completion=False,
)
app.command()(convert.convert)
app.command()(experiments.experiments)
app.command()(train.train)
app.command()(evaluate.evaluate)
app.command()(score.score)
app.command()(explain.explain)
app.command()(export.export)
app.command()(inspect.inspect)


def main() -> None:
    """Runs the command line."""
    app()
