"""The page of explanations: one file, whose sliders move and whose pictures are there."""

import numpy as np
import pytest
from pages import look_at

from fcnkeras.report.explanations import shown, write_page

COLUMNS = ("picture", "score", "error")


def maps():
    picture = np.full((40, 120, 3), 90, "uint8")
    heat = np.linspace(-1, 2, 4800).reshape(40, 120).astype("float32")
    heat[:, :20] = np.nan
    given = {"title": "saliency: a <b>", "caption": "output 0.5"}
    plain = shown(picture, heat, signed=False, **given)
    signed = shown(picture, heat, signed=True, mark=(20.0, 60.0), **given)
    return {"one.png": [plain, signed], "sub/<two>.png": [plain]}


def test_what_the_page_says(tmp_path):
    rows = [
        {"picture": "one.png", "score": 0.123456, "error": None},
        {"picture": "bad.png", "error": "it is empty"},
    ]
    write_page(tmp_path / "page.html", "What it saw", maps(), rows, COLUMNS, ["bad.png: empty"])
    page = (tmp_path / "page.html").read_text()
    assert page.count('type="range"') == 3
    for text in ("What it saw", "0.1235", "it is empty", "bad.png: empty", "a &lt;b&gt;"):
        assert text in page
    assert "<h3>sub/&lt;two&gt;.png</h3>" in page
    assert "nan" not in page.split("<main", 1)[1].split("base64", 1)[0]
    single = {name: each[:1] for name, each in maps().items()}
    write_page(tmp_path / "single.html", "What it saw", single, rows, COLUMNS)
    assert "<h3>" not in (tmp_path / "single.html").read_text()


@pytest.mark.parametrize("width", [1280, 500])
def test_in_a_browser(tmp_path, width):
    write_page(tmp_path / "page.html", "What it saw", maps(), [{"picture": "one.png"}], COLUMNS)
    script = """
        const sliders = [...document.querySelectorAll(".slider input")];
        return [document.images.length, sliders.map((slider) => move(slider, "90"))];
    """
    page = (tmp_path / "page.html").read_text()
    assert look_at(page, tmp_path, width, script) == "6,0.9,0.9,0.9"


def test_a_map_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r"must have values; received NaN everywhere"):
        shown(
            np.zeros((4, 4, 3), "uint8"), np.full((4, 4), np.nan),
            title="", caption="", signed=False,
        )  # fmt: skip
