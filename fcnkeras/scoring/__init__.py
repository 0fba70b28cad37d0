"""Scoring: a model's answers to single pictures, and to collections of any size.

| module | what it does |
|---|---|
| scorer | a model with its feeder and engine: from a picture to named results |
| listing | folders, patterns and lists as a stream of paths |
| reading | from a file to what the network is fed, with the digest of its bytes |
| remote | the same for URLs of the cloud |
| engines, converted | Keras, or OpenVINO with the converted model kept beside the `.keras` file |
| runner | a list on one machine: decoding runs beside computing |
| ray_runner | a list on a Ray cluster: the same rows, whatever becomes of the workers |
| store | what was found so far, in one file that survives whatever ends the run |
| tables | the finished table |
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    if name in ("ClusterError", "score_ray"):  # loaded when used: with them comes the runner
        from fcnkeras.scoring import ray_runner

        return getattr(ray_runner, name)
    raise AttributeError(f"module 'fcnkeras.scoring' has no attribute {name!r}")
