"""Explaining pictures: feeds a picture, asks the network, and brings the map back to its pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import ops
from PIL import Image

from fcnkeras.convert.graph import trace
from fcnkeras.explain import check, parts, saliency
from fcnkeras.explain.attribute_maps import attribute_map
from fcnkeras.explain.cam import class_activation_map, grad_cam, grad_cam_plus_plus
from fcnkeras.explain.class_maps import class_map
from fcnkeras.explain.network import Network, Outputs
from fcnkeras.explain.pixels import spread, to_original
from fcnkeras.explain.saliency import Maps
from fcnkeras.explain.targets import Names, Target, resolve
from fcnkeras.feeders import Fed, get_feeder
from fcnkeras.images import open_picture
from fcnkeras.layers import NativeWindow
from fcnkeras.models.fed import fed_model
from fcnkeras.models.structure import input_size, with_preprocessing
from fcnkeras.orientation import PathLike
from fcnkeras.placement import Size
from fcnkeras.tasks.heads import fed_task_model
from fcnkeras.tasks.outputs import TaskSchema
from fcnkeras.tasks.schemas import parse_schema

METHODS: dict[str, Callable[..., Maps]] = {
    "saliency": saliency.saliency,
    "guided-backpropagation": saliency.guided_backpropagation,
    "smoothgrad": saliency.smoothgrad,
    "integrated-gradients": saliency.integrated_gradients,
    "cam": class_activation_map,
    "grad-cam": grad_cam,
    "grad-cam++": grad_cam_plus_plus,
    "class-map": class_map,
    "attribute-map": attribute_map,
}
"""The methods by the names that the command line uses."""


@dataclass(frozen=True)
class Explanation:
    """What a network saw in one picture.

    Attributes:
        method: one of `METHODS`.
        target: what is explained, in words.
        score: the number that is explained: of a class before the softmax or sigmoid.
        output: the same behind the activation, for a class or an attribute.
        heat: float32, (height, width) of the upright picture; NaN where the network saw nothing.
        signed: whether values below zero mean "against".
        completeness: how far the map is from adding up to the score, relative to it; None for
            methods that do not add up.
        decided: (y, x) in the picture of the place that alone decided, under max pooling.
        parts: of attribute maps, what each layer contributes.
        bias: of attribute maps, what of the score the layers leave over.
        maps: as the method gave them, for what was fed.
        fed: what was fed.
    """

    method: str
    target: str
    score: float
    output: float | None
    heat: np.ndarray
    signed: bool
    completeness: float | None
    decided: tuple[float, float] | None
    parts: dict[str, float]
    bias: float | None
    maps: Maps = field(repr=False)
    fed: Fed = field(repr=False)


class Explainer:
    """Explains what a model says of pictures of any size.

    Args:
        model: any Functional or Sequential model of pictures, models of `to_fcn` and of several
            outputs too. It is only read.
        feeder: "squash", "crop", "pad", "multicrop" or "native"; by default "native" for models of
            any size, "squash" for others. With "pad", a model of `to_fcn` or of `task_model` leaves
            the padding out of its pooling. Crops are joined as the model joins its places.
        size: what the feeder is given; by default the model's own size.
        preprocessing: what the model expects, a mode of `fcnkeras.layers.Preprocessing`; None for
            one that takes RGB pixels of 0-255.
        names: of the classes, by output; or those of the first output, as a sequence. A model of
            `task_model` knows its own.

    Raises:
        ValueError: the feeder is unknown, or does not fit the model.
        ConversionError: the model's graph cannot be read.

    Example:
        >>> explainer = Explainer(VGG16_fcn(include_preprocessing=True))
        >>> found = explainer.explain("dog.jpg", "grad-cam")
        >>> found.heat.shape                                # of the picture, whatever was fed
        (1365, 2048)
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        feeder: str | None = None,
        size: Size | None = None,
        preprocessing: str | None = None,
        names: Names | Sequence[str] | None = None,
    ) -> None:
        free, own = input_size(model)
        self.feeder = feeder or ("native" if free else "squash")
        self.size: Size = own if size is None else size
        if not free and (self.feeder == "native" or _pair(self.size) != _pair(own)):
            raise ValueError(
                f"'{model.name}' takes pictures of {_pair(own)[0]}x{_pair(own)[1]} only: feed it "
                "by squash, crop, pad or multicrop, or make it fully convolutional with `to_fcn`. "
                f"Received: {self.feeder}, {size}"
            )
        if isinstance(self.size, tuple) and self.feeder == "native":
            self.size = min(self.size)
        get_feeder(self.feeder)
        schema = next((s for s in trace(model).layers() if isinstance(s, TaskSchema)), None)
        is_fcn = any(isinstance(layer, NativeWindow) for layer in model.layers)
        if self.feeder == "pad" and (is_fcn or schema) and len(model.inputs) == 1:
            model = fed_task_model(model, "pad") if schema else fed_model(model, "pad")
        self.network = Network(
            model if preprocessing is None else with_preprocessing(model, preprocessing)
        )
        if self.feeder == "multicrop":
            pool = parts.pooling_of(self.network, 0)
            self.network.join = parts.pooling_mode(pool.layer) if pool else "avg"
        if names is None and schema is not None:
            tasks = parse_schema(schema.text).tasks
            known = {task.name: getattr(task, "names", ()) for task in tasks}
            names = {name: each for name, each in known.items() if each}
        self.name_classes(names)

    def name_classes(self, names: Names | Sequence[str] | None) -> None:
        """Names the classes, by output; or those of the first output, as a sequence."""
        if names is not None and not isinstance(names, Mapping):
            names = {self.network.names[0]: tuple(names)}
        self.names: Names = names or {}

    def feed(self, picture: Image.Image | PathLike) -> Fed:
        """What the network is shown of a picture.

        Raises:
            ImageError: it cannot be read.
        """
        if not isinstance(picture, Image.Image):
            picture = open_picture(picture)
        return get_feeder(self.feeder)(picture, self.size)  # type: ignore[arg-type]

    def inputs(self, fed: Fed) -> list[np.ndarray]:
        """What was fed as the network takes it."""
        arrays = fed.arrays.astype("float32")
        return [arrays, fed.mask] if len(self.network.graph.inputs) > 1 else [arrays]

    def outputs(self, fed: Fed) -> Outputs:
        """What the network says of it."""
        return self.network.outputs(self.inputs(fed))

    def explain(
        self,
        picture: Image.Image | PathLike | Fed,
        method: str = "grad-cam",
        target: Target | str | int | Callable[..., Any] = "top",
        **options: Any,
    ) -> Explanation:
        """Explains one number that the network says of a picture.

        Args:
            picture: a file, a PIL image, or what `feed` returned.
            method: one of `METHODS`.
            target: see `fcnkeras.explain.targets.resolve`.
            **options: of the method, such as `layer` of "grad-cam" or `samples` of "smoothgrad".

        Raises:
            ValueError: no such method or target, or the method does not fit the model.
            ImageError: the picture cannot be read.
        """
        if method not in METHODS:
            raise ValueError(f"A method must be one of {', '.join(METHODS)}. Received: {method!r}")
        fed = picture if isinstance(picture, Fed) else self.feed(picture)
        inputs = self.inputs(fed)
        outputs = self.network.outputs(inputs)
        wanted = resolve(target, outputs, self.names)
        maps = METHODS[method](self.network, wanted, inputs, **options)
        output = None
        if wanted.place is not None:
            number, index = wanted.place
            output = float(ops.convert_to_numpy(outputs.values[number])[0, index])
        decided = None
        if maps.decided is not None:
            crop, y, x = maps.decided
            point = fed.placements[crop].to_original([x, y])
            decided = float(point[1]), float(point[0])
        return Explanation(
            method,
            wanted.name,
            float(maps.scores[0]),
            output,
            to_original(fed_maps(maps, fed), fed.placements),
            maps.signed,
            maps.completeness,
            decided,
            {name: float(part.values.mean()) for name, part in maps.parts.items()},
            None if maps.biases is None else float(maps.biases[0]),
            maps,
            fed,
        )


