"""A model with its feeder and its engine: from a picture to named results."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import keras
import numpy as np
from PIL import Image

from fcnkeras.convert import to_fcn
from fcnkeras.export.check import all_layers, least_size
from fcnkeras.feeders import MASKED, Fed, get_feeder
from fcnkeras.images import open_picture
from fcnkeras.layers import NativeWindow
from fcnkeras.models.fed import fed_model
from fcnkeras.models.shared_crops import shared_crop_model
from fcnkeras.models.structure import input_size, with_preprocessing
from fcnkeras.saved import load_saved
from fcnkeras.scoring.answers import Answers, Column
from fcnkeras.scoring.converted import FILE, EngineError, convert, converted
from fcnkeras.scoring.engines import Arrays, Engine, KerasEngine, OpenVINOEngine
from fcnkeras.tasks.heads import fed_task_model, feeding_of
from fcnkeras.tasks.outputs import TaskSchema

ENGINES = ("auto", "keras", "openvino")

MAX_FED_PIXELS = 10_000_000
"""What would be fed in more pixels is not scored: VGG16 needs 5 GB for so many. May be set anew."""


class Scorer:
    """A model that scores pictures.

    Args:
        model: of one vector for each picture, or several: from `task_model`, which knows its tasks
            and its feeder, from `to_fcn`, or any classifier. It is only read.
        feeder: "squash", "crop", "pad", "multicrop" or "native"; by default the one that the model
            was trained with, else "native" for models of any size and "squash" for others.
        size: what the feeder is given, in pixels; by default the training's, else the model's own.
        engine: "keras", "openvino", or "auto": OpenVINO where it is installed and can run the
            model, else Keras; `engine_note` then says why not.
        names: of the classes, for a model that does not know them.
        every: whether a model that does not know its classes gives a result for each.
        preprocessing: what the model expects, a mode of `fcnkeras.layers.Preprocessing`; None for
            one that takes RGB pixels of 0-255.
        share_crops: with "multicrop", up to which layer the crops of a picture share one pass over
            it, or "all" of them; quicker, and other numbers, see `shared_crop_model`. By default
            each crop is computed alone.
        path: the model's file, for the digest, and for the converted model beside it.

    Attributes:
        model: as it was given.
        feeder, size: see above.
        columns: (name, kind) of each result, in order; see `Answers`.
        digest: SHA-256 of the model's file, or of its structure and weights, in hex.
        engine: what computes.
        engine_note: why "auto" did not take OpenVINO, or "".
        settings: everything that the results depend on, in words.

    Raises:
        ValueError: an argument is wrong or does not fit the model.
        EngineError: the engine that was asked for cannot run the model.

    Crops of one picture are joined as logits, before the output activation. A "native" picture is
    never padded: it gets the numbers that it gets alone.

    It can be pickled, for another process or machine; what comes out scores, without `model`.
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        feeder: str | None = None,
        size: int | None = None,
        engine: str = "auto",
        names: Sequence[str] | None = None,
        every: bool = False,
        preprocessing: str | None = None,
        share_crops: str | None = None,
        path: str | PathLike | None = None,
    ) -> None:
        if engine not in ENGINES:
            raise ValueError(f"`engine` must be one of {', '.join(ENGINES)}. Received: {engine!r}")
        self.model = model
        self._path = None if path is None else Path(path)
        self._answers = Answers(model, names, every)
        self.columns: tuple[Column, ...] = self._answers.columns
        self.feeder, self.size = _feeding(model, feeder, size)
        self.digest = _digest(model, self._path)
        if share_crops is not None and self.feeder != "multicrop":
            raise ValueError(f"`share_crops` goes with multicrop. Received: {self.feeder}")
        self._preprocessing = preprocessing or "none"
        self._shared = share_crops or "none"
        # Crops that share a pass are cut from the map of the whole picture.
        self._given = self.feeder if share_crops is None else "native"
        fed = _fed(model, self.feeder, share_crops)
        if preprocessing is not None:
            fed = with_preprocessing(fed, preprocessing)
        self.masked = len(fed.inputs) > 1
        self.engine, self.engine_note = self._engine(fed, engine)
        self.settings = {
            "model": self.digest,
            "feeder": self.feeder,
            "size": str(self.size),
            "shared crops": self._shared,
            "engine": self.engine.name,
            "preprocessing": self._preprocessing,
            "results": json.dumps([self.columns, list(names or [])]),
        }

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "model": None}  # the engine has what it needs of it

    @property
    def least(self) -> int | tuple[int, int]:
        """What pictures are decoded for, see `open_picture`."""
        return self.size if isinstance(self.size, int) else self.size[::-1]

    def feed(self, picture: Image.Image) -> Fed:
        """What the network is shown of a picture.

        Raises:
            ImageError: it is so long that more than `MAX_FED_PIXELS` would be fed.
        """
        function = get_feeder(self._given)
        return function(picture, self.size, max_pixels=MAX_FED_PIXELS)  # type: ignore[call-arg, arg-type]

    def inputs(self, fed: Sequence[Fed]) -> Arrays:
        """What was fed of several pictures of one shape, as the engine takes it; pixels uint8."""
        if self._given == "multicrop":
            return [np.stack([one.arrays for one in fed])]
        pictures = np.concatenate([one.arrays for one in fed])
        return [pictures, np.concatenate([one.mask for one in fed])] if self.masked else [pictures]

    def rows(self, outputs: Arrays) -> list[tuple[float | int | str, ...]]:
        """The results of each picture of a batch, in the order of `columns`."""
        return self._answers.rows(outputs)

    def score(self, picture: str | PathLike | Image.Image | np.ndarray) -> dict[str, Any]:
        """Scores one picture.

        Args:
            picture: a file, a PIL image, or an array of RGB pixels of 0-255, (height, width, 3).

        Returns:
            The results by name: numbers, and names of classes.

        Raises:
            ImageError: the picture cannot be read.
            ValueError: the array is no picture.

        Example:
            >>> model = fcnkeras.load_model("runs/train/model.keras")
            >>> model.score("me.jpg")
            {'class': 'aster', 'class_aster': 0.91, 'class_birk': 0.09}
        """
        if isinstance(picture, np.ndarray):
            picture = _image(picture)
        elif not isinstance(picture, Image.Image):
            picture = open_picture(picture, least=self.least)
        ((_, outputs),) = self.engine.answers([(None, self.inputs([self.feed(picture)]))])
        assert outputs is not None
        (row,) = self.rows(outputs)
        return dict(zip((name for name, _ in self.columns), row, strict=True))

    def _engine(self, fed: keras.Model, name: str) -> tuple[Engine, str]:
        if name == "keras":
            return KerasEngine(fed), ""
        side = self.size if isinstance(self.size, tuple) else (self.size, self.size)
        names = [tensor.name for tensor in fed.inputs]
        try:
            if self._path is None:  # nothing by which it could be found again
                with tempfile.TemporaryDirectory() as folder:
                    convert(fed, Path(folder, FILE), side)
                    return OpenVINOEngine(Path(folder, FILE), names, self.size), ""
            kind = self.feeder if fed is not self.model else "plain"
            about = "-".join([self.digest, kind, self._preprocessing, self._shared])
            key = hashlib.sha256(about.encode()).hexdigest()[:20]
            make = partial(converted, fed, key, side, self._path)
            path = make()
            try:
                return OpenVINOEngine(path, names, self.size), ""
            except RuntimeError:  # what is kept there was damaged
                with contextlib.suppress(OSError):
                    shutil.rmtree(path.parent)
                return OpenVINOEngine(make(), names, self.size), ""
        except (EngineError, RuntimeError) as error:
            if name == "openvino":
                raise EngineError(f"The engine openvino cannot be used: {error}") from error
            return KerasEngine(fed), str(error)


