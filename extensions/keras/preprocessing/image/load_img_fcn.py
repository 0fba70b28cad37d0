"""`load_img` with the ways of feeding of fcnkeras (put here by fcnkeras' FCN_setup.py).

fcnkeras is imported when a function is called: `import keras` costs no more.
"""


def load_img(*args, **kwargs):
    """Load a picture in the way that `set_load_img_type` chose: see `fcnkeras.loading.load_img`."""
    from fcnkeras import loading

    return loading.load_img(*args, **kwargs)


def set_load_img_type(*args, **kwargs):
    """Choose how `load_img` fits a picture to its size: 0 plain, 1 pad, 2 pad with mask, 3 crop,
    4 multi-crop; see `fcnkeras.loading.set_load_img_type`."""
    from fcnkeras import loading

    return loading.set_load_img_type(*args, **kwargs)
