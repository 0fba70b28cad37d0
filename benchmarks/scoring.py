"""How fast a collection is scored: against the loop that most people write, and against the floor.

MobileNetV2 with ImageNet weights, as a model that takes RGB pixels of 0-255, over 12-megapixel
JPEGs: photographs enlarged, with the grain of a sensor, or without `--photos` generated ones. All
take turns, several rounds, at an input of 224x224 pixels:

- loop: `keras.utils.load_img` and `model.predict`, a picture at a time;
- loop_bicubic: the same with `interpolation="bicubic"`, the filter of the feeders. The default
  takes the nearest pixel, which is several grey levels off: another picture, at half the price;
- score: what `fcnkeras score` does between start and table (`score_list`), for each engine;
- decoding, computing: the two halves of "score" alone, on the same threads. The larger of both is
  the floor.

And how much of the machine's speed at products of matrices the engines reach: VGG16, fully
convolutional, random weights, pictures in memory, multiplications and additions counted from the
shapes of its graph, against NumPy's product of 4096x4096 float32 matrices in the same round.

Columns of the CSV: what; engine; pictures; ms (a picture, median of the rounds); times_loop,
times_bicubic (how many pictures while the loop takes one; median over rounds of the ratio in the
round); same_top1 (share of pictures on which the class is that of loop_bicubic) and
same_top1_nearest (that of loop); floor (the larger of decoding and computing as a share of the
time); gflops and share (of the matrix product; 2 operations a multiplication).

    python benchmarks/scoring.py --weights MOBILENETV2.h5 [--photos DIR] [--pictures N]
        [--rounds N] [--parts photographs,vgg16] [--out FILE.csv]
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from feeding import photograph
from measuring import command_line, in_turns, save, show
from multiplications import multiplications
from PIL import Image

from fcnkeras import VGG16_fcn
from fcnkeras.images import is_picture_name, open_picture
from fcnkeras.models.classifier import build_classifier
from fcnkeras.models.specs import get_spec
from fcnkeras.scoring.engines import Engine
from fcnkeras.scoring.listing import list_pictures
from fcnkeras.scoring.runner import score_list
from fcnkeras.scoring.scorer import Scorer, load_model
from fcnkeras.scoring.store import Store

RESULT = Path(__file__).parent / "results" / "scoring.csv"
WHOLE = (4000, 3000)
SIZE = 224
QUALITY = 90
ENGINES = ("keras", "openvino")
SIDES = (336, 672)
COLUMNS = (
    "what",
    "engine",
    "pictures",
    "ms",
    "times_loop",
    "times_bicubic",
    "same_top1",
    "same_top1_nearest",
    "floor",
    "gflops",
    "share",
)
Seconds = dict[str, list[float]]


def make_pictures(folder: Path, count: int, photos: Path | None) -> list[Path]:
    """12-megapixel JPEGs, no two alike."""
    sources = sorted(p for p in photos.rglob("*") if is_picture_name(p)) if photos else []
    rng = np.random.default_rng(0)
    paths = []
    for number in range(count):
        if sources:
            picture = enlarged(sources[number % len(sources)], number // len(sources), rng)
        else:
            picture = photograph(number)
        paths.append(folder / f"{number:04}.jpg")
        picture.save(paths[-1], quality=QUALITY)
    return paths


def enlarged(path: Path, turn: int, rng: np.random.Generator) -> Image.Image:
    """The middle of a photograph in 4:3, a little narrower each turn, with grain."""
    picture = open_picture(path)
    side = min(picture.width / 4, picture.height / 3) * 0.97**turn
    left, top = picture.width / 2 - 2 * side, picture.height / 2 - 1.5 * side
    box = (left, top, left + 4 * side, top + 3 * side)
    whole = picture.resize(WHOLE, Image.Resampling.LANCZOS, box=box)
    grain = rng.normal(0, 2, (WHOLE[1], WHOLE[0], 1)).astype(np.float32)
    return Image.fromarray(np.clip(np.asarray(whole) + grain, 0, 255).astype(np.uint8))


def loop(model: keras.Model, paths: Sequence[Path], interpolation: str) -> list[int]:
    """What most people write."""
    classes = []
    for path in paths:
        image = keras.utils.load_img(path, target_size=(SIZE, SIZE), interpolation=interpolation)
        x = keras.utils.img_to_array(image)[np.newaxis]
        classes.append(int(model.predict(x, verbose=0).argmax()))
    return classes


def scored(scorer: Scorer, paths: Sequence[Path]) -> list[int]:
    """The run of `fcnkeras score`, with its store."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Store(Path(folder) / "scores.state", scorer.settings) as store,
    ):
        score_list(scorer, store, store.set_list(list_pictures(paths)))
        names = [name for name, _ in scorer.columns]
        rows = [dict(zip(names, row.values or (), strict=True)) for row in store.rows()]
    return [int(row[names[0]]) for row in rows]


