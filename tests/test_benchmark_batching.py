"""What `benchmarks/batching.py` measures, by hand."""

import csv
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import batching


def test_waiting_is_from_the_end_of_a_step_until_the_next_batch_is_ready(monkeypatch):
    clock = iter([0.0, 3.0, 4.0, 9.0])  # the start, and the ends of three steps
    monkeypatch.setattr(batching.time, "perf_counter", lambda: next(clock))
    waiting = batching.Waiting(SimpleNamespace(ready={0: 2.0, 1: 1.5, 2: 8.5}))
    waiting.on_epoch_begin(0)
    for step in range(3):
        waiting.on_train_batch_end(step)
    assert waiting.waited == 2.0 + 0.0 + 4.5
    assert waiting.seconds == 9.0


def test_pictures_of_all_aspects(tmp_path):
    collection = batching.make_pictures(tmp_path, 9, megapixels=0.04)
    aspects = []
    for record in collection.records:
        with Image.open(record.path) as picture:
            aspects.append(picture.width / picture.height)
    expected = 3 ** np.linspace(-1, 1, 9)
    np.testing.assert_allclose(sorted(aspects), expected, rtol=0.02)
    assert collection.labels.tolist() == list(range(9))


@pytest.mark.slow
def test_a_run_of_test_size(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["batching.py", "--test-size", "--out", str(tmp_path / "a")])
    assert batching.main() in (0, 1)  # so few pictures say nothing about speed
    with (tmp_path / "a").open(newline="") as stream:
        one, padded, bent, *others = csv.DictReader(stream)
    assert (one["way"], one["batches"], one["padding"], one["times_one"]) == (
        "one at a time", "12", "0", "1",
    )  # fmt: skip
    assert float(padded["padding"]) > 0
    assert float(bent["padding"]) == 0
    assert float(bent["most_distorted"]) <= batching.BENT + 0.01
    for row in (one, padded, bent):
        assert 0 <= float(row["waiting"]) < 1
    assert [row["most_shapes"] for row in others] == ["1", "2", "4", "16"]
