"""The page of what a network saw in a folder of pictures: one file, maps with sliders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fcnkeras.explain.overlay import laid_over, limits
from fcnkeras.files import write_text
from fcnkeras.report import html
from fcnkeras.report.parts import colour_bar

LONGEST_SIDE = 520


@dataclass(frozen=True)
class Shown:
    """One map of the page.

    Attributes:
        title: what it shows, plain text.
        caption: the figures below it, plain text.
        picture: `data:` address of the picture, small.
        overlay: that of the map.
        ratio: width / height.
        bar: the colours from the lowest to the highest value, and these values.
    """

    title: str
    caption: str
    picture: str
    overlay: str
    ratio: float
    bar: html.Markup


def shown(
    picture: np.ndarray,
    heat: np.ndarray,
    *,
    title: str,
    caption: str,
    signed: bool,
    mark: tuple[float, float] | None = None,
) -> Shown:
    """Packs a picture and its map for the page, as small as it shows them.

    Args:
        picture: uint8 RGB, (height, width, 3).
        heat: (height, width), NaN where the network saw nothing.
        title, caption: see `Shown`.
        signed: whether values below zero mean "against".
        mark: (y, x) of a place to be ringed.
    """
    laid = laid_over(picture, heat, signed=signed, alpha=0.85, mark=mark)
    low, high = limits(heat, signed)
    return Shown(
        title,
        caption,
        html.picture_address(Image.fromarray(picture), LONGEST_SIDE),
        html.picture_address(laid, LONGEST_SIDE),
        picture.shape[1] / picture.shape[0],
        colour_bar(low, high, signed=signed),
    )


def write_page(
    path: Path,
    title: str,
    maps: Mapping[str, Sequence[Shown]],
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    notes: Sequence[str] = (),
) -> None:
    """Writes the page.

    Args:
        path: the file.
        title: the heading.
        maps: of each picture, by its name.
        rows: of the table.
        columns: their keys, which are the headings too.
        notes: what is missing, one sentence each.
    """
    cells = [[_text(row.get(column)) for column in columns] for row in rows]
    numeric = [c for c in columns if any(isinstance(row.get(c), float) for row in rows)]
    table = html.table(columns, cells, label="Scores", numeric=numeric)
    hint = "The slider below a picture fades to the map; it answers to arrow keys, too."
    lead = html.join(
        [html.paragraph(f"{len(maps)} picture(s). {hint}", "lead")]
        + [html.paragraph(note, "note") for note in notes]
    )
    sections = [html.Section("Maps", _galleries(maps)), html.Section("Scores", table)]
    write_text(path, html.page(title, lead, sections))


def _galleries(maps: Mapping[str, Sequence[Shown]]) -> html.Markup:
    """The maps of each picture under its name, or side by side if each has only one."""
    if all(len(each) == 1 for each in maps.values()):
        return html.grid(slider(name, one, f"{name}: {one.title}") for name, (one,) in maps.items())
    parts = []
    for name, each in maps.items():
        parts.append(html.Markup(f"<h3>{html.escape(name)}</h3>"))
        parts.append(html.grid(slider(name, one, one.title) for one in each))
    return html.join(parts)


def slider(name: str, one: Shown, title: str) -> html.Markup:
    """A picture that fades to its map; `name` says which to those who hear the page."""
    return html.slider(
        one.picture,
        one.overlay,
        ratio=one.ratio,
        name=f"{one.title}, {name}",
        caption=html.join([one.bar, html.paragraph(title), one.caption]),
    )


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
