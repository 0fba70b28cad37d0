"""VGG19 as a fully convolutional network (put here by fcnkeras' FCN_setup.py)."""

from fcnkeras import VGG19_fcn as VGG19_fcn
