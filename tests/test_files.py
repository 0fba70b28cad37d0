"""Files are whole or not there, whatever happens while they are written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fcnkeras.files import read_csv, write_atomically, write_csv, write_json, write_text


@pytest.mark.parametrize("alone", [False, True])
def test_a_failed_write_leaves_what_was_there(tmp_path: Path, alone: bool) -> None:
    path = tmp_path / "model.keras"
    for before in (None, b"old"):
        if before:
            path.write_bytes(before)

        def write(target: Path) -> None:
            assert target.suffix == ".keras"
            assert target.parent == tmp_path
            target.write_bytes(b"half")
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            write_atomically(path, write, alone=alone)
        assert [p.name for p in tmp_path.iterdir()] == ([path.name] if before else [])
        assert not before or path.read_bytes() == before


def test_the_old_file_is_there_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def write(target: Path) -> None:
        target.write_text("new")
        assert path.read_text() == "old"

    write_atomically(path, write)
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_kill_has_left_does_not_stay(tmp_path: Path) -> None:
    path, names = tmp_path / "a.csv", []

    def add(target: Path) -> None:
        names.append(target)
        with target.open("a") as stream:
            stream.write("new")

    write_atomically(path, add, alone=True)
    names[0].write_text("half, and longer than what comes next")  # as a kill would leave it
    write_atomically(path, add, alone=True)
    assert names[0] == names[1]
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_writer_may_replace_the_file_itself(tmp_path: Path) -> None:
    def write(target: Path) -> None:
        target.unlink()
        target.write_bytes(b"anew")

    write_atomically(tmp_path / "a.bin", write)
    assert (tmp_path / "a.bin").read_bytes() == b"anew"


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_text(tmp_path / "missing" / "a.txt", "x")


def test_csv_there_and_back(tmp_path: Path) -> None:
    rows = [{"file": 'a, "b"\nü.jpg', "n": 0.1 + 0.2}, {"file": "\udcff.jpg"}]
    write_csv(tmp_path / "a.csv", rows, ("file", "n"))
    raw = (tmp_path / "a.csv").read_bytes()
    # A file name that is no UTF-8 keeps its bytes.
    assert raw == b'file,n\n"a, ""b""\n\xc3\xbc.jpg",0.30000000000000004\n\xff.jpg,\n'
    read = read_csv(tmp_path / "a.csv")
    assert [row["file"] for row in read] == [row["file"] for row in rows]
    assert float(read[0]["n"]) == 0.1 + 0.2
    assert read[1]["n"] == ""
    assert read_csv(tmp_path / "missing.csv") == []


def test_a_column_that_is_not_named_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fields not in fieldnames: 'b'"):
        write_csv(tmp_path / "a.csv", [{"a": 1, "b": 2}], ("a",))
    assert list(tmp_path.iterdir()) == []


def test_json(tmp_path: Path) -> None:
    value = {"classes": ["ü", "\udcff"], "n": 3}
    write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_text("ascii")
    assert json.loads(text) == value
    assert text.endswith("}\n")
