"""`export_model`: writes a model for another runtime and proves there that it is the same."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import keras

from fcnkeras.convert.certificate import HALF_TOLERANCE, TOLERANCE
from fcnkeras.export.check import (
    Size,
    call_model,
    default_sizes,
    is_half,
    largest_difference,
    least_size,
    make_inputs,
    output_names,
    variation,
)
from fcnkeras.export.formats import Format, get_format


class ExportError(ValueError):
    """A model cannot be exported, or the exported file differs from it."""


@dataclass(frozen=True)
class ExportReport:
    """What was written, and how far it is from Keras.

    Attributes:
        format: its name.
        path: of the file or folder.
        bytes: its size, with the weights.
        seconds: that writing it took, without the comparison.
        differences: ((height, width), largest relative difference) for every size compared; empty
            with `verify=False`.
        tolerance: the largest difference allowed.
        variation: how much the answers to two unlike pictures differ. Near 0, as for a network with
            random weights or one whose answers are all saturated, the comparison proves little.
    """

    format: str
    path: str
    bytes: int
    seconds: float
    differences: tuple[tuple[Size, float], ...]
    tolerance: float
    variation: float

    @property
    def worst(self) -> float | None:
        """The largest relative difference of all sizes; None if nothing was compared."""
        return max((difference for _, difference in self.differences), default=None)

    def __str__(self) -> str:
        lines = [
            f"{self.format}: {self.path}, {self.bytes / 1e6:.1f} MB, {self.seconds:.1f} s to write"
        ]
        if self.worst is None:
            return f"{lines[0]}, not compared with Keras"
        lines.append(
            f"compared with Keras: largest relative difference {self.worst:.1e} "
            f"(allowed {self.tolerance:.0e})"
        )
        lines += [f"  {h}x{w}: {difference:.1e}" for (h, w), difference in self.differences]
        if self.variation < 10 * self.tolerance:
            lines.append(
                f"The answers to unlike pictures differ by {self.variation:.1e} only, so that this "
                "comparison proves little."
            )
        return "\n".join(lines)


def export_model(
    model: keras.Model,
    path: str | PathLike,
    format: str | None = None,
    *,
    sizes: Sequence[Size] | None = None,
    verify: bool = True,
) -> ExportReport:
    """Writes a fully convolutional model for another runtime, with free batch, height and width.

    The file is run by its own runtime (TensorFlow, ONNX Runtime, OpenVINO, the LiteRT interpreter,
    Keras) at three sizes and compared with `model`; one that differs is not left behind. What was
    at `path` is replaced at the end, or stays if something fails.

    Args:
        model: a model whose pictures have free height and width, such as `to_fcn` returns; also
            with a skip connection, several outputs, a mask, or several crops.
        path: of the file to write: `.keras`, `.onnx`, `.xml` (OpenVINO, with a `.bin` beside it),
            `.tflite` (LiteRT), or a folder without ending (TensorFlow's SavedModel).
        format: "keras", "savedmodel", "onnx", "openvino" or "litert"; by default what the ending
            of `path` says. All but "keras" need Keras' TensorFlow backend, and the last three the
            packages of `pip install "fcnkeras[export]"`.
        sizes: (height, width) in pixels at which to compare. Default: the native size, a square of
            1.5 times that, and one that is not square.
        verify: compares with Keras.

    Returns:
        An `ExportReport`; `print` shows it. In the file the inputs have the names and the pixel
        range of the model's ("picture", "mask"), float32 (batch, height, width, channels), and the
        outputs those of a dict of outputs, as task models have, else `output_0`, `output_1` and so
        on, (batch, classes) in the model's order.

    Raises:
        ExportError: the model cannot be expressed in the format, or the file differs.
        ValueError: an argument is wrong, or the model takes pictures of one size only.
        ImportError: the format needs a package that is not installed.
        TypeError: `model` is not a Keras model.

    Example:
        >>> fcn = to_fcn(keras.applications.MobileNetV2())
        >>> print(export_model(fcn, "mobilenet.onnx"))
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"A Keras model is needed. Received: {type(model).__name__}")
    target = Path(path)
    form = get_format(target, format)
    backend = keras.backend.backend()
    if form.name != "keras" and backend != "tensorflow":
        raise ExportError(
            f"{form.title} is written on Keras' TensorFlow backend, this is {backend}: save the "
            "model as .keras, and export it from there with KERAS_BACKEND=tensorflow."
        )
    if not has_free_size(model):
        shapes = [tensor.shape for tensor in getattr(model, "inputs", None) or []]
        raise ValueError(
            f"A model of free height and width is needed: make {model.name} fully convolutional "
            f"with `to_fcn`. Received input shapes: {shapes}"
        )
    chosen = default_sizes(model) if sizes is None else _checked(model, sizes)
    _check_target(target, form)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.stem}_") as folder:
        made = Path(folder) / target.name
        start = time.perf_counter()
        _write(form, model, made)
        seconds = time.perf_counter() - start
        tolerance = HALF_TOLERANCE if is_half(model) else TOLERANCE
        differences, varied = _compare(form, model, made, chosen, tolerance) if verify else ((), 0)
        size = sum(part.stat().st_size for part in _parts(made) for part in _files(part))
        _put_in_place(made, target, Path(folder))
    return ExportReport(form.name, str(target), size, seconds, differences, tolerance, varied)


