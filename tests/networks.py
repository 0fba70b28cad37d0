"""Small classifiers for the tests, and weights that make them decide differently from picture to
picture: freshly initialised networks give nearly constant outputs, on which parity proves little.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers

from fcnkeras.convert.graph import Call, run, trace

SIDE = 24
CLASSES = 5


def to_numpy(value: Any, dtype: str | None = None) -> np.ndarray:
    """The values of a tensor of any backend, as an array that may be written to."""
    return np.array(keras.ops.convert_to_numpy(value), dtype)


def random_pictures(count: int, height: int, width: int, channels: int = 3, seed: int = 0) -> Any:
    """Pictures as unlike each other as photos are: patches of another size, contrast and colour in
    each, with fine noise. Float32 of about unit deviation, channels last."""
    rng = np.random.default_rng(seed)
    pictures = np.empty((count, height, width, channels), "float32")
    for picture in pictures:
        side = int(rng.integers(2, 17))
        patches = rng.normal(size=(height // side + 1, width // side + 1, channels))
        patches = patches.repeat(side, axis=0).repeat(side, axis=1)[:height, :width]
        contrast, colour = rng.uniform(0.3, 1.2), rng.normal(scale=0.6, size=channels)
        picture[:] = contrast * patches + colour + rng.normal(scale=0.2, size=picture.shape)
    return pictures


def rescale_weights(model: keras.Model, pictures: np.ndarray, seed: int = 0) -> keras.Model:
    """Gives every layer with a kernel outputs of mean about 0 and deviation about 1 for `pictures`,
    and every bias and statistic of a normalisation a random part. Changes `model`; returns it."""
    rng = np.random.default_rng(seed)
    done: set[int] = set()

    def call_layer(call: Call, args: Any, kwargs: dict[str, Any]) -> Any:
        if id(call.layer) not in done:
            done.add(id(call.layer))
            if isinstance(call.layer, layers.BatchNormalization | layers.LayerNormalization):
                _rescale_normalisation(call.layer, to_numpy(args[0]), rng)
            elif hasattr(call.layer, "activation") and call.layer.weights:
                _rescale_kernel(call.layer, args, rng)
        return call.layer(*args, **kwargs)

    run(trace(model), [keras.ops.convert_to_tensor(pictures)], call_layer)
    return model


def _rescale_normalisation(layer: Any, values: np.ndarray, rng: np.random.Generator) -> None:
    size = values.shape[-1]
    for weight, low, high in ((layer.gamma, 0.7, 1.3), (layer.beta, -0.4, 0.4)):
        if weight is not None:
            weight.assign(rng.uniform(low, high, size))
    if isinstance(layer, layers.BatchNormalization):
        axes = tuple(range(values.ndim - 1))
        mean, deviation = values.mean(axes), values.std(axes) + 1e-3
        layer.moving_mean.assign(mean + 0.2 * deviation * rng.normal(size=size))
        layer.moving_variance.assign((deviation * rng.uniform(0.8, 1.2, size)) ** 2)


def _rescale_kernel(layer: Any, args: Any, rng: np.random.Generator) -> None:
    activation, layer.activation = layer.activation, keras.activations.linear
    values = to_numpy(layer(*args))
    layer.activation = activation
    # Centred for each channel, but scaled by one number: a scale for each channel would blow up
    # those that hardly vary, and their rounding with them.
    mean = values.mean(tuple(range(values.ndim - 1)))
    deviation = (values - mean).std()
    kernel = layer.pointwise_kernel if hasattr(layer, "pointwise_kernel") else layer.kernel
    kernel.assign(to_numpy(kernel) / deviation)
    if layer.use_bias:
        noise = rng.normal(scale=0.3, size=mean.shape)
        layer.bias.assign((to_numpy(layer.bias) - mean) / deviation + noise)


def logits(model: keras.Model, pictures: np.ndarray) -> np.ndarray:
    """The values before a classifier's last activation, the last product in NumPy, float64."""
    last = model.layers[-1]
    before = to_numpy(keras.Model(model.inputs[0], last.input)(pictures), "float64")
    if not isinstance(last, layers.Dense):
        return before
    kernel, bias = (to_numpy(weight, "float64") for weight in last.weights)
    return before @ kernel + bias


