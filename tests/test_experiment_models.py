"""What an experiment is made of: its settings, and the model of each."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import galleries
import keras
import numpy as np
import pytest

from fcnkeras.experiments import DEMO, EXPERIMENTS, Settings, build_model
from fcnkeras.models import specs

# Keras' own reading of TensorFlow's variables, under NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(specs.SPECS, "Tiny", galleries.TINY)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Weights of 1000 classes, of which the classifier of two is not a part."""
    keras.utils.set_random_seed(7)
    file = tmp_path / "tiny.weights.h5"
    galleries.TinyNet().save_weights(file)
    return Settings(network="Tiny", weights=str(file), frozen=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": "Huge"}, "Unknown network: 'Huge'"),
        ({"pooling": "none"}, "`pooling` must be 'max' or 'avg'. Received: 'none'"),
        ({"pool_on": "x"}, "`pool_on` must be 'logits' or"),
        ({"window": "x"}, "`window` must be 'native' or"),
        ({"epochs": 0}, "`epochs` must be at least 1. Received: 0"),
        ({"batch": 0}, "`batch` must be at least 1. Received: 0"),
        ({"learning_rate": 0.0}, "`learning_rate` must be above 0"),
        ({"learning_rate": float("nan")}, "`learning_rate` must be above 0. Received: nan"),
        ({"min_learning_rate": -1.0}, "`min_learning_rate` must be at least 0"),
        ({"frozen": 3}, "`frozen` must be from -2 to 2. Received: 3"),
        ({"weights": "random"}, "`frozen` must be 0 with random weights. Received: 1"),
        ({"dropout": 1.0}, "`dropout` must be in [0, 1). Received: 1.0"),
        ({"seed": -1}, "`seed` must be at least 0. Received: -1"),
    ],
)
def test_settings_out_of_range(settings: Settings, change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        dataclasses.replace(settings, **change)


def model(number: int, settings: Settings, seed: int = 0) -> keras.Model:
    keras.utils.set_random_seed(seed)
    return build_model(EXPERIMENTS[number], settings, 2)


def test_models_take_rgb_pixels(settings: Settings) -> None:
    """The network's own weights on pixels scaled to -1 to 1 by hand give the same features."""
    built = model(1, settings)
    net = galleries.TinyNet()
    net.load_weights(settings.weights)
    features = keras.Model(net.input, net.get_layer("fc1").output)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype("float32")
    last = next(m for m in built.layers if isinstance(m, keras.Model)).get_layer("predictions")
    scores = np.asarray(features(pixels / 127.5 - 1)) @ np.asarray(last.kernel.value)
    chances = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.asarray(built(pixels)), chances, atol=1e-5)
    bgr = pixels[..., ::-1]  # negative control
    assert np.abs(np.asarray(built(bgr)) - chances).max() > 1e-3


def test_one_seed_gives_every_experiment_the_same_network(settings: Settings) -> None:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (3, 32, 32, 3)).astype("float32")
    large = rng.integers(0, 256, (3, 48, 64, 3)).astype("float32")
    original = np.asarray(model(1, settings)(small))
    np.testing.assert_allclose(np.asarray(model(2, settings)(small)), original, atol=1e-5)
    assert np.abs(np.asarray(model(2, settings, seed=1)(small)) - original).max() > 1e-3
    # The skip connection begins with weights of zero.
    without, with_skip = (np.asarray(model(n, settings)(large)) for n in (8, 9))
    np.testing.assert_allclose(with_skip, without, atol=1e-5)


def test_frozen_blocks(settings: Settings) -> None:
    def trained(number: int, change: dict) -> set[str]:
        built = model(number, dataclasses.replace(settings, **change))
        return {weight.path.split("/")[-2] for weight in built.trainable_weights}

    rest = {"fc1", "predictions"}
    assert trained(1, {}) == trained(2, {}) == rest | {"block2_conv"}
    assert trained(9, {}) == rest | {"block2_conv", "skip_block1_pool"}
    assert trained(2, {"frozen": 0}) == rest | {"block1_conv", "block2_conv"}
    assert trained(2, {"frozen": 2}) == rest
    assert trained(2, {"weights": "random", "frozen": 0}) == rest | {"block1_conv", "block2_conv"}


def test_the_demo_is_of_the_networks_own_weights() -> None:
    assert specs.get_spec(DEMO.network).weights == DEMO.weights
