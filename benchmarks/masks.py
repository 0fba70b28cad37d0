"""What padding does to the answers in batches of pictures of many proportions, and what keeping it
out costs.

Each picture is given to the network alone, and in batches padded to their largest: with no mask,
with the fast mask (at the pooling) and with the exact one (at every layer that looks further than
one cell). "sorted" batches hold neighbours in aspect, as training makes them; "mixed" ones hold
what comes. Pictures and weights are generated (weights rescaled until logits have a deviation near
1), unless both are given. Answers are logits, before any softmax.

Columns of the CSV: network; weights ("rescaled" or "given"); side (the pictures' short side, and
that of the network's native square); window and pooling (of `to_fcn`); batches; pictures; padding
(share of the batches' pixels); mask; mean_difference and largest_difference (over pictures, of the
largest difference of any logit from the picture alone, relative to the picture's largest logit);
same_top1 (share of pictures whose class is that of the picture alone); seconds (the first batch,
compiled and warm, median; all masks in turns, and its pictures one by one, mask "alone"); cost
(seconds against the fast mask).

    python benchmarks/masks.py --side 96 --count 16 --repeats 3        # results/masks.csv
    python benchmarks/masks.py --weights MOBILENETV2.h5 --photos DIR --repeats 3 --out FILE.csv

Exits with 1 if an exact mask is further than 1e-4 from the pictures alone.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from measuring import command_line, in_turns, save, show

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from networks import random_pictures, rescale_weights

from fcnkeras import feeders, load_img, to_fcn
from fcnkeras.layers import Preprocessing
from fcnkeras.models.exact import exact_masks
from fcnkeras.models.fed import fed_model

NETWORKS = {"MobileNetV2": ("native", "point"), "VGG16": ("native",)}  # VGG16 flattens its map
BATCH = 8
MOST = 2.0  # the widest and the tallest picture that is generated
LIMIT = 1e-4
PHOTOS = (".jpg", ".jpeg", ".png")
RESULT = Path(__file__).parent / "results" / "masks.csv"

Picture = np.ndarray  # (height, width, 3) float32, as the network takes it


def generated(count: int, side: int, seed: int = 0) -> list[Picture]:
    """Pictures with a short side of `side`, half of them tall, of proportions up to `MOST`."""
    rng = np.random.default_rng(seed)
    pictures = []
    for number, stretch in enumerate(np.exp(rng.uniform(0, np.log(MOST), count))):
        size = (side, round(side * stretch))
        size = size[::-1] if number % 2 else size
        pictures.append(random_pictures(1, *size, seed=seed + number)[0])
    return pictures


def photos(folder: Path, count: int, side: int) -> list[Picture]:
    """Pictures from a folder, at any depth, evenly picked: RGB, 0-255."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PHOTOS)
    if not paths:
        raise SystemExit(f"There is no picture ({', '.join(PHOTOS)}) in {folder}")
    picked = [
        paths[i] for i in np.unique(np.linspace(0, len(paths) - 1, count).round().astype(int))
    ]
    return [feeders.native(load_img(path), side).arrays[0].astype("float32") for path in picked]


def deal(pictures: Sequence[Picture], ordered: bool, seed: int = 0) -> list[np.ndarray]:
    """The numbers of the pictures in each batch: neighbours in aspect (tall apart), or drawn."""
    aspects = np.array([picture.shape[1] / picture.shape[0] for picture in pictures])
    groups = [np.random.default_rng(seed).permutation(len(aspects))]
    if ordered:
        order = np.argsort(aspects, kind="stable")
        groups = [order[aspects[order] < 1], order[aspects[order] >= 1]]
    return [
        group[start : start + BATCH] for group in groups for start in range(0, len(group), BATCH)
    ]


def padded(pictures: Sequence[Picture]) -> tuple[np.ndarray, np.ndarray]:
    """A batch of the pictures, zeros behind them, and its mask."""
    height, width = np.max([picture.shape[:2] for picture in pictures], axis=0)
    batch = np.zeros((len(pictures), height, width, 3), "float32")
    mask = np.zeros((len(pictures), height, width), bool)
    for number, picture in enumerate(pictures):
        rows, columns = picture.shape[:2]
        batch[number, :rows, :columns] = picture
        mask[number, :rows, :columns] = True
    return batch, mask


