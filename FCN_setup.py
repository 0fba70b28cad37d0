"""Install fcnkeras and its extension of Keras, take them out again, show the demo, run the tests.

    python FCN_setup.py install      fcnkeras into this Python, the extension into its Keras
    python FCN_setup.py uninstall    both out again; Keras' folder is byte for byte what it was
    python FCN_setup.py status       what is installed, for which Keras, and what was changed since
    python FCN_setup.py demo         install if needed, then the experiments on generated pictures
    python FCN_setup.py test         install what the tests need, then run them

Standard library only. How Keras' files are changed: extensions/keras_extension.py.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import site
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

from extensions.keras_extension import (
    CHANGED,
    FAILED,
    OK,
    SetupError,
    extension_status,
    install_extension,
    keras_version,
    uninstall_extension,
)

REPO = Path(__file__).resolve().parent
VENV = REPO / ".venv"
EXIT_CODES = """exit codes:
  0  done (status: installed and as it was left)
  1  failed, one sentence on stderr says why (status: the extension is not installed)
  2  wrong usage
  3  something was changed since the installation (install, uninstall: refused, see --force)
demo and test return the exit code of the experiments and of pytest."""


def locate_keras() -> Path:
    """The folder of this Python's Keras, or where it would be; nothing is imported."""
    importlib.invalidate_caches()
    spec = importlib.util.find_spec("keras")
    places = list(spec.submodule_search_locations or []) if spec else []
    return Path(places[0] if places else Path(sysconfig.get_path("purelib")) / "keras")


def distribution(name: str) -> metadata.Distribution | None:
    # Not in REPO: pip leaves an egg-info there, which says nothing about this Python.
    path = [entry for entry in sys.path if Path(entry or ".").resolve() != REPO]
    return next(iter(metadata.distributions(name=name, path=path)), None)


def is_this_checkout(package: metadata.Distribution) -> bool:
    origin = json.loads(package.read_text("direct_url.json") or "{}")
    editable = origin.get("dir_info", {}).get("editable", False)
    return bool(editable and origin.get("url") == REPO.as_uri())


def package_ready(extras: list[str]) -> bool:
    """Whether this checkout is installed here, with everything that it and the extras require."""
    import tomllib  # from Python 3.11 on, which main() has checked

    package = distribution("fcnkeras")
    source = (REPO / "fcnkeras" / "_version.py").read_text("utf-8")
    version = re.search(r'__version__ = "(.+?)"', source)
    if not package or not version or package.version != version[1] or not is_this_checkout(package):
        return False
    project = tomllib.loads((REPO / "pyproject.toml").read_text("utf-8"))["project"]
    needed = [*project["dependencies"]]
    needed += [line for extra in extras for line in project["optional-dependencies"][extra]]
    return all(distribution(re.split(r"[^\w.-]", line)[0]) for line in needed)


def pip(*arguments: str) -> None:
    if importlib.util.find_spec("pip") is None:
        raise SetupError(
            f"{sys.executable} has no pip: run `{sys.executable} -m ensurepip --upgrade` first."
        )
    code = subprocess.call([sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments])
    if code:
        raise SetupError(f"pip failed with exit code {code}; its own message is above.")


def install_package(extras: list[str]) -> None:
    """Install this checkout, editable: what is changed in the clone takes effect at once."""
    if package_ready(extras):
        print(f"fcnkeras is already installed from {REPO}")
        return
    pip("install", "--editable", f"{REPO}[{','.join(extras)}]")
    if site.ENABLE_USER_SITE:  # pip may just have made this folder
        site.addsitedir(site.getusersitepackages())


def managed_by_system() -> bool:
    """Whether the operating system's package manager owns this Python (PEP 668)."""
    marker = Path(sysconfig.get_path("stdlib")) / "EXTERNALLY-MANAGED"
    return sys.prefix == sys.base_prefix and marker.exists()


