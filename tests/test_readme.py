"""The README's Python examples run as they stand."""

import re
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_there_are_examples():
    assert len(EXAMPLES) >= 3


@pytest.mark.parametrize("code", EXAMPLES, ids=range(len(EXAMPLES)))
def test_example_runs(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture = Path(__file__).parents[1] / "test_image.jpg"
    (tmp_path / "test_image.jpg").write_bytes(picture.read_bytes())
    # What cannot be downloaded here is built without weights; everything else is the README's.
    code = code.replace('weights="imagenet"', "weights=None").replace(
        "MobileNetV2()", "MobileNetV2(weights=None)"
    )
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    assert "fcn" in names or "fed" in names
