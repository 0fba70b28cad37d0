"""The certificate: it proves what is right and refuses what is wrong."""

from dataclasses import replace

import keras
import networks
import numpy as np
import pytest
from keras import layers

from fcnkeras import ConversionError, to_fcn
from fcnkeras.convert import rewrite

POINT = {"window": "point", "pooling": "max"}  # nothing to compare at the output: layers only


def test_says_what_was_compared():
    model = networks.build(networks.flatten_valid)
    certificate = to_fcn(model).certificate
    assert certificate.size == (24, 30)
    assert set(certificate.differences) == {"conv2", "fc1", "predictions"}
    assert len(certificate.outputs) == 1
    assert certificate.worst < 1e-5 < certificate.tolerance
    assert certificate.parameters == model.count_params()
    assert ("fc1", (1296, 16), (9, 12, 12, 16)) in certificate.weights
    assert "compared at 24x30 pixels" in str(certificate)
    assert "fc1: (1296, 16) -> (9, 12, 12, 16)" in str(certificate)


def test_compares_layers_only_where_the_outputs_may_differ():
    certificate = to_fcn(networks.build(networks.average_deep_head), **POINT).certificate
    assert certificate.outputs == ()
    assert {"hidden", "norm", "predictions"} <= set(certificate.differences)


def test_a_model_of_free_size_is_compared_at_a_usual_one():
    picture = keras.Input((None, None, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, name="last")(picture))
    model = keras.Model(picture, layers.Dense(2, name="decision")(x))
    certificate = to_fcn(model, window="point").certificate
    assert certificate.size == (224, 224)
    assert {"last", "decision"} <= set(certificate.differences)
    assert to_fcn(model, window="point", pooling="avg").certificate.outputs


def test_it_is_saved_with_the_model(tmp_path):
    fcn = to_fcn(networks.build(networks.flatten_valid))
    fcn.save(tmp_path / "fcn.keras")
    loaded = keras.models.load_model(tmp_path / "fcn.keras")
    assert loaded.certificate == fcn.certificate
    assert loaded.certificate.weights[0][0] == "fc1"


def test_without_proof_there_is_none():
    assert to_fcn(networks.build(networks.average_valid), verify=False).certificate is None


def swap_kernel_axes(twin):  # rows for columns
    kernel = networks.to_numpy(twin.kernel)
    twin.kernel.assign(kernel.transpose(1, 0, 2, 3).reshape(kernel.shape))


def flatten_channels_first(twin):
    rows, columns, channels, units = twin.kernel.shape
    flat = networks.to_numpy(twin.kernel).reshape(channels, rows, columns, units)
    twin.kernel.assign(flat.transpose(1, 2, 0, 3))


def drop_bias(twin):
    twin.bias.assign(np.zeros(twin.bias.shape))


def drop_kernel_of_one_unit(twin):
    kernel = networks.to_numpy(twin.kernel)
    kernel[..., 0] = 0
    twin.kernel.assign(kernel)


@pytest.mark.smoke
@pytest.mark.parametrize(
    "damage", [swap_kernel_axes, flatten_channels_first, drop_bias, drop_kernel_of_one_unit]
)
def test_wrong_weights_are_caught(monkeypatch, damage):
    model = networks.build(networks.flatten_valid)
    pictures = networks.random_pictures(3, 24, 30)
    move = rewrite._move_weights

    def move_wrongly(graph, plan, twins):
        move(graph, plan, twins)
        damage(next(twin for twin in twins.values() if twin.name == "fc1"))

    monkeypatch.setattr(rewrite, "_move_weights", move_wrongly)
    with pytest.raises(ConversionError, match=r"'fc1' differs from its twin by .*native size"):
        to_fcn(model)
    # The comparison that the parity tests make would fail as well.
    fcn = to_fcn(model, verify=False)
    reference = networks.logits(model, pictures)
    assert networks.difference(networks.fcn_logits(fcn, pictures)[:, 0, 0], reference) > 1e-2


