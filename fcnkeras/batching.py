"""Batches of fed pictures: a `keras.utils.PyDataset` for `fit`, `evaluate` and `predict`.

Pictures of one batch share one shape. Squares need no thought; the crops of a multi-crop are
batched by their number; pictures of native aspect are sorted by aspect, batched with their
neighbours, and padded to the largest of the batch, with the mask that says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from fcnkeras import feeders
from fcnkeras.data.records import Collection, Record
from fcnkeras.images import ImageError, open_picture, probe

# Long sides are padded up to size * GRAIN ** n, which bounds the number of shapes: 1:12 to 12:1
# gives at most 45.
GRAIN = 1.125


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


class FedPictures(keras.utils.PyDataset):
    """The pictures of a collection, fed and batched.

    Args:
        collection: the pictures and their classes.
        feeder: "squash", "crop", "pad", "multicrop" or "native".
        size: side of the square in pixels, or of the short side for "native".
        batch: pictures in a batch.
        shuffle: whether the order changes with every epoch; without, it is by shape.
        flip: whether each picture is mirrored left to right in half of its appearances.
        seed: of order and flips; epoch e of one seed is always the same.
        cache_bytes: fed pictures are kept in memory up to this many bytes.

    Each item is (inputs, labels): inputs float32 RGB 0-255 of shape (batch, height, width, 3);
    for "pad" and "native" the list [pictures, mask], mask bool (batch, height, width); for
    "multicrop" (batch, crops, height, width, 3). Labels are int64 (batch,).

    Call `fit` with `shuffle=False`: Keras would shuffle the batches again, by no seed of theirs.

    Attributes:
        failed: the error of the last picture that could not be read; see `picture_errors`.

    Raises:
        ValueError: an unknown feeder, or a size, batch or collection without pictures.
        ImageError: a picture cannot be read.
    """

    def __init__(
        self,
        collection: Collection,
        feeder: str,
        size: int,
        *,
        batch: int = 8,
        shuffle: bool = False,
        flip: bool = False,
        seed: int = 0,
        cache_bytes: int = 1 << 30,
    ) -> None:
        super().__init__()
        if not len(collection):
            raise ValueError("There is no picture in the collection.")
        if batch < 1:
            raise ValueError(f"`batch` must be at least 1. Received: {batch}")
        self.records = collection.records
        self.labels = collection.labels
        self.feeder = feeder
        self.size = size
        self.batch = batch
        self.shuffle = shuffle
        self.flip = flip
        self.seed = seed
        self.epoch = 0
        self.failed: ImageError | None = None
        self._feed = feeders.get_feeder(feeder)
        # On the grid for "native": a batch has the largest shape of its pictures.
        self._shapes = np.array([self._shape(record) for record in self.records])
        self._cache: dict[int, feeders.Fed] = {}
        self._room = cache_bytes
        self._plan()

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> tuple[Any, np.ndarray]:
        members = self._batches[index]
        fed = [self.fed(member) for member in members]
        mirrored = self._mirrored[members] if self.flip else np.zeros(len(members), bool)
        crops, height, width = self._batch_shape(members)
        pictures = np.zeros((len(members), crops, height, width, 3), "float32")
        mask = np.zeros((len(members), height, width), bool)
        for row, (one, mirror) in enumerate(zip(fed, mirrored, strict=True)):
            step = -1 if mirror else 1
            _, rows, columns, _ = one.arrays.shape
            pictures[row, :, :rows, :columns] = one.arrays[:, :, ::step]
            mask[row, :rows, :columns] = one.mask[0][:, ::step]
        labels = self.labels[members]
        if self.feeder in feeders.MASKED:
            return (pictures[:, 0], mask), labels
        return (pictures if self.feeder == "multicrop" else pictures[:, 0]), labels

    def on_epoch_end(self) -> None:
        self.epoch += 1
        if self.shuffle or self.flip:
            self._plan()

    def start_at(self, epoch: int) -> None:
        """Makes `epoch` the next one, for a run that goes on."""
        self.epoch = epoch
        self._plan()

    def forget(self) -> None:
        """Frees the pictures kept in memory. Keras on TensorFlow holds on to every data set that
        it was ever given, so going out of scope does not."""
        self._room += sum(fed.arrays.nbytes + fed.mask.nbytes for fed in self._cache.values())
        self._cache.clear()

    @property
    def order(self) -> np.ndarray:
        """The index of the record in each row that this epoch yields, (pictures,) int64."""
        return np.concatenate(self._batches)

    @property
    def shapes(self) -> list[tuple[int, int, int]]:
        """The distinct (crops, height, width) of the batches, the same in every epoch."""
        return sorted({self._batch_shape(members) for members in self._batches})

    def _shape(self, record: Record) -> tuple[int, int, int]:
        crops, height, width = feeders.fed_shape(self.feeder, *probe(record.path), self.size)
        if self.feeder == "native":
            height, width = self._on_grid(height), self._on_grid(width)
        return crops, height, width

    def fed(self, member: int) -> feeders.Fed:
        """What the feeder gives for the record of this index."""
        if member not in self._cache:
            try:
                picture = open_picture(self.records[member].path, least=self.size)
            except ImageError as error:
                self.failed = error
                raise
            fed = self._feed(picture, self.size)
            self._room -= fed.arrays.nbytes + fed.mask.nbytes
            if self._room < 0:
                self._room += fed.arrays.nbytes + fed.mask.nbytes
                return fed
            self._cache[member] = fed
        return self._cache[member]

    def _batch_shape(self, members: Sequence[int] | np.ndarray) -> tuple[int, int, int]:
        crops, height, width = (int(side) for side in self._shapes[members].max(axis=0))
        return crops, height, width

    def _on_grid(self, side: int) -> int:
        steps = np.ceil(np.log(side / self.size) / np.log(GRAIN) - 1e-9)
        return max(side, round(self.size * GRAIN ** float(steps)))

    def _plan(self) -> None:
        """Deals the pictures of this epoch into batches of like shape.

        The shapes are the same in every epoch: only pictures on one step of the grid change places.
        """
        rng = np.random.default_rng((self.seed, self.epoch))
        self._mirrored = rng.random(len(self.records)) < 0.5
        count = len(self.records)
        groups: dict[tuple, list[int]] = {}
        for member in rng.permutation(count) if self.shuffle else range(count):
            crops, height, width = self._shapes[member]
            groups.setdefault((crops, height > width), []).append(int(member))
        batches = []
        for _, members in sorted(groups.items()):
            members.sort(key=lambda member: self._shapes[member].max())
            chunks = range(0, len(members), self.batch)
            batches += [np.array(members[start : start + self.batch]) for start in chunks]
        if self.shuffle:
            batches = [batches[i] for i in rng.permutation(len(batches))]
        self._batches = self._tell_apart(batches)

    def _tell_apart(self, batches: list[np.ndarray]) -> list[np.ndarray]:
        """Moves two batches to the front that differ in every axis in which any two differ.

        Keras on TensorFlow takes the free axes from the first two batches, and fails at a later
        one that differs in another.
        """
        shapes = np.array([self._batch_shape(members) for members in batches])
        vary = (shapes != shapes[0]).any(axis=0)
        for first in range(len(batches)):
            others = ((shapes != shapes[first]) | ~vary).all(axis=1)
            if vary.any() and others.any():
                second = int(np.argmax(others))
                rest = [i for i in range(len(batches)) if i not in (first, second)]
                return [batches[i] for i in (first, second, *rest)]
        return batches
