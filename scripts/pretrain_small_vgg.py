"""Trains the starting weights of `SmallVGG` on the generated task "pretraining".

    python scripts/pretrain_small_vgg.py

About ten minutes on two cores. The pictures show other shapes and textures than the tasks of the
demonstration, square and undistorted. Writes fcnkeras/models/weights/small_vgg.weights.h5 and
prints the accuracy on pictures that were kept apart.
"""

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from fcnkeras.data.procedural import draw, task_classes
from fcnkeras.files import write_atomically
from fcnkeras.models.small import GENERATED_WEIGHTS, SmallVGG

SIDE = 64


def make_pictures(per_class: int, stream: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """`per_class` pictures of each class, uint8 (pictures, 80, 80, 3), and their labels."""
    rng = np.random.default_rng(stream)
    labels = np.repeat(np.arange(len(task_classes("pretraining"))), per_class)
    classes = task_classes("pretraining")
    pictures = [np.asarray(draw("pretraining", classes[label], rng)) for label in labels]
    return np.stack(pictures), labels


def crop(pictures: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """The SIDE x SIDE part of each picture from its corner (row, column) on, float32."""
    parts = [p[y : y + SIDE, x : x + SIDE] for p, (y, x) in zip(pictures, corners, strict=True)]
    return np.stack(parts).astype(np.float32)


class Crops(keras.utils.PyDataset):
    """Batches of random crops, half of them mirrored, in a new order every epoch."""

    def __init__(self, pictures: np.ndarray, labels: np.ndarray, batch: int, seed: int) -> None:
        super().__init__()
        self.pictures, self.labels, self.batch = pictures, labels, batch
        self.rng = np.random.default_rng([seed, 2])
        self.order = self.rng.permutation(len(labels))

    def __len__(self) -> int:
        return len(self.labels) // self.batch

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = self.order[index * self.batch : (index + 1) * self.batch]
        most = self.pictures.shape[1] - SIDE
        parts = crop(self.pictures[chosen], self.rng.integers(0, most + 1, (len(chosen), 2)))
        mirrored = self.rng.uniform(size=len(chosen)) < 0.5
        parts[mirrored] = parts[mirrored, :, ::-1]
        return parts, self.labels[chosen]

    def on_epoch_end(self) -> None:
        self.order = self.rng.permutation(len(self.labels))


def balance(model: keras.Model, pictures: np.ndarray) -> None:
    """Rescale all layers but the last so that their outputs have the root mean square 1.

    ReLU and max pooling pass a positive factor on, so the next kernel can take it back and the
    network's answers stay as they are. Fine-tuning with one learning rate for all layers, and a
    new classifier, is then quick and steady; without, it is neither.
    """
    x, before = keras.ops.convert_to_tensor(pictures), 1.0
    for layer in model.layers[1:]:
        x = layer(x)
        if not layer.weights:
            continue
        last = layer is model.layers[-1]
        scale = 1.0 if last else float(1 / keras.ops.sqrt(keras.ops.mean(x**2)))
        kernel, bias = layer.get_weights()
        layer.set_weights([kernel * scale / before, bias * scale])
        before = scale


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--per-class", type=int, default=400, help="training pictures a class")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=0.001)
    parser.add_argument("--seed", type=int, default=2024)
    parser.add_argument("--out", type=Path, default=GENERATED_WEIGHTS)
    options = parser.parse_args()

    keras.utils.set_random_seed(options.seed)
    start = time.perf_counter()
    pictures, labels = make_pictures(options.per_class, [options.seed, 0])
    held_out, held_out_labels = make_pictures(50, [options.seed, 1])
    middle = (held_out.shape[1] - SIDE) // 2
    held_out = crop(held_out, np.full((len(held_out), 2), middle))
    print(f"{len(labels)} pictures in {time.perf_counter() - start:.0f} s", flush=True)

    train = Crops(pictures, labels, options.batch, options.seed)
    schedule = keras.optimizers.schedules.CosineDecay(
        options.learning_rate, options.epochs * len(train), alpha=0.01
    )
    model = SmallVGG(weights=None)
    model.compile(
        optimizer=keras.optimizers.Adam(schedule),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=False,
    )
    model.fit(train, validation_data=(held_out, held_out_labels), epochs=options.epochs, verbose=2)
    trained = SmallVGG(weights=None)  # saved without the optimizer's state
    trained.set_weights(model.get_weights())
    balance(trained, np.concatenate([train[i][0] for i in range(8)]))
    accuracy = np.mean(trained.predict(held_out, verbose=0).argmax(axis=1) == held_out_labels)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(options.out, trained.save_weights)
    print(f"held-out accuracy {accuracy:.3f} on {len(held_out_labels)} pictures")
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
