"""The page of a training or an evaluation, from a folder made by hand."""

import json
from pathlib import Path

import pytest
from pages import Reader, look_at, write_csv
from PIL import Image

from fcnkeras.report import write_training_report

ODD = 'a<b & "c"'  # a class name that must be escaped wherever it stands
PER_CLASS = [
    {"class": "plain", "records": 10, "recall": 0.9},
    {"class": ODD, "records": 8, "recall": 0.75},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    out = tmp_path / "run"
    out.mkdir()
    picture = tmp_path / "wide picture.png"
    Image.new("RGB", (300, 100), (200, 40, 40)).save(picture)
    style = {"records": 18, "accuracy": 15 / 18, "accuracy_interval": [0.608, 0.942]}
    style |= {"per_class": PER_CLASS, "confusion": [[9, 1], [2, 6]]}
    figures = {"style": style, "mood": {"records": 18, "srcc": None, "rmse": 0.25}}
    (out / "evaluation.json").write_text(json.dumps(figures))
    settings = {"title": "Styles <demo>", "levels": ["a", "b"], "flip": True, "pooling": None}
    settings |= {"recipe": {"patience": 3}, "schema": {"style": "told in schema.yaml"}}
    (out / "settings.json").write_text(json.dumps(settings))
    (out / "result.json").write_text(json.dumps({"best_epoch": 2}))
    write_csv(
        out / "history.csv",
        ["epoch", "loss", "val_loss", "learning_rate", "seconds", "stage"],
        [(0, 0.9, 0.8, 0.01, 3, 0), (1, 0.6, 0.7, 0.01, 3, 0), (2, 0.5, 0.75, 0.001, 3, 1)],
    )
    columns = ["task", "file", "label", "answer", "error"]
    rows = [("style", picture, "plain", ODD, 0.9), ("style", "gone/x.png", ODD, "plain", 0.8)]
    write_csv(out / "errors.csv", columns, [*rows, ("mood", picture, 0.2, 0.9, 0.7)])
    write_csv(out / "rejected.csv", ["part", "file", "reason"], [("test", "bad.jpg", "empty")])
    return out


def read(folder: Path) -> str:
    path = write_training_report(folder)
    assert path == folder / "report.html"
    return path.read_text(encoding="utf-8")


def test_what_the_page_says(folder: Path) -> None:
    page = read(folder)
    text = Reader(page).text
    for told in (
        "Styles <demo>",
        "style: accuracy 0.833, on 18 pictures.",
        "mood: rmse 0.250, on 18 pictures.",
        "0.608–0.942",
        f"{ODD} 8 0.750",
        "levels a, b",
        "flip yes",
        "pooling –",
        "patience 3",
        f"labelled plain, answered {ODD}",
        "gone/x.png",
        "mood: the 1 worst",
        "1 picture could not be read and took no part: File Reason bad.jpg empty",
        "Learning rate from 0.01 to 0.001",
        "2 0.6 0.7 0.01",
    ):
        assert told in text
    assert "told in schema.yaml" not in text
    assert page.count("picture not found") == 1
    assert "Confusion matrix of style" in page
    assert "Confusion matrix of mood" not in page


def test_an_evaluation_has_no_history_and_no_settings(folder: Path) -> None:
    for name in ("settings.json", "history.csv", "errors.csv", "rejected.csv"):
        (folder / name).unlink()
    (folder / "result.json").write_text(json.dumps({"title": "styles: model.keras on photos"}))
    text = Reader(read(folder)).text
    assert "styles: model.keras on photos" in text
    assert "No test picture was answered wrongly." in text
    assert "Every picture could be read." in text
    for absent in ("Settings", "epoch by epoch"):
        assert absent not in text


def test_what_cannot_be_used_is_named(folder: Path) -> None:
    (folder / "rejected.csv").write_text("part,file\ntest,x.jpg\n")
    with pytest.raises(ValueError, match=r"rejected\.csv cannot be used: the column reason is mis"):
        write_training_report(folder)
    (folder / "evaluation.json").write_text('{"style": ')
    with pytest.raises(ValueError, match=r"evaluation\.json cannot be used"):
        write_training_report(folder)
    (folder / "evaluation.json").unlink()
    with pytest.raises(ValueError, match=r"must hold an evaluation\.json"):
        write_training_report(folder)


@pytest.mark.parametrize("width", [1280, 500])
def test_in_a_browser(folder: Path, tmp_path: Path, width: int) -> None:
    script = """
        document.querySelector('a[href="#worst-errors"]').click();
        return [document.images.length, document.querySelectorAll("svg").length];
    """
    assert look_at(read(folder), tmp_path, width, script) == "2,2"