def has_free_size(model: keras.Model) -> bool:
    """Whether every input of a model has a free batch, height and width."""
    inputs = getattr(model, "inputs", None) or []
    return bool(inputs) and all(list(tensor.shape).count(None) >= 3 for tensor in inputs)


def _checked(model: keras.Model, sizes: Sequence[Size]) -> tuple[Size, ...]:
    chosen = tuple((int(height), int(width)) for height, width in sizes)
    least = least_size(model)
    if not chosen or any(h < least[0] or w < least[1] for h, w in chosen):
        raise ValueError(
            f"`sizes` must be (height, width) pairs of at least {least[0]}x{least[1]} pixels for "
            f"{model.name}. Received: {list(sizes)}"
        )
    return chosen


def _check_target(target: Path, form: Format) -> None:
    """Raises before the work begins if the result could not be put in its place."""
    if target.is_dir() and form.ending:
        raise ValueError(f"A file is to be written, and this is a folder: {target}")
    if target.is_file() and not form.ending:
        raise ValueError(f"A folder is to be written, and this is a file: {target}")
    if target.is_dir() and any(target.iterdir()) and not (target / "saved_model.pb").is_file():
        raise ValueError(f"The folder holds something other than a SavedModel: {target}")


def _write(form: Format, model: keras.Model, made: Path) -> None:
    try:
        form.write(model, made)
    # The converters have exceptions of their own, of no common kind.
    except Exception as error:
        raise _failed(model, f"{form.title} cannot hold {model.name}: {_reason(error)}") from error


def _compare(
    form: Format, model: keras.Model, made: Path, sizes: Sequence[Size], tolerance: float
) -> tuple[tuple[tuple[Size, float], ...], float]:
    """The difference at every size, and how much the answers vary."""
    differences, varied = [], 0.0
    try:
        run = form.open(made, output_names(model))
    except Exception as error:  # of every runtime's own kind, as above
        text = f"{form.title} cannot open what was made of {model.name}: {_reason(error)}"
        raise _failed(model, text) from error
    for number, size in enumerate(sizes):
        arrays = make_inputs(model, size, batch=2 + number % 2)
        expected = call_model(model, arrays)
        where = f"{form.title} at {size[0]}x{size[1]} pixels"
        try:
            values = run(arrays)
        except Exception as error:  # as above
            text = f"{where} cannot run {model.name}: {_reason(error)}"
            raise _failed(model, text) from error
        difference = largest_difference(values, expected)
        if not difference <= tolerance:
            raise _failed(
                model,
                f"{where} answers otherwise than Keras, by {difference:.2g} of the largest value "
                f"(at most {tolerance:g} is rounding): {model.name} was not written",
            )
        differences.append((size, difference))
        varied = max(varied, variation(expected))
    return tuple(differences), varied


def _failed(model: keras.Model, text: str) -> ExportError:
    if is_half(model):
        text += " (it computes in half precision, which not every format can: build it in float32)"
    return ExportError(text)


def _reason(error: Exception) -> str:
    """The line of a message that says what is the matter, without colours and places in a graph."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip() or "no reason given"
    lines = text.splitlines()
    line = lines[-1] if lines[0].startswith("in user code") else lines[0]
    line = re.sub(r"loc\(.*\): ", "", line)
    return f"{type(error).__name__}: {line.strip()[:300]}"


def _parts(made: Path) -> list[Path]:
    """What belongs to a format, the file that refers to the others last."""
    return [part for part in (made.with_suffix(".bin"), made) if part.exists()]


def _files(part: Path) -> list[Path]:
    return [path for path in part.rglob("*") if path.is_file()] if part.is_dir() else [part]


def _put_in_place(made: Path, target: Path, folder: Path) -> None:
    for part in _parts(made):
        place = target.with_name(part.name)
        if place.is_dir():  # a folder cannot be replaced in one step
            place.rename(folder / "before")
        part.replace(place)
