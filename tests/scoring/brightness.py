"""A scorer that needs no network: the mean of each channel. As a script, a run that can be killed.

    python tests/scoring/brightness.py FOLDER TABLE [LIMIT]

scores the pictures of FOLDER into TABLE; with LIMIT no file may grow beyond so many bytes.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path
from types import MappingProxyType

import numpy as np
from PIL import Image

from fcnkeras import feeders
from fcnkeras.scoring.listing import list_pictures
from fcnkeras.scoring.runner import score_list
from fcnkeras.scoring.store import Store, StoreError
from fcnkeras.scoring.tables import Summary, table_columns, table_lines, write_table


class Mean:
    """An engine; counts what it is asked."""

    name = "mean"

    def __init__(self, seconds=0.0):
        self.seconds, self.batches = seconds, []

    def batch(self, pixels):
        return 4

    def answers(self, batches):
        for tag, inputs in batches:
            if inputs is None:
                yield tag, None
                continue
            time.sleep(self.seconds * len(inputs[0]))
            self.batches.append(len(inputs[0]))
            # As an engine may: the numbers depend a little on the batch.
            yield tag, [inputs[0].mean(axis=(1, 2)).astype("float32") + 1e-3 * len(inputs[0])]


class Brightness:
    """What the runner needs of a `Scorer`."""

    feeder, size, least = "native", 8, 8
    columns = (("red", "number"), ("green", "number"), ("blue", "number"))
    settings = MappingProxyType(
        {"model": "brightness", "feeder": "native", "size": "8", "engine": "mean"}
    )

    def __init__(self, seconds=0.0):
        self.engine = Mean(seconds)
        self.fed = 0

    def feed(self, picture):
        self.fed += 1
        return feeders.native(picture, 8)

    def inputs(self, fed):
        return [np.concatenate([one.arrays for one in fed])]

    def rows(self, outputs):
        return [tuple(float(str(value)) for value in row) for row in outputs[0]]


def run(sources, table, scorer=None, **options):
    """Scores as `fcnkeras score` does."""
    scorer = scorer or Brightness()
    with Store(table.with_name(f"{table.name}.state"), scorer.settings) as store:
        total = store.set_list(list_pictures(sources))
        progress = score_list(scorer, store, total, **options)
        summary = Summary(scorer.columns, None, 3)
        lines = table_lines(summary.watched(store.rows()), scorer.columns, scorer.settings)
        write_table(table, table_columns(scorer.columns), lines)
    return progress, summary


def picture(path, value, size=(20, 14)):
    """A PNG of one colour."""
    Image.new("RGB", size, (value % 256, value // 256 % 256, 7)).save(path)


if __name__ == "__main__":
    if len(sys.argv) > 3:
        limit = int(sys.argv[3])
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        run([sys.argv[1]], Path(sys.argv[2]), Brightness(0.002))
    except StoreError as error:
        sys.exit(str(error))
