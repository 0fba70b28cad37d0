"""AVA's rules on hand-made lines, worked out by hand; and the labels of the real pictures."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcnkeras.data.ava import ava1, ava2, by_mean, read_ava, read_distributions, read_ids
from fcnkeras.data.columns import moments
from fcnkeras.data.records import Collection, DataError, Record
from fcnkeras.data.splits import id_of

# Ten votes each. The means, by hand: 101: all five votes for 5: 5. 102: (4 + 6 * 9) / 10 = 5.8.
# 103: (3 + 8) / 2 = 5.5. 104: (9 * 5 + 4) / 10 = 4.9. 105: (1 + 2 + 3) / 3 = 2. 106: 10.
LINES = """\
1 101 0 0 0 0 5 0 0 0 0 0 1 22 1396
2 102 0 0 0 1 0 9 0 0 0 0 15 0 1396
3   103 0 0 1 0 0 0 0 1 0 0 0 0 7
4 104 0 0 0 1 9 0 0 0 0 0 66 1 7

5 105 1 1 1 0 0 0 0 0 0 0 0 0 12
6 106 0 0 0 0 0 0 0 0 0 3 22 0 12
"""


@pytest.fixture
def ava_txt(tmp_path):
    path = tmp_path / "AVA.txt"
    path.write_text(LINES)
    return path


@pytest.fixture
def ava(ava_txt):
    return read_ava(ava_txt, check=False)


def ids(collection):
    return [id_of(record) for record in collection.records]


def test_lines_of_ava(ava, ava_txt):
    assert ids(ava) == ["101", "102", "103", "104", "105", "106"]
    assert ava.records[0].path == ava_txt.parent / "images" / "101.jpg"
    assert ava.records[2].targets == {
        "distribution": (0, 0, 1, 0, 0, 0, 0, 1, 0, 0),
        "challenge": ava.names("challenge").index("7"),
    }
    assert [moments(votes)[0] for votes in ava.values("distribution")] == [5, 5.8, 5.5, 4.9, 2, 10]
    tags = ava.names("tags")
    assert (len(tags), tags[0], tags[65]) == (66, "1", "66")
    given_tags = [
        None if each is None else {tags[n] for n, flag in enumerate(each) if flag}
        for each in ava.values("tags")
    ]
    assert given_tags == [{"1", "22"}, {"15"}, None, {"66", "1"}, None, {"22"}]


def test_names_of_tags_and_challenges(ava_txt, tmp_path):
    (tmp_path / "tags.txt").write_text("1 Abstract\n15 Black and White\n22 Macro\n")
    (tmp_path / "challenges.txt").write_text("7 Free Study\n12 Free Study\n1396 Red  \n")
    ava = read_ava(
        ava_txt,
        "/p",
        tags=tmp_path / "tags.txt",
        challenges=tmp_path / "challenges.txt",
        check=False,
    )
    assert ava.names("tags")[14:16] == ("Black and White", "16")
    assert ava.values("tags")[1].index(1) == 14
    challenges = [ava.names("challenge")[each] for each in ava.values("challenge")]
    assert challenges == ["Red"] * 2 + ["Free Study (7)"] * 2 + ["Free Study (12)"] * 2
    (tmp_path / "tags.txt").write_text("1 Abstract\nMacro\n")
    with pytest.raises(DataError, match=r"a number and a name in each line, got \['Macro'\]"):
        read_ava(ava_txt, tags=tmp_path / "tags.txt", check=False)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("7 107 1 1", "line 8: a row must have 15 cells, got 4"),
        ("7 107 0 0 0 0 x 0 0 0 0 0 0 0 1", "line 8: column count5 must hold a whole number, .*x"),
        ("7 107 0 0 0 0 0 0 0 0 0 0 0 0 1", "line 8: .* at least one vote"),
        ("7 107 0 0 0 0 1 0 0 0 0 0 67 0 1", "line 8: column tag1 must hold 0 to 66, got '67'"),
        ("7 106 0 0 0 0 0 0 0 0 0 4 22 0 12", r"106\.jpg has another with other values in line 7"),
    ],
)
def test_damaged_lines(ava_txt, line, message):
    ava_txt.write_text(LINES + line)
    with pytest.raises(DataError, match=message):
        read_ava(ava_txt, check=False)


def test_pictures_that_are_there(ava_txt, tmp_path):
    with pytest.raises(DataError, match=r"none of its 6 rows does.*labels alone are read with"):
        read_ava(ava_txt)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "104.jpg").touch()
    found = read_ava(ava_txt)
    assert ids(found) == ["104"]
    assert [each.line for each in found.rejected] == [1, 2, 3, 6, 7]


def labelled(collection):
    return dict(zip(ids(collection), collection.labels.tolist(), strict=True))


def test_quality_by_the_mean(ava):
    assert by_mean(ava).classes == ("low", "high")
    # A mean of exactly 5 is not above 5.
    assert labelled(by_mean(ava)) == {"101": 0, "102": 1, "103": 1, "104": 0, "105": 0, "106": 1}
    assert labelled(by_mean(ava, threshold=5.5, margin=0.3)) == {
        "101": 0, "102": 1, "104": 0, "105": 0, "106": 1,
    }  # fmt: skip
    assert by_mean(ava).records[5].targets["distribution"][9] == 3
    assert ava.classes == ()


@pytest.mark.parametrize(
    ("margin", "left"),
    [
        # |mean - 5| is 0, 0.8, 0.5, 0.1, 3 and 5: only what is nearer than the margin goes.
        (0.1, ["102", "103", "104", "105", "106"]),
        (0.11, ["102", "103", "105", "106"]),
        (0.5, ["102", "103", "105", "106"]),
        (0.8, ["102", "105", "106"]),
        (1.0, ["105", "106"]),
        (5.0, ["106"]),
    ],
)
def test_the_margin_leaves_out_what_is_nearer(ava, margin, left):
    assert ids(by_mean(ava, margin=margin)) == left


def test_a_margin_that_leaves_nothing(ava):
    with pytest.raises(DataError, match="a mean score 6 or more from 5, none of 6 has"):
        by_mean(ava, margin=6)
    with pytest.raises(ValueError, match="margin must be 0 or more, got -1"):
        by_mean(ava, margin=-1)


@given(
    votes=st.lists(st.integers(0, 9), min_size=10, max_size=10).filter(any),
    tenths=st.integers(0, 50),
)
@settings(max_examples=200, deadline=None)
def test_margins_are_exact(votes, tenths):
    picture = Collection((Record(Path("1.jpg"), {"distribution": tuple(votes)}),))
    # In whole numbers: |10 * sum - 50 * voters| against tenths * voters.
    voters, total = sum(votes), sum(k * n for k, n in enumerate(votes, 1))
    kept = abs(10 * total - 50 * voters) >= tenths * voters
    if kept:
        assert by_mean(picture, margin=tenths / 10).labels.tolist() == [int(total > 5 * voters)]
    else:
        with pytest.raises(DataError, match="none of 1 has"):
            by_mean(picture, margin=tenths / 10)


def test_ava1_with_the_official_lists(ava, tmp_path):
    test, train = tmp_path / "generic_test.jpgl", tmp_path / "generic_ss_train.jpgl"
    test.write_text("104\n106 \n\n999\n")
    train.write_text("101\n102\n")
    assert read_ids(test) == ("104", "106", "999")
    parts = ava1(ava, test)
    assert labelled(parts["train"]) == {"101": 0, "102": 1, "103": 1, "105": 0}
    assert labelled(parts["test"]) == {"104": 0, "106": 1}
    # The margin thins out the training pictures only; 104 lies within it.
    thinned = ava1(ava, test, margin=0.6)
    assert labelled(thinned["train"]) == {"102": 1, "105": 0}
    assert labelled(thinned["test"]) == {"104": 0, "106": 1}
    small = ava1(ava, test, train)
    assert labelled(small["train"]) == {"101": 0, "102": 1}
    assert labelled(ava1(ava, ["104", "106"])["test"]) == {"104": 0, "106": 1}
    with pytest.raises(DataError, match="on one list, 104 is on test and train"):
        ava1(ava, test, ["104", "101"])
    with pytest.raises(DataError, match="list test must name a picture"):
        ava1(ava, ["1"])
    (tmp_path / "empty").touch()
    with pytest.raises(DataError, match="must list the ids of pictures"):
        ava1(ava, tmp_path / "empty")


def forty():
    """Picture k of 40 has the mean 1 + k / 10, but 3 to 6 have equal ones: 1.5."""
    records = []
    for k in range(40):
        tenths = 5 if 3 <= k <= 6 else k
        low = 1 + tenths // 10
        votes = [0] * 10
        votes[low - 1], votes[low] = 10 - tenths % 10, tenths % 10
        records.append(Record(Path(f"{100 + k}.jpg"), {"distribution": tuple(votes)}))
    return Collection(tuple(records[::-1]))


def test_ava2_takes_the_tails():
    parts = ava2(forty(), share=0.1)
    both = {**labelled(parts["train"]), **labelled(parts["test"])}
    # Four of 40 at each end; of the four with a mean of 1.5 the one with the least id.
    assert both == {"100": 0, "101": 0, "102": 0, "103": 0, "136": 1, "137": 1, "138": 1, "139": 1}
    for part in parts.values():
        assert sorted(part.labels.tolist()) == [0, 0, 1, 1]
        assert part.classes == ("low", "high")
    assert labelled(ava2(forty(), seed=0)["train"]) == labelled(parts["train"])
    others = {tuple(sorted(ids(ava2(forty(), seed=seed)["train"]))) for seed in range(8)}
    assert len(others) > 1
    # Odd tails: 0.07 of 40 is 2.8, so two at each end; 0.125 of 40 is 5.
    assert [len(part) for part in ava2(forty(), share=0.07).values()] == [2, 2]
    odd = ava2(forty(), share=0.125)
    assert [sorted(part.labels.tolist()) for part in odd.values()] == [
        [0, 0, 0, 1, 1],
        [0, 0, 1, 1, 1],
    ]
    # 0.29 * 100 is below 29 in binary fractions.
    three = Collection(tuple(
        Record(record.path.with_stem(f"{record.path.stem}{n}"), record.targets)
        for record in forty().records[:25] for n in range(4)
    ))  # fmt: skip
    assert sum(len(part) for part in ava2(three, share=0.29).values()) == 58


def test_ava2_of_too_few_pictures(ava):
    with pytest.raises(DataError, match=r"two pictures or more, got 0: 0\.1 of 6"):
        ava2(ava)
    with pytest.raises(ValueError, match=r"above 0 and at most 0\.5, got 0\.6"):
        ava2(ava, share=0.6)


def test_the_real_labels(shared_data):
    found = read_distributions(shared_data / "ava" / "label_distributions.csv", check=False)
    assert len(found) == 25_551
    means = [moments(votes)[0] for votes in found.values("distribution")]
    assert sum(means) / len(means) == pytest.approx(5.377, abs=5e-4)
    high = by_mean(found)
    assert round(100 * high.labels.mean(), 1) == 70.3
    tails = ava2(found)
    assert [len(part) for part in tails.values()] == [2555, 2555]
    assert [len(set(part.labels)) for part in tails.values()] == [2, 2]
    lows = [
        moments(r.targets["distribution"])[0]
        for r in tails["train"].records
        if not r.targets["class"]
    ]
    assert max(lows) < sorted(means)[2600]  # fmt: skip
