"""The report of a training run or an evaluation: what they left in a folder, as one page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fcnkeras.files import read_csv, write_text
from fcnkeras.images import ImageError, open_picture
from fcnkeras.report import html, plots, results
from fcnkeras.report.class_maps import short_name

THUMBNAIL_SIDE = 240
# Figures that stand in tables or plots of their own.
TABLES = ("per_class", "confusion")


def write_training_report(out: Path) -> Path:
    """Writes `report.html` about a run of `train_tasks`, or an evaluation.

    The page is one file that loads nothing.

    Args:
        out: The folder, with `evaluation.json`, and of `settings.json`, `history.csv`,
            `result.json`, `errors.csv` and `rejected.csv` those there are.

    Returns:
        The path of the page.

    Raises:
        ValueError: `evaluation.json` is missing.
        ImportError: matplotlib is not installed.
    """
    out = Path(out)
    plots.load_matplotlib()
    if not (out / "evaluation.json").is_file():
        raise ValueError(f"{out} must hold an evaluation.json. It has none.")
    figures = json.loads((out / "evaluation.json").read_text())
    settings = results.read_settings(out / "settings.json")
    result = results.read_settings(out / "result.json")
    sections = [html.Section("Results", _figures(figures))]
    if (out / "history.csv").is_file():
        sections.append(html.Section("Training", _curves(out / "history.csv", result)))
    for task, found in figures.items():
        if found.get("per_class"):
            sections.append(html.Section(f"Task {task}", _classes(task, found)))
    sections.append(html.Section("Worst errors", _errors(read_csv(out / "errors.csv"))))
    if settings:
        sections.append(html.Section("Settings", _settings(settings)))
    sections.append(html.Section("Rejected pictures", _rejected(read_csv(out / "rejected.csv"))))
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
    figure = plots.training_curves(history, result.get("best_epoch"))
    parts = [
        html.figure(
            plots.to_svg(figure, name="curves", alt="Training curves"),
            "Training and validation, epoch by epoch.",
        )
    ]
    names = [name for name in history if name not in ("epoch", "stage", "seconds")]
    rows = [
        [int(history["epoch"][i]) + 1, *(f"{history[name][i]:.4g}" for name in names)]
        for i in range(len(history["epoch"]))
    ]
    table = html.table(["epoch", *names], rows, label="History", numeric=["epoch", *names])
    return html.join([*parts, html.details("All figures of every epoch", table)])


def _classes(task: str, found: Mapping[str, Any]) -> html.Markup:
    rows = found["per_class"]
    header = list(rows[0])
    cells = [[r[c] if isinstance(r[c], str) else _number(r[c]) for c in header] for r in rows]
    parts = [html.table(header, cells, label=f"Classes of {task}", numeric=header[1:])]
    if found.get("confusion"):
        names = [row["class"] for row in rows]
        figure = plots.confusion_plot(np.array(found["confusion"]), names)
        svg = plots.to_svg(figure, name=f"confusion-{task}", alt=f"Confusion matrix of {task}")
        caption = "Row: the label; column: the answer; the colour is the share of the row."
        parts.append(html.figure(svg, caption))
    return html.join(parts)


def _errors(rows: Sequence[Mapping[str, str]]) -> html.Markup:
    if not rows:
        return html.paragraph("No test picture was answered wrongly.")
    parts: list[html.Markup] = []
    for task in dict.fromkeys(row["task"] for row in rows):
        cards = [_card(row) for row in rows if row["task"] == task]
        parts += [
            html.details(f"{task}: the {len(cards)} worst", html.grid(cards), opened=not parts)
        ]
    return html.join(parts)


def _card(row: Mapping[str, str]) -> html.Markup:
    told = f"labelled {row['label']}, answered {row['answer']}"
    try:
        picture = open_picture(row["file"], least=THUMBNAIL_SIDE)
        content = html.image(html.picture_address(picture, THUMBNAIL_SIDE), told)
    except ImageError:
        content = html.Markup('<div class="empty">picture not found</div>')
    return html.figure(content, f"{short_name(row['file'])}: {told}")


def _settings(settings: Mapping[str, Any]) -> html.Markup:
    rows = []
    flat = {**settings.get("recipe", {}), **settings}
    for key, value in flat.items():
        if key in (
            "recipe",
            "schema",
        ):  # of which the keys are told, and `schema.yaml` is beside it
            continue
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        rows.append((key.replace("_", " "), shown))
    return html.table(("Setting", "Value"), rows, label="Settings of the run")


def _rejected(rows: Sequence[Mapping[str, str]]) -> html.Markup:
    if not rows:
        return html.paragraph("Every picture could be read.")
    cells = [(row["file"], row["reason"]) for row in rows]
    return html.table(("File", "Reason"), cells, label="Pictures that could not be read")
