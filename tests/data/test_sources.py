"""The parts of a run: which pictures, in which part, and that they are those of the run before."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import galleries
import pytest

from fcnkeras.data import sources
from fcnkeras.data.columns import ClassColumn, ScoreColumn
from fcnkeras.data.records import Collection, DataError
from fcnkeras.data.splits import stratified_split
from fcnkeras.data.tables import read_table

Parts = dict[str, Collection]


def files(part: Collection) -> set[Path]:
    return {record.path for record in part.records}


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "split.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    galleries.class_folders(tmp_path / "train", 4, seed=0)
    galleries.class_folders(tmp_path / "val", 6, seed=1)
    galleries.class_folders(tmp_path / "test", 3, seed=2)
    return tmp_path


def test_a_folder_for_each_part(folders: Path) -> None:
    parts = sources.folder_parts(folders / "train", folders / "val", folders / "test")
    assert {name: len(part) for name, part in parts.items()} == {"train": 8, "val": 12, "test": 6}
    for name, part in parts.items():
        assert part.classes == ("greenish", "reddish")
        assert files(part) == set((folders / name).glob("*/*.png"))


def test_half_of_the_validation_is_kept_aside(folders: Path) -> None:
    (folders / "val" / "reddish" / "bad.jpg").write_text("no picture")
    parts = sources.folder_parts(folders / "train", folders / "val", seed=3)
    assert {name: len(part) for name, part in parts.items()} == {"train": 8, "val": 6, "test": 6}
    assert files(parts["val"]).isdisjoint(files(parts["test"]))
    assert files(parts["val"]) | files(parts["test"]) == set((folders / "val").glob("*/*.png"))
    for name in ("val", "test"):
        assert parts[name].labels.tolist().count(0) == 3
    assert [r.path.name for p in parts.values() for r in p.rejected] == ["bad.jpg"]
    again = sources.folder_parts(folders / "train", folders / "val", seed=3)
    assert files(again["val"]) == files(parts["val"])
    others = [sources.folder_parts(folders / "train", folders / "val", seed=s) for s in range(5)]
    assert len({frozenset(files(other["val"])) for other in others}) > 1


def test_other_classes_are_refused(folders: Path) -> None:
    (folders / "val" / "reddish").rename(folders / "val" / "blue")
    with pytest.raises(DataError, match="missing: reddish; unknown: blue"):
        sources.folder_parts(folders / "train", folders / "val")


def test_one_folder_is_divided(folders: Path) -> None:
    galleries.class_folders(folders / "all", 10)
    (folders / "all" / "reddish" / "bad.jpg").write_text("no picture")
    parts = sources.split_parts(folders / "all", seed=1)
    assert {name: len(part) for name, part in parts.items()} == {"train": 12, "val": 4, "test": 4}
    assert [r.path.name for p in parts.values() for r in p.rejected] == ["bad.jpg"]
    whole = [path for part in parts.values() for path in files(part)]
    assert sorted(whole) == sorted((folders / "all").glob("*/*.png"))
    fractions = {"train": 0.8, "val": 0.1, "test": 0.1}
    assert len(sources.split_parts(folders / "all", fractions=fractions)["train"]) == 16


def test_generated_pictures(tmp_path: Path) -> None:
    counts = {"train": 2, "val": 1, "test": 1}
    parts = sources.generated_parts("styles", tmp_path / "a" / "b", counts=counts, seed=5)
    classes = len(parts["train"].classes)
    assert {n: len(p) for n, p in parts.items()} == {n: c * classes for n, c in counts.items()}
    before = {path: path.stat().st_mtime_ns for path in files(parts["train"])}
    again = sources.generated_parts("styles", tmp_path / "a" / "b", counts=counts, seed=5)
    assert again == parts
    assert {path: path.stat().st_mtime_ns for path in files(again["train"])} == before
    with pytest.raises(ValueError, match="'faces'"):
        sources.generated_parts("faces", tmp_path / "c")


def test_the_split_is_written_down(folders: Path) -> None:
    parts = sources.folder_parts(folders / "train", folders / "val", folders / "test")
    sources.write_parts(folders, parts)
    written = {(row["part"], row["file"]) for row in rows(folders)}
    assert written == {
        (name, path.relative_to(folders).as_posix())
        for name, part in parts.items()
        for path in files(part)
    }
    sources.write_parts(folders, parts)


def test_a_run_on_other_pictures_is_refused(folders: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    parts = sources.folder_parts(folders / "train", folders / "val", seed=0)
    sources.write_parts(out, parts)
    before = (out / "split.csv").read_bytes()
    swapped = parts | {"val": parts["test"], "test": parts["val"]}
    fewer = parts | {"val": Collection(parts["val"].records[1:], parts["val"].classes)}
    for other in (swapped, fewer):
        with pytest.raises(DataError, match="run on other pictures"):
            sources.write_parts(out, other)
        assert (out / "split.csv").read_bytes() == before


def test_parts_of_a_table_may_be_written_again(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    lines = [f"{n}.png,{'ab'[n % 2]},{n}" for n in range(8)]
    table.write_text("\n".join(["file,artist,score", *lines]))
    columns = [ClassColumn("artist"), ScoreColumn("score", 0, 8)]
    whole = read_table(table, columns, check=False)
    parts = stratified_split(whole, {"train": 0.5, "test": 0.5}, by="score")
    sources.write_parts(tmp_path, parts)
    sources.write_parts(tmp_path, parts)
    with pytest.raises(DataError, match="run on other pictures"):
        sources.write_parts(tmp_path, {"train": parts["test"], "test": parts["train"]})


def test_pictures_may_move_as_a_whole(folders: Path, tmp_path: Path) -> None:
    sources.write_parts(tmp_path, sources.folder_parts(folders / "train", folders / "val"))
    before = (tmp_path / "split.csv").read_bytes()
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("train", "val"):
        shutil.move(folders / name, moved / name)
    sources.write_parts(tmp_path, sources.folder_parts(moved / "train", moved / "val"))
    assert (tmp_path / "split.csv").read_bytes() == before


def test_one_picture_in_two_parts(folders: Path) -> None:
    with pytest.raises(DataError, match=r"\.png must be in one part, it is in train and val"):
        sources.write_parts(folders, sources.folder_parts(folders / "train", folders / "train"))
    link = folders / "val" / "reddish" / "link.png"
    link.symlink_to(folders / "train" / "reddish" / "0.png")
    parts = sources.folder_parts(folders / "train", folders / "val", folders / "test")
    with pytest.raises(DataError, match=r"link\.png must be in one part"):
        sources.write_parts(folders, parts)
    assert not (folders / "split.csv").exists()


def test_a_folder_is_claimed(folders: Path, tmp_path: Path) -> None:
    """Settings and pictures are written down once results are there; others are then refused."""
    out = tmp_path / "out"
    out.mkdir()
    parts = sources.folder_parts(folders / "train", folders / "val", folders / "test")
    described = {"title": "one", "size": (64, 64), "rate": 0.1, "schema": None}
    sources.claim_folder(out, described, parts, begun=False)
    written = json.loads((out / "settings.json").read_text())
    assert written == described | {"size": [64, 64]}  # as JSON has it
    assert {row["part"] for row in rows(out)} == {"train", "val", "test"}

    sources.claim_folder(out, described | {"title": "two"}, parts, begun=True)
    assert json.loads((out / "settings.json").read_text())["title"] == "two"
    before = {file: (out / file).read_bytes() for file in ("settings.json", "split.csv")}
    without = {key: value for key, value in described.items() if key != "rate"}
    fewer = parts | {"test": replace(parts["test"], records=parts["test"].records[1:])}
    for other, pictures, message in (
        (described | {"rate": 0.2}, parts, r"rate=0\.1, now it is 0\.2: take another folder"),
        (described | {"more": 1}, parts, "more=None, now it is 1"),
        (without, parts, r"rate=0\.1, now it is None"),
        (described, fewer, "run on other pictures"),
    ):
        with pytest.raises(DataError, match=message):
            sources.claim_folder(out, other, pictures, begun=True)
        assert {file: (out / file).read_bytes() for file in before} == before

    # Before there are results, nothing can be mixed up.
    sources.claim_folder(out, described | {"rate": 0.2}, fewer, begun=False)
    assert json.loads((out / "settings.json").read_text())["rate"] == 0.2
    assert len(rows(out)) == sum(map(len, fewer.values()))


def test_a_folder_without_settings_is_told_by_its_pictures(folders: Path, tmp_path: Path) -> None:
    parts = sources.folder_parts(folders / "train", folders / "val", folders / "test")
    sources.write_parts(tmp_path, parts)
    sources.claim_folder(tmp_path, {"rate": 0.1}, parts, begun=True)
    assert json.loads((tmp_path / "settings.json").read_text()) == {"rate": 0.1}
