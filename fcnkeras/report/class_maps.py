"""The part of a report that shows what a network says at every location of a few pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from fcnkeras.report import html, maps, parts
from fcnkeras.report.results import ClassMap

LONGEST_SIDE = 420


def class_maps(
    shown: Sequence[ClassMap], window: int, *, classes: Sequence[str], settings: Mapping[str, Any]
) -> html.Markup:
    """Shows two maps for each picture: the score of the answer, and its lead over the others.

    Args:
        shown: The maps.
        window: The side in pixels of the network's native window.
        classes: The class names.
        settings: Of the run: `pooling` tells what the highest location means, `window` ("native"
            or "point") what a location has seen.
    """
    if not shown:
        return html.paragraph("No picture was chosen for maps.", "note")
    shown = [one for one in shown if one.logits[..., 0].size > 1]
    if not shown:
        text = "At this size the map has one location: the network judges the picture as a whole."
        return html.paragraph(text)
    point = settings.get("window") == "point"
    location = (
        "Each location of a map is drawn at the middle of its own cell of the picture"
        if point
        else f"Each location of a map is the verdict of a window of {window} × {window} pixels, "
        "drawn at the window's centre"
    )
    meaning = "decides" if settings.get("pooling") == "max" else "is highest"
    text = (
        f"{location}. First map: the score of the answer; the ring marks where it {meaning}. "
        "Second map: the lead of the answer over the strongest other class; red where the place "
        "alone would give this answer, blue where another class is ahead. The slider fades from "
        "picture to map."
    )
    items = []
    for one in shown:
        height, width = one.picture.shape[:2]
        rows, cols = one.logits.shape[:2]
        cell = (height / rows, width / cols) if point else (window, window)
        try:
            items.append(_pair(one, classes, cell))
        except ValueError as error:
            note = f"Not shown, {parts.short_name(one.file)}: {error}"
            items.append(html.paragraph(note, "note"))
    return html.join([html.paragraph(text, "muted"), html.grid(items, "pairs")])


def _pair(one: ClassMap, classes: Sequence[str], window: tuple[float, float]) -> html.Markup:
    count = one.logits.shape[2]
    names = [str(classes[i]) if i < len(classes) else f"class {i}" for i in range(count)]
    label, answer = names[one.label], names[one.predicted]
    verdict = f"labelled {label}, answered {answer}"
    score = one.logits[..., one.predicted]
    lead = score - np.delete(one.logits, one.predicted, axis=2).max(axis=2)
    height, width = one.picture.shape[:2]
    mark = maps.peak(score, height, width, window)
    size = f"{score.shape[0]} × {score.shape[1]} locations"
    file = parts.short_name(one.file)
    return html.grid(
        (
            _slider(one, score, window, f"score of {answer}, {file}", f"{file}: {verdict}", mark),
            _slider(one, lead, window, f"lead of {answer}, {file}", f"lead of {answer}, {size}"),
        ),
        "pair",
    )


def _slider(
    one: ClassMap,
    values: maps.Array,
    window: tuple[float, float],
    name: str,
    text: str,
    mark: tuple[float, float] | None = None,
) -> html.Markup:
    """A map with a ring, or without one a signed map."""
    height, width = one.picture.shape[:2]
    signed = mark is None
    low, high = float(values.min()), float(values.max())
    if signed:
        high = max(abs(low), abs(high))
        low = -high
    heat = maps.upsample(values, height, width, window)
    laid = maps.overlay(one.picture, heat, low=low, high=high, signed=signed, alpha=1, mark=mark)
    bar = parts.colour_bar(low, high, signed=signed, form=".2f")
    return html.slider(
        html.picture_address(Image.fromarray(one.picture), LONGEST_SIDE),
        html.picture_address(laid, LONGEST_SIDE),
        ratio=width / height,
        name=name,
        caption=html.join([bar, text]),
    )
