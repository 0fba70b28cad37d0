"""Put the extension into a Keras, take it out again, and say how it stands; standard library only.

The files under `extensions/keras/` mirror Keras' own paths. Most are new files; an
`__init__.append.py` becomes a marked block at the end of Keras' `__init__.py` of that folder.

Before the first change a manifest is written beside Keras' folder; it is deleted after the last
one. Each change is one rename or deletion, and what remains to be done is read from the files
themselves, never from a record of progress: whatever was interrupted, the next install or uninstall
completes. The block is cut out of the file as it is then, so nobody's later edit is lost.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

SOURCES = Path(__file__).resolve().parent / "keras"
APPEND = "__init__.append.py"
MANIFEST = "fcnkeras_extension.json"
TEMP = ".fcnkeras-tmp"
BEGIN = "# >>> fcnkeras extension (`python FCN_setup.py uninstall` takes this block out) >>>\n"
END = "# <<< fcnkeras extension <<<\n"
OK, FAILED, CHANGED = 0, 1, 3  # exit codes; 2 is argparse's


class SetupError(Exception):
    """Ends the program with one sentence on stderr and the exit code `code`."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class Saved:
    """A compiled file as it was before the installation."""

    data: str
    mode: int
    mtime_ns: int


@dataclass
class Edit:
    """A file of Keras to which `block` is appended, and what it was before."""

    block: str
    original: str | None = None
    mode: int = 0
    mtime_ns: int = 0
    compiled: dict[str, Saved] = field(default_factory=dict)


@dataclass
class Manifest:
    """The extension in one Keras; paths are relative to Keras' folder, `added` maps to SHA-256."""

    keras: str
    added: dict[str, str] = field(default_factory=dict)
    edited: dict[str, Edit] = field(default_factory=dict)

    def same_files(self, other: Manifest) -> bool:
        blocks = [{rel: e.block for rel, e in m.edited.items()} for m in (self, other)]
        return self.keras == other.keras and self.added == other.added and blocks[0] == blocks[1]


@dataclass
class Survey:
    """How Keras' folder compares with a manifest."""

    found: int = 0
    missing: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)  # of ours, by somebody: needs --force
    notes: list[str] = field(default_factory=list)  # not ours: said, and left alone


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def keras_version(keras_dir: Path) -> str | None:
    """The version of the Keras in this folder, without importing it; None where there is none."""
    if not (keras_dir / "__init__.py").is_file():
        return None
    file = keras_dir / "src" / "version.py"
    match = re.search(r'__version__ = "(.+?)"', file.read_text("utf-8") if file.exists() else "")
    return match[1] if match else "unknown"


def read_sources(keras_dir: Path, sources: Path) -> Manifest:
    """The manifest of what would be installed, without the record of what was there before."""
    manifest = Manifest(keras_version(keras_dir) or "none")
    for file in sorted(sources.rglob("*.py")):
        rel = file.relative_to(sources)
        if file.name == APPEND:
            block = f"\n\n{BEGIN}{file.read_bytes().decode('utf-8')}{END}"
            manifest.edited[rel.with_name("__init__.py").as_posix()] = Edit(block)
        else:
            manifest.added[rel.as_posix()] = digest(file.read_bytes())
    return manifest


def read_manifest(keras_dir: Path) -> Manifest | None:
    """What was recorded at the installation; None where nothing is installed."""
    file = keras_dir.parent / MANIFEST
    if not file.exists():
        return None
    try:
        raw = json.loads(file.read_bytes())
        for edit in raw["edited"].values():
            edit["compiled"] = {name: Saved(**saved) for name, saved in edit["compiled"].items()}
        edited = {rel: Edit(**edit) for rel, edit in raw["edited"].items()}
        return Manifest(raw["keras"], raw["added"], edited)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SetupError(
            f"{file} is not the manifest that the installation wrote ({error!r}): delete it, then "
            "run uninstall, which also works without it.",
            CHANGED,
        ) from error


def cut(data: bytes, block: str) -> tuple[bytes, str]:
    """The file without our block, and how the block was: 'whole', 'changed', 'torn' or 'absent'."""
    before, found, after = data.partition(block.encode())
    if found:  # between a last line without its end and what somebody added below: a line end
        glue = b"\n" if after and before and not before.endswith(b"\n") else b""
        return before + glue + after, "whole"
    start, end = data.find(BEGIN.encode()), data.find(END.encode())
    if start < 0 and end < 0:
        return data, "absent"
    if start < 0 or end < start:
        return data, "torn"
    start -= 2 if data[:start].endswith(b"\n\n") else 0
    return data[:start] + data[end + len(END.encode()) :], "changed"