def measure(fcn: keras.Model, pictures: Sequence[Picture], repeats: int) -> list[dict[str, Any]]:
    """The rows of one fully convolutional network: both kinds of batches, every mask."""
    alone = np.concatenate([answers(fcn, picture[None]) for picture in pictures])
    fast, exact = fed_model(fcn, "native"), exact_masks(fcn)
    ways: dict[str, Callable[..., Any]] = {
        "none": lambda batch, mask, call: call(fcn, batch),
        "fast": lambda batch, mask, call: call(fast, [batch, mask]),
        "exact": lambda batch, mask, call: call(exact, [batch, mask]),
    }
    rows = []
    for kind in ("sorted", "mixed"):
        batches = deal(pictures, ordered=kind == "sorted")
        filled = [padded([pictures[i] for i in batch]) for batch in batches]
        real, whole = sum(mask.sum() for _, mask in filled), sum(mask.size for _, mask in filled)
        about = {"batches": kind, "pictures": len(pictures), "padding": round(1 - real / whole, 3)}
        times = median_seconds(fcn, ways, [pictures[i] for i in batches[0]], repeats)
        for mask in times:
            found = alone.copy()
            for batch, pair in zip(batches, filled, strict=True):
                if mask in ways:
                    found[batch] = ways[mask](*pair, answers)
            cost = {"seconds": round(times[mask], 4), "cost": round(times[mask] / times["fast"], 3)}
            rows.append(about | {"mask": mask} | compare(found, alone) | cost)
    return rows


def compare(found: np.ndarray, alone: np.ndarray) -> dict[str, float]:
    """How far answers (pictures, classes) are from those that the pictures get alone."""
    largest = np.abs(alone).max(axis=1)
    differences = np.abs(found - alone).max(axis=1) / largest
    return {
        "mean_difference": float(f"{differences.mean():.2g}"),
        "largest_difference": float(f"{differences.max():.2g}"),
        "same_top1": round(float(np.mean(found.argmax(1) == alone.argmax(1))), 4),
    }


def answers(model: keras.Model, inputs: Any) -> np.ndarray:
    """What a model says, (pictures, classes) float32. Not compiled: every batch is of another
    shape."""
    return keras.ops.convert_to_numpy(model(inputs, training=False))


def median_seconds(
    fcn: keras.Model, ways: dict[str, Callable[..., Any]], pictures: Sequence[Picture], repeats: int
) -> dict[str, float]:
    """Median seconds of one batch for each mask, and of its pictures "alone", after one round."""

    def call(model: keras.Model, inputs: Any) -> None:
        model.predict_on_batch(inputs)

    def one_by_one() -> None:
        for picture in pictures:
            call(fcn, picture[None])

    batch, mask = padded(pictures)
    turns: dict[str, Callable[[], None]] = {
        name: (lambda way=way: way(batch, mask, call)) for name, way in ways.items()
    }
    turns["alone"] = one_by_one
    times = in_turns(turns, repeats)
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def build(network: str, side: int, weights: Path | None) -> keras.Model:
    """The network with these weights, for RGB of 0-255, or with rescaled ones, for what
    `generated` gives."""
    keras.utils.set_random_seed(0)
    kind = getattr(keras.applications, network)
    if weights is not None:
        picture = keras.Input((side, side, 3))
        scaled = Preprocessing("tf")(picture)  # inside, so that padding is black, as in training
        trained = kind(weights=str(weights), classifier_activation=None)
        return keras.Model(picture, trained(scaled), name=network)
    model = kind(weights=None, input_shape=(side, side, 3), classifier_activation=None)
    return rescale_weights(model, random_pictures(4, side, side, seed=1))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command_line(__doc__, RESULT, NETWORKS)
    parser.add_argument(
        "--weights", type=Path, help="ImageNet weights of MobileNetV2, in place of the networks"
    )
    parser.add_argument("--photos", type=Path, help="a folder of pictures to use with them")
    parser.add_argument("--count", type=int, default=24, help="pictures (default: %(default)s)")
    parser.add_argument("--side", type=int, default=224, help="short side (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="rounds (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    if (chosen.weights is None) != (chosen.photos is None):
        parser.error("--weights and --photos go together: real weights see nothing in noise.")
    networks = chosen.networks
    if chosen.weights is not None:
        networks, chosen.side = ["MobileNetV2"], 224
    rows: list[dict[str, Any]] = []
    for network in networks:
        model = build(network, chosen.side, chosen.weights)
        if chosen.weights is None:
            pictures = generated(chosen.count, chosen.side)
        else:
            pictures = photos(chosen.photos, chosen.count, chosen.side)
        for window in NETWORKS[network]:
            for pooling in ("max", "avg"):
                fcn = to_fcn(model, pooling=pooling, window=window, verify=False)
                about = {"network": network, "weights": "given" if chosen.weights else "rescaled"}
                about |= {"side": chosen.side, "window": window, "pooling": pooling}
                found = [about | row for row in measure(fcn, pictures, chosen.repeats)]
                show(found)
                rows += found
                save(chosen.out, rows)
    far = [row for row in rows if row["mask"] == "exact" and row["largest_difference"] > LIMIT]
    print(f"{len(far)} exact masks are further than {LIMIT:g} from alone")
    return 1 if far else 0


if __name__ == "__main__":
    sys.exit(main())
