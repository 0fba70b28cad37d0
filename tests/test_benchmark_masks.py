"""What `benchmarks/masks.py` deals, pads and compares, by hand."""

import csv
import sys
from pathlib import Path

import networks
import numpy as np
import pytest
from PIL import Image

from fcnkeras import to_fcn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import masks


def blank(*sizes):
    return [np.full((*size, 3), number + 1, "float32") for number, size in enumerate(sizes)]


def test_pictures_of_many_proportions():
    pictures = masks.generated(10, 24)
    assert all(min(picture.shape[:2]) == 24 for picture in pictures)
    aspects = [picture.shape[1] / picture.shape[0] for picture in pictures]
    assert 0.5 <= min(aspects) < 0.8
    assert 1.25 < max(aspects) <= 2


def test_dealing(monkeypatch):
    monkeypatch.setattr(masks, "BATCH", 2)
    pictures = blank((4, 8), (8, 4), (4, 4), (4, 6), (7, 4))
    ordered = [batch.tolist() for batch in masks.deal(pictures, ordered=True)]
    assert ordered == [[1, 4], [2, 3], [0]]  # tall, then square to wide
    drawn = masks.deal(pictures, ordered=False)
    assert sorted(np.concatenate(drawn).tolist()) == [0, 1, 2, 3, 4]
    assert [len(batch) for batch in drawn] == [2, 2, 1]


def test_padding_by_hand():
    batch, mask = masks.padded(blank((2, 3), (4, 1)))
    assert batch.shape == (2, 4, 3, 3)
    assert mask.sum(axis=(1, 2)).tolist() == [6, 4]
    assert batch[0].sum() == 6 * 3
    assert batch[1, :, 0].sum() == 2 * 4 * 3


def test_differences_by_hand():
    alone = np.array([[1, -4], [5, 2], [0, 10]], "float32")
    found = np.array([[1, -4], [5, 6], [1, 9.5]], "float32")
    compared = masks.compare(found, alone)
    assert compared["mean_difference"] == pytest.approx((0 + 0.8 + 0.1) / 3)
    assert compared["largest_difference"] == pytest.approx(0.8)
    assert compared["same_top1"] == pytest.approx(2 / 3, abs=1e-4)


def test_rows_of_a_small_network():
    fcn = to_fcn(networks.build(networks.flatten_same), verify=False)
    rows = masks.measure(fcn, masks.generated(9, 24), repeats=1)
    kinds, ways = ("sorted", "mixed"), ("none", "fast", "exact", "alone")
    assert [(row["batches"], row["mask"]) for row in rows] == [(a, b) for a in kinds for b in ways]
    for part in (rows[:4], rows[4:]):
        by_mask = {row["mask"]: row for row in part}
        assert by_mask["exact"]["largest_difference"] < 1e-5
        assert by_mask["exact"]["same_top1"] == 1
        assert by_mask["fast"]["largest_difference"] > 1e-3
        assert by_mask["fast"]["cost"] == 1
        assert all(row["seconds"] > 0 and row["cost"] > 0 for row in part)
    assert rows[0]["padding"] < rows[4]["padding"] < 1


def test_photos_are_found_and_fed(tmp_path):
    (tmp_path / "inside").mkdir()
    Image.new("RGB", (60, 30), (255, 0, 255)).save(tmp_path / "inside" / "a.png")
    Image.new("RGB", (20, 30), (0, 0, 0)).save(tmp_path / "b.jpg")
    black, pink = masks.photos(tmp_path, 5, 32)  # b.jpg, then inside/a.png
    assert (pink.shape, black.shape) == ((32, 64, 3), (48, 32, 3))
    np.testing.assert_allclose(pink[5, 5], [255, 0, 255])
    np.testing.assert_allclose(black, 0)
    with pytest.raises(SystemExit, match="There is no picture"):
        masks.photos(tmp_path / "nowhere", 5, 32)


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(masks, "build", lambda *_: networks.build(networks.average_valid))
    out = tmp_path / "masks.csv"
    command = ["MobileNetV2", "--side", "24", "--count", "4", "--repeats", "1", "--out", str(out)]
    assert masks.main(command) == 0
    assert "0 exact masks are further" in capsys.readouterr().out
    with out.open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 2 * 2 * 2 * 4  # windows, poolings, batches, masks
    assert {row["window"] for row in rows} == {"native", "point"}
    monkeypatch.setattr(masks, "LIMIT", -1)
    assert masks.main(command) == 1, "an exact mask that is not is an error"
    with pytest.raises(SystemExit):
        masks.main(["MobileNetV2", "--weights", "w.h5"])
    assert "--weights and --photos go together" in capsys.readouterr().err
