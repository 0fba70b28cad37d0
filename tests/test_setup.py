"""FCN_setup.py as a program: its commands, exit codes, pip, and interpreters that are not ours."""

import importlib.util
import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from fake_keras import REPO, make_site, snapshot

import FCN_setup

Calls = list[list[str]]


def add_distribution(
    site: Path, version: str = "0.1.0", editable: bool = True, url: str | None = None
) -> None:
    """What pip writes about an installed fcnkeras."""
    info = site / f"fcnkeras-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: fcnkeras\nVersion: {version}\n")
    origin = {"url": url or REPO.as_uri(), "dir_info": {"editable": editable}}
    (info / "direct_url.json").write_text(json.dumps(origin))


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with a Keras that must not be imported, and this checkout's fcnkeras."""
    keras_dir = make_site(tmp_path)
    (keras_dir / "__init__.py").write_text("raise AssertionError('the installer imports keras')\n")
    add_distribution(tmp_path)
    return tmp_path


@pytest.fixture
def in_site(site: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This process sees the packages of `site`, and no command reaches the real Keras or pip."""
    monkeypatch.syspath_prepend(site)
    monkeypatch.setattr(FCN_setup, "locate_keras", lambda: site / "keras")
    monkeypatch.setattr(FCN_setup, "managed_by_system", lambda: False)
    return site


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Every program that would have been started; it ends with exit code 0."""
    started: Calls = []

    def call(command: list[str], **kwargs: object) -> int:
        started.append([str(word) for word in command])
        return 0

    monkeypatch.setattr(subprocess, "call", call)
    return started


def run(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program as a stranger does, from a folder that is not the repository."""
    env = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, str(REPO / "FCN_setup.py"), *arguments]
    return subprocess.run(command, env=env, cwd=site, capture_output=True, text=True)


def test_install_status_uninstall_as_a_program(site: Path) -> None:
    before = snapshot(site / "keras")
    done = run(site, "status")
    assert (done.returncode, done.stderr) == (1, "")
    assert f"keras:     3.15.1  ({site / 'keras'})" in done.stdout
    assert f"fcnkeras:  0.1.0, from {REPO}" in done.stdout
    assert "extension: not installed" in done.stdout

    done = run(site, "install")
    assert done.returncode == 0, done.stderr
    assert "fcnkeras is already installed" in done.stdout  # pip was not asked
    assert run(site, "install").returncode == 0
    done = run(site, "status")
    assert done.returncode == 0
    assert "extension: installed and as it was left" in done.stdout
    assert "  keras/applications/vgg16_fcn.py" in done.stdout

    added = site / "keras/applications/vgg16_fcn.py"
    text = added.read_text()
    added.write_text(text + "# mine\n")
    assert run(site, "status").returncode == 3
    done = run(site, "uninstall", "--keep-package")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("FCN_setup.py: keras/applications/vgg16_fcn.py is not the file")
    assert done.stderr.count("\n") == 1

    added.write_text(text)
    done = run(site, "uninstall", "--keep-package")
    assert done.returncode == 0, done.stderr
    assert snapshot(site / "keras") == before
    assert run(site, "uninstall", "--keep-package").returncode == 0
    assert run(site, "status").returncode == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--help"], 0, "exit codes:"),
        (["uninstall", "--help"], 0, "--keep-package"),
        (["demo", "--help"], 0, "./demo_results"),
        ([], 2, "COMMAND"),
        (["instal"], 2, "invalid choice: 'instal'"),
        (["install", "--forced"], 2, "install takes no argument '--forced'"),
        (["status", "now"], 2, "status takes no argument 'now'"),
    ],
)
def test_usage(
    arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        FCN_setup.main(arguments)
    assert ended.value.code == code
    out, err = capsys.readouterr()
    assert said in (err if code else out)


def test_keras_is_found_without_importing_it(site: Path) -> None:
    code = "import FCN_setup, sys; print(FCN_setup.locate_keras(), 'keras' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(REPO)])}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.stdout.strip() == f"{site / 'keras'} False", done.stderr


def test_without_keras_the_place_where_it_would_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert FCN_setup.locate_keras() == Path(sysconfig.get_path("purelib")) / "keras"


def test_status_when_only_the_extension_is_there(
    in_site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    FCN_setup.install_extension(in_site / "keras")
    assert FCN_setup.main(["status"]) == 0
    monkeypatch.setattr(FCN_setup, "distribution", lambda name: None)
    assert FCN_setup.main(["status"]) == 3
    assert "fcnkeras:  not installed" in capsys.readouterr().out


def test_install_without_keras(
    in_site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(FCN_setup, "locate_keras", lambda: tmp_path / "nowhere" / "keras")
    assert FCN_setup.main(["install"]) == 1
    assert capsys.readouterr().err.startswith("FCN_setup.py: No Keras was found at")


def test_install_asks_pip_for_an_editable_package(
    in_site: Path, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FCN_setup, "package_ready", lambda extras: False)
    monkeypatch.setattr(FCN_setup.site, "ENABLE_USER_SITE", False)
    assert FCN_setup.main(["install"]) == 0
    assert FCN_setup.extension_status(in_site / "keras")[0] == 0
    (call,) = calls
    assert call[:3] == [sys.executable, "-m", "pip"]
    assert call[-3:] == ["install", "--editable", f"{REPO}[report]"]


def test_uninstall_removes_the_package_unless_told_to_keep_it(in_site: Path, calls: Calls) -> None:
    assert FCN_setup.main(["uninstall", "--keep-package"]) == 0
    assert calls == []
    assert FCN_setup.main(["uninstall"]) == 0
    assert [call[-3:] for call in calls] == [["uninstall", "--yes", "fcnkeras"]]


def test_uninstall_leaves_a_package_from_elsewhere(
    tmp_path: Path, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_site(tmp_path)
    add_distribution(tmp_path, url="file:///another/checkout")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(FCN_setup, "managed_by_system", lambda: False)
    monkeypatch.setattr(FCN_setup, "locate_keras", lambda: tmp_path / "keras")
    assert FCN_setup.main(["uninstall"]) == 0
    assert calls == []


@pytest.mark.parametrize(
    ("changes", "ready"),
    [
        ({}, True),
        ({"version": "0.0.1"}, False),
        ({"editable": False}, False),
        ({"url": "file:///another/checkout"}, False),
    ],
)
def test_which_package_is_taken_as_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict, ready: bool
) -> None:
    add_distribution(tmp_path, **changes)
    monkeypatch.syspath_prepend(tmp_path)
    assert FCN_setup.package_ready(["report"]) is ready


def test_a_missing_requirement_is_seen(in_site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = FCN_setup.distribution
    assert FCN_setup.package_ready(["report"])
    for missing, needed in (("matplotlib", "report"), ("pillow", "report"), ("pytest", "test")):
        monkeypatch.setattr(
            FCN_setup,
            "distribution",
            lambda name, gone=missing: None if name == gone else real(name),
        )
        assert not FCN_setup.package_ready(["report", needed])


def test_no_pip_is_one_sentence(
    in_site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(FCN_setup, "package_ready", lambda extras: False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert FCN_setup.main(["install"]) == 1
    err = capsys.readouterr().err
    assert "has no pip: run" in err
    assert err.count("\n") == 1


def test_a_failing_pip_ends_the_installation(
    in_site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(in_site / "keras")
    monkeypatch.setattr(FCN_setup, "package_ready", lambda extras: False)
    monkeypatch.setattr(subprocess, "call", lambda command, **kwargs: 7)
    assert FCN_setup.main(["install"]) == 1
    assert "pip failed with exit code 7" in capsys.readouterr().err
    assert snapshot(in_site / "keras") == before


def test_a_system_error_is_one_sentence(
    in_site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device", "/somewhere")

    monkeypatch.setattr(FCN_setup, "install_extension", full)
    assert FCN_setup.main(["install"]) == 1
    err = capsys.readouterr().err
    assert err == (
        "FCN_setup.py: [Errno 28] No space left on device: '/somewhere'; "
        "the same command can be run again.\n"
    )


def test_demo_installs_and_passes_arguments_through(
    in_site: Path, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert FCN_setup.main(["demo", "--seeds", "3", "--only", "1"]) == 0
    assert FCN_setup.extension_status(in_site / "keras")[0] == 0
    command = [sys.executable, "-m", "fcnkeras", "experiments", "--out", "demo_results"]
    assert calls == [[*command, "--seeds", "3", "--only", "1"]]
    monkeypatch.setattr(subprocess, "call", lambda command, **kwargs: 5)
    assert FCN_setup.main(["demo"]) == 5


def test_test_leaves_keras_alone_and_returns_pytests_code(
    in_site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, started = snapshot(in_site / "keras"), []

    def call(command: list[str], cwd: Path) -> int:
        started.append((command, cwd))
        return 4

    monkeypatch.setattr(FCN_setup, "package_ready", lambda extras: extras == ["report", "test"])
    monkeypatch.setattr(subprocess, "call", call)
    assert FCN_setup.main(["test", "-k", "feeders", "tests/test_layers.py"]) == 4
    passed = ["-k", "feeders", "tests/test_layers.py"]
    assert started == [([sys.executable, "-m", "pytest", *passed], REPO)]
    assert snapshot(in_site / "keras") == before


def test_who_owns_the_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setattr(sys, "base_prefix", sys.prefix)
    assert not FCN_setup.managed_by_system()
    (tmp_path / "EXTERNALLY-MANAGED").write_text("[externally-managed]\n")
    assert FCN_setup.managed_by_system()
    monkeypatch.setattr(sys, "base_prefix", "/usr")  # in a virtual environment it is ours
    assert not FCN_setup.managed_by_system()


def test_a_managed_interpreter_goes_on_in_a_virtual_environment(
    tmp_path: Path,
    calls: Calls,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    venv = tmp_path / ".venv"
    monkeypatch.setattr(FCN_setup, "managed_by_system", lambda: True)
    monkeypatch.setattr(FCN_setup, "VENV", venv)
    assert FCN_setup.main(["status"]) == 1  # asking makes nothing
    assert FCN_setup.main(["uninstall"]) == 0
    assert calls == []
    assert FCN_setup.main(["install", "--force"]) == 0
    made, again = calls
    assert made == [sys.executable, "-m", "venv", str(venv)]
    assert Path(again[0]).parent.parent == venv
    assert again[1:] == [str(REPO / "FCN_setup.py"), "install", "--force"]
    assert f"belongs to the operating system; using {venv}" in capsys.readouterr().out


def test_a_virtual_environment_that_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(FCN_setup, "managed_by_system", lambda: True)
    monkeypatch.setattr(FCN_setup, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(subprocess, "call", lambda command, **kwargs: 1)
    assert FCN_setup.main(["install"]) == 1
    assert "apt install python3-venv" in capsys.readouterr().err
