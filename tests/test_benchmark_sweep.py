"""What `benchmarks/conversion_sweep.py` writes is true: of a right network, and of wrong ones."""

import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from fcnkeras import to_fcn
from fcnkeras.files import read_csv

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import conversion_sweep
import measuring
import networks
import rescaling
import sliding


def maps_of(model, change=lambda values: values):
    fcn = to_fcn(model, pooling=None)
    logits = keras.Model(fcn.input, fcn.get_layer("pooled").output)
    return lambda pictures: [change(networks.to_numpy(logits(pictures)))]


def test_a_right_network_gives_a_row_that_says_so():
    row = conversion_sweep.measure("flatten_valid")
    assert row["status"] == "equal"
    assert (row["source"], row["native"]) == ("hand-made", "24x30")
    # 24x30 -> 22x28 -> 11x14 -> 9x12 cells of 12 channels
    assert row["parameters"] == (27 * 8 + 8) + (72 * 12 + 12) + (9 * 12 * 12 * 16 + 16) + 85
    assert row["parity"] < 1e-5
    assert row["sliding"] < 1e-5
    assert 0.5 < row["logit_std"] < 2
    assert set(row) <= set(conversion_sweep.COLUMNS)


@pytest.mark.parametrize(
    ("network", "native"), [("multi_level", "31x39"), ("channels_first", "24x30")]
)
def test_levels_and_channels_first_are_slid_too(network, native):
    row = conversion_sweep.measure(network)
    assert (row["status"], row["native"]) == ("equal", native)
    assert row["sliding"] < 1e-5


def test_a_network_that_pads_says_why_its_windows_are_not_compared():
    row = conversion_sweep.measure("maximum_same")
    assert row["status"] == "equal"
    assert row["sliding"] is None
    assert row["note"] == "no sliding: layer 'conv1' pads"


def test_a_wrong_fcn_fails(monkeypatch):
    def wrong(model, **options):
        fcn = to_fcn(model, **options)
        kernel = fcn.get_layer("fc1").kernel
        kernel.assign(keras.ops.flip(kernel, axis=1))
        return fcn

    monkeypatch.setattr(conversion_sweep, "to_fcn", wrong)
    row = conversion_sweep.measure("flatten_valid")
    assert row["status"].startswith("failed: parity differs")


def test_logits_that_hardly_vary_fail(monkeypatch):
    monkeypatch.setattr(conversion_sweep, "rescale", lambda model, pictures: model)
    row = conversion_sweep.measure("average_valid")
    assert row["status"].endswith("prove little")


def test_a_refused_network_names_its_layer(monkeypatch):
    def tokens():
        picture = keras.Input((24, 24, 3))
        x = layers.Reshape((9, 8), name="tokens")(layers.Conv2D(8, 8, strides=8)(picture))
        x = layers.GlobalAveragePooling1D(name="mean")(x)
        return keras.Model(picture, layers.Dense(5, name="predictions")(x))

    monkeypatch.setattr(conversion_sweep, "all_networks", lambda: {"tokens": ("hand-made", tokens)})
    assert conversion_sweep.measure("tokens")["status"].startswith("refused: ")


@pytest.mark.parametrize("network", [networks.flatten_valid, networks.nested])
def test_sliding_sees_maps_that_are_wrong_at_a_larger_size_only(network):
    model = networks.build(network)
    right, _ = sliding.sliding_difference(model, maps_of(model))
    rows, _ = sliding.sliding_difference(model, maps_of(model, lambda map_: map_[:, ::-1]))
    columns, _ = sliding.sliding_difference(model, maps_of(model, lambda map_: map_[:, :, ::-1]))
    assert right < 1e-5
    assert min(rows, columns) > 0.05


def test_head_sliding_sees_maps_that_are_wrong_at_a_larger_size_only():
    # 24 pixels are a window of 12 cells; 32 and 64 pixels more give 17 x 33 places for it
    model = networks.build(networks.flatten_same)
    trunk, head = sliding.split(model)
    right, _ = sliding.head_sliding_difference(trunk, head, model, maps_of(model))
    wrong, _ = sliding.head_sliding_difference(
        trunk, head, model, maps_of(model, lambda map_: map_[:, :, ::-1])
    )
    assert right < 1e-5
    assert wrong > 0.05


