"""fcnkeras: any Keras image classifier, fully convolutional, fed with pictures as they are.

The names below are loaded when they are first used, so that `import fcnkeras` is cheap.
"""

from __future__ import annotations

import importlib
from typing import Any

from fcnkeras._version import __version__

_HOMES = {
    "fcnkeras.convert": (
        "Certificate",
        "ConversionError",
        "ConversionPlan",
        "plan_conversion",
        "to_fcn",
    ),
    "fcnkeras.export": ("ExportError", "ExportReport", "export_model"),
    "fcnkeras.models.alexnet": ("AlexNet",),
    "fcnkeras.models.fcn": (
        "AlexNet_fcn",
        "InceptionV3_fcn",
        "MobileNetV2_fcn",
        "ResNet50_fcn",
        "VGG16_fcn",
        "VGG19_fcn",
        "Xception_fcn",
    ),
    "fcnkeras.models.heads": ("drop_top_dense",),
    "fcnkeras.models.skip": ("add_skip_connection",),
    "fcnkeras.loading": ("load_img", "set_load_img_type"),
    "fcnkeras.images": ("ImageError",),
    "fcnkeras.scoring.scorer": ("Scorer", "load_model"),
}
_NAMES = {name: home for home, names in _HOMES.items() for name in names}
_MODULES = ("experiments", "feeders")

__all__ = ["__version__", *sorted(_NAMES), *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"fcnkeras.{name}")
    if name in _NAMES:
        value = getattr(importlib.import_module(_NAMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'fcnkeras' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
