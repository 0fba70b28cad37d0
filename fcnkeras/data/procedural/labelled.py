"""Generated collections in the formats of the field, with pictures that show what the labels say.

Each is written as a whole folder or not at all, and left as it is if it is there already, see
`store.make_task`. Pictures are JPEG files, so their last bits may differ where Pillow's do.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fcnkeras.data import aadb, ava
from fcnkeras.data.art import COMPOSITION
from fcnkeras.data.procedural import photos, styles
from fcnkeras.data.procedural.canvas import Array
from fcnkeras.data.procedural.paintings import colour_of, paint, random_composition
from fcnkeras.data.procedural.store import check_counts, stream, whole_folder
from fcnkeras.files import write_csv, write_text

DRAWING = 1  # raised whenever the same seed gives other pictures or labels
PathLike = str | os.PathLike[str]
Counts = Mapping[str, int]

ARTISTS: dict[str, tuple[str, tuple[float, ...], tuple[float, float]]] = {
    "aster": ("impressionist", (30, 50, 110), (0.45, 0.85)),
    "birk": ("impressionist", (210, 250, 290), (0.2, 0.6)),
    "cole": ("cubist", (20, 40, 60), (0.15, 0.65)),
    "dorn": ("cubist", (120, 180, 210), (0.4, 0.9)),
    "ember": ("ink_wash", (0, 15, 340), (0.15, 0.6)),
    "fenn": ("ink_wash", (80, 140, 170), (0.35, 0.85)),
}
"""Each painter's period, a style of `styles`, and the hues and lumas of the palette."""

AVA_CHALLENGES = {1: "Hills", 2: "Towers", 3: "Posts"}
AVA_TAGS = {1: "Landscape", 2: "Architecture", 3: "Vivid"}
AADB_WEIGHTS = {"light": 2.0, "vivid_color": 2.0, "motion_blur": -2.0, "rule_of_thirds": 1.0}
AADB_WEIGHTS |= {"color_harmony": 1.0, "object": 1.0}


def make_art_composition(folder: PathLike, counts: Counts, seed: int = 0) -> Path:
    """Writes paintings with known attributes and `labels.csv`, for `art.read_art_composition`.

    Args:
        folder: where to write; its parent is made if need be.
        counts: pictures of each part, "train" and "test", or one of them.
        seed: a whole number, 0 or more.

    Returns:
        `folder` as a path. The pictures are `train/<nnnn>.jpg` and `test/<nnnn>.jpg`, as the
        table's columns in_train and new_filename say.

    Raises:
        ValueError: other parts, a count that is not positive, a negative seed, or a folder that
            holds something else.

    Example:
        >>> import tempfile
        >>> from fcnkeras.data.art import read_art_composition
        >>> folder = make_art_composition(tempfile.mkdtemp() + "/art", {"train": 3, "test": 2})
        >>> len(read_art_composition(folder / "labels.csv"))
        5
    """
    if not set(counts) <= {"train", "test"}:
        raise ValueError(f"The parts must be train and test; received {', '.join(counts)}.")
    sources = [column.sources[0] for column in COMPOSITION]

    def fill(unfinished: Path, part: str, number: int, rng: np.random.Generator) -> dict[str, Any]:
        composition = random_composition(rng)
        name = f"{number:04d}.jpg"
        _save(paint(composition, rng), unfinished / part / name)
        row = {"in_train": str(part == "train"), "new_filename": name}
        return row | dict(zip(sources, composition, strict=True))

    def tables(unfinished: Path, rows: dict[str, list[dict[str, Any]]]) -> None:
        listed = [row for part in rows.values() for row in part]
        write_csv(unfinished / "labels.csv", listed, ["new_filename", "in_train", *sources])

    return _make("art_composition", folder, counts, seed, fill, tables)


