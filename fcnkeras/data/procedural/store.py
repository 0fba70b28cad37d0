"""The generated tasks by name, and how they get into a folder."""

import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from fcnkeras.data.procedural import pretraining, proportions, styles

DRAWING = 1  # raised whenever the same seed gives other pictures, so that old folders are noticed


class ProceduralTask(NamedTuple):
    """A generated task: its classes, in alphabetical order, and what paints one picture."""

    classes: tuple[str, ...]
    draw: Callable[[str, np.random.Generator], Image.Image]


TASKS: dict[str, ProceduralTask] = {
    "pretraining": ProceduralTask(pretraining.CLASSES, pretraining.draw),
    "proportions": ProceduralTask(proportions.CLASSES, proportions.draw),
    "styles": ProceduralTask(styles.CLASSES, styles.draw),
}


def task_classes(name: str) -> tuple[str, ...]:
    """The class names of the generated task `name`, in alphabetical order.

    Raises:
        ValueError: if there is no such task.
    """
    return _task(name).classes


def draw(name: str, class_name: str, rng: np.random.Generator) -> Image.Image:
    """Paint one picture.

    Args:
        name: a task, a key of `TASKS`.
        class_name: one of `task_classes(name)`.
        rng: where all random numbers come from; the same state gives the same pixels.

    Returns:
        An RGB picture.

    Raises:
        ValueError: if there is no such task or class.

    Example:
        >>> import numpy as np
        >>> draw("proportions", "circle", np.random.default_rng(0)).mode
        'RGB'
    """
    task = _task(name)
    if class_name not in task.classes:
        raise ValueError(
            f"The task {name!r} has the classes {', '.join(task.classes)}; "
            f"received class_name={class_name!r}."
        )
    return task.draw(class_name, rng)


def make_task(
    name: str, folder: str | os.PathLike[str], *, counts: Mapping[str, int], seed: int = 0
) -> Path:
    """Write a generated task as `folder/<part>/<class>/<nnnn>.png`.

    The folder appears whole or not at all. One that already holds the same task with the same
    counts and seed is left as it is; `folder/task.json` says what it holds. Parts never share
    random numbers, and a part's first pictures do not depend on how many follow.

    Args:
        name: a task, a key of `TASKS`.
        folder: where to write; its parent is made if need be.
        counts: pictures per class for each part, such as `{"train": 80, "test": 100}`.
        seed: a whole number, 0 or more.

    Returns:
        `folder` as a path.

    Raises:
        ValueError: if there is no such task, a count is not positive, a part's name is not a
            plain folder name, the seed is negative, or the folder already holds something else.

    Example:
        >>> import tempfile
        >>> root = make_task("styles", tempfile.mkdtemp() + "/styles", counts={"train": 1})
        >>> len(list(root.glob("train/*/*.png")))
        5
    """
    task = _task(name)
    check_counts(counts, seed)

    def fill(unfinished: Path) -> None:
        for part, count in counts.items():
            for index, class_name in enumerate(task.classes):
                (unfinished / part / class_name).mkdir(parents=True)
                for number in range(count):
                    picture = task.draw(class_name, stream(name, part, index, number, seed))
                    path = unfinished / part / class_name / f"{number:04d}.png"
                    picture.save(path, compress_level=2)

    about = {"task": name, "counts": dict(counts), "seed": seed, "drawing": DRAWING}
    return whole_folder(Path(folder), about, fill)


def whole_folder(folder: Path, about: dict[str, object], fill: Callable[[Path], None]) -> Path:
    """Makes a folder whole or not at all, unless it is there already.

    Args:
        folder: where; its parent is made if need be.
        about: what the folder holds, JSON values, for `task.json`.
        fill: writes everything else into the folder that it is given.

    Returns:
        `folder`.

    Raises:
        ValueError: the folder holds something else.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        return _same_or_raise(folder, about)
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        unfinished.chmod(0o755)  # mkdtemp's folders are for one user only
        fill(unfinished)
        (unfinished / "task.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        if folder.exists():
            folder.rmdir()  # empty, as seen above; only needed where rename does not replace it
        unfinished.rename(folder)
    except FileExistsError:  # someone else finished first
        return _same_or_raise(folder, about)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _task(name: str) -> ProceduralTask:
    if name not in TASKS:
        raise ValueError(f"The generated tasks are {', '.join(TASKS)}; received name={name!r}.")
    return TASKS[name]


def check_counts(counts: Mapping[str, int], seed: int) -> None:
    """Raises ValueError unless these are numbers of pictures by part, and a seed."""
    if not counts:
        raise ValueError("counts must name at least one part; received none.")
    for part, count in counts.items():
        if count < 1:
            raise ValueError(f"counts[{part!r}] must be at least 1; received {count}.")
        if part in ("", ".", "..", "task.json") or Path(part).name != part:
            raise ValueError(f"A part's name must be a plain folder name; received {part!r}.")
    if seed < 0:
        raise ValueError(f"seed must be 0 or more; received {seed}.")


def stream(name: str, part: str, index: int, number: int, seed: int) -> np.random.Generator:
    """Each picture has random numbers of its own, told by what it is, not by what came before."""
    keys = [seed, zlib.crc32(name.encode()), zlib.crc32(part.encode()), index, number]
    return np.random.default_rng(keys)


def _same_or_raise(folder: Path, about: dict[str, object]) -> Path:
    try:
        found = json.loads((folder / "task.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ValueError(
            f"{folder} must be a new or empty folder, or one of generated pictures; "
            "it holds something else."
        ) from None
    if found != about:
        raise ValueError(
            f"{folder} must hold the task asked for, {json.dumps(about)}; "
            f"it holds {json.dumps(found)}."
        )
    return folder
