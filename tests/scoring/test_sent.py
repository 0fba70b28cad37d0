"""Scorers of real networks that go to other processes: by themselves, and on a cluster."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from test_scorer import attributes, classifier, needs_openvino, pictures  # noqa: F401 - a fixture

from fcnkeras import to_fcn
from fcnkeras.scoring import score_ray
from fcnkeras.scoring.listing import list_pictures
from fcnkeras.scoring.runner import score_list
from fcnkeras.scoring.scorer import load_model
from fcnkeras.scoring.store import Store

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
ENGINES = ["keras", pytest.param("openvino", marks=needs_openvino)]
MODELS = {
    "classifier": lambda: classifier(size=(48, 40)),
    "fcn": lambda: to_fcn(classifier(), pooling="max"),
    "tasks": attributes,
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("kind", "feeder", "preprocessing"),
    [
        ("classifier", "squash", "caffe"),
        ("fcn", "multicrop", None),
        ("tasks", "native", None),
        ("tasks", "pad", "torch"),
    ],
)
def test_a_copy_scores_the_same(pictures, tmp_path, kind, feeder, preprocessing, engine):  # noqa: F811
    path = tmp_path / "m.keras"
    MODELS[kind]().save(path)
    scorer = load_model(path, feeder=feeder, preprocessing=preprocessing, engine=engine)
    sent = pickle.dumps(scorer)
    path.unlink()
    copy = pickle.loads(pickle.dumps(pickle.loads(sent)))
    assert (copy.columns, copy.settings) == (scorer.columns, scorer.settings)
    assert (copy.engine.name, copy.least, copy.model) == (engine, scorer.least, None)
    for each in pictures:
        assert copy.score(each) == scorer.score(each)


@needs_openvino
def test_openvino_takes_as_many_threads_as_it_may(tmp_path, monkeypatch):
    path = tmp_path / "m.keras"
    classifier().save(path)
    for threads in (1, 2):
        monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
        engine = load_model(path, engine="openvino").engine
        (compiled,) = engine._compiled.values()
        assert compiled.get_property("INFERENCE_NUM_THREADS") == threads


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_a_network_on_a_cluster(tmp_path, monkeypatch, engine):
    """The rows of one machine, on 500 pictures with 2 workers, of which one is killed."""
    pytest.importorskip("ray")
    from test_ray import ROOT, Killer

    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(500):
        path = folder / f"{number:03}.jpg"
        size = [(64, 48), (48, 64), (90, 60)][number % 7 % 3]
        blocks = rng.integers(0, 256, (5, 7, 3), "uint8")
        Image.fromarray(blocks).resize(size).save(path)
        if number % 20 == 3:
            path.write_bytes([b"", b"no picture", path.read_bytes()[:300]][number % 3])
        elif number % 25 == 24:
            path.write_bytes((folder / f"{number - 24:03}.jpg").read_bytes())
    attributes().save(tmp_path / "m.keras")
    scorer = load_model(tmp_path / "m.keras", engine=engine)
    found = {}
    kill = Killer()
    for name, call, options in (
        ("one", score_list, {}),
        ("cluster", score_ray, {"workers": 2, "tell": kill}),
    ):
        with Store(tmp_path / name, scorer.settings) as store:
            call(scorer, store, store.set_list(list_pictures([folder])), **options)
            found[name] = list(store.rows())
    assert kill.left >= 300
    assert len(found["one"]) == 500
    assert sum(row.error is not None for row in found["one"]) == 25
    assert len({row.values for row in found["one"]}) >= 450
    for one, other in zip(found["one"], found["cluster"], strict=True):
        assert (other.path, other.size, other.error) == (one.path, one.size, one.error)
        for value, same in zip(one.values or (), other.values or (), strict=True):
            assert same == (pytest.approx(value, rel=1e-6) if isinstance(value, float) else value)
    exact = sum(a == b for a, b in zip(found["one"], found["cluster"], strict=True))
    print(f"{engine}: {exact} of 500 rows are equal to the last digit")


@pytest.mark.slow
def test_the_command(pictures, tmp_path, monkeypatch):  # noqa: F811
    pytest.importorskip("ray")
    from test_ray import ROOT

    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    classifier().save(tmp_path / "m.keras")
    command = [sys.executable, "-m", "fcnkeras", "score", f"file://{pictures[0].parent}"]
    for engine in (["auto"], ["ray", "--workers", "2", "--threads", "1"]):
        table = tmp_path / f"{engine[0]}.csv"
        options = ["--model", tmp_path / "m.keras", "--out", table, "--engine", *engine]
        subprocess.run([*command, *options], check=True, capture_output=True)
    assert len((tmp_path / "ray.csv").read_text().splitlines()) == 1 + len(pictures)
    assert (tmp_path / "ray.csv").read_bytes() == (tmp_path / "auto.csv").read_bytes()
