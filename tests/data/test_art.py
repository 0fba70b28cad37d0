"""Tables of painting attributes, artists and periods."""

import pytest
from PIL import Image

from fcnkeras.data.art import HARMONIES, parents, read_art_composition, read_paintings
from fcnkeras.data.columns import Hue
from fcnkeras.data.records import DataError
from fcnkeras.data.splits import listed_split, stratified_split

HEADER = (
    "artist,in_train,new_filename,variety_texture,variety_shape,variety_size,variety_color,"
    "contrast,repetition,pri_color,harmony"
)


def composition(folder, *rows):
    path = folder / "all_domain.csv"
    path.write_text("\n".join([HEADER, *rows]))
    return path


def test_painting_attributes(tmp_path):
    path = composition(
        tmp_path,
        "a,True,1.jpg,1,2,3,4,5,6,green-yellow,split complementary",
        "b,True,2.jpg,,,,,,,,",
        "c,False,3.jpg,10,,3,4,5,6.5,black,",
    )
    for name in ("train/1.jpg", "test/3.jpg"):
        (tmp_path / name).parent.mkdir()
        Image.new("RGB", (4, 3)).save(tmp_path / name)
    found = read_art_composition(path)
    assert [record.path.relative_to(tmp_path).as_posix() for record in found.records] == [
        "train/1.jpg",
        "test/3.jpg",
    ]
    assert found.rejected == ()  # the row without attributes is none of ours
    assert found.records[0].targets == {
        "variety_texture": 1,
        "variety_shape": 2,
        "variety_size": 3,
        "variety_color": 4,
        "contrast": 5,
        "repetition": 6,
        "primary_color": Hue(90),
        "harmony": 3,
    }
    assert found.names("harmony") == HARMONIES
    assert found.records[1].targets["primary_color"].black
    assert "harmony" not in found.records[1].targets
    parts = listed_split(
        found,
        {"train": ["train"], "test": ["test"]},
        key=lambda record: record.path.parent.name,
    )
    assert [part.records[0].path.name for part in parts.values()] == ["1.jpg", "3.jpg"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a,perhaps,1.jpg,1,2,3,4,5,6,red,triadic", "line 2: column in_train must hold True or F"),
        ("a,True,1.jpg,0,2,3,4,5,6,red,triadic", "variety_texture must hold a number from 1 to 10"),
        ("a,True,1.jpg,1,2,3,4,5,6,pink,triadic", "line 2: column pri_color must hold 0 to 360"),
        ("a,True,1.jpg,1,2,3,4,5,6,red,square", "harmony must hold one of analogous, .*'square'"),
    ],
)
def test_mistakes_in_the_attributes(tmp_path, row, message):
    with pytest.raises(DataError, match=message):
        read_art_composition(composition(tmp_path, row), check=False)


def test_attributes_of_pictures_elsewhere(tmp_path):
    path = composition(tmp_path, "a,,7.jpg,1,2,3,4,5,6,red,triadic")
    found = read_art_composition(path, "/p", file="{new_filename}", check=False)
    assert found.records[0].path.as_posix() == "/p/7.jpg"


@pytest.fixture
def paintings(tmp_path):
    rows = [("monet", "impressionism")] * 4 + [("degas", "impressionism")] * 3
    rows += [("klee", "bauhaus")] * 2 + [("", "bauhaus"), ("ernst", "")]
    path = tmp_path / "labels.csv"
    lines = [f"{n}.jpg,{artist},{period}" for n, (artist, period) in enumerate(rows)]
    path.write_text("\n".join(["file,artist,period_or_style", *lines]))
    return path


def test_artists_and_periods(paintings):
    found = read_paintings(paintings, check=False)
    assert found.names("artist") == ("degas", "ernst", "klee", "monet")
    assert found.names("period") == ("bauhaus", "impressionism")
    assert len(found) == 11
    some = read_paintings(paintings, artists=["monet", "klee"], one_period=True, check=False)
    assert some.names("artist") == ("klee", "monet")
    assert parents(some, "artist", "period") == (0, 1)
    assert read_paintings(paintings, at_least=3, check=False).names("artist") == ("degas", "monet")


def test_an_artist_of_two_periods_or_none(paintings):
    with pytest.raises(DataError, match=r"one period, ernst belongs to none$"):
        read_paintings(paintings, one_period=True, check=False)
    paintings.write_text(paintings.read_text() + "\n90.jpg,monet,cubism\n91.jpg,klee,cubism")
    assert len(read_paintings(paintings, check=False)) == 13
    with pytest.raises(DataError, match=r"klee belongs to bauhaus and cubism \(and 1 more\)"):
        read_paintings(paintings, artists=["klee", "monet"], one_period=True, check=False)


def test_the_real_paintings(shared_data):
    tables = [shared_data / name / "labels.csv" for name in ("paintings", "paintings_by_period")]
    found = read_paintings(tables, at_least=20, check="exists")
    counts = {
        name: found.values("artist").count(index)
        for index, name in enumerate(found.names("artist"))
    }
    # As counted by whoever put the pictures together.
    assert counts == {
        "kazimir-malevich": 54, "albrecht-durer": 40, "vincent-van-gogh": 38,
        "nicholas-roerich": 33, "katsushika-hokusai": 32, "james-mcneill-whistler": 30,
        "leonardo-da-vinci": 28, "claude-monet": 26, "limbourg-brothers": 26, "paul-cezanne": 22,
        "pierre-auguste-renoir": 22, "nicolas-poussin": 20,
    }  # fmt: skip
    parts = stratified_split(found, {"train": 0.75, "test": 0.25}, by="artist")
    assert len(parts["train"]) == pytest.approx(278, abs=6)
    styles = read_paintings(tables[0], check="exists")
    apart = stratified_split(styles, {"train": 0.7, "test": 0.3}, by="period", group="artist")
    artists = [set(part.values("artist")) for part in apart.values()]
    assert not artists[0] & artists[1]
    with pytest.raises(DataError, match="albrecht-durer belongs to 1400-1599 and northern-ren"):
        read_paintings(tables, at_least=20, one_period=True, check=False)
