"""Conversion: a plan (which layer becomes what), its application, and the proof."""

from fcnkeras.convert.certificate import Certificate, FullyConvolutional
from fcnkeras.convert.graph import ConversionError
from fcnkeras.convert.plan import ConversionPlan, plan_conversion
from fcnkeras.convert.rewrite import to_fcn

__all__ = [
    "Certificate",
    "ConversionError",
    "ConversionPlan",
    "FullyConvolutional",
    "plan_conversion",
    "to_fcn",
]
