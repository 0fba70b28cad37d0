"""The house rule: modules import from lower floors only, and `import fcnkeras` is cheap."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fcnkeras

PACKAGE = Path(fcnkeras.__file__).parent
# The rooms by floor. Floor 0 has a part that does without Keras.
FLOORS = {
    "fcnkeras._version": 0,
    "fcnkeras.files": 0,
    "fcnkeras.colour": 0,
    "fcnkeras.checks": 0,
    "fcnkeras.orientation": 0,
    "fcnkeras.placement": 0,
    "fcnkeras.feeders": 0,
    "fcnkeras.images": 0,
    "fcnkeras.loading": 0,
    "fcnkeras.data": 0,
    "fcnkeras.encoding": 0,
    "fcnkeras.buckets": 0,
    "fcnkeras.masking": 0,
    "fcnkeras.crop_windows": 0,
    "fcnkeras.layers": 0,
    "fcnkeras.convert": 0,
    "fcnkeras.export": 1,
    "fcnkeras.models": 1,
    "fcnkeras.tasks": 1,
    "fcnkeras.batching": 1,
    "fcnkeras.augment": 1,
    "fcnkeras.saved": 1,
    "fcnkeras.training": 2,
    "fcnkeras.explain": 2,
    "fcnkeras.scoring": 2,
    "fcnkeras.experiments": 3,
    "fcnkeras.report": 3,
    "fcnkeras.console": 4,
    "fcnkeras.cli": 4,
    "fcnkeras.__main__": 5,
}
WITHOUT_KERAS = (
    "_version",
    "files",
    "colour",
    "checks",
    "orientation",
    "images",
    "placement",
    "feeders",
    "loading",
    "data",
    "encoding",
    "buckets",
)
ROOF = 4
BACKENDS = {"keras", "tensorflow", "jax", "torch", "keras_hub"}


def room_of(module):
    """The key of FLOORS that a module belongs to; None for what is outside the package."""
    parts = module.split(".")
    name = ".".join(parts[:2])
    if parts[0] != "fcnkeras" or len(parts) == 1:
        return None
    assert name in FLOORS, f"{module} has no floor: give {name} one in FLOORS"
    return name


def name_of(path):
    parts = list(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(source, module, is_package=False):
    """Every module that a source imports, at any level and inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")
                keep = len(parents) - node.level + is_package
                base = ".".join([*parents[:keep], *filter(None, [base])])
            found |= {base} | (
                {f"{base}.{alias.name}" for alias in node.names} if base == "fcnkeras" else set()
            )
    return found


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")
GRAPH = {
    name_of(path): imports_of(path.read_text(), name_of(path), path.name == "__init__.py")
    for path in FILES
}


def rooms_imported(module, imported):
    """The other rooms that a module's imports lead to."""
    public = {"fcnkeras.__version__": "fcnkeras._version"}
    names = (public.get(name, name) for name in imported)
    return {room_of(name) for name in names} - {room_of(module), None}


def violation(module, imported):
    """What is wrong with a module's imports, or None."""
    own = room_of(module)
    for room in sorted(rooms_imported(module, imported)):
        if FLOORS[room] > FLOORS[own] or FLOORS[room] >= ROOF > FLOORS[own]:
            return f"{module} (floor {FLOORS[own]}) imports {room} (floor {FLOORS[room]})"
    if own.split(".")[1] in WITHOUT_KERAS:
        heavy = sorted(name for name in imported if name.split(".")[0] in BACKENDS)
        keras_rooms = sorted(
            room
            for room in rooms_imported(module, imported)
            if room.split(".")[1] not in WITHOUT_KERAS
        )
        if heavy or keras_rooms:
            return f"{module} must do without Keras and imports {', '.join(heavy + keras_rooms)}"
    return None


def find_cycle(edges):
    """A cycle among rooms, as a list, or None."""

    def visit(room, path):
        if room in path:
            return [*path[path.index(room) :], room]
        for other in sorted(edges.get(room, ())):
            if found := visit(other, [*path, room]):
                return found
        return None

    return next((cycle for room in sorted(edges) if (cycle := visit(room, []))), None)


@pytest.mark.parametrize("module", GRAPH)
def test_imports_only_from_lower_floors(module):
    assert violation(module, GRAPH[module]) is None


def test_no_cycle_between_rooms():
    edges: dict[str, set[str]] = {}
    for module, imported in GRAPH.items():
        edges.setdefault(room_of(module), set()).update(rooms_imported(module, imported))
    assert find_cycle(edges) is None


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("fcnkeras.convert.plan", "from fcnkeras.models.specs import SPECS"),
        ("fcnkeras.models.fcn", "def f():\n    import fcnkeras.training.finetune"),
        ("fcnkeras.training.finetune", "from ..report import plots"),
        ("fcnkeras.experiments", "from fcnkeras import cli"),
        ("fcnkeras.feeders", "import keras"),
        ("fcnkeras.data.records", "def f():\n    from tensorflow.io import gfile"),
        ("fcnkeras.images", "from fcnkeras.layers import Preprocessing"),
    ],
)
def test_the_rule_finds_violations(module, source):
    assert violation(module, imports_of(source, module)) is not None


def test_the_rule_finds_cycles():
    assert find_cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]
    assert find_cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) is None


def test_private_parts_of_keras_graphs_are_read_in_one_file():
    private = ("_nodes_by_depth", "_functional")
    users = set()
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in private:
                users.add(path.relative_to(PACKAGE).as_posix())
    assert users == {"convert/graph.py"}


def test_import_fcnkeras_loads_no_backend():
    code = (
        "import sys, fcnkeras; dir(fcnkeras); fcnkeras.__version__; fcnkeras.feeders;"
        f"print(sorted({BACKENDS!r} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", fcnkeras.__all__)
def test_every_public_name_resolves(name):
    assert getattr(fcnkeras, name) is not None
    assert name in dir(fcnkeras)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'fcnkeras' has no attribute 'to_rnn'"):
        _ = fcnkeras.to_rnn
