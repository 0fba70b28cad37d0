"""A network that learned shapes from generated pictures looks at the shape, wherever it is."""

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image, ImageDraw

from fcnkeras import to_fcn
from fcnkeras.explain import Explainer

pytestmark = pytest.mark.slow

SHAPES = ("disc", "cross", "stripes")


def scene(rng, width, height):
    """A picture of one shape among lines and noise; its class and its box (x0, y0, x1, y1)."""
    pixels = rng.integers(60, 150, (height, width, 3), "uint8")
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    for _ in range(3):
        points = [tuple(rng.integers(0, (width, height))) for _ in range(2)]
        draw.line([tuple(map(int, p)) for p in points], tuple(map(int, rng.integers(0, 256, 3))))
    side = int(rng.integers(16, 24))
    x, y = int(rng.integers(0, width - side)), int(rng.integers(0, height - side))
    colour = tuple(int(c) for c in rng.integers(170, 256, 3))
    kind = int(rng.integers(3))
    if kind == 0:
        draw.ellipse((x, y, x + side, y + side), colour)
    elif kind == 1:
        third = side // 3
        draw.rectangle((x + third, y, x + 2 * third, y + side), colour)
        draw.rectangle((x, y + third, x + side, y + 2 * third), colour)
    else:
        for row in range(0, side, 4):
            draw.rectangle((x, y + row, x + side, y + row + 1), colour)
    return image, kind, (x, y, x + side, y + side)


@pytest.fixture(scope="module")
def network():
    rng = np.random.default_rng(0)
    scenes = [scene(rng, 48, 48) for _ in range(1500)]
    pictures = np.stack([np.asarray(image) for image, _, _ in scenes]).astype("float32")
    kinds = np.array([kind for _, kind, _ in scenes])
    keras.utils.set_random_seed(0)
    picture = keras.Input((48, 48, 3))
    x = layers.Rescaling(1 / 127.5, -1)(picture)
    for width in (16, 32, 32):
        x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.MaxPooling2D(2)(x) if width != 32 else x
    x = layers.MaxPooling2D(2)(x)
    x = layers.Conv2D(48, 3, padding="same", activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(picture, layers.Dense(3, activation="softmax", name="shape")(x))
    rate = keras.optimizers.schedules.CosineDecay(3e-3, 8 * 47)
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    model.fit(pictures, kinds, batch_size=32, epochs=8, verbose=0)
    return to_fcn(model, window="point", pooling="avg")


@pytest.mark.parametrize("method", ["class-map", "grad-cam", "attribute-map"])
def test_the_peak_lies_in_the_object(network, method):
    rng = np.random.default_rng(1)
    explainer = Explainer(network, names=SHAPES, size=64)
    right = inside = chance = 0
    count = 60
    for _ in range(count):
        image, kind, (x0, y0, x1, y1) = scene(rng, *rng.permutation([64, 90]))
        found = explainer.explain(image, method)
        if found.target != SHAPES[kind]:
            continue
        right += 1
        y, x = np.unravel_index(found.heat.argmax(), found.heat.shape)
        inside += x0 <= x <= x1 and y0 <= y <= y1
        flipped = (image.height - 1 - y, image.width - 1 - x)
        chance += x0 <= flipped[1] <= x1 and y0 <= flipped[0] <= y1
    assert right >= 0.8 * count
    assert inside >= 0.9 * right
    assert chance < 0.3 * right
