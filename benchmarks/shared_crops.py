"""Multi-crop in one pass over the picture, against the exact way, which feeds every crop.

How far are the answers from the exact ones, and how much faster do they come? MobileNetV2 with real
weights, on real pictures. Answers are logits, before the softmax, of all crops together.

Columns of shared_crops.csv: size (the short side); pooling (of `to_fcn`); collection (the name of
the folder); pictures; way; difference and largest_difference (over pictures, the mean and the
largest of: root mean square over classes of the difference to the exact logits, by the standard
deviation of these); same_top1 (share of pictures with the class of the exact way); same_top5 (mean
share of the five first classes that are among the five first of the exact way).

Ways: "shared" (`shared_crop_model`, everything shared) and "until LAYER"; and for comparison, fed
crop by crop: "moved 32" and "moved 1" (cut from the very picture that "shared" takes, beginning at
the nearest multiple of so many pixels: what a small step alone does), and "middle" (the middle crop
only).

Columns of shared_crops_time.csv: engine ("keras", and "openvino" where it is installed); size;
aspect; batch; crops; pixels (of all crops by those of the picture: what is saved where every pixel
costs the same); way; exact_seconds and seconds (of a batch, without feeding, all ways in turns,
warm, medians); ratio (exact by this way). The pooling is "avg".

    python benchmarks/shared_crops.py WEIGHTS.h5 PHOTOS PAINTINGS     # results/shared_crops*.csv
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from rich.console import Console
from rich.table import Table

from fcnkeras import MobileNetV2_fcn, feeders, load_img
from fcnkeras.export import export_model, get_format
from fcnkeras.files import write_csv
from fcnkeras.models.fed import fed_model
from fcnkeras.models.shared_crops import shared_crop_model

SIZES = (224, 336)
UNTIL = (None, "block_12_add", "block_5_add")  # maps of stride 32, 16 and 8
STEPS = (32, 1)
ASPECTS = {"4:3": (4, 3), "16:9": (16, 9), "3:1": (3, 1)}
PICTURES = (".jpg", ".jpeg", ".png")
RESULTS = Path(__file__).parent / "results"


def pictures_of(folder: Path, count: int) -> list[Path]:
    """Pictures in a folder, at any depth, evenly picked."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES)
    if not paths:
        raise SystemExit(f"There is no picture ({', '.join(PICTURES)}) in {folder}")
    picked = np.unique(np.linspace(0, len(paths) - 1, count).round().astype(int))
    return [paths[i] for i in picked]


