"""The page of a scored collection: the best and the worst pictures, and what failed."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from fcnkeras.files import write_text
from fcnkeras.images import ImageError, open_picture
from fcnkeras.report import html
from fcnkeras.scoring import remote
from fcnkeras.scoring.listing import shown
from fcnkeras.scoring.store import Row
from fcnkeras.scoring.tables import Summary

THUMBNAIL = 320
_REASONS = 20


def write_scores_page(
    path: Path, title: str, summary: Summary, names: Sequence[str], facts: Mapping[str, object]
) -> None:
    """Writes the page, a file that needs nothing but itself.

    Args:
        path: of the file.
        title: the heading.
        summary: with the best and the worst.
        names: of the results, in the order of the rows' values.
        facts: what else to say, by heading.
    """
    scored = summary.total - summary.failed
    lead = f"{summary.total:,} pictures, {scored:,} of them scored. Ranked by {summary.by}."
    sections = [
        html.Section("The best", _gallery(summary, summary.best, names)),
        html.Section("The worst", _gallery(summary, summary.worst, names)),
    ]
    if summary.reasons:
        rows = [[reason, f"{count:,}"] for reason, count in summary.reasons.most_common(_REASONS)]
        table = html.table(("reason", "pictures"), rows, label="What failed", numeric=("pictures",))
        if len(summary.reasons) > _REASONS:
            note = f"The {_REASONS} most frequent reasons of {len(summary.reasons)}."
            table = html.join([table, html.paragraph(note, "muted")])
        sections.append(html.Section("Not scored", table))
    told = html.table(("", "value"), [[k, str(v)] for k, v in facts.items()], label="The run")
    sections.append(html.Section("The run", told))
    write_text(path, html.page(title, html.paragraph(lead, "lead"), sections))


def _gallery(summary: Summary, rows: Sequence[Row], names: Sequence[str]) -> html.Markup:
    return html.grid(_card(summary, row, names) for row in rows)


def _card(summary: Summary, row: Row, names: Sequence[str]) -> html.Markup:
    name = shown(row.path)
    try:
        is_url = remote.is_url(row.path)
        source = io.BytesIO(remote.read(row.path)) if is_url else os.fsdecode(row.path)
        picture = open_picture(source, least=THUMBNAIL)
        content = html.image(html.picture_address(picture, THUMBNAIL), name)
    except ImageError as error:
        content = html.paragraph(f"no picture: {error.reason}", "note")
    assert row.values is not None
    results = [
        f"{key}: {value:.4g}" if isinstance(value, float) else f"{key}: {value}"
        for key, value in zip(names, row.values, strict=True)
    ]
    strong = html.Markup(f"<strong>{html.escape(f'{summary.value(row):.4g}')}</strong>")
    caption = html.join([strong, html.paragraph(name)])
    if len(results) > 1:
        caption = html.join([caption, html.details("all results", html.join(_lines(results)))])
    return html.figure(content, caption)


def _lines(texts: Sequence[str]) -> list[html.Markup]:
    return [html.paragraph(text, "muted") for text in texts]