def load_model(
    path: str | PathLike,
    *,
    feeder: str | None = None,
    size: int | None = None,
    engine: str = "auto",
    names: Sequence[str] | None = None,
    every: bool = False,
    preprocessing: str | None = None,
    share_crops: str | None = None,
) -> Scorer:
    """Loads a saved model that scores pictures.

    Nothing in the file runs code: a model with a layer that would need that is refused.

    Args:
        path: a `.keras` or `.h5` file.
        feeder, size, engine, names, every, preprocessing, share_crops: see `Scorer`; a model of
            `fcnkeras train` needs none of them.

    Raises:
        ValueError: there is no such model, or an argument does not fit it.

    Example:
        >>> model = fcnkeras.load_model("runs/train/model.keras")
        >>> model.score("me.jpg")["contrast"]
        6.4
    """
    file = Path(path)
    if not file.is_file():
        raise ValueError(f"No such model file: {file}")
    return Scorer(
        load_saved(file),
        feeder=feeder,
        size=size,
        engine=engine,
        names=names,
        every=every,
        preprocessing=preprocessing,
        share_crops=share_crops,
        path=file,
    )


def _has_schema(model: keras.Model) -> bool:
    return any(isinstance(layer, TaskSchema) for layer in all_layers(model))


def _is_fcn(model: keras.Model) -> bool:
    return any(isinstance(layer, NativeWindow) for layer in model.layers)


