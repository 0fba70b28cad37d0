"""`fcnkeras score`: a row of scores for every picture of a collection."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fcnkeras.cli import sources
from fcnkeras.cli.common import finish, import_keras, make_folder, one_sentence, quiet_stderr

if TYPE_CHECKING:
    from fcnkeras.scoring.runner import Progress
    from fcnkeras.scoring.scorer import Scorer
    from fcnkeras.scoring.tables import Summary

SECONDS_A_LINE = 30  # between two lines of progress in a pipe


def score(
    pictures: Annotated[
        list[str] | None,
        typer.Argument(help="Pictures, folders (with those in them), patterns in quotes; or URLs."),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="A Keras model, .keras or .h5; with --network, its weights.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The table: .parquet, .csv or .jsonl.")] = Path(
        "scores.csv"
    ),
    listed: Annotated[
        Path | None,
        typer.Option(
            "--from", help="File of paths, one a line or ended by NUL; - for standard input."
        ),
    ] = None,
    network: sources.Network = None,
    classes: sources.Classes = None,
    engine: Annotated[
        str,
        typer.Option(
            help="auto (OpenVINO where installed), keras, openvino; or ray: auto, on a cluster."
        ),
    ] = "auto",
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="With ray: processes that hold the model. Default: all fit in."),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(help="With ray: of a cluster. Default: $RAY_ADDRESS, or one started here."),
    ] = None,
    feeder: Annotated[
        str | None,
        typer.Option(help="squash, crop, pad, multicrop or native. Default: the model's own."),
    ] = None,
    size: Annotated[int | None, typer.Option(help="In pixels. Default: the model's own.")] = None,
    names: Annotated[
        Path | None,
        typer.Option(help="File of class names, one a line, for a model that does not know them."),
    ] = None,
    every: Annotated[
        bool, typer.Option("--every-class", help="For such a model: a column for each class.")
    ] = False,
    preprocessing: Annotated[
        str | None,
        typer.Option(help="For a model that does not take pixels of 0-255: caffe, tf or torch."),
    ] = None,
    share_crops: Annotated[
        str | None,
        typer.Option(
            help="multicrop: the last layer that crops share, or all: quicker, less exact."
        ),
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Pictures at a time. Default: as the engine likes.")
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, help="That read pictures; with ray, of each worker. Default: all processors."
        ),
    ] = None,
    top: Annotated[
        int, typer.Option(min=0, help="Show so many of the best and the worst, on a page too.")
    ] = 0,
    by: Annotated[
        str | None, typer.Option(help="The column that ranks them. Default: the first of numbers.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a summary as JSON.")] = False,
) -> None:
    """Score pictures: one row each, with a reason for those that could not be read.

    Stopped at any moment, the same command goes on, from OUT.state: nothing is scored twice, copies
    neither. Run again on a folder that has changed, it scores what is new.

    Example: fcnkeras score photos --model runs/train/model.keras --out scores.parquet --top 20

    Exit codes: 0 every picture was scored; 2 bad input; 3 some could not be; 130 interrupted.
    """
    given = dict(locals())
    with one_sentence(as_json=as_json, resumes=True):
        told = _score(given, quiet=as_json)
    missing = [f"{told['failed']:,} picture(s) could not be scored; the rows say why."]
    finish(told, missing if told["failed"] else [], as_json=as_json)


def _score(given: dict[str, Any], *, quiet: bool) -> dict[str, Any]:
    out: Path = given["out"]
    state = out.with_name(f"{out.name}.state")
    _check(given, state)
    import_keras()
    from fcnkeras.console import make_console
    from fcnkeras.scoring.store import Store
    from fcnkeras.scoring.tables import Summary, table_columns, table_lines, write_table

    console = make_console(stderr=quiet)
    scorer = _load(given)
    summary = Summary(scorer.columns, given["by"], given["top"])
    note = f" ({scorer.engine_note})" if scorer.engine_note else ""
    console.print(
        f"{given['model']}: {scorer.feeder} {scorer.size}, engine {scorer.engine.name}{note}",
        markup=False,
        soft_wrap=True,
    )
    start = time.perf_counter()
    with Store(state, scorer.settings) as store:
        total = store.set_list(_listed(given))
        if not total:
            raise ValueError("There is no picture to score.")
        with _Shown(console, total) as shown:
            progress = _run(given)(scorer, store, total, batch=given["batch"], tell=shown.tell)
        rows = summary.watched(store.rows())
        lines = table_lines(rows, scorer.columns, scorer.settings)
        write_table(out, table_columns(scorer.columns), lines)
    seconds = time.perf_counter() - start
    told = _told(given, scorer, summary, progress, seconds)
    if given["top"]:
        told["page"] = _page(out, summary, scorer, told)
    _print(console, summary, told)
    return told


def _run(given: dict[str, Any]) -> Callable[..., Progress]:
    """What scores the list: one machine, or a cluster."""
    if given["engine"] != "ray":
        from fcnkeras.scoring.runner import score_list

        return partial(score_list, threads=given["threads"])
    from fcnkeras.scoring.ray_runner import score_ray

    return partial(
        score_ray, workers=given["workers"], cpus=given["threads"], address=given["address"]
    )


def _check(given: dict[str, Any], state: Path) -> None:
    """Raises for whatever is wrong before anything slow begins."""
    from fcnkeras.scoring.listing import matches
    from fcnkeras.scoring.tables import check_ending

    out, listed = given["out"], given["listed"]
    if given["model"] is None:
        raise ValueError("Say what scores: --model FILE.")
    sources.check_source(given["model"], given["network"], given["classes"], False)
    if bool(given["pictures"]) == (listed is not None):
        raise ValueError("Say which pictures: folders and files, or a list with --from.")
    if listed is not None and str(listed) != "-" and not listed.is_file():
        raise ValueError(f"No such list of paths: {listed}")
    for option in ("workers", "address"):
        if given["engine"] != "ray" and given[option] is not None:
            raise ValueError(f"--{option} goes with --engine ray only.")
    if given["engine"] == "ray":
        from fcnkeras.scoring.ray_runner import import_ray

        import_ray()
    for source in given["pictures"] or ():
        matches(source)
    check_ending(out)
    make_folder("--out", out.parent)
    if out.exists() and not state.exists():
        raise ValueError(
            f"{out} is there without {state.name}, so it is no table that can be added to: take "
            "another name, or remove it."
        )


def _load(given: dict[str, Any]) -> Scorer:
    from fcnkeras.scoring.scorer import Scorer

    names = given["names"]
    found = names.read_text(encoding="utf-8").splitlines() if names else None
    path, network = given["model"], given["network"]
    keys = ("feeder", "size", "every", "preprocessing", "share_crops")
    options = {key: given[key] for key in keys}
    options["engine"] = "auto" if given["engine"] == "ray" else given["engine"]
    with quiet_stderr():
        loaded = sources.load_source(path, network, given["classes"], network is not None)
        return Scorer(loaded, names=found, path=path, **options)


@contextlib.contextmanager
def _opened(listed: Path) -> Iterator[Any]:
    if str(listed) == "-":
        yield sys.stdin.buffer
        return
    with listed.open("rb") as stream:
        yield stream


def _listed(given: dict[str, Any]) -> Iterator[Any]:
    from fcnkeras.scoring.listing import list_from, list_pictures

    if given["listed"] is None:
        yield from list_pictures(given["pictures"])
        return
    with _opened(given["listed"]) as stream:
        yield from list_from(stream)


class _Shown:
    """How a run goes: a bar on a terminal, now and then a line in a pipe."""

    def __init__(self, console: Any, total: int) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self.console, self.total = console, total
        self.start = self.last = time.monotonic()
        self.bar = Progress(
            TextColumn("scoring"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.task = self.bar.add_task("scoring", total=total, rate="")

    def __enter__(self) -> _Shown:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def tell(self, progress: Progress) -> None:
        now = time.monotonic()
        rate = progress.done / max(now - self.start, 1e-9)
        failed = f", {progress.failed:,} failed" if progress.failed else ""
        text = f"{rate:.1f} a second{failed}"
        self.bar.update(self.task, completed=progress.done, rate=text)
        if not self.console.is_terminal and now - self.last >= SECONDS_A_LINE:
            self.last = now
            left = (self.total - progress.done) / rate
            self.console.print(
                f"{progress.done:,} of {self.total:,}, {text}, {left / 60:.0f} min left",
                markup=False,
            )


def _told(
    given: dict[str, Any], scorer: Scorer, summary: Summary, progress: Progress, seconds: float
) -> dict[str, Any]:
    from fcnkeras.scoring.listing import shown

    def ranked(rows: list[Any]) -> list[dict[str, Any]]:
        by = summary.by or ""
        return [{"path": shown(row.path), by: summary.value(row)} for row in rows]

    return {
        "table": str(given["out"]),
        "pictures": summary.total,
        "scored": summary.total - summary.failed,
        "failed": summary.failed,
        "computed": progress.computed,
        "seconds": round(seconds, 3),
        "model": scorer.digest[:16],
        "feeder": scorer.feeder,
        "size": scorer.settings["size"],
        "engine": scorer.engine.name,
        "engine_note": scorer.engine_note,
        "best": ranked(summary.best),
        "worst": ranked(summary.worst),
    }


def _page(out: Path, summary: Summary, scorer: Scorer, told: dict[str, Any]) -> str:
    from fcnkeras.report.scores import write_scores_page

    path = out.with_suffix(".html")
    facts = {key: told[key] for key in ("table", "model", "feeder", "size", "engine", "seconds")}
    names = [name for name, _ in scorer.columns]
    write_scores_page(path, f"Scores of {told['pictures']:,} pictures", summary, names, facts)
    return str(path)


def _print(console: Any, summary: Summary, told: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    for title, rows in (("The best", told["best"]), ("The worst", told["worst"])):
        if rows:
            table = Table(title=title, title_justify="left")
            table.add_column(str(summary.by), justify="right")
            table.add_column("picture", overflow="fold")
            for row in rows:
                table.add_row(f"{row[summary.by]:.4g}", Text(row["path"]))
            console.print(table)
    seconds = told["seconds"]
    rate = f", {told['computed'] / seconds:.1f} a second" if told["computed"] and seconds else ""
    lines = [
        f"{told['pictures']:,} picture(s): {told['scored']:,} scored, {told['failed']:,} failed; "
        f"{told['computed']:,} computed now, in {seconds:.1f} s{rate}",
        *(f"  {count:,} failed: {reason}" for reason, count in summary.reasons.most_common(5)),
        f"table: {told['table']}",
    ]
    if "page" in told:
        lines.append(f"page: {told['page']}")
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
