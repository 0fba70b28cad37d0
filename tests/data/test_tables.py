"""Tables as people and programs write them: cells, files, filters, and every kind of mistake."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fcnkeras.data.columns import ClassColumn, Hue, HueColumn, LabelsColumn, ScoreColumn
from fcnkeras.data.records import DataError, Record
from fcnkeras.data.splits import load_split, save_split, stratified_split
from fcnkeras.data.tables import read_table

ARTIST = ClassColumn("artist")


@pytest.fixture
def table(tmp_path):
    """Writes a table from its lines, encoded as asked."""

    def write(*lines, encoding="utf-8", name="labels.csv"):
        path = tmp_path / name
        path.write_bytes("\n".join(lines).encode(encoding))
        return path

    return write


def pictures(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (3, 2)).save(folder / name)


def labels(collection, target="artist"):
    names = collection.names(target)
    return [None if each is None else names[each] for each in collection.values(target)]


def test_a_mixture_of_columns_with_gaps(table):
    path = table(
        "ID,artist,contrast,pri_color,tags,note",
        "7,monet,3,blue,sea;sky,first",
        "8,,10,black,,second",
        "9,degas,NA,,sky,third",
    )
    found = read_table(
        path,
        [
            ARTIST,
            ScoreColumn("contrast", 1, 10),
            HueColumn("hue", column="pri_color"),
            LabelsColumn("tags"),
        ],
        file="{ID}.jpg",
        root="/pictures",
        check=False,
    )
    assert found.records == (
        Record(
            Path("/pictures/7.jpg"),
            {"artist": 1, "contrast": 3.0, "hue": Hue(240), "tags": (1, 1)},
        ),
        Record(Path("/pictures/8.jpg"), {"contrast": 10.0, "hue": Hue(0, black=True)}),
        Record(Path("/pictures/9.jpg"), {"artist": 0, "tags": (0, 1)}),
    )
    assert found.vocabularies == {"artist": ("degas", "monet"), "tags": ("sea", "sky")}
    assert found.names("artist") == ("degas", "monet")
    assert (found.names("contrast"), found.classes) == ((), ())
    assert found.targets == ("artist", "contrast", "hue", "tags")
    assert found.values("contrast") == [3.0, 10.0, None]


def test_the_class_is_that_of_class_folders(table):
    path = table("file,class", "1.jpg,b", "2.jpg,a")
    found = read_table(path, [ClassColumn("class")], check=False)
    assert (found.classes, found.vocabularies) == (("a", "b"), {})
    assert found.labels.tolist() == [1, 0]


def test_pictures_are_found_by_column_pattern_and_function(table, tmp_path):
    path = table("where,ID,kind,artist", "x/a.png,1,in,monet")
    found = {
        "x/a.png": read_table(path, [ARTIST], file="where", check=False),
        "in/1-big.jpg": read_table(path, [ARTIST], file="{kind}/{ID}-big.jpg", check=False),
        "IN.jpg": read_table(
            path, [ARTIST], file=lambda cells: cells["kind"].upper() + ".jpg", check=False
        ),
    }
    for name, collection in found.items():
        assert collection.records[0].path == tmp_path / name
    with pytest.raises(ValueError, match=r"may hold text and \{COLUMN\}, got '\{ID:06\}'"):
        read_table(path, [ARTIST], file="{ID:06}", check=False)
    with pytest.raises(DataError, match="must have the column no; its columns: where, ID"):
        read_table(path, [ARTIST], file=lambda cells: cells["no"], check=False)


def test_rows_without_a_picture_are_listed_and_left_out(table, tmp_path):
    pictures(tmp_path, "good.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "good.png").read_bytes()[:40])
    path = table(
        "file,artist",
        "good.png,monet",
        "gone.png,degas",
        ",klee",
        '"broken.png","a\nb"',
        "good.png,monet",
    )
    found = read_table(path, [ARTIST])
    assert [record.path.name for record in found.records] == ["good.png"]
    assert found.names("artist") == ("monet",)  # the names of pictures that are there
    rejected = [(each.line, each.path.name, each.table == path) for each in found.rejected]
    assert rejected == [(3, "gone.png", True), (4, tmp_path.name, True), (5, "broken.png", True)]
    assert [each.reason for each in found.rejected][:2] == [
        "no such file",
        "its column file is empty",
    ]
    there = read_table(path, [ARTIST], check="exists")
    assert [record.path.name for record in there.records] == ["good.png", "broken.png"]
    assert len(read_table(path, [ARTIST], check=False)) == 3
    with pytest.raises(
        DataError, match=r"none of its 5 rows does, e\.g\. line 2: no such f.*; labels"
    ):
        read_table(path, [ARTIST], root=tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="check must be True, False or 'exists', got 'no'"):
        read_table(path, [ARTIST], check="no")


def test_one_picture_in_two_rows(table, tmp_path):
    same = table("file,artist,note", "a/../1.jpg,monet,x", "1.jpg,monet,y")
    assert len(read_table(same, [ARTIST], check=False)) == 1
    other = table("file,artist", "2.jpg,klee", "1.jpg,monet", "./1.jpg,degas")
    with pytest.raises(DataError, match=r"line 4: a picture must have one row, .*1\.jpg .*line 3$"):
        read_table(other, [ARTIST], check=False)
    second = table("file,artist", "1.jpg,klee", name="more.csv")
    with pytest.raises(DataError, match=r"more\.csv, line 2: .* line 3 of .*labels\.csv"):
        read_table([other.parent / "labels.csv", second], [ARTIST], check=False, where=is_not_degas)


def is_not_degas(cells):
    return cells["artist"] != "degas"


ARTISTS = ("file,artist,wall", *(f"{n}.jpg,{a},{w}" for n, (a, w) in enumerate(
    [("monet", "n"), ("monet", "n"), ("monet", "s"), ("degas", "s"), ("degas", "n"), ("klee", "e"),
     ("", "n")]
)))  # fmt: skip


def test_only_these_painters(table):
    path = table(*ARTISTS)
    found = read_table(path, [ARTIST], where={"artist": {"degas", "klee"}}, check=False)
    assert labels(found) == ["degas", "degas", "klee"]
    assert found.names("artist") == ("degas", "klee")
    both = read_table(
        path, [ARTIST], where={"artist": ["degas", "klee"], "wall": ["s", "e"]}, check=False
    )
    assert labels(both) == ["degas", "klee"]
    by_function = read_table(path, [ARTIST], where=lambda cells: cells["wall"] == "n", check=False)
    assert labels(by_function) == ["monet", "monet", "degas", None]
    with pytest.raises(DataError, match="artist must hold every value to take, got 'mone'"):
        read_table(path, [ARTIST], where={"artist": {"mone", "degas"}}, check=False)
    with pytest.raises(TypeError, match="a set of values for artist, got 'degas'"):
        read_table(path, [ARTIST], where={"artist": "degas"}, check=False)


def test_painters_with_enough_pictures(table):
    path = table(*ARTISTS)
    found = read_table(path, [ARTIST], at_least={"artist": 2}, check=False)
    assert labels(found) == ["monet"] * 3 + ["degas"] * 2
    with pytest.raises(DataError, match="asks for 4 pictures of one artist, there are not so many"):
        read_table(path, [ARTIST], at_least={"artist": 4}, check=False)


def test_a_rare_value_may_make_another_one_rare(table):
    walls = [("monet", "n")] * 3 + [("degas", "s"), ("degas", "n")]
    path = table("file,artist,wall", *(f"{n}.jpg,{a},{w}" for n, (a, w) in enumerate(walls)))
    # By hand: wall s has too few; without its picture degas has too few; n keeps three.
    found = read_table(path, [ARTIST], at_least={"artist": 2, "wall": 3}, check=False)
    assert labels(found) == ["monet"] * 3


def test_pictures_that_are_missing_do_not_count(table, tmp_path):
    path = table(*ARTISTS)
    pictures(tmp_path, *(f"{n}.jpg" for n in range(7) if n != 3))
    assert labels(read_table(path, [ARTIST], at_least={"artist": 2})) == ["monet"] * 3


def test_several_tables_each_beside_its_pictures(table, tmp_path):
    (tmp_path / "b").mkdir()
    one = table("file,artist", "1.jpg,monet")
    two = table("artist;file", "degas;1.jpg", name="b/labels.csv")
    found = read_table([one, two], [ARTIST], check=False)
    assert [record.path for record in found.records] == [tmp_path / "1.jpg", tmp_path / "b/1.jpg"]
    assert labels(found) == ["monet", "degas"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_delimiters_and_encodings(table, delimiter, encoding):
    lines = ["file, artist ,a;b", "", '"1.jpg",Cézanne,"x ""y"""', "2.jpg,  Dürer,", ",,", ""]
    path = table(
        *(line.replace("a;b", "z").replace(",", delimiter) for line in lines), encoding=encoding
    )
    found = read_table(path, [ARTIST, ClassColumn("z")], check=False)
    assert labels(found) == ["Cézanne", "Dürer"]
    assert labels(found, "z") == ['x "y"', None]


