"""Whatever is wrong with a file, it is read correctly or refused with a reason, and nothing else.

A file is read correctly if what comes is 8-bit RGB; of the good picture's very pixels where the
damage left them whole, or where the format's checksums would tell; and else of the size that the
file declares. The limits of memory and time are in `damage`: `PEAK`, `MEMORY` and `SECONDS`.
"""

from __future__ import annotations

import hashlib
import signal
from collections import Counter
from pathlib import Path

import bombs
import damage
import numpy as np
import pytest
from damage import Damaged, Good, problem, read_corpus


@pytest.fixture(scope="module")
def good() -> dict[str, Good]:
    return damage.good_files()


@pytest.fixture(scope="module")
def corpus(good: dict[str, Good]) -> list[Damaged]:
    return [*damage.corpus(), *bombs.made_to_harm(good)]


def problems(
    folder: Path, good: dict[str, Good], items: list[Damaged], reader: str = "fcnkeras"
) -> list[str]:
    files = {f"{name}{one.suffix}": one.data for name, one in good.items()}
    files |= {item.name: item.data for item in items}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    large = {item.name for item in items if item.is_large}  # last, as they raise the peak
    outcomes = read_corpus(folder, sorted(files, key=large.__contains__), reader)
    sound = {name: outcomes[f"{name}{one.suffix}"] for name, one in good.items()}
    assert {outcome["came"] for outcome in sound.values()} == {"read"}
    found = [problem(item, outcomes[item.name], sound.get(item.good, {})) for item in items]
    return [text for text in found if text]


def test_the_corpus_is_large_and_varied(corpus, good):
    assert len({item.name for item in corpus}) == len(corpus)
    assert len({hashlib.sha256(item.data).digest() for item in corpus}) >= 2000
    assert {one.suffix for one in good.values()} >= {".jpg", ".png", ".tif", ".bmp", ".gif"}
    allowed = Counter(item.allowed for item in corpus)
    assert min(allowed.values()) > 100
    assert allowed["refused or read"] < len(corpus) / 2  # which says the least


def test_the_corpus_is_the_same_each_time(corpus):
    again = list(damage.corpus())
    assert again == corpus[: len(again)]
    assert list(damage.corpus(seed=1)) != again


def test_the_good_files_are_good(good, tmp_path):
    """What damaged files are compared with is what was written, in the formats that keep it."""
    expected = hashlib.sha256(np.ascontiguousarray(damage.picture())).hexdigest()
    for name, one in good.items():
        (tmp_path / name).write_bytes(one.data)
    outcomes = read_corpus(tmp_path, list(good))
    exact = [name for name, one in good.items() if one.exact]
    assert len(exact) >= 10
    assert {outcomes[name]["digest"] for name in exact} == {expected}


def test_a_sample_is_read_correctly_or_refused(corpus, good, tmp_path):
    light = [item for item in corpus if not item.is_large]
    chosen = np.random.default_rng(0).choice(len(light), 200, replace=False)
    assert problems(tmp_path, good, [light[i] for i in chosen]) == []


@pytest.mark.slow
def test_every_file_is_read_correctly_or_refused(corpus, good, tmp_path):
    assert problems(tmp_path, good, corpus) == []


def test_plain_pillow_would_not_pass(corpus, good, tmp_path):
    """The negative control: a reader that leaves pictures lying on their side is found."""
    some = [item for item in corpus if item.good == "jpeg_sideways"]
    assert len(problems(tmp_path, good, some, "plain")) > 10


def test_a_reader_that_fails_is_found(tmp_path):
    names = ["fine", "abort", "hang", "swallow", "gorge", "last"]
    outcomes = read_corpus(tmp_path, names, "faulty", seconds=5)
    assert outcomes["fine"]["came"] == outcomes["last"]["came"] == "read"
    assert outcomes["abort"] == {"came": "killed", "signal": signal.SIGABRT}
    assert outcomes["hang"] == {"came": "killed", "signal": signal.SIGALRM}
    assert "MemoryError" in outcomes["swallow"]["trace"]
    assert outcomes["gorge"]["came"] == "read"
    for name in ("abort", "hang", "swallow", "gorge"):
        assert problem(Damaged(name, b"", "refused or read"), outcomes[name], {})
    assert problem(Damaged("fine", b"", "refused or read"), outcomes["fine"], {}) is None
