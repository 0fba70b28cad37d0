"""Scoring a list of pictures on a Ray cluster: the rows that one machine gives.

The list goes out in portions of whole chunks, the chunks and batches of `runner`. Actors that hold
the model read, decode and compute them; this process alone writes the store, a portion at a time in
the order of the list, so that of copies the first is the one that counts, and a run that is killed
goes on from the store, on a cluster or without one. A worker that is lost loses nothing: what it
had is given to others.

These are plain actors and not Ray Data's: its source would be the whole list at once, where here
the store gives what is next; a portion with copies of earlier pictures could not be sent again, to
be batched as one machine batches it; and it cannot say which pictures ended a worker.
"""

from __future__ import annotations

import os
import pickle
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fcnkeras.scoring import remote
from fcnkeras.scoring.listing import shown
from fcnkeras.scoring.runner import Progress, best_batch, chunk_size, score_chunks
from fcnkeras.scoring.store import Entry, Scored, Store

if TYPE_CHECKING:
    from fcnkeras.scoring.scorer import Scorer

PORTION = 64  # pictures at least: fewer cost more on the way, more are lost with a worker
IN_FLIGHT = 2  # portions that a worker has, so that it need not wait for the next
AHEAD = 16  # portions for each worker that may be finished before the slowest one
TRIES = 3  # workers that may end on the same portion

Portion = list[list[Entry]]


class ClusterError(ValueError):
    """A run cannot go on, or not begin, on a cluster. What the store holds stays."""