def fcn_logits(fcn: keras.Model, pictures: np.ndarray) -> np.ndarray:
    """The map of a fully convolutional model before pooling and activation."""
    tensor = fcn.get_layer("pooled").input
    layer = tensor._keras_history.operation
    if isinstance(layer, layers.Activation | layers.Softmax):
        tensor = layer.input
    return to_numpy(keras.Model(fcn.input, tensor)(pictures))


def difference(value: Any, reference: Any) -> float:
    """The largest difference, relative to the largest reference value."""
    value, reference = to_numpy(value, "float64"), to_numpy(reference, "float64")
    assert value.shape == reference.shape
    return float(np.abs(value - reference).max() / np.abs(reference).max())


# ---- the networks ------------------------------------------------------------------------------


def _trunk(x: Any, padding: str = "valid") -> Any:
    x = layers.Conv2D(8, 3, padding=padding, activation="relu", name="conv1")(x)
    x = layers.MaxPooling2D(2, name="pool1")(x)
    return layers.Conv2D(12, 3, padding=padding, activation="relu", name="conv2")(x)


def _classifier(x: Any) -> Any:
    return layers.Dense(CLASSES, activation="softmax", name="predictions")(x)


def flatten_valid() -> keras.Model:
    """Not square: 24 x 30 pixels, so that rows and columns cannot be confused."""
    picture = keras.Input((SIDE, SIDE + 6, 3))
    x = layers.Flatten(name="flatten")(_trunk(picture))
    x = layers.Dense(16, activation="relu", name="fc1")(x)
    return keras.Model(picture, _classifier(x), name="flatten_valid")


def flatten_same() -> keras.Model:
    picture = keras.Input((SIDE, SIDE, 3))
    x = layers.Flatten()(_trunk(picture, "same"))
    x = layers.Dropout(0.5)(x)
    x = layers.Dense(16, use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    x = layers.Activation("relu")(x)
    x = layers.Dense(CLASSES)(x)
    return keras.Model(picture, layers.Softmax()(x), name="flatten_same")


def average_valid() -> keras.Model:
    picture = keras.Input((SIDE, SIDE, 3))
    x = layers.GlobalAveragePooling2D(name="average")(_trunk(picture))
    return keras.Model(picture, _classifier(x), name="average_valid")


def maximum_same() -> keras.Model:
    picture = keras.Input((SIDE, SIDE, 3))
    x = layers.GlobalMaxPooling2D()(_trunk(picture, "same"))
    return keras.Model(picture, _classifier(x), name="maximum_same")


def average_deep_head() -> keras.Model:
    picture = keras.Input((SIDE, SIDE, 3))
    x = layers.GlobalAveragePooling2D(name="average")(_trunk(picture, "same"))
    x = layers.Dense(16, activation="relu", name="hidden")(x)
    x = layers.BatchNormalization(name="norm")(x)
    return keras.Model(picture, _classifier(x), name="average_deep_head")


def nested() -> keras.Model:
    inside = keras.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(8, 3, strides=2, use_bias=False)(inside)
    x = layers.ReLU()(layers.BatchNormalization(name="norm")(x))
    base = keras.Model(inside, x, name="base")
    picture = keras.Input((SIDE, SIDE, 3))
    x = layers.Rescaling(0.5, offset=0.1)(picture)
    x = layers.GlobalAveragePooling2D()(base(x, training=False))
    x = layers.Dropout(0.2)(x)
    return keras.Model(picture, _classifier(x), name="nested")


def sequential() -> keras.Model:
    base = keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 3)),
            layers.Conv2D(8, 3, strides=2, activation="relu"),
            layers.DepthwiseConv2D(3, activation="relu"),
        ],
        name="base",
    )
    head = [layers.Flatten(), layers.Dense(16, activation="tanh"), layers.Dropout(0.3)]
    last = layers.Dense(CLASSES, activation="softmax")
    return keras.Sequential([keras.Input((SIDE, SIDE, 3)), base, *head, last], name="sequential")


def convolutional_head() -> keras.Model:
    """The head of MobileNet v1: a 1x1 map, convolved, then reshaped to a vector."""
    picture = keras.Input((SIDE, SIDE, 3))
    x = layers.GlobalAveragePooling2D(keepdims=True)(_trunk(picture, "same"))
    x = layers.Dropout(0.1)(x)
    x = layers.Conv2D(CLASSES, 1)(x)
    x = layers.Reshape((CLASSES,))(x)
    return keras.Model(picture, layers.Activation("softmax")(x), name="convolutional_head")


