"""Runs: killed, on a full disk, on a folder that changes, with copies and all kinds of files."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import brightness
import numpy as np
import pytest
from brightness import Brightness, picture, run
from PIL import Image

from fcnkeras.scoring.store import Store, StoreError

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = [sys.executable, brightness.__file__]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def rows_of(table):
    with table.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def json_rows(table):
    return [json.loads(line) for line in table.read_text(encoding="utf-8").split("\n")[:-1]]


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    """500 pictures of several shapes, 5 % of them broken in several ways, 20 of them copies."""
    folder = tmp_path_factory.mktemp("collection")
    for number in range(500):
        place = folder / f"part{number % 3}"
        place.mkdir(exist_ok=True)
        path = place / f"{number:03}.png"
        picture(path, number if number % 25 else 7, [(20, 14), (14, 20), (30, 14)][number % 7 % 3])
        if number % 20 == 3:
            broken = [b"", b"no picture", path.read_bytes()[:60]]
            path.write_bytes(broken[number % 3])
    return folder


def kill_at_random(command, table, kills, seconds, seed):
    """Runs a command that writes a table, killed so many times while it was going."""
    rng, (low, high), hit = random.Random(seed), seconds, 0
    while hit < kills:
        process = subprocess.Popen(command, env=ENVIRONMENT)
        try:
            process.wait(rng.uniform(low, high))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            hit += 1
        else:  # quicker than it was: from the beginning, and killed sooner
            assert process.returncode == 0
            high = low + 0.7 * (high - low)
            for path in table.parent.glob(f"{table.name}*"):
                path.unlink()


@pytest.mark.parametrize("kills", [5, pytest.param(40, marks=pytest.mark.slow)])
def test_killed_at_random_moments(collection, tmp_path, kills):
    undisturbed, killed = tmp_path / "a.csv", tmp_path / "b.csv"
    start = time.monotonic()
    subprocess.run([*SCRIPT, collection, undisturbed], env=ENVIRONMENT, check=True)
    whole = time.monotonic() - start
    command = [*SCRIPT, collection, killed]
    # A quarter of the time is the start, so that each run comes some way and few reach the end.
    kill_at_random(command, killed, kills, (0.2 * whole, 0.6 * whole), seed=kills)
    subprocess.run(command, env=ENVIRONMENT, check=True)
    assert killed.read_bytes() == undisturbed.read_bytes()
    rows = rows_of(killed)
    assert [row["path"] for row in rows] == sorted(str(path) for path in collection.rglob("*.png"))
    assert sum(row["status"] == "failed" for row in rows) == 25
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["a.csv", "a.csv.state", "b.csv", "b.csv.state"]


def test_a_run_in_two_parts_computes_each_picture_once(collection, tmp_path):
    class Stop(Exception):
        pass

    def stop(progress):
        if progress.done >= 200:
            raise Stop

    table = tmp_path / "t.csv"
    first, second, whole = Brightness(), Brightness(), Brightness()
    with pytest.raises(Stop):
        run([collection], table, first, tell=stop)
    assert not table.exists()
    run([collection], table, second)
    run([collection], tmp_path / "whole.csv", whole)
    assert table.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    answered = [sum(scorer.engine.batches) for scorer in (first, second, whole)]
    distinct = {(row["red"], row["width"], row["height"]) for row in rows_of(table)} - {
        ("", "", "")
    }
    assert answered[2] >= len(distinct)
    # What the first run had answered beyond its last whole chunk is answered again.
    assert 0 <= answered[0] + answered[1] - answered[2] <= 64
    third = Brightness()
    run([collection], table, third)
    assert third.engine.batches == []


@pytest.mark.parametrize("threads", [1, 4])
def test_copies_are_answered_once(tmp_path, threads):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(40):
        picture(folder / f"{number:02}.png", number % 3)
    (folder / "z.png").write_bytes(b"broken")
    (folder / "zz.png").write_bytes(b"broken")
    scorer = Brightness()
    progress, summary = run([folder], tmp_path / "t.csv", scorer, threads=threads)
    assert sum(scorer.engine.batches) == scorer.fed == progress.computed == 3
    assert (summary.total, summary.failed) == (42, 2)
    values = {row["red"] for row in rows_of(tmp_path / "t.csv")}
    assert len(values) == 4  # and none


def test_a_collection_that_changed(tmp_path):
    folder, table = tmp_path / "pictures", tmp_path / "t.jsonl"
    folder.mkdir()
    for number in range(10):
        picture(folder / f"{number}.png", number)
    run([folder], table)
    (folder / "3.png").unlink()
    (folder / "4.png").rename(folder / "moved.png")
    picture(folder / "5.png", 200)
    picture(folder / "new.png", 201)
    (folder / "6.png").write_bytes(b"broken")
    os.utime(folder / "7.png", ns=(1, 1))
    scorer = Brightness()
    _, summary = run([folder], table, scorer)
    assert sum(scorer.engine.batches) == 2
    rows = {Path(row["path"]).name: row for row in json_rows(table)}
    assert sorted(rows) == sorted(path.name for path in folder.iterdir())
    assert summary.failed == 1
    assert rows["6.png"]["error"].startswith("it is not a picture")
    assert rows["moved.png"]["red"] == pytest.approx(4, abs=0.01)
    assert rows["5.png"]["red"] == pytest.approx(200, abs=0.01)


def test_a_folder_that_changes_during_the_run(tmp_path):
    folder, table = tmp_path / "pictures", tmp_path / "t.csv"
    folder.mkdir()
    for number in range(120):
        picture(folder / f"{number:03}.png", number)

    def change(progress):
        if progress.done == 16:
            (folder / "090.png").unlink()
            picture(folder / "091.png", 5000)
            picture(folder / "late.png", 5001)

    run([folder], table, tell=change)
    rows = {Path(row["path"]).name: row for row in rows_of(table)}
    assert len(rows) == 120
    assert (rows["090.png"]["status"], rows["090.png"]["error"]) == ("failed", "no such file")
    assert float(rows["091.png"]["green"]) == pytest.approx(5000 // 256, abs=0.01)
    run([folder], table)
    rows = {Path(row["path"]).name: row for row in rows_of(table)}
    assert "090.png" not in rows
    assert rows["late.png"]["status"] == "ok"


def test_a_file_that_could_not_be_read_is_tried_again(tmp_path):
    table = tmp_path / "t.csv"
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    picture(paths[0], 1)
    paths[1].symlink_to(tmp_path / "later.png")
    _, summary = run(paths, table)
    assert summary.reasons == {"no such file": 1}
    picture(tmp_path / "later.png", 2)
    _, summary = run(paths, table)
    assert summary.failed == 0


NAMES = [
    b"plain.png",
    b"with space.png",
    b"quote\"s and 'more'.png",
    b"line\nend.png",
    b"carriage\rreturn.png",
    b"comma, semicolon; tab\t.png",
    b"latin \xe9\xff.png",
    "umlaut ü 写真.png".encode(),
    b"[brackets]*.png",
    b"-dash.png",
]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_names_of_all_kinds(tmp_path, ending):
    folder, table = tmp_path / "pictures", tmp_path / f"t.{ending}"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        picture(folder / os.fsdecode(name), number)
    if ending == "parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
    run([folder], table)
    if ending == "csv":
        found = {row["path"]: float(row["red"]) for row in rows_of(table)}
        assert len(table.read_bytes().splitlines()) >= len(NAMES) + 1
    elif ending == "jsonl":
        found = {row["path"]: row["red"] for row in json_rows(table)}
    else:
        read = parquet.read_table(table)
        found = dict(zip(read["path"].to_pylist(), read["red"].to_pylist(), strict=True))
        assert str(read.schema.field("red").type) == "float"
        assert str(read.schema.field("width").type) == "int32"
    before = str(tmp_path / "pictures") + "/"
    expected = {
        before + name.decode("utf-8", "backslashreplace"): i for i, name in enumerate(NAMES)
    }
    assert before + "latin \\xe9\\xff.png" in found
    assert found == pytest.approx(expected, abs=0.01)


def test_files_that_are_no_pictures(tmp_path):
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    Image.new("RGB", (1, 60000)).save(tmp_path / "strip.png")
    (tmp_path / "notes.txt").write_text("not looked at")
    (tmp_path / "named.txt").write_text("named")
    (tmp_path / "loop").symlink_to(tmp_path)
    picture(tmp_path / "good.png", 3)
    table = tmp_path / "t.csv"
    run([tmp_path, tmp_path / "named.txt"], table)
    rows = {Path(row["path"]).name: row["error"] for row in rows_of(table)}
    assert list(rows) == ["good.png", "pipe.png", "strip.png", "named.txt"]
    assert rows["pipe.png"] == "it is not a regular file"
    assert rows["named.txt"].startswith("it is not a picture")


def test_ten_thousand_empty_files(tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    for number in range(10_000):
        (folder / f"{number}.jpg").touch()
    start = time.perf_counter()
    scorer = Brightness()
    _, summary = run([folder], tmp_path / "t.csv", scorer)
    assert time.perf_counter() - start < 30
    assert summary.reasons == {"the file is empty": 10_000}
    assert scorer.engine.batches == []


def test_numbers_that_are_not_finite_fail(tmp_path):
    class Broken(Brightness):
        def inputs(self, fed):
            (pictures,) = super().inputs(fed)
            return [np.where(pictures[:, :1, :1, :1] == 5, np.nan, pictures)]

    for number in range(8):
        picture(tmp_path / f"{number}.png", number)
    run([tmp_path], tmp_path / "t.csv", Broken())
    rows = rows_of(tmp_path / "t.csv")
    assert [row["status"] for row in rows] == ["ok"] * 5 + ["failed"] + ["ok"] * 2
    assert (rows[5]["error"], rows[5]["red"]) == (
        "the model gives a number that is not finite",
        "",
    )
    assert rows[5]["width"] == "20"


def test_a_full_disk(collection, tmp_path):
    table = tmp_path / "t.csv"
    done = subprocess.run(
        [*SCRIPT, collection, table, "60000"], env=ENVIRONMENT, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"{table}.state could not be written: make room on the disk")
    assert len(done.stderr.splitlines()) == 1
    assert not table.exists()
    subprocess.run([*SCRIPT, collection, table], env=ENVIRONMENT, check=True)
    run([collection], tmp_path / "whole.csv")
    assert table.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_other_settings_are_refused(tmp_path):
    path = tmp_path / "t.csv.state"
    Store(path, Brightness.settings).close()
    for name, value in (("model", "other"), ("feeder", "crop"), ("engine", "keras")):
        with pytest.raises(StoreError) as caught:
            Store(path, {**Brightness.settings, name: value})
        text = f"holds scores made with {name} {Brightness.settings[name]}, this is {name} {value}"
        assert text in str(caught.value)
    Store(path, Brightness.settings).close()


def test_one_run_at_a_time(tmp_path):
    path = tmp_path / "t.csv.state"
    with (
        Store(path, Brightness.settings),
        pytest.raises(StoreError, match=r"Another run is writing to .*t\.csv\.state"),
    ):
        Store(path, Brightness.settings)
    path.write_text("something else entirely, of another program\n" * 99)
    with pytest.raises(StoreError, match="is damaged or of another program"):
        Store(path, Brightness.settings)
    with pytest.raises(StoreError, match="cannot be written"):
        Store(tmp_path / "none" / "t.state", Brightness.settings)


@pytest.mark.slow
def test_two_hundred_thousand_paths(tmp_path):
    """Links to the same few pictures: memory stays flat, and time grows with the list."""
    for number in range(5):
        picture(tmp_path / f"{number}.png", number)
    links = tmp_path / "links"
    links.mkdir()
    for number in range(200_000):
        (links / f"{number:06}.png").symlink_to(tmp_path / f"{number % 5}.png")
    code = (
        "import sys, resource, time; from pathlib import Path; from brightness import *\n"
        "count, folder = int(sys.argv[1]), Path(sys.argv[2])\n"
        "paths = [folder / 'links' / f'{n:06}.png' for n in range(count)]\n"
        "names = iter(paths); del paths; scorer = Brightness(); start = time.perf_counter()\n"
        "progress, _ = run(names, folder / f'{count}.csv', scorer)\n"
        "assert (progress.done, progress.computed) == (count, 5), progress\n"
        "peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
        "print(peak, time.perf_counter() - start)"
    )
    environment = {**ENVIRONMENT, "PYTHONPATH": f"{ROOT}:{Path(brightness.__file__).parent}"}
    figures = {}
    for count in (20_000, 200_000):
        command = [sys.executable, "-c", code, str(count), str(tmp_path)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        figures[count] = [float(word) for word in done.stdout.split()]
    (small, short), (large, long) = figures.values()
    print(figures)
    # The paths themselves, which this test keeps in a list, take about 40 MB.
    assert large - small < 100
    assert long < 15 * short
