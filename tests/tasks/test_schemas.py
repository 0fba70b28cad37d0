"""Schemas: what is built in, read with the line of every mistake, fitted to data."""

from pathlib import Path

import numpy as np
import pytest

import fcnkeras
from fcnkeras.data import aadb, art, ava
from fcnkeras.data.records import Collection, DataError, Record
from fcnkeras.data.tables import read_table
from fcnkeras.tasks.classes import ClassTask, GroupTask
from fcnkeras.tasks.schema import Schema
from fcnkeras.tasks.schemas import BUILTIN, SchemaError, dump_schema, load_schema, parse_schema
from fcnkeras.tasks.scores import ScoreTask


def collection(rows, classes=(), **vocabularies):
    records = tuple(Record(Path(f"{i}.png"), row) for i, row in enumerate(rows))
    return Collection(records, classes, vocabularies=vocabularies)


PAINTERS = {"artist": ("degas", "manet", "monet"), "period": ("impressionism", "realism")}
PAINTINGS = collection(
    [{"artist": 0, "period": 0}, {"artist": 1, "period": 1}, {"artist": 2, "period": 0}],
    **PAINTERS,
)


@pytest.mark.parametrize("name", BUILTIN)
def test_built_in(name):
    schema = load_schema(name)
    assert schema.name == name
    assert parse_schema(dump_schema(schema)) == schema


def test_every_file_is_named():
    files = Path(fcnkeras.__file__).parent.glob("tasks/builtin/*")
    assert sorted(path.stem for path in files) == sorted(BUILTIN)


def test_the_columns_are_those_of_the_readers():
    assert load_schema("aadb").columns() == aadb.COLUMNS
    assert load_schema("art_composition").columns() == art.COMPOSITION
    (column,) = load_schema("ava_distribution").columns()
    assert column.columns == ava.COUNTS
    assert load_schema("ava_binary")["class"].names == ava.QUALITIES
    artist, period = load_schema("period_artist").columns()
    assert (artist.sources, period.sources) == (("artist",), ("period_or_style",))


def test_a_table_is_read_by_a_schema(tmp_path):
    head = "new_file,variety_texture,variety_shape,variety_size,variety_color,contrast,repetition"
    table = tmp_path / "labels.csv"
    table.write_text(f"{head},pri_color,harmony\na.png,1,2,3,4,5,6,Cyan-Blue,triadic\n")
    schema = load_schema("art_composition")
    paintings = read_table(table, schema.columns(), file="new_file", check=False)
    (record,) = paintings.records
    assert record.targets["contrast"] == 5
    assert record.targets["primary_color"].degrees == 210
    assert record.targets["harmony"] == 5
    assert schema.fitted(paintings) == schema


def test_names_and_groups_from_the_data():
    schema = load_schema("period_artist").fitted(PAINTINGS)
    assert schema["artist"].names == ("degas", "manet", "monet")
    period = schema["period"]
    assert period.names == ("impressionism", "realism")
    assert period.members == (("degas", "monet"), ("manet",))
    assert schema.is_fitted
    assert not load_schema("period_artist").is_fitted
    text = dump_schema(schema)
    assert "impressionism:\n    - degas\n    - monet\n" in text
    assert parse_schema(text) == schema
    assert schema.fitted(PAINTINGS) == schema


def test_an_artist_of_two_periods_in_the_data():
    two = collection([{"artist": 0, "period": 0}, {"artist": 0, "period": 1}], **PAINTERS)
    message = "every artist must belong to one period, degas belongs to impressionism and realism"
    with pytest.raises(DataError, match=message):
        load_schema("period_artist").fitted(two)


def test_class_folders():
    folders = collection([{"class": 0}, {"class": 1}], classes=("cubism", "realism"))
    assert load_schema("classes").fitted(folders)["class"].names == ("cubism", "realism")
    with pytest.raises(ValueError, match=r"must be those of .*, low, high. Received: cubism, real"):
        load_schema("ava_binary").fitted(folders)
    with pytest.raises(ValueError, match=r"target distribution of .*. Received: class"):
        load_schema("ava_distribution").fitted(folders)


MISTAKES = """\
name: mine
tasks:
  - name: a b
    kind: score
  - name: c
    kind: skore
  - name: d
    kind: score
    low: high
  - name: e
    kind: score
    hi: 10
  - name: f
    kind: classes
    names: [1990, b]
  - name: p
    kind: groups
    of: f
    groups:
      x: [m, n]
      y:
        - o
        - n
  - name: l
    kind: labels
    empty_is_none: 1
    columns: k
  - kind: hue
"""


