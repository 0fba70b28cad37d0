"""VGG16 as a fully convolutional network (put here by fcnkeras' FCN_setup.py)."""

from fcnkeras import VGG16_fcn as VGG16_fcn
