"""What a scoring run has found so far, in one file that survives whatever ends the run.

The file is an SQLite database beside the table of results. It holds the list of this run's
pictures, what each file was when it was read (size, time, digest of its bytes), and the answer to
each content, so that copies are answered once. Rows are added a chunk at a time, all or none.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fcnkeras.scoring.listing import Listed

FORMAT = 1  # of the file; another one is refused
_AT_ONCE = 10_000

_TABLES = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS listing (
    position INTEGER PRIMARY KEY, path BLOB NOT NULL UNIQUE, error TEXT);
CREATE TABLE IF NOT EXISTS files (
    path BLOB PRIMARY KEY, size INTEGER, time INTEGER, digest BLOB, error TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS contents (
    digest BLOB PRIMARY KEY, width INTEGER, height INTEGER, "values" TEXT, error TEXT
    ) WITHOUT ROWID;
"""


class StoreError(ValueError):
    """The file of a run cannot be used, or cannot be written."""


@dataclass(frozen=True)
class Entry:
    """A picture of the list.

    Attributes:
        path: of the file.
        error: why it could not be listed, or None.
        stamp: (bytes, time of the last change in ns) of the file when it was last answered, or
            None.
    """

    path: bytes
    error: str | None = None
    stamp: tuple[int, int] | None = None


@dataclass(frozen=True)
class FileRow:
    """What was at a path.

    Attributes:
        path: of the file.
        stamp: (bytes, time of the last change in ns), None if it could not be read.
        digest: of its bytes; its answer is the `Content` of that digest.
        error: why it could not be read. Such a file is tried again in the next run.
    """

    path: bytes
    stamp: tuple[int, int] | None = None
    digest: bytes | None = None
    error: str | None = None


@dataclass(frozen=True)
class Content:
    """The answer to the bytes of a file.

    Attributes:
        digest: of the bytes.
        size: (width, height) of the upright picture, None if it cannot be decoded.
        values: one for every column of results, None without an answer.
        error: why there is no answer.
    """

    digest: bytes
    size: tuple[int, int] | None = None
    values: tuple[float | int | str, ...] | None = None
    error: str | None = None


@dataclass(frozen=True)
class Scored:
    """What is added at once: a chunk of the list. It can be pickled.

    Attributes:
        files: a row for each entry whose file was read anew.
        contents: the answers that are new.
        entries: of the chunk, those without news too.
    """

    files: tuple[FileRow, ...]
    contents: tuple[Content, ...]
    entries: int


@dataclass(frozen=True)
class Row:
    """A row of the finished table; `error` is None where the picture was scored."""

    path: bytes
    size: tuple[int, int] | None
    values: tuple[float | int | str, ...] | None
    error: str | None


