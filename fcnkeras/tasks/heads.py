"""Models that predict the tasks of a schema from pictures.

A task model is two models in a row: features (`fcnkeras.tasks.features`), and a head, a nested
model with one output for each task. So a head can be trained on features that were computed once,
and is then the same head in the whole model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from fcnkeras.convert.graph import Call, Graph, run, trace
from fcnkeras.feeders import MASKED, get_feeder
from fcnkeras.layers import CropsToBatch, MaskedGlobalPooling2D, NativeWindow, PoolCrops
from fcnkeras.models.structure import native_shapes
from fcnkeras.tasks.classes import GroupTask
from fcnkeras.tasks.features import POOLINGS, feature_model
from fcnkeras.tasks.losses import LearnedWeightLoss
from fcnkeras.tasks.outputs import GroupSums, TaskSchema, TaskWeight
from fcnkeras.tasks.schema import Schema
from fcnkeras.tasks.schemas import dump_schema, parse_schema


def task_model(
    base: keras.Model,
    schema: Schema,
    head: str = "pooled",
    *,
    levels: str | Sequence[str] | None = None,
    drop_top: int | None = None,
    pooling: str = "avg",
    grid: tuple[int, int] = (5, 5),
    units: int = 256,
    dropout: float = 0.0,
    learned_weights: bool = False,
    feeding: tuple[str, int] | None = None,
    name: str | None = None,
) -> keras.Model:
    """A network with a head for every task of a schema, for pictures of any size.

    Args:
        base, levels, drop_top, pooling, grid: see `features.feature_model`.
        schema: what to predict; all classes must be known, see `Schema.fitted`.
        head: "pooled": the last map, pooled; "multi_level": the averages of all blocks, joined and
            of length 1; "mlsp": all blocks on a grid, for a network that stays frozen.
        units, dropout, learned_weights, feeding: see `head_model`.
        name: the model's name.

    Returns:
        A `keras.Model`, (batch, height, width, 3) in the pixel range of `base` to a dict of
        (batch, values) by task, with weights of its own.

    Raises:
        ValueError, ConversionError: see `features.feature_model`.

    Example:
        >>> base = keras.applications.ResNet50(include_top=False, weights=None)
        >>> model = task_model(base, load_schema("art_composition"), "multi_level")
        >>> model(np.zeros((1, 224, 300, 3), "float32"))["contrast"].shape
        (1, 1)
    """
    features = feature_model(
        base, head, levels=levels, drop_top=drop_top, pooling=pooling, grid=grid
    )
    shape = features.output.shape[1:]
    top = head_model(
        shape,
        schema,
        units=units,
        dropout=dropout,
        learned_weights=learned_weights,
        feeding=feeding,
    )
    return join_models(features, top, name=name or f"{base.name}_{schema.name}")


def head_model(
    features: tuple[int, ...],
    schema: Schema,
    *,
    units: int = 256,
    dropout: float = 0.0,
    learned_weights: bool = False,
    feeding: tuple[str, int] | None = None,
) -> keras.Model:
    """From features to the outputs of every task; it depends on each record alone.

    A Dense layer for each task, on vectors; on a grid of features after a 1x1 and a 3x3
    convolution with ReLU, which are averaged.

    Args:
        features: the shape of the features of one record, (channels,) or (rows, columns,
            channels).
        schema: what to predict.
        units: channels of the two convolutions.
        dropout: share dropped before the Dense layers while training.
        learned_weights: whether each task has a learned weight, see `losses.LearnedWeightLoss`.
        feeding: the feeder that pictures go through and what it is given; kept in the model.

    Returns:
        A `keras.Model` named "head", (batch, *features) to a dict of (batch, values) by task, in
        float32. Its layers are "logits_<task>" (Dense) and "<task>" (the output).

    Raises:
        ValueError: `dropout` is outside [0, 1), or a task's classes are not known.
    """
    if not 0 <= dropout < 1:
        raise ValueError(f"`dropout` must be in [0, 1). Received: {dropout}")
    given = keras.Input(features, name="features")
    x = TaskSchema(dump_schema(schema), *(feeding or ()), name="schema")(given)
    if len(features) == 3:
        x = layers.Conv2D(units, 1, activation="relu", name="grid_conv1")(x)
        x = layers.Conv2D(units, 3, activation="relu", padding="same", name="grid_conv2")(x)
        x = layers.GlobalAveragePooling2D(name="grid_mean")(x)
    if dropout:
        x = layers.Dropout(dropout, name="head_dropout")(x)
    outputs = {}
    for task in schema.tasks:
        if task.size:
            logits = layers.Dense(task.size, name=f"logits_{task.name}", dtype="float32")(x)
            outputs[task.name] = task.output_layer()(logits)
    for task in schema.tasks:
        if isinstance(task, GroupTask):
            parents = task.parents(schema.members_of(task).names)
            sums = GroupSums(parents, len(task.names), name=task.name, dtype="float32")
            outputs[task.name] = sums(outputs[task.of])
    if learned_weights:
        outputs = {
            name: TaskWeight(name=f"weight_{name}", dtype="float32")(output)
            for name, output in outputs.items()
        }
    return keras.Model(given, {name: outputs[name] for name in schema.names}, name="head")


def join_models(features: keras.Model, head: keras.Model, name: str | None = None) -> keras.Model:
    """The task model of features and a head, with the layers and weights of both."""
    return keras.Model(features.input, head(features.output), name=name)


def split_model(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """The features and the head of a task model, with its layers and weights."""
    head = _head_of(model)
    graph = trace(model)
    # A layer's own `output` may be that of another model, which shares it.
    (first,) = (call for call in graph.calls if isinstance(call.layer, TaskSchema))
    features = graph.tensors[first.inputs[0]]
    return keras.Model(model.input, features, name=f"{model.name}_features"), head


def _head_of(model: keras.Model) -> keras.Model:
    for layer in model.layers:
        if layer.name == "head" and isinstance(layer, keras.Model):
            return layer
    raise ValueError(f"Model '{model.name}' was not made by `task_model`: it has no head.")


def schema_of(model: keras.Model) -> Schema:
    """What a task model, or its head, predicts.

    Raises:
        ValueError: it was not made by `task_model`.
    """
    return parse_schema(_schema_layer(model).text)


def feeding_of(model: keras.Model) -> tuple[str, int] | None:
    """The feeder that a task model was trained with and what it was given, if the model knows.

    Raises:
        ValueError: it was not made by `task_model`.
    """
    layer = _schema_layer(model)
    if layer.feeder is None or layer.size is None:
        return None
    return layer.feeder, layer.size


def _schema_layer(model: keras.Model) -> TaskSchema:
    for layer in _layers(model):
        if isinstance(layer, TaskSchema):
            return layer
    raise ValueError(f"Model '{model.name}' was not made by `task_model`: it has no schema.")


def fed_task_model(model: keras.Model, feeder: str) -> keras.Model:
    """Wraps a task model so that it takes what `fcnkeras.batching` yields.

    Args:
        model: from `task_model`.
        feeder: "squash" and "crop" leave the model as it is; "pad" and "native" add the mask of
            real pixels, which reaches the pooling of every level; "multicrop" takes
            (batch, crops, height, width, 3) and averages the logits of the crops.

    Returns:
        A model that shares every layer and weight with `model`: training one trains both.

    Raises:
        ValueError: no such feeder, or masks for a grid ("mlsp"), whose cells know none.
    """
    get_feeder(feeder)  # raises for an unknown name
    if feeder in MASKED:
        return _with_mask(model)
    if feeder == "multicrop":
        return _with_crops(model)
    return model


def _with_mask(model: keras.Model) -> keras.Model:
    features, head = split_model(model)
    if len(features.output.shape) != 2:
        raise ValueError(
            f"The head of '{model.name}' averages over a grid, which cannot leave out padding: "
            "use the feeder squash, crop or multicrop."
        )
    mask = keras.Input((None, None), dtype="bool", name="mask")
    modes = {kind: mode for mode, kind in POOLINGS.items()}
    graph = trace(features)

    def call_layer(call: Call, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        if not (call.layer.name.startswith("pooled_") and type(call.layer) in modes):
            return call.layer(*args, **kwargs)
        window = _window(features, graph, call) if call.layer.name == "pooled_top" else (1, 1)
        name = f"masked_{call.layer.name}"
        return MaskedGlobalPooling2D(modes[type(call.layer)], window, name=name)([args[0], mask])

    picture = keras.Input(features.input.shape[1:], dtype=features.input.dtype, name="picture")
    x = run(graph, [picture], call_layer)[graph.outputs[0]]
    return keras.Model([picture, mask], head(x), name=f"{model.name}_masked")


def _window(features: keras.Model, graph: Graph, pool: Call) -> tuple[int, int]:
    """How many cells of the network's own map each place of the pooled one sees."""
    if not any(isinstance(layer, NativeWindow) for layer in features.layers):
        return (1, 1)
    (source,) = (call for call in graph.calls if pool.inputs[0] in call.outputs)
    own, places = native_shapes(features, ["features", source.layer.name])
    return own[1] - places[1] + 1, own[2] - places[2] + 1