def make_period_artist(folder: PathLike, counts: Counts, seed: int = 0) -> Path:
    """Writes paintings by the six `ARTISTS` of three periods, for `art.read_paintings`.

    Args:
        folder: where to write; its parent is made if need be.
        counts: pictures of each artist in each part, such as `{"train": 20, "val": 5}`.
        seed: a whole number, 0 or more.

    Returns:
        `folder` as a path, with a table `<part>.csv` for each part: file, artist and
        period_or_style.

    Raises:
        ValueError: as `make_art_composition`, any part's name that can be a folder's being right.

    Example:
        >>> import tempfile
        >>> from fcnkeras.data.art import read_paintings
        >>> folder = make_period_artist(tempfile.mkdtemp() + "/periods", {"train": 1})
        >>> read_paintings(folder / "train.csv").names("period")
        ('cubist', 'impressionist', 'ink_wash')
    """

    def fill(unfinished: Path, part: str, number: int, rng: np.random.Generator) -> dict[str, Any]:
        artist = list(ARTISTS)[number % len(ARTISTS)]
        period, hues, lumas = ARTISTS[artist]
        file = f"{part}/{artist}_{number // len(ARTISTS):04d}.jpg"
        _save(styles.draw(period, rng, _palette(rng, hues, lumas)), unfinished / file)
        return {"file": file, "artist": artist, "period_or_style": period}

    def tables(unfinished: Path, rows: dict[str, list[dict[str, Any]]]) -> None:
        for part, listed in rows.items():
            columns = ["file", "artist", "period_or_style"]
            write_csv(unfinished / f"{part}.csv", listed, columns)

    return _make("period_artist", folder, counts, seed, fill, tables, each=len(ARTISTS))


def make_ava(folder: PathLike, counts: Counts, seed: int = 0) -> Path:
    """Writes photographs with votes in AVA's files, for `ava.read_ava`.

    A picture is the better liked, the brighter, sharper, more vivid and the less centred it is.

    Args:
        folder: where to write; its parent is made if need be.
        counts: pictures of each part, such as `{"train": 200, "test": 100}`.
        seed: a whole number, 0 or more.

    Returns:
        `folder` as a path, with `AVA.txt`, `tags.txt`, `challenges.txt`, `images/<id>.jpg` and for
        each part the list of its ids, `generic_<part>.jpgl`.

    Raises:
        ValueError: as `make_period_artist`.

    Example:
        >>> import tempfile
        >>> from fcnkeras.data.ava import ava1, read_ava
        >>> folder = make_ava(tempfile.mkdtemp() + "/ava", {"train": 3, "test": 2})
        >>> votes = read_ava(folder / "AVA.txt")
        >>> len(ava1(votes, folder / "generic_test.jpgl")["train"])
        3
    """
    first = dict(zip(counts, np.cumsum([1, *counts.values()]).tolist(), strict=False))

    def fill(unfinished: Path, part: str, number: int, rng: np.random.Generator) -> dict[str, Any]:
        liked = rng.uniform()
        qualities = photos.random_qualities(rng)
        for name in ("light", "vivid_color", "rule_of_thirds", "motion_blur"):
            wanted = 1 - liked if name == "motion_blur" else liked
            qualities[name] = float(np.clip(wanted + rng.normal(0, 0.1), 0, 1))
        number += first[part]
        _save(photos.photograph(qualities, rng), unfinished / "images" / f"{number}.jpg")
        votes = _votes(rng, 2.5 + 5.5 * liked)
        tags = [1, 3 if qualities["vivid_color"] > 0.6 else 0]
        return {"line": [number, number, *votes, *tags, number % len(AVA_CHALLENGES) + 1]}

    def tables(unfinished: Path, rows: dict[str, list[dict[str, Any]]]) -> None:
        lines = {part: [row["line"] for row in listed] for part, listed in rows.items()}
        _write_lines(unfinished / "AVA.txt", [line for part in lines.values() for line in part])
        for part, listed in lines.items():
            _write_lines(unfinished / f"generic_{part}.jpgl", [line[1:2] for line in listed])
        _write_lines(unfinished / "tags.txt", AVA_TAGS.items())
        _write_lines(unfinished / "challenges.txt", AVA_CHALLENGES.items())

    return _make("ava", folder, counts, seed, fill, tables, folders=("images",))


