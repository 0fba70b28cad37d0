"""How fast 12-megapixel JPEGs are fed at 336 pixels, and how near to decoding them in full.

The pictures are made here, in a temporary folder: leaves of all sizes that hide each other, which
has the statistics of photographs (Lee, Mumford and Huang, "Occlusion models for natural images",
IJCV 2001), shaded, blurred as by a lens, with the grain of a sensor, as JPEG with the chroma
halved. Every way to read takes its turn at every picture, several times over, on one thread:

- native: `open_picture` with `least`, which decodes at a reduced scale, and `feeders.native`;
- native_whole: the same without `least`;
- load_img: `keras.utils.load_img` as it is, which takes the nearest pixel;
- load_img_bicubic: the same with the filter of "native";
- eighth: the JPEG decoded at 1/8 and nothing else. Nearly all of it is reading the Huffman codes of
  the whole file, which none can leave out: no way that uses libjpeg is faster than this.

"load_img" is no like for like: it skips nearly all pixels, and is several grey levels off. Nor can
anything be three times as fast as it where "eighth" is not.

Columns of the CSV: quality (of the JPEGs); megabytes (mean of the files); reader; ms and cpu_ms
(medians, of time and of processor time); times_load_img, times_bicubic (how many pictures it reads
while load_img or load_img_bicubic reads one, medians over pictures and turns) and the same of
processor time, which other work on the machine disturbs less; mean_off, most_off (from the whole
picture under Pillow's bicubic filter, in grey levels); two_threads (pictures per second of two
threads against one, of "native"; median of the rounds) and two_hashing (the same for SHA-256, which
needs nothing of Python's: what the machine, with whatever else it does, had to give).

    python benchmarks/feeding.py [--pictures N] [--repeats N] [--out FILE.csv]

Exits with 1 if "native" differs by a grey level or more on average.
"""

from __future__ import annotations

import hashlib
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from measuring import command_line, save, show
from PIL import Image, ImageDraw, ImageFilter

from fcnkeras import feeders
from fcnkeras.images import open_picture

RESULT = Path(__file__).parent / "results" / "feeding.csv"
SHAPE = (3000, 4000)
SIZE, TARGET = 336, (336, 448)
QUALITIES = (75, 90, 95)
LIMIT = 1.0
Seconds = dict[str, list[float]]


def photograph(seed: int) -> Image.Image:
    """12 megapixels of leaves, their radii between 15 and 1500 pixels with density r**-3."""
    rng = np.random.default_rng(seed)
    height, width = SHAPE
    canvas = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(canvas)
    low, high = 15.0**-2, 1500.0**-2
    for radius in (low - rng.random(9000) * (low - high)) ** -0.5:
        x, y, stretch = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0.7, 1.4)
        across, down = radius * stretch, radius / stretch
        colour = np.clip(rng.uniform(20, 230) + rng.normal(0, 25, 3), 0, 255).astype(int)
        draw.ellipse((x - across, y - down, x + across, y + down), fill=tuple(colour.tolist()))
    shade = Image.fromarray(rng.integers(150, 256, (6, 8), dtype=np.uint8))
    light = np.asarray(shade.resize((width, height), Image.Resampling.BICUBIC), np.float32) / 255
    lens = np.asarray(canvas.filter(ImageFilter.GaussianBlur(1.2)), np.float32)
    grain = rng.normal(0, 2, SHAPE).astype(np.float32)
    pixels = lens * light[..., None] + grain[..., None]
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def native(path: Path) -> np.ndarray:
    return feeders.native(open_picture(path, least=SIZE), SIZE).arrays[0]


def native_whole(path: Path) -> np.ndarray:
    return feeders.native(open_picture(path), SIZE).arrays[0]


def load_img(path: Path) -> np.ndarray:
    return np.asarray(keras.utils.load_img(path, target_size=TARGET))


def load_img_bicubic(path: Path) -> np.ndarray:
    return np.asarray(keras.utils.load_img(path, target_size=TARGET, interpolation="bicubic"))


