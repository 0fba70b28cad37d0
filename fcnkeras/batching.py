"""Batches of fed pictures: a `keras.utils.PyDataset` for `fit`, `evaluate` and `predict`.

Pictures of one batch share one shape. Squares need no thought; the crops of a multi-crop are
batched by their number; pictures of native aspect go into a few buckets, chosen from the collection
(`fcnkeras.buckets`), and are padded or bent to their bucket's shape.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import keras
import numpy as np
from numpy.typing import ArrayLike, NDArray

from fcnkeras import feeders
from fcnkeras.buckets import Bucket, choose_shapes
from fcnkeras.data.records import Collection, Record, Rejected
from fcnkeras.encoding import encode_target, weigh_targets
from fcnkeras.images import ImageError, open_picture, probe
from fcnkeras.placement import Size, fed_shape, place


@contextmanager
def picture_errors(*data: FedPictures) -> Iterator[None]:
    """Raises the `ImageError` of a picture in place of the error that Keras' backend made of it."""
    for one in data:
        one.failed = None
    try:
        yield
    except Exception:
        failed = next((one.failed for one in data if one.failed), None)
        if failed:
            raise failed from failed.__cause__
        raise


@dataclass(frozen=True)
class _Plan:
    """One epoch. It is never changed, so that threads may read it while the next one is made."""

    batches: list[NDArray[np.int64]]
    mirrored: NDArray[np.bool_]