def make_aadb(folder: PathLike, counts: Counts, seed: int = 0) -> Path:
    """Writes photographs with eleven attributes and a score in AADB's files, for `aadb.read_aadb`.

    Args:
        folder: where to write; its parent is made if need be.
        counts: pictures of the parts "train", "val" and "test", all three.
        seed: a whole number, 0 or more.

    Returns:
        `folder` as a path, with the three label files of `aadb.FILES`.

    Raises:
        ValueError: as `make_art_composition`.

    Example:
        >>> import tempfile
        >>> from fcnkeras.data.aadb import read_aadb
        >>> counts = {"train": 3, "val": 1, "test": 1}
        >>> len(read_aadb(make_aadb(tempfile.mkdtemp() + "/aadb", counts))["train"])
        3
    """
    if set(counts) != set(aadb.FILES):
        raise ValueError(f"The parts must be train, val and test; received {', '.join(counts)}.")
    sources = {column.name: column.sources[0] for column in aadb.COLUMNS}

    def fill(unfinished: Path, part: str, number: int, rng: np.random.Generator) -> dict[str, Any]:
        qualities = photos.random_qualities(rng)
        file = f"{part}_{number:04d}.jpg"
        _save(photos.photograph(qualities, rng), unfinished / file)
        row: dict[str, Any] = {"ImageFile": file}
        for column in aadb.ATTRIBUTES:
            share = qualities[column.name]
            row[sources[column.name]] = f"{column.low + (column.high - column.low) * share:.3f}"
        total = sum(weight * (qualities[name] - 0.5) for name, weight in AADB_WEIGHTS.items())
        weights = sum(abs(weight) for weight in AADB_WEIGHTS.values())
        score = 0.5 + 1.6 * total / weights + rng.normal(0, 0.02)
        return row | {"score": f"{np.clip(score, 0, 1):.3f}"}

    def tables(unfinished: Path, rows: dict[str, list[dict[str, Any]]]) -> None:
        for part, listed in rows.items():
            write_csv(unfinished / aadb.FILES[part], listed, ["ImageFile", *sources.values()])

    return _make("aadb", folder, counts, seed, fill, tables, folders=())


def _make(
    name: str,
    folder: PathLike,
    counts: Counts,
    seed: int,
    fill: Callable[[Path, str, int, np.random.Generator], dict[str, Any]],
    tables: Callable[[Path, dict[str, list[dict[str, Any]]]], None],
    *,
    each: int = 1,
    folders: tuple[str, ...] | None = None,
) -> Path:
    """Has `fill` make each picture and its row, then `tables` write the rows."""
    check_counts(counts, seed)

    def write(unfinished: Path) -> None:
        for subfolder in counts if folders is None else folders:
            (unfinished / subfolder).mkdir()
        rows = {
            part: [
                fill(unfinished, part, number, stream(name, part, 0, number, seed))
                for number in range(each * count)
            ]
            for part, count in counts.items()
        }
        tables(unfinished, rows)

    about = {"task": name, "counts": dict(counts), "seed": seed, "drawing": DRAWING}
    return whole_folder(Path(folder), about, write)


def _palette(
    rng: np.random.Generator, hues: tuple[float, ...], lumas: tuple[float, float]
) -> Array:
    """Six colours of a painter, (6, 3), RGB 0-255."""
    around = rng.choice(hues, 6) + rng.normal(0, 8, 6)
    tones = rng.permutation(np.linspace(*lumas, 6))
    colours = zip(around.tolist(), rng.uniform(0.35, 0.9, 6).tolist(), tones.tolist(), strict=True)
    return np.array([colour_of(*colour) for colour in colours])


def _votes(rng: np.random.Generator, mean: float) -> list[int]:
    """How many of 150 to 350 people gave each of the scores 1 to 10."""
    spread = rng.uniform(1.2, 1.6)
    weights = np.exp(-0.5 * ((np.arange(1, len(ava.COUNTS) + 1) - mean) / spread) ** 2)
    return rng.multinomial(rng.integers(150, 351), weights / weights.sum()).tolist()


def _save(picture: Image.Image, path: Path) -> None:
    picture.save(path, quality=92, subsampling=0)


def _write_lines(path: Path, lines: Any) -> None:
    write_text(path, "".join(" ".join(map(str, line)) + "\n" for line in lines))
