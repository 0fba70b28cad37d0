"""What `benchmarks/feature_cache.py` measures."""

import csv
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import feature_cache

RESULT = Path(feature_cache.__file__).parent / "results" / "feature_cache.csv"


def read(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_an_epoch_is_measured_from_its_begin_to_its_end(monkeypatch):
    moments = iter([1.0, 3.5, 10.0, 10.25])
    monkeypatch.setattr(feature_cache, "time", SimpleNamespace(perf_counter=lambda: next(moments)))
    clock = feature_cache.Clock()
    for epoch in range(2):
        clock.on_epoch_begin(epoch)
        clock.on_epoch_end(epoch)
    assert clock.seconds == [2.5, 0.25]


def test_the_committed_table_says_what_is_claimed():
    network, cache = read(RESULT)
    seconds = float(network["epoch_seconds"]) / float(cache["epoch_seconds"])
    assert float(cache["times_network"]) == pytest.approx(seconds, rel=1e-3)
    assert seconds >= feature_cache.LEAST_TIMES
    for key in ("val_accuracy", "val_loss"):
        difference = abs(float(network[key]) - float(cache[key]))
        assert difference <= feature_cache.MOST_DIFFERENCE
    assert float(network["val_accuracy"]) > 2 / len(feature_cache.CLASSES)  # it has learned


@pytest.mark.slow
def test_a_run_of_test_size(tmp_path, monkeypatch):
    out = tmp_path / "a.csv"
    monkeypatch.setattr(sys, "argv", ["feature_cache.py", "--test-size", "--out", str(out)])
    assert feature_cache.main() in (0, 1)  # so few pictures say nothing about speed
    network, cache = read(out)
    assert (network["way"], cache["way"], cache["pictures"]) == ("network", "cache", "8")
    assert float(network["val_loss"]) == pytest.approx(float(cache["val_loss"]), abs=1e-3)
