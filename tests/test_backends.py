"""The smoke part of the tests on the backends beside TensorFlow, in a process each.

`make test-all` runs far more than this part on each of them.
"""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import pytest

ROOT = Path(__file__).resolve().parents[1]
LEAST = 12  # a smoke part that lost its tests would pass, too


@pytest.mark.smoke
def test_the_backend_is_the_one_asked_for():
    assert keras.backend.backend() == os.environ.get("KERAS_BACKEND", keras.backend.backend())


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the run on TensorFlow starts the others"
)
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_smoke_part(backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed: pip install 'fcnkeras[{backend}]'")
    command = [sys.executable, "-m", "pytest", "-m", "smoke", "-p", "no:cacheprovider"]
    environment = {**os.environ, "KERAS_BACKEND": backend}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    summary = re.search(r"(\d+) passed(.*)", done.stdout)
    assert int(summary[1]) >= LEAST, done.stdout
    assert "skipped" not in summary[2], done.stdout
