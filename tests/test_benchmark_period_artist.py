"""What `benchmarks/period_artist.py` chooses and sums up, and that its committed tables agree."""

import csv
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import period_artist


def read(name):
    with (period_artist.RESULTS / name).open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_artists_with_enough_works_of_styles_with_two_of_them(tmp_path):
    """Ann and Bob share a style and have enough; Cid is alone in his; Dan has too few."""
    lines = ["file,artist,period_or_style"]
    works = [("ann", "cubism", 25), ("ann", "realism", 2), ("bob", "cubism", 10)]
    works += [("cid", "rococo", 12), ("dan", "cubism", 9)]
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    for artist, period, count in works:
        for number in range(count):
            name = f"{artist}_{period}_{number}.png"
            (tmp_path / name).write_bytes((tmp_path / "a.png").read_bytes())
            lines.append(f"{name},{artist},{period}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    chosen = period_artist.choose(tmp_path)
    assert (chosen.names("artist"), chosen.names("period")) == (("ann", "bob"), ("cubism",))
    counts = Counter(record.targets["artist"] for record in chosen.records)
    assert counts == {0: 20, 1: 10}
    assert not any("realism" in record.path.name for record in chosen.records)


def test_mean_and_spread_by_hand():
    row = {"task": "artist", "training": "staged", "period": ""}
    rows = [{**row, "seed": seed, "artist": value} for seed, value in enumerate((0.2, 0.3, 0.4))]
    (line,) = period_artist.summarise(rows)
    assert (line["artist"], line["artist_spread"]) == ("0.300", "0.100")
    assert (line["seeds"], line["period"], line["period_spread"]) == (3, "", "")


def test_the_committed_tables_agree():
    rows, summary = read("period_artist.csv"), read("period_artist_summary.csv")
    assert len(rows) == 36
    assert len({(row["task"], row["training"], row["seed"]) for row in rows}) == 36
    for line in summary:
        own = [r for r in rows if (r["task"], r["training"]) == (line["task"], line["training"])]
        assert len(own) == int(line["seeds"]) == 3
        for name in ("artist", "period"):
            values = [float(row[name]) for row in own if row[name]]
            assert bool(values) == bool(line[name])
            if values:
                assert abs(np.mean(values) - float(line[name])) < 6e-4
                assert abs(np.std(values, ddof=1) - float(line[f"{name}_spread"])) < 6e-4
