"""The report of the experiments: what they left in a folder, as one page to look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fcnkeras.files import write_text
from fcnkeras.report import html, parts, plots, results
from fcnkeras.report.class_maps import class_maps
from fcnkeras.report.results import Experiment, Predictions
from fcnkeras.report.summary import headline, percent

ERRORS_SHOWN = 8


def write_experiment_report(out: Path) -> Path:
    """Writes `report.html` about the experiments that are finished so far.

    The page is one file that loads nothing: it can be mailed, archived and read without a
    network.

    Args:
        out: The folder of a run, with `results.csv`, `settings.json`, `rejected.csv` and, for
            each experiment, a folder `experiment_NN` with `history.csv`, `predictions.csv` and
            `maps.npz`. Of these only `results.csv` must exist; the page says what is missing.

    Returns:
        The path of the page, `out / "report.html"`, written in one piece.

    Raises:
        ValueError: `results.csv` is missing or malformed, or `settings.json` or `rejected.csv`
            is malformed.
        ImportError: matplotlib is not installed.

    Example:
        >>> write_experiment_report(Path("runs/demo"))  # doctest: +SKIP
        PosixPath('runs/demo/report.html')
    """
    out = Path(out)
    plots.load_matplotlib()
    experiments = results.read_results(out / "results.csv")
    settings = results.read_settings(out / "settings.json")
    rejected = results.read_rejected(out / "rejected.csv")
    title = str(settings.get("title") or "Experiments")
    lead = html.join(
        html.paragraph(sentence, "lead" if i == 0 else "")
        for i, sentence in enumerate(headline(experiments))
    )
    sections = [
        html.Section("Results", _results(experiments)),
        html.Section("Settings", parts.settings_table(settings)),
        html.Section(
            "Experiments one by one",
            _one_by_one(experiments, settings, out),
            links=[(_anchor(e), f"{e.number} · {e.title}") for e in experiments],
        ),
        html.Section("Rejected pictures", parts.rejected_table(rejected)),
    ]
    report = out / "report.html"
    write_text(report, html.page(title, lead, sections))
    return report


def _results(experiments: Sequence[Experiment]) -> html.Markup:
    if not experiments:
        return html.paragraph("No experiment is finished yet.", "note")
    best = max(e.accuracy for e in experiments)
    numbers = [e.number for e in experiments]
    plot = plots.accuracy_plot(
        [f"{e.number} · {e.title}" for e in experiments],
        [e.accuracy for e in experiments],
        [e.low for e in experiments],
        [e.high for e in experiments],
        reference=numbers.index(1) if 1 in numbers else None,
    )
    caption = "Accuracy on the test pictures with its 95% interval."
    if 1 in numbers:
        caption += " Grey: experiment 1, the original network, and its interval."
    return html.join(
        [
            html.figure(plots.to_svg(plot, name="accuracy", alt=caption), caption),
            html.table(
                [name for name, _, _ in COLUMNS],
                [[form(e) for _, _, form in COLUMNS] for e in experiments],
                label="Results of the experiments",
                numeric=[name for name, numeric, _ in COLUMNS if numeric],
                strong=[i for i, e in enumerate(experiments) if e.accuracy == best],
            ),
            html.paragraph("Bold: the highest accuracy.", "muted"),
        ]
    )


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _shown(value: Any, form: Callable[[Any], str]) -> str:
    return "–" if value is None else form(value)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


# The table of results: heading, whether it holds numbers, and what stands in a row.
COLUMNS: tuple[tuple[str, bool, Callable[[Experiment], object]], ...] = (
    ("No.", True, lambda e: e.number),
    ("Experiment", False, lambda e: e.title),
    ("Accuracy", True, lambda e: percent(e.accuracy)),
    ("95% interval", True, lambda e: f"{100 * e.low:.1f}–{100 * e.high:.1f}%"),
    ("FCN", False, lambda e: _yes(e.fcn)),
    ("Feeder", False, lambda e: e.feeder),
    ("Size", True, lambda e: e.size),
    ("Skip", False, lambda e: _yes(e.skip)),
    ("Best epoch", True, lambda e: f"{_shown(e.best_epoch, str)} of {_shown(e.epochs, str)}"),
    ("Validation accuracy", True, lambda e: _shown(e.val_accuracy, percent)),
    ("Validation loss", True, lambda e: _shown(e.val_loss, "{:.3f}".format)),
    ("Parameters", True, lambda e: _shown(e.parameters, "{:,}".format)),
    ("Seconds a picture", True, lambda e: _shown(e.seconds_per_picture, "{:.3g}".format)),
    ("Training, h:min:s", True, lambda e: _shown(e.training_seconds, _clock)),
)


def _anchor(e: Experiment) -> str:
    return f"experiment-{e.number}"


def _one_by_one(
    experiments: Sequence[Experiment], settings: dict[str, Any], out: Path
) -> html.Markup:
    shown = []
    for e in experiments:
        folder = out / f"experiment_{e.number:02d}"
        summary = f"{e.number} · {e.title}: {percent(e.accuracy)}"
        body = _experiment(e, settings, folder)
        shown.append(html.details(summary, body, anchor=_anchor(e)))
    return html.join(shown)


def _experiment(e: Experiment, settings: dict[str, Any], folder: Path) -> html.Markup:
    predictions, missing = _try(results.read_predictions, folder / "predictions.csv")
    classes = predictions.classes if predictions else settings.get("classes") or []
    confusion = missing if predictions is None else _confusion(e, predictions)
    return html.join(
        [
            html.grid([_curves(e, folder / "history.csv"), confusion], "plots"),
            html.Markup("<h3>Class maps</h3>"),
            _maps(e, classes, settings, folder / "maps.npz"),
            html.Markup("<h3>Worst errors</h3>"),
            missing if predictions is None else _errors(predictions),
        ]
    )


def _try(
    read: Callable[[Path], results.Value], path: Path
) -> tuple[results.Value | None, html.Markup]:
    """Reads a file of an experiment, or gives a note for the page that says why it cannot."""
    if not path.is_file():
        return None, html.paragraph(
            f"Not shown: there is no {path.parent.name}/{path.name}.", "note"
        )
    try:
        return read(path), html.Markup("")
    except ValueError as error:
        return None, html.paragraph(f"Not shown: {error}", "note")


def _curves(e: Experiment, path: Path) -> html.Markup:
    history, missing = _try(results.read_history, path)
    if history is None:
        return missing
    alt = f"Training curves of experiment {e.number}"
    return parts.curves(history, e.best_epoch, name=f"curves-{e.number}", alt=alt)


def _confusion(e: Experiment, predictions: Predictions) -> html.Markup:
    plot = parts.confusion(
        predictions.confusion(),
        predictions.classes,
        name=f"confusion-{e.number}",
        alt=f"Confusion matrix of experiment {e.number}",
        about=f"{len(predictions.files):,} test pictures.",
    )
    shown = [plot]
    if abs(predictions.accuracy - e.accuracy) > 0.5 / len(predictions.files):
        note = (
            f"predictions.csv has {percent(predictions.accuracy)} right, but results.csv says "
            f"{percent(e.accuracy)}: the two files are not from the same run."
        )
        shown.append(html.paragraph(note, "note"))
    return html.Markup(f"<div>{html.join(shown)}</div>")


def _maps(
    e: Experiment, classes: Sequence[str], settings: dict[str, Any], path: Path
) -> html.Markup:
    if not e.fcn and not path.exists():
        return html.paragraph("This network has no map: it judges the picture as a whole.")
    read, missing = _try(results.read_maps, path)
    if read is None:
        return missing
    return class_maps(*read, classes=classes, settings=settings)


def _errors(predictions: Predictions) -> html.Markup:
    worst = predictions.worst(ERRORS_SHOWN)
    wrong = int(np.sum(predictions.labels != predictions.predicted))
    if not worst:
        return html.paragraph("No test picture was answered wrongly.")
    cards = []
    for i in worst:
        label = predictions.classes[predictions.labels[i]]
        answer = predictions.classes[predictions.predicted[i]]
        certainty = predictions.probabilities[i, predictions.predicted[i]]
        told = f"labelled {label}, answered {answer} with {percent(certainty)}"
        cards.append(parts.picture_card(predictions.files[i], told))
    shown = f"{len(worst)} of {wrong} wrong answers, the most confident first."
    return html.join([html.paragraph(shown, "muted"), html.grid(cards)])
