"""What computes a model's answers: Keras on any backend, or OpenVINO on a processor.

An engine answers a stream of batches in its order, so that decoding goes on while it computes. It
can be pickled, with the model.
"""

from __future__ import annotations

import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np

from fcnkeras.export.check import input_structure
from fcnkeras.saved import load_saved

Arrays = list[np.ndarray]
Shape = tuple[int, int]

_BATCH, _BATCH_PIXELS = 16, 16 * 336 * 336
_COMMON = ((1, 1), (5, 4), (4, 3), (3, 2), (16, 9))
_SMALL_MODEL = 100_000_000  # bytes of weights


class Engine(Protocol):
    """What all engines have in common.

    Attributes:
        name: as users write it.
    """

    name: str

    def batch(self, pixels: int) -> int:
        """How many pictures of so many pixels it answers best at a time."""

    def answers(
        self, batches: Iterable[tuple[Any, Arrays | None]]
    ) -> Iterator[tuple[Any, Arrays | None]]:
        """Answers batches in their order, some ahead of the one that is given.

        Args:
            batches: (tag, inputs of the model), pixels as uint8; None passes without an answer.

        Yields:
            (tag, outputs of the model, flattened); or (tag, None).
        """


class KerasEngine:
    """The model itself, on Keras' backend.

    Args:
        model: what takes the inputs of the batches.
    """

    name = "keras"

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._dtypes = [tensor.dtype for tensor in model.inputs]
        self._function = _compiled(model)

    def __getstate__(self) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.keras")
            self._model.save(path)
            return path.read_bytes()

    def __setstate__(self, saved: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.keras")
            path.write_bytes(saved)
            self.__init__(load_saved(path))  # type: ignore[misc]

    def batch(self, pixels: int) -> int:
        return max(1, min(_BATCH, _BATCH_PIXELS // pixels))

    def answers(
        self, batches: Iterable[tuple[Any, Arrays | None]]
    ) -> Iterator[tuple[Any, Arrays | None]]:
        for tag, inputs in batches:
            if inputs is None:
                yield tag, None
                continue
            given = [a.astype(d) for a, d in zip(inputs, self._dtypes, strict=True)]
            yield tag, [keras.ops.convert_to_numpy(each) for each in self._function(given)]


def _compiled(model: keras.Model) -> Callable[[Arrays], list[Any]]:
    structure = input_structure(model)

    def call(inputs: Sequence[Any]) -> list[Any]:
        given = keras.tree.pack_sequence_as(structure, list(inputs))
        return keras.tree.flatten(model(given, training=False))

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # One trace for all shapes; `predict` would trace each of the first few anew.
        signature = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in model.inputs]
        return tf.function(call, input_signature=[signature])

    def predict(inputs: Sequence[Any]) -> list[Any]:
        given = keras.tree.pack_sequence_as(structure, list(inputs))
        return keras.tree.flatten(model.predict_on_batch(given))

    return predict


class OpenVINOEngine:
    """A model converted to OpenVINO, on the processor.

    Pictures are answered one at a time, several at once: on processors that is faster than batches.
    A small model is compiled for each of the usual proportions, which is half as fast again as one
    for any shape; which pictures that helps depends on nothing but their shape, so that the same
    picture always gets the same numbers.

    Args:
        path: the `.xml` file.
        names: of the inputs, in the order in which batches have them.
        size: of the feeder, to know the usual shapes.

    Raises:
        ImportError: OpenVINO is not installed.
        RuntimeError: it cannot read the file.

    It takes no more threads than `OMP_NUM_THREADS` says, as others do, if that is set.
    """

    name = "openvino"

    def __init__(self, path: Path, names: Sequence[str], size: int | Shape) -> None:
        import openvino

        self._core = openvino.Core()
        self._size = size
        self._network = self._core.read_model(str(path))
        small = path.with_suffix(".bin").stat().st_size <= _SMALL_MODEL
        self._usual = _usual_shapes(size) if small else frozenset()
        self._compiled: dict[Shape | None, Any] = {}
        self._idle: dict[Shape | None, list[Any]] = {}
        self._requests = 0
        self._compile(None)
        # The order of inputs and outputs is OpenVINO's own.
        found = [self._compiled[None].input(name) for name in names]
        self._dtypes = {n: t.element_type.to_dtype() for n, t in zip(names, found, strict=True)}
        outputs = [output.any_name for output in self._compiled[None].outputs]
        self._outputs = sorted(outputs, key=lambda name: int(name.rpartition("_")[2]))

    def __getstate__(self) -> tuple[bytes, bytes, list[str], int | Shape]:
        import openvino

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.xml")
            openvino.save_model(self._network, path, compress_to_fp16=False)
            weights = path.with_suffix(".bin").read_bytes()
            return path.read_bytes(), weights, list(self._dtypes), self._size

    def __setstate__(self, state: tuple[bytes, bytes, list[str], int | Shape]) -> None:
        network, weights, names, size = state
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.xml")
            path.write_bytes(network)
            path.with_suffix(".bin").write_bytes(weights)
            self.__init__(path, names, size)  # type: ignore[misc]

    def batch(self, pixels: int) -> int:
        return 1

    def answers(
        self, batches: Iterable[tuple[Any, Arrays | None]]
    ) -> Iterator[tuple[Any, Arrays | None]]:
        running: deque[tuple[Any, Shape | None, Any]] = deque()
        busy = 0
        try:
            for tag, inputs in batches:
                if inputs is None:
                    running.append((tag, None, None))
                else:
                    while busy >= self._requests:
                        busy -= running[0][2] is not None
                        yield self._finished(*running.popleft())
                    running.append((tag, *self._start(inputs)))
                    busy += 1
                while running and running[0][2] is None:
                    yield running.popleft()[0], None
            while running:
                yield self._finished(*running.popleft())
        finally:
            for _, _, request in running:
                if request is not None:
                    request.wait()

    def _start(self, inputs: Arrays) -> tuple[Shape | None, Any]:
        shape: Shape | None = (int(inputs[0].shape[-3]), int(inputs[0].shape[-2]))
        if shape not in self._usual or inputs[0].ndim != 4 or len(inputs[0]) != 1:
            shape = None
        if shape not in self._compiled:
            self._compile(shape)
        idle = self._idle[shape]
        request = idle.pop() if idle else self._compiled[shape].create_infer_request()
        request.start_async(
            {
                name: array.astype(dtype)
                for array, (name, dtype) in zip(inputs, self._dtypes.items(), strict=True)
            }
        )
        return shape, request

    def _finished(self, tag: Any, shape: Shape | None, request: Any) -> tuple[Any, Arrays | None]:
        if request is None:
            return tag, None
        request.wait()
        outputs = [np.array(request.get_tensor(name).data) for name in self._outputs]
        self._idle[shape].append(request)
        return tag, outputs

    def _compile(self, shape: Shape | None) -> None:
        network = self._network
        if shape is not None:
            network = network.clone()
            network.reshape(
                {tensor: [1, *shape, *list(tensor.partial_shape)[3:]] for tensor in network.inputs}
            )
        # Without the first hint a processor that can do so computes in bfloat16.
        options = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "THROUGHPUT"}
        threads = os.environ.get("OMP_NUM_THREADS", "")
        if threads.isdecimal():
            options["INFERENCE_NUM_THREADS"] = threads
        compiled = self._core.compile_model(network, "CPU", options)
        self._compiled[shape], self._idle[shape] = compiled, []
        self._requests = max(
            2, self._requests, compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        )


def _usual_shapes(size: int | Shape) -> frozenset[Shape]:
    """The box that feeders of squares give, and what "native" makes of the usual proportions."""
    if not isinstance(size, int):
        return frozenset([size])
    sides = [-(-size * long // short) for long, short in _COMMON]
    return frozenset([*((size, side) for side in sides), *((side, size) for side in sides)])
