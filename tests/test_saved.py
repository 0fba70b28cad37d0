"""`import fcnkeras.saved` is all that a new process needs to open what the package saved."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import networks
import numpy as np
import pytest

import fcnkeras
from fcnkeras import to_fcn
from fcnkeras.augment import Augmentation, augmented
from fcnkeras.tasks.heads import compile_arguments, task_model
from fcnkeras.tasks.schemas import load_schema

PACKAGE = Path(fcnkeras.__file__).parent
SHAPE = (1, 40, 50, 3)
LOAD = """
import json, sys
{line}
import keras, numpy as np
known = sorted(name for name in keras.saving.get_custom_objects() if name.startswith("fcnkeras>"))
picture = np.linspace(0, 1, {size}, dtype="float32").reshape({shape})
models = [keras.models.load_model(path) for path in sys.argv[1:]]
outputs = [keras.tree.flatten(model(picture, training=False)) for model in models]
values = [[np.ravel(keras.ops.convert_to_numpy(o)).tolist() for o in each] for each in outputs]
print(json.dumps([known, values]))
"""


def loaded_elsewhere(*paths: Path, line: str) -> subprocess.CompletedProcess:
    script = LOAD.format(line=line, size=np.prod(SHAPE), shape=SHAPE)
    command = [sys.executable, "-c", script, *map(str, paths)]
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(PACKAGE.parent)}
    return subprocess.run(command, capture_output=True, text=True, env=quiet, check=False)


def registered_in_the_source() -> list[str]:
    """The names that Keras knows the decorated classes by."""
    found = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            for decorator in getattr(node, "decorator_list", ()):
                if "register_keras_serializable" in ast.unparse(decorator):
                    found.append(f"fcnkeras>{node.name}")
    return sorted(found)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], list[list[np.ndarray]]]:
    """A converted network, a compiled model with tasks and one with augmentation, and what they
    answer."""
    folder = tmp_path_factory.mktemp("saved")
    base = networks.build(networks.average_valid)
    features = keras.Model(base.input, base.layers[-3].output)
    tasks = task_model(features, load_schema("art_composition"))
    tasks.compile("adam", **compile_arguments(tasks))
    fcn = to_fcn(base)
    models = [fcn, tasks, augmented(fcn, Augmentation(seed=0))]
    picture = np.linspace(0, 1, np.prod(SHAPE), dtype="float32").reshape(SHAPE)
    paths, outputs = [], []
    for number, model in enumerate(models):
        paths.append(folder / f"{number}.keras")
        model.save(paths[-1])
        outputs.append(keras.tree.flatten(model(picture, training=False)))
    return paths, outputs


def test_a_new_process_opens_what_was_saved(saved) -> None:
    paths, outputs = saved
    done = loaded_elsewhere(*paths, line="import fcnkeras.saved")
    assert done.returncode == 0, done.stderr
    known, found = json.loads(done.stdout)
    assert known == registered_in_the_source()
    for values, expected in zip(found, outputs, strict=True):
        for value, output in zip(values, expected, strict=True):
            reference = np.ravel(networks.to_numpy(output))
            np.testing.assert_allclose(value, reference, rtol=1e-5, atol=1e-6)


def test_keras_alone_cannot(saved) -> None:
    done = loaded_elsewhere(saved[0][0], line="import fcnkeras")
    assert done.returncode != 0
    assert "Could not locate class" in done.stderr