def score_ray(
    scorer: Scorer,
    store: Store,
    total: int,
    *,
    batch: int | None = None,
    workers: int | None = None,
    cpus: int | None = None,
    address: str | None = None,
    tell: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """Scores the pictures of a store's list that it has no answer to, on a Ray cluster.

    Args:
        scorer: what with; it is sent to the workers with its model and engine, so what the engine
            needs must be installed there.
        store: with the list. Paths must be the same on every machine: of shared disks, or URLs
            (`s3://bucket/a.jpg`).
        total: the pictures of the list.
        batch: the most pictures that the model is given at once; by default as the engine likes.
        workers: actors that hold the model; by default as many as the cluster has room for.
        cpus: processors of each, and so the threads it may use; by default those of the smallest
            machine, or its share of all if there are `workers`.
        address: of a cluster that is there ("auto", "ray://host:10001"); by default what
            `RAY_ADDRESS` says, else a cluster on this machine for the time of the run. A
            connection that this process has already is used as it is.
        tell: is called after each portion.

    Returns:
        How far it came: to the end.

    Raises:
        ClusterError: Ray is not installed or cannot be reached, a worker cannot load the model, or
            the same pictures ended three workers one after the other.
        StoreError: the store cannot be written. What it held before stays.

    Limits on pixels that were set anew in this process are not known to the workers.

    Example:
        >>> from fcnkeras.scoring.listing import list_pictures
        >>> from fcnkeras.scoring.store import Store
        >>> scorer = fcnkeras.load_model("runs/train/model.keras")
        >>> with Store(Path("scores.state"), scorer.settings) as store:
        ...     total = store.set_list(list_pictures(["s3://archive/photos"]))
        ...     score_ray(scorer, store, total, address="auto")
        ...     rows = list(store.rows())
    """
    ray = import_ray()
    for name, value in (("workers", workers), ("cpus", cpus)):
        if value is not None and value < 1:
            raise ValueError(f"`{name}` must be at least 1. Received: {value}")
    batch = batch or best_batch(scorer)
    progress = Progress(total)
    with _cluster(ray, address, (workers or 1) * (cpus or 1)):
        pool = _Pool(ray, scorer, batch, *_shares(ray, workers, cpus))
        try:
            for scored in pool.scored(_portions(store, batch), store.knows):
                store.add(scored)
                progress.add(scored)
                tell(progress)
        finally:
            pool.close()
    return progress


def import_ray() -> Any:
    """Ray, or one sentence that says how to install it; raises `ClusterError`."""
    try:
        import ray
    except ImportError as error:
        raise ClusterError(
            'A cluster needs the package Ray: pip install "fcnkeras[ray]"'
        ) from error
    return ray


@contextmanager
def _cluster(ray: Any, address: str | None, cpus: int) -> Iterator[None]:
    """A connection to a cluster; one that is made here is ended here."""
    if ray.is_initialized():
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == "local":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        here = len(os.sched_getaffinity(0))
        options |= {"include_dashboard": False, "num_cpus": max(here, cpus)}
    else:
        _check_address(address)
    try:
        ray.init(address=address, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ClusterError(
            f"The Ray cluster {address} cannot be used: {_first_line(error)}"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_address(address: str) -> None:
    """Raises if nobody answers there: Ray itself would go on asking for many minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(f"There is no Ray cluster at {address}: {error}") from error


def _shares(ray: Any, workers: int | None, cpus: int | None) -> tuple[int, int]:
    """How many workers, and how many processors for each."""
    sizes = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    sizes = [size for size in sizes if size]
    if not sizes and (workers is None or cpus is None):
        raise ClusterError("The cluster has no processors yet: say how many workers, and cpus.")
    if cpus is None:
        cpus = min(sizes) if workers is None else max(1, min(*sizes, sum(sizes) // workers))
    elif sizes and cpus > max(sizes):
        raise ClusterError(
            f"A worker must fit on a machine, of {max(sizes)} processors at most. Received: {cpus}"
        )
    return workers or sum(size // cpus for size in sizes), cpus


def _portions(store: Store, batch: int) -> Iterator[Portion]:
    size = chunk_size(batch)
    portion: Portion = []
    for chunk in store.chunks(size):
        portion.append(chunk)
        if len(portion) * size >= PORTION:
            yield portion
            portion = []
    if portion:
        yield portion


class ScoringWorker:
    """The actor: a scorer in a process of its own.

    Args:
        pickled: the scorer.
        batch: the most pictures at once.
        environment: variables to set before the libraries start, that limit their threads.
        threads: that read and decode.
        folder: that relative paths start from.
    """

    def __init__(
        self, pickled: bytes, batch: int, environment: dict[str, str], threads: int, folder: str
    ) -> None:
        os.environ.update(environment)
        self._pickled, self._batch, self._threads = pickled, batch, threads
        self._folder = folder
        self._scorer: Any = None

    def start(self) -> None:
        """Loads the model; not at once, so that an error is told as what it is."""
        self._scorer = pickle.loads(self._pickled)
        self._pickled = b""

    def score(self, portion: Portion, known: frozenset[bytes]) -> Scored:
        """Scores a portion.

        Args:
            portion: chunks of the list.
            known: digests that were answered before.

        Returns:
            What is to be added, of all chunks together.
        """
        paths = [entry.path for chunk in portion for entry in chunk]
        if any(path[:1] != b"/" and not remote.is_url(path) for path in paths):
            os.chdir(self._folder)
        answered = set(known)
        parts = []
        for scored in score_chunks(
            self._scorer, portion, answered.__contains__, batch=self._batch, threads=self._threads
        ):
            answered.update(content.digest for content in scored.contents)
            parts.append(scored)
        return Scored(
            tuple(row for part in parts for row in part.files),
            tuple(content for part in parts for content in part.contents),
            sum(part.entries for part in parts),
        )


@dataclass(eq=False)
class _Job:
    portion: Portion
    known: frozenset[bytes] = frozenset()
    tries: int = 0
    scored: Scored | None = None


@dataclass(eq=False)
class _Member:
    """A worker, and what it was given: what it does now comes first."""

    actor: Any
    started: Any
    ready: bool = False
    queue: deque[tuple[_Job, Any]] = field(default_factory=deque)

    @property
    def awaited(self) -> Any:
        return self.queue[0][1] if self.queue else None if self.ready else self.started


class _Pool:
    """Workers, and the portions that are under way.

    Ray's own retries are not used: they wait for the same actor to come back, which it cannot where
    its machine is gone.
    """

    def __init__(self, ray: Any, scorer: Scorer, batch: int, workers: int, cpus: int) -> None:
        self._ray, self._batch = ray, batch
        names = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
        environment = {name: str(cpus) for name in names} | {"TF_CPP_MIN_LOG_LEVEL": "3"}
        if (keras := sys.modules.get("keras")) is not None:
            environment["KERAS_BACKEND"] = keras.backend.backend()
        self._given = (ray.put(pickle.dumps(scorer)), batch, environment, cpus, str(Path.cwd()))
        self._actor = ray.remote(ScoringWorker).options(num_cpus=cpus, max_restarts=0)
        self._window = AHEAD * workers
        self._lost_at_start, self._all_given = 0, False
        self._again: deque[_Job] = deque()
        self._members: list[_Member] = []
        for _ in range(workers):
            self._enlist()

    def close(self) -> None:
        """Ends the workers."""
        while self._members:
            self._dismiss(self._members[-1])

    def scored(
        self, portions: Iterator[Portion], knows: Callable[[bytes], bool]
    ) -> Iterator[Scored]:
        """What is to be added for each portion in turn.

        Args:
            portions: of the list; taken as there is room.
            knows: tells of a digest whether it was answered in what was given before.
        """
        jobs: deque[_Job] = deque()
        while True:
            self._hand_out(portions, jobs)
            if not jobs and self._all_given:
                return
            if not jobs or jobs[0].scored is None:
                self._wait()
                continue
            job = jobs[0]
            assert job.scored is not None
            known = frozenset(c.digest for c in job.scored.contents if knows(c.digest))
            if known and self._batch > 1:
                # Without these copies the batches are others, and so is the rounding of the rest.
                job.known, job.scored = known, None
                self._again.appendleft(job)
                continue
            jobs.popleft()
            contents = tuple(c for c in job.scored.contents if c.digest not in known)
            yield replace(job.scored, contents=contents)

    def _enlist(self) -> None:
        actor = self._actor.remote(*self._given)
        self._members.append(_Member(actor, actor.start.remote()))

    def _dismiss(self, member: _Member) -> None:
        self._members.remove(member)
        self._ray.kill(member.actor)

    def _hand_out(self, portions: Iterator[Portion], jobs: deque[_Job]) -> None:
        for depth in range(IN_FLIGHT):
            for member in self._members:
                if not member.ready or len(member.queue) > depth:
                    continue
                job = self._next(portions, jobs)
                if job is None:
                    return
                member.queue.append((job, member.actor.score.remote(job.portion, job.known)))

    def _next(self, portions: Iterator[Portion], jobs: deque[_Job]) -> _Job | None:
        if self._again:
            return self._again.popleft()
        if len(jobs) >= self._window:
            return None
        portion = next(portions, None)
        if portion is None:
            self._all_given = True
            return None
        jobs.append(_Job(portion))
        return jobs[-1]

    def _wait(self) -> None:
        """Waits for a worker, and takes what it has done."""
        awaited = {member.awaited: member for member in self._members}
        awaited.pop(None, None)
        (done,), _ = self._ray.wait(list(awaited), num_returns=1)
        member = awaited[done]
        errors = self._ray.exceptions
        try:
            found = self._ray.get(done)
        except errors.RayTaskError as error:
            raise ClusterError(f"A worker cannot score: {_first_line(error.cause)}") from error
        except (errors.RayActorError, errors.ObjectLostError) as error:
            self._lost(member, error)
            return
        except errors.RayError as error:
            raise ClusterError(f"The cluster cannot be used: {_first_line(error)}") from error
        if not member.ready:
            member.ready, self._lost_at_start = True, 0
            return
        job, _ = member.queue.popleft()
        job.scored = found

    def _lost(self, member: _Member, error: Exception) -> None:
        """Gives what a worker had to others, and calls for a new one."""
        self._dismiss(member)
        jobs = [job for job, _ in member.queue]
        self._again.extend(jobs)
        if jobs:
            jobs[0].tries += 1
            if jobs[0].tries == TRIES:
                first, last = jobs[0].portion[0][0], jobs[0].portion[-1][-1]
                raise ClusterError(
                    f"{TRIES} workers ended, one after the other, on the pictures from "
                    f"{shown(first.path)} to {shown(last.path)}: one of them may need more memory "
                    "than there is."
                ) from error
        elif not member.ready:
            self._lost_at_start += 1
            if self._lost_at_start == TRIES:
                raise ClusterError(
                    f"{TRIES} workers ended before they could begin: {_last_line(error)}"
                ) from error
        self._enlist()


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _last_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1].strip()
