"""Weights from `.npy` files that hold a dictionary {layer: [array, ...]}, such as
`bvlc_alexnet.npy`.

Such a file is a pickle, and a pickle may name any function and have it called. Here nothing is
unpickled: `pickletools.genops` splits the file into its opcodes, the few that a dictionary of
arrays needs are read as data, and any other, or any name that is not one of NumPy's few, ends the
reading. No function that the file names is ever looked up, let alone called. Restricting
`pickle.Unpickler` would not do: NumPy's own `dtype` takes flags from a pickle that let it read
object pointers out of raw bytes.
"""

from __future__ import annotations

import enum
import math
import mmap
import pickletools
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import keras
import numpy as np

MAX_BYTES = 2**30  # AlexNet's file has 244 MB
MAX_OPCODES = 100_000  # AlexNet's file has about 600

_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER = re.compile(r"\{'descr': '\|O[48]?', 'fortran_order': (True|False), 'shape': \(\), \}")


def read_npy_weights(path: str | PathLike) -> dict[str, list[np.ndarray]]:
    """Reads a `.npy` file of `{layer: [array, ...]}` without running anything that is in it.

    Args:
        path: the file, written by `numpy.save` under Python 2 or 3; at most 1 GiB.

    Returns:
        The arrays by layer: float16, float32 or float64 as in the file, read-only.

    Raises:
        ValueError: no such file, not a `.npy` file of such a dictionary, damaged, or one that asks
            for anything but NumPy arrays.

    Source: numpy.lib.format describes the header, and `pickletools` the opcodes.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"No such weights file: {path}")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(
            f"Weights files may have {MAX_BYTES} bytes. {path} has {path.stat().st_size}"
        )
    with path.open("rb") as file:
        _check_header(file, path)
        start = file.tell()
        # Mapped, a length that the file does not have is cut off before memory is set aside.
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as stream:
            stream.seek(start)
            try:
                return _layers(_ArrayPickle().read(stream))
            except _Refused as error:
                raise ValueError(f"{path} is refused: {error}") from error
            except (ValueError, IndexError, KeyError) as error:
                reason = str(error).strip().split("\n")[0][:120]
                raise ValueError(f"{path} is damaged or cut short ({reason})") from error


class _Refused(Exception):
    """The file asks for something that a dictionary of arrays does not need."""


def _check_header(file: Any, path: Path) -> None:
    """Reads up to the pickle, and raises where the file has none."""
    start = file.read(10)
    if len(start) < 10 or not start.startswith(_MAGIC):
        raise ValueError(f"{path} is not a .npy file: it begins with {start!r}")
    header = file.read(int.from_bytes(start[8:], "little")).decode("latin1").strip()
    if not _HEADER.fullmatch(header):
        raise ValueError(
            f"{path} must hold one dictionary of weights by layer. Its header is {header[:100]!r}"
        )


class _Name(enum.Enum):
    """What the allowed names of a pickle stand for. They are never looked up."""

    ARRAY = "ndarray"
    NEW_ARRAY = "_reconstruct"
    DTYPE = "dtype"
    ENCODE = "encode"


_NAMES = {
    ("numpy", "ndarray"): _Name.ARRAY,
    ("numpy", "dtype"): _Name.DTYPE,
    ("numpy.core.multiarray", "_reconstruct"): _Name.NEW_ARRAY,  # NumPy 1
    ("numpy._core.multiarray", "_reconstruct"): _Name.NEW_ARRAY,  # NumPy 2
    ("_codecs", "encode"): _Name.ENCODE,  # bytes, as Python 3 writes them for Python 2
}
_FLOATS = ("f2", "f4", "f8")
_OBJECTS = ("O", "O4", "O8")


@dataclass
class _Dtype:
    code: str
    order: str = "="


@dataclass
class _Array:
    """An array of the pickle: of floats, or the list of what an object array holds."""

    values: np.ndarray | list | None = None


class _ArrayPickle:
    """A reader of pickles of dictionaries, lists, strings, numbers and NumPy arrays."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.bytes_made = 0

    def read(self, stream: Any) -> Any:
        """What the pickle at the place of `stream` holds."""
        for count, (opcode, arg, _) in enumerate(pickletools.genops(stream)):
            if count >= MAX_OPCODES:
                raise _Refused(f"it has more than {MAX_OPCODES} pickle opcodes")
            if opcode.name in _LITERALS:
                self.stack.append(arg)
            elif opcode.name in _HANDLERS:
                _HANDLERS[opcode.name](self, arg)
            elif opcode.name not in _SKIPPED:
                raise _Refused(
                    f"weights need no pickle opcode {opcode.name}"
                    + (f" ({arg[:60]!r})" if isinstance(arg, str) else "")
                )
        return self.stack.pop()

    def items(self) -> list[Any]:
        """Takes everything behind the last mark off the stack."""
        start = self.marks.pop()
        taken = self.stack[start:]
        del self.stack[start:]
        return taken

    def tuple_of(self, count: int) -> None:
        if count > len(self.stack):
            raise IndexError("the pickle's stack is empty")
        taken = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        self.stack.append(tuple(taken))

    def look_up(self, module: Any, name: Any) -> None:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise _Refused("a name in it is no text")
        if (module, name) not in _NAMES:
            raise _Refused(
                f"it asks for {f'{module}.{name}'[:80]!r}, but weights need NumPy arrays only"
            )
        self.stack.append(_NAMES[module, name])

    def stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.look_up(module, name)

    def append(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise _Refused(f"it appends to {_kind(self.stack[-1])}")
        self.stack[-1].extend(items)

    def set_items(self, items: list[Any]) -> None:
        keys = items[::2]
        if not isinstance(self.stack[-1], dict) or not all(isinstance(key, str) for key in keys):
            raise _Refused("its dictionary must have names for keys")
        self.stack[-1].update(zip(keys, items[1::2], strict=True))

    def set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.set_items([key, value])

    def as_bytes(self, content: Any) -> bytes:
        """The bytes of an array, which Python 2 writes as text, in all no more than a file may
        have: a small file could refer to one text a thousand times."""
        if not isinstance(content, str | bytes):
            raise _Refused(f"the content of an array is {_kind(content)}")
        self.bytes_made += len(content)
        if self.bytes_made > MAX_BYTES:
            raise _Refused(f"its arrays have more than {MAX_BYTES} bytes")
        return content.encode("latin1") if isinstance(content, str) else content

    def reduce(self) -> None:
        """`name(*args)`, for the three calls that arrays are written with; nothing is called."""
        args, name = self.stack.pop(), self.stack.pop()
        match name, args:
            case _Name.NEW_ARRAY, (_Name.ARRAY, (0,), "b" | b"b"):
                self.stack.append(_Array())
            case _Name.DTYPE, (str(code), *_) if code in (*_FLOATS, *_OBJECTS):
                self.stack.append(_Dtype(code))
            case _Name.ENCODE, (str(text), "latin1"):
                self.stack.append(self.as_bytes(text))
            case _Name(), _:
                raise _Refused(f"it calls {name.value} with other arguments than arrays need")
            case _:
                raise _Refused(f"it calls {_kind(name)}")

    def build(self) -> None:
        """Fills the array or dtype on the stack, which other places of the pickle refer to."""
        state, target = self.stack.pop(), self.stack[-1]
        match target, state:
            case _Dtype(), (3 | 4, "<" | ">" | "|" as order, None, None, None, *_):
                target.order = order
            case _Array(values=None), (1, tuple(shape), _Dtype() as dtype, fortran, content):
                if dtype.code in _FLOATS:
                    content = _floats(shape, dtype, bool(fortran), self.as_bytes(content))
                elif not isinstance(content, list):  # bytes would be addresses of objects
                    raise _Refused(f"an array of objects is written as {_kind(content)}")
                target.values = content
            case _:
                raise _Refused(f"it sets the state of {_kind(target)}")


def _floats(shape: tuple, dtype: _Dtype, fortran: bool, content: bytes) -> np.ndarray:
    if len(shape) > 8 or not all(type(side) is int and side >= 1 for side in shape):
        raise _Refused("the shape of an array is not one of at most 8 whole numbers from 1 up")
    kind = np.dtype(dtype.order + dtype.code)
    if math.prod(shape) * kind.itemsize != len(content):
        raise ValueError(f"{len(content)} bytes for an array of shape {shape} of {dtype.code}")
    values = np.frombuffer(content, kind).reshape(shape, order="F" if fortran else "C")
    return values.astype(dtype.code, copy=False)


def _kind(value: Any) -> str:
    name = type(value).__name__.strip("_").lower()
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


_LITERALS = (
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("BINSTRING", "SHORT_BINSTRING", "BINUNICODE", "SHORT_BINUNICODE"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
)
_SKIPPED = ("PROTO", "FRAME", "STOP")
_HANDLERS: dict[str, Callable[[_ArrayPickle, Any], Any]] = {
    "NONE": lambda p, _: p.stack.append(None),
    "NEWTRUE": lambda p, _: p.stack.append(True),
    "NEWFALSE": lambda p, _: p.stack.append(False),
    "EMPTY_LIST": lambda p, _: p.stack.append([]),
    "EMPTY_DICT": lambda p, _: p.stack.append({}),
    "EMPTY_TUPLE": lambda p, _: p.stack.append(()),
    "MARK": lambda p, _: p.marks.append(len(p.stack)),
    "TUPLE": lambda p, _: p.stack.append(tuple(p.items())),
    "TUPLE1": lambda p, _: p.tuple_of(1),
    "TUPLE2": lambda p, _: p.tuple_of(2),
    "TUPLE3": lambda p, _: p.tuple_of(3),
    "APPEND": lambda p, _: p.append([p.stack.pop()]),
    "APPENDS": lambda p, _: p.append(p.items()),
    "SETITEM": lambda p, _: p.set_item(),
    "SETITEMS": lambda p, _: p.set_items(p.items()),
    "BINPUT": lambda p, index: p.memo.update({index: p.stack[-1]}),
    "LONG_BINPUT": lambda p, index: p.memo.update({index: p.stack[-1]}),
    "MEMOIZE": lambda p, _: p.memo.update({len(p.memo): p.stack[-1]}),
    "BINGET": lambda p, index: p.stack.append(p.memo[index]),
    "LONG_BINGET": lambda p, index: p.stack.append(p.memo[index]),
    "GLOBAL": lambda p, both: p.look_up(*both.split(" ", 1)),
    "STACK_GLOBAL": lambda p, _: p.stack_global(),
    "REDUCE": lambda p, _: p.reduce(),
    "BUILD": lambda p, _: p.build(),
}


def _layers(content: Any) -> dict[str, list[np.ndarray]]:
    """The dictionary inside the outermost array, its arrays bare."""
    match content:
        case _Array(values=[dict(layers)]):
            pass
        case _:
            raise _Refused(f"it holds {_kind(content)}, not a dictionary of weights by layer")
    result = {}
    for name, arrays in layers.items():
        if not isinstance(arrays, list | tuple) or not all(
            isinstance(array, _Array) and isinstance(array.values, np.ndarray) for array in arrays
        ):
            raise _Refused(f"the weights of {name[:60]!r} are not a list of arrays of numbers")
        result[name] = [array.values for array in arrays]
    return result


def assign_weights(model: keras.Model, weights: Mapping[str, list[np.ndarray]]) -> None:
    """Gives the layers of a model the weights of their names.

    Args:
        model: every layer of it that has weights must be in `weights`, and no other.
        weights: the arrays of each layer, such as `[kernel, bias]`.

    Raises:
        ValueError: a layer is missing on either side, or shapes differ. Nothing is changed then.
    """
    by_name = {layer.name: layer for layer in model.layers if layer.weights}
    for missing, where in ((by_name.keys() - weights, "file"), (weights.keys() - by_name, "model")):
        if missing:
            names = ", ".join(repr(name) for name in sorted(missing)[:4])
            raise ValueError(f"the {where} has no weights for {names}")
    for name, layer in by_name.items():
        have = [tuple(array.shape) for array in weights[name]]
        want = [tuple(weight.shape) for weight in layer.weights]
        if have != want:
            have_text, want_text = (", ".join(map(str, shapes)) for shapes in (have, want))
            raise ValueError(f"layer '{name}' needs shapes {want_text}, the file has {have_text}")
    for name, layer in by_name.items():
        layer.set_weights(weights[name])


def load_file(model: keras.Model, path: Path) -> None:
    """Gives a model the weights in a .npy file, or in one that Keras wrote.

    Raises:
        ValueError: the file does not fit.
    """
    arrays = read_npy_weights(path) if path.suffix == ".npy" else None
    try:
        if arrays is not None:
            assign_weights(model, arrays)
        else:
            with warnings.catch_warnings():  # see `fcnkeras.models.classifier`
                warnings.filterwarnings("ignore", message="Skipping nested container")
                model.load_weights(path)
    except (ValueError, OSError, KeyError) as error:
        reason = str(error).strip().split("\n")[0][:200]
        raise ValueError(f"The weights in {path} do not fit {model.name} ({reason})") from error