@dataclass(frozen=True)
class Check:
    """How a method stands the tests of `fcnkeras.explain.check`.

    Attributes:
        method: its name.
        correlations: the rank correlation of its map with that of the network with a random "top"
            and of one with "all" weights random: near 1 means that the map hardly tells of the
            network.
        deletion: the mean score while what the map marks is taken away: lower is better.
        insertion: while it is put in: higher is better.
        random_deletion, random_insertion: the same for pixels in random order.
    """

    method: str
    correlations: dict[str, float]
    deletion: float
    insertion: float
    random_deletion: float
    random_insertion: float


class Checker:
    """Checks methods on pictures, with the same random networks for all of them.

    Args:
        explainer: whose methods are checked.
        seed: of the random weights and of the random order of pixels.
    """

    def __init__(self, explainer: Explainer, seed: int = 0) -> None:
        self.explainer, self.seed = explainer, seed
        network = explainer.network
        self.random = {
            layers: Network(check.randomised(network.model, layers, seed), network.join)
            for layers in check.LAYERS
        }

    def check(
        self,
        picture: Image.Image | PathLike | Fed,
        method: str | Callable[..., Maps],
        target: Target | str | int | Callable[..., Any] = "top",
        **options: Any,
    ) -> Check:
        """Checks a method on one picture; arguments are those of `Explainer.explain`, and a method
        may be a function too."""
        function = METHODS[method] if isinstance(method, str) else method
        fed = picture if isinstance(picture, Fed) else self.explainer.feed(picture)
        inputs, network = self.explainer.inputs(fed), self.explainer.network
        wanted = resolve(target, network.outputs(inputs), self.explainer.names)
        found = function(network, wanted, inputs, **options)
        correlations = {
            layers: check.rank_correlation(
                found.values, function(random, wanted, inputs, **options).values
            )
            for layers, random in self.random.items()
        }
        heat = fed_maps(found, fed)
        noise = np.random.default_rng(self.seed).random(heat.shape)
        deletion, insertion, by_chance, in_chance = (
            curve.area
            for order in (heat, noise)
            for curve in check.deletion_and_insertion(network, wanted, inputs, order)
        )
        name = method if isinstance(method, str) else method.__name__
        return Check(name, correlations, deletion, insertion, by_chance, in_chance)


def fed_maps(maps: Maps, fed: Fed) -> np.ndarray:
    """Maps in pixels of what was fed, (crops, height, width) float32."""
    if maps.centres is None:
        return maps.values
    return spread(maps.values, fed.arrays.shape[1:3], maps.centres)


def part_heat(explanation: Explanation, name: str) -> np.ndarray:
    """One layer's part of an attribute map, as `Explanation.heat`."""
    part = explanation.maps.parts[name]
    return to_original(fed_maps(part, explanation.fed), explanation.fed.placements)


def _pair(size: Size) -> tuple[int, int]:
    return size if isinstance(size, tuple) else (size, size)