def test_logits_are_what_stands_before_the_activation_of_a_nested_head():
    base = keras.Sequential([keras.Input((6, 6, 3)), layers.Flatten(), layers.Dense(4)])
    base.add(layers.Softmax())
    picture = keras.Input((6, 6, 3))
    model = keras.Model(picture, base(picture))
    x = networks.random_pictures(2, 6, 6)
    kernel, bias = (networks.to_numpy(weight) for weight in base.layers[1].weights)
    np.testing.assert_allclose(
        rescaling.logits(model, x)[0], x.reshape(2, -1) @ kernel + bias, rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(networks.to_numpy(model(x)).sum(1), 1, rtol=1e-5)


def test_peak_memory_counts_what_the_block_holds():
    with measuring.PeakMemory() as memory:
        block = bytearray(64 << 20)
        del block
    if memory.bytes is None:
        pytest.skip("this system does not let a process reset its peak")
    assert 60 << 20 < memory.bytes < 80 << 20


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os; os.kill(os.getpid(), 9)", "ended with signal 9"),
        ("raise ValueError('no such thing')", "exit code 1, ValueError: no such thing"),
        ("import time; time.sleep(60)", "took longer than 1 seconds"),
    ],
)
def test_a_process_that_dies_is_told(tmp_path, code, reason):
    script = tmp_path / "script.py"
    script.write_text(code)
    timeout = 1 if "sleep" in code else 60
    assert measuring.run_child(script, [], timeout) == {"crash": reason}


def test_a_process_gives_its_result(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import sys, pathlib; pathlib.Path(sys.argv[2]).write_text('{\"a\": 1}')")
    assert measuring.run_child(script, ["x"], 60) == {"a": 1}


def run_sweep(monkeypatch, path, *arguments, fails=()):
    """The exit code, and the networks that were measured, with processes that only pretend."""
    measured = []

    def pretend(script, arguments, timeout):
        network = arguments[1]
        measured.append(network)
        if network in fails:
            return {"crash": "ended with signal 9"}
        return {"network": network, "source": "hand-made", "status": "equal", "parity": 1e-6}

    monkeypatch.setattr(conversion_sweep, "run_child", pretend)
    monkeypatch.setattr(sys, "argv", ["sweep", "--out", str(path), *arguments])
    return conversion_sweep.main(), measured


def test_a_crash_is_a_row_and_resume_measures_it_again(monkeypatch, tmp_path):
    path = tmp_path / "sweep.csv"
    three = ("--only", "nested", "AlexNet", "VGG16")
    code, measured = run_sweep(monkeypatch, path, *three, fails={"AlexNet"})
    assert (code, measured) == (1, ["nested", "AlexNet", "VGG16"])
    rows = {row["network"]: row["status"] for row in read_csv(path)}
    assert rows == {
        "VGG16": "equal",
        "AlexNet": "failed: ended with signal 9",
        "nested": "equal",
    }

    code, measured = run_sweep(monkeypatch, path, "--resume", "--only", "VGG16")
    assert (code, measured) == (1, ["VGG16"])  # AlexNet's row is still there

    code, measured = run_sweep(monkeypatch, path, "--resume")
    assert code == 0
    assert "AlexNet" in measured
    assert not {"VGG16", "nested"} & set(measured)
    assert [row["network"] for row in read_csv(path)] == list(conversion_sweep.all_networks())


def test_a_network_that_is_not_there_is_named(monkeypatch, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run_sweep(monkeypatch, tmp_path / "sweep.csv", "--only", "VGG17")
    assert "no such network: VGG17" in capsys.readouterr().err


def test_all_forty_networks_of_keras_are_there():
    sources = [source for source, _ in conversion_sweep.all_networks().values()]
    assert sources.count("applications") == 40
    assert sources.count("hand-made") >= 6
