"""Makes Keras know every layer, loss and model of fcnkeras that a saved model may hold.

Keras loads a class of another package only if that has been imported, and `import fcnkeras` alone
imports next to nothing. So in a new process:

```python
import fcnkeras.saved
import keras

model = keras.models.load_model("runs/train/model.keras")
```
"""

import fcnkeras.augment
import fcnkeras.convert.certificate
import fcnkeras.layers
import fcnkeras.masking
import fcnkeras.tasks.fit_metrics
import fcnkeras.tasks.losses
import fcnkeras.tasks.outputs  # noqa: F401