def _feeding(
    model: keras.Model, feeder: str | None, size: int | None
) -> tuple[str, int | tuple[int, int]]:
    """The feeder and its size, checked against what the model takes."""
    trained = feeding_of(model) if _has_schema(model) else None
    free, own = input_size(model)
    name = feeder or (trained[0] if trained else "native" if free else "squash")
    get_feeder(name)  # raises for an unknown one
    if size is not None and size < 1:
        raise ValueError(f"The size must be at least 1. Received: {size}")
    if not free:
        if name == "native" or size not in (None, own[0] if own[0] == own[1] else None):
            raise ValueError(
                f"'{model.name}' takes pictures of {own[0]}x{own[1]} only: feed it by squash, "
                "crop, pad or multicrop, or make it fully convolutional (`fcnkeras convert`). "
                f"Received: {name}, {size or own[0]}"
            )
        return name, own[0] if own[0] == own[1] else own
    side = size or (trained[1] if trained else min(own))
    least = max(least_size(model))
    if side < least:
        raise ValueError(f"'{model.name}' needs a size of {least} at least. Received: {side}")
    return name, side


def _fed(model: keras.Model, feeder: str, share_crops: str | None) -> keras.Model:
    """The model that takes what the feeder gives, pictures of one shape at a time."""
    schema, fcn = _has_schema(model), _is_fcn(model)
    if feeder == "multicrop":
        # At its own size a converted classifier is the classifier, with logits that can be joined.
        joined = model if schema or fcn else to_fcn(model, pooling="avg")
        if share_crops is not None:
            return shared_crop_model(joined, None if share_crops == "all" else share_crops)
        return fed_task_model(joined, feeder) if schema else fed_model(joined, feeder)
    if feeder in MASKED and feeder != "native" and (schema or fcn):
        return fed_task_model(model, feeder) if schema else fed_model(model, feeder)
    return model


def _digest(model: keras.Model, path: Path | None) -> str:
    if path is not None:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    digest = hashlib.sha256(model.to_json().encode())
    for weight in model.weights:
        digest.update(np.ascontiguousarray(keras.ops.convert_to_numpy(weight)).tobytes())
    return digest.hexdigest()


def _image(pixels: np.ndarray) -> Image.Image:
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (3, 4)):
        raise ValueError(f"A picture is (height, width, 3). Received shape: {pixels.shape}")
    if pixels.dtype == np.uint8:
        return Image.fromarray(pixels)
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= 0 and 1 < high <= 255):
        raise ValueError(f"Pixels are 0-255. Received: {pixels.dtype} from {low:g} to {high:g}")
    return Image.fromarray(np.round(pixels).astype("uint8"))
