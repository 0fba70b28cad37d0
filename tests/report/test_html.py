import base64
import hashlib
import io
import re

import numpy as np
import pytest
from PIL import Image

from fcnkeras.report import html
from fcnkeras.report.html import Markup, Section


def test_text_is_escaped_everywhere_and_markup_is_not():
    bad = "<b a=\"1\" b='2'>&"
    safe = "&lt;b a=&quot;1&quot; b=&#x27;2&#x27;&gt;&amp;"
    pieces = (
        html.paragraph(bad),
        html.table([bad], [[bad]], label=bad),
        html.figure(Markup("<i></i>"), bad),
        html.image("data:,", bad),
        html.slider("data:,", "data:,", ratio=1.5, name=bad, caption=bad),
        html.details(bad, html.paragraph(bad), anchor=bad),
        html.page(bad, html.paragraph(bad), [Section(bad, html.paragraph(bad), [(bad, bad)])]),
    )
    for piece in pieces:
        assert safe in piece
        assert "<b a" not in piece
    assert html.join([Markup("<b>"), "<b>"]) == "<b>\n&lt;b&gt;"


def test_numeric_columns_are_right_aligned_and_rows_emphasised():
    text = html.table(["a", "b"], [["x", 1], ["y", 2]], label="t", numeric=["b"], strong=[1])
    assert '<th scope="col">a</th><th scope="col" class="number">b</th>' in text
    assert '<tr><td>x</td><td class="number">1</td></tr>' in text
    assert '<tr class="strong"><td>y</td><td class="number">2</td></tr>' in text


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="zip"):
        html.table(["a", "b"], [["x"]], label="t")


def test_picture_address_is_a_jpeg_of_the_wanted_size():
    pixels = np.zeros((100, 300, 3), np.uint8)
    pixels[:, 150:] = (250, 10, 10)
    picture = Image.fromarray(pixels)
    kind, data = html.picture_address(picture, 120).split(",")
    assert kind == "data:image/jpeg;base64"
    packed = Image.open(io.BytesIO(base64.b64decode(data)))
    assert (packed.format, packed.size) == ("JPEG", (120, 40))
    assert np.abs(np.asarray(packed)[20, 100].astype(int) - (250, 10, 10)).max() < 10
    assert picture.size == (300, 100)


def test_a_page_allows_no_request_and_only_its_own_script():
    text = html.page("t", html.paragraph("lead"), [Section("One", html.paragraph("p"))])
    script = re.search(r"<script>(.*?)</script>", text, re.S).group(1)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text).group(1)
    assert "default-src 'none'; img-src data:;" in policy
    assert f"script-src 'sha256-{digest}'" in policy
    assert text.count("<script") == 1


def test_contents_lead_to_sections():
    sections = [
        Section("One & two", html.paragraph("p"), [("deep", "Deeper")]),
        Section("Three", html.details("s", html.paragraph("p"), anchor="deep")),
    ]
    text = html.page("t", html.paragraph("lead"), sections)
    targets = set(re.findall(r'href="#([^"]*)"', text))
    assert targets == {"content", "one-two", "three", "deep"}
    assert targets == set(re.findall(r' id="([^"]*)"', text))


def test_sections_of_one_name_are_refused():
    same = [Section("A b", Markup("")), Section("a-B", Markup(""))]
    with pytest.raises(ValueError, match="must differ"):
        html.page("t", Markup(""), same)


def test_a_page_can_always_be_encoded():
    text = html.page("t", html.paragraph("name\udcff.png"), [])
    assert "name?.png" in text
    text.encode("utf-8")
