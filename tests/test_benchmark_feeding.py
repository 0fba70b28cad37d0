"""What `benchmarks/feeding.py` measures, on pictures of three megapixels and by hand."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fcnkeras.files import read_csv
from fcnkeras.images import open_picture

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import feeding


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(feeding, "SHAPE", (1500, 2000))
    monkeypatch.setattr(feeding, "QUALITIES", (90,))


def test_it_runs_and_native_is_near(small, monkeypatch, tmp_path, capsys):
    out = tmp_path / "new" / "feeding.csv"
    monkeypatch.setattr(
        sys, "argv", ["feeding.py", "--pictures", "1", "--repeats", "1", "--out", str(out)]
    )
    assert feeding.main() == 0
    assert f"wrote {out}" in capsys.readouterr().out
    rows = {row["reader"]: row for row in read_csv(out)}
    assert list(rows) == ["native", "native_whole", "load_img", "load_img_bicubic", "eighth"]
    assert 0 < float(rows["native"]["mean_off"]) < 1
    assert float(rows["load_img_bicubic"]["mean_off"]) == 0
    assert float(rows["load_img"]["mean_off"]) > 2  # the nearest pixel
    assert float(rows["load_img"]["times_load_img"]) == 1
    assert float(rows["native"]["two_threads"]) > 0
    assert rows["eighth"]["mean_off"] == rows["eighth"]["two_threads"] == ""


def test_native_is_decoded_at_a_reduced_scale(small, tmp_path):
    path = tmp_path / "picture.jpg"
    feeding.photograph(0).save(path)
    assert open_picture(path, least=feeding.SIZE).size == (1000, 750)
    assert feeding.eighth(path).size == (250, 188)
    for read in feeding.FEEDERS:
        assert np.shape(read(path)) == (336, 448, 3)


def test_pictures_are_the_same_each_time_and_hard_to_code(small, tmp_path):
    first, again, other = (np.asarray(feeding.photograph(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first.astype(int) - other).mean() > 10
    Image.fromarray(first).save(tmp_path / "picture.jpg", quality=90)
    # Neither flat nor noise: one to three bits a pixel.
    assert 1 < (tmp_path / "picture.jpg").stat().st_size * 8 / (1500 * 2000) < 3


def test_times_by_hand():
    seconds = {"native": [1.0, 2.0, 4.0], "load_img": [3.0, 8.0, 4.0]}
    assert feeding.times(seconds, "native", "load_img") == 3  # of 3, 4 and 1
    assert feeding.times(seconds, "load_img", "native") == 0.33


def test_a_grey_level_is_too_much():
    assert feeding.is_near({"reader": "native", "mean_off": 0.99})
    assert not feeding.is_near({"reader": "native", "mean_off": 1.0})
    assert feeding.is_near({"reader": "load_img", "mean_off": 4.0})


def test_no_picture_is_wrong_usage(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["feeding.py", "--pictures", "0"])
    with pytest.raises(SystemExit, match="2"):
        feeding.main()
    assert "must be at least 1" in capsys.readouterr().err
