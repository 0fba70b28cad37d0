"""Scoring a list of pictures on one machine: reading and decoding run beside computing."""

from __future__ import annotations

import itertools
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from fcnkeras.feeders import Fed
from fcnkeras.scoring.reading import Reading, read_entry
from fcnkeras.scoring.store import Content, Entry, FileRow, Scored, Store

if TYPE_CHECKING:
    from fcnkeras.scoring.engines import Arrays
    from fcnkeras.scoring.scorer import Scorer

_NOT_FINITE = "the model gives a number that is not finite"


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        total: pictures of the list.
        done: of these, with a row now.
        failed: of these done in this run, those that could not be scored.
        computed: answers that the model gave in this run.
    """

    total: int
    done: int = 0
    failed: int = 0
    computed: int = 0

    def add(self, scored: Scored) -> None:
        """Counts what was added to the store."""
        self.done += scored.entries
        self.computed += sum(each.values is not None for each in scored.contents)
        self.failed += sum(row.error is not None for row in scored.files)
        self.failed += sum(each.error is not None for each in scored.contents)


def score_list(
    scorer: Scorer,
    store: Store,
    total: int,
    *,
    batch: int | None = None,
    threads: int | None = None,
    tell: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """Scores the pictures of a store's list that it has no answer to.

    Args:
        scorer: what with.
        store: with the list; chunks are added to it as they are finished, in the order of the list.
        total: the pictures of the list.
        batch: the most pictures that the model is given at once; by default as the engine likes.
        threads: that read and decode; by default as many as processors.
        tell: is called after each chunk.

    Returns:
        How far it came: to the end.

    Raises:
        StoreError: the store cannot be written. What it held before stays.
    """
    batch = batch or best_batch(scorer)
    progress = Progress(total)
    chunks = store.chunks(chunk_size(batch))
    for scored in score_chunks(scorer, chunks, store.knows, batch=batch, threads=threads):
        store.add(scored)
        progress.add(scored)
        tell(progress)
    return progress


def score_chunks(
    scorer: Scorer,
    chunks: Iterable[list[Entry]],
    knows: Callable[[bytes], bool] = lambda digest: False,
    *,
    batch: int | None = None,
    threads: int | None = None,
) -> Iterator[Scored]:
    """Scores chunks of a list, some ahead of the one that is given.

    Args:
        scorer: what with.
        chunks: entries of the list.
        knows: tells of a digest whether it was answered before. An answer that was given here must
            be known when the next chunk is asked for.
        batch: the most pictures that the model is given at once; by default as the engine likes.
        threads: that read and decode; by default as many as processors.

    Yields:
        For each chunk in turn what is to be added to the store.
    """
    threads = threads or len(os.sched_getaffinity(0))
    run = _Run(scorer, knows, batch or best_batch(scorer), threads)
    try:
        for (chunk, jobs), outputs in scorer.engine.answers(run.batches(chunks)):
            if outputs is not None:
                chunk.contents += _answered(scorer, jobs, outputs)
                continue
            yield Scored(tuple(chunk.files), tuple(chunk.contents), chunk.entries)
            run.pending -= chunk.digests
    finally:
        run.pool.shutdown(wait=True, cancel_futures=True)


def best_batch(scorer: Scorer) -> int:
    """How many pictures of the feeder's size the engine likes at once."""
    height, width = scorer.size if isinstance(scorer.size, tuple) else (scorer.size, scorer.size)
    return scorer.engine.batch(height * width)


def chunk_size(batch: int) -> int:
    """How many entries are scored and added together.

    Batches do not reach over the border of a chunk: after a kill the same ones are made again.
    """
    return 4 * batch if batch > 1 else 16


@dataclass
class _Job:
    digest: bytes
    fed: Fed

    @property
    def size(self) -> tuple[int, int]:
        return self.fed.placements[0].original_size


@dataclass
class _Chunk:
    entries: int = 0
    files: list[FileRow] = field(default_factory=list)
    contents: list[Content] = field(default_factory=list)
    digests: set[bytes] = field(default_factory=set)


