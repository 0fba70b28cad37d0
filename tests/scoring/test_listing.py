"""What is listed, and in which order."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from fcnkeras.scoring.listing import list_from, list_pictures, shown


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (
        "b.jpg",
        "a.PNG",
        "notes.txt",
        "sub/c.tif",
        "sub/deep/d.webp",
        "sub.jpg",
        "z/e.bmp",
    ):
        path = Path("photos", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def names(listed):
    return [os.fsdecode(path) for path, error in listed if error is None]


ALL = ["a.PNG", "b.jpg", "sub/c.tif", "sub/deep/d.webp", "sub.jpg", "z/e.bmp"]


def test_a_folder_in_the_order_of_its_names(tree):
    expected = [f"photos/{name}" for name in ALL]
    assert names(list_pictures(["photos"])) == expected
    assert names(list_pictures([Path("photos/")])) == expected
    assert names(list_pictures([b"photos"])) == expected


def test_what_is_named_is_taken(tree):
    given = ["photos/notes.txt", "photos/z", "photos/b.jpg"]
    assert names(list_pictures(given)) == ["photos/notes.txt", "photos/z/e.bmp", "photos/b.jpg"]
    with pytest.raises(ValueError, match="No such picture or folder: photos/none"):
        names(list_pictures(["photos", "photos/none"]))


def test_patterns(tree):
    assert names(list_pictures(["photos/*.jpg"])) == ["photos/b.jpg", "photos/sub.jpg"]
    assert names(list_pictures(["photos/**/[cd].*"])) == [
        "photos/sub/c.tif",
        "photos/sub/deep/d.webp",
    ]
    Path("photos/what?.jpg").touch()
    assert names(list_pictures(["photos/what?.jpg"])) == ["photos/what?.jpg"]
    with pytest.raises(ValueError, match="No such picture or folder"):
        names(list_pictures(["photos/*.gif"]))


def test_lists(tree):
    lines = b"photos/b.jpg\r\n\nphotos/z\nno such\nphotos/*.jpg"
    expected = ["photos/b.jpg", "photos/z/e.bmp", "no such", "photos/*.jpg"]
    assert names(list_from(io.BytesIO(lines))) == expected
    nul = b"photos/b.jpg\0with\nline end\0\0photos/z\0"
    expected = ["photos/b.jpg", "with\nline end", "photos/z/e.bmp"]
    assert names(list_from(io.BytesIO(nul))) == expected
    many = [b"%06d" % number for number in range(30_000)]  # over several blocks
    for separator in (b"\0", b"\n"):
        found = list(list_from(io.BytesIO(separator.join(many))))
        assert found == [(name, None) for name in many]


def test_links_do_not_lead_in_circles(tree):
    Path("photos/sub/up").symlink_to(tree / "photos")
    Path("photos/other").symlink_to(tree / "photos" / "z")
    found = names(list_pictures(["photos"]))
    assert sorted(found) == sorted([f"photos/{name}" for name in ALL] + ["photos/other/e.bmp"])


def test_a_folder_that_cannot_be_read(tree, monkeypatch):
    real = os.scandir

    def scandir(path):
        if os.fsdecode(path).endswith("sub"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = dict(list_pictures(["photos"]))
    assert found[b"photos/sub"] == "the folder cannot be read (permission denied)"
    assert len(found) == 5


def test_how_names_are_shown():
    assert shown("ü 写".encode()) == "ü 写"
    assert shown(b"a\xff\xfe.jpg") == "a\\xff\\xfe.jpg"
