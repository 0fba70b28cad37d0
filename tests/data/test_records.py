import os

import numpy as np
import pytest
from PIL import Image

from fcnkeras.data.records import Collection, DataError, read_class_folders


def save_picture(path, size=(6, 4)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "set"
    for name in ("b/2.png", "b/1.JPG", "a/deep/er/3.png", "a/0.webp", "c/x.gif"):
        save_picture(root / name)
    return root


def names(folder, paths):
    return [path.relative_to(folder).as_posix() for path in paths]


def test_class_folders(folder):
    found = read_class_folders(folder)
    assert found.classes == ("a", "b", "c")
    assert names(folder, [r.path for r in found.records]) == [
        "a/0.webp",
        "a/deep/er/3.png",
        "b/1.JPG",
        "b/2.png",
        "c/x.gif",
    ]
    assert found.labels.tolist() == [0, 0, 1, 1, 2]
    assert found.labels.dtype == np.int64
    assert found.records[2].targets == {"class": 1}
    assert len(found) == 5
    assert found.rejected == ()
    assert found == read_class_folders(str(folder))


def test_the_order_is_not_that_of_the_disc(folder, monkeypatch):
    walk = os.walk
    monkeypatch.setattr(
        os, "walk", lambda *given, **more: ((p, d, n[::-1]) for p, d, n in walk(*given, **more))
    )
    backwards = read_class_folders(folder)
    monkeypatch.undo()
    assert backwards == read_class_folders(folder)
    assert list(backwards.records) == sorted(backwards.records, key=lambda record: record.path)


def test_other_and_hidden_files_are_skipped(folder):
    (folder / "a" / "notes.txt").write_text("hello")
    (folder / "readme.md").write_text("hello")
    for name in ("a/.hidden.png", "a/.cache/1.png", ".git/1.png", "loose.png"):
        save_picture(folder / name)
    found = read_class_folders(folder)
    assert found.classes == ("a", "b", "c")
    assert len(found) == 5
    assert found.rejected == ()


def test_unreadable_pictures_are_rejected_with_a_reason(folder):
    (folder / "a" / "text.jpg").write_text("no picture")
    (folder / "b" / "empty.png").touch()
    save_picture(folder / "c" / "cut.png", (200, 200))
    data = (folder / "c" / "cut.png").read_bytes()
    (folder / "c" / "cut.png").write_bytes(data[: len(data) // 2])
    (folder / "c" / "gone.png").symlink_to(folder / "nowhere.png")
    found = read_class_folders(folder)
    assert len(found) == 5
    assert names(folder, [r.path for r in found.rejected]) == [
        "a/text.jpg",
        "b/empty.png",
        "c/cut.png",
        "c/gone.png",
    ]
    for rejected, part in zip(
        found.rejected, ("not a picture", "empty", "truncated", "no such file"), strict=True
    ):
        assert part in rejected.reason
    unchecked = read_class_folders(folder, check=False)
    assert (len(unchecked), unchecked.rejected) == (9, ())


def test_given_classes_set_the_indices(folder):
    found = read_class_folders(folder, classes=["c", "a", "b"])
    assert found.classes == ("c", "a", "b")
    assert found.labels.tolist() == [0, 1, 1, 2, 2]
    with pytest.raises(DataError, match="missing: d; unknown: c"):
        read_class_folders(folder, classes=["a", "b", "d"])
    with pytest.raises(DataError, match="missing: none; unknown: c"):
        read_class_folders(folder, classes=["a", "b"])


def test_folders_that_are_no_data_set(folder, tmp_path):
    with pytest.raises(DataError, match=r"missing$"):
        read_class_folders(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"got the file .*2\.png"):
        read_class_folders(folder / "b" / "2.png")
    with pytest.raises(DataError, match="at least two class folders, got none"):
        read_class_folders(folder / "b")
    with pytest.raises(DataError, match="at least two class folders, got only deep"):
        read_class_folders(folder / "a")


def test_a_class_without_pictures(folder):
    (folder / "d").mkdir()
    with pytest.raises(DataError, match=r"class folder .*d holds no picture that can be read"):
        read_class_folders(folder)
    (folder / "d" / "broken.png").write_text("no picture")
    with pytest.raises(DataError, match=r"class folder .*d holds no picture that can be read"):
        read_class_folders(folder)
    assert len(read_class_folders(folder, check=False)) == 6


def test_a_folder_that_cannot_be_listed_is_an_error(folder, monkeypatch):
    scandir = os.scandir

    def locked(path):
        if os.fspath(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", locked)
    with pytest.raises(DataError, match=r"cannot list .*deep: Permission denied"):
        read_class_folders(folder)


def test_an_empty_collection_has_no_labels():
    assert Collection((), ("a", "b")).labels.shape == (0,)
