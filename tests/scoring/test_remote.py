"""Pictures at URLs: listed, read, told apart when they change, and scored on one machine."""

from __future__ import annotations

import csv
import io
import sys

import fsspec
import pytest
from brightness import Brightness, picture, run
from PIL import Image

from fcnkeras.scoring import remote
from fcnkeras.scoring.listing import list_from, list_pictures


def png(value):
    stream = io.BytesIO()
    Image.new("RGB", (20, 14), (value, 1, 2)).save(stream, "png")
    return stream.getvalue()


@pytest.fixture
def bucket():
    """A file system in memory, empty before and after."""
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pseudo_dirs[:] = [""]
    for number, name in enumerate(["b.png", "a/2.png", "a/10.PNG", "ü x.jpg", "a/readme.txt"]):
        files.pipe(f"/bucket/{name}", png(number))
    yield files
    files.store.clear()
    files.pseudo_dirs[:] = [""]


def listed(*sources):
    return [(path.decode(), error) for path, error in list_pictures(sources)]


def test_a_folder_in_the_order_of_its_names(bucket):
    names = ["a/10.PNG", "a/2.png", "b.png", "ü x.jpg"]
    expected = [(f"memory://bucket/{name}", None) for name in names]
    assert [(path.replace(":///", "://"), error) for path, error in listed("memory://bucket")] == (
        expected
    )
    assert listed("memory://bucket/") == listed("memory://bucket")


def test_what_is_named_and_patterns(bucket):
    assert listed("memory://bucket/a/readme.txt") == [("memory://bucket/a/readme.txt", None)]
    (found,) = listed("memory://bucket/*.png")
    assert found[0].endswith("bucket/b.png")
    with pytest.raises(ValueError, match=r"No such picture or folder: memory://bucket/c\.png"):
        listed("memory://bucket/c.png")
    with pytest.raises(ValueError, match="No such picture or folder: memory://bucket/c"):
        listed("memory://bucket/c*")


def test_lists_are_not_asked_for(bucket, monkeypatch):
    text = b"memory://bucket/a/\nmemory://gone/x.png\n"
    found = [path.rpartition(b"bucket/")[2] for path, _ in list_from(io.BytesIO(text))]
    assert found == [b"a/10.PNG", b"a/2.png", b"memory://gone/x.png"]

    def refuse(*_):
        raise AssertionError("asked")

    monkeypatch.setattr(remote, "_open", refuse)
    assert list(list_from(io.BytesIO(b"s3://b/x.png\n"))) == [(b"s3://b/x.png", None)]


def test_a_folder_that_cannot_be_read(bucket, monkeypatch):
    real = type(bucket).ls

    class Denied(Exception):  # as a service's client may have it
        pass

    def ls(self, path, detail=True, **options):
        if path.endswith("bucket/a"):
            raise Denied("no credentials\nand more")
        return real(self, path, detail=detail, **options)

    monkeypatch.setattr(type(bucket), "ls", ls)
    reasons = {path.rpartition("/")[2]: error for path, error in listed("memory://bucket")}
    assert reasons == {
        "a": "the folder cannot be read (no credentials)",
        "b.png": None,
        "ü x.jpg": None,
    }


def rows_of(table):
    with table.open(newline="", encoding="utf-8") as stream:
        return {row["path"].rpartition("/")[2]: row for row in csv.DictReader(stream)}


def test_the_rows_of_a_disk(bucket, tmp_path):
    """Also broken, empty and missing ones: whatever the place, the same is said of them."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    bucket.rm("/bucket", recursive=True)
    contents = {"1.png": png(5), "2.png": png(5), "3.png": png(9), "4.png": b"no", "5.png": b""}
    for name, data in contents.items():
        (folder / name).write_bytes(data)
        bucket.pipe(f"/bucket/{name}", data)
    run([folder], tmp_path / "disk.csv")
    run(["memory://bucket"], tmp_path / "cloud.csv")
    run([f"file://{folder}"], tmp_path / "file.csv")
    disk, cloud, file = (rows_of(tmp_path / f"{name}.csv") for name in ("disk", "cloud", "file"))
    for rows in (disk, cloud, file):
        assert [row.pop("path").rpartition("/")[2] for row in rows.values()] == sorted(contents)
    assert cloud == file == disk
    assert disk["5.png"]["error"] == "the file is empty"


def test_what_changed_is_read_again(bucket, tmp_path):
    table = tmp_path / "t.csv"
    run(["memory://bucket"], table)
    again = Brightness()
    run(["memory://bucket"], table, again)
    assert again.fed == 0
    bucket.pipe("/bucket/b.png", png(200))
    run(["memory://bucket"], table, again)
    assert again.fed == 1
    assert float(rows_of(table)["b.png"]["red"]) == pytest.approx(200, abs=0.1)
    assert list(rows_of(table)) == ["10.PNG", "2.png", "b.png", "ü x.jpg"]


def test_versions():
    class Files:
        @staticmethod
        def info(path):
            return dict(path)

    def stamp(monkeypatch, **info):
        monkeypatch.setattr(remote, "_open", lambda url: (Files, info.items()))
        return remote.stamp(b"s3://b/x")

    with pytest.MonkeyPatch.context() as patch:
        # A listing and a question for one object tell the same under several more names.
        listed = stamp(patch, size=7, ETag='"1"', LastModified="monday")
        assert stamp(patch, size=7, ETag='"1"', Metadata={}) == listed
        assert stamp(patch, size=7, ETag='"2"') != listed
        assert listed[0] == 7
        assert -(2**63) <= listed[1] < 2**63
        assert stamp(patch, size=7) is None
        with pytest.raises(ValueError, match="it is a folder, not a picture"):
            stamp(patch, size=0, type="directory")


@pytest.mark.parametrize(
    ("url", "reason"),
    [("nothing://b/x.png", "Protocol not known: nothing"), ("memory://b/x.png", "No such picture")],
)
def test_urls_that_lead_nowhere(url, reason):
    with pytest.raises(ValueError, match=reason):
        listed(url)


def test_without_fsspec(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(ValueError, match=r"s3://b needs the package fsspec: .*fcnkeras\[ray\]"):
        listed("s3://b")
    picture(tmp_path / "a.png", 3)
    progress, _ = run([tmp_path / "a.png"], tmp_path / "t.csv")
    assert progress.computed == 1
