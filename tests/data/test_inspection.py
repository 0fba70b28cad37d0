"""What an inspection finds, in collections made by hand."""

import json
import random

import pytest
from PIL import Image

from fcnkeras.data.columns import (
    ClassColumn,
    DistributionColumn,
    HueColumn,
    LabelsColumn,
    ScoreColumn,
)
from fcnkeras.data.inspection import (
    aspect_histogram,
    find_duplicates,
    folder_collection,
    inspect_collection,
    numbers,
)
from fcnkeras.data.records import DataError, Record
from fcnkeras.data.tables import read_table


def save(path, width, height, seed=0, mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = random.Random(seed).randbytes(width * height * 3)
    Image.frombytes("RGB", (width, height), pixels).convert(mode).save(path, **options)
    return path


@pytest.fixture
def photos(tmp_path):
    """Eight pictures: four cats, two dogs, one without a class, one truncated dog."""
    folder = tmp_path / "photos"
    save(folder / "cats" / "a.png", 60, 40, 1)
    save(folder / "cats" / "b.jpg", 40, 60, 2)
    save(folder / "cats" / "deep" / "c.png", 40, 40, 3, "L")
    (folder / "cats" / "copy.png").write_bytes((folder / "cats" / "a.png").read_bytes())
    save(folder / "dogs" / "d.png", 200, 40, 4)
    (folder / "dogs" / "copy.png").write_bytes((folder / "cats" / "a.png").read_bytes())
    whole = save(folder / "dogs" / "cut.jpg", 80, 80, 5).read_bytes()
    (folder / "dogs" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    save(folder / "loose.png", 40, 44, 6)
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden.jpg").write_text("no picture")
    (folder / "cats" / "Thumbs").write_text("no picture")
    return folder


def inspect_folder(folder, **options):
    collection, others = folder_collection(folder)
    return inspect_collection(collection, others=others, **options)


def test_a_folder_by_hand(photos):
    found = inspect_folder(photos, size=40)
    assert (found.files, found.readable, found.decoded) == (8, 7, True)
    assert found.formats == {"PNG": 6, "JPEG": 1}
    assert found.modes == {"RGB": 6, "L": 1}
    assert found.others == {".txt": 1, "": 1}
    assert found.targets["class"]["counts"] == {"cats": 4, "dogs": 2}
    assert found.targets["class"]["missing"] == [photos / "loose.png"]
    assert found.sizes["width"]["max"] == 200
    assert found.sizes["short_side"] == {
        "min": 40, "median": 40, "mean": 40, "max": 40, "deviation": 0
    }  # fmt: skip
    (broken,) = found.broken
    assert (broken.path, broken.reason) == (photos / "dogs" / "cut.jpg", "the file is truncated")
    assert {key: count for key, count in found.aspects.items() if count} == {
        "tall 1.4-1.6": 1, "square": 2, "wide 1.4-1.6": 3, "wide over 3": 1,
    }  # fmt: skip
    (same,) = found.duplicates
    assert same.paths == tuple(photos / name for name in
                               ("cats/a.png", "cats/copy.png", "dogs/copy.png"))  # fmt: skip
    assert same.differ
    # Kept of 60x40 and 40x60 are two thirds, of 200x40 a fifth, of 40x44 ten elevenths.
    lost = 4 * (1 / 3) + 4 / 5 + 1 / 11
    assert found.feeders["crop"]["cropped"]["mean"] == pytest.approx(lost / 7)
    assert found.feeders["squash"]["distortion"]["max"] == pytest.approx(4)
    assert found.feeders["native"]["pixels"]["max"] == 200 * 40
    assert found.bytes == sum(
        path.stat().st_size for path in photos.rglob("*.*")
        if path.suffix in (".png", ".jpg") and path.name not in ("cut.jpg", ".hidden.jpg")
    )  # fmt: skip


def test_quick_reads_headers_only(photos, monkeypatch):
    from PIL import ImageFile

    def refuse(self):
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", refuse)
    found = inspect_folder(photos, quick=True)
    assert (found.readable, found.broken, found.decoded) == (8, (), False)
    assert found.sizes["height"]["max"] == 80


def test_it_becomes_json(photos):
    told = json.loads(json.dumps(inspect_folder(photos).to_dict()))
    assert told["broken"][0]["path"] == str(photos / "dogs" / "cut.jpg")
    assert told["targets"]["class"]["missing"] == [str(photos / "loose.png")]
    assert told["duplicates"][0]["differ"] is True
    assert told["feeders"]["pad"]["padded"]["mean"] > 0


def test_progress_and_limits(photos):
    seen = []
    found = inspect_folder(photos, max_pixels=7000, progress=seen.append)
    assert seen == list(range(1, 9))
    reasons = {bad.path.name: bad.reason for bad in found.broken}
    assert reasons["d.png"] == (
        "it declares 200 x 40 pixels, more than the limit of 7,000 (max_pixels)"
    )
    with pytest.raises(ValueError, match="size must be a positive int, got 0"):
        inspect_folder(photos, size=0)


def test_a_flat_folder_has_no_classes(tmp_path):
    save(tmp_path / "a.png", 4, 4)
    found = inspect_folder(tmp_path)
    assert found.targets == {}
    assert found.readable == 1


def test_folders_that_are_none(tmp_path):
    with pytest.raises(DataError, match=r"pictures must be in a folder, .*missing is none"):
        folder_collection(tmp_path / "missing")
    (tmp_path / "notes.txt").write_text("text")
    with pytest.raises(DataError, match="must hold pictures, it has none by their names"):
        folder_collection(tmp_path)


def test_every_kind_of_target_by_hand(tmp_path):
    for seed, name in enumerate("abcd"):
        save(tmp_path / f"{name}.png", 10, 10, seed)
    (tmp_path / "labels.csv").write_text(
        "ID,artist,contrast,1,2,3,main,tags\n"
        "a,monet,1,0,0,4,red,calm;bright\n"
        "b,degas,5,1,1,1,359,calm\n"
        "c,monet,,3,0,1,,\n"
        "d,,3,,,,black,bright\n"
        "e,monet,9,1,0,0,red,calm\n"
        ",monet,9,1,0,0,red,calm\n"
    )
    columns = [
        ClassColumn("artist"),
        ScoreColumn("contrast", 1, 10),
        DistributionColumn("votes", ("1", "2", "3")),
        HueColumn("main"),
        LabelsColumn("tags"),
    ]
    collection = read_table(tmp_path / "labels.csv", columns, file="{ID}.png", check="exists")
    kinds = {"artist": "class", "contrast": "score", "votes": "distribution", "main": "hue",
             "tags": "labels"}  # fmt: skip
    found = inspect_collection(collection, targets=kinds)
    targets = found.targets
    assert targets["artist"]["counts"] == {"degas": 1, "monet": 2}
    assert targets["artist"]["missing"] == [tmp_path / "d.png"]
    assert targets["contrast"]["values"] == {
        "min": 1, "median": 3, "mean": 3, "max": 5, "deviation": pytest.approx((8 / 3) ** 0.5)
    }  # fmt: skip
    assert targets["contrast"]["missing"] == [tmp_path / "c.png"]
    # The means are 3, 2 and (3 + 3) / 4.
    assert targets["votes"]["values"]["median"] == 2
    assert targets["votes"]["values"]["mean"] == pytest.approx(6.5 / 3)
    assert targets["votes"]["votes"] == {
        "min": 3, "median": 4, "mean": pytest.approx(11 / 3), "max": 4,
        "deviation": pytest.approx((2 / 9) ** 0.5),
    }  # fmt: skip
    hues = {name: count for name, count in targets["main"]["counts"].items() if count}
    assert hues == {"red": 2, "black": 1}
    assert targets["tags"]["counts"] == {
        "bright": {"with": 2, "without": 1, "unknown": 0},
        "calm": {"with": 2, "without": 1, "unknown": 0},
    }
    assert [(bad.line, bad.reason) for bad in found.without_file] == [
        (6, "no such file"), (7, "its column ID is empty")
    ]  # fmt: skip


def test_a_target_that_nobody_has(tmp_path):
    save(tmp_path / "a.png", 10, 10)
    (tmp_path / "labels.csv").write_text("file,score,tags,kind\na.png,,,\n")
    columns = [ScoreColumn("score", 0, 1), LabelsColumn("tags"), ClassColumn("kind")]
    collection = read_table(tmp_path / "labels.csv", columns, check="exists")
    kinds = {"score": "score", "tags": "labels", "kind": "class"}
    targets = inspect_collection(collection, targets=kinds).targets
    assert [target["known"] for target in targets.values()] == [0, 0, 0]
    assert targets["score"]["values"] == targets["tags"]["counts"] == {}


def test_aspect_histogram_by_hand():
    sizes = {(11, 10): 1, (10, 11): 2, (4, 3): 4, (3, 4): 8, (3, 2): 16, (16, 9): 32, (1, 2): 64,
             (2001, 1000): 128, (1, 3): 256, (12, 1): 512}  # fmt: skip
    assert list(aspect_histogram(sizes).items()) == [
        ("tall over 3", 0), ("tall 2-3", 256), ("tall 1.6-2", 64), ("tall 1.4-1.6", 0),
        ("tall 1.1-1.4", 8), ("square", 3), ("wide 1.1-1.4", 4), ("wide 1.4-1.6", 16),
        ("wide 1.6-2", 32), ("wide 2-3", 128), ("wide over 3", 512),
    ]  # fmt: skip


def test_duplicates_need_the_same_bytes(tmp_path):
    contents = {"a": b"one", "b": b"two", "c": b"one", "d": b"", "e": b"", "f": b"longer"}
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    records = [Record(tmp_path / name, {"score": 1.0}) for name in (*contents, "missing")]
    (same,) = find_duplicates(records)
    assert same.paths == (tmp_path / "a", tmp_path / "c")
    assert not same.differ


def test_numbers_of_nothing():
    assert numbers([]) == {}
    assert numbers([1, 3])["deviation"] == 1
