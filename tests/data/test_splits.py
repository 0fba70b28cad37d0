import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcnkeras.data.columns import Hue
from fcnkeras.data.records import Collection, DataError, Record
from fcnkeras.data.splits import listed_split, load_split, save_split, stratified_split

FRACTIONS = {"train": 0.7, "val": 0.1, "test": 0.2}


def collection(*sizes: int, root: str = "/pictures") -> Collection:
    """Class k has sizes[k] pictures; no file is touched."""
    records = [
        Record(Path(f"{root}/class{kind}/{number:03}.jpg"), {"class": kind})
        for kind, size in enumerate(sizes)
        for number in range(size)
    ]
    return Collection(tuple(records), tuple(f"class{kind}" for kind in range(len(sizes))))


def files(parts):
    return {
        name: [Path(*record.path.parts[-2:]).as_posix() for record in part.records]
        for name, part in parts.items()
    }


def counts(part: Collection) -> list[int]:
    counted = Counter(part.labels.tolist())
    return [counted[index] for index in range(len(part.classes))]


def test_every_class_is_divided_by_the_fractions():
    parts = stratified_split(collection(100, 50, 10, 3), FRACTIONS)
    # 3 pictures: 2.1, 0.3 and 0.6 become one each.
    assert list(parts) == ["train", "val", "test"]
    assert counts(parts["train"]) == [70, 35, 7, 1]
    assert counts(parts["val"]) == [10, 5, 1, 1]
    assert counts(parts["test"]) == [20, 10, 2, 1]
    assert parts["val"].classes == ("class0", "class1", "class2", "class3")


sizes_lists = st.lists(st.integers(3, 40), min_size=1, max_size=5)