def whole_map_convolution() -> keras.Model:
    """A convolution over the whole map, then a Reshape, which is where the spatial part ends."""
    picture = keras.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(CLASSES, 9)(_trunk(picture))
    x = layers.Reshape((CLASSES,))(x)
    return keras.Model(picture, layers.Activation("softmax")(x), name="whole_map_convolution")


def squeeze_and_excitation() -> keras.Model:
    picture = keras.Input((SIDE, SIDE, 3))
    x = _trunk(picture, "same")
    gate = layers.GlobalAveragePooling2D(name="squeeze")(x)
    gate = layers.Reshape((1, 1, 12))(gate)
    gate = layers.Dense(6, activation="relu")(gate)
    gate = layers.Dense(12, activation="sigmoid")(gate)
    x = layers.Multiply()([x, gate])
    x = layers.GlobalAveragePooling2D(name="average")(x)
    return keras.Model(picture, _classifier(x), name="squeeze_and_excitation")


def shared_layer() -> keras.Model:
    """One convolution called twice, one ReLU used on the map and behind its end."""
    picture = keras.Input((SIDE, SIDE, 3))
    relu = layers.ReLU(name="relu")
    conv = layers.Conv2D(8, 3, padding="same", name="conv")
    x = layers.Conv2D(8, 3, name="first")(picture)
    x = relu(conv(relu(conv(x))))
    x = layers.GlobalAveragePooling2D()(x)
    x = relu(layers.Dense(16)(x))
    return keras.Model(picture, _classifier(x), name="shared_layer")


def joined_vectors() -> keras.Model:
    """Average and maximum of one map, normalised, joined, with a residual of vectors."""
    picture = keras.Input((SIDE, SIDE, 3))
    x = _trunk(picture)
    average = layers.LayerNormalization()(layers.GlobalAveragePooling2D()(x))
    x = layers.Concatenate(axis=1)([average, layers.GlobalMaxPooling2D()(x)])
    x = layers.Add()([x, layers.Dense(24, activation="relu")(x)])
    return keras.Model(picture, _classifier(x), name="joined_vectors")


def several_outputs() -> keras.Model:
    picture = keras.Input((SIDE, SIDE, 3))
    x = layers.GlobalAveragePooling2D()(_trunk(picture))
    score = layers.Dense(1, name="score")(x)
    tags = layers.Dense(3, activation="sigmoid", name="tags")(layers.Dense(8)(x))
    return keras.Model(picture, [_classifier(x), score, tags], name="several_outputs")


SINGLE_OUTPUT = (
    flatten_valid,
    flatten_same,
    average_valid,
    maximum_same,
    average_deep_head,
    nested,
    sequential,
    convolutional_head,
    whole_map_convolution,
    squeeze_and_excitation,
    shared_layer,
    joined_vectors,
)


def build(network: Any, seed: int = 1) -> keras.Model:
    """A network of this file with weights that make its outputs vary, the same on every backend."""
    rng = np.random.default_rng(seed)
    model = network()
    for weight in model.weights:
        if len(weight.shape) > 1:
            weight.assign(rng.uniform(-1, 1, weight.shape))
    height, width, channels = model.input_shape[1:]
    return rescale_weights(model, random_pictures(8, height, width, channels, seed=1), seed)


def tiny(weights: Any = None, classes: int = 1000) -> keras.Model:
    """A network with the signature and the head of keras.applications' VGGs, for 24 pixels."""
    assert weights is None
    picture = keras.Input((SIDE, SIDE, 3), name="input_layer")
    x = layers.MaxPooling2D(2, name="pool1")(
        layers.Conv2D(4, 3, padding="same", activation="relu", name="conv1")(picture)
    )
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="conv2")(x)
    x = layers.Flatten(name="flatten")(layers.MaxPooling2D(2, name="pool2")(x))
    x = layers.Dense(8, activation="relu", name="fc1")(x)
    x = layers.Dense(7, activation="relu", name="fc2")(x)
    x = layers.Dense(classes, activation="softmax", name="predictions")(x)
    return keras.Model(picture, x, name="tiny")
