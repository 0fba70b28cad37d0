"""The extension in Keras' folder: put in, taken out without a trace, whatever came between."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fake_keras import (
    ADDED,
    EDITED,
    KERAS,
    NAMES,
    REPO,
    compile_tree,
    copy_of_real_keras,
    is_installed,
    make_site,
    run_python,
    snapshot,
    write_tree,
)
from PIL import Image

from extensions import keras_extension as ext
from extensions.keras_extension import SetupError, install_extension, uninstall_extension


@pytest.fixture
def keras_dir(tmp_path: Path) -> Path:
    return make_site(tmp_path)


def test_install_adds_the_names_and_uninstall_leaves_no_trace(keras_dir: Path) -> None:
    site, before = keras_dir.parent, snapshot(keras_dir)
    install_extension(keras_dir)
    assert is_installed(keras_dir)
    for module, name in NAMES.items():
        made = f"{(name, {'classes': 2})}"
        assert (
            run_python(site, f"import keras; print(keras.applications.{name}(classes=2))") == made
        )
        code = f"import keras; print(keras.applications.{module}.{name}(classes=2))"
        assert run_python(site, code) == made
        code = f"from keras.applications.{module} import {name} as f; print(f(classes=2))"
        assert run_python(site, code) == made
    assert snapshot(keras_dir) != before
    uninstall_extension(keras_dir)
    assert snapshot(keras_dir) == before


def test_load_img_obeys_the_type(keras_dir: Path) -> None:
    site = keras_dir.parent
    code = "from keras.preprocessing import image as i\n{}print(i.load_img('a'))"
    assert run_python(site, code.format("")) == "old a"
    install_extension(keras_dir)
    assert run_python(site, code.format("")) == "('a', None, 0)"
    assert run_python(site, code.format("i.set_load_img_type(3)\n")) == "('a', None, 3)"
    code = "import keras; print(keras.preprocessing.image.load_img('a', target_size=(None, 500)))"
    assert run_python(site, code) == "('a', (None, 500), 0)"


def test_importing_keras_does_not_import_fcnkeras(keras_dir: Path) -> None:
    install_extension(keras_dir)
    code = "import keras, sys; dir(keras.applications); print('fcnkeras' in sys.modules)"
    assert run_python(keras_dir.parent, code) == "False"
    code = "import keras, sys; keras.applications.VGG16_fcn; print('fcnkeras' in sys.modules)"
    assert run_python(keras_dir.parent, code) == "True"


def test_either_package_may_be_imported_first(keras_dir: Path) -> None:
    install_extension(keras_dir)
    code = "import {}\nfrom keras.applications import VGG16_fcn\nprint(VGG16_fcn()[0])"
    for first in ("fcnkeras", "keras", "keras.applications.vgg16_fcn"):
        assert run_python(keras_dir.parent, code.format(first)) == "VGG16_fcn"


def test_unknown_names_are_refused_and_known_ones_are_listed(keras_dir: Path) -> None:
    install_extension(keras_dir)
    code = "import keras.applications as a\ntry: a.VGG17_fcn\nexcept AttributeError as e: print(e)"
    message = "module 'keras.applications' has no attribute 'VGG17_fcn'"
    assert run_python(keras_dir.parent, code) == message
    listed = run_python(keras_dir.parent, "import keras; print(*dir(keras.applications))").split()
    assert {*NAMES, *NAMES.values(), "VGG16", "vgg16"} <= set(listed)


def test_a_getattr_that_keras_already_has_is_still_asked(tmp_path: Path) -> None:
    own = "def __getattr__(name):\n    return 'lazy ' + name\ndef __dir__():\n    return ['lazy']\n"
    write_tree(tmp_path / "fcnkeras", {"__init__.py": "def VGG16_fcn(): return 1\n"})
    write_tree(tmp_path / "keras", {**KERAS, "applications/__init__.py": own})
    install_extension(tmp_path / "keras")
    code = "import keras.applications as a; print(a.VGG16_fcn(), a.other, 'lazy' in dir(a))"
    assert run_python(tmp_path, code) == "1 lazy other True"


def test_install_twice_is_once(keras_dir: Path) -> None:
    before = snapshot(keras_dir)
    install_extension(keras_dir)
    once = snapshot(keras_dir)
    assert "already" in install_extension(keras_dir)[0]
    assert snapshot(keras_dir) == once
    uninstall_extension(keras_dir)
    assert "not in" in uninstall_extension(keras_dir)[0]
    assert snapshot(keras_dir) == before


def test_compiled_files_of_other_pythons_come_back_too(keras_dir: Path) -> None:
    other = keras_dir / "applications" / "__pycache__" / "__init__.cpython-399.opt-1.pyc"
    other.write_bytes(b"another Python's")
    os.utime(other, (1_500_000_000, 1_500_000_000))
    before = snapshot(keras_dir)
    install_extension(keras_dir)
    assert not other.exists()  # one that is never checked against its source would hide the block
    compile_tree(keras_dir)
    uninstall_extension(keras_dir)
    assert snapshot(keras_dir) == before


def test_modes_come_back_and_a_deleted_cache_folder_too(keras_dir: Path) -> None:
    (keras_dir / EDITED[0]).chmod(0o640)
    next((keras_dir / "applications/__pycache__").glob("__init__.*")).chmod(0o600)
    before = snapshot(keras_dir)
    install_extension(keras_dir)
    assert (keras_dir / EDITED[0]).stat().st_mode & 0o777 == 0o640
    shutil.rmtree(keras_dir / "applications/__pycache__")
    uninstall_extension(keras_dir)
    assert snapshot(keras_dir) == before


def test_a_keras_without_compiled_files_is_left_without(tmp_path: Path) -> None:
    keras_dir = make_site(tmp_path, compiled=False)
    before = snapshot(keras_dir)
    install_extension(keras_dir)
    for folder in ("applications", "preprocessing/image"):
        for source in (keras_dir / folder).glob("*.py"):
            run_python(tmp_path, f"import py_compile; py_compile.compile({str(source)!r})")
    assert list((keras_dir / "applications/__pycache__").iterdir())
    uninstall_extension(keras_dir)
    assert snapshot(keras_dir) == before


def test_an_edit_outside_the_block_is_kept(keras_dir: Path) -> None:
    install_extension(keras_dir)
    file = keras_dir / "applications/__init__.py"
    original = KERAS["applications/__init__.py"]
    file.write_text("# mine\n" + file.read_text() + "MINE = 1\n")
    compile_tree(keras_dir)
    code, lines = ext.extension_status(keras_dir)
    assert code == ext.CHANGED
    assert "  ! keras/applications/__init__.py was changed outside the extension's block" in lines
    assert any("outside" in line for line in install_extension(keras_dir))  # said, and left alone
    assert any("outside" in line for line in uninstall_extension(keras_dir))
    assert not original.endswith("\n")
    assert file.read_text() == "# mine\n" + original + "\nMINE = 1\n"
    assert not list((keras_dir / "applications/__pycache__").glob("__init__.*.pyc"))
    assert run_python(keras_dir.parent, "import keras; print(keras.applications.MINE)") == "1"


@pytest.mark.parametrize("where", ["an added file", "a block"])
def test_a_changed_part_of_the_extension_needs_force(keras_dir: Path, where: str) -> None:
    before = snapshot(keras_dir)
    install_extension(keras_dir)
    file = keras_dir / (ADDED[0] if where == "an added file" else EDITED[0])
    file.write_text(file.read_text().replace("fcnkeras", "fcnkeras_of_mine"))
    if where == "a block":  # the marks hold the word too
        file.write_text(file.read_text().replace("fcnkeras_of_mine ext", "fcnkeras ext"))
    changed = snapshot(keras_dir)
    assert ext.extension_status(keras_dir)[0] == ext.CHANGED
    for act in (install_extension, uninstall_extension):
        with pytest.raises(SetupError, match=r"changed|not the file.*--force") as refused:
            act(keras_dir)
        assert refused.value.code == ext.CHANGED
        assert snapshot(keras_dir) == changed
    install_extension(keras_dir, force=True)
    assert is_installed(keras_dir)
    file.write_text(file.read_text() + "# again\n" if where == "an added file" else "")
    uninstall_extension(keras_dir, force=True)
    if where == "an added file":
        assert snapshot(keras_dir) == before


def test_a_block_with_one_mark_is_never_guessed_at(keras_dir: Path) -> None:
    install_extension(keras_dir)
    file = keras_dir / EDITED[0]
    file.write_text(file.read_text().replace(ext.END, ""))
    torn = snapshot(keras_dir)
    with pytest.raises(SetupError, match="One of the two marks"):
        uninstall_extension(keras_dir, force=True)
    assert snapshot(keras_dir) == torn


def upgrade(keras_dir: Path) -> None:
    """What pip does: deletes the files it knows, writes the new ones, leaves what it never saw."""
    for rel in KERAS:
        source = keras_dir / rel
        for path in (source, *ext.compiled_files(source)):
            path.unlink(missing_ok=True)
    newer = {**KERAS, "src/version.py": '__version__ = "3.16.0"\n'}
    newer["applications/__init__.py"] = "VGG16 = 'newer'\n"
    newer["preprocessing/image/__init__.py"] = KERAS["preprocessing/image/__init__.py"]  # same
    write_tree(keras_dir, newer)
    for rel in newer:
        os.utime(keras_dir / rel, (1_700_000_000, 1_700_000_000))
    compile_tree(keras_dir)


@pytest.mark.parametrize("again", [False, True], ids=["uninstall", "install first"])
def test_an_upgraded_keras_is_reported_and_never_overwritten(tmp_path: Path, again: bool) -> None:
    keras_dir = make_site(tmp_path)
    install_extension(keras_dir)
    compile_tree(keras_dir)
    upgrade(keras_dir)
    ours = ("_fcn", ext.MANIFEST)
    upgraded = {n: what for n, what in snapshot(keras_dir).items() if not any(o in n for o in ours)}
    assert len(upgraded) < len(snapshot(keras_dir))
    code, lines = ext.extension_status(keras_dir)
    assert code == ext.CHANGED
    assert "  ! Keras was 3.15.1 at the installation and is 3.16.0 now" in lines
    if again:
        assert any("3.16.0 now" in line for line in install_extension(keras_dir))
        assert is_installed(keras_dir)
        compile_tree(keras_dir)
    uninstall_extension(keras_dir)
    assert snapshot(keras_dir) == upgraded


def test_a_removed_keras_leaves_nothing_behind(keras_dir: Path) -> None:
    install_extension(keras_dir)
    compile_tree(keras_dir)
    for rel in KERAS:  # as pip uninstall does
        for path in (keras_dir / rel, *ext.compiled_files(keras_dir / rel)):
            path.unlink(missing_ok=True)
    with pytest.raises(SetupError, match="No Keras was found"):
        install_extension(keras_dir)
    uninstall_extension(keras_dir)
    assert not list(keras_dir.rglob("*.py*"))
    assert not (keras_dir.parent / ext.MANIFEST).exists()


def test_a_lost_manifest_is_reported_and_does_not_stop_uninstall(keras_dir: Path) -> None:
    sources = {rel: (keras_dir / rel).read_bytes() for rel in KERAS}
    install_extension(keras_dir)
    (keras_dir.parent / ext.MANIFEST).unlink()
    assert ext.extension_status(keras_dir)[0] == ext.CHANGED
    install_extension(keras_dir)
    assert is_installed(keras_dir)
    (keras_dir.parent / ext.MANIFEST).write_text("[]")
    with pytest.raises(SetupError, match="is not the manifest"):
        uninstall_extension(keras_dir)
    (keras_dir.parent / ext.MANIFEST).unlink()
    assert any("manifest was lost" in line for line in uninstall_extension(keras_dir))
    assert {rel: (keras_dir / rel).read_bytes() for rel in KERAS} == sources
    assert not any((keras_dir / rel).exists() for rel in ADDED)


def test_a_file_of_keras_with_our_name_is_not_overwritten(keras_dir: Path) -> None:
    (keras_dir / ADDED[0]).write_text("# Keras' own\n")
    before = snapshot(keras_dir)
    with pytest.raises(SetupError, match=r"keras/applications/vgg16_fcn.py is not the file"):
        install_extension(keras_dir)
    assert snapshot(keras_dir) == before


def test_another_version_of_the_extension_replaces_this_one(
    keras_dir: Path, tmp_path: Path
) -> None:
    before = snapshot(keras_dir)
    sources = tmp_path / "fcnkeras" / "sources"  # snapshot() leaves fcnkeras out
    shutil.copytree(ext.SOURCES, sources)
    (sources / ADDED[0]).unlink()
    (sources / "applications/other_fcn.py").write_text("")
    (sources / "applications" / ext.APPEND).write_text("OTHER = 1\n")
    install_extension(keras_dir, sources)
    code, lines = ext.extension_status(keras_dir)
    assert code == ext.CHANGED
    assert any("install renews it" in line for line in lines)
    install_extension(keras_dir)
    assert is_installed(keras_dir)
    assert not (keras_dir / "applications/other_fcn.py").exists()
    install_extension(keras_dir, sources)
    uninstall_extension(keras_dir)  # with other sources than it was installed from
    assert snapshot(keras_dir) == before


def test_without_permission_nothing_changes(
    keras_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, closed = snapshot(keras_dir), keras_dir / "preprocessing" / "image"
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != closed)
    with pytest.raises(SetupError, match=f"No permission to write in {closed}; nothing was") as no:
        install_extension(keras_dir)
    assert no.value.code == ext.FAILED
    assert snapshot(keras_dir) == before
    assert "not in" in uninstall_extension(keras_dir)[0]  # nothing to do needs no permission


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere"
)
def test_in_a_read_only_folder_nothing_changes(keras_dir: Path) -> None:
    closed, before = keras_dir / "applications", snapshot(keras_dir)
    mode = closed.stat().st_mode
    closed.chmod(0o555)
    try:
        with pytest.raises(SetupError, match="No permission to write"):
            install_extension(keras_dir)
    finally:
        closed.chmod(mode)
    assert snapshot(keras_dir) == before


def test_a_symbolic_link_into_a_shared_store_is_refused(keras_dir: Path, tmp_path: Path) -> None:
    file, stored = keras_dir / EDITED[0], tmp_path / "fcnkeras" / "stored.py"
    file.rename(stored)
    file.symlink_to(stored)
    before = snapshot(keras_dir)
    with pytest.raises(SetupError, match="symbolic link"):
        install_extension(keras_dir)
    assert snapshot(keras_dir) == before


def test_a_hard_link_into_a_store_is_not_written_through(keras_dir: Path, tmp_path: Path) -> None:
    stored = tmp_path / "fcnkeras" / "stored.py"
    os.link(keras_dir / EDITED[0], stored)
    install_extension(keras_dir)
    assert stored.read_text() == KERAS[EDITED[0]]


def test_too_old_a_keras_is_refused(keras_dir: Path) -> None:
    shutil.rmtree(keras_dir / "preprocessing/image")
    with pytest.raises(SetupError, match=r"3\.15\.1 has no preprocessing/image/__init__\.py"):
        install_extension(keras_dir)


def test_the_manifest_is_beside_keras_and_tells_hashes(keras_dir: Path) -> None:
    install_extension(keras_dir)
    manifest = json.loads((keras_dir.parent / "fcnkeras_extension.json").read_text())
    assert manifest["keras"] == "3.15.1"
    assert sorted(manifest["added"]) == sorted(ADDED)
    assert sorted(manifest["edited"]) == sorted(EDITED)
    assert all(len(value) == 64 for value in manifest["added"].values())


def test_the_edited_files_of_the_real_keras_come_back(tmp_path: Path) -> None:
    keras_dir = copy_of_real_keras(tmp_path, ["__init__.py", "src/version.py", *EDITED])
    before = snapshot(keras_dir)
    install_extension(keras_dir)
    compile_tree(keras_dir / "applications")
    compile_tree(keras_dir / "preprocessing")
    compile((keras_dir / EDITED[0]).read_bytes(), "the edited file", "exec")
    uninstall_extension(keras_dir)
    assert snapshot(keras_dir) == before


@pytest.mark.slow
def test_the_real_keras_builds_a_network_and_is_left_as_it_was(tmp_path: Path) -> None:
    keras_dir = copy_of_real_keras(tmp_path)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(REPO)])}
    env["TF_CPP_MIN_LOG_LEVEL"] = "3"

    def python(code: str) -> str:
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, env=env, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    assert python("import keras; print(keras.__file__)") == str(keras_dir / "__init__.py")
    Image.new("RGB", (800, 400), "red").save(tmp_path / "picture.png")
    before = snapshot(keras_dir)  # after the import: whatever it compiled is not ours
    install_extension(keras_dir)
    build = "import keras, sys; m = 'fcnkeras' in sys.modules; "
    build += "model = keras.applications.VGG16_fcn(weights=None, classes=2); "
    assert python(build + "print(m, model.input_shape)") == "False (None, None, None, 3)"
    code = "from keras.applications import {0}; from keras.applications.{1} import {0} as f; "
    code = "".join(
        code.format(name, module) + f"assert f is {name}; " for module, name in NAMES.items()
    )
    picture = "keras.preprocessing.image.load_img('picture.png', "
    code += "import keras; keras.preprocessing.image.set_load_img_type(0); "
    code += f"print({picture} target_size=(None, 500)).size)"
    assert python(code) == "(500, 250)"
    uninstall_extension(keras_dir)
    assert snapshot(keras_dir) == before
