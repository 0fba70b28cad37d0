"""The learning-rate finder: a short training under a rising rate, which leaves no trace."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from fcnkeras.batching import FedPictures, picture_errors

# The loss has run away when it is above its least value by this many times the first that counts.
RUNAWAY = 3


@dataclass(frozen=True)
class LearningRates:
    """How the loss answered to a rising learning rate.

    Attributes:
        rates: the rate of each step, rising, (steps,) float64.
        losses: the smoothed loss before each step, (steps,) float64.
        suggestion: a tenth of the rate at which the smoothed loss is least; None where it never
            fell.
    """

    rates: np.ndarray
    losses: np.ndarray
    suggestion: float | None


def find_learning_rate(
    model: keras.Model,
    data: keras.utils.PyDataset,
    *,
    lowest: float = 1e-7,
    highest: float = 10.0,
    steps: int = 100,
    beta: float = 0.98,
) -> LearningRates:
    """Trains a few batches at learning rates that rise exponentially, and takes it all back.

    It ends early where the loss runs away. Afterwards the model has the weights, states of random
    numbers, metrics, optimizer and compiled functions that it had, also after an error. Only what
    Keras draws from PyTorch's own random numbers, as dropout does there, goes on from where it is.

    The suggestion is a tenth of the rate at which the smoothed loss is least: there the loss is
    about to rise, and a rate that does well for a few steps is too high for an epoch. The rate of
    steepest descent, which others suggest, depends on the noise of single batches.

    Args:
        model: built and compiled, as it would be trained; its optimizer's own rate does not
            matter.
        data: batches, of which item 0, 1, ... are taken, over again when there are fewer than
            `steps`. Its epoch does not change.
        lowest: rate of the first step.
        highest: rate of the last step.
        steps: the most steps.
        beta: how slowly the smoothed loss follows the loss, from 0 (at once) to below 1.

    Returns:
        The rates, the losses and the suggestion.

    Raises:
        ValueError: an argument is out of its range, the model is not built and compiled, or its
            first loss is not a number.
        ImageError: a picture cannot be read.

    Source: Smith, "Cyclical Learning Rates for Training Neural Networks", 2017; the smoothing and
    the end are those of Howard's fastai.

    Example:
        >>> model.compile("adam", "sparse_categorical_crossentropy")
        >>> found = find_learning_rate(model, FedPictures(paintings, "crop", 224, shuffle=True))
        >>> found.suggestion
        0.0012
    """
    _check(model, data, lowest, highest, steps, beta)
    rates = np.geomspace(lowest, highest, steps)
    losses: list[float] = []
    average = 0.0
    fed = (data,) if isinstance(data, FedPictures) else ()
    with _unchanged(model) as optimizer, picture_errors(*fed):
        for step, rate in enumerate(rates):
            optimizer.learning_rate = rate
            # The loss is that before the step.
            loss = model.train_on_batch(*data[step % len(data)], return_dict=True)["loss"]
            if not math.isfinite(loss):
                break
            average = beta * average + (1 - beta) * float(loss)
            losses.append(average / (1 - beta ** (step + 1)))
            if _runs_away(losses[_settled(steps) :]):
                break
    if not losses:
        raise ValueError("The loss is not a number before any training; no rate can be found.")
    suggestion = _suggestion(rates, losses, _settled(steps))
    return LearningRates(rates[: len(losses)], np.array(losses), suggestion)


def _settled(steps: int) -> int:
    """The first steps do not count: their smoothed loss is that of a few batches, which may be
    easy ones."""
    return steps // 10


def _runs_away(losses: list[float]) -> bool:
    if not losses:
        return False
    least = min(losses)
    return losses[-1] > least + RUNAWAY * max(abs(losses[0]), abs(least))


def _suggestion(rates: np.ndarray, losses: list[float], settled: int) -> float | None:
    if len(losses) <= settled:
        return None
    least = settled + int(np.argmin(losses[settled:]))
    return float(rates[least]) / 10 if least > settled else None


def _check(
    model: keras.Model,
    data: keras.utils.PyDataset,
    lowest: float,
    highest: float,
    steps: int,
    beta: float,
) -> None:
    if not (0 < lowest < highest and math.isfinite(highest)):
        raise ValueError(
            f"`lowest` must be above 0 and below `highest`. Received: {lowest} and {highest}"
        )
    if steps < 2:
        raise ValueError(f"`steps` must be at least 2. Received: {steps}")
    if not 0 <= beta < 1:
        raise ValueError(f"`beta` must be from 0 to below 1. Received: {beta}")
    if not (model.built and model.compiled):
        raise ValueError(f"A model that is built and compiled is needed. Received: '{model.name}'")
    if not len(data):
        raise ValueError("`data` must have a batch. Received: none")


@contextmanager
def _unchanged(model: keras.Model) -> Iterator[Any]:
    """Lends the model a new optimizer like its own, and takes back all that training changed."""
    own, function = model.optimizer, model.train_function
    optimizer = type(own).from_config(_with_number(own.get_config()))
    variables = {id(v): v for v in (*model.variables, *model.metrics_variables)}.values()
    values = [keras.ops.convert_to_numpy(variable).copy() for variable in variables]
    _lend(model, optimizer)
    model.train_function = None  # it would go on with the model's own optimizer
    try:
        yield optimizer
    finally:
        _lend(model, own)
        model.train_function = function
        model.reset_metrics()  # those that are new
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


def _lend(model: keras.Model, optimizer: Any) -> None:
    # Past the model's own setter, which would list the optimizer among what a checkpoint holds.
    object.__setattr__(model, "optimizer", optimizer)


def _with_number(config: dict[str, Any]) -> dict[str, Any]:
    """The settings of an optimizer, with a number in place of a schedule of learning rates."""
    if "inner_optimizer" in config:  # scales the loss for half precision
        inner = dict(config["inner_optimizer"])
        return {**config, "inner_optimizer": inner | {"config": _with_number(inner["config"])}}
    return {**config, "learning_rate": 1.0}
