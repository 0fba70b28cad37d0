"""The README's Python examples run as they stand."""

import re
from pathlib import Path

import pytest
from PIL import Image

import fcnkeras
from fcnkeras.models.small import SmallVGG

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_there_are_examples():
    assert len(EXAMPLES) >= 3


def write_collection(folder):
    """`labels.csv` and `photos`, as the examples have them: two artists, in a folder each too."""
    lines = ["ID,artist,contrast,primary_color"]
    for number in range(20):
        artist = ("aster", "birk")[number % 2]
        for path in (Path("photos"), Path("photos") / artist):
            (folder / path).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40 + number, 50), (9 * number, 80, 40)).save(
                folder / path / f"{number}.jpg"
            )
        lines.append(f"{number},{artist},{1 + number % 10},{'' if number == 3 else 'yellow'}")
    (folder / "labels.csv").write_text("\n".join(lines))


@pytest.mark.parametrize("code", EXAMPLES, ids=range(len(EXAMPLES)))
def test_example_runs(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture = Path(__file__).parents[1] / "test_image.jpg"
    (tmp_path / "test_image.jpg").write_bytes(picture.read_bytes())
    write_collection(tmp_path)
    if '"model.keras"' in code:
        fcnkeras.to_fcn(SmallVGG(weights=None)).save("model.keras")
    # What cannot be downloaded here is built without weights; everything else is the README's.
    code = code.replace('weights="imagenet"', "weights=None").replace(
        "MobileNetV2()", "MobileNetV2(weights=None)"
    )
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    assert {"fcn", "fed", "data", "parts", "scores"} & set(names)
