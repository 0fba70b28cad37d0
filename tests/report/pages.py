"""What the tests of pages share: a table written, a page parsed, a page opened in Chromium."""

from __future__ import annotations

import base64
import csv
import hashlib
import re
import shutil
import subprocess
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest

PROBE = """
const errors = [];
addEventListener("error", (event) => errors.push(event.message));
document.addEventListener("securitypolicyviolation", (event) => errors.push(event.blockedURI));
"""
CHECK = """
addEventListener("load", () => {
  const move = (input, value) => {
    input.value = value;
    input.dispatchEvent(new Event("input", { bubbles: true }));
    return getComputedStyle(input.closest(".slider").querySelector(".map")).opacity;
  };
  const found = (() => { %s })();
  const missing = [...document.images].filter((image) => image.naturalWidth === 0).length;
  const wide = document.documentElement.scrollWidth > innerWidth;
  document.title = ["RESULT", found, missing, wide, errors.length, errors].join("|");
});
"""


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


class Reader(HTMLParser):
    """Collects tags, attributes and the text of a page, and checks that tags are closed."""

    VOID = {"meta", "img", "input", "br", "path", "use", "rect", "image"}  # noqa: RUF012

    def __init__(self, text):
        super().__init__()
        self.open, self.attributes, self.words = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.attributes.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def look_at(page: str, folder: Path, width: int, script: str) -> str:
    """Opens a page and runs a script in it, the body of a function; `move(input, value)` there
    moves a slider and tells the opacity of its map.

    Args:
        page: the text of the page; its policy stays as it is, but for the scripts of this test.
        folder: where the copy that is opened may lie.
        width: of the window, in pixels.
        script: JavaScript.

    Returns:
        What the script returns; a failed assertion if a picture is missing, the page is wider
        than the window, or anything is refused or raised.
    """
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs Chromium, which is not installed")
    check = CHECK % script
    allowed = [base64.b64encode(hashlib.sha256(s.encode()).digest()) for s in (PROBE, check)]
    sources = " ".join(f"'sha256-{digest.decode()}'" for digest in allowed)
    page = page.replace("script-src ", f"script-src {sources} ", 1)
    page = page.replace(
        '<meta name="viewport"', f'<script>{PROBE}</script><meta name="viewport"', 1
    )
    page = page.replace("</body>", f"<script>{check}</script></body>")
    copy = folder / "copy.html"
    copy.write_text(page, encoding="utf-8")
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={folder / 'profile'}", f"--window-size={width},900", "--dump-dom",
        copy.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    title = re.search(r"<title>RESULT\|([^<]*)</title>", done.stdout).group(1)
    found, missing, wide, refused = title.split("|", 3)
    assert (missing, wide, refused) == ("0", "false", "0|")
    return found
