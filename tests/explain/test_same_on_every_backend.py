"""One network gives the same maps on TensorFlow, JAX and PyTorch, each in a process of its own."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

TESTS = Path(__file__).resolve().parents[1]
BACKENDS = ("tensorflow", "jax", "torch")


def write_maps(path):
    """Maps of networks like ResNet50, VGG16 and MobileNetV2 by every method, as .npz."""
    from networks import build, random_pictures
    from test_maps_that_add_up import KINDS

    from fcnkeras import to_fcn
    from fcnkeras.explain import METHODS, targets
    from fcnkeras.explain.network import Network

    options = {"smoothgrad": {"samples": 2}, "integrated-gradients": {"steps": 5}}
    found = {}
    for kind, make in KINDS.items():
        network = Network(to_fcn(build(make, seed=2), pooling="avg"))
        x = random_pictures(1, 37, 61, seed=4)
        target = targets.unit(network.outputs([x]), 1)
        for name, method in METHODS.items():
            if kind != "vgg" or name not in ("cam", "attribute-map"):  # which its head rules out
                found[f"{kind} {name}"] = method(
                    network, target, [x], **options.get(name, {})
                ).values
    np.savez(path, **found)


@pytest.mark.slow
def test_same_maps(tmp_path):
    here = [name for name in BACKENDS if importlib.util.find_spec(name) is not None]
    if len(here) < 2:
        pytest.skip("needs two backends: pip install 'fcnkeras[jax,torch]'")
    found = {}
    for backend in here:
        path = tmp_path / f"{backend}.npz"
        folders = [str(TESTS.parent), str(TESTS), str(TESTS / "explain")]
        environment = {
            **os.environ,
            "KERAS_BACKEND": backend,
            "PYTHONPATH": os.pathsep.join(folders),
        }
        command = [sys.executable, __file__, str(path)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        found[backend] = dict(np.load(path))
    first, *others = found.values()
    assert len(first) == 25
    assert sum(values.any() for values in first.values()) >= 24
    for other in others:
        for name, values in first.items():
            assert np.abs(other[name] - values).max() <= 1e-4 * np.abs(values).max(), name


if __name__ == "__main__":
    write_maps(Path(sys.argv[1]))
