"""The installer killed at every change that it makes: the next install or uninstall completes."""

import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fake_keras import REPO, compile_tree, is_installed, make_site, run_python, snapshot

from extensions.keras_extension import install_extension, uninstall_extension

# Runs argv[2] on Keras' folder argv[3] and dies by SIGKILL at the argv[4]-th change of a file or
# folder there: before it, or, where a file is opened to be written, also right after that.
KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from extensions import keras_extension as ext
action, keras_dir, k = sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
site, changes = str(keras_dir.parent), 0
def watch(event, args):
    global changes
    changing = "open os.rename os.remove os.mkdir os.rmdir os.utime os.chmod"
    if event not in changing.split() or not str(args[0]).startswith(site):
        return
    if event == "open" and not (isinstance(args[1], str) and set(args[1]) & set("wax+")):
        return
    changes += 1
    if changes == k:
        os.kill(os.getpid(), signal.SIGKILL)
    if event == "open":
        changes += 1
        if changes == k:
            os.close(os.open(args[0], os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
getattr(ext, action)(keras_dir)
"""


def run_killed(action: str, keras_dir: Path, k: int) -> bool:
    """Run install_extension or uninstall_extension, killed at its k-th change; True: killed."""
    command = [sys.executable, "-S", "-c", KILLED, str(REPO), action, str(keras_dir), str(k)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


@pytest.mark.parametrize("start", ["clean", "installed"])
def test_killed_at_every_change_then_completed(tmp_path: Path, start: str) -> None:
    """Whichever of the two was killed, before whichever change, both commands then complete."""
    action = "install_extension" if start == "clean" else "uninstall_extension"
    make_site(tmp_path / "site")
    before = snapshot(tmp_path / "site" / "keras")
    if start == "installed":
        install_extension(tmp_path / "site" / "keras")
        compile_tree(tmp_path / "site" / "keras")
    k, killed, left_halfway = 0, True, 0
    while killed:
        k += 1
        work = tmp_path / str(k)
        shutil.copytree(tmp_path / "site", work)
        keras_dir = work / "keras"
        killed = run_killed(action, keras_dir, k)
        left_halfway += snapshot(keras_dir) != before and not is_installed(keras_dir)
        if k // 2 % 2:  # the half-changed Keras can be imported, and its compiled files change
            run_python(work, "import keras")
            compile_tree(keras_dir)
        if k % 2:  # one half goes straight out, the other by way of a completed install
            install_extension(keras_dir)
            assert is_installed(keras_dir), k
            compile_tree(keras_dir)
        uninstall_extension(keras_dir)
        assert snapshot(keras_dir) == before, k
    assert k > 20  # about two changes a file: the kill did strike each of them
    assert left_halfway > 20  # and what it left was indeed neither the one state nor the other


def test_killed_again_and_again(tmp_path: Path) -> None:
    keras_dir = make_site(tmp_path)
    before, rng = snapshot(keras_dir), random.Random(7)
    for _ in range(40):
        action = rng.choice(["install_extension", "uninstall_extension"])
        run_killed(action, keras_dir, rng.randint(1, 60))
        if rng.random() < 0.3:
            compile_tree(keras_dir)
    install_extension(keras_dir)
    assert is_installed(keras_dir)
    uninstall_extension(keras_dir)
    assert snapshot(keras_dir) == before
