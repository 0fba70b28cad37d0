"""The parts that the pages of experiments, training, evaluation and explanations have in common."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
import numpy.typing as npt

from fcnkeras.explain.overlay import colours
from fcnkeras.images import ImageError, open_picture
from fcnkeras.report import html, plots

Array = npt.NDArray[Any]
THUMBNAIL_SIDE = 240


def short_name(file: str) -> str:
    """The last folder and the name of a file: enough to find it, short enough for a caption."""
    return "/".join(PurePath(file).parts[-2:])


def settings_table(settings: Mapping[str, Any]) -> html.Markup:
    """The settings of a run; what is listed reads as words, what is nested as JSON."""
    if not settings:
        return html.paragraph("The run has left no settings.json.", "note")
    rows = [(key.replace("_", " "), _setting(value)) for key, value in settings.items()]
    return html.table(("Setting", "Value"), rows, label="Settings of the run")


def _setting(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "–" if value is None else json.dumps(value, ensure_ascii=False)


def rejected_table(rejected: Sequence[tuple[str, str]]) -> html.Markup:
    """The pictures that could not be read: `(file, reason)` of each."""
    if not rejected:
        return html.paragraph("Every picture could be read.")
    count = "1 picture" if len(rejected) == 1 else f"{len(rejected)} pictures"
    return html.join(
        [
            html.paragraph(f"{count} could not be read and took no part:"),
            html.table(("File", "Reason"), rejected, label="Pictures that could not be read"),
        ]
    )


def curves(
    history: Mapping[str, Array], best_epoch: int | None, *, name: str, alt: str
) -> html.Markup:
    """The curves of a training, see `plots.training_curves`.

    Args:
        history: What `results.read_history` returns.
        best_epoch: The epoch whose weights were kept, from 1.
        name: Unique on the page.
        alt: What the plot shows, for those who hear the page.
    """
    caption = "Training and validation, epoch by epoch."
    if "learning_rate" in history:
        rates = history["learning_rate"]
        caption += f" Learning rate from {rates[0]:.2g} to {rates[-1]:.2g}"
        caption += "; dotted: where it fell." if rates[-1] < rates[0] else "."
    figure = plots.training_curves(history, best_epoch)
    return html.figure(plots.to_svg(figure, name=name, alt=alt), caption)


def confusion(
    counts: Array, classes: Sequence[str], *, name: str, alt: str, about: str = ""
) -> html.Markup:
    """A confusion matrix, see `plots.confusion_plot`; `about` begins its caption."""
    caption = "Row: the label; column: the answer; the colour is the share of the row."
    svg = plots.to_svg(plots.confusion_plot(counts, classes), name=name, alt=alt)
    return html.figure(svg, f"{about} {caption}".strip())


def picture_card(file: str, told: str) -> html.Markup:
    """A picture, small, and what is told of it; a box in its place where it cannot be read."""
    try:
        picture = open_picture(file, least=THUMBNAIL_SIDE)
        content = html.image(html.picture_address(picture, THUMBNAIL_SIDE), told)
    except ImageError:  # moved or damaged since the run
        content = html.Markup('<div class="empty">picture not found</div>')
    return html.figure(content, f"{short_name(file)}: {told}")


def colour_bar(low: float, high: float, *, signed: bool, form: str = ".3g") -> html.Markup:
    """The colours of a map from its lowest to its highest value, which `form` formats."""
    scale = colours(np.linspace(low, high, 9), low, high, signed=signed).tolist()
    return html.colour_bar([(r, g, b) for r, g, b in scale], format(low, form), format(high, form))