def test_every_mistake_with_its_line(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(MISTAKES)
    with pytest.raises(SchemaError) as caught:
        load_schema(path)
    assert str(caught.value).splitlines() == [
        f"{path}:3: task a b: the name of a task must be a letter, then letters, digits and "
        "underscores. Received: 'a b'",
        f"{path}:6: task c: kind must be one of classes, groups, labels, score, distribution, "
        "hue, got 'skore'",
        f"{path}:9: task d: low must be a number, got 'high'",
        f"{path}:12: task e: a task of kind score has the keys kind, name, weight, low, high, "
        "output, column, got 'hi'",
        f"{path}:15: task f: each of names must be text, write it in quotes: '1990'",
        f"{path}:23: task p: 'n' must belong to one group, got 'x' and 'y'",
        f"{path}:26: task l: empty_is_none must be true or false, got '1'",
        f"{path}:28: a task: a task must have the key 'name', got kind",
    ]


SCORE = "{name: a, kind: score}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "1: a schema must be keys and values, got nothing"),
        ("name: x\ntasks: [", "2: this is no YAML: expected the node content"),
        ("name: \x01", "1: this is no YAML: it holds a character"),
        ("- a", "1: a schema must be keys and values, got a list"),
        ("name: x\ntasks: []", "2: tasks must have a task, got none"),
        ("name: x\ntasks: a", "2: tasks must be a list, got 'a'"),
        ("name: x", "1: a schema must have the key 'tasks', got name"),
        ("name: x\nname: y", "2: every key must be there once, got 'name' twice"),
        (f"name:\ntasks: [{SCORE}]", "1: name must be text, got nothing"),
        (f"name: x\ntasks:\n- {SCORE}\n- {SCORE}", "3: the tasks of .* different names.*: a$"),
        ("name: x\ntasks:\n- 3", "3: a task: a task must be keys and values, got '3'"),
        (
            f"name: x\ntasks:\n- {SCORE}\n- {{name: p, kind: groups, of: a}}",
            "3: p must group a task of classes of schema x. Received: 'a'",
        ),
        (
            "name: x\ntasks: [{name: c, kind: classes, names: [m, n]}, "
            "{name: p, kind: groups, of: c, groups: {q: [m], r: [o]}}]",
            "2: the groups of p must hold the classes of c.* Received: n, it is of none",
        ),
    ],
)
def test_what_is_no_schema(text, message):
    with pytest.raises(SchemaError, match=rf"^schema:{message}"):
        parse_schema(text)


def test_no_such_schema(tmp_path):
    with pytest.raises(SchemaError, match=r"aadb, .*, or a YAML file. Received: avaa \(No such"):
        load_schema("avaa")
    (tmp_path / "latin.yaml").write_bytes("name: é".encode("latin-1"))
    with pytest.raises(SchemaError, match="not UTF-8"):
        load_schema(tmp_path / "latin.yaml")


def test_results_must_have_names_of_their_own():
    tasks = ClassTask("a", names=("b", "c")), ScoreTask("a_b")
    with pytest.raises(ValueError, match=r"results of a schema .* Received: a_b"):
        Schema("mine", tasks)


def test_results_and_figures_of_all_tasks():
    artist = ClassTask("artist", names=PAINTERS["artist"])
    members = (("degas", "monet"), ("manet",))
    period = GroupTask("period", names=PAINTERS["period"], of="artist", members=members)
    schema = Schema("mine", (artist, period, ScoreTask("contrast")))
    outputs = {
        "artist": np.array([[0.3, 0.4, 0.3], [0.6, 0.2, 0.2]]),
        "period": np.array([[0.6, 0.4], [0.8, 0.2]]),
        "contrast": np.array([[0.25], [0.5]]),
    }
    results = schema.results(outputs)
    assert list(results) == [
        *("artist", "artist_degas", "artist_manet", "artist_monet"),
        *("period", "period_impressionism", "period_realism", "contrast"),
    ]
    # The artist that is likeliest is not of the period that is likeliest.
    assert (results["artist"][0], results["period"][0]) == ("manet", "impressionism")
    values = {"artist": np.array([1, 0]), "period": np.array([0, 0]), "contrast": np.zeros(2)}
    known = {"artist": [True, True], "period": [False, True], "contrast": [False, False]}
    figures = schema.evaluate(values, outputs, known)
    assert figures["artist"]["accuracy"] == 1
    assert figures["period"]["records"] == 1
    assert figures["contrast"] == {"records": 0}
    assert schema.evaluate(values, outputs)["contrast"]["mae"] == 0.375
    with pytest.raises(KeyError, match="no task 'hue' in schema mine: artist, period, contrast"):
        schema["hue"]
