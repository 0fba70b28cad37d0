"""KerasHub's image classifiers, built from configuration: nothing is downloaded.

The configurations are the public ones of the networks that KerasHub offers as presets. The last
five are transformers, whose patches all look at each other: they have no fully convolutional twin.
"""

from __future__ import annotations

from typing import Any

import keras

SIDE, CLASSES = 224, 1000


def _resnet(blocks: list[int], block: str = "basic_block", **more: Any) -> dict[str, Any]:
    return {
        "stackwise_num_filters": [64, 128, 256, 512],
        "stackwise_num_blocks": blocks,
        "stackwise_num_strides": [1, 2, 2, 2],
        "block_type": block,
        "input_conv_filters": [64],
        "input_conv_kernel_sizes": [7],
        **more,
    }


def _csp(block: str, stage: str, **more: Any) -> dict[str, Any]:
    return {"block_type": block, "stage_type": stage, **more}


_DARK = {
    "stem_filters": 32,
    "stem_kernel_size": 3,
    "stem_strides": 1,
    "stem_padding": "same",
    "stackwise_depth": [1, 2, 8, 8, 4],
    "stackwise_strides": [2, 2, 2, 2, 2],
    "stackwise_num_filters": [64, 128, 256, 512, 1024],
}
_EFFICIENT = {
    "stackwise_kernel_sizes": [3, 3, 5, 3, 5, 5, 3],
    "stackwise_num_repeats": [1, 2, 2, 3, 3, 4, 1],
    "stackwise_input_filters": [32, 16, 24, 40, 80, 112, 192],
    "stackwise_output_filters": [16, 24, 40, 80, 112, 192, 320],
    "stackwise_expansion_ratios": [1, 6, 6, 6, 6, 6, 6],
    "stackwise_squeeze_and_excite_ratios": [0.25] * 7,
    "stackwise_strides": [1, 2, 2, 2, 1, 2, 1],
    "stackwise_block_types": ["v1"] * 7,
    "width_coefficient": 1.0,
    "depth_coefficient": 1.0,
    "min_depth": None,
    "use_depth_divisor_as_min_depth": True,
    "cap_round_filter_decrease": True,
}
_EFFICIENT_V2_S = {
    "stackwise_kernel_sizes": [3] * 6,
    "stackwise_num_repeats": [2, 4, 4, 6, 9, 15],
    "stackwise_input_filters": [24, 24, 48, 64, 128, 160],
    "stackwise_output_filters": [24, 48, 64, 128, 160, 256],
    "stackwise_expansion_ratios": [1, 4, 4, 4, 6, 6],
    "stackwise_squeeze_and_excite_ratios": [0, 0, 0, 0.25, 0.25, 0.25],
    "stackwise_strides": [1, 2, 2, 2, 1, 2],
    "stackwise_block_types": ["fused"] * 3 + ["unfused"] * 3,
    "width_coefficient": 1.0,
    "depth_coefficient": 1.0,
}
_MOBILE_V3_SMALL = {
    "stackwise_expansion": [[72, 88], [96, 240, 240], [120, 144], [288, 576, 576]],
    "stackwise_num_blocks": [2, 3, 2, 3],
    "stackwise_num_filters": [[24, 24], [40, 40, 40], [48, 48], [96, 96, 96]],
    "stackwise_kernel_size": [[3, 3], [5, 5, 5], [5, 5], [5, 5, 5]],
    "stackwise_num_strides": [[2, 1], [2, 1, 1], [1, 1], [2, 1, 1]],
    "stackwise_se_ratio": [[None, None], [0.25] * 3, [0.25] * 2, [0.25] * 3],
    "stackwise_activation": [["relu"] * 2] + [["hard_swish"] * count for count in (3, 2, 3)],
    "stackwise_padding": [[1, 1], [2, 2, 2], [2, 2], [2, 2, 2]],
    "output_num_filters": 1024,
    "depthwise_filters": 16,
    "depthwise_stride": 2,
    "depthwise_residual": False,
    "squeeze_and_excite": 0.5,
    "last_layer_filter": 576,
}
_HGNET_V2_B0 = {
    "depths": [1, 1, 2, 1],
    "embedding_size": 16,
    "hidden_sizes": [64, 256, 512, 1024],
    "stem_channels": [3, 16, 16],
    "hidden_act": "relu",
    "use_learnable_affine_block": True,
    "stackwise_stage_filters": [
        [16, 16, 64, 1, 3, 3],
        [64, 32, 256, 1, 3, 3],
        [256, 64, 512, 2, 3, 5],
        [512, 128, 1024, 1, 3, 5],
    ],
    "apply_downsample": [False, True, True, True],
    "use_lightweight_conv_block": [False, False, True, True],
}
_XCEPTION = {
    "stackwise_conv_filters": [
        [32, 64],
        [128, 128],
        [256, 256],
        *[[728, 728]],
        *[[728, 728, 728]] * 8,
        [728, 1024],
        [1536, 2048],
    ],
    "stackwise_pooling": [False, *[True] * 3, *[False] * 8, True, False],
}
_VIT_TINY = {"patch_size": 16, "num_layers": 12, "num_heads": 3, "hidden_dim": 192}
_MIT_B0 = {
    "layerwise_depths": [2, 2, 2, 2],
    "num_layers": 4,
    "layerwise_num_heads": [1, 2, 5, 8],
    "layerwise_sr_ratios": [8, 4, 2, 1],
    "max_drop_path_rate": 0.1,
    "layerwise_patch_sizes": [7, 3, 3, 3],
    "layerwise_strides": [4, 2, 2, 2],
    "hidden_dims": [32, 64, 160, 256],
}
_SWIN_TINY = {
    "embed_dim": 96,
    "depths": (2, 2, 6, 2),
    "num_heads": (3, 6, 12, 24),
    "window_size": 7,
}
_VGG_FILTERS = [64, 128, 256, 512, 512]

