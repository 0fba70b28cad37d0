"""The OpenVINO form of a model: made once, checked against Keras, kept beside the model's file."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

import keras

from fcnkeras.export.check import (
    Size,
    call_model,
    largest_difference,
    make_inputs,
    output_names,
)
from fcnkeras.export.formats import get_format

TOLERANCE = 1e-4
FILE = "model.xml"


class EngineError(ValueError):
    """A model cannot be run by an engine."""


def converted(model: keras.Model, key: str, size: Size, beside: Path) -> Path:
    """The OpenVINO file of a model that is kept in a file; made if it is not there.

    It lies in a folder beside the model's file, `<name>.openvino-<key>`; where that cannot be
    written, in the user's cache (`$XDG_CACHE_HOME/fcnkeras`, `~/.cache/fcnkeras`). A folder of
    another key beside the same file is of a model that is no longer there, and is removed.

    Args:
        model: what the batches go into.
        key: stands for the model and all that it was made of, in letters that a file name may have.
        size: (height, width) in pixels at which it is compared with Keras.
        beside: the model's file.

    Raises:
        EngineError: see `convert`; or there is no place to keep it.
    """
    _check_installed()
    places = [beside.with_name(f"{beside.name}.openvino-{key}"), _cache() / f"openvino-{key}"]
    for place in places:
        if (place / FILE).is_file():
            return place / FILE
    for place in places:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name}-"))
        except OSError:
            continue
        try:
            convert(model, folder / FILE, size)
            _put(folder, place)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if place.parent == beside.parent:
            _remove_others(beside, place)
        return place / FILE
    raise EngineError(f"there is no folder to keep the converted model in: {places[-1].parent}")


def _check_installed() -> None:
    if importlib.util.find_spec("openvino") is None:
        raise EngineError('OpenVINO is not installed (pip install "fcnkeras[score]")')


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "fcnkeras"


def convert(model: keras.Model, path: Path, size: Size) -> None:
    """Writes a model for OpenVINO, and compares it with Keras.

    Args:
        model: what the batches go into.
        path: of the `.xml` file.
        size: (height, width) in pixels at which it is compared.

    Raises:
        EngineError: OpenVINO is not installed, cannot hold the model, or answers otherwise than
            Keras by more than `TOLERANCE` of the largest value.
    """
    _check_installed()
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise EngineError(f"a model is converted on Keras' TensorFlow backend, this is {backend}")
    form = get_format(path, "openvino")
    # In a list outputs are named by their number, in a dict by what they are.
    model = keras.Model(model.input, list(model.outputs), name=model.name)
    try:
        form.write(model, path)
        run = form.open(path, output_names(model))
        arrays = make_inputs(model, size, batch=2)
        values, expected = run(arrays), call_model(model, arrays)
    except OSError as error:  # of the disk
        raise EngineError(f"the converted model cannot be written ({error})") from error
    # The converters have exceptions of their own, of no common kind.
    except Exception as error:
        line = (str(error).strip() or "no reason given").splitlines()[0][:200]
        raise EngineError(f"OpenVINO cannot hold '{model.name}' ({line})") from error
    difference = largest_difference(values, expected)
    if not difference <= TOLERANCE:
        raise EngineError(
            f"OpenVINO answers otherwise than Keras, by {difference:.2g} of the largest value (at "
            f"most {TOLERANCE:g} is rounding)"
        )
    shutil.rmtree(path.with_suffix(".savedmodel"), ignore_errors=True)


def _put(folder: Path, place: Path) -> None:
    """Renames the finished folder; if another process was quicker, theirs is as good."""
    folder.chmod(0o755)
    try:
        folder.rename(place)
    except OSError:
        if not (place / FILE).is_file():
            raise


def _remove_others(beside: Path, place: Path) -> None:
    for other in beside.parent.iterdir():
        if other.name.startswith(f"{beside.name}.openvino-") and other != place:
            shutil.rmtree(other, ignore_errors=True)
