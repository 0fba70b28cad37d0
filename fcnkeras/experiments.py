"""The nine experiments of the older system, and a tenth: one network, fed in ten ways.

What happens to a picture: class folder -> record -> feeder -> batch -> network -> probabilities.
What happens to an experiment: a row of the table below -> a model -> `finetune` -> predictions on
the test pictures, once -> a row of `results.csv`. Each leaves a folder with everything behind that
row, and is not run again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras

from fcnkeras.batching import FedPictures, picture_errors
from fcnkeras.convert import to_fcn
from fcnkeras.data.records import Collection, DataError
from fcnkeras.data.sources import claim_folder
from fcnkeras.files import write_atomically, write_csv, write_json
from fcnkeras.models.classifier import build_classifier
from fcnkeras.models.fed import fed_model
from fcnkeras.models.skip import add_skip_connection
from fcnkeras.models.specs import get_spec
from fcnkeras.tasks.metrics import wilson_interval
from fcnkeras.training.answers import predict_timed, write_maps, write_predictions
from fcnkeras.training.finetune import finetune
from fcnkeras.training.freezing import freeze_blocks


@dataclass(frozen=True)
class Experiment:
    """One row of the table of experiments.

    Attributes:
        number: 1 to 10.
        title: in words.
        fcn: whether the network is made fully convolutional.
        feeder: how pictures are fed.
        scale: the fed size, as a multiple of the network's own.
        skip: whether a skip connection is added.
    """

    number: int
    title: str
    fcn: bool
    feeder: str
    scale: float
    skip: bool = False


EXPERIMENTS = {
    experiment.number: experiment
    for experiment in (
        Experiment(1, "original network", False, "squash", 1.0),
        Experiment(2, "fully convolutional", True, "squash", 1.0),
        Experiment(3, "fully convolutional, 1.5x", True, "squash", 1.5),
        Experiment(4, "fully convolutional, 2x", True, "squash", 2.0),
        Experiment(5, "fully convolutional, 3x", True, "squash", 3.0),
        Experiment(6, "crop", True, "crop", 1.5),
        Experiment(7, "pad", True, "pad", 1.5),
        Experiment(8, "multi-crop", True, "multicrop", 1.5),
        Experiment(9, "multi-crop and skip", True, "multicrop", 1.5, skip=True),
        Experiment(10, "native aspect", True, "native", 1.5),
    )
}


@dataclass(frozen=True)
class Settings:
    """The parameters of a run; every experiment of it has the same.

    Attributes:
        network: a name of `fcnkeras.models.specs.SPECS`.
        weights: "imagenet", a path, or "random".
        pooling, pool_on, window: see `fcnkeras.to_fcn`.
        epochs: epochs in all; the best on validation is kept.
        batch: pictures in a batch.
        learning_rate: of the first epochs.
        min_learning_rate: its floor.
        frozen: blocks that are not trained, from the picture up; negative counts from the end.
        dropout: share dropped before the classifier while training.
        flip: whether training pictures are mirrored left to right at random.
        seed: of the new weights, the order and the flips.

    Raises:
        ValueError: a parameter is out of its range.
    """

    network: str = "MobileNetV2"
    weights: str = "imagenet"
    pooling: str = "max"
    pool_on: str = "logits"
    window: str = "native"
    epochs: int = 20
    batch: int = 8
    learning_rate: float = 0.001
    min_learning_rate: float = 0.0001
    frozen: int = 0
    dropout: float = 0.2
    flip: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        blocks = len(get_spec(self.network).blocks)
        for name, rule, holds in (
            ("pooling", "'max' or 'avg'", self.pooling in ("max", "avg")),
            ("pool_on", "'logits' or 'probabilities'", self.pool_on in ("logits", "probabilities")),
            ("window", "'native' or 'point'", self.window in ("native", "point")),
            ("epochs", "at least 1", self.epochs >= 1),
            ("batch", "at least 1", self.batch >= 1),
            ("learning_rate", "above 0", self.learning_rate > 0),
            ("min_learning_rate", "at least 0", self.min_learning_rate >= 0),
            ("frozen", f"from -{blocks} to {blocks}", -blocks <= self.frozen <= blocks),
            ("frozen", "0 with random weights", self.weights != "random" or self.frozen == 0),
            ("dropout", "in [0, 1)", 0 <= self.dropout < 1),
            ("seed", "at least 0", self.seed >= 0),
        ):
            if not holds:
                raise ValueError(f"`{name}` must be {rule}. Received: {getattr(self, name)!r}")


# For the generated pictures: a small network with starting weights of the project's own.
DEMO = Settings(
    network="SmallVGG",
    weights="generated",
    epochs=5,
    batch=16,
    learning_rate=0.002,
    min_learning_rate=0.0002,
    frozen=2,
    dropout=0.0,
)

# fmt: off
RESULT_COLUMNS = (
    "experiment", "title", "network", "fcn", "feeder", "size", "skip", "accuracy", "accuracy_low",
    "accuracy_high", "n_test", "best_epoch", "epochs", "val_accuracy", "val_loss", "parameters",
    "seconds_per_picture", "training_seconds",
)
# fmt: on
SHOWN = 4  # test pictures of which every experiment keeps its class maps for the report


class Listener:
    """Hears how a run goes; the command line's prints and draws bars."""

    def begin(self, experiment: Experiment) -> None:
        """An experiment starts."""

    def progress(self, done: int, total: int, logs: dict) -> None:
        """So many training batches are done; `logs` has the figures at the end of an epoch."""

    def end(self, experiment: Experiment, row: Mapping[str, Any], *, ran: bool) -> None:
        """An experiment is finished, now or by an earlier run."""


