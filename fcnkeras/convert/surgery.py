"""What every operation on a graph needs: new layers with names of their own, and weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from keras import layers, ops

from fcnkeras.convert.graph import ConversionError, Graph


def unique_names(
    graph: Graph, rename: Callable[[str], str] = lambda name: name
) -> Iterator[tuple[Any, str]]:
    """Every layer with a name for its twin: its own after `rename`, numbered where two opened
    models use one."""
    taken: set[str] = set()
    for layer in graph.layers():
        own = name = rename(layer.name)
        count = 1
        while name in taken:
            count += 1
            name = f"{own}_{count}"
        taken.add(name)
        yield layer, name


@contextmanager
def made_anew(layer: Any) -> Iterator[None]:
    """Says which layer it was that Keras could not make anew or build for a free size."""
    try:
        yield
    except (TypeError, ValueError, NotImplementedError) as error:
        # Keras puts the cause behind a whole configuration.
        text = str(error).strip().split("Exception encountered: ")[-1]
        reason = text.split("\n")[0].split(". ")[0][:200]
        raise ConversionError(
            f"Layer '{layer.name}' ({type(layer).__name__}) cannot be made anew for pictures of "
            f"any size ({reason}): write it with layers that Keras can serialise and that keep "
            "no weight for each place of the map."
        ) from error


def clone_layers(graph: Graph) -> dict[int, Any]:
    """A new layer of the same configuration for every layer of the graph, by the layer's id."""
    clones = {}
    for layer, name in unique_names(graph):
        with made_anew(layer):
            clones[id(layer)] = type(layer).from_config({**layer.get_config(), "name": name})
    return clones


def move_weights(
    sources: Iterable[Any],
    twins: Mapping[int, Any],
    fit: Callable[[Any, Any, tuple], Any] = lambda layer, value, shape: ops.reshape(value, shape),
) -> None:
    """Gives every twin its source's weights, each brought to the twin's shape by `fit(layer,
    value, shape)`."""
    for layer in sources:
        twin = twins[id(layer)]
        pairs = zip(getattr(layer, "weights", []), getattr(twin, "weights", []), strict=True)
        for weight, target in pairs:
            value = fit(layer, weight.value, tuple(target.shape))
            # JAX gives the source's own buffer back, and frees it when one of the two trains.
            target.assign(ops.copy(value) if value is weight.value else value)
        if isinstance(twin, layers.Normalization):
            twin.finalize_state()  # computes with copies of its weights
