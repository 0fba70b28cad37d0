"""`fcnkeras experiments`: ten ways to feed a network, compared."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fcnkeras.cli.common import finish, import_keras, make_folder, one_sentence

if TYPE_CHECKING:
    from fcnkeras.data.records import Collection
    from fcnkeras.experiments import Settings


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

    Exit codes: 0 all done; 2 bad input; 3 done, but some pictures could not be read or there is no
    report; 130 interrupted.
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
    with one_sentence(as_json=as_json, resumes=True):
        folders = {"train": train, "val": val, "test": test, "data": data}
        named = {key: folder for key, folder in folders.items() if folder is not None}
        rows, missing = _compare(named, task, out, _numbers(only), chosen, quiet=as_json)
    finish(rows, missing, as_json=as_json)


def _compare(
    named: dict[str, Path],
    task: str,
    out: Path,
    numbers: list[int],
    chosen: dict[str, Any],
    *,
    quiet: bool,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Runs the experiments on the folders named, or on generated pictures; returns the rows of all
    and, in words, what could not be done."""
    _check_folders(named)
    make_folder("--out", out)
    import_keras()
    from fcnkeras.console import ConsoleListener, make_console, results_table
    from fcnkeras.experiments import run_experiments
    from fcnkeras.report import write_experiment_report

    settings = _settings(chosen, numbers, demo=not named)
    runs = _read_parts(named, task, out, settings.seed)
    console = make_console(stderr=quiet)
    tables, all_rows, rejected, missing = [], [], 0, []
    for name, parts in runs.items():
        folder = out / name
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
        try:
            report = f"report: {write_experiment_report(folder)}"
        except ImportError as error:
            report = f"no report: {error}"
            missing.append(report)
        tables.append((results_table(title, rows), report))
        all_rows += [{"task": name, **row} for row in rows]
    for table, report in tables:
        console.print(table)
        console.print(report, markup=False, soft_wrap=True)
    if rejected:
        missing.append(f"{rejected} picture(s) could not be read and were left out.")
    return all_rows, missing


def _check_folders(named: dict[str, Path]) -> None:
    """Raises, before anything slow, if the options do not fit together or a folder is missing."""
    if named and set(named) not in ({"data"}, {"train", "val"}, {"train", "val", "test"}):
        raise ValueError(
            "Give --train and --val (and --test), or --data alone, or no folder for generated "
            f"pictures. Received: {', '.join('--' + name for name in named)}"
        )
    for name, folder in named.items():
        if not folder.is_dir():
            raise ValueError(f"--{name} must be a folder of class folders. Received: {folder}")


def _settings(chosen: dict[str, Any], numbers: list[int], *, demo: bool) -> Settings:
    from fcnkeras.experiments import DEMO, Settings, get_experiment
    from fcnkeras.models.specs import get_spec

    for number in numbers:
        get_experiment(number)
    if "network" in chosen:
        spec = get_spec(chosen["network"])
        chosen = {"weights": spec.weights, **chosen, "network": spec.name}
    return dataclasses.replace(DEMO if demo else Settings(), **chosen)


def _read_parts(
    named: dict[str, Path], task: str, out: Path, seed: int
) -> dict[str, dict[str, Collection]]:
    from fcnkeras.data import sources

    if not named:
        tasks = ("proportions", "styles") if task == "all" else (task,)
        return {t: sources.generated_parts(t, out / "pictures" / t, seed=seed) for t in tasks}
    if set(named) == {"data"}:
        return {"": sources.split_parts(named["data"], seed=seed)}
    return {"": sources.folder_parts(**named, seed=seed)}


def _numbers(text: str) -> list[int]:
    """ "1,3-5" as [1, 3, 4, 5]."""
    numbers: list[int] = []
    for piece in text.split(","):
        match = re.fullmatch(r"([0-9]{1,3})(?:-([0-9]{1,3}))?", piece.strip())
        span = range(int(match[1]), int(match[2] or match[1]) + 1) if match else range(0)
        if not span:
            raise ValueError(f"--only takes numbers such as 1,3-5. Received: {text!r}")
        numbers += span
    return numbers
