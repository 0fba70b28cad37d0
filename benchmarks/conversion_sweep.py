"""Is every network equal to the FCN made from it? One row a network, each in its own process.

The networks: all classifiers of `keras.applications` with their 1000 classes; KerasHub's image
classifiers from configuration (`hub_classifiers.py`; left out where KerasHub is not installed);
AlexNet; the hand-made shapes of `hand_made.py`. Their weights are random, rescaled until the
logits have a standard deviation near 1 over random pictures, as freshly initialised networks hardly
vary. Nothing is downloaded. The columns of the CSV:

- network, source (applications, keras_hub, fcnkeras, hand-made), native (pixels), parameters
- status: "equal"; "refused: ..." with the ConversionError, which names a layer; "failed: ..."
- parity: the FCN's logits against the network's at its native size, the largest difference relative
  to the largest logit; logit_std: over pictures, mean of the classes
- sliding: the same at a larger size, against the network itself slid over the picture, window by
  window; only where no layer pads, as a padded network sees its own borders in each window
- head_sliding: at a larger size, against the network's own head slid over the map that its own
  layers, cloned by Keras for that size, give (not for the hand-made ones)
- build_seconds, convert_seconds (with verify); peak_mib: the most memory that building and
  converting held above the level before, peak_over_models: relative to the weights of both models
- note: why a column is empty

    python benchmarks/conversion_sweep.py [--only NETWORK ...] [--out FILE.csv] [--resume]

Exits with 1 if a row failed.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import hand_made
import hub_classifiers
import keras
import numpy as np
from measuring import PeakMemory, run_child
from networks import difference
from rescaling import logits, rescale
from sliding import (
    flat_layers,
    head_sliding_difference,
    native_size,
    pictures_for,
    sliding_difference,
    split,
)

from fcnkeras import ConversionError, to_fcn
from fcnkeras.files import read_csv, write_csv, write_json
from fcnkeras.models.alexnet import AlexNet

COLUMNS = (
    *("network", "source", "native", "parameters", "status"),
    *("parity", "logit_std", "sliding", "head_sliding"),
    *("build_seconds", "convert_seconds", "peak_mib", "peak_over_models", "note"),
)
LIMIT, LEAST_STD = 1e-4, 0.5
PICTURES = 3
RESULT = Path(__file__).parent / "results" / "conversion_sweep.csv"
Builder = Callable[[], keras.Model]


def all_networks() -> dict[str, tuple[str, Builder]]:
    """Every network's source and constructor, by its name."""
    applications = {
        name: ("applications", partial(getattr(keras.applications, name), weights=None))
        for name in sorted(dir(keras.applications))
        if name[0].isupper()
    }
    for name in ("MobileNetV3Large", "MobileNetV3Small"):  # of free size unless told
        build = partial(applications[name][1], input_shape=(224, 224, 3))
        applications[name] = ("applications", build)
    hub: dict[str, tuple[str, Builder]] = {}
    if importlib.util.find_spec("keras_hub"):
        names = hub_classifiers.CLASSIFIERS
        hub = {name: ("keras_hub", partial(hub_classifiers.build, name)) for name in names}
    shapes = {shape.__name__: ("hand-made", shape) for shape in hand_made.SHAPES}
    return {**applications, **hub, "AlexNet": ("fcnkeras", AlexNet), **shapes}


# ---- one network, in a process of its own ------------------------------------------------------


def measure(network: str) -> dict[str, Any]:
    """The row of one network."""
    source, build = all_networks()[network]
    row: dict[str, Any] = {"network": network, "source": source, "note": ""}
    keras.utils.set_random_seed(0)
    np.asarray(keras.ops.zeros(1) + 1)  # the start of the backend is not the network's
    if source == "keras_hub":
        importlib.import_module("keras_hub")
    with PeakMemory() as memory:
        model, row["build_seconds"] = _timed(build)
        row["native"] = "x".join(map(str, native_size(model)))
        row["parameters"] = model.count_params()
        try:
            fcn, row["convert_seconds"] = _timed(partial(to_fcn, model, pooling=None))
        except ConversionError as error:
            return {**row, "status": _refusal(model, error)}
    if memory.bytes is not None:
        both = sum(np.asarray(weight).nbytes for weight in [*model.weights, *fcn.weights])
        row["peak_mib"] = round(memory.bytes / 2**20)
        row["peak_over_models"] = round(memory.bytes / both, 2)
    del fcn
    # As trained weights would, these make the logits differ, those of the certificate too.
    pictures = pictures_for(model, PICTURES)
    rescale(model, pictures)
    try:
        row |= _compare(network, source, model, to_fcn(model, pooling=None), pictures)
    except ConversionError as error:
        return {**row, "status": _refusal(model, error)}
    return {**row, "status": _verdict(row)}


