"""What `benchmarks/scoring.py` makes, compares and counts, by hand."""

import sys
from pathlib import Path

import keras
import networks
import numpy as np
import pytest
from keras import layers
from PIL import Image

from fcnkeras.scoring.scorer import Scorer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import measuring
import scoring


def whole_squares() -> keras.Model:
    """32x32 pixels of 0-255."""
    picture = keras.Input((32, 32, 3))
    x = layers.Conv2D(6, 5, strides=2, activation="relu")(layers.Rescaling(1 / 255)(picture))
    outputs = layers.Dense(4, activation="softmax")(layers.Flatten()(x))
    return keras.Model(picture, outputs, name="whole_squares")


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{number}.png" for number in range(7)]
    for path in paths:  # of the size that is fed, so that every filter gives the same
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
    return paths


def test_all_ways_answer_alike(pictures: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "SIZE", 32)
    model = networks.build(whole_squares)
    expected = scoring.loop(model, pictures, "nearest")
    assert len(set(expected)) > 1
    assert scoring.loop(model, pictures, "bicubic") == expected
    scorer = Scorer(model, feeder="squash", engine="keras")
    assert scoring.scored(scorer, pictures) == expected
    fed = scoring.decoded(scorer, pictures)
    assert [each.arrays.shape for each in fed] == [(1, 32, 32, 3)] * 7
    seen: list[int] = []

    def count(batches):
        for tag, inputs in batches:
            seen.append(len(inputs[0]))
            yield tag, inputs

    monkeypatch.setattr(scorer.engine, "answers", count)
    scoring.computed(scorer, fed)
    assert sum(seen) == 7


def test_photographs_are_enlarged(tmp_path: Path) -> None:
    # A red disc on grey, twice as wide as high.
    y, x = np.mgrid[:100, :200]
    disc = (x - 100) ** 2 + (y - 50) ** 2 < 30**2
    pixels = np.where(disc[..., None], (200, 30, 30), (90, 90, 90)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "disc.png")
    first, later = (
        np.asarray(scoring.enlarged(tmp_path / "disc.png", turn, np.random.default_rng(0)), int)
        for turn in (0, 5)
    )
    assert first.shape == later.shape == (3000, 4000, 3)
    areas = [(each[..., 0] > 150).mean() for each in (first, later)]
    # All of the height is seen, so the disc covers pi * 30**2 of 133 x 100; later more of less.
    assert areas[0] == pytest.approx(np.pi * 900 / 13333, rel=0.02)
    assert areas[1] == pytest.approx(areas[0] / 0.97**10, rel=0.02)
    assert first[:50, :50].std() > 1  # the grain


def test_rounds_and_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(np.cumsum([0, 9, 0, 9, 0, 6, 0, 2, 0, 8, 0, 4]).tolist())
    monkeypatch.setattr(measuring.time, "perf_counter", lambda: next(clock))
    found = scoring.in_rounds({"slow": lambda: None, "fast": lambda: None}, 2)
    assert found == {"slow": [6, 8], "fast": [2, 4]}  # the first round is left out
    assert scoring.ratio(found, "slow", "fast") == 2.5
