"""Generated collections: what is written, that the readers read it, and that pictures show it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fcnkeras.data import procedural
from fcnkeras.data.aadb import COLUMNS, read_aadb
from fcnkeras.data.art import HARMONIES, parents, read_art_composition, read_paintings
from fcnkeras.data.ava import ava1, by_mean, read_ava
from fcnkeras.data.columns import Hue, moments
from fcnkeras.data.procedural import photos
from fcnkeras.data.procedural.paintings import random_composition
from fcnkeras.data.procedural.store import stream
from fcnkeras.data.records import Collection
from fcnkeras.tasks.metrics import srcc

MAKERS = {
    "aadb": (procedural.make_aadb, {"train": 2, "val": 1, "test": 1}),
    "art_composition": (procedural.make_art_composition, {"train": 2, "test": 1}),
    "ava": (procedural.make_ava, {"train": 2, "test": 1}),
    "period_artist": (procedural.make_period_artist, {"train": 1, "val": 1}),
}


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def luma(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("L"), dtype=np.float64)


def brightness(collection: Collection) -> np.ndarray:
    return np.array([luma(record.path).mean() for record in collection.records])


@pytest.mark.parametrize("name", MAKERS)
def test_the_same_seed_writes_the_same_files(name, tmp_path):
    make, counts = MAKERS[name]
    first = files(make(tmp_path / "deep" / "a", counts, seed=4))
    assert files(make(tmp_path / "b", counts, seed=4)) == first
    other = files(make(tmp_path / "c", counts, seed=5))
    pictures = [file for file in first if file.endswith(".jpg")]
    assert len(pictures) == sum(counts.values()) * (6 if name == "period_artist" else 1)
    assert all(first[file] != other[file] for file in pictures)
    assert len({first[file] for file in pictures}) == len(pictures)  # no two alike


@pytest.mark.parametrize("name", MAKERS)
def test_a_folder_that_is_there_is_left_or_refused(name, tmp_path):
    make, counts = MAKERS[name]
    folder = make(tmp_path / "a", counts)
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert make(folder, counts) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == times
    with pytest.raises(ValueError, match="must hold the task asked for"):
        make(folder, counts, seed=1)
    with pytest.raises(ValueError, match="at least 1; received 0"):
        make(tmp_path / "b", counts | {"train": 0})
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_other_parts_than_the_format_has_are_refused(tmp_path):
    with pytest.raises(ValueError, match="must be train and test; received train, val"):
        procedural.make_art_composition(tmp_path / "a", {"train": 1, "val": 1})
    with pytest.raises(ValueError, match="must be train, val and test; received train, test"):
        procedural.make_aadb(tmp_path / "a", {"train": 1, "test": 1})


def test_pictures_do_not_depend_on_how_many_follow(tmp_path):
    few = files(procedural.make_art_composition(tmp_path / "few", {"train": 2}))
    more = files(procedural.make_art_composition(tmp_path / "more", {"train": 3, "test": 2}))
    for file in ("train/0000.jpg", "train/0001.jpg"):
        assert few[file] == more[file]
    assert more["train/0000.jpg"] != more["test/0000.jpg"]


def test_art_composition(tmp_path):
    folder = procedural.make_art_composition(tmp_path / "art", {"train": 20, "test": 10}, seed=3)
    collection = read_art_composition(folder / "labels.csv")
    assert len(collection) == 30
    assert not collection.rejected
    assert collection.names("harmony") == HARMONIES
    assert [record.path.parent.name for record in collection.records[19:21]] == ["train", "test"]
    # the first row by hand: the composition is the first that the picture's random numbers give
    wanted = random_composition(stream("art_composition", "train", 0, 0, 3))
    found = collection.records[0].targets
    for name in wanted._fields[:6]:
        assert found[name] == getattr(wanted, name)
    assert found["primary_color"].name == wanted.primary_color
    assert HARMONIES[found["harmony"]] == wanted.harmony
    colours = [record.targets["primary_color"] for record in collection.records]
    assert any(colour.black for colour in colours)
    assert len({colour.degrees for colour in colours}) > 5
    assert Hue(0.0, black=True) in colours
    contrasts = np.array([record.targets["contrast"] for record in collection.records])
    spread = [np.subtract(*np.percentile(luma(r.path), [97, 3])) for r in collection.records]
    assert srcc(contrasts, np.array(spread)) > 0.9


def test_period_artist(tmp_path):
    folder = procedural.make_period_artist(tmp_path / "p", {"train": 4, "val": 2})
    paintings = read_paintings(
        [folder / "train.csv", folder / "val.csv"], at_least=6, one_period=True
    )
    assert len(paintings) == 36
    periods = paintings.names("period")
    assert len(periods) == 3
    assert sorted(parents(paintings, "artist", "period")) == [0, 0, 1, 1, 2, 2]
    # an artist's palette: the mean colours of one lie nearer to each other than to another's
    colours = {name: [] for name in paintings.names("artist")}
    for record in paintings.records:
        artist = paintings.names("artist")[record.targets["artist"]]
        colours[artist].append(np.asarray(Image.open(record.path)).mean(axis=(0, 1)))
    for one, other in (("aster", "birk"), ("cole", "dorn"), ("ember", "fenn")):
        between = np.linalg.norm(np.mean(colours[one], axis=0) - np.mean(colours[other], axis=0))
        assert between > 40


def test_ava(tmp_path):
    folder = procedural.make_ava(tmp_path / "ava", {"train": 40, "test": 20})
    collection = read_ava(
        folder / "AVA.txt", tags=folder / "tags.txt", challenges=folder / "challenges.txt"
    )
    assert len(collection) == 60
    assert collection.names("challenge") == ("Hills", "Posts", "Towers")
    votes = [record.targets["distribution"] for record in collection.records]
    assert all(150 <= sum(each) <= 350 for each in votes)
    means = np.array([moments(each)[0] for each in votes])
    assert srcc(means, brightness(collection)) > 0.8
    assert 15 < sum(record.targets["class"] for record in by_mean(collection).records) < 50
    parts = ava1(collection, folder / "generic_test.jpgl", folder / "generic_train.jpgl")
    assert {name: len(part) for name, part in parts.items()} == {"train": 40, "test": 20}


def test_aadb(tmp_path):
    folder = procedural.make_aadb(tmp_path / "aadb", {"train": 60, "val": 3, "test": 2})
    parts = read_aadb(folder)
    assert {name: len(part) for name, part in parts.items()} == {"train": 60, "val": 3, "test": 2}
    records = parts["train"].records
    table = {
        column.name: np.array([record.targets[column.name] for record in records])
        for column in COLUMNS
    }
    for column in COLUMNS:
        assert table[column.name].min() < column.low + 0.25 * (column.high - column.low)
        assert table[column.name].max() > column.high - 0.25 * (column.high - column.low)
    assert srcc(table["light"], brightness(parts["train"])) > 0.9
    assert srcc(table["light"], table["score"]) > 0.2
    assert srcc(table["motion_blur"], table["score"]) < -0.2


EXTREMES = np.random.default_rng(8).uniform(size=(4, len(photos.QUALITIES)))


@pytest.mark.parametrize("quality", photos.QUALITIES)
def test_each_quality_of_a_photograph_is_seen(quality):
    """One quality from nothing to all changes the picture, and nothing else does."""
    for seed, shares in enumerate(EXTREMES):
        qualities = dict(zip(photos.QUALITIES, shares.tolist(), strict=True)) | {"light": 0.8}
        low, same, high = (
            np.asarray(
                photos.photograph(qualities | {quality: value}, np.random.default_rng(seed)),
                dtype=np.float64,
            )
            for value in (0.0, 0.0, 1.0)
        )
        assert np.array_equal(low, same)
        assert (np.abs(low - high).max(axis=2) > 15).mean() > 0.01


def measured(quality: str, measure) -> float:
    values = np.linspace(0, 1, 8)
    found = []
    for seed, value in enumerate(values):
        rng = np.random.default_rng([seed, 5])
        qualities = photos.random_qualities(rng) | {"light": 0.8, quality: float(value)}
        found.append(measure(np.asarray(photos.photograph(qualities, rng), dtype=np.float64)))
    return srcc(values, np.array(found))


def test_vividness_light_and_motion_are_in_the_pixels():
    assert measured("vivid_color", lambda p: (p.max(axis=2) - p.min(axis=2)).mean()) > 0.9
    assert measured("light", lambda p: p.mean()) > 0.9
    upright = measured("motion_blur", lambda p: np.percentile(abs(np.diff(p[-14:], axis=1)), 99))
    assert upright < -0.6