class Store:
    """The state of a run. One process at a time may have it open; its methods take turns.

    Args:
        path: of the file; it is made if it is not there.
        settings: what the answers depend on, in words that an error can show.

    Raises:
        StoreError: it holds answers that depend on something else, belongs to another run that is
            going on, is damaged, or cannot be written.
    """

    def __init__(self, path: Path, settings: Mapping[str, str]) -> None:
        self.path = path
        self._lock = threading.RLock()
        with self._told():
            self._database = sqlite3.connect(
                path, timeout=0, isolation_level=None, check_same_thread=False
            )
        try:
            with self._told():
                # One process only: so it also works where files are shared over a network.
                self._database.execute("PRAGMA locking_mode=EXCLUSIVE")
                # A commit appends to a log, and is whole or not there after a kill at any moment.
                self._database.execute("PRAGMA journal_mode=WAL")
                self._database.execute("PRAGMA synchronous=NORMAL")
                self._database.executescript(f"BEGIN IMMEDIATE;{_TABLES}COMMIT;")
                self._check(settings)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Ends the use of the file."""
        with self._lock:
            self._database.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check(self, settings: Mapping[str, str]) -> None:
        wanted = {"format": str(FORMAT), **settings}
        held = dict(self._database.execute("SELECT name, value FROM settings"))
        if not held:
            with self._transaction():
                self._database.executemany("INSERT INTO settings VALUES (?, ?)", wanted.items())
            return
        for name in sorted({*held, *wanted}, key=[*wanted, *held].index):
            before, now = held.get(name, "none"), wanted.get(name, "none")
            if before != now:
                raise StoreError(
                    f"{self.path} holds scores made with {name} {_short(before)}, this is {name} "
                    f"{_short(now)}: score with the former, write to another file, or remove it to "
                    "begin anew."
                )

    def set_list(self, listed: Iterable[Listed]) -> int:
        """Makes this the list of pictures; a path that comes again is left out, and so are pictures
        of an earlier list, whose answers stay known.

        Returns:
            How many there are.
        """
        with self._transaction():
            self._database.execute("DELETE FROM listing")
            batches = iter(listed)
            while rows := list(itertools.islice(batches, _AT_ONCE)):
                self._database.executemany(
                    "INSERT OR IGNORE INTO listing (path, error) VALUES (?, ?)", rows
                )
            (count,) = self._database.execute("SELECT count(*) FROM listing").fetchone()
        return count

    def chunks(self, size: int) -> Iterator[list[Entry]]:
        """The list in its order, `size` entries at a time."""
        last = 0
        while True:
            with self._told(), self._lock:
                found = self._database.execute(
                    "SELECT position, path, listing.error, files.size, files.time FROM listing "
                    "LEFT JOIN files USING (path) WHERE position > ? ORDER BY position LIMIT ?",
                    (last, size),
                ).fetchall()
            if not found:
                return
            last = found[-1][0]
            yield [
                Entry(path, error, None if bytes_ is None else (bytes_, time))
                for _, path, error, bytes_, time in found
            ]

    def knows(self, digest: bytes) -> bool:
        """Whether there is an answer to this content."""
        with self._told(), self._lock:
            query = "SELECT 1 FROM contents WHERE digest = ?"
            return self._database.execute(query, (digest,)).fetchone() is not None

    def add(self, scored: Scored) -> None:
        """Adds a chunk, as a whole; an answer that is there already stays as it is."""
        if not scored.files and not scored.contents:
            return
        with self._transaction():
            self._database.executemany(
                "INSERT OR IGNORE INTO contents VALUES (?, ?, ?, ?, ?)",
                (
                    (
                        content.digest,
                        *(content.size or (None, None)),
                        None if content.values is None else json.dumps(content.values),
                        content.error,
                    )
                    for content in scored.contents
                ),
            )
            self._database.executemany(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)",
                (
                    (row.path, *(row.stamp or (None, None)), row.digest, row.error)
                    for row in scored.files
                ),
            )

    def rows(self) -> Iterator[Row]:
        """A row for each picture of the list, in its order; none for those not yet answered."""
        last = 0
        while True:
            with self._told(), self._lock:
                found = self._database.execute(
                    "SELECT position, path, listing.error, files.error, contents.error, "
                    'width, height, "values" FROM listing '
                    "LEFT JOIN files USING (path) LEFT JOIN contents USING (digest) "
                    "WHERE position > ? ORDER BY position LIMIT ?",
                    (last, _AT_ONCE),
                ).fetchall()
            if not found:
                return
            last = found[-1][0]
            for _, path, *errors, width, height, values in found:
                error = next((error for error in errors if error), None)
                size = None if width is None else (width, height)
                answer = None if error or values is None else tuple(json.loads(values))
                if error or answer is not None:
                    yield Row(path, size, answer, error)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._told(), self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._database.execute("COMMIT")
            except BaseException:
                # After a full disk SQLite may have undone it already.
                with contextlib.suppress(sqlite3.Error):
                    self._database.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """One sentence for whatever keeps the file from being used."""
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(f"{self._reason(error)} ({error})") from error

    def _reason(self, error: sqlite3.Error) -> str:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_BUSY:
            return f"Another run is writing to {self.path}"
        if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            return (
                f"{self.path} could not be written: make room on the disk, and the same command "
                "goes on"
            )
        if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
            return f"{self.path} cannot be written"
        if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            return f"{self.path} is damaged or of another program: remove it to begin anew"
        return f"{self.path} cannot be used"


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