# name: (family, configuration of the backbone, arguments of the classifier)
CLASSIFIERS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "resnet_18": ("ResNet", _resnet([2, 2, 2, 2]), {"activation": "softmax"}),
    "resnet_34": ("ResNet", _resnet([3, 4, 6, 3]), {"activation": "softmax"}),
    "resnet_50": ("ResNet", _resnet([3, 4, 6, 3], "bottleneck_block"), {}),
    "resnet_v2_50": (
        "ResNet",
        _resnet([3, 4, 6, 3], "bottleneck_block", use_pre_activation=True),
        {"pooling": "max"},
    ),
    "resnet_vd_18": (
        "ResNet",
        _resnet([2, 2, 2, 2], "basic_block_vd")
        | {"input_conv_filters": [32, 32, 64], "input_conv_kernel_sizes": [3, 3, 3]},
        {},
    ),
    "vgg_11_flatten": (
        "VGG",
        {"stackwise_num_repeats": [1, 1, 2, 2, 2], "stackwise_num_filters": _VGG_FILTERS},
        {"pooling": "flatten", "activation": "softmax"},
    ),
    "vgg_11": (
        "VGG",
        {"stackwise_num_repeats": [1, 1, 2, 2, 2], "stackwise_num_filters": _VGG_FILTERS},
        {},
    ),
    "densenet_121": ("DenseNet", {"stackwise_num_repeats": [6, 12, 24, 16]}, {}),
    "efficientnet_b0": ("EfficientNet", _EFFICIENT, {"activation": "softmax"}),
    "efficientnet_v2_s": ("EfficientNet", _EFFICIENT_V2_S, {}),
    "mobilenet_v3_small": ("MobileNet", _MOBILE_V3_SMALL, {}),
    "darknet_53": (
        "CSPNet",
        _csp("dark_block", "dark", bottle_ratio=[0.5], **_DARK),
        {"activation": "softmax"},
    ),
    "csp_darknet_53": (
        "CSPNet",
        _csp(
            "dark_block",
            "csp",
            bottle_ratio=(0.5, 1.0),
            block_ratio=(1.0, 0.5),
            expand_ratio=(2.0, 1.0),
            down_growth=True,
            **_DARK,
        ),
        {},
    ),
    "xception": ("Xception", _XCEPTION, {"activation": "softmax"}),
    "hgnetv2_b0": ("HGNetV2", _HGNET_V2_B0, {"head_filters": 2048, "preprocessor": None}),
    "mit_b0": ("MiT", _MIT_B0, {}),
    "vit_tiny": ("ViT", _VIT_TINY | {"mlp_dim": 768}, {}),
    "vit_tiny_gap": ("ViT", _VIT_TINY | {"mlp_dim": 768}, {"pooling": "gap"}),
    "deit_tiny": ("DeiT", _VIT_TINY | {"intermediate_dim": 768}, {}),
    "swin_tiny": ("SwinTransformer", _SWIN_TINY, {}),
}


def build(name: str, side: int | None = SIDE) -> keras.Model:
    """The classifier `name` of KerasHub with random weights, for pictures of `side` pixels."""
    import keras_hub

    family, _, arguments = CLASSIFIERS[name]
    classifier = getattr(keras_hub.models, f"{family}ImageClassifier")
    return classifier(backbone=build_backbone(name, side), num_classes=CLASSES, **arguments)


def build_backbone(name: str, side: int | None) -> keras.Model:
    """Its backbone alone; `side` None for pictures of any size."""
    import keras_hub

    family, configuration, _ = CLASSIFIERS[name]
    backbone = getattr(keras_hub.models, f"{family}Backbone")
    key = "input_shape" if family == "EfficientNet" else "image_shape"
    return backbone(**{key: (side, side, 3)}, **configuration)