@pytest.mark.parametrize("name", ["hidden", "norm", "predictions"])
def test_wrong_weights_are_caught_where_the_outputs_may_differ(monkeypatch, name):
    model = networks.build(networks.average_deep_head)
    move = rewrite._move_weights

    def move_wrongly(graph, plan, twins):
        move(graph, plan, twins)
        weights = next(twin for twin in twins.values() if twin.name == name).weights
        weights[-1].assign(weights[-1] + 0.5)

    monkeypatch.setattr(rewrite, "_move_weights", move_wrongly)
    with pytest.raises(ConversionError, match=f"'{name}'.* differs"):
        to_fcn(model, **POINT)


@pytest.mark.parametrize("deeper", [False, True])
def test_the_result_is_compared_with_the_model_itself(monkeypatch, deeper):
    """Not with a second reading of the graph, which would share its mistakes."""
    model, other = (networks.build(networks.average_valid, seed) for seed in (0, 1))
    if deeper:  # where the model's own tensors do not reach
        model, other = (keras.Sequential([keras.Input((24, 24, 3)), m]) for m in (model, other))
    graph, wrong = rewrite.trace(model), rewrite.trace(other)
    layers_of_other = {call.layer.name: call.layer for call in wrong.calls}
    graph.calls = [replace(c, layer=layers_of_other[c.layer.name]) for c in graph.calls]
    for call, ref in zip(reversed(graph.calls), graph.outputs, strict=False):
        assert ref in call.outputs
    monkeypatch.setattr(rewrite, "trace", lambda model: graph)
    with pytest.raises(ConversionError, match=r"'predictions \(output\)'|'conv2'"):
        to_fcn(model)


def test_a_subclass_whose_call_says_more_than_its_graph_is_caught():
    class Doubled(keras.Model):
        def call(self, inputs, training=None, mask=None):
            return 2.0 * super().call(inputs, training, mask)

    plain = networks.build(networks.average_valid)
    model = Doubled(plain.input, plain.output)
    with pytest.raises(ConversionError, match=r"'predictions \(output\)' differs"):
        to_fcn(model)


def test_equal_names_in_nested_models_are_told_apart():
    """The inner softmax stays, the outer one moves behind the pooling."""
    inside = keras.Input((24, 24, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(6, 3, activation="relu")(inside))
    base = keras.Model(inside, layers.Dense(4, activation="softmax", name="decision")(x))
    picture = keras.Input((24, 24, 3))
    model = keras.Model(
        picture, layers.Dense(3, activation="softmax", name="decision")(base(picture))
    )
    pictures = networks.random_pictures(4, 24, 24)
    networks.rescale_weights(model, pictures)
    fcn = to_fcn(model)
    assert networks.difference(fcn(pictures), model(pictures)) < 1e-5
    assert fcn.get_layer("decision").activation is keras.activations.softmax
    assert fcn.get_layer("decision_2").activation is keras.activations.linear


def test_values_that_are_not_finite_prove_nothing():
    model = networks.build(networks.average_valid)
    layer = model.get_layer("predictions")
    layer.bias.assign(np.full(5, np.nan))
    with pytest.raises(ConversionError, match=r"'predictions' gives values that are not finite"):
        to_fcn(model)
    assert to_fcn(model, verify=False).output_shape == (None, 5)


@pytest.mark.parametrize("damage", [swap_kernel_axes, flatten_channels_first])
def test_a_wrong_kernel_before_an_activation_that_saturates_is_caught(monkeypatch, damage):
    """Noise drives a hard sigmoid to 0 or 1, whatever the order of the kernel."""
    x = picture = keras.Input((9, 12, 3))
    x = layers.Dense(2, activation="hard_sigmoid", name="flat")(layers.Flatten()(x))
    model = keras.Model(picture, layers.Dense(3, activation="sigmoid")(x))
    model.get_layer("flat").kernel.assign(np.random.default_rng(0).normal(size=(324, 2)))
    move = rewrite._move_weights

    def move_wrongly(graph, plan, twins):
        move(graph, plan, twins)
        damage(next(t for t in twins.values() if t.name == "flat"))

    monkeypatch.setattr(rewrite, "_move_weights", move_wrongly)
    with pytest.raises(ConversionError, match=r"Layer 'flat'.*differs"):
        to_fcn(model)
