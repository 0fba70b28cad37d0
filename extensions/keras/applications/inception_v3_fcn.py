"""InceptionV3 as a fully convolutional network (put here by fcnkeras' FCN_setup.py)."""

from fcnkeras import InceptionV3_fcn as InceptionV3_fcn
