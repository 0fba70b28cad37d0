"""`fcnkeras explain`: why a model says what it says of pictures."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fcnkeras.cli import sources
from fcnkeras.cli.common import finish, import_keras, make_folder, one_sentence

if TYPE_CHECKING:
    import keras

    from fcnkeras.explain import Explainer, Explanation

COLUMNS = ("picture", "method", "target", "score", "output", "completeness", "error")
ON_PAGE = 200  # pictures; a page of more would be too large to open


def explain(
    pictures: Annotated[Path, typer.Argument(help="A picture, or a folder of pictures.")],
    model: Annotated[
        Path | None, typer.Option(help="A Keras model, .keras or .h5; with --network, its weights.")
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(help="VGG16, ResNet50, MobileNetV2 ...; without --model, of ImageNet."),
    ] = None,
    classes: sources.Classes = None,
    pooling: sources.Pooling = None,
    pool_on: sources.PoolOn = None,
    window: sources.Window = None,
    method: Annotated[
        str,
        typer.Option(
            help="saliency, guided-backpropagation, smoothgrad, integrated-gradients, cam, "
            "grad-cam, grad-cam++, class-map, attribute-map; several with commas."
        ),
    ] = "grad-cam",
    target: Annotated[
        str,
        typer.Option(help="top, a class, an output, OUTPUT:CLASS, OUTPUT:mean, OUTPUT:hue=30."),
    ] = "top",
    layer: Annotated[str | None, typer.Option(help="The layer that Grad-CAM reads.")] = None,
    names: Annotated[
        str | None, typer.Option(help="File of class names, one a line; or imagenet.")
    ] = None,
    feeder: Annotated[
        str | None, typer.Option(help="squash, crop, pad, multicrop or native.")
    ] = None,
    size: Annotated[int | None, typer.Option(help="In pixels. Default: the model's own.")] = None,
    preprocessing: Annotated[
        str | None,
        typer.Option(help="For a model that does not take pixels of 0-255: caffe, tf or torch."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of results.")] = Path("runs/explain"),
    check: Annotated[
        bool, typer.Option("--check", help="Also test the methods with random weights and pixels.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Show what a model saw: maps in the pictures' own pixels, as PNG, .npy and a page.

    Example: fcnkeras explain photos --network VGG16 --method saliency --out runs/saliency

    One attribute: fcnkeras explain me.jpg --model m.keras --method attribute-map --target light

    With --pooling the model is made fully convolutional first, as class-map needs it.

    Exit codes: 0 all done; 2 bad input; 3 done, but some pictures could not be read.
    """
    options = {"pooling": pooling, "pool_on": pool_on, "window": window}
    with one_sentence(as_json=as_json):
        files = _files(pictures)
        _check_options(model, network, classes)
        methods = [each.strip() for each in method.split(",")]
        make_folder("--out", out)
        import_keras()
        _check_methods(methods)
        loaded = _load(model, network, classes, options)
        from fcnkeras.explain import Explainer

        explainer = Explainer(loaded, feeder=feeder, size=size, preprocessing=preprocessing)
        if (found := _names(names, network, explainer)) is not None:
            explainer.name_classes(found)
        rows, checks = _explain_all(explainer, files, methods, target, layer, out, check, as_json)
    failed = sum(row["error"] is not None for row in rows)
    missing = [f"{failed} picture(s) could not be read."] if failed else []
    finish({"rows": rows, "checks": checks}, missing, as_json=as_json)


def _files(pictures: Path) -> list[tuple[str, Path]]:
    """The pictures by the names under which their maps are written."""
    from fcnkeras.images import is_picture_name

    if pictures.is_dir():
        found = sorted(p for p in pictures.rglob("*") if p.is_file() and is_picture_name(p))
        if not found:
            raise ValueError(f"The folder must hold pictures. Received: {pictures}")
        return [(path.relative_to(pictures).as_posix(), path) for path in found]
    if not pictures.exists():
        raise ValueError(f"No such picture or folder: {pictures}")
    return [(pictures.name, pictures)]


