"""The building blocks of a report: one HTML file that needs nothing but itself.

Text is escaped where it enters (`Markup` marks what is HTML already), plots are inline SVG,
pictures are `data:` addresses, and the page's own security policy forbids every request.
"""

import base64
import hashlib
import html
import io
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from PIL import Image

from fcnkeras.report.style import SCRIPT, STYLE


class Markup(str):
    """HTML that may stand in a page as it is; every other string is escaped."""

    __slots__ = ()


@dataclass(frozen=True)
class Section:
    """A part of a page with an entry in its table of contents.

    Attributes:
        title: The heading, plain text.
        body: The content.
        links: `(anchor, text)` of places inside the section that the contents list as well.
    """

    title: str
    body: Markup
    links: Sequence[tuple[str, str]] = ()

    @property
    def anchor(self) -> str:
        """The section's address inside the page, made from its title."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


def escape(value: object) -> Markup:
    """Makes `value` safe inside an element or a quoted attribute; `Markup` passes unchanged."""
    return value if isinstance(value, Markup) else Markup(html.escape(str(value)))


def join(parts: Iterable[object]) -> Markup:
    """Joins parts to one piece of HTML, escaping those that are not `Markup`."""
    return Markup("\n".join(escape(part) for part in parts))


def paragraph(text: object, kind: str = "") -> Markup:
    """A paragraph; `kind` is `""`, `"lead"`, `"note"` (something is missing) or `"muted"`."""
    attribute = f' class="{escape(kind)}"' if kind else ""
    return Markup(f"<p{attribute}>{escape(text)}</p>")


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    label: str,
    numeric: Collection[str] = (),
    strong: Collection[int] = (),
) -> Markup:
    """A table in a box of its own that scrolls on narrow screens.

    Args:
        header: The column names.
        rows: The cells, row by row, as long as `header`.
        label: What the table shows, for those who hear the page.
        numeric: Names of the columns that are aligned to the right.
        strong: Numbers of the rows to be emphasised, from 0.
    """
    kinds = [' class="number"' if name in numeric else "" for name in header]
    head = "".join(
        f'<th scope="col"{k}>{escape(n)}</th>' for n, k in zip(header, kinds, strict=True)
    )
    lines = []
    for index, row in enumerate(rows):
        cells = "".join(f"<td{k}>{escape(c)}</td>" for c, k in zip(row, kinds, strict=True))
        lines.append(f'<tr class="strong">{cells}</tr>' if index in strong else f"<tr>{cells}</tr>")
    body = "\n".join(lines)
    return Markup(
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(label)}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>"
    )


def figure(content: Markup, caption: object) -> Markup:
    """A figure with a caption; wide content scrolls inside it."""
    return Markup(
        f'<figure><div class="scroll">{content}</div><figcaption>{escape(caption)}</figcaption>'
        "</figure>"
    )


def image(address: str, alt: str) -> Markup:
    """A picture from a `data:` address, see `picture_address`."""
    return Markup(f'<img src="{escape(address)}" alt="{escape(alt)}">')


def picture_address(picture: Image.Image, longest: int, quality: int = 82) -> str:
    """Packs an RGB picture as JPEG into a `data:` address.

    Args:
        picture: The picture; it is not changed.
        longest: The longest side in pixels; larger pictures are made smaller.
        quality: JPEG quality, 1 to 95.
    """
    small = picture.copy()
    small.thumbnail((longest, longest))
    buffer = io.BytesIO()
    small.convert("RGB").save(buffer, format="JPEG", quality=quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def slider(
    picture: str, overlay: str, *, ratio: float, name: str, caption: object, value: int = 60
) -> Markup:
    """A picture under a map, and a slider (mouse, finger or arrow keys) that fades between them.

    Args:
        picture: The `data:` address of the picture.
        overlay: The `data:` address of the map, of the picture's shape.
        ratio: Width / height of both.
        name: What the map shows, plain text.
        caption: The text below.
        value: Where the slider starts: 0 shows the picture, 100 the map.
    """
    return Markup(
        f'<figure class="slider" style="--map:{value / 100:g};--ratio:{ratio:.4f}">'
        '<div class="layers">'
        f'<img src="{escape(picture)}" alt="Picture: {escape(name)}">'
        f'<img class="map" src="{escape(overlay)}" alt="Map: {escape(name)}"></div>'
        f'<label><span>picture</span><input type="range" min="0" max="100" value="{value}" '
        f'aria-label="Fade from picture to map: {escape(name)}"><span>map</span></label>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def colour_bar(colours: Sequence[tuple[int, int, int]], low: object, high: object) -> Markup:
    """A bar of colours (RGB, 0 to 255) from left to right with the values at its ends."""
    stops = ", ".join(f"rgb({r} {g} {b})" for r, g, b in colours)
    return Markup(
        f'<span class="bar"><span>{escape(low)}</span>'
        f'<span class="colours" style="background:linear-gradient(to right, {stops})"></span>'
        f"<span>{escape(high)}</span></span>"
    )


def grid(items: Iterable[Markup], kind: str = "cards") -> Markup:
    """Items side by side, as many as the screen is wide for.

    Args:
        items: What stands in the grid.
        kind: `"cards"` (narrow), `"pairs"` (twice as wide), `"pair"` (the two halves of one), or
            `"plots"` (of any width).
    """
    return Markup(f'<div class="{escape(kind)}">{join(items)}</div>')


def details(summary: object, body: Markup, *, anchor: str = "", opened: bool = False) -> Markup:
    """A part that opens and closes by click or key; printing and links to `anchor` open it."""
    identity = f' id="{escape(anchor)}"' if anchor else ""
    state = " open" if opened else ""
    return Markup(
        f"<details{identity}{state}><summary>{escape(summary)}</summary>"
        f'<div class="inside">{body}</div></details>'
    )


def page(title: str, lead: Markup, sections: Sequence[Section]) -> str:
    """A whole page: heading, lead, table of contents and sections.

    Args:
        title: The heading, plain text.
        lead: What a reader in a hurry should see.
        sections: The parts; their titles must differ, for they become the anchors.

    Returns:
        The text of an HTML file that loads nothing: its policy allows `data:` pictures, its own
        style and, by its hash, its own script.

    Raises:
        ValueError: Two sections would have one anchor.
    """
    anchors = [section.anchor for section in sections]
    if len(set(anchors)) < len(anchors):
        raise ValueError(f"The titles of a page's sections must differ; received {anchors}.")
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode("ascii")
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    body = "\n".join(
        f'<section id="{s.anchor}"><h2>{escape(s.title)}</h2>\n{s.body}\n</section>'
        for s in sections
    )
    text = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        '<a class="skip" href="#content">Skip to the content</a>\n'
        f"<header><h1>{escape(title)}</h1>{lead}</header>\n{_contents(sections)}\n"
        f'<main id="content">\n{body}\n</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n'
    )
    # A file name may hold bytes that are no Unicode; in the page they become "?".
    return text.encode("utf-8", "replace").decode()


def _contents(sections: Sequence[Section]) -> Markup:
    entries = []
    for section in sections:
        inner = "".join(
            f'<li><a href="#{escape(anchor)}">{escape(text)}</a></li>'
            for anchor, text in section.links
        )
        entries.append(
            f'<li><a href="#{section.anchor}">{escape(section.title)}</a>'
            + (f"<ul>{inner}</ul>" if inner else "")
            + "</li>"
        )
    return Markup(f'<nav aria-label="Contents"><ul>{"".join(entries)}</ul></nav>')
