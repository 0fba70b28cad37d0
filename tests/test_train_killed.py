"""`fcnkeras train` killed by the system at random moments: the same command goes on, and ends with
the figures of a run that nothing disturbed."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

import fcnkeras.saved  # noqa: F401  Keras then knows the saved layers
from fcnkeras.data.procedural.store import make_task

REPO = Path(__file__).resolve().parents[1]
EPOCHS = 8  # three of the head alone, then five of everything
OPTIONS = ("--network", "SmallVGG", "--weights", "random", "--stages", "head:3@1e-2,all:5@2e-3")
OPTIONS += ("--batch", "4", "--feeder", "crop", "--dropout", "0.3", "--seed", "5")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.skipif(
        keras.backend.backend() == "torch", reason="PyTorch's random numbers are not kept"
    ),
]


def start(pictures: Path, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "fcnkeras", "train", str(pictures), "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": str(REPO), "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.Popen(
        [*command, *OPTIONS], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=environment,
    )  # fmt: skip


def complete(pictures: Path, out: Path) -> None:
    process = start(pictures, out)
    told, _ = process.communicate(timeout=300)
    assert process.returncode == 0, told


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def kill_after(process: subprocess.Popen[str], out: Path, epochs: int, share: float) -> int:
    """Kills a run when it has logged so many epochs and some of the next; the epochs logged."""
    history, begun = out / "history.csv", time.monotonic()

    def logged() -> int:
        return len(history.read_bytes().splitlines()) - 1 if history.exists() else 0

    while logged() < epochs:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < begun + 300
        time.sleep(0.002)
    seconds = float(read(history)[epochs - 1]["seconds"]) if epochs else 4.0  # 4: while it starts
    time.sleep(share * min(seconds, 4.0))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    return logged()


def test_killed_at_random_moments(tmp_path: Path) -> None:
    folder = make_task("styles", tmp_path / "styles", counts={"all": 12}, seed=0) / "all"
    whole, out = tmp_path / "whole", tmp_path / "killed"
    complete(folder, whole)
    rng = random.Random(11)
    moments = [(0, rng.random())]  # while it starts, or in the first epoch
    moments += [(epochs, rng.random()) for epochs in sorted(rng.sample(range(1, EPOCHS - 1), 3))]
    reached = [kill_after(start(folder, out), out, *moment) for moment in moments]
    assert reached == sorted(reached)  # none lost more than the epoch it was in
    assert not (out / "result.json").exists()
    complete(folder, out)

    assert len(read(out / "history.csv")) == EPOCHS
    for row, expected in zip(read(out / "history.csv"), read(whole / "history.csv"), strict=True):
        numbers = {k: float(v) for k, v in row.items() if k != "seconds"}
        undisturbed = {k: float(v) for k, v in expected.items() if k != "seconds"}
        assert numbers == pytest.approx(undisturbed, rel=1e-4)
    results = [json.loads((run / "result.json").read_text()) for run in (out, whole)]
    assert results[0]["best_epoch"] == results[1]["best_epoch"]
    assert results[0]["test"] == results[1]["test"]
    assert {path.name for path in out.iterdir()} == {path.name for path in whole.iterdir()}
    models = [keras.models.load_model(run / "model.keras").get_weights() for run in (out, whole)]
    for weight, expected in zip(*models, strict=True):
        np.testing.assert_allclose(weight, expected, rtol=1e-3, atol=1e-5)