def run_experiments(
    parts: Mapping[str, Collection],
    out: str | Path,
    settings: Settings | None = None,
    *,
    numbers: Iterable[int] = tuple(EXPERIMENTS),
    title: str = "Experiments",
    listener: Listener | None = None,
) -> list[dict[str, Any]]:
    """Runs experiments and leaves their results in a folder.

    Args:
        parts: the collections "train", "val" and "test", with the same classes. Validation chooses
            the epoch; the test pictures are used once, at the end of each experiment.
        out: the folder of results; made if missing. A finished experiment in it is not run again,
            an interrupted one goes on after its last epoch.
        settings: the parameters, the same for all experiments.
        numbers: which experiments, keys of `EXPERIMENTS`.
        title: heads the report.
        listener: hears how it goes.

    Returns:
        The rows of `results.csv`, with numbers as numbers.

    Raises:
        ValueError: an unknown experiment, or settings that are out of range.
        DataError: the parts do not fit together, or the folder holds a run with other settings or
            on other pictures.
        ImageError: a picture cannot be read any more.
        WeightsError: the weights cannot be had.
        OSError: the folder cannot be written.
    """
    settings, listener, out = settings or Settings(), listener or Listener(), Path(out)
    chosen = [get_experiment(number) for number in dict.fromkeys(numbers)]
    classes = _check_parts(parts)
    out.mkdir(parents=True, exist_ok=True)
    _claim(out, settings, parts, title)
    rows = [{"file": str(r.path), "reason": r.reason} for p in parts.values() for r in p.rejected]
    write_csv(out / "rejected.csv", rows, ("file", "reason"))
    for experiment in chosen:
        folder = out / f"experiment_{experiment.number:02}"
        done = (folder / "result.json").exists()
        listener.begin(experiment)
        if not done:
            _run(experiment, parts, classes, folder, settings, listener)
        row = json.loads((folder / "result.json").read_text())
        collect_results(out)
        listener.end(experiment, row, ran=not done)
    return collect_results(out)


def collect_results(out: Path) -> list[dict[str, Any]]:
    """Writes `results.csv` from the experiments that are finished, and returns its rows."""
    files = sorted(out.glob("experiment_[0-9][0-9]/result.json"))
    rows = [json.loads(file.read_text()) for file in files]
    lines = [
        {k: str(v).lower() if isinstance(v, bool) else v for k, v in row.items()} for row in rows
    ]
    write_csv(out / "results.csv", lines, RESULT_COLUMNS)
    return rows


def get_experiment(number: int) -> Experiment:
    """The experiment of this number; raises `ValueError` for an unknown one."""
    if number not in EXPERIMENTS:
        raise ValueError(f"Experiments are numbered 1 to {len(EXPERIMENTS)}. Received: {number}")
    return EXPERIMENTS[number]