def eighth(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.draft(None, (SHAPE[1] // 8, SHAPE[0] // 8))
        image.load()
    return image


FEEDERS = (native, native_whole, load_img, load_img_bicubic)
READERS: tuple[Callable[[Path], Any], ...] = (*FEEDERS, eighth)


def timed(paths: list[Path], repeats: int) -> tuple[Seconds, Seconds]:
    """The seconds, and the processor's, of each reader for every picture and turn."""
    wall: Seconds = {reader.__name__: [] for reader in READERS}
    processor: Seconds = {reader.__name__: [] for reader in READERS}
    for turn in range(repeats):
        for number, path in enumerate(paths):
            first = (turn + number) % len(READERS)
            for reader in READERS[first:] + READERS[:first]:
                start, start_processor = time.perf_counter(), time.thread_time()
                reader(path)
                wall[reader.__name__].append(time.perf_counter() - start)
                processor[reader.__name__].append(time.thread_time() - start_processor)
    return wall, processor


def times(seconds: Seconds, reader: str, other: str) -> float:
    """How many pictures `reader` reads while `other` reads one."""
    pairs = zip(seconds[other], seconds[reader], strict=True)
    return round(statistics.median(theirs / ours for theirs, ours in pairs), 2)


def gains_of_threads(paths: list[Path], repeats: int) -> tuple[float, float]:
    """How many times as much two threads do as one: feeding pictures, and hashing beside it."""
    gains: dict[Callable[[Path], Any], list[float]] = {native: [], hashed: []}
    for _ in range(repeats):
        for work, found in gains.items():
            seconds = []
            for threads in (1, 2):
                with ThreadPoolExecutor(threads) as pool:
                    start = time.perf_counter()
                    list(pool.map(work, paths * 4))
                    seconds.append(time.perf_counter() - start)
            found.append(seconds[0] / seconds[1])
    feeding, hashing = (round(statistics.median(found), 2) for found in gains.values())
    return feeding, hashing


def hashed(_: Path, data: bytes = bytes(30_000_000)) -> bytes:
    return hashlib.sha256(data).digest()


def differences(path: Path) -> dict[str, tuple[float, int]]:
    """(mean, largest) difference of each feeder from the whole picture, in grey levels."""
    with Image.open(path) as whole:
        exact = np.asarray(whole.resize(TARGET[::-1], Image.Resampling.BICUBIC), dtype=int)
    found = {reader.__name__: np.abs(reader(path) - exact) for reader in FEEDERS}
    return {name: (float(each.mean()), int(each.max())) for name, each in found.items()}


def measure(paths: list[Path], quality: int, repeats: int) -> Iterator[dict[str, Any]]:
    """The rows of the pictures of one quality."""
    wall, processor = timed(paths, repeats)
    off = [differences(path) for path in paths]
    feeding, hashing = gains_of_threads(paths, repeats)
    for name in wall:
        known = [each[name] for each in off if name in each]
        yield {
            "quality": quality,
            "megabytes": round(statistics.mean(path.stat().st_size for path in paths) / 1e6, 2),
            "reader": name,
            "ms": round(1000 * statistics.median(wall[name]), 1),
            "cpu_ms": round(1000 * statistics.median(processor[name]), 1),
            "times_load_img": times(wall, name, "load_img"),
            "times_load_img_cpu": times(processor, name, "load_img"),
            "times_bicubic": times(wall, name, "load_img_bicubic"),
            "times_bicubic_cpu": times(processor, name, "load_img_bicubic"),
            "mean_off": round(statistics.mean(one[0] for one in known), 3) if known else "",
            "most_off": max(one[1] for one in known) if known else "",
            "two_threads": feeding if name == "native" else "",
            "two_hashing": hashing if name == "native" else "",
            "pictures": len(paths),
            "repeats": repeats,
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "pillow": Image.__version__,
        }


def main() -> int:
    parser = command_line(__doc__, RESULT)
    parser.add_argument("--pictures", type=int, default=6, help="(default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=7, help="rounds (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.pictures < 1 or arguments.repeats < 1:
        parser.error("--pictures and --repeats must be at least 1")
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.pictures):
            picture = photograph(number)
            for quality in QUALITIES:
                picture.save(Path(folder, f"{number}_{quality}.jpg"), quality=quality)
        for quality in QUALITIES:
            paths = sorted(Path(folder).glob(f"*_{quality}.jpg"))
            rows += measure(paths, quality, arguments.repeats)
    show(rows, ("pictures", "repeats", "machine", "pillow"))
    save(arguments.out, rows)
    return 0 if all(is_near(row) for row in rows) else 1


def is_near(row: dict[str, Any]) -> bool:
    """Whether it is not "native" that is off by a grey level or more."""
    return row["reader"] != "native" or row["mean_off"] < LIMIT


if __name__ == "__main__":
    sys.exit(main())
