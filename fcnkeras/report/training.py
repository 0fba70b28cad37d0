"""The report of a training run or an evaluation: what they left in a folder, as one page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fcnkeras.files import read_csv, write_text
from fcnkeras.images import ImageError
from fcnkeras.report import explanations, html, parts, plots, results

MAPS = 12  # of errors on a page: one takes about as long as a step of training
ExplainError = Callable[[str, str], explanations.Shown]
"""From the file of a picture and the name of a task to what the model saw."""

# Figures that stand in tables or plots of their own.
TABLES = ("per_class", "confusion")
# Settings that are not listed: of the recipe each key is, and the schema is a file of its own.
NOT_TOLD = ("recipe", "schema")


def write_training_report(out: Path, explain: ExplainError | None = None) -> Path:
    """Writes `report.html` about a run of `train_tasks`, or an evaluation.

    The page is one file that loads nothing.

    Args:
        out: The folder, with `evaluation.json`, and of `settings.json`, `history.csv`,
            `result.json`, `errors.csv` and `rejected.csv` those there are.
        explain: Shows what the model saw in the worst errors, see `error_maps`; without it they
            are shown as they are.

    Returns:
        The path of the page.

    Raises:
        ValueError: `evaluation.json` is missing, or a file is malformed.
        ImportError: matplotlib is not installed.
    """
    out = Path(out)
    plots.load_matplotlib()
    if not (out / "evaluation.json").is_file():
        raise ValueError(f"{out} must hold an evaluation.json. It has none.")
    figures = results.read_settings(out / "evaluation.json")
    settings = results.read_settings(out / "settings.json")
    result = results.read_settings(out / "result.json")
    sections = [html.Section("Results", _figures(figures))]
    if (out / "history.csv").is_file():
        sections.append(html.Section("Training", _curves(out / "history.csv", result)))
    for task, found in figures.items():
        if found.get("per_class"):
            sections.append(html.Section(f"Task {task}", _classes(task, found)))
    sections.append(html.Section("Worst errors", _errors(read_csv(out / "errors.csv"), explain)))
    if settings:
        shown = {**settings.get("recipe", {}), **settings}
        told = {key: value for key, value in shown.items() if key not in NOT_TOLD}
        sections.append(html.Section("Settings", parts.settings_table(told)))
    rejected = results.read_rejected(out / "rejected.csv")
    sections.append(html.Section("Rejected pictures", parts.rejected_table(rejected)))
    title = str(settings.get("title") or result.get("title") or "Evaluation")
    lead = html.join(html.paragraph(line, "lead") for line in headline(figures))
    page = out / "report.html"
    write_text(page, html.page(title, lead, sections))
    return page


def headline(figures: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A sentence for every task with its most telling figure."""
    lines = []
    for task, found in figures.items():
        count = found.get("records", 0)
        if not count:
            lines.append(f"{task}: no test picture tells it.")
            continue
        told = []
        for name in ("accuracy", "srcc", "degrees_mean", "wheel_accuracy", "emd", "rmse"):
            if found.get(name) is not None:
                told.append(f"{name.replace('_', ' ')} {_number(found[name])}")
        lines.append(f"{task}: {', '.join(told[:3])}, on {count:,} pictures.")
    return lines


def _number(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or "–"
    if isinstance(value, list):
        return "–".join(_number(each) for each in value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def _figures(figures: Mapping[str, Mapping[str, Any]]) -> html.Markup:
    columns = list(dict.fromkeys(k for f in figures.values() for k in f if k not in TABLES))
    rows = [
        [task, *(_number(found[c]) if c in found else "" for c in columns)]
        for task, found in figures.items()
    ]
    header = ["Task", *(column.replace("_", " ") for column in columns)]
    table = html.table(header, rows, label="Figures of every task", numeric=header[1:])
    note = "On the test pictures, which chose nothing. Intervals are of 95 %."
    return html.join([table, html.paragraph(note, "muted")])


def _curves(path: Path, result: Mapping[str, Any]) -> html.Markup:
    history = results.read_history(path)
    best = result.get("best_epoch")
    plot = parts.curves(history, best, name="curves", alt="Training curves")
    names = [name for name in history if name not in ("epoch", "stage", "seconds")]
    rows = [
        [int(history["epoch"][i]) + 1, *(f"{history[name][i]:.4g}" for name in names)]
        for i in range(len(history["epoch"]))
    ]
    table = html.table(["epoch", *names], rows, label="History", numeric=["epoch", *names])
    return html.join([plot, html.details("All figures of every epoch", table)])


def _classes(task: str, found: Mapping[str, Any]) -> html.Markup:
    rows = found["per_class"]
    header = list(rows[0])
    cells = [[r[c] if isinstance(r[c], str) else _number(r[c]) for c in header] for r in rows]
    table = html.table(header, cells, label=f"Classes of {task}", numeric=header[1:])
    if not found.get("confusion"):
        return table
    plot = parts.confusion(
        np.array(found["confusion"]),
        [row["class"] for row in rows],
        name=f"confusion-{task}",
        alt=f"Confusion matrix of {task}",
    )
    return html.join([table, plot])


def _errors(rows: Sequence[Mapping[str, str]], explain: ExplainError | None) -> html.Markup:
    if not rows:
        return html.paragraph("No test picture was answered wrongly.")
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    sections: list[html.Markup] = []
    for task in tasks:
        mine = [row for row in rows if row["task"] == task]
        explained = 0 if explain is None else max(1, MAPS // len(tasks))
        cards = [
            _error(row, explain if place < explained else None) for place, row in enumerate(mine)
        ]
        title = f"{task}: the {len(cards)} worst"
        sections.append(html.details(title, html.grid(cards), opened=not sections))
    if explain is None:
        return html.join(sections)
    hint = (
        "The slider below a picture fades to what spoke for the answer (Grad-CAM); it answers to "
        "arrow keys, too."
    )
    return html.join([html.paragraph(hint), *sections])


def _error(row: Mapping[str, str], explain: ExplainError | None) -> html.Markup:
    told = f"labelled {row['label']}, answered {row['answer']}"
    if explain is not None:
        try:
            one = explain(row["file"], row["task"])
        except ImageError:  # moved or damaged since the run, as the card says
            return parts.picture_card(row["file"], told)
        name = parts.short_name(row["file"])
        return explanations.slider(name, one, f"{name}: {told}")
    return parts.picture_card(row["file"], told)
