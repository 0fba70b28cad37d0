import json
import math

import numpy as np
import pytest
from PIL import Image

from fcnkeras.data import procedural
from fcnkeras.data.procedural import (
    canvas,
    draw,
    make_task,
    pretraining,
    proportions,
    store,
    task_classes,
)

REGULAR, ELONGATED = ("circle", "square"), ("ellipse", "rectangle")


def rng(*keys: int) -> np.random.Generator:
    return np.random.default_rng([*keys, 99])


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture, dtype=np.float64)


def test_the_classes_of_each_task():
    assert task_classes("proportions") == ("circle", "ellipse", "rectangle", "square")
    assert len(task_classes("styles")) >= 4
    assert len(task_classes("pretraining")) == 9 * 3 + 7
    for name in procedural.TASKS:
        assert list(task_classes(name)) == sorted(set(task_classes(name)))
    tasks = {*task_classes("proportions"), *task_classes("styles")}
    words = {word for name in task_classes("pretraining") for word in (name, name.split("_")[0])}
    assert not tasks & words


@pytest.mark.parametrize("name", procedural.TASKS)
def test_a_picture_depends_on_its_random_numbers_alone(name):
    for class_name in task_classes(name):
        first, again, other = (draw(name, class_name, rng(seed)) for seed in (1, 1, 2))
        assert first.mode == "RGB"
        assert first.tobytes() == again.tobytes()
        assert first.tobytes() != other.tobytes()
        assert pixels(first).std() > 4  # not an empty canvas


@pytest.mark.parametrize("name", ["proportions", "styles"])
def test_aspects_are_log_uniform_from_1_to_3_to_3_to_1(name):
    sizes = [draw(name, c, rng(i)).size for i in range(40) for c in task_classes(name)]
    aspects = np.log([width / height for width, height in sizes]) / math.log(3)
    assert 0.9 < aspects.max() < 1.02
    assert -1.02 < aspects.min() < -0.9
    # fifths of a uniform distribution: 20 % each, here within 4 standard errors
    shares = np.histogram(aspects, bins=5, range=(-1.02, 1.02))[0] / len(aspects)
    assert np.abs(shares - 0.2).max() < 4 * math.sqrt(0.16 / len(aspects))
    assert all(96 <= min(size) <= 144 for size in sizes)


def target_box(class_name: str, seed: int) -> tuple[float, float, tuple[int, int]]:
    """Width and height of the target in a finished picture, and the picture's size.

    The same random numbers with a target of another colour differ just where the target is.
    """
    first = draw(class_name=class_name, name="proportions", rng=rng(seed))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(canvas.Canvas, "polygon", _without_target(canvas.Canvas.polygon))
        second = draw(class_name=class_name, name="proportions", rng=rng(seed))
    changed = np.abs(pixels(first) - pixels(second)).max(axis=2) > 24
    columns, rows = np.flatnonzero(changed.any(axis=0)), np.flatnonzero(changed.any(axis=1))
    return np.ptp(columns) + 1, np.ptp(rows) + 1, first.size


def _without_target(polygon):
    """Targets are outlines of 4 or 64 points; strokes have 10, splinters 3."""

    def paint(self, outline, colour):
        if len(outline) not in (4, 64):
            polygon(self, outline, colour)

    return paint


@pytest.mark.parametrize("class_name", REGULAR + ELONGATED)
def test_the_true_proportions_are_those_of_the_class(class_name):
    ratios, bent = [], []
    for seed in range(25):
        width, height, size = target_box(class_name, seed)
        ratios.append(max(width, height) / min(width, height))
        squashed = (width / size[0]) / (height / size[1])
        bent.append(max(squashed, 1 / squashed))
    if class_name in REGULAR:
        assert max(ratios) < 1.2
        assert max(bent) > 2  # the control: bent to a square, circles are ellipses
    else:
        assert min(ratios) > 1.4
        assert min(bent) < 1.3  # and ellipses are circles


def test_regular_and_elongated_are_the_same_once_bent_to_a_square():
    """Painted from the same random numbers, the two give the same canvas, to rounding."""
    for regular, elongated in zip(REGULAR, ELONGATED, strict=True):
        for seed in range(12):
            side = (64, 64)
            shown = [
                pixels(draw("proportions", c, rng(seed)).resize(side, Image.Resampling.BOX))
                for c in (regular, elongated)
            ]
            assert np.abs(shown[0] - shown[1]).mean() < 3
        # the control: round and angular targets differ, however they are bent
        other = pixels(draw("proportions", "square", rng(seed)).resize(side, Image.Resampling.BOX))
        round_one = draw("proportions", "circle", rng(seed)).resize(side, Image.Resampling.BOX)
        assert np.abs(other - pixels(round_one)).max() > 60


def test_neither_the_frame_nor_the_bent_target_tells_the_class():
    """For both kinds, the frame's aspect a and the canvas' aspect s are uniform on -1…1."""
    s = rng(3).uniform(-1, 1, 4000)
    for class_name in (*REGULAR, *ELONGATED):
        frames = rng(4)
        a = np.array([proportions.frame_aspect(class_name, float(v), frames) for v in s])
        shares = np.histogram(a, bins=8, range=(-1, 1))[0] / len(a)
        assert np.abs(shares - 1 / 8).max() < 0.022  # 4 standard errors
        true = np.abs(s + a)
        if class_name in REGULAR:
            assert true.max() < 1e-12
        else:
            assert 3 ** true.min() >= 1.55


