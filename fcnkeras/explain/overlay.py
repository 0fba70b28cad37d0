"""Maps as pictures: perceptually even colours, a colour bar, and signs on a diverging scale.

matplotlib draws without a display.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from fcnkeras.files import write_atomically

SEQUENTIAL = "viridis"
DIVERGING = "coolwarm"

Array = npt.NDArray[Any]


def load_matplotlib() -> Any:
    """Imports matplotlib.

    Raises:
        ImportError: It is not installed; the message says how to get it.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError(
            'A report needs matplotlib, which is not installed: pip install "fcnkeras[report]".'
        ) from error
    return matplotlib


def colours(heat: Array, low: float, high: float, *, signed: bool = False) -> Array:
    """Turns values into perceptually even colours: viridis, or blue-grey-red when signed.

    Args:
        heat: Values of any shape.
        low: The value of the darkest colour.
        high: The value of the brightest one. With `signed` the scale reaches equally far on
            both sides, as far as the larger of `|low|` and `|high|`, and zero is in the middle.
        signed: Whether the sign carries a meaning.

    Returns:
        uint8 RGB, shape `heat.shape + (3,)`. Where `low == high` everything has the middle
        colour.
    """
    if signed:
        high = max(abs(low), abs(high))
        low = -high
    span = high - low
    position = (np.asarray(heat, np.float64) - low) / span if span > 0 else np.full(heat.shape, 0.5)
    table = load_matplotlib().colormaps[DIVERGING if signed else SEQUENTIAL]
    return table(np.clip(position, 0, 1), bytes=True)[..., :3]


def overlay(
    picture: Array,
    heat: Array,
    *,
    low: float | None = None,
    high: float | None = None,
    signed: bool = False,
    alpha: float = 0.6,
    mark: tuple[float, float] | None = None,
) -> Image.Image:
    """Lays a map over its picture.

    Args:
        picture: uint8 RGB, shape `(height, width, 3)`.
        heat: The map at the picture's size, shape `(height, width)`, see `upsample`.
        low: The value of the first colour; the map's least by default.
        high: The value of the last colour; the map's largest by default.
        signed: Use diverging colours with zero in the middle.
        alpha: Opacity of the map, 0 to 1.
        mark: `(y, x)` of a place to be ringed, see `peak`.

    Returns:
        An RGB picture of the same size.

    Raises:
        ValueError: Picture and map have different sizes, or the map holds NaN or infinity.
    """
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.shape[:2] != heat.shape:
        raise ValueError(
            "The map must have the picture's height and width, and the picture three channels; "
            f"received a picture of shape {picture.shape} and a map of shape {heat.shape}."
        )
    if not np.isfinite(heat).all():
        raise ValueError("A map must be finite; received NaN or infinity.")
    low = float(heat.min()) if low is None else low
    high = float(heat.max()) if high is None else high
    coloured = colours(heat, low, high, signed=signed)
    blended = Image.blend(
        Image.fromarray(np.ascontiguousarray(picture)), Image.fromarray(coloured), alpha
    )
    if mark is not None:
        _ring(blended, *mark)
    return blended


def _ring(picture: Image.Image, y: float, x: float) -> None:
    """Draws a white ring between two black ones, seen on any colour."""
    draw = ImageDraw.Draw(picture)
    radius = max(4.0, 0.035 * min(picture.size))
    line = max(1, round(radius / 5))
    for offset, colour in ((line, "black"), (-line, "black"), (0, "white")):
        r = radius + offset
        draw.ellipse((x - r, y - r, x + r, y + r), outline=colour, width=line + (colour == "black"))


OUTERMOST = 0.5


def limits(heat: Array, signed: bool) -> tuple[float, float]:
    """The values of the first and the last colour, equally far on both sides of zero if signed.

    Of the pixels half a percent may lie beyond the last colour: else in maps of gradients a few
    pixels would leave all others dark.
    """
    values = np.abs(heat) if signed else heat
    low, high = float(np.nanmin(values)), float(np.nanpercentile(values, 100 - OUTERMOST))
    high = high if high > low else float(np.nanmax(values))
    return (-high, high) if signed else (low, high)


def laid_over(
    picture: Array,
    heat: Array,
    *,
    signed: bool = False,
    alpha: float = 0.6,
    mark: tuple[float, float] | None = None,
) -> Image.Image:
    """`overlay` for maps with holes: where a map is NaN, what the network was not shown, the
    picture is dimmed and grey.

    Arguments are those of `overlay`; a map that is NaN everywhere is refused.
    """
    low, high = limits(heat, signed) if np.isfinite(heat).any() else (0.0, 0.0)
    unseen = np.isnan(heat)
    if unseen.all():
        raise ValueError("A map must have values; received NaN everywhere.")
    filled = np.where(unseen, low, heat)
    laid = overlay(picture, filled, low=low, high=high, signed=signed, alpha=alpha, mark=mark)
    if unseen.any():
        dim = Image.fromarray(picture).convert("L").point(lambda v: v // 3).convert("RGB")
        laid.paste(dim, mask=Image.fromarray(unseen.astype(np.uint8) * 255))
    return laid


def write_figure(
    path: Path,
    picture: Array,
    heat: Array,
    *,
    title: str,
    signed: bool = False,
    mark: tuple[float, float] | None = None,
    longest: int = 900,
) -> None:
    """Writes the picture beside its map as PNG, with a title and a colour bar.

    Args:
        path: The file.
        picture: uint8 RGB, shape `(height, width, 3)`.
        heat: The map at the picture's size; NaN where the network saw nothing.
        title: What the map shows.
        signed: Use diverging colours with zero in the middle.
        mark: `(y, x)` of a place to be ringed.
        longest: The longest side at which the picture is drawn.
    """
    matplotlib = load_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    laid = laid_over(picture, heat, signed=signed, mark=mark)
    shown = Image.fromarray(picture)
    for each in (shown, laid):
        each.thumbnail((longest, longest))
    width, height = (side / 100 for side in shown.size)
    wide = max(2 * width + 1.6, 4.5)
    with matplotlib.rc_context({"text.parse_math": False, "font.size": 9}):
        figure = Figure(figsize=(wide, height + 0.7), dpi=100, layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(title, fontsize=10)
        left, right = figure.subplots(1, 2)
        for axes, image in ((left, shown), (right, laid)):
            axes.imshow(image, interpolation="none")
            axes.set_axis_off()
        low, high = limits(heat, signed)
        scale = matplotlib.colors.Normalize(low, high if high > low else low + 1)
        colour_map = DIVERGING if signed else SEQUENTIAL
        bar = matplotlib.cm.ScalarMappable(norm=scale, cmap=colour_map)
        beyond = "both" if signed else "max"
        figure.colorbar(bar, ax=[left, right], shrink=0.9, fraction=0.06, pad=0.02, extend=beyond)
        write_atomically(path, lambda target: figure.savefig(target, metadata={"Software": None}))
