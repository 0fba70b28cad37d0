"""What `benchmarks/startup.py` measures."""

import csv
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import measuring
import startup

RESULT = Path(startup.__file__).parent / "results" / "startup.csv"


def test_the_figures_are_medians_of_all_rounds_but_the_first(monkeypatch):
    moments = iter([50.0, 90.0, 4.0, 1.0, 8.0, 3.0, 6.0, 2.0])  # of keras and of fcnkeras, in turns
    monkeypatch.setattr(startup, "STARTS", {"import keras": ["k"], "import fcnkeras": ["f"]})
    monkeypatch.setattr(measuring, "seconds", lambda call: next(moments))
    keras, ours = startup.measure(3)
    assert (keras["seconds"], keras["least_seconds"], keras["most_seconds"]) == (6.0, 4.0, 8.0)
    assert (ours["seconds"], ours["times_keras"]) == (2.0, 0.333)


@pytest.mark.parametrize(
    ("start", "seconds", "times_keras", "quick"),
    [
        ("fcnkeras --help", 0.3, 0.1, True),
        ("fcnkeras --help", 0.31, 0.1, False),
        ("import fcnkeras", 9.0, 1.05, True),
        ("import fcnkeras", 0.1, 1.06, False),
        ("every name", 9.0, 2.0, True),
    ],
)
def test_what_is_quick(start, seconds, times_keras, quick):
    row = {"start": start, "seconds": seconds, "times_keras": times_keras}
    assert startup.is_quick(row) is quick


def test_the_committed_table_says_what_is_claimed():
    with RESULT.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {"import keras", "import fcnkeras", "fcnkeras --help"} <= {row["start"] for row in rows}
    assert all(startup.is_quick(row) for row in rows)
