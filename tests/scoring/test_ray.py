"""A list on a cluster of processes on this machine: the rows of one process, and what may go wrong.

Most of it with a scorer that needs no network, whose numbers tell how pictures were batched.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import brightness
import pytest
from brightness import Brightness, picture, run

from fcnkeras.scoring import ClusterError, score_ray
from fcnkeras.scoring.listing import list_pictures
from fcnkeras.scoring.store import Store
from fcnkeras.scoring.tables import table_columns, table_lines, write_table

try:
    import ray
except ImportError:
    ray = None
pytestmark = pytest.mark.skipif(ray is None, reason="needs Ray: pip install 'fcnkeras[ray]'")

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def environment():
    """What the processes of a cluster inherit: nothing is reported, no token is kept at home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{Path(brightness.__file__).parent}")
        patch.delenv("RAY_ADDRESS", raising=False)
        yield


@pytest.fixture(scope="module")
def cluster(environment):
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=100_000_000,
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    """500 pictures of several shapes, 25 of them broken in several ways, 20 of them copies."""
    folder = tmp_path_factory.mktemp("collection")
    for number in range(500):
        path = folder / f"{number:03}.png"
        picture(path, number if number % 25 else 7, [(20, 14), (14, 20), (30, 14)][number % 7 % 3])
        if number % 20 == 3:
            broken = [b"", b"no picture", path.read_bytes()[:60]]
            path.write_bytes(broken[number % 3])
    return folder


@pytest.fixture(scope="module")
def expected(collection, tmp_path_factory):
    """The table of one process."""
    table = tmp_path_factory.mktemp("expected") / "t.csv"
    run([collection], table)
    return table.read_bytes()


def on_cluster(sources, table, scorer, **options):
    """As `brightness.run`."""
    with Store(table.with_name(f"{table.name}.state"), scorer.settings) as store:
        total = store.set_list(list_pictures(sources))
        progress = score_ray(scorer, store, total, **options)
        lines = table_lines(store.rows(), scorer.columns, scorer.settings)
        write_table(table, table_columns(scorer.columns), lines)
    return progress


def workers():
    """The processes of actors, of clusters that this process has started."""
    parents, names = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            names[int(folder.name)] = (folder / "cmdline").read_bytes()
        except OSError:  # it has ended
            continue
        parents[int(folder.name)] = int(parent)

    def is_ours(process):
        while process in parents and process != os.getpid():
            process = parents[process]
        return process == os.getpid()

    return {
        process
        for process, name in names.items()
        if name.startswith(b"ray::ScoringWorker") and is_ours(process)
    }


class Killer:
    """Kills a worker when the first portion has come back; keeps who was there then and later."""

    def __init__(self):
        self.killed, self.later, self.left = None, set(), 0

    def __call__(self, progress):
        found = workers()
        if self.killed is None:
            self.killed, self.left = min(found), progress.total - progress.done
            os.kill(self.killed, signal.SIGKILL)
        self.later |= found - {self.killed}


def test_a_killed_worker_loses_nothing(cluster, collection, expected, tmp_path):
    kill = Killer()
    scorer = Brightness(0.01)
    progress = on_cluster([collection], tmp_path / "t.csv", scorer, workers=2, tell=kill)
    assert kill.left >= 400
    assert len(kill.later) == 2  # the other one, and the one that came instead
    assert (tmp_path / "t.csv").read_bytes() == expected
    assert (progress.total, progress.done) == (500, 500)
    # The computing was in the workers, each content once for the store.
    assert scorer.engine.batches == []
    whole, _ = run([collection], tmp_path / "one.csv")
    assert (progress.computed, progress.failed) == (whole.computed, whole.failed)


def test_copies_are_batched_as_on_one_machine(cluster, collection, expected, tmp_path, monkeypatch):
    """The control: without what the store knows, a portion with copies has other batches."""
    monkeypatch.setattr(Store, "knows", lambda *_: False)
    on_cluster([collection], tmp_path / "t.csv", Brightness(), workers=2)
    assert (tmp_path / "t.csv").read_bytes() != expected


