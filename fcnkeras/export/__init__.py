"""Export: a model as a file for another runtime, checked there against Keras."""

from fcnkeras.export.exporter import ExportError, ExportReport, export_model, has_free_size
from fcnkeras.export.formats import FORMATS, get_format

__all__ = [
    "FORMATS",
    "ExportError",
    "ExportReport",
    "export_model",
    "get_format",
    "has_free_size",
]