def survey(keras_dir: Path, manifest: Manifest) -> Survey:
    """Compare every file of the extension with the manifest."""
    result = Survey()
    for rel, expected in manifest.added.items():
        file = keras_dir / rel
        if not file.exists():
            result.missing.append(f"keras/{rel} is missing")
        elif digest(file.read_bytes()) != expected:
            result.changed.append(f"keras/{rel} is not the file that the extension has there")
        else:
            result.found += 1
    for rel, edit in manifest.edited.items():
        file = keras_dir / rel
        rest, block = cut(file.read_bytes(), edit.block) if file.exists() else (b"", "absent")
        if block == "absent":
            result.missing.append(f"keras/{rel} is without the extension's block")
        elif block == "whole":
            result.found += 1
            if edit.original not in (None, digest(rest)):
                result.notes.append(f"keras/{rel} was changed outside the extension's block")
        else:
            result.changed.append(f"the extension's block in keras/{rel} was changed")
    now = keras_version(keras_dir) or "none"
    if now != manifest.keras:
        result.notes.append(f"Keras was {manifest.keras} at the installation and is {now} now")
    return result


def write(path: Path, data: bytes, mode: int | None = None, mtime_ns: int | None = None) -> None:
    """Write a file with its mode and time in one atomic step."""
    temp = path.with_name(path.name + TEMP)
    with temp.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if mode is not None:
        temp.chmod(mode)
    if mtime_ns is not None:
        os.utime(temp, ns=(mtime_ns, mtime_ns))
    temp.replace(path)


def compiled_files(source: Path) -> list[Path]:
    return sorted((source.parent / "__pycache__").glob(f"{source.stem}.*.pyc"))


def folders(keras_dir: Path, *manifests: Manifest) -> list[Path]:
    """The existing folders in which the extension may change something, the innermost first."""
    found = {keras_dir.parent}
    for rel in [rel for m in manifests for rel in (*m.added, *m.edited)]:
        parents = [keras_dir / parent for parent in Path(rel).parents]
        found.update((*parents, parents[0] / "__pycache__"))
    return sorted((f for f in found if f.is_dir()), key=lambda f: len(f.parts), reverse=True)


def check_changes_allowed(keras_dir: Path, *manifests: Manifest) -> None:
    for folder in reversed(folders(keras_dir, *manifests)):
        if not os.access(folder, os.W_OK | os.X_OK):
            raise SetupError(f"No permission to write in {folder}; nothing was changed.")
    for rel in [rel for m in manifests for rel in m.edited]:
        if (keras_dir / rel).is_symlink():
            raise SetupError(
                f"{keras_dir / rel} is a symbolic link into a store that others may share; install "
                "Keras with copied files (uv: --link-mode=copy); nothing was changed."
            )


def remove_temporary(keras_dir: Path, *manifests: Manifest) -> None:
    for folder in folders(keras_dir, *manifests):
        for file in folder.glob(f"*{TEMP}"):
            file.unlink()


def put_in(keras_dir: Path, sources: Path, fresh: Manifest) -> None:
    """Record what is there, then change it. The blocks come last: they rely on the new files."""
    for rel, edit in fresh.edited.items():
        file = keras_dir / rel
        stat = file.stat()
        edit.original = digest(file.read_bytes())
        edit.mode, edit.mtime_ns = stat.st_mode & 0o7777, stat.st_mtime_ns
        for pyc in compiled_files(file):
            data, stat = base64.b64encode(pyc.read_bytes()).decode(), pyc.stat()
            edit.compiled[pyc.name] = Saved(data, stat.st_mode & 0o7777, stat.st_mtime_ns)
    write(keras_dir.parent / MANIFEST, json.dumps(asdict(fresh), indent=1).encode())
    for rel in fresh.added:
        write(keras_dir / rel, (sources / rel).read_bytes())
    for rel, edit in fresh.edited.items():
        for pyc in compiled_files(keras_dir / rel):
            pyc.unlink()  # one compiled as "unchecked" would hide the block
        write(keras_dir / rel, (keras_dir / rel).read_bytes() + edit.block.encode(), edit.mode)


def take_out(keras_dir: Path, manifest: Manifest) -> None:
    """Undo `put_in`, from whatever point it or an earlier `take_out` reached."""
    same_keras = manifest.keras == keras_version(keras_dir)
    for rel, edit in manifest.edited.items():
        file = keras_dir / rel
        if not file.exists():
            continue
        rest, block = cut(file.read_bytes(), edit.block)
        is_original = digest(rest) == edit.original
        if block == "absent" and not (same_keras and is_original):
            continue  # another Keras was installed over it: nothing in there is ours
        for pyc in compiled_files(file):
            pyc.unlink()
        mode = edit.mode if is_original else file.stat().st_mode & 0o7777
        write(file, rest, mode, edit.mtime_ns if is_original else None)
        if is_original and edit.compiled:
            (file.parent / "__pycache__").mkdir(exist_ok=True)
            for name, saved in edit.compiled.items():
                pyc = file.parent / "__pycache__" / name
                write(pyc, base64.b64decode(saved.data), saved.mode, saved.mtime_ns)
    for rel in manifest.added:
        for path in (keras_dir / rel, *compiled_files(keras_dir / rel)):
            path.unlink(missing_ok=True)
    for folder in folders(keras_dir, manifest):  # a Keras removed by pip leaves empty folders
        if folder != keras_dir.parent and not any(folder.iterdir()):
            folder.rmdir()
    (keras_dir.parent / MANIFEST).unlink(missing_ok=True)


