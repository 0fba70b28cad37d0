"""`fcnkeras convert`: a saved classifier, fully convolutional."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from fcnkeras.cli import sources
from fcnkeras.cli.common import import_keras, make_folder, one_sentence


def convert(
    model: sources.ModelFile,
    out: Annotated[Path, typer.Option(help="Where the new model is written (.keras).")],
    network: sources.Network = None,
    classes: sources.Classes = None,
    include_preprocessing: sources.Preprocessing = False,
    pooling: sources.Pooling = None,
    pool_on: sources.PoolOn = None,
    window: sources.Window = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """Make a saved classifier fully convolutional, with a proof.

    Example: fcnkeras convert model.keras --out fcn.keras

    Weights alone: fcnkeras convert vgg16.weights.h5 --network VGG16 --out fcn.keras
    """
    with one_sentence():
        if out.suffix != ".keras":
            raise ValueError(f"--out must end in .keras. Received: {out}")
        source_options = (model, network, classes, include_preprocessing)
        sources.check_source(*source_options)
        make_folder("--out", out.parent)
        import_keras()
        from fcnkeras.convert import plan_conversion, to_fcn
        from fcnkeras.files import write_atomically

        source = sources.load_source(*source_options)
        options = sources.conversion_options(pooling, pool_on, window)
        plan = plan_conversion(source, **options)
        if not as_json:
            typer.echo(plan)
        fcn = to_fcn(source, **options)
        write_atomically(out, fcn.save)
        proof = fcn.certificate
        assert proof is not None  # `to_fcn` verifies unless told otherwise
        if as_json:
            told = {
                "plan": dataclasses.asdict(plan),
                "certificate": dataclasses.asdict(proof),
                "written": str(out),
            }
            typer.echo(json.dumps(told, indent=2, default=str))
            return
        typer.echo(proof)
        typer.echo(f"written: {out}")
