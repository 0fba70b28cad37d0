"""A folder as a run of the experiments leaves it, made by hand."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pages import write_csv
from PIL import Image

ODD = 'a<b & "c"'  # a class name that must be escaped wherever it stands
CLASSES = ["plain", ODD]
RESULTS_HEADER = (
    "experiment,title,network,fcn,feeder,size,skip,accuracy,accuracy_low,accuracy_high,n_test,"
    "best_epoch,epochs,val_accuracy,val_loss,parameters,seconds_per_picture,training_seconds"
)
# Experiment 1: 12 of 20 right; 6: 19 of 20; 10: 18 of 20 (the intervals are by hand, not Wilson's).
RESULTS = (
    "1,original network,VGG16,false,squash,224,false,0.6,0.38,0.78,20,2,4,0.65,0.7012,"
    "134268738,0.0251,3725.4",
    "6,crop 1.5x <FCN>,VGG16,true,crop,336,false,0.95,0.8,0.99,20,3,4,0.9,0.2,134268738,0.05,60",
    "10,native 1.5x,VGG16,true,native,336,false,0.9,0.7,0.97,20,4,4,,,134268738,,61.2",
)
# (label, predicted, probability of the first class, how often)
ANSWERS = {
    1: ((0, 0, 0.9, 7), (0, 1, 0.2, 3), (1, 0, 0.7, 4), (1, 0, 0.97, 1), (1, 1, 0.1, 5)),
    6: ((0, 0, 0.8, 10), (1, 0, 0.55, 1), (1, 1, 0.3, 9)),
    10: ((0, 0, 0.8, 9), (0, 1, 0.4, 1), (1, 0, 0.6, 1), (1, 1, 0.3, 9)),
}


def _write_experiment(out: Path, number: int, picture: Path) -> None:
    folder = out / f"experiment_{number:02d}"
    folder.mkdir()
    write_csv(
        folder / "history.csv",
        ["epoch", "accuracy", "learning_rate", "loss", "val_accuracy", "val_loss"],
        [
            (0, 0.5, 0.01, 0.9, 0.5, 0.8),
            (1, 0.7, 0.01, 0.6, 0.65, 0.7012),
            (2, 0.8, 0.002, 0.4, 0.6, 0.75),
            (3, 0.85, 0.001, 0.35, 0.6, 0.78),
        ],
    )
    rows = []
    for label, predicted, first, count in ANSWERS[number]:
        for _ in range(count):
            # One picture exists, the others have been moved away since the run.
            file = picture if first == 0.97 else f"gone/{len(rows):02d} & <x>.png"
            rows.append((file, CLASSES[label], CLASSES[predicted], first, round(1 - first, 6)))
    header = ["file", "label", "predicted", *(f"p_{name}" for name in CLASSES)]
    write_csv(folder / "predictions.csv", header, rows)


def _write_maps(path: Path) -> None:
    rng = np.random.default_rng(3)
    arrays: dict[str, object] = {"window": 64}
    for k, (height, width) in enumerate([(96, 160), (200, 64)]):
        y, x = np.mgrid[:height, :width]
        picture = np.stack([255 * y / height, 255 * x / width, 128 + 0 * x], axis=-1)
        rows, cols = (1 if side == 64 else 1 + (side - 64) // 16 for side in (height, width))
        arrays[f"picture_{k}"] = picture.astype(np.uint8)
        arrays[f"map_{k}"] = rng.normal(size=(rows, cols, 2)).astype(np.float32)
        arrays[f"label_{k}"] = 1
        arrays[f"predicted_{k}"] = 1 - k
        arrays[f"file_{k}"] = f"maps/{k} & <y>.png"
    np.savez(path, **arrays)


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """Experiments 1, 6 and 10, complete except that only 6 has maps."""
    out = tmp_path / "run"
    out.mkdir()
    picture = tmp_path / "wide picture.png"
    Image.new("RGB", (300, 100), (200, 40, 40)).save(picture)
    settings = {
        "title": "Circles & squares <demo>",
        "network": "VGG16",
        "native_size": 224,
        "classes": CLASSES,
        "pooling": "max",
        "pool_on": "logits",
        "seed": 7,
        "n_test": 20,
        "learning_rate": 0.01,
        "frozen": None,
        "flip": True,
    }
    (out / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    (out / "results.csv").write_text("\n".join((RESULTS_HEADER, *RESULTS)) + "\n", encoding="utf-8")
    write_csv(out / "rejected.csv", ["file", "reason"], [("bad <1>.jpg", "it is a text file")])
    for number in ANSWERS:
        _write_experiment(out, number, picture)
    _write_maps(out / "experiment_06" / "maps.npz")
    return out


@pytest.fixture
def replace_results(run_folder: Path) -> Callable[..., Path]:
    """Replaces the lines of results.csv below its header."""

    def replace(*lines: str) -> Path:
        (run_folder / "results.csv").write_text(
            "\n".join((RESULTS_HEADER, *lines)) + "\n", encoding="utf-8"
        )
        return run_folder

    return replace