def test_other_encodings_must_be_named(table):
    path = table("file,artist", "0.jpg,Monet", "1.jpg,Dürer", encoding="cp1252")
    with pytest.raises(
        DataError, match=r"line 3: the text must be utf-8, got the byte 0xfc.*cp125"
    ):
        read_table(path, [ARTIST], check=False)
    found = read_table(path, [ARTIST], check=False, encoding="cp1252")
    assert labels(found) == ["Monet", "Dürer"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_are_counted_as_an_editor_does(tmp_path, end):
    path = tmp_path / "labels.csv"
    lines = ["file,contrast", '"a', 'b.jpg",5', "", "c.jpg,3", "d.jpg,x", "e.jpg,99"]
    path.write_bytes(end.join(lines).encode())
    with pytest.raises(
        DataError,
        match=r"labels\.csv, line 6: column contrast must hold a number from 1 to 10, got 'x' "
        r"\(and 1 more such cells\)",
    ):
        read_table(path, [ScoreColumn("contrast", 1, 10)], check=False)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([""], "must begin with a line that names its columns, it is empty"),
        (["file,painter", "1.jpg,x"], "must have the column artist once, which is missing; its"),
        (["ID;artist", "1;x"], "have the column file once, which is missing; its columns: ID, art"),
        (["file,artist,artist", "1.jpg,x,y"], "the column artist once, which is there 2 times"),
        (["file,artist", "1.jpg"], "line 2: a row must have 2 cells, got 1"),
        (["file,artist", "1.jpg,x,y"], "line 2: a row must have 2 cells, got 3"),
        (["file,artist", "1.jpg,x", '2.jpg,"y', "3.jpg,z"], "line 3: unexpected end of data"),
        (["file,artist"], "none of its 0 rows does$"),
    ],
)
def test_damaged_tables(table, lines, message):
    with pytest.raises(DataError, match=message):
        read_table(table(*lines), [ARTIST], check=False)