def _check_parts(parts: Mapping[str, Collection]) -> tuple[str, ...]:
    if set(parts) != {"train", "val", "test"}:
        raise DataError(f"Parts 'train', 'val' and 'test' are needed. Received: {sorted(parts)}")
    classes = parts["train"].classes
    for name, part in parts.items():
        if part.classes != classes:
            raise DataError(f"The classes of '{name}' are not those of 'train': {part.classes}")
        if not len(part):
            raise DataError(f"There is no picture in '{name}'.")
    return classes


def _claim(out: Path, settings: Settings, parts: Mapping[str, Collection], title: str) -> None:
    """Writes settings and split of a new run, or checks that the run begun here has the same."""
    classes = list(parts["train"].classes)
    described = {
        "title": title,
        **asdict(settings),
        "native_size": get_spec(settings.network).native,
        "classes": classes,
        **{f"n_{name}": len(parts[name]) for name in ("train", "val", "test")},
    }
    claim_folder(out, described, parts, begun=any(out.glob("experiment_*/history.csv")))


def build_model(experiment: Experiment, settings: Settings, classes: int) -> keras.Model:
    """The model of one experiment: RGB pixels of 0-255 to (batch, classes) probabilities."""
    spec = get_spec(settings.network)
    weights = None if settings.weights == "random" else settings.weights
    model = build_classifier(
        spec, weights=weights, classes=classes, dropout=settings.dropout, include_preprocessing=True
    )
    if experiment.fcn:
        model = to_fcn(
            model, pooling=settings.pooling, pool_on=settings.pool_on, window=settings.window
        )
    if experiment.skip:
        model = add_skip_connection(model, spec.skip)
    if weights is not None:
        freeze_blocks(model, spec.blocks, settings.frozen)
    return model


def _feed(
    experiment: Experiment, parts: Mapping[str, Collection], size: int, settings: Settings
) -> dict[str, FedPictures]:
    return {
        name: FedPictures(
            part,
            experiment.feeder,
            size,
            batch=settings.batch,
            shuffle=name == "train",
            flip=settings.flip and name == "train",
            seed=settings.seed,
            cache_bytes=0 if name == "test" else 1 << 30,  # the test pictures are timed
        )
        for name, part in parts.items()
    }


def _run(
    experiment: Experiment,
    parts: Mapping[str, Collection],
    classes: tuple[str, ...],
    folder: Path,
    settings: Settings,
    listener: Listener,
) -> None:
    keras.utils.set_random_seed(settings.seed)
    size = round(get_spec(settings.network).native * experiment.scale)
    model = build_model(experiment, settings, len(classes))
    fed = fed_model(model, experiment.feeder) if experiment.fcn else model
    data = _feed(experiment, parts, size, settings)
    history = finetune(
        fed,
        data["train"],
        data["val"],
        folder,
        epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        min_learning_rate=settings.min_learning_rate,
        tell=listener.progress,
    )
    with picture_errors(data["test"]):
        probabilities, seconds = predict_timed(fed, data["test"])
    correct, total = write_predictions(folder, parts["test"], probabilities), len(parts["test"])
    low, high = wilson_interval(correct, total)
    best = max(history, key=lambda row: row["val_accuracy"])  # the first of several
    if experiment.fcn:
        write_maps(folder, model, data["test"], probabilities, SHOWN)
    write_atomically(folder / "model.keras", model.save)
    row = {
        "experiment": experiment.number,
        "title": experiment.title,
        "network": settings.network,
        "fcn": experiment.fcn,
        "feeder": experiment.feeder,
        "size": size,
        "skip": experiment.skip,
        "accuracy": correct / total,
        "accuracy_low": low,
        "accuracy_high": high,
        "n_test": total,
        "best_epoch": int(best["epoch"]) + 1,
        "epochs": len(history),
        "val_accuracy": best["val_accuracy"],
        "val_loss": best["val_loss"],
        "parameters": model.count_params(),
        "seconds_per_picture": seconds / total,
        "training_seconds": sum(row["seconds"] for row in history),
    }
    write_json(folder / "result.json", row)
    for name in ("state.npz", "best.npz"):
        (folder / name).unlink(missing_ok=True)
    for pictures in data.values():
        pictures.forget()
    keras.utils.clear_session(free_memory=True)
