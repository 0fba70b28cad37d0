"""`fcnkeras export`: a model for another runtime, compared there with Keras."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fcnkeras.cli import sources
from fcnkeras.cli.common import import_keras, make_folder, one_sentence, quiet_stderr

if TYPE_CHECKING:
    import keras


def export(
    model: sources.ModelFile,
    out: Annotated[
        Path,
        typer.Option(
            help="What is written: .onnx, .xml (OpenVINO), .tflite (LiteRT), .keras, or a folder "
            "without ending (SavedModel)."
        ),
    ],
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="keras, savedmodel, onnx, openvino or litert. Default: by the ending of --out.",
        ),
    ] = None,
    size: Annotated[
        list[str] | None,
        typer.Option(
            help="HEIGHTxWIDTH to compare at, as often as wanted. Default: three sizes.",
        ),
    ] = None,
    network: sources.Network = None,
    classes: sources.Classes = None,
    include_preprocessing: sources.Preprocessing = False,
    pooling: sources.Pooling = None,
    pool_on: sources.PoolOn = None,
    window: sources.Window = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Write a model for another runtime, with free height and width, and compare it with Keras.

    The file is run by its own runtime at three sizes. A classifier of one size is made fully
    convolutional first, as `fcnkeras convert` does, with --pooling, --pool-on and --window.

    Example: fcnkeras export fcn.keras --out fcn.onnx

    ONNX, OpenVINO and LiteRT need the packages of fcnkeras' extra "export".
    """
    with one_sentence():
        sizes = [_size(text) for text in size] if size else None
        source_options = (model, network, classes, include_preprocessing)
        sources.check_source(*source_options)
        make_folder("--out", out.parent)
        options = sources.conversion_options(pooling, pool_on, window)
        import_keras()
        from fcnkeras.export import export_model, get_format

        with quiet_stderr():
            get_format(out, form)
            fcn, converted = _free(sources.load_source(*source_options), options)
            report = export_model(fcn, out, form, sizes=sizes)
    proof = fcn.certificate if converted else None
    if as_json:
        certificate = dataclasses.asdict(proof) if proof else None
        typer.echo(json.dumps({**dataclasses.asdict(report), "certificate": certificate}, indent=2))
        return
    if proof:
        typer.echo(f"{fcn.name}: made fully convolutional, {proof}")
    typer.echo(report)
    typer.echo(f"written: {out}")


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", text)
    if not match:
        raise ValueError(f"--size takes HEIGHTxWIDTH, such as 336x448. Received: {text!r}")
    return int(match[1]), int(match[2])


def _free(source: keras.Model, options: dict[str, Any]) -> tuple[keras.Model, bool]:
    """The model, made fully convolutional if it is not, and whether it was."""
    from fcnkeras.convert import to_fcn
    from fcnkeras.export import has_free_size

    if not has_free_size(source):
        return to_fcn(source, **options), True
    if options:
        names = ", ".join("--" + name.replace("_", "-") for name in options)
        raise ValueError(f"{source.name} takes any size already: {names} would change nothing.")
    return source, False
