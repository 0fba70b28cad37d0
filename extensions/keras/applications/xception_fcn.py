"""Xception as a fully convolutional network (put here by fcnkeras' FCN_setup.py)."""

from fcnkeras import Xception_fcn as Xception_fcn
