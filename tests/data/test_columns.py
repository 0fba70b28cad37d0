"""What cells mean, by hand-worked values; and what is said of those that mean nothing."""

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcnkeras.data.columns import (
    WHEEL,
    CellError,
    ClassColumn,
    DistributionColumn,
    Hue,
    HueColumn,
    LabelsColumn,
    ScoreColumn,
    moments,
)


def value(column, **cells):
    """The target of one row, the names being those that occur in it."""
    parsed = column.parse(cells)
    return None if parsed is None else column.fitted([parsed]).encode(parsed)


def test_classes_are_sorted_or_given():
    free = ClassColumn("artist", column="painter")
    assert free.sources == ("painter",)
    fitted = free.fitted(["monet", "degas", "monet"])
    assert fitted.names == ("degas", "monet")
    assert [fitted.encode(name) for name in ("monet", "degas")] == [1, 0]
    fixed = ClassColumn("artist", names=("monet", "degas"))
    assert fixed.fitted(["degas"]) is fixed
    assert fixed.encode("monet") == 0
    assert free.parse({"painter": ""}) is None
    with pytest.raises(CellError, match=r"artist must hold one of monet, degas, got 'Monet'"):
        fixed.parse({"artist": "Monet"})
    with pytest.raises(CellError, match=r"c0, .* c9, ca, cb, cc, cd, ce and 5 more, got 'x'"):
        ClassColumn("a", names=tuple(f"c{n:x}" for n in range(20))).parse({"a": "x"})


def test_scores_in_their_range_as_they_are_and_mapped():
    plain = ScoreColumn("contrast", 1, 10)
    assert [value(plain, contrast=each) for each in ("1", "10", "5.5", "")] == [1, 10, 5.5, None]
    mapped = ScoreColumn("contrast", 1, 10, mapped=(-1, 1))
    # By hand: 1 -> -1, 5.5 is the middle, 7.75 is three quarters up.
    assert [value(mapped, contrast=each) for each in ("1", "5.5", "7.75", "10")] == [-1, 0, 0.5, 1]
    for wrong in ("0.99", "11", "nan", "inf", "much", "5,5"):
        with pytest.raises(CellError, match=f"contrast must hold a number from 1 to 10, .*{wrong}"):
            plain.parse({"contrast": wrong})


def test_distributions_keep_the_votes():
    column = DistributionColumn("rating", ("a", "b", "c"))
    assert column.sources == ("a", "b", "c")
    assert value(column, a="3", b="0", c="1") == (3, 0, 1)
    assert value(column, a="0.25", b="0.5", c="0.25") == (0.25, 0.5, 0.25)
    assert column.parse({"a": "", "b": "", "c": ""}) is None
    with pytest.raises(CellError, match="column b must hold a number of votes, 0 or more, got ''"):
        column.parse({"a": "1", "b": "", "c": "2"})
    with pytest.raises(CellError, match=r"column c must hold .* got '-1'"):
        column.parse({"a": "1", "b": "1", "c": "-1"})
    with pytest.raises(CellError, match="a to c must hold at least one vote"):
        column.parse({"a": "0", "b": "0", "c": "0"})


def test_moments_by_hand():
    # Two votes for 1, one for 4: mean 6 / 3 = 2; variance (1 + 1 + 4) / 3 = 2.
    assert moments((2, 0, 0, 1)) == (2, pytest.approx(math.sqrt(2)))
    assert moments((0, 0, 7)) == (3, 0)


@given(st.lists(st.integers(0, 30), min_size=2, max_size=10).filter(any))
def test_moments_are_those_of_the_votes(counts):
    votes = [score for score, count in enumerate(counts, 1) for _ in range(count)]
    mean, deviation = moments(counts)
    assert mean == pytest.approx(statistics.fmean(votes))
    assert deviation == pytest.approx(statistics.pstdev(votes))


@pytest.mark.parametrize(
    ("cell", "degrees", "name"),
    [
        ("red", 0, "red"),
        ("Yellow", 60, "yellow"),
        ("green-yellow", 90, "green-yellow"),
        ("Yellow Green", 90, "green-yellow"),
        ("cyan_blue", 210, "blue-cyan"),
        ("red-magenta", 330, "red-magenta"),
        ("200", 200, "blue-cyan"),
        ("44.9", 44.9, "orange"),
        ("45", 45, "yellow"),
        ("359", 359, "red"),
        ("360", 0, "red"),
    ],
)
def test_hues(cell, degrees, name):
    hue = value(HueColumn("hue"), hue=cell)
    assert hue == Hue(degrees)
    assert hue.name == name
    assert WHEEL[hue.place] == name


def test_black_is_no_hue_and_other_words_are_errors():
    black = value(HueColumn("hue", column="pri_color"), pri_color="Black")
    assert (black.black, black.place, black.name) == (True, 12, "black")
    assert black != value(HueColumn("hue"), hue="red")
    assert HueColumn("hue").parse({"hue": ""}) is None
    for wrong in ("mauve", "-1", "361", "red-green", "nan"):
        with pytest.raises(CellError, match=r"0 to 360 degrees, black, or one of red, orange"):
            HueColumn("hue").parse({"hue": wrong})


def test_labels_in_one_cell():
    column = LabelsColumn("tags", separator="|")
    parsed = [column.parse({"tags": cell}) for cell in ("sea | sky", "sky||tree|sky", "", "|")]
    assert parsed == [("sea", "sky"), ("sky", "tree"), None, None]
    fitted = column.fitted(parsed[:2])
    assert fitted.names == ("sea", "sky", "tree")
    assert [fitted.encode(each) for each in parsed[:2]] == [(1, 1, 0), (0, 1, 1)]
    assert value(LabelsColumn("tags", names=("a", "b"), empty_is_none=True), tags="") == (0, 0)
    with pytest.raises(CellError, match="column tags must hold names out of a, b, got 'c'"):
        LabelsColumn("tags", names=("a", "b")).parse({"tags": "a;c"})


def test_labels_in_one_column_each():
    column = LabelsColumn("style", columns=("blur", "macro", "pan"))
    assert column.sources == column.names == ("blur", "macro", "pan")
    assert value(column, blur="1", macro="False", pan="yes") == (1, 0, 1)
    # What is known of some labels is kept.
    assert value(column, blur="", macro="0", pan="1.0") == (None, 0, 1)
    assert column.parse({"blur": "", "macro": "", "pan": ""}) is None
    with pytest.raises(CellError, match="column pan must hold 0 or 1, got '2'"):
        column.parse({"blur": "1", "macro": "0", "pan": "2"})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ScoreColumn("s", 2, 2), "the range of s must rise, got 2 to 2"),
        (lambda: ScoreColumn("s", 0, 1, mapped=(1, -1)), "range of s must rise, got 1 to -1"),
        (lambda: ClassColumn("c", names=("a", "a")), "names of c must be different"),
        (lambda: DistributionColumn("d", ("a",)), "two different columns or more, got"),
        (lambda: LabelsColumn("t", "a", columns=("b",)), "a column or columns, got both"),
        (lambda: LabelsColumn("t", columns=("a", "b"), names=("a",)), "got 1 for 2"),
    ],
)
def test_columns_that_make_no_sense(make, message):
    with pytest.raises(ValueError, match=message):
        make()
