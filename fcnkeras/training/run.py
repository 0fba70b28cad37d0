"""One training run: from labelled pictures and a schema to a model, its figures and their files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from fcnkeras.augment import Augmentation, augmented
from fcnkeras.batching import FedPictures
from fcnkeras.data.records import Collection, DataError
from fcnkeras.data.sources import claim_folder
from fcnkeras.encoding import encode_target
from fcnkeras.feeders import get_feeder
from fcnkeras.files import write_atomically, write_json, write_text
from fcnkeras.models.classifier import build_classifier
from fcnkeras.models.specs import get_spec
from fcnkeras.tasks.classes import ClassTask
from fcnkeras.tasks.features import HEADS, POOLINGS
from fcnkeras.tasks.heads import compile_arguments, fed_task_model, split_model, task_model
from fcnkeras.tasks.losses import balanced_weights
from fcnkeras.tasks.schema import Schema
from fcnkeras.tasks.schemas import dump_schema
from fcnkeras.training.evaluation import (
    check_kinds,
    evaluate_tasks,
    write_evaluation,
    write_rejected,
)
from fcnkeras.training.feature_cache import cached_features
from fcnkeras.training.freezing import freeze_blocks, train_all
from fcnkeras.training.lr_finder import LearningRates, find_learning_rate
from fcnkeras.training.stages import Recipe, Stage, fit_stages, jit_compile_mode


@dataclass(frozen=True)
class Settings:
    """What a run is made of, besides pictures and schema.

    Attributes:
        recipe: how the model is trained.
        network: a name of `fcnkeras.models.specs`.
        weights: "imagenet" or what the network has, "random", or the path of a weights file.
        head: "pooled", "multi_level" or "mlsp", see `fcnkeras.tasks.heads`.
        drop_top: of "pooled": fully connected layers to cut off the network.
        pooling: of "pooled": "avg" or "max".
        dropout: share dropped before the outputs while training.
        learned_weights: whether the tasks' losses are weighed by learned numbers.
        class_weights: whether rare classes count more, so that each class counts the same.
        feeder: "squash", "crop", "pad", "multicrop" or "native".
        size: side of the square, or short side, in pixels; 0 for the network's own.
        batch: the most pictures in a batch.
        flip: whether training pictures are mirrored at random.
        crop: the share of a training picture that may be cut off at random.
        cache: whether features are computed once and kept on disk, for training a head alone;
            pictures are then mirrored, not cut.
        seed: of new weights, order and augmentation.
    """

    recipe: Recipe
    network: str = "MobileNetV2"
    weights: str = "imagenet"
    head: str = "pooled"
    drop_top: int | None = None
    pooling: str = "avg"
    dropout: float = 0.0
    learned_weights: bool = False
    class_weights: bool = False
    feeder: str = "native"
    size: int = 0
    batch: int = 16
    flip: bool = True
    crop: float = 0.04
    cache: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        get_spec(self.network)
        get_feeder(self.feeder)
        for name, value, values in (
            ("head", self.head, HEADS),
            ("pooling", self.pooling, tuple(POOLINGS)),
        ):
            if value not in values:
                raise ValueError(f"`{name}` must be one of {', '.join(values)}. Received: {value}")
        if self.cache and any(stage.frozen != "base" for stage in self.recipe.stages):
            raise ValueError("`cache` goes with stages of the head only, such as head:20@1e-3.")
        if self.cache and self.feeder == "multicrop":
            raise ValueError("`cache` goes with one picture each, not with the feeder multicrop.")
        if self.size < 0:
            raise ValueError(
                f"`size` must be 1 or more, 0 for the network's. Received: {self.size}"
            )

    @property
    def fed_size(self) -> int:
        """What the feeder is given."""
        return self.size or get_spec(self.network).native


Tell = Callable[[int, int, dict], Any]
Callbacks = Callable[[FedPictures], Sequence[keras.callbacks.Callback]]


def train_tasks(
    parts: Mapping[str, Collection],
    schema: Schema,
    out: Path,
    settings: Settings,
    *,
    title: str = "",
    callbacks: Callbacks = lambda data: (),
    tell: Tell = lambda done, total, logs: None,
) -> dict[str, Any]:
    """Trains a model on the tasks of a schema, and evaluates it on pictures that chose nothing.

    Args:
        parts: "train"; "val", which chooses the epoch; and "test", used once, at the end.
        schema: what to predict; classes that it leaves open are taken from "train".
        out: folder for the files; a call on the same folder goes on where one was interrupted.
        settings: how.
        title: of the report.
        callbacks: gives more Keras callbacks for each stage; gets the training batches.
        tell: progress, see `callbacks.Progress`.

    Returns:
        The content of `result.json`: the best epoch, the parameters, seconds, and the figures of
        every task on the test pictures. Beside it in `out`: `model.keras` (RGB pixels of 0-255 to
        a dict by task), `schema.yaml`, `settings.json`, `split.csv`, `rejected.csv`, `history.csv`
        and what `write_evaluation` writes.

    Raises:
        DataError: the parts do not fit the schema, or the folder holds another run.
        ValueError: settings that do not fit together, or training diverged.
        WeightsError: the weights cannot be had.
    """
    schema = _fitted(schema, parts)
    _claim(out, schema, parts, settings, title)
    if (out / "result.json").exists():
        return json.loads((out / "result.json").read_text())
    keras.utils.set_random_seed(settings.seed)
    model = build_task_model(schema, settings)
    trainer = _Trainer(model, settings)
    data = _feed_all(parts, schema, settings)
    train, val = (trainer.batches(data[part], out / "features") for part in ("train", "val"))
    history = fit_stages(
        trainer.training,
        train,
        val,
        out,
        settings.recipe,
        freeze=trainer.freeze,
        compile_model=trainer.compile,
        callbacks=lambda: callbacks(train),
        tell=tell,
    )
    figures = write_evaluation(out, evaluate_tasks(trainer.fed, data["test"], schema))
    unreadable = [(name, each) for name, part in parts.items() for each in part.rejected]
    unreadable += [(name, each) for name, fed in data.items() for each in fed.rejected]
    rejected = write_rejected(out, unreadable)
    train_all(model)
    write_atomically(out / "model.keras", model.save)
    best = settings.recipe.best(history)
    result = {
        "title": title,
        "schema": schema.name,
        "network": settings.network,
        "best_epoch": int(best["epoch"]) + 1,
        "epochs": len(history),
        settings.recipe.monitor: best[settings.recipe.monitor],
        "parameters": model.count_params(),
        "training_seconds": sum(row["seconds"] for row in history),
        "rejected": rejected,
        "test": figures,
    }
    write_json(out / "result.json", result)
    for name in ("state.npz", "best.npz"):
        (out / name).unlink(missing_ok=True)
    for pictures in data.values():
        pictures.forget()
    return result


def _fitted(schema: Schema, parts: Mapping[str, Collection]) -> Schema:
    """The schema with the classes of "train", which every part must fit."""
    for name in ("train", "val", "test"):
        if not len(parts.get(name, ())):
            raise DataError(f"there must be a picture in part {name}. Received: none")
    schema = schema.fitted(parts["train"])
    for part in ("val", "test"):
        schema.fitted(parts[part])
    return schema


def _claim(
    out: Path, schema: Schema, parts: Mapping[str, Collection], settings: Settings, title: str
) -> None:
    """Makes the folder that of this run; raises if it holds another one."""
    out.mkdir(parents=True, exist_ok=True)
    described = {"title": title, **asdict(settings), "schema": dump_schema(schema)}
    begun = any((out / name).exists() for name in ("history.csv", "result.json"))
    claim_folder(out, described, parts, begun=begun)
    write_text(out / "schema.yaml", described["schema"])


def build_task_model(schema: Schema, settings: Settings) -> keras.Model:
    """The model of a run: RGB pixels of 0-255, of any size, to a dict of outputs by task."""
    spec = get_spec(settings.network)
    weights = None if settings.weights == "random" else settings.weights
    base = build_classifier(spec, weights=weights, include_preprocessing=True)
    return task_model(
        base,
        schema,
        settings.head,
        levels=None if settings.head == "pooled" else spec.levels,
        drop_top=settings.drop_top,
        pooling=settings.pooling,
        dropout=settings.dropout,
        learned_weights=settings.learned_weights,
        feeding=(settings.feeder, settings.fed_size),
        name=f"{spec.name}_{schema.name}",
    )


def feed(
    part: Collection, schema: Schema, settings: Settings, *, train: bool = False
) -> FedPictures:
    """The pictures of one part, as the run feeds them; those that are broken are skipped."""
    weights = None
    if train and settings.class_weights:
        weights = {
            task.name: class_weights(part, task)
            for task in schema.tasks
            if isinstance(task, ClassTask)
        }
    return FedPictures(
        part,
        settings.feeder,
        settings.fed_size,
        batch=settings.batch,
        targets=list(schema.names),
        weights=weights,
        skip_broken=True,
        shuffle=train,
        flip=train and settings.cache and settings.flip,  # else the model does that
        seed=settings.seed,
    )


def _feed_all(
    parts: Mapping[str, Collection], schema: Schema, settings: Settings
) -> dict[str, FedPictures]:
    """The pictures of every part, whose targets must be what the tasks predict."""
    data = {
        name: feed(part, schema, settings, train=name == "train") for name, part in parts.items()
    }
    for each in data.values():
        check_kinds(each, schema)
    return data


def class_weights(part: Collection, task: ClassTask) -> np.ndarray:
    """(records,) weights with which every class counts the same; 1 where it is not known."""
    encoded = encode_target(part, task.name)
    found = np.ones(len(part))
    found[encoded.known] = balanced_weights(encoded.values[encoded.known], len(task.names))
    return found


def find_rate(parts: Mapping[str, Collection], schema: Schema, settings: Settings) -> LearningRates:
    """How the loss of the first stage answers to the learning rate, see `find_learning_rate`."""
    keras.utils.set_random_seed(settings.seed)
    schema = schema.fitted(parts["train"])
    trainer = _Trainer(build_task_model(schema, settings), settings)
    stage = settings.recipe.stages[0]
    trainer.freeze(stage)
    trainer.compile(settings.recipe.make_optimizer(stage.learning_rate))
    return find_learning_rate(trainer.training, feed(parts["train"], schema, settings, train=True))


class _Trainer:
    """What a run trains: the model behind its feeder and its augmentation, or the head alone.

    Attributes:
        fed: takes the batches of `feed`.
        training: what is trained; it shares the layers of `fed`.
    """

    def __init__(self, model: keras.Model, settings: Settings) -> None:
        self.model, self.settings = model, settings
        self.features, self.head = split_model(model)
        self.fed = fed_task_model(model, settings.feeder)
        if settings.cache:
            self.training = self.head
        else:
            changes = Augmentation(settings.flip, settings.crop, seed=settings.seed)
            self.training = augmented(self.fed, changes)

    def batches(self, data: FedPictures, folder: Path) -> FedPictures:
        """What the training takes of these pictures."""
        if not self.settings.cache:
            return data
        features, _ = split_model(self.fed)
        return cached_features(features, data, folder)

    def freeze(self, stage: Stage) -> None:
        train_all(self.model)
        if self.settings.head == "mlsp" or stage.frozen == "base":
            for layer in self.features.layers:
                layer.trainable = False
            return
        freeze_blocks(
            self.features,
            get_spec(self.settings.network).blocks,
            int(stage.frozen),
            normalization=self.settings.weights != "random",  # of new weights they must be learned
        )

    def compile(self, optimizer: keras.optimizers.Optimizer) -> None:
        self.training.compile(
            optimizer=optimizer, **compile_arguments(self.fed), jit_compile=jit_compile_mode()
        )