def test_a_missing_table_and_a_target_twice(table, tmp_path):
    with pytest.raises(DataError, match=r"cannot read the table .*nowhere\.csv: No such file"):
        read_table(tmp_path / "nowhere.csv", [ARTIST])
    with pytest.raises(ValueError, match="every target must have one column, got artist, artist"):
        read_table(table("file,artist"), [ARTIST, ClassColumn("artist", "other")][:1] * 2)


def test_wide_tables(table):
    names = [f"a{n}" for n in range(3000)]
    path = table(
        ",".join(["file", *names]), ",".join(["1.jpg", *(str(n % 9) for n in range(3000))])
    )
    columns = [ScoreColumn(name, 0, 8) for name in ("a2999", "a0")]
    assert read_table(path, columns, check=False).records[0].targets == {"a2999": 2.0, "a0": 0.0}


def test_other_words_for_missing(table):
    path = table("file,artist", "1.jpg,NA", "2.jpg,-")
    assert labels(read_table(path, [ARTIST], check=False)) == [None, "-"]
    assert labels(read_table(path, [ARTIST], check=False, missing=("-", ""))) == ["NA", None]


texts = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp"), exclude_characters="\ufeff"),
    min_size=1,
    max_size=6,
)
cells = st.one_of(texts, st.sampled_from(['a"b', "x,y", "two\nlines", "l;r", "é|è", "'q'"]))


@given(names=st.lists(cells, min_size=1, max_size=8), delimiter=st.sampled_from(",;\t|"))
@settings(max_examples=60, deadline=None)
def test_what_a_program_writes_is_read(names, delimiter, tmp_path_factory):
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=delimiter)
    writer.writerow(["artist", "file"])
    writer.writerows([name, f"{n}.jpg"] for n, name in enumerate(names))
    path = tmp_path_factory.mktemp("table") / "labels.csv"
    path.write_text(buffer.getvalue(), encoding="utf-8", newline="")
    found = read_table(path, [ARTIST], check=False, missing=())
    assert labels(found) == [name.strip() or None for name in names]


def test_a_split_of_a_table_is_kept(table, tmp_path):
    path = table("file,artist", *(f"{n}.jpg,{'ab'[n % 2]}" for n in range(12)))
    whole = read_table(path, [ARTIST], check=False)
    parts = stratified_split(whole, {"train": 0.5, "test": 0.5}, by="artist")
    assert parts["train"].vocabularies == {"artist": ("a", "b")}
    save_split(tmp_path / "split.csv", parts, tmp_path)
    assert load_split(tmp_path / "split.csv", whole) == parts
