"""MobileNetV2 as a fully convolutional network (put here by fcnkeras' FCN_setup.py)."""

from fcnkeras import MobileNetV2_fcn as MobileNetV2_fcn
