"""The page of explanations: one file, whose sliders move and whose pictures are there."""

import base64
import hashlib
import re
import shutil
import subprocess

import numpy as np
import pytest

from fcnkeras.report.explanations import shown, write_page

PROBE = """
const errors = [];
addEventListener("error", (event) => errors.push(event.message));
document.addEventListener("securitypolicyviolation", (event) => errors.push(event.blockedURI));
"""
CHECK = """
addEventListener("load", () => {
  const seen = [];
  for (const slider of document.querySelectorAll(".slider input")) {
    slider.value = "90";
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    seen.push(getComputedStyle(slider.closest(".slider").querySelector(".map")).opacity);
  }
  const pictures = [...document.images].filter((image) => image.naturalWidth > 0).length;
  const wide = document.documentElement.scrollWidth > innerWidth;
  document.title = ["RESULT", seen, pictures, wide, errors.length, errors].join("|");
});
"""
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
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs Chromium, which is not installed")
    write_page(tmp_path / "page.html", "What it saw", maps(), [{"picture": "one.png"}], COLUMNS)
    page = (tmp_path / "page.html").read_text()
    allowed = [base64.b64encode(hashlib.sha256(s.encode()).digest()) for s in (PROBE, CHECK)]
    sources = " ".join(f"'sha256-{digest.decode()}'" for digest in allowed)
    page = page.replace("script-src ", f"script-src {sources} ")
    page = page.replace('<meta name="viewport"', f'<script>{PROBE}</script><meta name="viewport"')
    page = page.replace("</body>", f"<script>{CHECK}</script></body>")
    (tmp_path / "copy.html").write_text(page)
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},900", "--dump-dom",
        (tmp_path / "copy.html").as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    title = re.search(r"<title>(RESULT[^<]*)</title>", done.stdout).group(1)
    assert title == "RESULT|0.9,0.9,0.9|6|false|0|"


def test_a_map_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r"must have values; received NaN everywhere"):
        shown(
            np.zeros((4, 4, 3), "uint8"), np.full((4, 4), np.nan),
            title="", caption="", signed=False,
        )  # fmt: skip