def moved_crops(picture: np.ndarray, crops: int, step: int) -> np.ndarray:
    """Crops (crops, side, side, 3) of a picture (height, width, 3) that begin at the multiples of
    `step` which are nearest to where they should."""
    side, past = min(picture.shape[:2]), max(picture.shape[:2]) - min(picture.shape[:2])
    starts = [number * past / max(crops - 1, 1) for number in range(crops)]
    first = [min(int(start / step + 0.5), past // step) * step for start in starts]
    wide = picture.shape[1] > side
    cut = [picture[:, at : at + side] if wide else picture[at : at + side] for at in first]
    return np.stack(cut)


def models_of(fcn: keras.Model) -> dict[str, keras.Model]:
    """The exact model and those that share, by their way."""
    shared = {
        "shared" if until is None else f"until {until}": shared_crop_model(fcn, until)
        for until in UNTIL
    }
    return {"exact": fed_model(fcn, "multicrop")} | shared


def logits(model: keras.Model, array: np.ndarray) -> np.ndarray:
    """What a model says, (pictures, classes). Not compiled: every picture is of another shape."""
    return keras.ops.convert_to_numpy(model(array.astype("float32"), training=False))


def answers(fcn: keras.Model, paths: Sequence[Path], size: int) -> dict[str, np.ndarray]:
    """The logits (pictures, classes) of every way."""
    models = {
        way: keras.Model(
            model.input,
            model.get_layer("pool_crops" if way == "exact" else "crops_pooled").output,
        )
        for way, model in models_of(fcn).items()
    }
    found: dict[str, list[np.ndarray]] = {}
    for path in paths:
        image = load_img(path)
        crops = feeders.multi_crop(image, size).arrays
        whole = feeders.native(image, size).arrays
        said = {way: logits(models[way], whole) for way in models if way != "exact"}
        fed = {f"moved {step}": moved_crops(whole[0], len(crops), step) for step in STEPS}
        fed |= {"middle": crops[len(crops) // 2, None], "exact": crops}
        said |= {way: logits(models["exact"], array[None]) for way, array in fed.items()}
        for way, scores in said.items():
            found.setdefault(way, []).append(scores[0])
    return {way: np.stack(each) for way, each in found.items()}


def compare(found: np.ndarray, exact: np.ndarray) -> dict[str, float]:
    """How far logits (pictures, classes) are from the exact ones."""
    differences = np.sqrt(np.mean((found - exact) ** 2, axis=1)) / exact.std(axis=1)
    firsts = [np.argsort(-scores, axis=1)[:, :5] for scores in (found, exact)]
    common = [len(np.intersect1d(a, b)) / len(b) for a, b in zip(*firsts, strict=True)]
    return {
        "difference": float(f"{differences.mean():.2g}"),
        "largest_difference": float(f"{differences.max():.2g}"),
        "same_top1": round(float(np.mean(found.argmax(1) == exact.argmax(1))), 4),
        "same_top5": round(float(np.mean(common)), 4),
    }


def measure_answers(
    fcns: dict[str, keras.Model], folders: Sequence[Path], count: int
) -> list[dict[str, Any]]:
    rows = []
    for folder in folders:
        paths = pictures_of(folder, count)
        for size in SIZES:
            for pooling, fcn in fcns.items():
                found = answers(fcn, paths, size)
                about = {"size": size, "pooling": pooling, "collection": folder.name}
                about["pictures"] = len(paths)
                exact = found.pop("exact")
                rows += [about | {"way": way} | compare(found[way], exact) for way in found]
    return rows


def in_turns(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """The median seconds of each call, after one round."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def runner(model: keras.Model, engine: str, path: Path) -> Callable[[np.ndarray], Any]:
    """A function that answers a batch."""
    if engine == "keras":
        return model.predict_on_batch
    export_model(model, path, verify=False)
    opened = get_format(path).open(path, ["output_0"])
    return lambda array: opened({model.inputs[0].name: array})


def measure_times(fcn: keras.Model, batch: int, repeats: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    engines = ["keras"] + ["openvino"] * (importlib.util.find_spec("openvino") is not None)
    with tempfile.TemporaryDirectory() as folder:
        for engine in engines:
            runs = {}
            for number, (way, model) in enumerate(models_of(fcn).items()):
                runs[way] = runner(model, engine, Path(folder) / f"{number}.xml")
            for size in SIZES:
                for aspect in ASPECTS:
                    about = {"engine": engine, "size": size, "aspect": aspect, "batch": batch}
                    found = time_aspect(runs, size, aspect, batch, repeats)
                    rows += [about | row for row in found]
    return rows


def time_aspect(
    runs: dict[str, Callable[[np.ndarray], Any]], size: int, aspect: str, batch: int, repeats: int
) -> list[dict[str, Any]]:
    """A row for every way but the exact one."""
    width, height = (100 * side for side in ASPECTS[aspect])
    crops = feeders.fed_shape("multicrop", width, height, size)
    whole = feeders.fed_shape("native", width, height, size)[1:]
    rng = np.random.default_rng(0)
    picture = rng.uniform(0, 255, (batch, *whole, 3)).astype("float32")
    cut = rng.uniform(0, 255, (batch, *crops, 3)).astype("float32")
    calls = {way: functools.partial(run, picture) for way, run in runs.items()}
    calls["exact"] = functools.partial(runs["exact"], cut)
    times = in_turns(calls, repeats)
    exact = times.pop("exact")
    about = {"crops": crops[0], "pixels": round(cut.size / picture.size, 2)}
    return [
        about
        | {"way": way, "exact_seconds": float(f"{exact:.3g}"), "seconds": float(f"{seconds:.3g}")}
        | {"ratio": round(exact / seconds, 2)}
        for way, seconds in times.items()
    ]


def show(rows: list[dict[str, Any]], path: Path) -> None:
    table = Table(*rows[0], title=str(path))
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console(width=150).print(table)
    write_csv(path, rows, list(rows[0]))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path, help="ImageNet weights of MobileNetV2, with top")
    parser.add_argument("folders", type=Path, nargs="*", help="folders of pictures")
    parser.add_argument("--count", type=int, default=100, help="most pictures of a folder")
    parser.add_argument("--batch", type=int, default=4, help="pictures at a time, when timing")
    parser.add_argument("--repeats", type=int, default=9, help="rounds of timing; 0: no timing")
    parser.add_argument("--out", type=Path, default=RESULTS, help="a folder for the CSV files")
    chosen = parser.parse_args(arguments)
    if not chosen.weights.is_file():
        print(f"Skipped: random weights say nothing here, and there is no file {chosen.weights}")
        return 0
    chosen.out.mkdir(parents=True, exist_ok=True)
    fcns = {
        pooling: MobileNetV2_fcn(chosen.weights, pooling=pooling, include_preprocessing=True)
        for pooling in ("avg", "max")
    }
    if chosen.folders:
        rows = measure_answers(fcns, chosen.folders, chosen.count)
        show(rows, chosen.out / "shared_crops.csv")
    if chosen.repeats:
        rows = measure_times(fcns["avg"], chosen.batch, chosen.repeats)
        show(rows, chosen.out / "shared_crops_time.csv")
    return 0


if __name__ == "__main__":
    sys.exit(main())