def _with_crops(model: keras.Model) -> keras.Model:
    features, head = split_model(model)
    shape = features.input.shape[1:]
    crops = keras.Input((None, *shape), dtype=features.input.dtype, name="crops")

    def call_layer(call: Call, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        x = call.layer(*args, **kwargs)
        if call.layer.name.startswith("logits_"):
            x = PoolCrops("avg", name=f"crops_{call.layer.name}", dtype="float32")([x, crops])
        return x

    graph = trace(head)
    values = run(graph, [features(CropsToBatch(name="crops_to_batch")(crops))], call_layer)
    outputs = keras.tree.pack_sequence_as(graph.structure, [values[ref] for ref in graph.outputs])
    return keras.Model(crops, outputs, name=f"{model.name}_crops")


def compile_arguments(model: keras.Model) -> dict[str, Any]:
    """What `model.compile` needs besides the optimiser: losses, their weights, metrics.

    Args:
        model: from `task_model`, `head_model` or `fed_task_model`.

    Returns:
        `loss`, `loss_weights` and `weighted_metrics`, each by task; with learned weights, the
        losses are weighed by them.

    Example:
        >>> model.compile(keras.optimizers.Adam(1e-4), **compile_arguments(model))
        >>> model.fit(FedPictures(paintings, "native", 336, targets=schema.names))
    """
    schema = schema_of(model)
    weights = {layer.name: layer for layer in _layers(model) if isinstance(layer, TaskWeight)}
    losses: dict[str, keras.losses.Loss] = {}
    for task in schema.tasks:
        layer = weights.get(f"weight_{task.name}")
        loss = task.loss()
        losses[task.name] = loss if layer is None else LearnedWeightLoss(loss, layer)
    return {
        "loss": losses,
        "loss_weights": {task.name: task.weight for task in schema.tasks},
        "weighted_metrics": {task.name: task.metrics() for task in schema.tasks},
    }


def _layers(model: keras.Model) -> list[Any]:
    """The layers of a model and of those nested in it."""
    return list(trace(model).layers())
