"""Plots of experiments, as matplotlib figures and as SVG that fits light and dark pages.

matplotlib belongs to the extra `report`, is imported when a plot is drawn, and needs no display.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fcnkeras.explain.overlay import load_matplotlib as load_matplotlib
from fcnkeras.report.html import Markup, escape

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fcnkeras.training.lr_finder import LearningRates

# The ink becomes `currentColor` in an SVG, so that text is dark on light pages and light on dark.
INK = "#0a0b0c"
VALIDATION = "#2f7fd1"
TRAINING = "#d9770a"
GREY = "#808890"
PIXELS_PER_INCH = 96  # of a page; matplotlib's SVG counts 72 points an inch
NUMBERED_CLASSES = 20

Array = npt.NDArray[Any]


@contextmanager
def _drawing() -> Iterator[None]:
    """The look of all plots; class names with `$` are text, not formulas."""
    style = {
        "text.parse_math": False,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": GREY,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 10,
        "axes.titlelocation": "left",
        "xtick.color": GREY,
        "ytick.color": GREY,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "legend.frameon": False,
        "font.size": 9.5,
    }
    with load_matplotlib().rc_context(style):
        yield


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _shorten(text: str, longest: int) -> str:
    text = text.encode("utf-8", "replace").decode()  # matplotlib refuses lone surrogates
    return text if len(text) <= longest else text[: longest - 1] + "…"


@_drawing()
def accuracy_plot(
    names: Sequence[str],
    accuracy: Sequence[float],
    low: Sequence[float],
    high: Sequence[float],
    reference: int | None = None,
) -> Figure:
    """A dot and an interval for each experiment, the first one on top.

    Args:
        names: What stands at the left.
        accuracy: Shares of right answers, 0 to 1.
        low: Lower ends of the intervals.
        high: Upper ends of the intervals.
        reference: Index of the experiment that the others are compared with; its interval is
            shaded over the whole height.
    """
    figure = _figure(6.3, 0.8 + 0.38 * len(names))
    axes = figure.add_subplot()
    places = np.arange(len(names))
    centre, low_, high_ = (100 * np.asarray(x, float) for x in (accuracy, low, high))
    if reference is not None:
        axes.axvspan(low_[reference], high_[reference], color=GREY, alpha=0.2, linewidth=0)
        axes.axvline(centre[reference], color=GREY, linestyle="--", linewidth=1)
    axes.errorbar(
        centre,
        places,
        xerr=(np.maximum(centre - low_, 0), np.maximum(high_ - centre, 0)),
        fmt="o",
        color=VALIDATION,
        markersize=6,
        linewidth=1.6,
        capsize=4,
    )
    for place, value in zip(places, centre, strict=True):
        axes.annotate(
            f"{value:.1f}", (value, place), (0, 5), textcoords="offset points", ha="center"
        )
    axes.set_yticks(places, [_shorten(n, 44) for n in names])
    axes.set_ylim(len(names) - 0.5, -0.7)
    axes.grid(axis="x", color=GREY, alpha=0.25)
    axes.set_xlabel("Accuracy on the test pictures, % (whiskers: 95% interval)")
    return figure


@_drawing()
def training_curves(history: Mapping[str, Array], best_epoch: int | None = None) -> Figure:
    """Accuracy and loss against the epoch, for training and validation.

    Args:
        history: The columns of Keras' `CSVLogger`, each of shape `(epochs,)`: `epoch` (from 0),
            `loss`, and of `accuracy`, `val_accuracy`, `val_loss`, `learning_rate` those there are.
        best_epoch: The epoch whose weights were kept, counted from 1; marked when given.
    """
    panels = [("accuracy", 100, "Accuracy, %"), ("loss", 1, "Loss")]
    panels = [each for each in panels if each[0] in history]
    figure = _figure(5.2, 0.4 + 2.1 * len(panels))
    epochs = np.asarray(history["epoch"]) + 1
    shown = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (key, factor, title) in zip(shown, panels, strict=True):
        for column, label, colour, line in (
            (key, "training", TRAINING, "--"),
            (f"val_{key}", "validation", VALIDATION, "-"),
        ):
            if column in history:
                axes.plot(
                    epochs,
                    factor * np.asarray(history[column]),
                    line,
                    color=colour,
                    label=label,
                    marker="o",
                    markersize=3,
                )
        axes.set_title(title)
        axes.grid(color=GREY, alpha=0.25)
        if best_epoch is not None:
            axes.axvline(best_epoch, color=INK, linewidth=1, alpha=0.7, label="best epoch")
        for place, _ in _rate_drops(epochs, history.get("learning_rate")):
            axes.axvline(place, color=GREY, linewidth=1, linestyle=":")
    _label_drops(axes, epochs, history.get("learning_rate"))
    axes.set_xlabel("Epoch")
    axes.xaxis.get_major_locator().set_params(integer=True)
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside upper center", ncols=3)
    return figure


def _rate_drops(epochs: Array, rates: Array | None) -> list[tuple[float, float]]:
    """Where the learning rate fell: between which epochs, and to what."""
    if rates is None:
        return []
    return [
        ((epochs[i - 1] + epochs[i]) / 2, float(rates[i]))
        for i in range(1, len(rates))
        if rates[i] < rates[i - 1] * 0.999
    ]


def _label_drops(axes: Axes, epochs: Array, rates: Array | None) -> None:
    drops = _rate_drops(epochs, rates)
    if len(drops) > 6:  # a rate that falls at every epoch: the lines say it, numbers would overlap
        return
    for place, rate in drops:
        axes.annotate(
            f"rate {rate:.2g}",
            (place, 1),
            (2, -2),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            rotation=90,
            va="top",
            fontsize=7,
        )


@_drawing()
def plot_learning_rates(found: LearningRates) -> Figure:
    """The smoothed loss against the learning rate, and the rate that is suggested.

    Args:
        found: what `find_learning_rate` returned.
    """
    figure = _figure(5.2, 3.2)
    axes = figure.add_subplot()
    axes.plot(found.rates, found.losses, color=TRAINING, label="smoothed loss")
    axes.set_xscale("log")
    if found.suggestion is not None:
        label = f"suggestion: {found.suggestion:.2g}"
        axes.axvline(found.suggestion, color=INK, linestyle="--", linewidth=1, label=label)
    # The last steps, where the loss runs away, would flatten all the others.
    lowest = found.losses.min()
    span = found.losses[: found.losses.argmin() + 1].max() - lowest
    if span > 0:
        axes.set_ylim(lowest - 0.1 * span, lowest + 1.5 * span)
    axes.set_xlabel("Learning rate")
    axes.set_ylabel("Loss")
    axes.grid(color=GREY, alpha=0.25)
    figure.legend(loc="outside upper center", ncols=2)
    return figure


@_drawing()
def confusion_plot(counts: Array, classes: Sequence[str]) -> Figure:
    """A confusion matrix: rows are the labels, columns the answers, colour the share of a row.

    Args:
        counts: int, shape `(classes, classes)`.
        classes: The names; up to 20 classes the cells hold counts and percentages of the row.
    """
    from matplotlib.colors import to_rgb

    n = len(classes)
    numbered = n <= NUMBERED_CLASSES
    totals = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    side = max(2.2, 0.52 * n) if numbered else min(11.0, 0.2 * n)
    figure = _figure(side + 1.6, side + 1.5)
    axes = figure.add_subplot()
    # Opacity carries the share, so that an empty cell has the page's own colour, light or dark.
    cells = np.empty((n, n, 4))
    cells[..., :3] = to_rgb(VALIDATION)
    cells[..., 3] = share
    axes.imshow(cells, interpolation="none", aspect="equal")
    names = [_shorten(c, 24) for c in classes]
    size = 9 if n <= 10 else 8 if numbered else max(4.0, min(8.0, 12 * side / n * 5))
    axes.set_xticks(range(n), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=size)
    axes.set_yticks(range(n), names, fontsize=size)
    axes.set_xticks(np.arange(n + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(n + 1) - 0.5, minor=True)
    axes.grid(which="minor", color=GREY, alpha=0.35, linewidth=0.6)
    axes.tick_params(which="minor", length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("Answer")
    axes.set_ylabel("Label")
    if numbered:
        for row, column in np.argwhere(counts > 0):
            axes.text(
                column,
                row,
                f"{counts[row, column]}\n{100 * share[row, column]:.0f}%",
                ha="center",
                va="center",
                fontsize=8 if n <= 10 else 6.5,
                color="white" if share[row, column] > 0.55 else INK,
            )
    return figure


def to_svg(figure: Figure, *, name: str, alt: str) -> Markup:
    """Draws a figure as SVG to be placed inside a page.

    Args:
        figure: What one of the plots returned.
        name: Unique in the page: the SVG's inner references are derived from it.
        alt: What the plot shows, for those who hear the page.

    Returns:
        An `<svg>` with a transparent ground, text in the page's font and colour, no metadata; it
        shrinks with the screen to 60 % and no further. The same figure gives the same bytes.
    """
    buffer = io.StringIO()
    empty = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    salt = {"svg.hashsalt": name, "svg.fonttype": "none"}
    with load_matplotlib().rc_context(salt), warnings.catch_warnings():
        # The browser's fonts write the text; what matplotlib's font lacks does not matter.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format="svg", transparent=True, metadata=empty)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    width = math.ceil(figure.get_figwidth() * PIXELS_PER_INCH)
    box = re.search(r'viewBox="[^"]*"', text)
    opening = (
        f'<svg {box.group() if box else ""} role="img" aria-label="{escape(alt)}" '
        f'style="width:{width}px;max-width:100%;min-width:{round(0.6 * width)}px">'
    )
    text = opening + text[text.index(">") + 1 :]
    text = re.sub(r"<style[^>]*>.*?</style>", "", text, flags=re.S)  # would rule the whole page
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # nothing refers to them
    text = re.sub(r" font-family: [^;\"]*;", "", text)
    text = re.sub(rf"((?:fill|stroke): ?){INK}", r"\1currentColor", text)
    return Markup(text.strip())
