"""What is explained: one number that a network says of a picture.

| target | number |
|---|---|
| a class | its score before the softmax or sigmoid |
| an attribute | the score of an output with one unit, before its tanh or sigmoid |
| the mean of a distribution | the expected value under its shares |
| a hue | how near the answer is to that hue |
| a function | whatever it makes of the outputs |
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from keras import ops

from fcnkeras.explain.network import Outputs


@dataclass(frozen=True)
class Target:
    """One number for each picture.

    Attributes:
        name: for captions.
        score: from `Outputs` to (n,).
        place: the output and the unit of its scores that `score` is, if it is one of them.
        key: what tells it from other targets of the same network.
    """

    name: str
    score: Callable[[Outputs], Any]
    place: tuple[int, int] | None = None
    key: Any = field(default_factory=object)


Names = Mapping[str, Sequence[str]]
"""The names of classes by the name of the output."""


def unit(
    outputs: Outputs, index: int, output: str | None = None, names: Names | None = None
) -> Target:
    """The score of a class or an attribute.

    Args:
        outputs: of the network, for any pictures: tells which outputs there are.
        index: of the class.
        output: the name of the output, if there are several.
        names: of the classes.

    Raises:
        ValueError: no such output or class.
    """
    number = outputs.index(output)
    units = _units(outputs, number)
    if not 0 <= index < units:
        raise ValueError(
            f"A class of output '{outputs.names[number]}' must be from 0 to {units - 1}. "
            f"Received: {index}"
        )
    name = class_name(outputs, number, index, names or {})
    return Target(name, lambda found: found.scores[number][:, index], (number, index))


def top(outputs: Outputs, output: str | None = None, names: Names | None = None) -> Target:
    """The class, or the hue, that the network finds in a picture, the first of those given.

    Without a name the first output counts.
    """
    number = outputs.index(output or outputs.names[0])
    _units(outputs, number)
    if number in outputs.hues:
        cosine, sine = (float(x) for x in ops.convert_to_numpy(outputs.values[number])[0, :2])
        degrees = round(math.degrees(math.atan2(sine, cosine)) % 360)
        return hue(outputs, degrees, outputs.names[number])
    scores = ops.convert_to_numpy(outputs.scores[number])
    return unit(outputs, int(scores[0].argmax()), outputs.names[number], names)


def distribution_mean(
    outputs: Outputs, output: str | None = None, values: Sequence[float] | None = None
) -> Target:
    """The mean of a distribution whose shares the network tells.

    Args:
        outputs: see `unit`.
        output: the name of the output, if there are several.
        values: of the bins; by default 1, 2, 3 and so on, as of marks.

    Raises:
        ValueError: no such output, or not as many values as bins.
    """
    number = outputs.index(output)
    bins = _units(outputs, number)
    given = np.arange(1, bins + 1) if values is None else np.asarray(values)
    if bins < 2 or given.shape != (bins,):
        raise ValueError(
            f"A distribution must have two bins and more, and a value for each. Received: {bins} "
            f"bins and values of shape {given.shape}"
        )
    marks = given.astype("float32")
    return Target(
        f"mean of {outputs.names[number]}",
        lambda found: ops.sum(ops.multiply(found.values[number], marks), axis=-1),
        key=("mean", number, tuple(marks)),
    )


def hue(outputs: Outputs, degrees: float, output: str | None = None) -> Target:
    """How near the answer is to a hue.

    Of a task of hues, how far the answer reaches towards it before it is brought to length 1; of
    other outputs the cosine of the angle between them, which does not tell how strong the answer
    is, and whose gradient is zero for the very hue that was found.

    Args:
        outputs: see `unit`.
        degrees: the hue's angle on the wheel.
        output: the name of the output, if there are several: its first two units are the cosine
            and sine of the answer's angle.

    Raises:
        ValueError: no such output, or it has less than two units.
    """
    number = outputs.index(output)
    if _units(outputs, number) < 2:
        raise ValueError(
            f"A hue needs an output of cosine and sine. Received: '{outputs.names[number]}'"
        )
    point = np.array([math.cos(math.radians(degrees)), math.sin(math.radians(degrees))], "float32")

    def score(found: Outputs) -> Any:
        if number in outputs.hues:
            return ops.matmul(found.scores[number][:, :2], point)
        answer = found.values[number][:, :2]
        length = ops.sqrt(ops.sum(ops.square(answer), axis=-1) + 1e-12)
        return ops.sum(ops.multiply(answer, point), axis=-1) / length

    return Target(f"{outputs.names[number]} near {degrees:g}°", score, key=("hue", number, degrees))


def from_function(function: Callable[..., Any], name: str | None = None) -> Target:
    """A function of the outputs.

    Args:
        function: of the outputs, (n, units) each, after their activations, as tensors of
            `keras.ops`: of the only one, or of a dict by name; to (n,).
        name: for captions.
    """

    def score(found: Outputs) -> Any:
        single = len(found.names) == 1
        given = found.values[0] if single else dict(zip(found.names, found.values, strict=True))
        return ops.reshape(ops.cast(function(given), "float32"), (-1,))

    return Target(
        name or str(getattr(function, "__name__", "a function")), score, key=("function", function)
    )


def resolve(
    wanted: Target | str | int | Callable[..., Any], outputs: Outputs, names: Names | None = None
) -> Target:
    """Turns what a user writes into a target.

    Args:
        wanted: a `Target`, a function (see `from_function`), the index of a class, or a text:
            "top" (the class of the highest score), the name or the index of a class, the name of
            an output with one unit, "mean" (of a distribution), "hue=30" (in degrees); with
            several outputs behind the name of one, as in "style:top" or "style:baroque".
        outputs: what the network says of the picture.
        names: of the classes.

    Raises:
        ValueError: the text is none of these.
    """
    if isinstance(wanted, Target):
        return wanted
    if callable(wanted):
        return from_function(wanted)
    if isinstance(wanted, int):
        return unit(outputs, wanted, names=names)
    output, behind = None, wanted
    if wanted in outputs.names:
        output, behind = wanted, "top"
    elif ":" in wanted and wanted.split(":", 1)[0] in outputs.names:
        output, behind = wanted.split(":", 1)
    if behind == "top":
        return top(outputs, output, names)
    if behind == "mean":
        return distribution_mean(outputs, output)
    if match := re.fullmatch(r"hue=(-?\d+(?:\.\d+)?)", behind):
        return hue(outputs, float(match[1]), output)
    if behind.isdecimal():
        return unit(outputs, int(behind), output, names)
    return _named(behind, wanted, output, outputs, names or {})


def _named(text: str, wanted: str, output: str | None, outputs: Outputs, names: Names) -> Target:
    searched = outputs.names if output is None else (output,)
    for name in searched:
        known = [each.casefold() for each in names.get(name, ())]
        if text.casefold() in known:
            return unit(outputs, known.index(text.casefold()), name, names)
    raise ValueError(
        "A target must be top, mean, hue=DEGREES, the index or name of a class, or one of these "
        f"behind the name of an output ({', '.join(outputs.names)}). Received: {wanted!r}"
    )


def class_name(outputs: Outputs, number: int, index: int, names: Names) -> str:
    """A class in words; of several outputs behind the output's name."""
    output = outputs.names[number]
    units = int(outputs.scores[number].shape[-1])
    known = names.get(output, ())
    if units == 1 and not known:
        return output
    text = known[index] if index < len(known) else f"class {index}"
    return text if len(outputs.names) == 1 else f"{output}: {text}"


def _units(outputs: Outputs, number: int) -> int:
    shape = outputs.scores[number].shape
    if len(shape) != 2:
        raise ValueError(
            "A target needs an output of shape (pictures, units); a map must be pooled first "
            f"(`to_fcn(..., pooling='max')`). Output '{outputs.names[number]}' has {tuple(shape)}"
        )
    return int(shape[1])
