"""`fcnkeras train`: a model for the tasks of a schema, from labelled pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fcnkeras.cli.common import finish, import_keras, make_folder, one_sentence, write_report
from fcnkeras.cli.labels import (
    File,
    Labels,
    Margin,
    Root,
    SchemaName,
    check_labels,
    figures_table,
    find_schema,
    report_writer,
)

if TYPE_CHECKING:
    from fcnkeras.training.run import Settings


def train(
    labels: Labels,
    out: Annotated[Path, typer.Option(help="Folder of results; run again to go on.")] = Path(
        "runs/train"
    ),
    schema: SchemaName = None,
    file: File = None,
    root: Root = None,
    margin: Margin = 0.0,
    group: Annotated[
        str | None,
        typer.Option(help="Pictures alike in this target stay in one part, such as artist."),
    ] = None,
    split: Annotated[
        Path | None, typer.Option(help="The split.csv of another run, in place of a new division.")
    ] = None,
    network: Annotated[
        str, typer.Option(help="VGG16, VGG19, ResNet50, InceptionV3, Xception, MobileNetV2 ...")
    ] = "MobileNetV2",
    weights: Annotated[
        str, typer.Option(help="imagenet, random, or the path of a weights file.")
    ] = "imagenet",
    head: Annotated[str, typer.Option(help="pooled, multi_level or mlsp.")] = "pooled",
    drop_top: Annotated[
        int | None, typer.Option(help="pooled: cut off so many fully connected layers.")
    ] = None,
    pooling: Annotated[str, typer.Option(help="pooled: avg or max.")] = "avg",
    stages: Annotated[
        str, typer.Option(help="What is trained, epochs and learning rates; freeze2: blocks.")
    ] = "head:3@1e-3,all:10@1e-4",
    optimizer: Annotated[
        str, typer.Option(help="sgd, adam, adamw, rmsprop, nadam or lion.")
    ] = "adam",
    schedule: Annotated[str, typer.Option(help="plateau, cosine or constant.")] = "plateau",
    patience: Annotated[int, typer.Option(help="Epochs before a plateau lowers the rate.")] = 3,
    early_stopping: Annotated[
        int | None, typer.Option(help="Epochs without improvement that end a stage.")
    ] = None,
    monitor: Annotated[
        str, typer.Option(help="What chooses the epoch, such as val_loss, val_accuracy.")
    ] = "val_loss",
    feeder: Annotated[str, typer.Option(help="squash, crop, pad, multicrop or native.")] = "native",
    size: Annotated[
        int, typer.Option(help="Of the square or the short side; 0: the network's own.")
    ] = 0,
    batch: Annotated[int, typer.Option(help="Pictures in a batch.")] = 16,
    dropout: Annotated[float, typer.Option(help="Before the outputs.")] = 0.0,
    flip: Annotated[bool, typer.Option(help="Mirror training pictures at random.")] = True,
    crop: Annotated[float, typer.Option(help="Cut off up to this share at random.")] = 0.04,
    class_weights: Annotated[
        bool, typer.Option("--class-weights", help="Each class counts the same.")
    ] = False,
    learned_weights: Annotated[
        bool, typer.Option("--learned-weights", help="The tasks' losses are weighed by learning.")
    ] = False,
    cache: Annotated[
        bool,
        typer.Option("--cache", help="Head only: features are computed once, kept on disk."),
    ] = False,
    find_rate: Annotated[
        bool,
        typer.Option("--find-rate", help="Only look for a learning rate of the first stage."),
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Figures and gradients for TensorBoard.")
    ] = False,
    watch: Annotated[
        str | None,
        typer.Option(help="TensorBoard: layers, such as fc7,fc8.", show_default="the last one"),
    ] = None,
    display_step: Annotated[int, typer.Option(help="TensorBoard: batches between entries.")] = 3,
    seed: Annotated[int, typer.Option(help="Of division, new weights, order and flips.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train a network for the tasks of a schema: classes, scores, distributions, hues, attributes.

    The best epoch on validation pictures is kept and evaluated on test pictures. OUT then holds
    model.keras, history.csv, evaluation.json, predictions.csv, errors.csv and report.html.

    Example: fcnkeras train photos --network VGG16 --stages "head:3@1e-3,all:10@1e-4"

    Attributes: fcnkeras train labels.csv --schema art_composition --network ResNet50
    --head multi_level

    Exit codes: 0 done; 2 bad input; 3 done, but some pictures could not be read or there is no
    report; 130 interrupted.
    """
    given = dict(locals())
    with one_sentence(as_json=as_json, resumes=not find_rate):
        result, missing = _train(given, quiet=as_json)
    finish(result, missing, as_json=as_json)


