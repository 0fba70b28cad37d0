"""What `benchmarks/long_list.py` makes and counts, on a short list."""

import csv
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import long_list


def test_a_short_list(tmp_path: Path) -> None:
    folder = tmp_path / "links"
    long_list.make_links(folder, 130)
    assert len(list(folder.iterdir())) == 130
    assert len({path.stat().st_ino for path in folder.iterdir()}) == long_list.PICTURES
    row = long_list.measure(folder)
    assert row["rows"] == 130
    assert 0 < row["mb_tenth"] <= row["mb_end"] + 50
    with (tmp_path / "scores.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [each["path"] for each in rows] == sorted(str(path) for path in folder.iterdir())
    assert {each["status"] for each in rows} == {"ok"}
    # Row 20 is the same picture as row 0.
    results = [each for each in rows[0] if each not in ("path",)]
    assert [rows[20][name] for name in results] == [rows[0][name] for name in results]
