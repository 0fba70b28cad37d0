"""The rules of conversion: what one call becomes, given the form of what it reads."""

from __future__ import annotations

from typing import Any

from keras import layers

from fcnkeras.convert.forms import (
    KEPT,
    POOLS,
    Form,
    Grid,
    Layout,
    Place,
    State,
    Step,
    identity,
    op_name,
    pools_by,
    same,
    size_text,
)
from fcnkeras.convert.graph import Call, ConversionError
from fcnkeras.convert.head_rules import after_flatten, on_vector


def plan_call(call: Call, given: list[State], place: Place) -> tuple[Step, State]:
    """What one call becomes, and the state of its outputs.

    Args:
        call: the call.
        given: the states of its inputs.
        place: where it stands.
    """
    layer = call.layer
    forms = {state.form for state in given}
    if forms <= {Form.MAP}:
        if not place.inner and ends_map(call, place.layout):
            return _collapse(call, place)
        _check_on_map(call, place.layout)
        return same(layer, KEPT), State(Form.MAP)
    if forms == {Form.FLAT}:
        return after_flatten(call, given)
    if forms == {Form.VECTOR}:
        return on_vector(call), State(Form.VECTOR, _coarsest(call, given))
    raise ConversionError(
        f"Layer '{layer.name}' ({type(layer).__name__}) joins a flattened map with a vector: "
        "put a Dense layer behind the Flatten first."
    )


# ---- the end of the spatial part ---------------------------------------------------------------


def ends_map(call: Call, layout: Layout) -> bool:
    """Whether a call turns a map into a vector; what is a vector already goes on as it is."""
    layer, shape, result = call.layer, call.inputs[0].shape, call.outputs[0].shape
    if len(shape) != 4:
        return False
    if op_name(layer) in ("Mean", "Max"):
        axes = [layer.axis] if isinstance(layer.axis, int) else layer.axis or []
        return sorted(axis % 4 for axis in axes) == list(layout.spatial)
    if isinstance(layer, layers.Reshape) or op_name(layer) in ("Reshape", "Squeeze"):
        return layout.size(shape) == (1, 1) and len(result) == 2
    return isinstance(layer, (*POOLS, layers.Flatten))


def _collapse(call: Call, place: Place) -> tuple[Step, State]:
    layer, shape = call.layer, call.inputs[0].shape
    rows, columns = place.layout.size(shape)
    flattens, pools = isinstance(layer, layers.Flatten), pools_by(layer)
    if place.window == "point" and not flattens:
        sees = (1, 1)
    elif rows is not None and columns is not None:
        sees = (rows, columns)
    else:
        raise ConversionError(
            f"Layer '{layer.name}' ({type(layer).__name__}) ends a map of free size {shape}, so "
            "there is no native window: give the model a fixed input size"
            + ("." if flattens else ', or use window="point".')
        )
    grid = Grid((rows, columns), sees, place.stride)
    if flattens and sees != (1, 1):
        state = State(Form.FLAT, grid, _flattened_order(layer, place.layout))
        return identity(layer, f"waits for the Dense layer, {rows}x{columns}"), state
    state = State(Form.VECTOR, grid)
    if pools is None:
        if place.stride == (1, 1):
            return identity(layer, "a 1x1 map is a vector"), state
        every = {"pool_size": (1, 1), "strides": place.stride, "data_format": "channels_last"}
        rule = f"a 1x1 map is a vector, one in {size_text(place.stride)} places"
        return Step(layer.name, type(layer).__name__, "MaxPooling2D", rule, every), state
    config = {"pool_size": sees, "strides": place.stride, "padding": "valid"}
    config["data_format"] = "channels_last"
    rule = f"native window {rows}x{columns}"
    if place.window == "point":
        if place.stride == (1, 1):
            return identity(layer, "every location decides alone"), state
        config |= {"pool_size": place.stride, "padding": "same"}
        rule = "every location of the coarsest map decides alone"
    if call.inputs[0].dtype in ("float16", "bfloat16"):
        config["dtype"] = "float32"  # a sum over a window has no room in half precision
    twin = "AveragePooling2D" if pools == "avg" else "MaxPooling2D"
    return Step(layer.name, type(layer).__name__, twin, rule, config), state


def _flattened_order(layer: Any, layout: Layout) -> str:
    order = "hwc" if layout.data_format == "channels_last" else "chw"
    if layer.data_format == "channels_first":  # Flatten then moves the first of them to the end
        order = order[1:] + order[0]
    return order


def _check_on_map(call: Call, layout: Layout) -> None:
    """Raises for layers that tie the spatial part to one size of map."""
    layer, shape = call.layer, call.inputs[0].shape if call.inputs else ()
    kind = f"Layer '{layer.name}' ({type(layer).__name__})"
    if isinstance(layer, layers.Resizing | layers.CenterCrop | layers.RandomCrop):
        raise ConversionError(
            f"{kind} brings every picture to {layer.height}x{layer.width}, so that no larger "
            "picture would reach the network: build the model without it."
        )
    moves = isinstance(layer, layers.Reshape | layers.Permute) or (
        op_name(layer) in ("Reshape", "Transpose", "Moveaxis", "Swapaxes")
    )
    if moves and len(shape) == 4 and layout.size(shape) != (1, 1):
        raise ConversionError(
            f"{kind} reorders a map of shape {shape}, which has no meaning at other sizes: "
            "pool or flatten the map instead."
        )


def _coarsest(call: Call, given: list[State]) -> Grid | None:
    """The grid of a call's result: vectors of maps of different sizes meet on the coarsest."""
    grids = sorted({state.grid for state in given if state.grid}, key=lambda grid: grid.stride)
    for grid in grids[1:]:
        for cells, stride, coarse in zip(grid.cells, grid.stride, grids[0].cells, strict=True):
            points = grid.window == (1, 1) and grid.cells != (1, 1)
            if points and cells is not None and coarse is not None and cells != coarse * stride:
                raise ConversionError(
                    f"Layer '{call.layer.name}' ({type(call.layer).__name__}) joins vectors of a "
                    f"map of {size_text(grid.cells)} and one of {size_text(grids[0].cells)} cells, "
                    'whose single locations do not lie over each other: use window="native".'
                )
    return grids[0] if grids else None