@given(sizes=sizes_lists, seed=st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_every_picture_is_in_one_part(sizes, seed):
    whole = collection(*sizes)
    parts = stratified_split(whole, FRACTIONS, seed=seed)
    together = [record.path for part in parts.values() for record in part.records]
    assert sorted(together) == sorted(record.path for record in whole.records)
    for part in parts.values():
        assert min(counts(part)) >= 1


def test_depends_on_the_seed_and_on_nothing_else():
    whole = collection(40, 30)
    first = files(stratified_split(whole, FRACTIONS, seed=1))
    shuffled = list(whole.records)
    random.Random(0).shuffle(shuffled)
    assert first == files(
        stratified_split(Collection(tuple(shuffled), whole.classes), FRACTIONS, seed=1)
    )
    elsewhere = collection(40, 30, root="/another/place")
    assert first == files(stratified_split(elsewhere, FRACTIONS, seed=1))
    assert first != files(stratified_split(whole, FRACTIONS, seed=2))
    assert first["train"] != files({"train": whole})["train"][: len(first["train"])]


def number(record: Record) -> int:
    return int(record.path.stem)


@pytest.mark.parametrize("seed", range(5))
def test_groups_stay_together(seed):
    whole = collection(90, 60, 30)
    parts = stratified_split(
        whole, FRACTIONS, seed=seed, group=lambda r: (r.targets["class"], number(r) // 3)
    )
    homes = {}
    for name, part in parts.items():
        assert min(counts(part)) >= 3
        for record in part.records:
            key = (record.targets["class"], number(record) // 3)
            assert homes.setdefault(key, name) == name
    assert sum(len(part) for part in parts.values()) == 180
    for name, share in FRACTIONS.items():
        for got, size in zip(counts(parts[name]), (90, 60, 30), strict=True):
            assert abs(got - share * size) <= 3  # one group
    # Negative control: without groups, some are divided.
    loose = stratified_split(whole, FRACTIONS, seed=seed)
    assert {number(r) // 3 for r in loose["val"].records} & {
        number(r) // 3 for r in loose["train"].records
    }


@pytest.mark.parametrize("seed", range(5))
def test_groups_that_cross_classes_and_differ_in_size(seed):
    # Groups of 1, 2, 4, 8 and 16 neighbours, each with pictures of both classes.
    whole = collection(31, 31)
    parts = stratified_split(
        whole,
        {"train": 0.6, "val": 0.4},
        seed=seed,
        group=lambda record: (number(record) + 1).bit_length(),
    )
    # By hand: 37.2 and 24.8 are wanted; 32 go to train, 16 and 8 to val, 4 and 2 to train.
    assert [counts(part) for part in parts.values()] == [[19, 19], [12, 12]]


def test_a_part_that_was_left_empty_is_filled():
    # A group of 30 of class 1, and two of 10 of class 1 with one of class 0 each. By hand: train
    # gets the 30, and class 1 then draws both others to val, which leaves train without class 0.
    whole = collection(2, 50)
    group_of_tens = {0: 9, 1: 9, 2: 9, 3: 0, 4: 1}
    parts = stratified_split(
        whole,
        {"train": 0.5, "val": 0.5},
        group=lambda record: (
            number(record) if record.targets["class"] == 0 else group_of_tens[number(record) // 10]
        ),
    )
    assert [counts(part) for part in parts.values()] == [[1, 40], [1, 10]]


def test_too_few_pictures_or_groups():
    with pytest.raises(
        DataError, match=r"each of the 3 parts needs a picture of class class1.* 2$"
    ):
        stratified_split(collection(10, 2), FRACTIONS)
    with pytest.raises(DataError, match=r"class class0 unless a group is divided.* 2 groups"):
        stratified_split(
            collection(10, 10),
            FRACTIONS,
            group=lambda r: number(r) // 5 if r.targets["class"] == 0 else r.path,
        )


@pytest.mark.parametrize("fractions", [{}, {"a": 0.5}, {"a": 1.2, "b": -0.2}, {"a": 1, "b": 0}])
def test_bad_fractions(fractions):
    with pytest.raises(ValueError, match="fractions must be positive and sum to 1, got"):
        stratified_split(collection(5, 5), fractions)


def test_the_same_file_twice_is_an_error():
    whole = collection(5, 5)
    doubled = Collection(whole.records + whole.records[:1], whole.classes)
    with pytest.raises(DataError, match=r"class0/000\.jpg twice"):
        stratified_split(doubled, FRACTIONS)


def test_saved_and_loaded(tmp_path):
    whole = collection(9, 7)
    odd = Record(Path('/pictures/class0/a, "b"\n é \udcff.jpg'), {"class": 0})
    whole = Collection((*whole.records, odd), whole.classes)
    parts = stratified_split(whole, FRACTIONS)
    path = tmp_path / "split.csv"
    path.write_text("older")
    save_split(path, parts, "/pictures")
    assert load_split(path, whole) == parts
    assert load_split(path, whole, "/pictures") == parts
    assert [each.name for each in tmp_path.iterdir()] == ["split.csv"]
    lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    assert lines[0] == "part,file"
    assert lines[1].startswith("train,class0/0")


def test_a_saved_split_can_be_moved(tmp_path):
    parts = stratified_split(collection(9, 7), FRACTIONS)
    save_split(tmp_path / "split.csv", parts, "/pictures")
    moved = load_split(tmp_path / "split.csv", collection(9, 7, root="/mnt/disc"))
    assert files(moved) == files(parts)


def test_a_failed_save_leaves_the_old_file(tmp_path):
    path = tmp_path / "split.csv"
    path.write_text("older")
    with pytest.raises(DataError, match="below /elsewhere, got /pictures/class0/"):
        save_split(path, stratified_split(collection(9, 7), FRACTIONS), "/elsewhere")
    assert path.read_text() == "older"
    assert [each.name for each in tmp_path.iterdir()] == ["split.csv"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text + "val,class0/new.jpg\n", r"names class0/new\.jpg, which"),
        (lambda text: text + text.splitlines()[1] + "\n", "listed twice"),
        (lambda text: text.rsplit("\n", 2)[0] + "\n", "no part for 1 pictures"),
        (lambda text: text.replace("part,file", "file,part"), "begin with the line part,file"),
        (lambda text: text + "val\n", r"line 18 .* must be part,file, got \('val',\)"),
        (lambda _: "", "begin with the line part,file"),
    ],
)
def test_damaged_splits(tmp_path, change, message):
    path = tmp_path / "split.csv"
    save_split(path, stratified_split(collection(9, 7), FRACTIONS), "/pictures")
    path.write_text(change(path.read_text()))
    with pytest.raises(DataError, match=message):
        load_split(path, collection(9, 7))


def test_missing_split(tmp_path):
    with pytest.raises(DataError, match="cannot read the split"):
        load_split(tmp_path / "missing.csv", collection(9, 7))


def scored(values, target="score", root="/pictures"):
    """Picture n has the n-th value; None: it lacks the target."""
    return Collection(
        tuple(
            Record(Path(f"{root}/{n:03}.jpg"), {} if value is None else {target: value})
            for n, value in enumerate(values)
        )
    )


@pytest.mark.parametrize("seed", range(3))
def test_a_number_is_spread_over_the_parts(seed):
    values = list(range(100))
    random.Random(seed).shuffle(values)
    parts = stratified_split(scored(values), FRACTIONS, by="score", seed=seed)
    assert {name: len(part) for name, part in parts.items()} == {"train": 70, "val": 10, "test": 20}
    # Ten bins of ten: each gives seven, one and two.
    for name, share in (("train", 7), ("val", 1), ("test", 2)):
        assert Counter(value // 10 for value in parts[name].values("score")) == dict.fromkeys(
            range(10), share
        )
    # Negative control: without bins some tenth has another share.
    loose = stratified_split(scored(values), FRACTIONS, by=None, seed=seed)
    tenths = Counter(value // 10 for value in loose["train"].values("score"))
    assert set(tenths.values()) != {7}
    assert len(loose["train"]) == 70


def test_small_bins_do_not_starve_a_small_part():
    # Four in each bin: 2.8, 0.4 and 0.8 are wanted, and rounded alike val would get none.
    parts = stratified_split(scored(range(40)), FRACTIONS, by="score")
    assert {name: len(part) for name, part in parts.items()} == {"train": 28, "val": 4, "test": 8}


def test_a_distribution_is_spread_by_its_mean():
    # Picture n: the mean is 1 + n / 19, whatever the number of voters.
    votes = [((19 - n) * voters, n * voters) for n in range(20) if (voters := 7 * n % 20 + 1)]
    parts = stratified_split(
        scored(votes, "rating"), {"a": 0.5, "b": 0.5}, by="rating", bins=10, seed=3
    )
    for part in parts.values():
        places = sorted(votes.index(each) // 2 for each in part.values("rating"))
        assert places == list(range(10))


def test_hues_are_spread_by_name():
    hues = [Hue(240.0), Hue(235.0), Hue(0.0), Hue(0.0, black=True)] * 10
    parts = stratified_split(scored(hues, "hue"), {"a": 0.8, "b": 0.2}, by="hue")
    assert Counter(hue.name for hue in parts["b"].values("hue")) == {
        "blue": 4,
        "red": 2,
        "black": 2,
    }


def test_pictures_without_the_target_are_spread_too():
    parts = stratified_split(
        scored([1.0] * 20 + [None] * 10), {"a": 0.7, "b": 0.3}, by="score", bins=1
    )
    assert [part.values("score").count(None) for part in parts.values()] == [7, 3]
    # Of a class, those without it need not be in every part.
    some = collection(4, 4)
    gap = Record(Path("/pictures/odd.jpg"), {})
    parts = stratified_split(Collection((*some.records, gap), some.classes), {"a": 0.5, "b": 0.5})
    assert sorted(len(part) for part in parts.values()) == [4, 5]


def test_another_class_than_class():
    records = [
        Record(Path(f"/p/{n}.jpg"), {"class": n % 2, "artist": int(n >= 6)}) for n in range(8)
    ]
    whole = Collection(tuple(records), ("x", "y"), vocabularies={"artist": ("degas", "monet")})
    parts = stratified_split(whole, {"a": 0.5, "b": 0.5}, by="artist")
    for part in parts.values():
        assert Counter(part.values("artist")) == {0: 3, 1: 1}
        assert part.names("artist") == ("degas", "monet")
        assert part.classes == ("x", "y")
    three = {"a": 0.4, "b": 0.3, "c": 0.3}
    with pytest.raises(DataError, match="each of the 3 parts needs a picture of class monet"):
        stratified_split(whole, three, by="artist")
    apart = stratified_split(whole, {"a": 0.5, "b": 0.5}, group="artist")
    assert [len(set(part.values("artist"))) for part in apart.values()] == [1, 1]


def test_groups_and_numbers():
    values = [float(n // 4) for n in range(80)]
    parts = stratified_split(
        scored(values), {"a": 0.75, "b": 0.25}, by="score", bins=4, group=lambda r: number(r) // 2
    )
    assert {name: len(part) for name, part in parts.items()} == {"a": 60, "b": 20}
    # A quarter of a bin of 20 would be 5, and groups are pairs.
    assert set(Counter(value // 5 for value in parts["b"].values("score")).values()) == {4, 6}
    homes = [{number(record) // 2 for record in part.records} for part in parts.values()]
    assert not homes[0] & homes[1]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"by": "contrast"}, "needs a target that the records have, got 'contrast'; .*: score"),
        ({}, "needs a target that the records have, got 'class'"),
        ({"by": "score", "group": "artist"}, "group must be a target .* got 'artist'; .* score"),
        ({"by": "score", "group": lambda _: 1}, "every part needs a picture, val gets none of 9"),
    ],
)
def test_targets_that_are_not_there(more, message):
    with pytest.raises(DataError, match=message):
        stratified_split(scored(range(9)), FRACTIONS, **more)


def test_what_cannot_be_spread():
    labelled = scored([(1, 0)] * 9, "tags")
    labelled = Collection(labelled.records, vocabularies={"tags": ("a", "b")})
    with pytest.raises(DataError, match="a class, a hue or a number, got the labels of 'tags'"):
        stratified_split(labelled, FRACTIONS, by="tags")
    with pytest.raises(ValueError, match="bins must be at least 1, got 0"):
        stratified_split(scored(range(9)), FRACTIONS, by="score", bins=0)


def test_official_lists():
    whole = collection(4, 3)
    parts = listed_split(whole, {"test": ["002", "000", "077"], "train": {"001"}})
    # By the name of the file alone, 000 is in both class folders.
    assert files(parts) == {
        "test": ["class0/000.jpg", "class0/002.jpg", "class1/000.jpg", "class1/002.jpg"],
        "train": ["class0/001.jpg", "class1/001.jpg"],
    }
    assert parts["train"].classes == whole.classes
    by_folder = listed_split(
        whole, {"a": ["class1"], "b": ["class0"]}, key=lambda record: record.path.parent.name
    )
    assert [len(part) for part in by_folder.values()] == [3, 4]
    with pytest.raises(DataError, match="on one list, 001 is on a and b"):
        listed_split(whole, {"a": ["000", "001"], "b": ["001"]})
    with pytest.raises(DataError, match="the list b must name a picture of the collection"):
        listed_split(whole, {"a": ["000"], "b": ["9"]})
