"""A small Keras and a small fcnkeras for the tests of FCN_setup.py, and hashes of folders."""

import compileall
import hashlib
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
if str(REPO) not in sys.path:
    sys.path.insert(0, str(REPO))

from extensions import keras_extension  # noqa: E402 - it is not part of the package

NAMES = {
    "vgg16_fcn": "VGG16_fcn",
    "vgg19_fcn": "VGG19_fcn",
    "inception_v3_fcn": "InceptionV3_fcn",
    "xception_fcn": "Xception_fcn",
    "mobilenet_v2_fcn": "MobileNetV2_fcn",
    "resnet50_fcn": "ResNet50_fcn",
}
ADDED = [f"applications/{module}.py" for module in NAMES] + ["preprocessing/image/load_img_fcn.py"]
EDITED = ["applications/__init__.py", "preprocessing/image/__init__.py"]

KERAS = {
    "__init__.py": "from keras import applications as applications\n"
    "from keras import preprocessing as preprocessing\n",
    "src/__init__.py": "",
    "src/version.py": '__version__ = "3.15.1"\n',
    "applications/__init__.py": "from keras.applications import vgg16 as vgg16\nVGG16 = 'VGG16'",
    "applications/vgg16/__init__.py": "",
    "preprocessing/__init__.py": "from keras.preprocessing import image as image\n",
    "preprocessing/image/__init__.py": "def load_img(path):\n    return 'old ' + path\n",
}
FCNKERAS = {
    "__init__.py": "import keras.applications\n"  # as the real one may
    + "".join(f"def {name}(**kwargs): return {name!r}, kwargs\n" for name in NAMES.values()),
    "loading.py": "kind = 0\ndef set_load_img_type(number):\n    global kind\n    kind = number\n"
    "def load_img(path, target_size=None):\n    return path, target_size, kind\n",
}


def write_tree(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        os.utime(file, (1_600_000_000, 1_600_000_000))


def compile_tree(folder: Path) -> None:
    """Write what an import would write: the compiled form of every source that has no fresh one."""
    assert compileall.compile_dir(folder, quiet=1)


def make_site(folder: Path, compiled: bool = True) -> Path:
    """A folder of packages with the small Keras and the small fcnkeras; returns Keras' folder."""
    write_tree(folder / "keras", KERAS)
    write_tree(folder / "fcnkeras", FCNKERAS)
    if compiled:
        compile_tree(folder / "keras")
    return folder / "keras"


def snapshot(keras_dir: Path) -> dict[str, tuple[str, int, int]]:
    """Every path beside and under Keras' folder -> (SHA-256, mode, time); folders have no hash."""
    result = {}
    for path in sorted(keras_dir.parent.rglob("*")):
        if path.relative_to(keras_dir.parent).parts[0] == "fcnkeras":
            continue
        stat = path.stat()
        name = path.relative_to(keras_dir.parent).as_posix()
        if path.is_dir():
            result[name] = ("", stat.st_mode, 0)
        else:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            result[name] = (digest, stat.st_mode, stat.st_mtime_ns)
    return result


def run_python(site: Path, code: str) -> str:
    """What a fresh interpreter prints for this code, with the packages in `site` alone."""
    command = [sys.executable, "-S", "-c", code]
    env = {**os.environ, "PYTHONPATH": str(site)}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(command, env=env, capture_output=True, text=True, cwd=site)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def is_installed(keras_dir: Path) -> bool:
    return keras_extension.extension_status(keras_dir)[0] == keras_extension.OK


def copy_of_real_keras(folder: Path, names: list[str] | None = None) -> Path:
    """Copy the real Keras, or these files of it with their compiled forms, into `folder`."""
    spec = find_spec("keras")
    assert spec is not None
    assert spec.origin is not None
    real = Path(spec.origin).parent
    if names is None:
        shutil.copytree(real, folder / "keras")
    for name in names or []:
        (folder / "keras" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(real / name, folder / "keras" / name)
        pycache = (real / name).parent / "__pycache__"
        if pycache.is_dir():
            shutil.copytree(
                pycache, (folder / "keras" / name).parent / "__pycache__", dirs_exist_ok=True
            )
    return folder / "keras"