def refuse_changed(keras_dir: Path, manifest: Manifest, changed: list[str], force: bool) -> None:
    for rel, edit in manifest.edited.items():
        file = keras_dir / rel
        if file.exists() and cut(file.read_bytes(), edit.block)[1] == "torn":
            raise SetupError(
                f"One of the two marks around the extension's block in {file} is gone: take the "
                "block out by hand; nothing was changed.",
                CHANGED,
            )
    if changed and not force:
        raise SetupError(
            f"{'; '.join(changed)}: nothing was done; --force overwrites or removes it.", CHANGED
        )


def install_extension(keras_dir: Path, sources: Path = SOURCES, force: bool = False) -> list[str]:
    """Put the extension into the Keras in `keras_dir`; returns lines that say what was done."""
    version = keras_version(keras_dir)
    if version is None:
        raise SetupError(f"No Keras was found at {keras_dir} for {sys.executable}.")
    fresh, old = read_sources(keras_dir, sources), read_manifest(keras_dir)
    for rel in fresh.edited:
        if not (keras_dir / rel).is_file():
            raise SetupError(
                f"Keras {version} has no {rel}: the extension needs Keras 3.12 or newer."
            )
    before = survey(keras_dir, old or fresh)
    if old and old.same_files(fresh) and not (before.missing or before.changed):
        return [f"The extension is already in Keras {version}, {keras_dir}", *before.notes]
    manifests = (old, fresh) if old else (fresh,)
    foreign = [r for r in fresh.added if old and r not in old.added and (keras_dir / r).exists()]
    foreign = [f"keras/{rel} exists and is not the extension's" for rel in foreign]
    refuse_changed(keras_dir, old or fresh, before.changed + foreign, force)
    check_changes_allowed(keras_dir, *manifests)
    remove_temporary(keras_dir, *manifests)
    if old or before.found or before.changed:
        take_out(keras_dir, old or fresh)
    put_in(keras_dir, sources, fresh)
    repaired = [*before.missing, *before.changed, *before.notes] if old else []
    return [f"Found and put right: {line}" for line in repaired] + [
        f"The extension is now in Keras {version}, {keras_dir}"
    ]


def uninstall_extension(keras_dir: Path, sources: Path = SOURCES, force: bool = False) -> list[str]:
    """Take the extension out of the Keras in `keras_dir`; returns lines that say what was done."""
    old = read_manifest(keras_dir)
    manifest = old or read_sources(keras_dir, sources)  # a lost manifest: what we would install
    before = survey(keras_dir, manifest)
    if not old and not before.found and not before.changed:
        remove_temporary(keras_dir, manifest)
        return [f"The extension is not in {keras_dir}"]
    refuse_changed(keras_dir, manifest, before.changed, force)
    check_changes_allowed(keras_dir, manifest)
    remove_temporary(keras_dir, manifest)
    take_out(keras_dir, manifest)
    if old is None:
        before.notes.append(
            "the manifest was lost: Keras' sources are as they were, its compiled "
            "files will be made anew by Python"
        )
    return [f"Note: {line}" for line in before.notes] + [f"The extension is out of {keras_dir}"]


def extension_status(keras_dir: Path, sources: Path = SOURCES) -> tuple[int, list[str]]:
    """The exit code of `status` for the Keras in `keras_dir`, and lines for people."""
    old, fresh = read_manifest(keras_dir), read_sources(keras_dir, sources)
    now = survey(keras_dir, old or fresh)
    if old is None and not (now.found or now.changed):
        return FAILED, ["extension: not installed"]
    findings = now.missing + now.changed + now.notes
    if old is None:
        findings.append(f"the manifest {keras_dir.parent / MANIFEST} is missing")
    elif old.keras == fresh.keras and not old.same_files(fresh):
        findings.append("this checkout has another version of the extension: install renews it")
    state = "changed since the installation" if findings else "installed and as it was left"
    files = [f"  keras/{rel}" for rel in (*(old or fresh).added, *(old or fresh).edited)]
    lines = [f"extension: {state}", *(f"  ! {line}" for line in findings), *files]
    return (CHANGED if findings else OK), lines
