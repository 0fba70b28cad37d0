"""What `benchmarks/shared_crops.py` cuts, compares and writes, by hand and on a small network."""

import csv
import sys
from pathlib import Path

import networks
import numpy as np
import pytest
from PIL import Image

from fcnkeras import to_fcn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import shared_crops


def test_moved_crops_by_hand():
    picture = np.arange(19 * 3, dtype="float32").reshape(1, 19, 3).repeat(8, axis=0)
    # 8 x 19: crops from 0, 5.5 and 11 pixels.
    for step, starts in ((1, [0, 6, 11]), (4, [0, 4, 8]), (8, [0, 8, 8])):
        found = shared_crops.moved_crops(picture, 3, step)
        assert found.shape == (3, 8, 8, 3)
        assert (found[:, 0, 0, 0] / 3).tolist() == starts
        tall = shared_crops.moved_crops(picture.swapaxes(0, 1), 3, step)
        np.testing.assert_array_equal(tall, found.swapaxes(1, 2))
    assert shared_crops.moved_crops(picture[:, :8], 1, 32).shape == (1, 8, 8, 3)


def test_differences_by_hand():
    exact = np.array([[1, -1, 1, -1, 1, -1], [0, 0, 6, 0, 0, 6]], "float32")  # deviations 1 and 2√2
    found = exact + np.array([[0, 0, 0, 0, 0.6, 0], [0, 0, -3, -3, 3, 3]], "float32")
    compared = shared_crops.compare(found, exact)
    small, large = np.sqrt(0.06), 3 / np.sqrt(4) / np.sqrt(8) * np.sqrt(4 * 4 / 6)
    assert compared["difference"] == pytest.approx((small + large) / 2, rel=0.05)
    assert compared["largest_difference"] == pytest.approx(large, rel=0.05)
    assert shared_crops.compare(exact, exact) == {
        "difference": 0,
        "largest_difference": 0,
        "same_top1": 1,
        "same_top5": 1,
    }
    first = shared_crops.compare(exact[:, ::-1], exact)
    assert first["same_top1"] == 0


def test_without_weights_it_says_so(tmp_path, capsys):
    assert shared_crops.main([str(tmp_path / "none.h5")]) == 0
    assert "Skipped: random weights say nothing" in capsys.readouterr().out


def test_the_command(tmp_path, monkeypatch):
    def small(weights, pooling, include_preprocessing):
        return to_fcn(networks.build(networks.average_valid), pooling=pooling)

    monkeypatch.setattr(shared_crops, "MobileNetV2_fcn", small)
    monkeypatch.setattr(shared_crops, "SIZES", (24,))
    monkeypatch.setattr(shared_crops, "UNTIL", (None, "conv1"))
    monkeypatch.setattr(shared_crops, "ASPECTS", {"3:1": (3, 1)})
    monkeypatch.setattr(shared_crops.importlib.util, "find_spec", lambda name: None)
    pictures = networks.random_pictures(2, 40, 64) * 40 + 128
    folder = tmp_path / "few"
    folder.mkdir()
    for number, picture in enumerate(pictures.clip(0, 255).astype("uint8")):
        Image.fromarray(picture).save(folder / f"{number}.png")
    (tmp_path / "w.h5").touch()
    command = [str(tmp_path / "w.h5"), str(folder), "--repeats", "1", "--out", str(tmp_path)]
    assert shared_crops.main(command) == 0
    with (tmp_path / "shared_crops.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    ways = ["shared", "until conv1", "moved 32", "moved 1", "middle"]
    assert [(row["pooling"], row["way"]) for row in rows] == [
        (pooling, way) for pooling in ("avg", "max") for way in ways
    ]
    assert all(0 < float(row["difference"]) <= float(row["largest_difference"]) for row in rows)
    with (tmp_path / "shared_crops_time.csv").open() as stream:
        times = list(csv.DictReader(stream))
    assert [row["way"] for row in times] == ["shared", "until conv1"]
    assert {(row["engine"], row["crops"], row["pixels"]) for row in times} == {
        ("keras", "3", "1.0")
    }
    assert all(float(row["ratio"]) > 0 for row in times)
    with pytest.raises(SystemExit, match="There is no picture"):
        shared_crops.main([*command[:1], str(tmp_path / "nowhere"), *command[2:]])
