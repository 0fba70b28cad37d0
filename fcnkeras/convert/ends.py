"""Where the spatial part of a graph ends: in one place or in several whose vectors meet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

import keras

from fcnkeras.convert.forms import Layout
from fcnkeras.convert.graph import Call, ConversionError, Graph, Ref, run
from fcnkeras.convert.rules import ends_map

# A multiple of every stride that networks have, in pixels.
_FURTHER = 2**7 * 9 * 5


def inner_and_ends(graph: Graph, layout: Layout) -> tuple[set[int], list[set[int]]]:
    """Which calls pool a map, by their number in the graph.

    Returns:
        Those whose vector returns to a map (squeeze-and-excitation) and which are therefore part
        of the spatial network; and those that end it, as sets of ends whose vectors meet.
    """
    # That a vector returns shows only where it does, so the walk then starts again.
    inner: set[int] = set()
    while True:
        ends: dict[Ref, frozenset[int]] = {ref: frozenset() for ref in graph.inputs}
        for number, call in enumerate(graph.calls):
            given = [ends[ref] for ref in call.inputs]
            behind: frozenset[int] = frozenset().union(*given)
            if behind and not all(given):
                inner |= behind
                break
            if not behind and number not in inner and call.inputs and ends_map(call, layout):
                behind = frozenset({number})
            ends.update((ref, behind) for ref in call.outputs)
        else:
            return inner, _joined(ends.values())


def _joined(sets: Iterable[frozenset[int]]) -> list[set[int]]:
    """Unites the sets that have members in common."""
    groups: list[set[int]] = []
    for each in sets:
        touching = [group for group in groups if group & each]
        if each:
            groups = [group for group in groups if group not in touching]
            groups.append(set(each).union(*touching))
    return groups


def strides_to_meet(
    graph: Graph, layout: Layout, native: tuple[int, int] | None, groups: list[set[int]]
) -> dict[int, tuple[int, int]]:
    """For every end of the spatial part the cells from one window to the next.

    They are 1 on the coarsest map of those that meet, and on a finer one as many as lie in a cell
    of the coarsest, so that the places of all are the same steps over the picture.

    Raises:
        ConversionError: that number of cells is not a whole one.
    """
    strides = {number: (1, 1) for group in groups for number in group}
    several = [group for group in groups if len({graph.calls[n].inputs[0] for n in group}) > 1]
    if not several:
        return strides
    pixels = _pixels_to_a_cell(graph, layout, native or (256, 256), set().union(*several))
    for group in several:
        coarsest = [max(pixels[number][axis] for number in group) for axis in (0, 1)]
        for number in group:
            steps = [whole / own for whole, own in zip(coarsest, pixels[number], strict=True)]
            if any(step.denominator != 1 for step in steps):
                raise ConversionError(
                    f"Layer '{graph.calls[number].layer.name}' ends a map whose cells are "
                    f"{_text(pixels[number])} pixels, and is joined with one of "
                    f"{_text(coarsest)}: one must be a multiple of the other."
                )
            strides[number] = (int(steps[0]), int(steps[1]))
    return strides


def _pixels_to_a_cell(
    graph: Graph, layout: Layout, native: tuple[int, int], ends: set[int]
) -> dict[int, list[Fraction]]:
    """The pixels from one cell of a map to the next, rows and columns, read off by how much the
    maps that these calls end grow with the picture."""
    wanted = {graph.calls[number].inputs[0] for number in ends}
    small, large = (
        map_sizes(graph, layout, (native[0] + more, native[1] + more), wanted)
        for more in (0, _FURTHER)
    )
    pixels = {}
    for number in ends:
        ref = graph.calls[number].inputs[0]
        grown = [b - a for a, b in zip(small[ref], large[ref], strict=True)]
        if min(grown) <= 0:
            raise ConversionError(
                f"Layer '{graph.calls[number].layer.name}' ends a map of {small[ref]} cells that "
                "does not grow with the picture, and is joined with another: use one map."
            )
        pixels[number] = [Fraction(_FURTHER, cells) for cells in grown]
    return pixels


def map_sizes(
    graph: Graph, layout: Layout, size: tuple[int, int], wanted: set[Ref]
) -> dict[Ref, tuple[int, int]]:
    """The (rows, columns) of maps for a picture of this size; nothing is computed but shapes."""
    needed = graph.before(wanted)
    source = graph.inputs[0]
    shape = layout.shape(1, size, source.shape[layout.channel])

    def call_shapes(call: Call, args: Sequence, kwargs: dict) -> object:
        try:
            return call.layer.compute_output_spec(*args, **kwargs)
        except (TypeError, ValueError, NotImplementedError) as error:
            raise ConversionError(
                f"Layer '{call.layer.name}' ({type(call.layer).__name__}) cannot read a picture "
                f"of {size[0]}x{size[1]} pixels: {str(error)[:200]}"
            ) from error

    values = run(needed, [keras.KerasTensor(shape, source.dtype)], call_shapes)
    return {ref: layout.size(values[ref].shape) for ref in wanted}  # type: ignore[misc]


def _text(pixels: list[Fraction]) -> str:
    return "x".join(str(side) for side in pixels)
