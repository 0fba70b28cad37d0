"""Generated pictures: tasks that need no download, the same pixels from the same seed.

Three tasks are registered in `TASKS`:

- `"proportions"`: circle, ellipse, rectangle or square among painterly distractors. Bending the
  picture to a square destroys the evidence, exactly (see `proportions`).
- `"styles"`: five ways to paint the same scenes with the same colours.
- `"pretraining"`: other shapes and textures, for the starting weights of `SmallVGG`.
"""

from fcnkeras.data.procedural.store import TASKS, draw, make_task, task_classes

__all__ = ["TASKS", "draw", "make_task", "task_classes"]