def _check_options(model: Path | None, network: str | None, classes: int | None) -> None:
    if model is not None:
        sources.check_source(model, network, classes, False)
    elif network is None:
        raise ValueError("Say what is explained: --model FILE, --network NAME or both.")


def _check_methods(methods: Sequence[str]) -> None:
    from fcnkeras.explain import METHODS

    for method in methods:
        if method not in METHODS:
            raise ValueError(f"--method must be of {', '.join(METHODS)}. Received: {method!r}")


def _load(
    path: Path | None, network: str | None, classes: int | None, options: dict[str, Any]
) -> keras.Model:
    if path is not None:
        model = sources.load_source(path, network, classes, preprocessing=network is not None)
    else:
        from fcnkeras.models.classifier import build_classifier
        from fcnkeras.models.specs import get_spec

        assert network is not None
        spec = get_spec(network)
        model = build_classifier(spec, weights=spec.weights, include_preprocessing=True)
    chosen = sources.conversion_options(**options)
    if not chosen:
        return model
    from fcnkeras.convert import to_fcn

    return to_fcn(model, **chosen)


def _names(names: str | None, network: str | None, explainer: Explainer) -> list[str] | None:
    """The names of the classes of the first output."""
    units = explainer.network.graph.outputs[0].shape[-1]
    if names is None and not (network and units == 1000):
        return None
    if names in (None, "imagenet"):
        found = _imagenet_names()
        if found is None:
            typer.echo("The names of ImageNet's classes could not be downloaded.", err=True)
            return None
    else:
        found = Path(str(names)).read_text(encoding="utf-8").splitlines()
    if len(found) != units:
        raise ValueError(f"--names must tell {units} classes. Received: {len(found)}")
    return found


def _imagenet_names() -> list[str] | None:
    import numpy as np
    from keras.applications.imagenet_utils import decode_predictions

    falling = np.arange(1000.0, 0, -1)[None]
    try:
        found = decode_predictions(falling, top=1000)[0]
    except OSError:
        return None
    except Exception as error:  # keras.utils.get_file raises a bare Exception
        if "URL fetch failure" not in str(error):
            raise
        return None
    return [name.replace("_", " ") for _, name, _ in found]


