"""What a long list costs: start, time a row, memory. Nearly all rows are copies, computed once.

A folder of hard links to a few small pictures is scored by a small classifier with the Keras
engine, each count in a process of its own, by the steps of `fcnkeras score`: list, read and hash
each file, look its answer up, write the table.

Columns of the CSV: rows; import_seconds (Keras and its backend); start_seconds (loading the model,
listing everything, compiling, to the first answers); seconds and us_a_row (from the first answers
to the finished table); mb_tenth and mb_end (memory of the process after a tenth of the rows, and
when the table is written); table_mb.

    python benchmarks/long_list.py [--rows N,N,N] [--out FILE.csv]
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from measuring import command_line, run_child, save, show, tell
from PIL import Image

RESULT = Path(__file__).parent / "results" / "long_list.csv"
ROWS = "25000,50000,100000,200000"
PICTURES, SIDE = 20, 32


def make_links(folder: Path, count: int) -> None:
    """`count` hard links to `PICTURES` pictures beside the folder."""
    rng = np.random.default_rng(0)
    for number in range(PICTURES):
        pixels = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder.parent / f"{number}.png")
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:07}.png").hardlink_to(folder.parent / f"{number % PICTURES}.png")


def megabytes() -> float:
    """The memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def measure(folder: Path) -> dict[str, Any]:
    """Scores a folder in this process."""
    begin = time.perf_counter()
    import keras

    imported = time.perf_counter()
    from fcnkeras.models.small import SmallVGG
    from fcnkeras.scoring.listing import list_pictures
    from fcnkeras.scoring.runner import Progress, score_list
    from fcnkeras.scoring.scorer import load_model
    from fcnkeras.scoring.store import Store
    from fcnkeras.scoring.tables import table_columns, table_lines, write_table

    keras.utils.set_random_seed(0)
    model, table = folder.parent / "model.keras", folder.parent / "scores.csv"
    SmallVGG(weights=None).save(model)
    loading = time.perf_counter()
    first, tenth = 0.0, 0.0

    def look(progress: Progress) -> None:
        nonlocal first, tenth
        first = first or time.perf_counter()
        if not tenth and progress.done >= progress.total / 10:
            tenth = megabytes()

    scorer = load_model(model, engine="keras")
    with Store(table.with_suffix(".state"), scorer.settings) as store:
        total = store.set_list(list_pictures([folder]))
        progress = score_list(scorer, store, total, tell=look)
        lines = table_lines(store.rows(), scorer.columns, scorer.settings)
        write_table(table, table_columns(scorer.columns), lines)
    end = time.perf_counter()
    assert (progress.done, progress.computed) == (total, PICTURES), progress
    return {
        "rows": total,
        "import_seconds": round(imported - begin, 2),
        "start_seconds": round(first - loading, 2),
        "seconds": round(end - first, 1),
        "us_a_row": round((end - first) / total * 1e6, 1),
        "mb_tenth": round(tenth),
        "mb_end": round(megabytes()),
        "table_mb": round(table.stat().st_size / 1e6, 1),
    }


def main() -> int:
    parser = command_line(__doc__, RESULT)
    parser.add_argument("--rows", default=ROWS)
    parser.add_argument("--child", nargs=2, type=Path, help="for itself")
    options = parser.parse_args()
    if options.child:
        folder, result = options.child
        result.write_text(json.dumps(measure(folder)))
        return 0
    rows = []
    for count in options.rows.split(","):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "links"
            make_links(folder, int(count))
            rows.append(run_child(Path(__file__), ["--child", str(folder)], timeout=3600))
            tell(rows[-1])
    show(rows)
    save(options.out, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
