"""The facts of each network, as data. Nothing else in the project knows a network by its name."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class NetworkSpec:
    """What the project knows of one network.

    Attributes:
        name: as users write it.
        home: "module:function" of its constructor, which takes `weights`, `classes`, `input_shape`
            and `classifier_activation` as those of `keras.applications` do.
        native: side in pixels of the square picture that it was made for.
        preprocessing: the mode of `fcnkeras.layers.Preprocessing` that its weights expect.
        skip: the layer whose map a skip connection reads by default, a quarter or an eighth of the
            picture's size.
        blocks: the last layer of each block, from the picture up; "the first n blocks" means every
            layer up to `blocks[n - 1]`.
        weights: what `weights="imagenet"` stands for; the small network has weights of its own.
        levels: the layers whose maps a multi-level head reads, from the picture up: the output of
            every residual block; by default `blocks`.
    """

    name: str
    home: str
    native: int
    preprocessing: str
    skip: str
    blocks: tuple[str, ...]
    weights: str = "imagenet"
    levels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", self.levels or self.blocks)

    @property
    def constructor(self) -> Callable[..., Any]:
        """The function that builds the network."""
        module, function = self.home.split(":")
        return getattr(importlib.import_module(module), function)


def _vgg(name: str) -> NetworkSpec:
    blocks = tuple(f"block{n}_pool" for n in range(1, 6))
    return NetworkSpec(name, f"keras.applications:{name}", 224, "caffe", "block2_pool", blocks)


def _resnet(name: str, blocks: tuple[int, ...]) -> NetworkSpec:
    """ResNet-18 and -34; the levels are the outputs of their residual blocks."""
    outs = [
        [f"conv{stage}_block{n}_out" for n in range(1, count + 1)]
        for stage, count in enumerate(blocks, start=2)
    ]
    return NetworkSpec(
        name,
        f"fcnkeras.models.resnet:{name}",
        224,
        "torch",
        outs[0][-1],
        ("pool1_pool", *(stage[-1] for stage in outs)),
        levels=tuple(out for stage in outs for out in stage),
    )


SPECS = {
    spec.name: spec
    for spec in (
        _vgg("VGG16"),
        _vgg("VGG19"),
        _resnet("ResNet18", (2, 2, 2, 2)),
        _resnet("ResNet34", (3, 4, 6, 3)),
        NetworkSpec(
            "ResNet50",
            "keras.applications:ResNet50",
            224,
            "caffe",
            "conv2_block3_out",
            (
                "pool1_pool",
                "conv2_block3_out",
                "conv3_block4_out",
                "conv4_block6_out",
                "conv5_block3_out",
            ),
            levels=tuple(
                f"conv{stage}_block{block}_out"
                for stage, blocks in ((2, 3), (3, 4), (4, 6), (5, 3))
                for block in range(1, blocks + 1)
            ),
        ),
        NetworkSpec(
            "InceptionV3",
            "keras.applications:InceptionV3",
            299,
            "tf",
            "mixed2",
            tuple(f"mixed{n}" for n in range(11)),
        ),
        NetworkSpec(
            "Xception",
            "keras.applications:Xception",
            299,
            "tf",
            "block2_pool",
            (
                "block1_conv2_act",
                "block2_pool",
                "block3_pool",
                "block4_pool",
                *(f"block{n}_sepconv3_bn" for n in range(5, 13)),
                "block13_pool",
                "block14_sepconv2_act",
            ),
        ),
        NetworkSpec(
            "MobileNetV2",
            "keras.applications:MobileNetV2",
            224,
            "tf",
            "block_2_add",
            (
                "expanded_conv_project_BN",
                "block_2_add",
                "block_5_add",
                "block_9_add",
                "block_12_add",
                "block_15_add",
                "out_relu",
            ),
            levels=(
                "expanded_conv_project_BN",
                # Where a block changes stride or channels, nothing is added.
                *(
                    f"block_{n}_{'project_BN' if n in (1, 3, 6, 10, 13, 16) else 'add'}"
                    for n in range(1, 17)
                ),
            ),
        ),
        NetworkSpec(
            "AlexNet",
            "fcnkeras.models.alexnet:AlexNet",
            227,
            "caffe",
            "pool1",
            ("pool1", "pool2", "pool5"),
        ),
        NetworkSpec(
            "SmallVGG",
            "fcnkeras.models.small:SmallVGG",
            64,
            "none",
            "block2_pool",
            tuple(f"block{n}_pool" for n in range(1, 5)),
            weights="generated",
        ),
    )
}


def get_spec(name: str) -> NetworkSpec:
    """The spec of a network by its name, whatever its case.

    Raises:
        ValueError: no such network.
    """
    by_lower = {key.lower(): spec for key, spec in SPECS.items()}
    if name.lower() not in by_lower:
        raise ValueError(f"Unknown network: {name!r}. Known: {', '.join(SPECS)}")
    return by_lower[name.lower()]


def spec_of(model: Any) -> NetworkSpec | None:
    """The spec of the network that a model is, by its name as constructors and `to_fcn` give it.

    Args:
        model: a `keras.Model`, with a head or without.

    Returns:
        The spec, or None if the name is none of theirs.
    """
    # Keras adds width and size to MobileNetV2's name.
    name = re.sub(r"(_fcn|_[\d.]+_(\d+|None)|_without_top_\d+|_features)+$", "", model.name)
    by_lower = {key.lower(): spec for key, spec in SPECS.items()}
    return by_lower.get(name.replace("_", "").lower())