def run_in_venv(command: str, argv: list[str]) -> int:
    """Go on with the Python of the repository's own virtual environment, made where needed."""
    python = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    print(f"{sys.executable} belongs to the operating system; using {VENV} instead.", flush=True)
    check = [str(python), "-m", "pip", "--version"]
    if not python.exists() or subprocess.run(check, capture_output=True).returncode:
        if command in ("uninstall", "status"):
            print("Nothing is installed.")
            return OK if command == "uninstall" else FAILED
        if subprocess.call([sys.executable, "-m", "venv", str(VENV)]):
            raise SetupError(
                f"{VENV} could not be made (on Debian: apt install python3-venv); Python's own "
                "message is above."
            )
    return subprocess.call([str(python), str(Path(__file__).resolve()), *argv])


def install(options: argparse.Namespace, rest: list[str]) -> int:
    install_package(["report"])
    print(*install_extension(locate_keras(), force=options.force), sep="\n")
    return OK


def uninstall(options: argparse.Namespace, rest: list[str]) -> int:
    print(*uninstall_extension(locate_keras(), force=options.force), sep="\n", flush=True)
    package = distribution("fcnkeras")
    if package and not options.keep_package:
        if is_this_checkout(package):
            pip("uninstall", "--yes", "fcnkeras")
        else:
            print(f"fcnkeras {package.version} is not from this checkout and stays.")
    return OK


def status(options: argparse.Namespace, rest: list[str]) -> int:
    keras_dir, package = locate_keras(), distribution("fcnkeras")
    code, lines = extension_status(keras_dir)
    if package:
        origin = f"from {REPO}" if is_this_checkout(package) else "not from this checkout"
    elif code == OK:
        code = CHANGED
    print(f"python:    {sys.executable}")
    print(f"keras:     {keras_version(keras_dir) or 'not found'}  ({keras_dir})")
    print(f"fcnkeras:  {f'{package.version}, {origin}' if package else 'not installed'}")
    print(*lines, sep="\n")
    return code


def demo(options: argparse.Namespace, rest: list[str]) -> int:
    install(argparse.Namespace(force=False), [])
    command = ["-m", "fcnkeras", "experiments", "--out", "demo_results", *rest]
    return subprocess.call([sys.executable, *command])


def test(options: argparse.Namespace, rest: list[str]) -> int:
    install_package(["report", "test"])
    return subprocess.call([sys.executable, "-m", "pytest", *rest], cwd=REPO)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="FCN_setup.py",
        description="Install fcnkeras and its extension of Keras, or take them out again.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    texts = {
        install: "install fcnkeras (editable) and put the extension into this Python's Keras",
        uninstall: "take the extension out of Keras, and fcnkeras out of this Python",
        status: "say what is installed, for which Keras, and whether it was changed since",
        demo: "install if needed, then run the experiments on generated pictures; further "
        "arguments go to `fcnkeras experiments`; results appear in ./demo_results",
        test: "install what the tests need, then run them; further arguments go to pytest",
    }
    for function, text in texts.items():
        sub = commands.add_parser(
            function.__name__, help=text, description=text, allow_abbrev=False
        )
        sub.set_defaults(run=function)
        if function in (install, uninstall):
            help_text = "overwrite or remove files of the extension that somebody changed"
            sub.add_argument("--force", action="store_true", help=help_text)
        if function is uninstall:
            sub.add_argument("--keep-package", action="store_true", help="leave fcnkeras installed")
    return top


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    options, rest = parser().parse_known_args(argv)
    if rest and options.run not in (demo, test):
        parser().error(f"{options.command} takes no argument {rest[0]!r}")
    try:
        if sys.version_info < (3, 11):  # noqa: UP036 - this file runs before pip checks it
            raise SetupError(
                f"fcnkeras needs Python 3.11 or newer; this is {sys.version.split()[0]}."
            )
        if managed_by_system():
            return run_in_venv(options.command, argv)
        return int(options.run(options, rest))
    except SetupError as error:
        print(f"FCN_setup.py: {error}", file=sys.stderr)
        return error.code
    except OSError as error:
        print(f"FCN_setup.py: {error}; the same command can be run again.", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("FCN_setup.py: interrupted; the same command can be run again.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