def decoded(scorer: Scorer, paths: Sequence[Path]) -> list[Any]:
    """Reading, decoding and feeding alone."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return list(
            pool.map(lambda path: scorer.feed(open_picture(path, least=scorer.least)), paths)
        )


def computed(scorer: Scorer, fed: Sequence[Any]) -> None:
    """The engine alone, on pictures in memory."""
    batch = scorer.engine.batch(SIZE * SIZE)
    groups = [fed[first : first + batch] for first in range(0, len(fed), batch)]
    for _ in scorer.engine.answers((None, scorer.inputs(group)) for group in groups):
        pass


def in_rounds(calls: dict[str, Callable[[], Any]], rounds: int) -> Seconds:
    """The seconds of each call in each round, without the first, which fills caches."""
    return {name: times[1:] for name, times in in_turns(calls, rounds).items()}


def ratio(seconds: Seconds, slow: str, fast: str) -> float:
    """How much faster, the median over the rounds."""
    pairs = zip(seconds[slow], seconds[fast], strict=True)
    return statistics.median(one / other for one, other in pairs)


def photographs(weights: Path, photos: Path | None, count: int, rounds: int) -> list[dict]:
    """The rows of MobileNetV2 over 12-megapixel JPEGs."""
    model = build_classifier(get_spec("MobileNetV2"), weights=weights, include_preprocessing=True)
    with tempfile.TemporaryDirectory() as folder:
        paths = make_pictures(Path(folder), count, photos)
        file = Path(folder) / "model.keras"
        model.save(file)
        scorers = {e: load_model(file, feeder="squash", size=SIZE, engine=e) for e in ENGINES}
        fed = decoded(scorers["keras"], paths)
        calls: dict[str, Callable[[], Any]] = {
            "loop": lambda: loop(model, paths, "nearest"),
            "loop_bicubic": lambda: loop(model, paths, "bicubic"),
            "decoding": lambda: decoded(scorers["keras"], paths),
        }
        for engine, scorer in scorers.items():
            calls[f"score {engine}"] = lambda scorer=scorer: scored(scorer, paths)
            calls[f"computing {engine}"] = lambda scorer=scorer: computed(scorer, fed)
        seconds = in_rounds(calls, rounds)
        classes = {name: np.array(calls[name]()) for name in calls if name[0] in "ls"}
    rows = []
    for name in calls:
        what, _, engine = name.partition(" ")
        row: dict[str, Any] = {"what": what, "engine": engine, "pictures": count}
        row["ms"] = round(1000 * statistics.median(seconds[name]) / count, 1)
        row["times_loop"] = round(ratio(seconds, "loop", name), 2)
        row["times_bicubic"] = round(ratio(seconds, "loop_bicubic", name), 2)
        if name in classes:
            same = {other: np.mean(classes[name] == classes[other]) for other in classes}
            row["same_top1"] = round(float(same["loop_bicubic"]), 3)
            row["same_top1_nearest"] = round(float(same["loop"]), 3)
        if what == "score":
            halves = ("decoding", f"computing {engine}")
            row["floor"] = round(max(1 / ratio(seconds, name, half) for half in halves), 2)
        rows.append(row)
    return rows


def answered(engine: Engine, pictures: np.ndarray) -> list[Any]:
    """What an engine gives for pictures in memory."""
    return list(engine.answers((None, [picture]) for picture in pictures))


def vgg16(rounds: int) -> list[dict]:
    """The rows of VGG16 over pictures in memory."""
    model = VGG16_fcn(weights=None)
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(2, 4096, 4096)).astype(np.float32)
    rows = []
    for side in SIDES:
        pictures = rng.integers(0, 256, (4, 1, side, side, 3), dtype=np.uint8)
        counted = 2 * multiplications(model, side, side) * len(pictures)
        calls: dict[str, Callable[[], Any]] = {"product": lambda: left @ right}
        for engine in ENGINES:
            one = Scorer(model, feeder="native", size=side, engine=engine).engine
            calls[engine] = partial(answered, one, pictures)
        seconds = in_rounds(calls, rounds)
        for engine, flops in {"product": 2 * 4096**3, **dict.fromkeys(ENGINES, counted)}.items():
            speeds = [flops / each / 1e9 for each in seconds[engine]]
            products = [2 * 4096**3 / each / 1e9 for each in seconds["product"]]
            row = {
                "what": f"matrix product, beside {side}"
                if engine == "product"
                else f"VGG16 {side}",
                "engine": "numpy" if engine == "product" else engine,
                "gflops": round(statistics.median(speeds)),
            }
            if engine != "product":
                pairs = zip(speeds, products, strict=True)
                row["pictures"] = len(pictures)
                row["ms"] = round(1000 * statistics.median(seconds[engine]) / len(pictures))
                row["share"] = round(statistics.median(a / b for a, b in pairs), 2)
            rows.append(row)
    return rows


def main() -> int:
    parser = command_line(__doc__, RESULT)
    parser.add_argument("--weights", type=Path, help="of MobileNetV2, 1000 classes")
    parser.add_argument("--photos", type=Path, help="a folder of photographs to enlarge")
    parser.add_argument("--pictures", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parts", default="photographs,vgg16")
    options = parser.parse_args()
    rows: list[dict] = []
    if "photographs" in options.parts:
        if options.weights is None or not options.weights.is_file():
            parser.error(f"--weights must be a file. Received: {options.weights}")
        rows += photographs(options.weights, options.photos, options.pictures, options.rounds)
    if "vgg16" in options.parts:
        rows += vgg16(options.rounds)
    rows = [{column: row.get(column, "") for column in COLUMNS} for row in rows]
    show(rows)
    save(options.out, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
