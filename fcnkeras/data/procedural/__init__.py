"""Generated pictures: tasks that need no download, the same pixels from the same seed.

Three tasks are registered in `TASKS`:

- `"proportions"`: circle, ellipse, rectangle or square among painterly distractors. Bending the
  picture to a square destroys the evidence, exactly (see `proportions`).
- `"styles"`: five ways to paint the same scenes with the same colours.
- `"pretraining"`: other shapes and textures, for the starting weights of `SmallVGG`.

Four functions write collections with labels that the pictures really show, in the formats that
`fcnkeras.data` reads: `make_art_composition` (see `paintings`), `make_period_artist`, `make_ava`
and `make_aadb` (see `photos`).
"""

from fcnkeras.data.procedural.labelled import (
    make_aadb,
    make_art_composition,
    make_ava,
    make_period_artist,
)
from fcnkeras.data.procedural.store import TASKS, draw, make_task, task_classes

__all__ = [
    "TASKS",
    "draw",
    "make_aadb",
    "make_art_composition",
    "make_ava",
    "make_period_artist",
    "make_task",
    "task_classes",
]
