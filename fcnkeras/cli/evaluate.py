"""`fcnkeras evaluate`: how well a model does its tasks on labelled pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fcnkeras.cli.common import finish, import_keras, make_folder, one_sentence, write_report
from fcnkeras.cli.labels import (
    File,
    Labels,
    Margin,
    Root,
    check_labels,
    figures_table,
    report_writer,
)
from fcnkeras.cli.sources import check_source, load_source

PARTS = ("all", "train", "val", "test")


def evaluate(
    labels: Labels,
    model: Annotated[Path, typer.Option(help="The model.keras of `fcnkeras train`.")],
    out: Annotated[Path, typer.Option(help="Folder of results.")] = Path("runs/evaluate"),
    part: Annotated[
        str, typer.Option(help="all, or with --split or published parts: train, val or test.")
    ] = "all",
    split: Annotated[Path | None, typer.Option(help="The split.csv of the run.")] = None,
    file: File = None,
    root: Root = None,
    margin: Margin = 0.0,
    feeder: Annotated[str | None, typer.Option(help="Default: the one of the training.")] = None,
    size: Annotated[int | None, typer.Option(help="Default: the one of the training.")] = None,
    batch: Annotated[int, typer.Option(help="Pictures in a batch.")] = 16,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Evaluate a trained model: accuracy with its interval, SRCC, EMD, degrees of hue and more.

    OUT then holds evaluation.json, predictions.csv, a confusion matrix and a table for every task
    of classes, errors.csv with the worst pictures, and report.html.

    Example: fcnkeras evaluate photos --model runs/train/model.keras

    Exit codes: 0 done; 2 bad input; 3 done, but some pictures could not be read or there is no
    report.
    """
    given = dict(locals())
    with one_sentence(as_json=as_json):
        figures, missing = _evaluate(given, quiet=as_json)
    finish(figures, missing, as_json=as_json)


def _evaluate(given: dict[str, Any], *, quiet: bool) -> tuple[dict[str, Any], list[str]]:
    labels, out = given["labels"], given["out"]
    if given["part"] not in PARTS:
        raise ValueError(f"--part must be one of {', '.join(PARTS)}. Received: {given['part']}")
    check_source(given["model"], None, None, False)
    check_labels(labels)
    make_folder("--out", out)
    import_keras()
    from fcnkeras.batching import FedPictures
    from fcnkeras.console import make_console
    from fcnkeras.data.records import Collection
    from fcnkeras.files import write_json
    from fcnkeras.tasks.heads import fed_task_model, feeding_of, schema_of
    from fcnkeras.tasks.sources import read_labels, split_labels
    from fcnkeras.training.evaluation import evaluate_tasks, write_evaluation, write_rejected

    model = load_source(given["model"], None, None, False)
    schema, trained = schema_of(model), feeding_of(model)
    feeder = given["feeder"] or (trained and trained[0])
    size = given["size"] or (trained and trained[1])
    if not feeder or not size:
        raise ValueError("The model does not know how it is fed: give --feeder and --size.")
    found = read_labels(
        labels, schema, file=given["file"], root=given["root"], margin=given["margin"]
    )
    if given["split"] is not None:
        found = split_labels(found, schema, split=given["split"])
    if given["part"] not in found:
        raise ValueError(
            f"--part must be one of {', '.join(found)}, or give --split. Received: {given['part']}"
        )
    collection: Collection = found[given["part"]]
    schema.fitted(collection)
    data = FedPictures(
        collection,
        feeder,
        size,
        batch=given["batch"],
        targets=list(schema.names),
        skip_broken=True,
    )
    figures = write_evaluation(out, evaluate_tasks(fed_task_model(model, feeder), data, schema))
    title = f"{schema.name}: {given['model']} on {labels}, {given['part']}"
    write_json(out / "result.json", {"title": title, "test": figures})
    rejected = [(given["part"], each) for each in (*collection.rejected, *data.rejected)]
    write_rejected(out, rejected)
    console = make_console(stderr=quiet)
    console.print(figures_table(title, figures))
    missing = write_report(report_writer(model, feeder, size, console), out, console)
    if rejected:
        missing.append(f"{len(rejected)} picture(s) could not be read: {out / 'rejected.csv'}")
    return figures, missing
