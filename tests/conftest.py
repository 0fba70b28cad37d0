"""Fixtures that every test may use."""

import os
import tempfile
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if os.environ.get("KERAS_BACKEND") == "jax":  # most of the time would go into compiling
    _compiled = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", _compiled.name)
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real weights, photos and paintings that lie beside a checkout, never in it."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared/data (real weights and pictures), which is not here")
    return SHARED
