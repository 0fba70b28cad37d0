"""A corpus of damaged pictures, made from good ones: the same files from the same seed.

    python damage.py FOLDER READER SECONDS

reads the files of FOLDER in turn, in a process that may be killed, and prints what came of each
as a line of JSON. `read_corpus` runs it under limits of memory and time.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import re
import resource
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import profiles
from PIL import Image, features

import fcnkeras

SIZE = (64, 48)
MEMORY, SECONDS = 2 << 30, 30
"""The address space of the process that reads, in bytes, and the time that it has for one file."""
LARGE, PEAK = 50_000_000, 300 << 20
"""The bytes that reading one file may take, unless it declares so many pixels or more."""


@dataclass(frozen=True)
class Good:
    """A good file.

    Attributes:
        suffix: The usual ending of its name.
        data: Its bytes.
        body: Where its pixels begin; damage behind it must not change the size.
        exact: Whether the format keeps the pixels of `picture` as they are.
        sums: Whether it holds checksums, by which damage to the pixels must be noticed.
    """

    suffix: str
    data: bytes
    body: int
    exact: bool = False
    sums: bool = False


@dataclass(frozen=True)
class Damaged:
    """A damaged file and what may come of it.

    Attributes:
        name: The file name.
        data: Its bytes.
        allowed: "same": it is read, and is the good picture. "refused": it is not read. "refused or
            same". "refused or sized": if it is read, it is the good picture, or one of the size
            `size`. "refused or read".
        good: The name of the good file.
        size: (width, height) that it may be read with.
    """

    name: str
    data: bytes
    allowed: str
    good: str = ""
    size: tuple[int, int] | None = None

    @property
    def is_large(self) -> bool:
        """Whether reading it may take seconds, or hundreds of megabytes."""
        return self.size is not None and self.size[0] * self.size[1] >= LARGE


def picture(width: int = SIZE[0], height: int = SIZE[1]) -> Image.Image:
    """Soft shapes with some grain."""
    rng = np.random.default_rng(0)
    soft = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    pixels = np.asarray(soft.resize((width, height), Image.Resampling.BICUBIC), dtype=int)
    return Image.fromarray(np.clip(pixels + rng.integers(-4, 5, pixels.shape), 0, 255).astype("u1"))


def _encoded(kind: str, image: Image.Image | None = None, **options: object) -> bytes:
    stream = io.BytesIO()
    (image or picture()).copy().save(stream, kind, **options)
    return stream.getvalue()


def _jpeg_body(data: bytes) -> int:
    start = data.rindex(b"\xff\xda") if data.count(b"\xff\xc2") == 0 else data.index(b"\xff\xda")
    return start + 2 + int.from_bytes(data[start + 2 : start + 4])


def good_files() -> dict[str, Good]:
    """Good files of every format that Pillow can both write and read here, by name."""
    rgb, clear = picture(), picture()
    clear.putalpha(Image.linear_gradient("L").resize(SIZE))
    exif = Image.Exif()
    exif[0x0112] = 6
    linear = profiles.rgb(curve=profiles.gamma(1))
    deep = Image.fromarray(np.asarray(rgb)[..., 0].astype(np.uint16) * 257)
    floats = Image.fromarray(np.asarray(rgb)[..., 0].astype(np.float32) / 255)
    jpegs = {
        "baseline": _encoded("JPEG", quality=90),
        "progressive": _encoded("JPEG", progressive=True),
        "grey": _encoded("JPEG", rgb.convert("L")),
        "cmyk": _encoded("JPEG", rgb.convert("CMYK")),
        "sideways": _encoded("JPEG", exif=exif),
        "profile": _encoded("JPEG", icc_profile=linear),
        "restarts": _encoded("JPEG", restart_marker_blocks=2),
        "large": _encoded("JPEG", picture(640, 480), quality=95),
    }
    pngs = {
        "rgb": _encoded("PNG"),
        "stored": _encoded("PNG", compress_level=0),
        "rgba": _encoded("PNG", clear),
        "palette": _encoded("PNG", rgb.quantize(), transparency=3),
        "deep": _encoded("PNG", deep),
        "metadata": _encoded("PNG", exif=exif, icc_profile=linear),
    }
    tiffs = {
        "raw": _encoded("TIFF"),
        "lzw": _encoded("TIFF", compression="tiff_lzw"),
        "deflate": _encoded("TIFF", compression="tiff_adobe_deflate"),
        "packbits": _encoded("TIFF", compression="packbits"),
        "jpeg": _encoded("TIFF", compression="jpeg"),
        "group4": _encoded("TIFF", rgb.convert("1"), compression="group4"),
        "cmyk": _encoded("TIFF", rgb.convert("CMYK")),
        "floats": _encoded("TIFF", floats),
        "pages": _encoded("TIFF", save_all=True, append_images=[picture()]),
    }
    good = {f"jpeg_{name}": Good(".jpg", data, _jpeg_body(data)) for name, data in jpegs.items()}
    for name, data in pngs.items():
        kept = name in ("rgb", "stored")
        good[f"png_{name}"] = Good(".png", data, data.index(b"IDAT") + 4, kept, True)
    # Of a TIFF any byte may belong to its directory, which says where everything is.
    for name, data in tiffs.items():
        kept = name in ("raw", "lzw", "deflate", "packbits", "pages")
        good[f"tiff_{name}"] = Good(".tif", data, len(data), kept)
    palette, frames = rgb.quantize(), [rgb.quantize().rotate(9 * turn) for turn in range(3)]
    good["gif_still"] = Good(".gif", _encoded("GIF", palette), 13 + 768 + 10)
    animation = _encoded("GIF", palette, save_all=True, append_images=frames, transparency=5)
    good["gif_animation"] = Good(".gif", animation, 13 + 768 + 40)
    good["bmp_rgb"] = Good(".bmp", _encoded("BMP"), 54, True)
    good["bmp_palette"] = Good(".bmp", _encoded("BMP", palette), 54 + 1024)
    good["ppm"] = Good(".ppm", _encoded("PPM"), 13, True)
    good["pgm_deep"] = Good(".pgm", _encoded("PPM", deep), 15)
    good["tga_runs"] = Good(".tga", _encoded("TGA", compression="tga_rle"), 18, True)
    good["ico"] = Good(".ico", _encoded("ICO", sizes=[(48, 48)]), 10_000)
    good["pcx"] = Good(".pcx", _encoded("PCX"), 128, True)
    good["sgi"] = Good(".sgi", _encoded("SGI"), 512, True)
    if int(Image.__version__.split(".")[0]) >= 13:  # older ones take a truncated DDS for whole
        good["dds"] = Good(".dds", _encoded("DDS"), 128, True)
    readable = features.get_supported()
    optional = {
        "webp": (("lossy", {}), ("lossless", {"lossless": True})),
        "avif": (("still", {}),),
    }
    for kind, variants in optional.items():
        for name, options in variants if kind in readable else ():
            data = _encoded(kind.upper(), **options)
            good[f"{kind}_{name}"] = Good(f".{kind}", data, len(data), name == "lossless")
    if "webp" in readable:
        data = _encoded("WEBP", clear, save_all=True, append_images=[picture()])
        good["webp_animation"] = Good(".webp", data, len(data))
    if "jpg_2000" in readable:
        data = _encoded("JPEG2000")
        good["jp2"] = Good(".jp2", data, data.index(b"\xff\x93") + 2, True)
    return good


def _cut(data: bytes, rng: np.random.Generator) -> bytes:
    if rng.random() < 0.3:
        return data[: -int(rng.integers(1, 20))]
    return data[: rng.integers(1, len(data))]


def _flipped(data: bytes, rng: np.random.Generator, start: int, end: int) -> bytes:
    damaged = bytearray(data)
    for position in rng.integers(start, end, rng.choice([1, 2, 8, 64])):
        damaged[position] ^= 1 << rng.integers(0, 8)
    return bytes(damaged)


def _overwritten(data: bytes, rng: np.random.Generator, start: int, end: int) -> bytes:
    first = int(rng.integers(start, end))
    length = min(int(rng.integers(1, 200)), end - first)
    filling = bytes(length) if rng.random() < 0.5 else rng.bytes(length)
    return data[:first] + filling + data[first + length :]


def _shifted(data: bytes, rng: np.random.Generator, start: int, end: int) -> bytes:
    """Some bytes too many, or too few."""
    first, length = int(rng.integers(start, end)), int(rng.integers(1, 50))
    if rng.random() < 0.5:
        return data[:first] + rng.bytes(length) + data[first:]
    return data[:first] + data[first + length :]


SOUND_ENDINGS = (".jpg", ".png", ".tif", ".webp", ".bmp", ".gif", ".txt", "")


def _damaged(name: str, good: Good, rng: np.random.Generator) -> Iterator[Damaged]:
    data, end = good.data, len(good.data)
    with Image.open(io.BytesIO(data)) as image:
        size = image.size if "sideways" not in name else image.size[::-1]
    body = min(good.body, end)
    in_body = "refused or same" if good.sums else "refused or sized"

    def item(kind: str, damaged: bytes, allowed: str) -> Damaged:
        return Damaged(f"{name}-{kind}{good.suffix}", damaged, allowed, name, size)

    for i in range(20):
        yield item(f"cut{i}", _cut(data, rng), "refused or same")
    for i in range(18):
        yield item(f"head{i}", _flipped(data, rng, 0, min(body, 400)), "refused or read")
    if body < end:
        for i in range(10):
            yield item(f"flipped{i}", _flipped(data, rng, body, end), in_body)
        for i in range(5):
            yield item(f"overwritten{i}", _overwritten(data, rng, body, end), in_body)
            yield item(f"shifted{i}", _shifted(data, rng, body, end), in_body)
    else:
        for i in range(10):
            yield item(f"anywhere{i}", _flipped(data, rng, 0, end), "refused or read")
            yield item(f"overwritten{i}", _overwritten(data, rng, 0, end), "refused or read")
    for i, ending in enumerate(rng.choice(SOUND_ENDINGS, 2, replace=False)):
        yield Damaged(f"{name}-named{i}{ending}", data, "same", name, size)
    yield item("followed", data + rng.bytes(300), "same")
    yield item("zeros", bytes(end), "refused")
    yield item("hollow", data[: end // 2] + bytes(end - end // 2), "refused or read")
    other = rng.choice([b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", b"RIFF"])
    yield item("masked", bytes(other) + data[len(other) :], "refused or read")


def corpus(seed: int = 0) -> Iterator[Damaged]:
    """The random part of the corpus, the same for the same seed."""
    for number, (name, good) in enumerate(good_files().items()):
        yield from _damaged(name, good, np.random.default_rng((seed, number)))


def read_corpus(
    folder: Path, names: Sequence[str], reader: str = "fcnkeras", seconds: int = SECONDS
) -> dict[str, dict[str, object]]:
    """Reads files in another process, and starts a new one behind each file that kills it.

    Args:
        folder: Where the files lie.
        names: Their names.
        reader: "fcnkeras"; "plain", Pillow as it is; or "faulty", which fails in all ways.
        seconds: The time for one file.

    Returns:
        For each name what the reader returned: {"came": "read" or "refused", ...}; or {"came":
        "crashed", "trace": ...}; or {"came": "killed", "signal": number}. "grown" tells by how
        many bytes the file raised the most memory that the process ever held.
    """
    outcomes: dict[str, dict[str, object]] = {}
    # One thread each, as more would reserve address space; and the package from where it lies.
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = str(Path(fcnkeras.__file__).parents[1])
    command = [sys.executable, "-W", "error", __file__, str(folder), reader, str(seconds)]
    while left := [name for name in names if name not in outcomes]:
        child = subprocess.run(
            command, input="\n".join(left), capture_output=True, text=True, env=environment
        )
        lines = [json.loads(line) for line in child.stdout.splitlines()]
        outcomes |= {line.pop("name"): line for line in lines}
        if len(lines) < len(left):
            if child.returncode >= 0:
                raise RuntimeError(f"the reading process failed: {child.stderr}")
            outcomes[left[len(lines)]] = {"came": "killed", "signal": -child.returncode}
    return outcomes


def problem(item: Damaged, outcome: dict[str, object], good: dict[str, object]) -> str | None:
    """What is wrong with the outcome for a damaged file, beside that of its good one; or None."""
    came, allowed = outcome["came"], item.allowed
    if came not in ("read", "refused") or outcome.get("wrong"):
        return f"{item.name}: {outcome}"
    large = item.is_large or math.prod(outcome.get("size", (0,))) >= LARGE
    if not large and (outcome["grown"] > PEAK or "memory" in outcome.get("reason", "")):
        return f"{item.name} took too much memory: {outcome}"
    if came == "refused":
        return f"{item.name} was refused: {outcome}" if "refused" not in allowed else None
    same = outcome["digest"] == good.get("digest")
    fits = {
        "same": same,
        "refused": False,
        "refused or same": same,
        "refused or sized": same or outcome["size"] == list(item.size or ()),
        "refused or read": True,
    }
    return None if fits[allowed] else f"{item.name} was read, allowed is {allowed}: {outcome}"


def _read(path: Path) -> dict[str, object]:
    """Reads a file in all the ways in which the package does."""
    from fcnkeras.feeders import native
    from fcnkeras.images import ImageError, extent, open_picture, probe

    wrong = []
    try:
        image = open_picture(path)
        small = open_picture(path, least=8)
        if not probe(path) == extent(small).original_size == image.size:
            wrong.append("the reduced picture has another size")
        if max(image.size) < 50 * min(image.size):
            fed = native(small, 16).arrays
            if min(fed.shape[1:3]) != 16 or fed.dtype != np.uint8:
                wrong.append(f"it was fed as {fed.dtype}{fed.shape}")
    except ImageError as error:
        if str(error) != f"cannot read {path}: {error.reason}" or not error.reason.strip():
            wrong.append(f"the message is {error}")
        return {"came": "refused", "reason": error.reason, "wrong": wrong}
    if image.mode != "RGB" or min(image.size) < 1:
        wrong.append(f"it is {image.size} {image.mode}")
    return {"came": "read", "wrong": wrong, **_digest(image)}


def _read_plainly(path: Path) -> dict[str, object]:
    try:
        with Image.open(path) as image:
            return {"came": "read", **_digest(image.convert("RGB"))}
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a refusal
        return {"came": "refused", "reason": repr(error)}


def _digest(image: Image.Image) -> dict[str, object]:
    small = image.width * image.height < 2_000_000
    digest = hashlib.sha256(np.ascontiguousarray(image)).hexdigest() if small else ""
    return {"size": list(image.size), "digest": digest}


def _fail(path: Path) -> dict[str, object]:
    if path.stem == "abort":
        os.abort()
    while path.stem == "hang":
        pass
    length = {"swallow": 2 * MEMORY, "gorge": PEAK + (50 << 20)}.get(path.stem, 1)
    assert len(b"\1" * length) == length
    return {"came": "read", "size": [1, 1], "digest": "", "wrong": []}


_READERS = {"fcnkeras": _read, "plain": _read_plainly, "faulty": _fail}


def _main(folder: Path, reader: str, seconds: int) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process, wherever it is
    names = sys.stdin.read().split("\n")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for name in names:
        signal.alarm(seconds)
        before = _peak()
        try:
            outcome = _READERS[reader](folder / name)
        except Exception:  # noqa: BLE001 - what a reader lets through is the test's finding
            outcome = {"came": "crashed", "trace": traceback.format_exc()}
        print(json.dumps({"name": name, "grown": _peak() - before, **outcome}), flush=True)


def _peak() -> int:
    """The most memory that this process has held, in bytes."""
    # What `getrusage` tells begins with the size of the process that started this one.
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) << 10


if __name__ == "__main__":
    _main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