class FedPictures(keras.utils.PyDataset):
    """The pictures of a collection, fed and batched.

    In an epoch every picture is in exactly one batch, and the last batch of a shape may be smaller.
    Every picture is decoded once, at its least scale, when the batches are planned.

    Args:
        collection: The pictures and what is known about them.
        feeder: "squash", "crop", "pad", "multicrop" or "native".
        size: Side of the square in pixels, or of the short side for "native".
        batch: The most pictures in a batch.
        pixels: The most pixels in a batch, over all crops; a picture that has more is a batch by
            itself. By default only `batch` counts.
        max_shapes: For "native": the most shapes of batches.
        distortion: For "native": by default pictures are padded to their bucket's shape. With a
            number such as 0.1 they are resized to it, none bent by more than this.
        targets: A name, or several; `encoding.Encoded` tells what their arrays hold.
        weights: A weight for every record, or for each target by name; by default 1.
        skip_broken: Whether pictures that cannot be read are listed in `rejected`, in place of an
            error. They are left out; or, if they break once the batches are planned, another of
            their batch stands in for them, with the weight 0.
        shuffle: Whether the order changes with every epoch; without, it is by shape.
        flip: Whether each picture is mirrored left to right in half of its appearances; more than
            that does `fcnkeras.augment`.
        seed: Of order and flips; epoch e of one seed is always the same, whatever the threads.
        cache_bytes: Fed pictures are kept in memory up to this many bytes.
        workers: Threads that feed ahead; by default as many as processors, from 2 to 8.

    Each item is (inputs, targets) or (inputs, targets, weights); (inputs,) with `targets=()`.
    Inputs are float32 RGB 0-255 of shape (batch, height, width, 3); for "pad" and "native" the
    pair (pictures, mask), mask bool (batch, height, width), True on real pixels; for "multicrop"
    (batch, crops, height, width, 3). A single name as `targets` gives an array, several names a
    dict of arrays, and so it is with the weights, (batch,) float32. There are weights with
    `weights`, with `skip_broken`, and where some record lacks a target: its weight is then 0. Let
    Keras count metrics by `weighted_metrics`.

    Call `fit` with `shuffle=False`: Keras would shuffle the batches again, by no seed of theirs.

    Attributes:
        failed: The error of the last picture that could not be read; see `picture_errors`.
        kinds: The kind of each target by name, see `encoding.Encoded`.
        shapes: The distinct (crops, height, width) of the batches, the same in every epoch.

    Raises:
        ValueError: An unknown feeder or target, an argument out of its range, or a collection
            without pictures.
        ImageError: A picture cannot be read; with `skip_broken`, none can.

    Example:

    ```python
    data = FedPictures(paintings, "native", 336, batch=16, shuffle=True, targets=["artist", "hue"])
    data.report()  # the buckets: their shapes, pictures, padding
    model.fit(data, epochs=5, shuffle=False)
    ```
    """

    def __init__(
        self,
        collection: Collection,
        feeder: str,
        size: int,
        *,
        batch: int = 8,
        pixels: int | None = None,
        max_shapes: int = 8,
        distortion: float | None = None,
        targets: str | Sequence[str] = "class",
        weights: ArrayLike | Mapping[str, ArrayLike] | None = None,
        skip_broken: bool = False,
        shuffle: bool = False,
        flip: bool = False,
        seed: int = 0,
        cache_bytes: int = 1 << 30,
        workers: int | None = None,
    ) -> None:
        workers = _processors() if workers is None else workers
        # A full queue already keeps every thread busy; more would only fill the memory.
        super().__init__(workers=workers, max_queue_size=2 * workers)
        if not len(collection):
            raise ValueError("There is no picture in the collection.")
        for name, least in (("batch", batch), ("pixels", pixels), ("workers", workers)):
            if least is not None and least < 1:
                raise ValueError(f"`{name}` must be at least 1. Received: {least}")
        self.collection = collection
        self.feeder = feeder
        self.size = size
        self.batch = batch
        self.pixels = pixels
        self.distortion = distortion if feeder == "native" else None
        self.skip_broken = skip_broken
        self.shuffle = shuffle
        self.flip = flip
        self.seed = seed
        self.epoch = 0
        self.failed: ImageError | None = None
        feeders.get_feeder(feeder)  # raises for an unknown name
        self._single = targets if isinstance(targets, str) else None
        names = (targets,) if isinstance(targets, str) else tuple(targets)
        encoded = {name: encode_target(collection, name) for name in names}
        self.kinds = {name: target.kind for name, target in encoded.items()}
        self._targets = {name: target.values for name, target in encoded.items()}
        self._weights = weigh_targets(encoded, weights, always=skip_broken)
        self._lock = threading.Lock()  # of the cache, its room, and what is broken
        self._broken: dict[int, ImageError] = {}
        self._cache: dict[int, feeders.Fed] = {}
        self._room = cache_bytes
        self._measure(max_shapes)
        self._plan = self._planned()

    def __len__(self) -> int:
        return len(self._plan.batches)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        plan = self._plan
        members = plan.batches[index]
        inputs, readable = self.inputs(members, self.flip & plan.mirrored[members])
        if not self._targets:
            return (inputs,)
        targets = self._named({name: array[members] for name, array in self._targets.items()})
        if not self._weights:
            return inputs, targets
        weights = {name: array[members] * readable for name, array in self._weights.items()}
        return inputs, targets, self._named(weights)

    def inputs(
        self, members: NDArray[np.int64], mirrored: NDArray[np.bool_]
    ) -> tuple[Any, NDArray[np.bool_]]:
        """The inputs of records that share a shape, each mirrored or not, and for each whether its
        picture could be read: with `skip_broken` another one stands in for it where it could not.
        """
        fed = [self._fed_or_none(int(member)) for member in members]
        crops, height, width = self.shape_of(members[0])
        pictures = np.zeros((len(members), crops, height, width, 3), "float32")
        mask = np.zeros((len(members), height, width), bool)
        stand_in = next((one for one in fed if one), None)
        for row, (one, flip) in enumerate(zip(fed, mirrored, strict=True)):
            shown = one or stand_in
            if shown is None:  # none of the batch can be read
                mask[row] = True
                continue
            step = -1 if flip else 1
            _, rows, columns, _ = shown.arrays.shape
            pictures[row, :, :rows, :columns] = shown.arrays[:, :, ::step]
            mask[row, :rows, :columns] = shown.mask[0][:, ::step]
        readable = np.array([one is not None for one in fed])
        inputs: Any = pictures if self.feeder == "multicrop" else pictures[:, 0]
        return ((inputs, mask) if self.feeder in feeders.MASKED else inputs), readable

    def on_epoch_end(self) -> None:
        self.start_at(self.epoch + 1)

    def start_at(self, epoch: int) -> None:
        """Makes `epoch` the next one, for a run that goes on."""
        self.epoch = epoch
        self._plan = self._planned()

    def forget(self) -> None:
        """Frees the pictures kept in memory. Keras on TensorFlow holds on to every data set that
        it was ever given, so going out of scope does not."""
        with self._lock:
            self._room += sum(fed.arrays.nbytes + fed.mask.nbytes for fed in self._cache.values())
            self._cache.clear()

    @property
    def records(self) -> tuple[Record, ...]:
        """The records of the collection, those of broken pictures too."""
        return self.collection.records

    @property
    def batches(self) -> list[NDArray[np.int64]]:
        """The indices of the records in each batch of this epoch."""
        return self._plan.batches

    @property
    def order(self) -> NDArray[np.int64]:
        """The index of the record in each row that this epoch yields, (pictures,) int64."""
        return np.concatenate(self._plan.batches)

    def shape_of(self, member: int) -> tuple[int, int, int]:
        """The (crops, height, width) in which a batch shows the record of this index."""
        return self.shapes[self._bucket[member]]

    def in_order(self, rows: NDArray[Any]) -> NDArray[np.floating]:
        """Brings the rows of an epoch, as `predict` gives them, into the order of the records.

        Args:
            rows: (pictures, ...) of floats, one for each index in `order`.

        Returns:
            (records, ...) of the same type, NaN for pictures that could not be read.

        Raises:
            ValueError: The batches are shuffled: after `predict` they are in another order.
        """
        if self.shuffle:
            raise ValueError("Rows can be brought into order with `shuffle=False` only.")
        restored = np.full((len(self.records), *rows.shape[1:]), np.nan, rows.dtype)
        restored[self.order] = rows
        with self._lock:
            restored[list(self._broken)] = np.nan
        return restored

    @property
    def rejected(self) -> tuple[Rejected, ...]:
        """The pictures that could not be read so far, in the order of the records."""
        with self._lock:
            broken = sorted(self._broken.items())
        return tuple(Rejected(self.records[index].path, error.reason) for index, error in broken)

    def report(self) -> list[Bucket]:
        """What the batches of each shape look like, and what they add to the pictures or bend."""
        return [self._report(bucket) for bucket in range(len(self.shapes))]

    def fed(self, member: int) -> feeders.Fed:
        """What the feeder gives for the record of this index, before it is padded to a bucket.

        Raises:
            ImageError: The picture cannot be read, or has another size than before.
        """
        with self._lock:
            if member in self._cache:
                return self._cache[member]
        try:
            fed = self._read(member)
        except ImageError as error:
            self.failed = error
            raise
        size = fed.arrays.nbytes + fed.mask.nbytes
        with self._lock:
            if member not in self._cache and size <= self._room:
                self._room -= size
                self._cache[member] = fed
        return fed

    def _read(self, member: int) -> feeders.Fed:
        path = self.records[member].path
        if self.distortion is not None:
            _, height, width = self.shapes[self._bucket[member]]
            fed = feeders.squash(open_picture(path, least=(width, height)), (height, width))
        else:
            picture = open_picture(path, least=self.size)
            fed = feeders.get_feeder(self.feeder)(picture, self.size)
        if fed.placements[0].original_size != tuple(self._sizes[member]):
            raise ImageError(path, "its size is no longer what it was when batches were planned")
        return fed

    def _fed_or_none(self, member: int) -> feeders.Fed | None:
        if not self.skip_broken:
            return self.fed(member)
        if member in self._broken:
            return None
        try:
            return self.fed(member)
        except ImageError as error:
            with self._lock:
                self._broken[member] = error
            return None

    def _named(self, arrays: dict[str, NDArray]) -> Any:
        return arrays[self._single] if self._single is not None else arrays

    def _measure(self, max_shapes: int) -> None:
        """Finds the size of every picture, what cannot be read, and the shapes of the batches."""
        with ThreadPoolExecutor(_processors()) as pool:
            found = list(pool.map(self._size, self.records))
        self._broken = {i: size for i, size in enumerate(found) if isinstance(size, ImageError)}
        if self._broken and not (self.skip_broken and len(self._broken) < len(found)):
            raise next(iter(self._broken.values()))
        self._sizes = np.array([(0, 0) if isinstance(size, ImageError) else size for size in found])
        readable = self._sizes[:, 0] > 0
        shapes = np.array(
            [fed_shape(self.feeder, w, h, self.size) for w, h in self._sizes[readable].tolist()]
        )
        if self.feeder == "native":
            shapes[:, 1:] = choose_shapes(shapes[:, 1:], max_shapes, self.distortion)
        distinct, buckets = np.unique(shapes, axis=0, return_inverse=True)
        self.shapes: list[tuple[int, int, int]] = [tuple(shape) for shape in distinct.tolist()]
        self._bucket = np.full(len(found), -1)
        self._bucket[readable] = buckets.reshape(-1)  # NumPy 2.0 gives it an axis too many

    def _size(self, record: Record) -> tuple[int, int] | ImageError:
        try:
            size = probe(record.path)
            fed_shape(self.feeder, *size, self.size, path=record.path)  # may be too long to feed
        except ImageError as error:
            return error
        return size

    def _batch_size(self, bucket: int) -> int:
        if self.pixels is None:
            return self.batch
        return max(1, min(self.batch, self.pixels // int(np.prod(self.shapes[bucket]))))

    def _report(self, bucket: int) -> Bucket:
        crops, height, width = self.shapes[bucket]
        name, box = self.feeder, cast(Size, self.size)
        if self.distortion is not None:
            name, box = "squash", (height, width)
        real, bent = 0, []
        sizes = self._sizes[self._bucket == bucket].tolist()
        for across, down in sizes:
            placements = place(name, across, down, box)
            for left, top, right, bottom in (one.content for one in placements):
                real += (right - left) * (bottom - top)
            x, y = placements[0].scale
            bent.append(max(x / y, y / x) - 1)
        count, all_pixels = len(sizes), len(sizes) * crops * height * width
        batch = min(self._batch_size(bucket), count)
        padding, mean = 1 - real / all_pixels, float(np.mean(bent))
        return Bucket(crops, height, width, count, batch, padding, mean, max(bent))

    def _planned(self) -> _Plan:
        """Deals the pictures of this epoch into batches; their shapes are the same in every one."""
        rng = np.random.default_rng((self.seed, self.epoch))
        count = len(self.records)
        mirrored = rng.random(count) < 0.5
        order = rng.permutation(count) if self.shuffle else np.arange(count)
        batches = []
        for bucket in range(len(self.shapes)):
            members, step = order[self._bucket[order] == bucket], self._batch_size(bucket)
            batches += [members[start : start + step] for start in range(0, len(members), step)]
        if self.shuffle:
            batches = [batches[i] for i in rng.permutation(len(batches))]
        return _Plan(self._tell_apart(batches), mirrored)

    def _tell_apart(self, batches: list[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
        """Moves two batches to the front that differ in every axis in which any two differ.

        Keras on TensorFlow takes the free axes from the first two batches, and fails at a later
        one that differs in another. Native shapes get wider as they get lower, so that the ends of
        their row are such a pair.
        """
        shapes = np.array([self.shapes[self._bucket[members[0]]] for members in batches])
        vary = (shapes != shapes[0]).any(axis=0)
        if not vary.any():
            return batches
        for first in range(len(batches)):
            others = ((shapes != shapes[first]) | ~vary).all(axis=1)
            if others.any():
                front = (first, int(np.argmax(others)))
                return [batches[i] for i in dict.fromkeys((*front, *range(len(batches))))]
        return batches


def _processors() -> int:
    # With one thread, Keras on TensorFlow feeds batches of an epoch that it then throws away.
    return min(8, max(2, os.cpu_count() or 2))
