"""What the tests of training share."""

from pathlib import Path

import galleries
import pytest


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders below "train" and "val", for `galleries.fed_parts`: five batches an epoch."""
    folder = tmp_path_factory.mktemp("pictures")
    galleries.class_folders(folder / "train", 9, seed=0)
    galleries.class_folders(folder / "val", 8, seed=1)
    return folder
