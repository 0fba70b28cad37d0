"""What a model saw in the pictures that it got most wrong, for the page of a run."""

from __future__ import annotations

import keras
import numpy as np

from fcnkeras.explain import Explainer
from fcnkeras.images import open_picture
from fcnkeras.report.explanations import Shown, shown
from fcnkeras.report.training import ExplainError
from fcnkeras.tasks.heads import schema_of
from fcnkeras.tasks.scores import DistributionTask

METHOD = "grad-cam"


def error_maps(model: keras.Model, feeder: str, size: int) -> ExplainError:
    """Explains errors by Grad-CAM: what spoke for the answer that the model gave.

    Args:
        model: of `task_model`.
        feeder, size: how it is fed.

    Returns:
        A function of the file and the name of the task to the map: of the class or hue that was
        found, the attribute, or the mean of the distribution.

    Raises:
        ValueError: the model cannot be explained.
    """
    explainer = Explainer(model, feeder=feeder, size=size)
    means = {task.name for task in schema_of(model).tasks if isinstance(task, DistributionTask)}

    def explain(file: str, task: str) -> Shown:
        picture = open_picture(file)
        found = explainer.explain(picture, METHOD, f"{task}:mean" if task in means else task)
        return shown(
            np.asarray(picture),
            found.heat,
            title=f"what spoke for {found.target}",
            caption="",
            signed=found.signed,
        )

    return explain
