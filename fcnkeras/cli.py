"""The `fcnkeras` command. Everything heavy is imported inside the command that needs it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    help="Keras image classifiers, fully convolutional, fed with pictures as they are.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

FAILED, INCOMPLETE = 2, 3


def main() -> None:
    """Runs the command line."""
    app()


@app.callback()
def _options() -> None:
    """Keeps `fcnkeras COMMAND` even while there is one command."""


@contextlib.contextmanager
def _one_sentence() -> Iterator[None]:
    """Bad input ends with its message and exit code 2, not with a traceback."""
    try:
        yield
    except (ValueError, OSError) as error:
        if os.environ.get("FCNKERAS_TRACEBACK"):
            raise
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(FAILED) from error


def _import_keras() -> None:
    """Imports Keras without TensorFlow's start-up lines on standard error, unless it fails."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)
        try:
            import keras  # noqa: F401
        except BaseException:
            aside.seek(0)
            os.write(kept, aside.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _numbers(text: str) -> list[int]:
    """ "1,3-5" as [1, 3, 4, 5]."""
    numbers: list[int] = []
    for piece in text.split(","):
        first, _, last = piece.strip().partition("-")
        if not first.isdigit() or (last and not last.isdigit()):
            raise ValueError(f"--only takes numbers such as 1,3-5. Received: {text!r}")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


@app.command()
def convert(
    model: Annotated[Path, typer.Argument(help="A Keras classifier: .keras or .h5.")],
    out: Annotated[Path, typer.Option(help="Where the new model is written (.keras).")],
    pooling: Annotated[str, typer.Option(help="max, avg or none (the map itself).")] = "max",
    pool_on: Annotated[str, typer.Option(help="logits or probabilities.")] = "logits",
    window: Annotated[str, typer.Option(help="native or point.")] = "native",
) -> None:
    """Make a saved classifier fully convolutional, with a proof.

    Example: fcnkeras convert model.keras --out fcn.keras
    """
    with _one_sentence():
        _import_keras()
        import keras

        from fcnkeras.convert import plan_conversion, to_fcn
        from fcnkeras.files import write_atomically

        if out.suffix != ".keras":
            raise ValueError(f"--out must end in .keras. Received: {out}")
        if not model.is_file():
            raise ValueError(f"No such model file: {model}")
        source = keras.models.load_model(model, compile=False)
        options: dict[str, Any] = {
            "pooling": None if pooling == "none" else pooling,
            "pool_on": pool_on,
            "window": window,
        }
        typer.echo(plan_conversion(source, **options))
        fcn = to_fcn(source, **options)
        write_atomically(out, fcn.save)
        proof = fcn.certificate
        typer.echo(proof if proof else "free input size: there is no native size to compare at")
        typer.echo(f"written: {out}")


@app.command()
def experiments(
    train: Annotated[Path | None, typer.Option(help="Folder of class folders to train on.")] = None,
    val: Annotated[
        Path | None, typer.Option(help="Folder of class folders that chooses the epoch.")
    ] = None,
    test: Annotated[
        Path | None,
        typer.Option(help="Folder of class folders used once, at the end. Default: half of --val."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="One folder of class folders, split 60/20/20 by seed and class."),
    ] = None,
    task: Annotated[
        str, typer.Option(help="Generated pictures, without a folder: proportions, styles or all.")
    ] = "all",
    out: Annotated[Path, typer.Option(help="Folder of results; run again to go on.")] = Path(
        "runs/experiments"
    ),
    only: Annotated[str, typer.Option(help="Which experiments, such as 1,3-5.")] = "1-10",
    network: Annotated[
        str | None, typer.Option(help="VGG16, VGG19, ResNet50, InceptionV3, Xception, MobileNetV2.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="imagenet, random, or the path of a weights file.")
    ] = None,
    pooling: Annotated[str | None, typer.Option(help="max or avg.")] = None,
    pool_on: Annotated[str | None, typer.Option(help="logits or probabilities.")] = None,
    window: Annotated[str | None, typer.Option(help="native or point.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs; the best is kept.")] = None,
    batch: Annotated[int | None, typer.Option(help="Pictures in a batch.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of the first epochs.")] = None,
    min_learning_rate: Annotated[float | None, typer.Option(help="Its floor.")] = None,
    frozen: Annotated[
        int | None, typer.Option(help="Blocks not trained, from the picture up; -1: all but one.")
    ] = None,
    dropout: Annotated[float | None, typer.Option(help="Before the classifier.")] = None,
    seed: Annotated[int, typer.Option(help="Of splits, new weights, order and flips.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Compare ten ways to feed a network: the original, fully convolutional, crops, native aspect.

    Without a folder it makes pictures of its own. Results appear as they come in OUT: results.csv,
    report.html, checkpoints. A finished experiment is not run again, an interrupted one goes on.

    Example: fcnkeras experiments --train photos/train --val photos/val --out runs/photos

    Exit codes: 0 all done; 2 bad input; 3 done, but some pictures could not be read.
    """
    given = {
        "network": network,
        "weights": weights,
        "pooling": pooling,
        "pool_on": pool_on,
        "window": window,
        "epochs": epochs,
        "batch": batch,
        "learning_rate": learning_rate,
        "min_learning_rate": min_learning_rate,
        "frozen": frozen,
        "dropout": dropout,
        "seed": seed,
    }
    chosen = {key: value for key, value in given.items() if value is not None}
    with _one_sentence():
        folders = {"train": train, "val": val, "test": test, "data": data}
        named = {key: folder for key, folder in folders.items() if folder is not None}
        rows, rejected = _compare(named, task, out, _numbers(only), chosen, quiet=as_json)
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    if rejected:
        typer.echo(f"{rejected} picture(s) could not be read and were left out.", err=True)
        raise typer.Exit(INCOMPLETE)


def _compare(
    named: dict[str, Path],
    task: str,
    out: Path,
    numbers: list[int],
    chosen: dict[str, Any],
    *,
    quiet: bool,
) -> tuple[list[dict[str, Any]], int]:
    """Runs the experiments on the folders named, or on generated pictures; returns the rows of all
    and how many pictures could not be read."""
    from fcnkeras.data import sources

    out.mkdir(parents=True, exist_ok=True)
    seed = chosen["seed"]
    if not named:
        tasks = ("proportions", "styles") if task == "all" else (task,)
        runs = {t: sources.generated_parts(t, out / "pictures" / t, seed=seed) for t in tasks}
    elif set(named) == {"data"}:
        runs = {"": sources.split_parts(named["data"], seed=seed)}
    elif {"train", "val"} <= set(named) <= {"train", "val", "test"}:
        runs = {"": sources.folder_parts(**named, seed=seed)}
    else:
        raise ValueError(
            "Give --train and --val (and --test), or --data alone, or no folder for generated "
            f"pictures. Received: {', '.join('--' + name for name in named)}"
        )
    _import_keras()
    from fcnkeras.console import ConsoleListener, make_console, results_table
    from fcnkeras.experiments import DEMO, Settings, run_experiments
    from fcnkeras.report import write_experiment_report

    console = make_console(stderr=quiet)
    base = Settings() if named else DEMO
    settings = dataclasses.replace(base, **chosen)
    tables, all_rows, rejected = [], [], 0
    for name, parts in runs.items():
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        sources.write_parts(folder, parts)
        for bad in (r for part in parts.values() for r in part.rejected):
            rejected += 1
            console.print(f"left out: {bad.path}: {bad.reason}", markup=False, soft_wrap=True)
        listener = ConsoleListener(console, name)
        title = f"Experiments: {name or ', '.join(str(path) for path in named.values())}"
        try:
            rows = run_experiments(
                parts, folder, settings, numbers=numbers, title=title, listener=listener
            )
        finally:
            listener.stop()
        report = write_experiment_report(folder)
        tables.append((results_table(title, rows), report))
        all_rows += [{"task": name, **row} for row in rows]
    for table, report in tables:
        console.print(table)
        console.print(f"report: {report}", markup=False, soft_wrap=True)
    return all_rows, rejected