def test_centre_crops_lose_some_targets_and_not_most():
    whole = []
    for seed in range(120):
        side = rng(seed)
        s = side.uniform(-1, 1)
        picture = canvas.Canvas(np.zeros((2, 2, 3)), 64, 64)
        boxes: list[np.ndarray] = []
        picture.polygon = lambda outline, colour, boxes=boxes: boxes.append(outline)
        proportions.place(side, picture, proportions.ANGULAR_OUTLINE, s)
        low, high = boxes[0].min(axis=0), boxes[0].max(axis=0)
        assert (low > 0.02).all()
        assert (high < 0.98).all()
        a = -s
        long = 0 if a > 0 else 1
        margin = 0.5 * (1 - 3 ** -abs(a))
        whole.append(low[long] >= margin - 0.01 and high[long] <= 1 - margin + 0.01)
    assert 0.5 < np.mean(whole) < 0.9


def test_shapes_of_the_starting_weights_fill_their_box():
    for outline in pretraining.SHAPES.values():
        assert outline.min(axis=0) == pytest.approx([-1, -1])
        assert outline.max(axis=0) == pytest.approx([1, 1])
    assert draw("pretraining", "star_tall", rng(1)).size == (80, 80)


def test_a_task_in_a_folder(tmp_path):
    folder = make_task("proportions", tmp_path / "new" / "task", counts={"train": 2, "test": 1})
    assert folder == tmp_path / "new" / "task"
    assert [p.name for p in folder.parent.iterdir()] == ["task"]  # nothing unfinished beside it
    found = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.png"))
    classes = task_classes("proportions")
    train = [f"train/{c}/{n:04d}.png" for c in classes for n in range(2)]
    assert found == sorted([f"test/{c}/0000.png" for c in classes] + train)
    with Image.open(folder / "train" / "circle" / "0000.png") as picture:
        assert picture.mode == "RGB"


def test_parts_and_seeds_share_no_picture_and_counts_change_none(tmp_path):
    first = make_task("proportions", tmp_path / "a", counts={"train": 2, "test": 2})
    more = make_task("proportions", tmp_path / "b", counts={"train": 3})
    other = make_task("proportions", tmp_path / "c", counts={"train": 2}, seed=1)
    contents = [p.read_bytes() for f in (first, other) for p in f.rglob("*.png")]
    assert len(set(contents)) == len(contents) == 4 * 6
    for path in first.glob("train/*/*.png"):
        assert path.read_bytes() == (more / path.relative_to(first)).read_bytes()


def test_a_finished_folder_is_used_again(tmp_path):
    folder = make_task("proportions", tmp_path / "task", counts={"train": 1})
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    assert make_task("proportions", tmp_path / "task", counts={"train": 1}) == folder
    assert before == {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    with pytest.raises(ValueError, match=r'"train": 2.*it holds.*"train": 1'):
        make_task("proportions", folder, counts={"train": 2})
    with pytest.raises(ValueError, match='"seed": 5'):
        make_task("proportions", folder, counts={"train": 1}, seed=5)
    assert json.loads((folder / "task.json").read_text())["seed"] == 0


def test_a_strangers_folder_is_left_alone(tmp_path):
    (tmp_path / "letters.txt").write_text("mine")
    with pytest.raises(ValueError, match="something else"):
        make_task("styles", tmp_path, counts={"train": 1})
    with pytest.raises(ValueError, match="something else"):
        make_task("styles", tmp_path / "letters.txt", counts={"train": 1})
    assert [p.name for p in tmp_path.iterdir()] == ["letters.txt"]


def test_an_interrupted_folder_leaves_nothing(tmp_path, monkeypatch):
    calls = []

    def tire(class_name, random_numbers):
        calls.append(class_name)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return Image.new("RGB", (4, 4))

    task = procedural.TASKS["styles"]
    monkeypatch.setitem(store.TASKS, "styles", task._replace(draw=tire))
    with pytest.raises(KeyboardInterrupt):
        make_task("styles", tmp_path / "task", counts={"train": 1})
    assert list(tmp_path.iterdir()) == []
    make_task("styles", tmp_path / "task", counts={"train": 1})
    assert len(list((tmp_path / "task").rglob("*.png"))) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "sculptures"}, "proportions.*received name='sculptures'"),
        ({"counts": {}}, "at least one part"),
        ({"counts": {"train": 0}}, r"counts\['train'\] must be at least 1; received 0"),
        ({"counts": {"a/b": 1}}, "plain folder name; received 'a/b'"),
        ({"counts": {"..": 1}}, "plain folder name"),
        ({"seed": -1}, "seed must be 0 or more; received -1"),
    ],
)
def test_bad_arguments_get_one_sentence(tmp_path, arguments, message):
    good = {"name": "styles", "counts": {"train": 1}, "folder": tmp_path / "task"}
    with pytest.raises(ValueError, match=message):
        make_task(**(good | arguments))
    assert list(tmp_path.iterdir()) == []


def test_unknown_names():
    with pytest.raises(ValueError, match="received name='nothing'"):
        task_classes("nothing")
    with pytest.raises(ValueError, match=r"circle, ellipse, rectangle, square.*'triangle'"):
        draw("proportions", "triangle", rng(1))
