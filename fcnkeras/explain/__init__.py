"""Why a network decided as it did: maps in the picture's own pixels, that add up where they can.

```python
from fcnkeras.explain import Explainer
found = Explainer(model).explain("picture.jpg", "grad-cam", "top")
found.heat  # (height, width) of the picture
```
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Explainer": "explainer",
    "Explanation": "explainer",
    "METHODS": "explainer",
    "loss_gradients": "gradients",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fcnkeras.explain' has no attribute {name!r}")
    return getattr(importlib.import_module(f"fcnkeras.explain.{_HOMES[name]}"), name)
