"""AADB's three files, made by hand and real."""

import pytest

from fcnkeras.data.aadb import ATTRIBUTES, COLUMNS, FILES, read_aadb
from fcnkeras.data.records import DataError

HEADER = ",".join(["ImageFile", *(column.sources[0] for column in COLUMNS)])


@pytest.fixture
def folder(tmp_path):
    def row(name, score):
        return f"{name},-0.2,0.8,0.6,-1,1,0.0,0,0.4,-0.6,0.2,1.0,{score}"

    rows = {
        "train": [row("a.jpg", 0.3), row("b.jpg", 0.7)],
        "val": [row("c.jpg", 0.5), row("d.jpg", 0.208)],
        "test": [row("d.jpg", 0.208), row("e.jpg", 0.9)],
    }
    for part, lines in rows.items():
        (tmp_path / FILES[part]).write_text("\n".join([HEADER, *lines]))
    return tmp_path


def files(parts):
    return {name: [record.path.name for record in part.records] for name, part in parts.items()}


def test_attributes_and_score(folder):
    parts = read_aadb(folder, check=False)
    targets = parts["train"].records[0].targets
    assert len(ATTRIBUTES) == 11
    assert len(targets) == 12
    assert targets["balancing_elements"] == -0.2
    assert targets["depth_of_field"] == -1.0
    assert targets["symmetry"] == 0.2
    assert targets["vivid_color"] == 1.0
    assert targets["score"] == 0.3
    assert parts["train"].records[0].path == folder / "a.jpg"


def test_no_test_picture_is_in_the_validation_part(folder):
    assert files(read_aadb(folder, check=False)) == {
        "train": ["a.jpg", "b.jpg"],
        "val": ["c.jpg"],
        "test": ["d.jpg", "e.jpg"],
    }
    as_published = files(read_aadb(folder, check=False, disjoint=False))
    assert as_published["val"] == ["c.jpg", "d.jpg"]


def test_pictures_of_each_part(folder):
    for name in ("w256/a.jpg", "w256/c.jpg", "new/e.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    roots = {"train": folder / "w256", "val": folder / "w256", "test": folder / "new"}
    parts = read_aadb(folder, roots)
    assert files(parts) == {"train": ["a.jpg"], "val": ["c.jpg"], "test": ["e.jpg"]}
    assert [each.line for each in parts["test"].rejected] == [2]
    with pytest.raises(ValueError, match="must name train, val and test, got"):
        read_aadb(folder, {"train": folder})


def test_a_score_out_of_range(folder):
    path = folder / FILES["val"]
    path.write_text(path.read_text().replace("0.208", "1.5"))
    with pytest.raises(DataError, match="line 3: column score must hold a number from 0 to 1, got"):
        read_aadb(folder, check=False)


def test_the_real_labels(shared_data):
    parts = read_aadb(shared_data / "aadb", check=False)
    published = read_aadb(shared_data / "aadb", check=False, disjoint=False)
    assert [len(part) for part in published.values()] == [8458, 500, 1000]
    assert [len(part) for part in parts.values()] == [8458, 500 - 127, 1000]
    for part in published.values():
        assert len(part.targets) == 12
        assert None not in part.values("score")
