"""Augmentation that respects what a picture shows: a Keras layer that goes before a network.

Pictures are mirrored left to right and cut by a few per cent. Whatever bends proportions, turns the
picture, stands it on its head or changes its colours is done only if asked for. The mask of real
pixels goes along.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable("fcnkeras")
class Augmentation(layers.Layer):
    """Changes training pictures at random, and passes others as they are.

    Args:
        flip: Whether half of the pictures are mirrored left to right.
        crop: Up to this share of a picture's height is cut off at the top or at the bottom, and of
            its width at the left or at the right, by whole pixels, so that nothing is blurred.
            Where there is no mask, the picture is mirrored at its border to fill the gap.
        more: What else may be done: Keras' own layers for pictures, called in this order. Those
            that move pixels should fill with "constant" where there are masks.
        seed: Of mirroring and cutting.

    Inputs: RGB 0-255, as `fcnkeras.batching.FedPictures` gives them: pictures (batch, height,
        width, 3); crops (batch, crops, height, width, 3), of which each is changed by itself; or
        the pair of pictures and masks, bool (batch, height, width), True on one rectangle in each.
    Outputs: float32 of the same shapes, padding black. What is cut of a picture with a mask becomes
        padding at the right and at the bottom, so that its top left corner stays where it was.

    Raises:
        ValueError: `crop` is not from 0 to 0.5.

    Example:

    ```python
    more = [keras.layers.RandomBrightness(0.1, value_range=(0, 255), seed=1)]
    training = augmented(fed_model(fcn, "native"), Augmentation(more=more, seed=1))
    training.fit(data, shuffle=False)  # trains the weights of `fcn`
    ```
    """

    def __init__(
        self,
        flip: bool = True,
        crop: float = 0.04,
        more: Sequence[Any] = (),
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not 0 <= crop <= 0.5:
            raise ValueError(f"`crop` must be from 0 to 0.5. Received: {crop}")
        self.flip = flip
        self.crop = crop
        self.more = [
            keras.saving.deserialize_keras_object(layer) if isinstance(layer, dict) else layer
            for layer in more
        ]
        self.seed = seed
        self.generator = keras.random.SeedGenerator(seed)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        if not training:
            return inputs
        if isinstance(inputs, (list, tuple)):
            return self._with_mask(*inputs)
        shape = ops.shape(inputs)
        pictures = ops.reshape(inputs, (-1, *shape[-3:])) if len(shape) == 5 else inputs
        pictures, _ = self._moved(pictures)
        for layer in self.more:
            pictures = layer(pictures, training=True)
        return ops.reshape(pictures, shape)

    def _with_mask(self, pictures: Any, mask: Any) -> list[Any]:
        pictures, mask = self._moved(pictures, ops.cast(mask, "bool"))
        mask = ops.cast(ops.expand_dims(mask, -1), "float32")
        for layer in self.more:
            drawn = layer.get_random_transformation(pictures, training=True)
            # A copy, as Keras on PyTorch writes into what it applies.
            again = keras.tree.map_structure(
                lambda x: ops.copy(x) if ops.is_tensor(x) else x, drawn
            )
            pictures = layer.transform_images(pictures, drawn, training=True)
            mask = layer.transform_segmentation_masks(mask, again, training=True)
        real = mask > 0.5
        return [ops.where(real, pictures, 0), ops.squeeze(real, -1)]

    def _moved(self, pictures: Any, mask: Any = None) -> tuple[Any, Any]:
        """Mirrors and cuts by looking up from where each pixel comes."""
        batch, height, width, channels = ops.shape(pictures)
        real = (None, None) if mask is None else (ops.any(mask, axis=2), ops.any(mask, axis=1))
        rows, real_rows = self._sources(batch, height, real[0], flip=False)
        columns, real_columns = self._sources(batch, width, real[1], flip=self.flip)
        first = ops.arange(batch, dtype="int32")[:, None] * height
        places = ops.expand_dims((first + rows) * width, 2) + ops.expand_dims(columns, 1)
        pixels = ops.reshape(pictures, (-1, channels))
        pictures = ops.reshape(ops.take(pixels, places, axis=0), ops.shape(pictures))
        if mask is None:
            return pictures, None
        return pictures, ops.logical_and(
            ops.expand_dims(real_rows, 2), ops.expand_dims(real_columns, 1)
        )

    def _sources(self, batch: Any, length: Any, real: Any, *, flip: bool) -> tuple[Any, Any]:
        """From where each pixel along an axis comes, and whether it shows picture.

        Args:
            batch: Pictures.
            length: Pixels along the axis.
            real: Which of them hold picture, one run in each, bool (batch, length); `None` for all.
            flip: Whether half of the pictures are mirrored.

        Returns:
            int32 and bool, (batch, length).
        """
        start, count = 0, length
        if real is not None:
            start = ops.cast(ops.argmax(real, axis=1, keepdims=True), "int32")
            count = ops.maximum(ops.sum(ops.cast(real, "int32"), axis=1, keepdims=True), 1)
        most = ops.floor(ops.cast(count, "float32") * self.crop + 0.5)
        draw = keras.random.uniform((batch, 1), -1, 1, seed=self.generator)
        cut = ops.cast(ops.floor(draw * (most + 0.5) + 0.5), "int32")  # below 0: at the end
        place = ops.arange(length, dtype="int32")[None] - start
        if real is None:
            source, shown = place + cut, None
            source = ops.where(source < 0, -1 - source, source)
            source = ops.where(source >= count, 2 * count - 1 - source, source)
        else:
            source = place + ops.maximum(cut, 0)
            shown = ops.logical_and(place >= 0, source < count + ops.minimum(cut, 0))
            source = ops.clip(source, 0, count - 1)
        if flip:
            coin = keras.random.uniform((batch, 1), seed=self.generator) < 0.5
            source = ops.where(coin, count - 1 - source, source)
        return source + start, shown

    def build(self, input_shape: Any) -> None:
        """There are no weights."""
        self.built = True

    def compute_output_spec(self, inputs: Any, training: bool | None = None) -> Any:
        return keras.tree.map_structure(lambda x: keras.KerasTensor(x.shape, x.dtype), inputs)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "flip": self.flip,
            "crop": self.crop,
            "more": [keras.saving.serialize_keras_object(layer) for layer in self.more],
            "seed": self.seed,
        }


def augmented(model: keras.Model, augmentation: Augmentation) -> keras.Model:
    """Puts an augmentation before a model.

    Args:
        model: Takes what `FedPictures` gives, such as `fcnkeras.models.fed.fed_model`'s.
        augmentation: What is done to its pictures.

    Returns:
        A model for training, which shares every layer and weight with `model`. Several outputs are
        a dict by the names that they have in `model`.
    """
    inputs = model.inputs if len(model.inputs) > 1 else model.inputs[0]
    outputs = model(augmentation(inputs))
    if isinstance(outputs, (list, tuple)):
        outputs = dict(zip(model.output_names, outputs, strict=True))
    return keras.Model(inputs, outputs, name=f"{model.name}_augmented")
