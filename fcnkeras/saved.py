"""Saved models, loaded with every layer, loss and model of fcnkeras that they may hold.

Keras loads a class of another package only if that has been imported, and `import fcnkeras` alone
imports next to nothing. So in a new process, `load_saved`, or for Keras' own function:

```python
import fcnkeras.saved
import keras

model = keras.models.load_model("runs/train/model.keras")
```
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import keras

import fcnkeras.augment
import fcnkeras.convert.certificate
import fcnkeras.crop_windows
import fcnkeras.layers
import fcnkeras.masking
import fcnkeras.tasks.fit_metrics
import fcnkeras.tasks.losses
import fcnkeras.tasks.outputs  # noqa: F401
from fcnkeras.convert import FullyConvolutional


def load_saved(path: Path) -> keras.Model:
    """The model in a `.keras` or `.h5` file; nothing in the file runs code.

    Raises:
        ValueError: the file holds no model, or one that Keras cannot load, or would only by
            running code from the file.
    """
    # The old format knows the classes of layers by their registered names, but not those of models.
    classes = {FullyConvolutional.__name__: FullyConvolutional}
    try:
        model = keras.models.load_model(path, custom_objects=classes, compile=False, safe_mode=True)
    # What Keras raises depends on what is in the file instead.
    except (
        ValueError,
        TypeError,
        OSError,
        LookupError,
        AttributeError,
        zipfile.BadZipFile,
    ) as error:
        # Of nested errors Keras tells the innermost last, behind the whole configuration.
        text = str(error).rpartition("Exception encountered: ")[2].strip() or type(error).__name__
        reason = text.splitlines()[0].split(". ")[0].rstrip(".")
        raise ValueError(f"Keras cannot load a model from {path}: {reason}") from error
    if not isinstance(model, keras.Model):
        raise ValueError(f"{path} holds no model, but a {type(model).__name__}")
    return model
