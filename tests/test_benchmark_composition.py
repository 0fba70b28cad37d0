"""What `benchmarks/composition.py` trains and sums up."""

import csv
import itertools
import sys
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import composition

SCORES = ("variety_texture", "variety_shape", "variety_size", "variety_color", "contrast")
SCORES += ("repetition",)
TINY = composition.Settings(
    pictures=16, held_out=8, size=32, epochs=1, rate=1e-2, batch=8, width=2, units=3
)


def read(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_tiny_study_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(composition, "ENCODINGS", ("embedding",))
    composition.study(tmp_path / "runs", tmp_path, (0,), TINY)
    rows = read(tmp_path / "composition.csv")
    assert [(row["seed"], row["encoding"]) for row in rows] == [("0", "embedding")]
    assert set(rows[0]) >= {*SCORES, "hue_degrees", "colour", "black", "harmony"}
    assert all(0 <= float(row["hue_degrees"]) <= 180 for row in rows)
    # The pictures of the figures chose nothing.
    split = read(tmp_path / "runs" / "embedding_0" / "split.csv")
    folders = {(row["part"], row["file"].split("/")[0]) for row in split}
    assert folders == {("train", "train"), ("val", "train"), ("test", "test")}

    monkeypatch.setattr(composition, "fit_stages", None)  # finished runs are read
    composition.study(tmp_path / "runs", tmp_path, (0,), TINY)
    assert read(tmp_path / "composition.csv") == rows


def test_a_histogram_of_hues_by_hand(tmp_path):
    """Half of a picture red, a quarter yellow (60 degrees on), a quarter grey, which has no hue;
    the same with all hues a third of the wheel on."""
    for name, first, second in (
        ("a", (200, 0, 0), (200, 200, 0)),
        ("b", (0, 200, 0), (0, 200, 200)),
    ):
        pixels = np.full((4, 8, 3), 90, "uint8")
        pixels[:, :4], pixels[:, 4:6] = first, second
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        expected = np.zeros(36)
        expected[[0, 6]] = (2 / 3) ** 0.5, (1 / 3) ** 0.5
        found = composition.hue_histogram(tmp_path / f"{name}.png")
        start = int(np.argmax(found))  # that of the first of three bins which hold the most
        assert start in (0, 1)
        np.testing.assert_allclose(np.roll(found, -start), expected, atol=1e-6)


def test_mean_and_spread_by_hand():
    rows = [
        {"seed": seed, "encoding": encoding, "harmony": value, "best_epoch": 1}
        for encoding, values in (("vector", (0.2, 0.3, 0.4)), ("softmax", (0.5, 0.5, 0.5)))
        for seed, value in enumerate(values)
    ]
    assert composition.summarise(rows) == [
        {"encoding": "vector", "seeds": 3, "harmony": "0.300", "harmony_spread": "0.100"},
        {"encoding": "softmax", "seeds": 3, "harmony": "0.500", "harmony_spread": "0.000"},
    ]


def test_the_committed_tables_say_what_is_claimed():
    rows = read(composition.RESULTS / "composition.csv")
    summary = read(composition.RESULTS / "composition_summary.csv")
    runs = [(int(row["seed"]), row["encoding"]) for row in rows]
    assert set(runs) == set(itertools.product(composition.SEEDS, composition.ENCODINGS))
    assert len(runs) == 9
    for row in rows:
        assert min(float(row[score]) for score in SCORES) >= 0.8
        assert float(row["hue_degrees"]) < 15
        assert float(row["harmony"]) >= 2 / 6
    for line in summary:
        own = [row for row in rows if row["encoding"] == line["encoding"]]
        for name in (*SCORES, "hue_degrees", "harmony"):
            values = [float(row[name]) for row in own]
            assert abs(np.mean(values) - float(line[name])) < 6e-4
            assert abs(np.std(values, ddof=1) - float(line[f"{name}_spread"])) < 6e-4