def _timed(make: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    return make(), round(time.perf_counter() - start, 2)


def _compare(
    network: str, source: str, model: keras.Model, fcn: keras.Model, pictures: np.ndarray
) -> dict[str, Any]:
    maps = _maps(fcn)
    reference = logits(model, pictures)
    parity = max(
        difference(np.asarray(values), value[:, None, None])
        for values, value in zip(maps(pictures), reference, strict=True)
    )
    sliding, reason = sliding_difference(model, maps)
    head_sliding, head_reason = _head_sliding(network, source, model, maps)
    return {
        "parity": parity,
        "logit_std": float(np.mean([value.std(axis=0).mean() for value in reference])),
        "sliding": sliding,
        "head_sliding": head_sliding,
        "note": "; ".join(filter(None, (reason, head_reason))),
    }


def _refusal(model: keras.Model, error: ConversionError) -> str:
    """Only an FCN that was never made is refused; one that its certificate rejects has failed."""
    reason = " ".join(str(error).split())
    try:
        to_fcn(model, verify=False)
    except ConversionError:
        named = any(f"'{layer.name}'" in reason for layer in flat_layers(model))
        return f"refused: {reason}" if named else f"failed: no layer named, {reason}"
    return f"failed: {reason}"


def _verdict(row: dict[str, Any]) -> str:
    for column in ("parity", "sliding", "head_sliding"):
        if row[column] is not None and not row[column] <= LIMIT:
            return f"failed: {column} differs by {row[column]:.1e}, more than {LIMIT:.0e}"
    if row["logit_std"] < LEAST_STD:
        return f"failed: logits of deviation {row['logit_std']:.2g} prove little"
    return "equal"


def _maps(fcn: keras.Model) -> Any:
    """The model of the maps of logits, one for each output."""
    found = (re.fullmatch(r"pooled(?:_(\d+))?", layer.name) for layer in fcn.layers)
    names = {int(match[1] or 1): match[0] for match in found if match}
    maps = [fcn.get_layer(names[number]).output for number in sorted(names)]
    model = keras.Model(fcn.input, maps)
    return lambda pictures: keras.tree.flatten(model(pictures, training=False))


def _head_sliding(
    network: str, source: str, model: keras.Model, maps: Any
) -> tuple[float | None, str]:
    if source == "keras_hub":
        trunk = hub_classifiers.build_backbone(network, None)
        trunk.set_weights(model.backbone.get_weights())
        return head_sliding_difference(trunk, model.layers[2:], model, maps)
    if source == "hand-made":  # several of them branch behind the end of the map
        return None, ""
    return head_sliding_difference(*split(model), model, maps)


# ---- all networks ------------------------------------------------------------------------------


def sweep(chosen: list[str], kept: dict[str, dict[str, Any]], options: argparse.Namespace) -> int:
    """Measures the chosen networks, and writes the CSV after each; the number of failed rows."""
    known = all_networks()
    place = {name: number for number, name in enumerate(known)}
    rows = dict(kept)

    def run(network: str) -> dict[str, Any]:
        row = run_child(Path(__file__), ["--child", network], options.timeout)
        if "crash" in row:
            status = f"failed: {row['crash']}"
            row = {"network": network, "source": known[network][0], "status": status}
        return row

    with ThreadPoolExecutor(options.jobs) as pool:
        tasks = [pool.submit(run, network) for network in chosen]
        for task in as_completed(tasks):
            row = _rounded(task.result())
            rows[row["network"]] = row
            _show(row, len(rows))
            ordered = sorted(rows.values(), key=lambda row: place.get(row["network"], len(place)))
            write_csv(options.out, ordered, COLUMNS)
    return sum(row["status"].startswith("failed") for row in rows.values())


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    formats = {"parity": ".1e", "sliding": ".1e", "head_sliding": ".1e", "logit_std": ".2f"}
    return {
        key: "" if value is None else format(value, formats[key]) if key in formats else value
        for key, value in row.items()
    }


def _show(row: dict[str, Any], number: int) -> None:
    print(
        f"{number:3d} {row['network']:22} {row.get('parity', ''):8} {row.get('sliding', ''):8} "
        f"{row.get('head_sliding', ''):8} {row.get('convert_seconds', '')!s:>7} s "
        f"{row.get('peak_mib', '')!s:>6} MiB  {row['status']}",
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="NETWORK", help="these networks alone")
    parser.add_argument("--out", type=Path, default=RESULT, help="the CSV (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="processes at once (default: 1)")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds for one network")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="keep the rows of the CSV, except failed ones and those that --only names",
    )
    parser.add_argument("--child", nargs=2, metavar=("NETWORK", "JSON"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        network, result = options.child
        write_json(Path(result), measure(network))
        return 0
    known = list(all_networks())
    unknown = sorted(set(options.only or ()) - set(known))
    if unknown:
        parser.error(f"no such network: {', '.join(unknown)}. Known: {', '.join(known)}")
    if not importlib.util.find_spec("keras_hub"):
        print("KerasHub is not installed, so its classifiers are left out: pip install keras-hub")
    old = {row["network"]: row for row in read_csv(options.out)} if options.resume else {}
    chosen = options.only or [
        name for name in known if old.get(name, {}).get("status", "failed").startswith("failed")
    ]
    kept = {name: row for name, row in old.items() if name not in chosen}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    failed = sweep(chosen, kept, options)
    print(f"wrote {options.out} in {time.perf_counter() - start:.0f} s; {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