def test_a_run_that_stops_goes_on_with_or_without_a_cluster(
    cluster, collection, expected, tmp_path
):
    class Stop(Exception):
        pass

    def stop(progress):
        if progress.done >= 150:
            raise Stop

    for first, second in ((on_cluster, run), (run, on_cluster)):
        table = tmp_path / f"{first.__name__}.csv"
        with pytest.raises(Stop):
            first([collection], table, Brightness(), tell=stop)
        second([collection], table, Brightness())
        assert table.read_bytes() == expected
    assert workers() == set()


def test_urls_and_relative_paths(cluster, collection, expected, tmp_path, monkeypatch):
    on_cluster([f"file://{collection}"], tmp_path / "url.csv", Brightness())
    text = expected.decode()
    assert (tmp_path / "url.csv").read_text() == text.replace(
        f"{collection}/", f"file://{collection}/"
    )
    monkeypatch.chdir(collection.parent)
    on_cluster([collection.name], tmp_path / "relative.csv", Brightness(), workers=1)
    assert (tmp_path / "relative.csv").read_text() == text.replace(
        f"{collection}/", f"{collection.name}/"
    )


def test_an_empty_list(cluster, tmp_path):
    with Store(tmp_path / "s", Brightness.settings) as store:
        assert score_ray(Brightness(), store, store.set_list([])).done == 0


class Deadly(Brightness):
    """Ends its process at one picture, as a decoder with a fault may."""

    def feed(self, picture):
        if picture.size == (17, 17):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().feed(picture)


def test_a_picture_that_ends_every_worker(cluster, tmp_path):
    folder, table = tmp_path / "pictures", tmp_path / "t.csv"
    folder.mkdir()
    for number in range(200):
        picture(folder / f"{number:03}.png", number, (17, 17) if number == 100 else (20, 14))
    paths = r"\S*/064\.png to \S*/127\.png"
    with pytest.raises(ClusterError, match=f"3 workers ended, one after the other, .* {paths}"):
        on_cluster([folder], table, Deadly(), workers=2)
    run([folder], table, Brightness())
    run([folder], tmp_path / "whole.csv", Brightness())
    assert table.read_bytes() == (tmp_path / "whole.csv").read_bytes()


class Unpacked(Brightness):
    def __setstate__(self, state):
        raise OSError("no such model\nand more")


class Ended(Brightness):
    def __setstate__(self, state):
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("scorer", "message"),
    [
        (Unpacked(), "^A worker cannot score: no such model$"),
        (Ended(), "^3 workers ended before they could begin: "),
    ],
)
def test_workers_that_cannot_begin(cluster, collection, tmp_path, scorer, message):
    with pytest.raises(ClusterError, match=message):
        on_cluster([collection], tmp_path / "t.csv", scorer, workers=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "`workers` must be at least 1. Received: 0"),
        ({"cpus": -1}, "`cpus` must be at least 1. Received: -1"),
        ({"cpus": 3}, "A worker must fit on a machine, of 2 processors at most. Received: 3"),
    ],
)
def test_mistakes(cluster, collection, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        on_cluster([collection], tmp_path / "t.csv", Brightness(), **options)


def test_without_ray(collection, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ClusterError, match=r'package Ray: pip install "fcnkeras\[ray\]"'):
        on_cluster([collection], tmp_path / "t.csv", Brightness())


def test_no_cluster_at_the_address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    # A connection that is there is used as it is, so in a process without one.
    code = (
        "from brightness import Brightness\n"
        "from fcnkeras.scoring import score_ray\n"
        f"score_ray(Brightness(), None, 0, address='ray://{address}')"
    )
    path = f"{ROOT}{os.pathsep}{Path(brightness.__file__).parent}"
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    last = done.stderr.splitlines()[-1]
    assert f"ClusterError: There is no Ray cluster at ray://{address}: " in last