def _train(given: dict[str, Any], *, quiet: bool) -> tuple[dict[str, Any], list[str]]:
    """Reads the labels, runs, reports; returns the result and, in words, what was not done."""
    labels, out = given["labels"], given["out"]
    check_labels(labels)
    make_folder("--out", out)
    import_keras()
    from fcnkeras.console import EpochLines, make_console
    from fcnkeras.explain.overlay import load_matplotlib
    from fcnkeras.saved import load_saved
    from fcnkeras.tasks.sources import read_labels, split_labels
    from fcnkeras.training.run import train_tasks

    monitors = _monitors(given)
    if given["find_rate"]:
        load_matplotlib()  # now, not after the search
    schema = find_schema(given["schema"], labels)
    settings = _settings(given)
    read = read_labels(
        labels, schema, file=given["file"], root=given["root"], margin=given["margin"]
    )
    parts = split_labels(
        read, schema, seed=given["seed"], group=given["group"], split=given["split"]
    )
    console = make_console(stderr=quiet)
    if given["find_rate"]:
        return _find_rate(parts, schema, settings, out, console), []
    title = f"{schema.name}: {settings.network} on {labels}"
    with EpochLines(console, settings.recipe.monitor) as lines:
        result = train_tasks(
            parts, schema, out, settings, title=title, callbacks=monitors, tell=lines.tell
        )
    console.print(figures_table(title, result["test"]))
    model = load_saved(out / "model.keras")
    write = report_writer(model, settings.feeder, settings.fed_size, console)
    missing = write_report(write, out, console)
    if result["rejected"]:
        missing.append(
            f"{result['rejected']} picture(s) could not be read and were left out: "
            f"{out / 'rejected.csv'}"
        )
    return result, missing


def _monitors(given: dict[str, Any]) -> Any:
    """Gives the callbacks of each stage."""
    if not given["tensorboard"]:
        return lambda data: ()
    from fcnkeras.training.monitor import TensorBoardMonitor, load_tensorboard

    load_tensorboard()  # now, not after the pictures have been read
    layers = given["watch"].split(",") if given["watch"] else None
    return lambda data: [
        TensorBoardMonitor(
            given["out"] / "tensorboard", layers, sample=data, display_step=given["display_step"]
        )
    ]


def _find_rate(
    parts: Any, schema: Any, settings: Settings, out: Path, console: Any
) -> dict[str, Any]:
    """Looks for a learning rate; writes the losses and their plot."""
    from fcnkeras.files import write_atomically, write_csv
    from fcnkeras.report.plots import plot_learning_rates
    from fcnkeras.training.run import find_rate

    found = find_rate(parts, schema, settings)
    rows = [
        {"rate": f"{rate:.6g}", "loss": f"{loss:.6g}"}
        for rate, loss in zip(found.rates, found.losses, strict=True)
    ]
    write_csv(out / "learning_rates.csv", rows, ("rate", "loss"))
    figure = plot_learning_rates(found)
    write_atomically(
        out / "learning_rates.png", lambda path: figure.savefig(path, format="png", dpi=150)
    )
    told = "none: the loss never fell" if found.suggestion is None else f"{found.suggestion:.2g}"
    console.print(f"suggested learning rate: {told}", markup=False)
    console.print(f"plot: {out / 'learning_rates.png'}", markup=False, soft_wrap=True)
    return {"suggestion": found.suggestion}


def _settings(given: dict[str, Any]) -> Settings:
    from fcnkeras.training.run import Settings
    from fcnkeras.training.stages import Recipe, parse_stages

    recipe = Recipe(
        parse_stages(given["stages"]),
        **{
            name: given[name]
            for name in ("monitor", "optimizer", "schedule", "patience", "early_stopping")
        },
    )
    names = (
        "network weights head drop_top pooling dropout learned_weights class_weights feeder size "
        "batch flip crop cache seed"
    )
    return Settings(recipe, **{name: given[name] for name in names.split()})
