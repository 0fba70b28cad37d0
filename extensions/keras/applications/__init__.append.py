# The names of fcnkeras, each imported when it is first asked for: `import keras` costs no more,
# and fcnkeras may itself import keras.applications.
_FCN_MODULES = {
    "VGG16_fcn": "vgg16_fcn",
    "VGG19_fcn": "vgg19_fcn",
    "InceptionV3_fcn": "inception_v3_fcn",
    "Xception_fcn": "xception_fcn",
    "MobileNetV2_fcn": "mobilenet_v2_fcn",
    "ResNet50_fcn": "resnet50_fcn",
}
_fcn_next_getattr = globals().get("__getattr__")
_fcn_next_dir = globals().get("__dir__")


def __getattr__(name):
    if name in _FCN_MODULES or name in _FCN_MODULES.values():
        from importlib import import_module

        module = import_module(f"{__name__}.{_FCN_MODULES.get(name, name)}")
        return getattr(module, name) if name in _FCN_MODULES else module
    if _fcn_next_getattr is not None:
        return _fcn_next_getattr(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    names = _fcn_next_dir() if _fcn_next_dir is not None else globals()
    return sorted({*names, *_FCN_MODULES, *_FCN_MODULES.values()})
