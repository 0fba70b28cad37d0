"""Features of a frozen network, computed once for each picture and kept on disk.

    features, head = split_model(fed_task_model(model, "crop"))
    train = cached_features(features, FedPictures(paintings, "crop", 224, ...), "features")
    head.compile("adam", **compile_arguments(head))
    head.fit(train, epochs=50, shuffle=False)  # trains the head of `model`

In the folder is one folder for each network and way of feeding, and in that are parts, files of
many rows: .npy arrays with the fields "key" and "features". A row's key tells the picture's
content, the shape in which it was fed, and whether it was mirrored; so a picture that has moved is
found, and one that has changed is not. A part is written whole and never changed: a run that dies
loses what it computed in the last minute, and two runs may fill one folder.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from fcnkeras._version import __version__
from fcnkeras.batching import FedPictures
from fcnkeras.convert.graph import trace
from fcnkeras.data.records import Record
from fcnkeras.files import write_atomically
from fcnkeras.training.stages import jit_compile_mode

PART_SECONDS = 60
PART_BYTES = 256 << 20
OPEN_PARTS = 128  # a process may not have very many files open

Job = tuple[NDArray[np.int64], bool]  # records that share a shape, and whether to mirror them
Keys = dict[tuple[int, bool], bytes]


class FeatureBatches(FedPictures):
    """The batches of `data` with features in place of pictures: the same records in the same
    order, mirrored where they are, with the same targets and weights.

    Args:
        data: Fed pictures; their epoch is where this begins, and goes its own way.
        parts: Files of rows, see above.
        places: For each record the (part, row) of its features, and of those mirrored if `data`
            flips: (1 or 2, records, 2) int64, -1 for pictures that could not be read.

    Inputs are float32 (batch, *features). Everything else is as in `FedPictures`.
    """

    def __init__(self, data: FedPictures, parts: Sequence[Path], places: NDArray[np.int64]) -> None:
        self.__dict__.update(data.__dict__)  # one plan, one list of what is broken
        if keras.backend.backend() == "tensorflow":
            # Reading a row is quick, and Keras waits a tenth of a second for threads every epoch.
            # On the other backends it would begin without threads at the second epoch's order.
            self.workers = 1
        self._parts = parts
        self._places = places
        self._features = lru_cache(OPEN_PARTS)(self._open)

    def inputs(
        self, members: NDArray[np.int64], mirrored: NDArray[np.bool_]
    ) -> tuple[Any, NDArray[np.bool_]]:
        places = self._places[mirrored.astype(int), members]
        readable = places[:, 0] >= 0
        # As with pictures, another one of the batch stands in, with weight 0.
        places = np.where(readable[:, None], places, places[np.argmax(readable)])
        return np.stack([self._features(part)[row] for part, row in places.tolist()]), readable

    def _open(self, part: int) -> NDArray[np.float32]:
        if part < 0:  # none of the batch could be read
            return np.zeros_like(self._features(0)[-1:])
        return np.asarray(np.load(self._parts[part], mmap_mode="r")["features"])


def cached_features(
    feature_model: keras.Model,
    data: FedPictures,
    folder: Path | str,
    *,
    tell: Callable[[int, int], Any] = lambda done, total: None,
) -> FeatureBatches:
    """Computes the features of pictures, those that are not in the folder yet.

    Args:
        feature_model: Functional or Sequential; from what `data` yields to one array of features
            for each picture. Its layers behave as they do in predictions: dropout is off, and
            normalisation keeps its statistics, as in a network that is frozen.
        data: The pictures. With `flip` there are features of each picture mirrored, too.
        folder: For the features; made if missing.
        tell: Progress: gets the number of pictures done and to do, mirrored ones counted.

    Returns:
        What `fit` takes in place of `data` for the model behind the features.

    Raises:
        ValueError: The model gives something else than one array of a known shape, none of the
            pictures can be read, or the model is neither Functional nor Sequential.
        ImageError: A picture cannot be read; with `skip_broken` it is listed in `rejected`.
    """
    shape = feature_model.output_shape
    if not isinstance(shape, tuple) or None in shape[1:]:
        raise ValueError(
            f"`feature_model` must give one array of a known shape. Model '{feature_model.name}' "
            f"gives {shape}"
        )
    bent = data.distortion is not None
    name = _digest_model(feature_model, (data.feeder, data.size, bent, __version__))
    folder = Path(folder) / name
    folder.mkdir(parents=True, exist_ok=True)
    keys = _row_keys(data)
    _fill(folder, feature_model, data, keys, tell)
    parts, index = _read_index(folder)
    places = np.full((1 + data.flip, len(data.records), 2), -1)
    for (member, mirrored), key in keys.items():
        places[int(mirrored), member] = index.get(key, (-1, -1))
    if not parts:
        raise ValueError("The features of a picture are needed, and none could be read.")
    return FeatureBatches(data, parts, places)


def _fill(
    folder: Path,
    feature_model: keras.Model,
    data: FedPictures,
    keys: Keys,
    tell: Callable[[int, int], Any],
) -> None:
    """Computes what the folder lacks."""
    _, index = _read_index(folder)
    jobs = list(_missing(data, keys, set(index)))
    total = sum(len(members) for members, _ in jobs)
    # A model of the same layers, as `compile` would change what the caller's is compiled for.
    model = keras.Model(feature_model.input, feature_model.output)
    model.compile(jit_compile=jit_compile_mode())
    writer = _Writer(folder, feature_model.output_shape[1:])
    done = 0
    tell(done, total)
    try:
        for (members, mirrored), (inputs, readable) in _fed_ahead(data, jobs):
            rows = model.predict_on_batch(inputs)
            for member, row, good in zip(members.tolist(), rows, readable, strict=True):
                if good and (member, mirrored) in keys:
                    writer.add(keys[member, mirrored], row)
            done += len(members)
            tell(done, total)
    finally:
        writer.write()


def _missing(data: FedPictures, keys: Keys, known: set[bytes]) -> Iterator[Job]:
    """What is to be computed, batch by batch, pictures of one content once."""
    for mirrored in (False, True)[: 1 + data.flip]:
        for batch in data.batches:
            members = []
            for member in batch.tolist():
                key = keys.get((member, mirrored))
                if key is None or key not in known:
                    members.append(member)  # a file without a key fails where pictures are read
                if key is not None:
                    known.add(key)
            if members:
                yield np.array(members), mirrored


def _fed_ahead(data: FedPictures, jobs: Sequence[Job]) -> Iterator[tuple[Job, Any]]:
    """Each job with its inputs, which threads prepare ahead of time."""
    waiting: deque[tuple[Job, Future]] = deque()
    with ThreadPoolExecutor(data.workers) as pool:
        for job in jobs:
            members, mirrored = job
            flips = np.full(len(members), mirrored)
            waiting.append((job, pool.submit(data.inputs, members, flips)))
            if len(waiting) > data.workers:
                first, future = waiting.popleft()
                yield first, future.result()
        for first, future in waiting:
            yield first, future.result()


class _Writer:
    """Gathers rows, and writes a part when there are many or a minute has passed."""

    def __init__(self, folder: Path, shape: tuple[int, ...]) -> None:
        self.folder = folder
        self.dtype = np.dtype([("key", "S32"), ("features", "<f4", shape)])
        self.rows: list[tuple[bytes, NDArray]] = []
        self.since = time.monotonic()

    def add(self, key: bytes, features: NDArray) -> None:
        self.rows.append((key, features))
        many = len(self.rows) * self.dtype.itemsize >= PART_BYTES
        if many or time.monotonic() - self.since >= PART_SECONDS:
            self.write()

    def write(self) -> None:
        self.since = time.monotonic()
        if not self.rows:
            return
        part = np.empty(len(self.rows), self.dtype)
        part["key"] = [key for key, _ in self.rows]
        part["features"] = [features for _, features in self.rows]
        name = hashlib.sha256(part["key"].tobytes()).hexdigest()[:32]
        write_atomically(self.folder / f"{name}.npy", lambda path: np.save(path, part))
        self.rows = []


def _read_index(folder: Path) -> tuple[list[Path], dict[bytes, tuple[int, int]]]:
    """The parts in a folder, and the (part, row) of each key."""
    parts = sorted(path for path in folder.glob("*.npy") if not path.name.startswith("."))
    index: dict[bytes, tuple[int, int]] = {}
    for number, path in enumerate(parts):
        keys = np.load(path, mmap_mode="r")["key"]
        index |= {key: (number, row) for row, key in enumerate(keys.tolist())}
    return parts, index


def _row_keys(data: FedPictures) -> Keys:
    """By record and whether it is mirrored; without those whose files cannot be read."""
    members = data.order.tolist()
    with ThreadPoolExecutor(data.workers) as pool:
        digests = pool.map(_digest_file, (data.records[member] for member in members))
    keys = {}
    for member, digest in zip(members, digests, strict=True):
        for mirrored in (False, True)[: 1 + data.flip]:
            if digest is not None:
                text = repr((digest, data.shape_of(member), mirrored))
                keys[member, mirrored] = hashlib.sha256(text.encode()).hexdigest()[:32].encode()
    return keys


def _digest_file(record: Record) -> str | None:
    try:
        with record.path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return None


def _digest_model(model: keras.Model, feeding: tuple) -> str:
    """Tells models and feedings apart, whatever the layers are called, as Keras counts names on."""
    graph = trace(model)
    layers = list(graph.layers())
    digest = hashlib.sha256(repr((feeding, graph.inputs, graph.outputs)).encode())
    for call in graph.calls:
        number = next(i for i, layer in enumerate(layers) if layer is call.layer)
        digest.update(repr((number, call.args, call.kwargs, call.outputs)).encode())
    for layer in layers:
        config = {key: value for key, value in layer.get_config().items() if key != "name"}
        text = json.dumps(config, sort_keys=True, default=repr)
        digest.update(f"{type(layer).__module__}.{type(layer).__name__} {text}".encode())
        for weight in getattr(layer, "weights", ()):
            array = np.ascontiguousarray(keras.ops.convert_to_numpy(weight))
            digest.update(f"{array.shape} {array.dtype}".encode())
            digest.update(array.tobytes())
    return digest.hexdigest()[:32]