def _explain_all(
    explainer: Explainer,
    files: Sequence[tuple[str, Path]],
    methods: Sequence[str],
    target: str,
    layer: str | None,
    out: Path,
    check: bool,
    quiet: bool,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    from fcnkeras.console import make_console
    from fcnkeras.explain.explainer import Checker
    from fcnkeras.files import write_csv
    from fcnkeras.images import ImageError
    from fcnkeras.report.explanations import Shown, write_page

    console = make_console(stderr=quiet)
    checker = Checker(explainer) if check else None
    rows: list[dict[str, Any]] = []
    checks: list[dict[str, Any]] = []
    maps: dict[str, list[Shown]] = {}
    for name, path in _tracked(files, console):
        try:
            for row, shown in _explain_one(explainer, name, path, methods, target, layer, out):
                rows.append(row)
                if name in maps or len(maps) < ON_PAGE:
                    maps.setdefault(name, []).append(shown)
            for method in methods if checker else ():
                found = checker.check(path, method, target, **_options(method, layer))  # type: ignore[union-attr]
                checks.append({"picture": name, **dataclasses.asdict(found)})
        except ImageError as error:
            rows.append({**dict.fromkeys(COLUMNS), "picture": name, "error": error.reason})
    columns = [*COLUMNS, "map", "figure"]
    write_csv(out / "explanations.csv", [{c: row.get(c) for c in columns} for row in rows], columns)
    notes = [f"{row['picture']}: {row['error']}" for row in rows if row["error"]]
    if len(files) > len(maps) + len(notes):
        notes.append(f"The page shows the first {ON_PAGE} pictures of {len(files)}.")
    title = f"What {explainer.network.model.name} saw"
    write_page(out / "index.html", title, maps, rows, COLUMNS, notes)
    console.print(_table(title, rows))
    if checks:
        console.print(_check_table(checks))
    console.print(f"maps: {out}", markup=False, soft_wrap=True)
    console.print(f"page: {out / 'index.html'}", markup=False, soft_wrap=True)
    return rows, checks


def _tracked(files: Sequence[tuple[str, Path]], console: Any) -> Iterator[tuple[str, Path]]:
    """The files, with a bar on a terminal."""
    from rich.progress import track

    quiet = not console.is_terminal
    yield from track(files, "explaining", console=console, transient=True, disable=quiet)


def _options(method: str, layer: str | None) -> dict[str, Any]:
    return {"layer": layer} if layer and method in ("grad-cam", "grad-cam++") else {}


def _explain_one(
    explainer: Explainer,
    name: str,
    path: Path,
    methods: Sequence[str],
    target: str,
    layer: str | None,
    out: Path,
) -> Iterator[tuple[dict[str, Any], Any]]:
    """Explains a picture by every method, writes the maps, and yields a row and a map of each."""
    import numpy as np

    from fcnkeras.explain.overlay import write_figure
    from fcnkeras.files import write_atomically
    from fcnkeras.images import open_picture
    from fcnkeras.report.explanations import shown

    image = open_picture(path)
    pixels = np.asarray(image)
    for method in methods:
        found = explainer.explain(image, method, target, **_options(method, layer))
        base = out / f"{name}.{method}"
        base.parent.mkdir(parents=True, exist_ok=True)
        array, figure = Path(f"{base}.npy"), Path(f"{base}.png")
        write_atomically(array, partial(np.save, arr=found.heat))
        title = f"{method}: {found.target}, score {found.score:.3f}"
        look = {"signed": found.signed, "mark": found.decided}
        write_figure(figure, pixels, found.heat, title=title, **look)
        row = {**_row(name, found), "map": str(array), "figure": str(figure)}
        yield row, shown(pixels, found.heat, title=title, caption=_caption(found), **look)


def _row(name: str, found: Explanation) -> dict[str, Any]:
    return {
        "picture": name,
        "method": found.method,
        "target": found.target,
        "score": found.score,
        "output": found.output,
        "completeness": found.completeness,
        "error": None,
        "parts": found.parts or None,
        "bias": found.bias,
        "decided": found.decided,
    }


def _caption(found: Explanation) -> str:
    said = [] if found.output is None else [f"output {found.output:.3f}"]
    if found.completeness is not None:
        said.append(f"adds up to the score within {found.completeness:.1g} of it")
    if found.decided is not None:
        said.append("the ring marks the place that decided")
    if found.parts:
        parts = ", ".join(f"{name} {value:+.3g}" for name, value in found.parts.items())
        said.append(f"{parts}, bias {found.bias:+.3g}")
    return "; ".join(said)


def _table(title: str, rows: Sequence[dict[str, Any]]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left")
    for column in COLUMNS:
        numeric = column in ("score", "output", "completeness")
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(row[column])) for column in COLUMNS))
    return table


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _check_table(checks: Sequence[dict[str, Any]]) -> Any:
    """The means over the pictures, method by method."""
    from rich.table import Table

    table = Table(title="Checks: means over the pictures", title_justify="left")
    columns = ("top random", "all random", "deletion", "(chance)", "insertion", "(chance)")
    table.add_column("method")
    for column in columns:
        table.add_column(column, justify="right")
    for method in dict.fromkeys(each["method"] for each in checks):
        mine = [each for each in checks if each["method"] == method]
        figures = [
            [each["correlations"]["top"] for each in mine],
            [each["correlations"]["all"] for each in mine],
            *(
                [each[key] for each in mine]
                for key in ("deletion", "random_deletion", "insertion", "random_insertion")
            ),
        ]
        table.add_row(method, *(f"{math.fsum(each) / len(each):.3f}" for each in figures))
    return table
