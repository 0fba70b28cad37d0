"""`fcnkeras explain`: rows, files, a page, and one sentence for every mistake."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image
from squares import bright, square
from test_cli import assert_one_sentence, call

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "bright.keras"
    bright(keras.Input((64, 64, 3))).save(path)
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "sub").mkdir(parents=True)
    Image.fromarray(square(90, 140)[0]).save(folder / "wide.png")
    Image.fromarray(square(140, 90)[0]).save(folder / "sub" / "wide.png")
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_a_folder(model: Path, pictures: Path, tmp_path: Path) -> None:
    out, names = tmp_path / "out", tmp_path / "names.txt"
    names.write_text("dark\nbright\n")
    result = call(
        *("explain", pictures, "--model", model, "--out", out, "--names", names),
        *("--method", "saliency,cam", "--target", "bright"),
    )
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert result.stdout.count("bright") == 4 + 1  # the model's name is another
    for name, size in (("wide.png", (90, 140)), ("sub/wide.png", (140, 90))):
        for method in ("saliency", "cam"):
            assert np.load(out / f"{name}.{method}.npy").shape == size
            with Image.open(out / f"{name}.{method}.png") as figure:
                assert figure.width > figure.height / 2
    with (out / "explanations.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["picture"], row["method"]) for row in rows] == [
        ("sub/wide.png", "saliency"),
        ("sub/wide.png", "cam"),
        ("wide.png", "saliency"),
        ("wide.png", "cam"),
    ]
    assert 0.5 < float(rows[0]["output"]) < 1
    assert float(rows[1]["completeness"]) < 1e-4
    page = (out / "index.html").read_text()
    assert page.count('type="range"') == 4
    assert page.count("data:image/jpeg;base64,") == 8
    assert "http" not in page.replace("http-equiv", "")


def test_json_and_checks(model: Path, pictures: Path, tmp_path: Path) -> None:
    result = call(
        *("explain", pictures / "wide.png", "--model", model, "--out", tmp_path / "out"),
        *("--method", "grad-cam", "--json", "--check", "--feeder", "multicrop", "--target", "1"),
    )
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    (row,), (found,) = told["rows"], told["checks"]
    assert (row["picture"], row["target"], row["error"]) == ("wide.png", "class 1", None)
    assert set(found["correlations"]) == {"top", "all"}
    assert found["deletion"] < found["random_deletion"]


def test_a_class_map_of_a_model_made_fully_convolutional(
    model: Path, pictures: Path, tmp_path: Path
) -> None:
    given: tuple[Any, ...] = ("explain", pictures / "wide.png", "--model", model)
    given = (*given, "--out", tmp_path / "out", "--method", "class-map")
    assert_one_sentence(call(*given), "A class map needs a model that pools a map of scores")
    result = call(*given, "--pooling", "max", "--window", "point", "--json", "--target", "1")
    (row,) = json.loads(result.stdout)["rows"]
    _, (top, left, bottom, right) = square(90, 140)
    assert top <= row["decided"][0] <= bottom
    assert left <= row["decided"][1] <= right


def test_a_broken_picture_is_a_row(model: Path, pictures: Path, tmp_path: Path) -> None:
    (pictures / "broken.jpg").write_bytes(b"no picture")
    result = call("explain", pictures, "--model", model, "--out", tmp_path / "out", "--json")
    assert result.exit_code == 3
    rows = {row["picture"]: row["error"] for row in json.loads(result.stdout)["rows"]}
    assert rows["wide.png"] is rows["sub/wide.png"] is None
    assert "not a picture" in rows["broken.jpg"] or rows["broken.jpg"]
    assert "1 picture(s) could not be read." in result.stderr
    assert "broken.jpg" in (tmp_path / "out" / "index.html").read_text()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--method", "magic"], "--method must be of saliency"),
        (["--target", "cat"], "A target must be top, mean"),
        (["--method", "grad-cam", "--layer", "conv9"], "`layer` must name a layer of 'bright'"),
        (["--feeder", "bend"], "the feeder must be one of"),
        (["--size", "99"], "takes pictures of 64x64 only"),
        (["--classes", "3"], "--classes goes with --network"),
    ],
)
def test_mistakes(
    model: Path, pictures: Path, tmp_path: Path, options: list[str], sentence: str
) -> None:
    result = call("explain", pictures, "--model", model, "--out", tmp_path / "out", *options)
    assert_one_sentence(result, sentence)


def test_what_is_missing(model: Path, tmp_path: Path) -> None:
    assert_one_sentence(call("explain", tmp_path / "no", "--model", model), "No such picture")
    assert_one_sentence(call("explain", tmp_path, "--model", model), "must hold pictures")
    Image.new("RGB", (70, 80)).save(tmp_path / "a.png")
    assert_one_sentence(call("explain", tmp_path), "Say what is explained")
    missing = call("explain", tmp_path, "--model", tmp_path / "no.keras")
    assert_one_sentence(missing, "No such model file")
    (tmp_path / "names.txt").write_text("one\ntwo\nthree\n")
    given = ("--out", tmp_path / "out", "--names", tmp_path / "names.txt")
    assert_one_sentence(call("explain", tmp_path, "--model", model, *given), "must tell 2 classes")
