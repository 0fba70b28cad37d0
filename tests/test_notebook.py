"""The demo notebook runs from top to bottom with small parameters; its outputs are committed."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "FCN_demo.ipynb"

SMALL = """
COUNTS = {"train": 6, "val": 3, "test": 3}
EPOCHS = 1
OUT = "results"
"""


@pytest.fixture
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def test_parameters_stand_in_one_cell(notebook):
    tagged = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", ())]
    assert len(tagged) == 1
    assert "EPOCHS" in tagged[0].source
    before = notebook.cells[notebook.cells.index(tagged[0]) - 1]
    assert before.source.startswith("## Setup parameters")


def test_committed_with_the_outputs_of_a_whole_run(notebook):
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    text = str([cell.outputs for cell in code])
    assert all(
        f"run({number})" in cell.source
        for number, cell in enumerate((c for c in code if c.source.startswith("run(")), start=1)
    )
    assert "image/png" in text
    assert "Traceback" not in text


# The kernel is a process of its own; what its libraries warn about while it starts is theirs.
@pytest.mark.filterwarnings("default")
def test_runs_with_small_parameters(notebook, tmp_path):
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", ()):
            cell.source += SMALL
    NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    assert (tmp_path / "results" / "report.html").stat().st_size > 10_000
    rows = (tmp_path / "results" / "results.csv").read_text().splitlines()
    assert len(rows) == 1 + 10
