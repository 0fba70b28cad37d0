"""Maps of the worst errors: what spoke for the answer, in the picture's own pixels."""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers
from pages import Reader, write_csv
from PIL import Image

from fcnkeras import report
from fcnkeras.report.error_maps import error_maps
from fcnkeras.report.training import MAPS
from fcnkeras.tasks.classes import ClassTask
from fcnkeras.tasks.heads import task_model
from fcnkeras.tasks.hue import HueTask
from fcnkeras.tasks.schema import Schema
from fcnkeras.tasks.scores import DistributionTask, ScoreTask


def several_tasks(head: str = "pooled") -> keras.Model:
    picture = keras.Input((None, None, 3))
    x = layers.Rescaling(1 / 255)(picture)
    x = layers.Conv2D(6, 3, strides=2, padding="same", activation="relu", name="block1")(x)
    x = layers.Conv2D(6, 3, strides=2, padding="same", activation="relu", name="block2")(x)
    tasks = (
        ClassTask("style", names=("calm", "wild")),
        ScoreTask("contrast", low=1, high=10),
        DistributionTask("marks"),
        HueTask("colour"),
    )
    levels = None if head == "pooled" else ["block1", "block2"]
    return task_model(keras.Model(picture, x), Schema("several", tasks), head, levels=levels)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(0)
    return several_tasks()


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, 90, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    return tmp_path / "wide.png"


def test_every_kind_of_task_is_explained(model: keras.Model, picture: Path) -> None:
    explain = error_maps(model, "native", 40)
    told = {task: explain(str(picture), task) for task in ("style", "contrast", "marks", "colour")}
    answer = int(keras.ops.argmax(model(_fed(picture))["style"][0]))
    assert told["style"].title == f"what spoke for style: {('calm', 'wild')[answer]}"
    assert told["contrast"].title == "what spoke for contrast"
    assert told["marks"].title == "what spoke for mean of marks"
    assert told["colour"].title.startswith("what spoke for colour near ")
    assert all(one.ratio == 90 / 40 for one in told.values())
    assert len({one.overlay for one in told.values()}) == 4


def _fed(picture: Path) -> np.ndarray:
    with Image.open(picture) as image:
        return np.asarray(image, "float32")[None]


def test_the_page_shows_maps_of_the_first_errors(
    model: keras.Model, picture: Path, tmp_path: Path
) -> None:
    (tmp_path / "evaluation.json").write_text('{"style": {"records": 9}, "contrast": {}}')
    rows = [("style", picture, "calm", "wild", 1 / n) for n in range(1, 9)]
    rows.insert(1, ("style", tmp_path / "gone.png", "calm", "wild", 0.9))
    rows += [("contrast", picture, 2, 9, 0.7)]
    write_csv(tmp_path / "errors.csv", ["task", "file", "label", "answer", "error"], rows)
    explain = error_maps(model, "native", 40)
    page = report.write_training_report(tmp_path, explain).read_text(encoding="utf-8")
    # Two tasks share the maps; the picture that is gone has none.
    assert page.count('type="range"') == MAPS // 2 - 1 + 1
    assert page.count("picture not found") == 1
    assert "what spoke for the answer (Grad-CAM)" in Reader(page).text
    plain = report.write_training_report(tmp_path).read_text(encoding="utf-8")
    assert 'type="range"' not in plain
    assert "Grad-CAM" not in Reader(plain).text
