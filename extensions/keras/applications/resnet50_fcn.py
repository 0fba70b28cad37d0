"""ResNet50 as a fully convolutional network (put here by fcnkeras' FCN_setup.py)."""

from fcnkeras import ResNet50_fcn as ResNet50_fcn