class _Run:
    """Reads ahead, finds copies, and makes batches.

    Of several files with the same bytes, whichever thread comes first decodes them, and the first
    in the list is answered, so that batches do not depend on the threads.
    """

    def __init__(
        self, scorer: Scorer, knows: Callable[[bytes], bool], batch: int, threads: int
    ) -> None:
        self.scorer, self.knows, self.batch = scorer, knows, batch
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="fcnkeras-read")
        self.ahead = 2 * threads + 2 * batch
        self.pending: set[bytes] = set()  # digests of chunks that are not added yet
        self.lock = threading.Lock()
        self.claims: dict[bytes, Future[Reading]] = {}  # of digests that a thread has to decode

    def batches(
        self, chunks: Iterable[list[Entry]]
    ) -> Iterator[tuple[tuple[_Chunk, list[_Job]], Arrays | None]]:
        """Batches of pictures of one shape and one chunk, and None at the end of each chunk."""
        for _, readings in itertools.groupby(self._read(chunks), key=lambda found: found[0]):
            chunk = _Chunk()
            groups: dict[tuple[int, ...], list[_Job]] = {}
            for _, entry, reading in readings:
                job = self._job(chunk, entry, reading.result())
                if job is None:
                    continue
                shape = job.fed.arrays.shape
                group = groups.setdefault(shape, [])
                group.append(job)
                if len(group) == self.batch:
                    yield (chunk, group), self._inputs(groups.pop(shape))
            for group in groups.values():
                yield (chunk, group), self._inputs(group)
            yield (chunk, []), None

    def _inputs(self, jobs: list[_Job]) -> Arrays:
        return self.scorer.inputs([job.fed for job in jobs])

    def _read(self, chunks: Iterable[list[Entry]]) -> Iterator[tuple[int, Entry, Future[Reading]]]:
        """(number of the chunk, entry, what is read of it), with the next ones under way."""
        waiting: deque[tuple[int, Entry, Future[Reading]]] = deque()
        for number, entries in enumerate(chunks):
            for entry in entries:
                waiting.append((number, entry, self.pool.submit(self._look, entry)))
                if len(waiting) > self.ahead:
                    yield waiting.popleft()
        yield from waiting

    def _look(self, entry: Entry) -> Reading:
        """Reads an entry, and decodes it unless its bytes are known or another thread's."""
        claims: list[Future[Reading]] = []

        def claim(digest: bytes) -> bool:
            with self.lock:
                if digest in self.claims or digest in self.pending or self.knows(digest):
                    return False
                self.claims[digest] = Future()
                claims.append(self.claims[digest])
                return True

        try:
            reading = read_entry(entry, self.scorer.feed, self.scorer.least, claim)
        except BaseException as error:
            for each in claims:
                each.set_exception(error)
            raise
        for each in claims:
            each.set_result(reading)
        return reading

    def _job(self, chunk: _Chunk, entry: Entry, reading: Reading) -> _Job | None:
        """Notes in the chunk what was read; what the model has to answer, if it has to."""
        chunk.entries += 1
        while reading.digest is not None:
            if reading.digest in self.pending or self.knows(reading.digest):
                self.claims.pop(reading.digest, None)
                chunk.files.append(FileRow(entry.path, reading.stamp, reading.digest))
                return None
            claim = self.claims.pop(reading.digest, None)
            source = None if claim is None else claim.result()
            if source is not None and source.digest == reading.digest:
                return self._new(chunk, entry, reading, source)
            # The thread that was to decode these bytes could not read its own file to the end.
            reading = self._look(entry)
        if not reading.unchanged:
            chunk.files.append(FileRow(entry.path, error=reading.error))
        return None

    def _new(self, chunk: _Chunk, entry: Entry, reading: Reading, source: Reading) -> _Job | None:
        digest = source.digest
        assert digest is not None
        self.pending.add(digest)
        chunk.digests.add(digest)
        chunk.files.append(FileRow(entry.path, reading.stamp, digest))
        if source.fed is None:
            chunk.contents.append(Content(digest, error=source.error))
            return None
        return _Job(digest, source.fed)


def _answered(scorer: Scorer, jobs: list[_Job], outputs: Arrays) -> Iterator[Content]:
    finite = np.logical_and.reduce([np.isfinite(output).all(axis=1) for output in outputs])
    rows = scorer.rows([np.where(finite[:, None], output, 0) for output in outputs])
    for job, row, is_finite in zip(jobs, rows, finite, strict=True):
        if is_finite:
            yield Content(job.digest, job.size, row)
        else:
            yield Content(job.digest, job.size, error=_NOT_FINITE)
