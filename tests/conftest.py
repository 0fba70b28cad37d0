"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real weights, photos and paintings that lie beside a checkout, never in it."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared/data (real weights and pictures), which is not here")
    return SHARED
