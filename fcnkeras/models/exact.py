"""Exact masks: each picture of a padded batch gets what the network gives it alone.

The network is rebuilt around its own layers. Every map is accompanied by the size that each
picture has in its cells, and before a layer looks beyond a single cell, the cells outside a
picture's own size are set to what the layer would have met at the picture's border.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers

from fcnkeras.convert.forms import pools_by
from fcnkeras.convert.graph import Call, ConversionError, Ref, run, trace
from fcnkeras.layers import MatchGrid, SamePlaces
from fcnkeras.masking import (
    AlignSame,
    CellSizes,
    CountOwn,
    DivideByShare,
    DropMask,
    FillOutside,
    OwnCells,
    OwnGlobalPooling2D,
    OwnPlaces,
    PictureSizes,
)
from fcnkeras.models.reach import (
    BORDERS,
    WINDOWS,
    has_own_function,
    is_cellwise,
    on_channels,
    pools_map,
    window_of,
)

# Two chains of layers that keep as many cells of every picture up to here do so of all.
_SIZES = np.arange(1, 2049)


@dataclass(frozen=True, eq=False)
class _Extent:
    """The pictures' sizes in the cells of a map.

    Attributes:
        sizes: int32 (batch, 2).
        rows, columns: the same for pictures of 1 to 2048 pixels, by which extents are told apart.
    """

    sizes: Any
    rows: np.ndarray
    columns: np.ndarray

    @property
    def key(self) -> bytes:
        return self.rows.tobytes() + self.columns.tobytes()


def exact_masks(fcn: keras.Model) -> keras.Model:
    """Rebuilds a fully convolutional model so that padding leaves no trace in its answers.

    Args:
        fcn: a channels-last model that `to_fcn` returned, with pooling "max" or "avg", or one with
            skip connections.

    Returns:
        A model of [pictures, mask], (batch, height, width, channels) and bool (batch, height,
        width), that shares every layer and weight with `fcn`: training one trains both. The
        pictures lie at the top left of their arrays, as batches of native pictures have them, and
        the mask says how far they reach; what is behind does not matter. Each row of the result is
        what `fcn` gives that picture alone, up to float rounding. It is NaN where alone there is
        an error: the network's window does not fit on the picture, or its mask is not one
        rectangle at the top left. In training, BatchNormalization takes its statistics over the
        pictures' own cells.

    Raises:
        ConversionError: a layer looks beyond one cell, and no rule says how.
        ValueError: the model does not pool its map, or has more inputs than the pictures.
    """
    graph = trace(fcn)
    if len(graph.inputs) != 1:
        raise ValueError(
            f"A model with one input, the pictures, is needed. Model '{fcn.name}' has "
            f"{len(graph.inputs)}"
        )
    builder = _Builder()
    picture = keras.Input(graph.inputs[0].shape[1:], dtype=graph.inputs[0].dtype, name="picture")
    mask = keras.Input((None, None), dtype="bool", name="mask")
    sizes = PictureSizes(name="picture_sizes")(mask)
    builder.extents[graph.inputs[0]] = builder.register(_Extent(sizes, _SIZES, _SIZES))
    values = run(graph, [picture], builder)
    if any(builder.extents[ref] for ref in graph.outputs):
        raise ValueError(
            f"Model '{fcn.name}' does not pool its map: convert it with pooling 'max' or 'avg'."
        )
    outputs = keras.tree.pack_sequence_as(graph.structure, [values[ref] for ref in graph.outputs])
    return keras.Model([picture, mask], outputs, name=f"{fcn.name}_exact")


class _Builder:
    """Calls the layers of a graph, with what each needs before it.

    Attributes:
        extents: of every map; None for what has one value for the whole picture.
    """

    def __init__(self) -> None:
        self.extents: dict[Ref, _Extent | None] = {}
        self._known: dict[bytes, _Extent] = {}
        self._own: dict[bytes, Any] = {}
        # With the map itself, so that its id is not given again.
        self._filled: dict[tuple[int, str], tuple[Any, Any]] = {}
        self._count = 0

    def __call__(self, call: Call, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        given = [extent for ref in call.inputs if (extent := self.extents[ref])]
        if given:
            result, extent = self._on_map(call, args, kwargs, given)
        else:
            result, extent = call.layer(*args, **kwargs), None
            if any(len(r.shape) == 4 and tuple(r.shape[1:3]) != (1, 1) for r in call.outputs):
                raise _no_rule(call, "makes a map of what has one value for the whole picture")
        self.extents.update((ref, extent) for ref in call.outputs)
        return result

    def register(self, extent: _Extent) -> _Extent:
        """The extent that is known for these sizes already, or this one."""
        return self._known.setdefault(extent.key, extent)

    def own_cells(self, values: Any, extent: _Extent) -> Any:
        """Which cells of a map are a picture's own, bool (batch, rows, columns)."""
        if extent.key not in self._own:
            self._own[extent.key] = OwnCells()([values, extent.sizes])
        return self._own[extent.key]

    def filled(self, values: Any, extent: _Extent, fill: str = "zero") -> Any:
        """The map with every cell outside the pictures' own set to a value."""
        key = (id(values), fill)
        if key not in self._filled:
            layer = FillOutside(fill, dtype=values.dtype)
            result = layer([values, self.own_cells(values, extent)])
            self._filled[key] = values, result
            self._mark_filled(result, fill)
        return self._filled[key][1]

    def _mark_filled(self, values: Any, fill: str) -> None:
        self._filled[id(values), fill] = values, values

    def _name(self, kind: str) -> str:
        """For a layer of Keras: the name that it would give itself may be taken in a loaded
        model."""
        self._count += 1
        return f"exact_{kind}_{self._count}"

    def _on_map(
        self, call: Call, args: Sequence[Any], kwargs: dict[str, Any], given: list[_Extent]
    ) -> tuple[Any, _Extent | None]:
        layer, kind = call.layer, type(call.layer)
        if has_own_function(layer):
            raise _no_rule(call, "calls a function that may read more than one cell of the map")
        rule: Callable[..., tuple[Any, _Extent | None]] | None = None
        if kind in WINDOWS:
            rule = self._window
        elif kind in BORDERS:
            rule = self._border
        elif kind is layers.BatchNormalization and on_channels(call):
            rule = self._normalise
        elif pools_map(call):
            rule = self._pool
        if rule is not None:
            return rule(call, args[0], kwargs, given[0])
        if kind in (MatchGrid, SamePlaces):
            return self._match(call, args[0], given)
        if not is_cellwise(call):
            raise _no_rule(call, "may read more than one cell of the map")
        return layer(*args, **kwargs), self._joined(call, given)

    def _joined(self, call: Call, given: list[_Extent]) -> _Extent:
        """The extent of a layer that reads several maps cell by cell."""
        first = given[0]
        for other in given[1:]:
            if other.key == first.key:
                continue
            tables = ((first.rows, other.rows), (first.columns, other.columns))
            for one, two in tables:
                differ = (one != two) & (one > 0) & (two > 0)
                if differ.any():
                    at = int(np.argmax(differ))
                    raise ConversionError(
                        f"Layer '{call.layer.name}' ({type(call.layer).__name__}) joins maps that "
                        f"fit each other for some sizes of picture only: {_SIZES[at]} pixels give "
                        f"{one[at]} and {two[at]} cells. Take the fast mask for this network."
                    )
            rows, columns = (np.minimum(one, two) for one, two in tables)
            sizes = layers.Minimum(name=self._name("sizes"))([first.sizes, other.sizes])
            first = self.register(_Extent(sizes, rows, columns))
        return first

    def _after(
        self,
        extent: _Extent,
        times: tuple[int, int] = (1, 1),
        plus: tuple[int, int] = (0, 0),
        over: tuple[int, int] = (1, 1),
    ) -> _Extent:
        """The extent of (size * times + plus) // over cells."""
        rows, columns = (
            np.where(cells > 0, np.maximum((cells * t + p) // o, 0), 0)
            for cells, t, p, o in zip((extent.rows, extent.columns), times, plus, over, strict=True)
        )
        after = _Extent(None, rows, columns)
        if after.key not in self._known:
            sizes = CellSizes(times, plus, over)(extent.sizes)
            self.register(_Extent(sizes, rows, columns))
        return self._known[after.key]

    # ---- the rules -----------------------------------------------------------------------------

    def _window(
        self, call: Call, values: Any, kwargs: dict[str, Any], extent: _Extent
    ) -> tuple[Any, _Extent]:
        layer = call.layer
        _check_channels_last(call)
        window, strides = window_of(layer)
        same = layer.padding == "same"
        plus = [s - (1 if same else w) for w, s in zip(window, strides, strict=True)]
        after = self._after(extent, plus=(plus[0], plus[1]), over=strides)
        if not same or window == (1, 1):  # the picture's own places see its own cells only
            return layer(values, **kwargs), after
        averages = isinstance(layer, layers.AveragePooling2D)
        fill = "lowest" if isinstance(layer, layers.MaxPooling2D) else "zero"
        if averages:
            _check_counts(call, window, strides)
            values = CountOwn(dtype=values.dtype)(values)
        result = layer(self._aligned(values, extent, window, strides, fill), **kwargs)
        if averages:
            result = DivideByShare(dtype=result.dtype)(result)
        if fill == "lowest":
            result = self.filled(result, after)
        return result, after

    def _aligned(
        self,
        values: Any,
        extent: _Extent,
        window: tuple[int, int],
        strides: tuple[int, int],
        fill: str,
    ) -> Any:
        """The map as a layer with padding "same" must read it."""
        values = self.filled(values, extent, fill)
        layer = AlignSame(window, strides, fill, dtype=values.dtype)
        return layer([values, extent.sizes]) if any(layer.most) else values

    def _border(
        self, call: Call, values: Any, kwargs: dict[str, Any], extent: _Extent
    ) -> tuple[Any, _Extent]:
        layer = call.layer
        _check_channels_last(call)
        if isinstance(layer, layers.UpSampling2D):
            if layer.interpolation != "nearest":
                raise _no_rule(call, f"interpolates ({layer.interpolation}) across the border")
            return layer(values, **kwargs), self._after(extent, times=tuple(layer.size))
        if isinstance(layer, layers.Cropping2D):
            less = tuple(-sum(sides) for sides in layer.cropping)
            return layer(values, **kwargs), self._after(extent, plus=less)
        result = layer(self.filled(values, extent), **kwargs)
        self._mark_filled(result, "zero")
        return result, self._after(extent, plus=tuple(sum(sides) for sides in layer.padding))

    def _normalise(
        self, call: Call, values: Any, kwargs: dict[str, Any], extent: _Extent
    ) -> tuple[Any, _Extent]:
        own = self.own_cells(values, extent)  # read in training only
        result = call.layer(values, mask=own, **kwargs)
        return DropMask(dtype=result.dtype)(result), extent

    def _pool(
        self, call: Call, values: Any, kwargs: dict[str, Any], extent: _Extent
    ) -> tuple[Any, None]:
        mode = pools_by(call.layer)
        assert mode is not None
        pool = OwnGlobalPooling2D(mode, call.layer.keepdims, dtype=call.outputs[0].dtype)
        return pool([values, self.own_cells(values, extent)]), None

    def _match(
        self, call: Call, maps: Sequence[Any], given: list[_Extent]
    ) -> tuple[Any, _Extent | None]:
        (values, other), (own, others) = maps, given
        take = "first"
        if isinstance(call.layer, MatchGrid):
            take, stride = "nearest", call.layer.stride
            values = self._aligned(values, own, stride, stride, "lowest")
            name = self._name("grid")
            pool = layers.MaxPooling2D(stride, padding="same", dtype=values.dtype, name=name)
            values = pool(values)
            own = self._after(own, plus=(stride[0] - 1, stride[1] - 1), over=stride)
            values = self.filled(values, own)
        places = OwnPlaces(take, dtype=values.dtype)
        return places([values, own.sizes, other, others.sizes]), others


def _check_channels_last(call: Call) -> None:
    if call.layer.data_format != "channels_last":
        raise _no_rule(call, "is channels_first, and batches of pictures are channels_last")


def _check_counts(call: Call, window: tuple[int, int], strides: tuple[int, int]) -> None:
    """Keras on PyTorch pads unevenly with copies of the border, which then count in averages."""
    uneven = strides != (1, 1) or any(side % 2 == 0 for side in window)
    if uneven and keras.backend.backend() == "torch":
        raise _no_rule(call, "averages copies of the border on PyTorch")


def _no_rule(call: Call, why: str) -> ConversionError:
    return ConversionError(
        f"Layer '{call.layer.name}' ({type(call.layer).__name__}) has no exact mask: it {why}. "
        'Take the fast mask, or batches of one size (feeders "squash", "crop" or "multicrop").'
    )
