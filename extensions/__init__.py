"""What FCN_setup.py puts into Keras, and the code that does it; not part of the package."""
