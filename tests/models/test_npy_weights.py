"""Weights in pickled `.npy` files: read as NumPy reads them, and nothing in them ever runs."""

import builtins
import contextlib
import copyreg
import functools
import os
import pickle
import struct
import warnings

import keras
import numpy as np
import pytest
from keras import layers
from npy_files import FLOATS, OBJECTS, RECONSTRUCT, python2_pickle, wrapped, write

from fcnkeras.models import npy_weights
from fcnkeras.models.npy_weights import assign_weights, read_npy_weights


def weights():
    rng = np.random.default_rng(0)
    return {
        "conv1": [rng.normal(size=(3, 3, 2, 4)).astype("float32"), np.arange(4, dtype="float32")],
        "fc": [rng.normal(size=(300, 5)).astype("float32"), np.ones(5, "float32")],
    }


def assert_equal(read, expected):
    assert list(read) == list(expected)
    for name, arrays in expected.items():
        assert len(read[name]) == len(arrays)
        for a, b in zip(read[name], arrays, strict=True):
            assert a.dtype == b.dtype.newbyteorder("=")
            np.testing.assert_array_equal(a, b)


def test_reads_a_file_of_todays_numpy(tmp_path):
    np.save(tmp_path / "w.npy", weights())
    assert_equal(read_npy_weights(tmp_path / "w.npy"), weights())


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_reads_what_python_3_pickles(tmp_path, protocol):
    outer = np.array(weights(), dtype=object)
    path = write(tmp_path / "w.npy", pickle.dumps(outer, protocol))
    assert_equal(read_npy_weights(path), weights())


def test_reads_a_file_of_python_2(tmp_path):
    path = write(tmp_path / "w.npy", python2_pickle(weights()))
    assert_equal(read_npy_weights(str(path)), weights())
    with warnings.catch_warnings():  # the file made here is one that NumPy reads alike
        warnings.simplefilter("ignore", DeprecationWarning)
        theirs = np.load(path, allow_pickle=True, encoding="latin1").item()
    assert_equal(theirs, weights())


@pytest.mark.parametrize("dtype", [">f4", "<f8", "<f2"])
def test_reads_other_floats_in_any_order(tmp_path, dtype):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    given = {"layer": (array, np.asfortranarray(array))}
    np.save(tmp_path / "w.npy", given)
    assert_equal(read_npy_weights(tmp_path / "w.npy"), given)


# ---- files that would run code -------------------------------------------------------------------


class Reduces:
    """Pickles as a call of a function."""

    def __init__(self, *reduction):
        self.reduction = reduction

    def __reduce__(self):
        return self.reduction


def calls(function, *args):
    return lambda: Reduces(function, args)


def in_object_array(make):
    def build():
        array = np.empty(2, object)
        array[1] = {"deeper": [make()]}
        return {"conv1": [array]}

    return build


def with_state(make):
    """The payload hides in what `__setstate__` of an array is given."""
    return lambda: Reduces(np.array([1.0]).__reduce__()[0], (np.ndarray, (0,), b"b"), make())


RUN = "open('ran', 'w').close()"  # the working directory is the test's own
PAYLOADS = {
    "os.system": (calls(os.system, "echo > ran"), "system"),
    "eval": (calls(builtins.eval, RUN), "eval"),
    "exec": (calls(builtins.exec, RUN), "exec"),
    "partial": (calls(functools.partial, eval, RUN), "partial"),
    "map": (calls(list, Reduces(map, (eval, [RUN]))), "list"),
    "copyreg": (calls(copyreg._reconstructor, dict, object, None), "_reconstructor"),
    "object array": (in_object_array(calls(eval, RUN)), "eval"),
    "state of an array": (with_state(calls(eval, RUN)), "eval"),
    "NumPy's own": (calls(np.fromfile, "ran"), "fromfile"),
}
RUNS = ("os.system", "eval", "exec", "map", "object array")  # as they are, when NumPy reads them


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("name", PAYLOADS)
def test_a_payload_is_refused_by_name_and_does_not_run(tmp_path, monkeypatch, name, protocol):
    monkeypatch.chdir(tmp_path)
    make, culprit = PAYLOADS[name]
    content = {**weights(), "conv1": [make()]} if name != "object array" else make()
    outer = np.array(content, dtype=object)
    path = write(tmp_path / "w.npy", pickle.dumps(outer, protocol))
    with pytest.raises(ValueError, match=rf"w\.npy is refused: it asks for '.+{culprit}', but"):
        read_npy_weights(path)
    assert not (tmp_path / "ran").exists()
    if name in RUNS:  # the control: the payload is a real one
        np.load(path, allow_pickle=True)
        assert (tmp_path / "ran").exists()


DTYPE_CALL = b"cnumpy\ndtype\n"
RAW = {
    # A Python 2 class called by one opcode, by two, and a function that copyreg numbered.
    "INST": (b"(U\x0aecho > ranios\nsystem\n", "no pickle opcode INST .'os system'."),
    "OBJ": (b"(cos\nsystem\nU\x0aecho > rano", "asks for 'os.system'"),
    "OBJ of an allowed name": (b"(" + DTYPE_CALL + b"U\x02f4o", "opcode OBJ"),
    "NEWOBJ": (b"cnumpy\nndarray\n)\x81", "opcode NEWOBJ"),
    "EXT1": (b"\x82\x01", "opcode EXT1"),
    "EXT4": (b"\x84\x01\x00\x00\x00", "opcode EXT4"),
    "PERSID": (b"Psome id\n", "opcode PERSID .'some id'."),
    "BINPERSID": (b"U\x01xQ", "opcode BINPERSID"),
    "dotted": (b"\x8c\x05numpy\x8c\x10ndarray.__init__\x93", "asks for 'numpy.ndarray.__init__'"),
    "name that is no text": (b"K\x01K\x02\x93", "a name in it is no text"),
    # The allowed names, with other arguments or used as objects.
    "another codec": (b"c_codecs\nencode\nU\x01xU\x05rot13\x86R", "calls encode with other"),
    "encode of a name": (b"c_codecs\nencode\n" + DTYPE_CALL + b"U\x06latin1\x86R", "calls encode"),
    "subclass": (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\ndtype\nK\x00\x85U\x01b\x87R",
        "calls _reconstruct with other arguments",
    ),
    "structured dtype": (DTYPE_CALL + b"U\x05O,f4,\x85R", "calls dtype with other"),
    "call of data": (b"U\x01x)R", "it calls a str"),
    "call of an array": (RECONSTRUCT + b")R", "it calls an array"),
    "state of a name": (DTYPE_CALL + b"}U\x0c__setstate__cnumpy\nndarray\nsb", "sets the state"),
    "state of a dictionary": (b"}}U\x01xK\x01sb", "sets the state of a dict"),
    "state by attributes": (RECONSTRUCT + b"N}U\x06valuesK\x01s\x86b", "state of an array"),
    "state twice": (
        RECONSTRUCT + 2 * (b"(K\x01K\x01\x85" + FLOATS + b"\x89U\x04abcdtb"),
        "sets the state of an array",
    ),
    # With its flags at 0, NumPy would take the bytes for addresses of Python objects.
    "addresses of objects": (
        RECONSTRUCT
        + b"(K\x01K\x01\x85"
        + OBJECTS.replace(b"K?tb", b"K\x00tb")
        + b"\x89U\x08ABCDEFGHtb",
        "an array of objects is written as a str",
    ),
    "append to an array": (RECONSTRUCT + b"K\x01a", "appends to an array"),
    "keys that are no names": (b"}K\x01K\x02s", "names for keys"),
    "negative side": (
        RECONSTRUCT + b"(K\x01J\xff\xff\xff\xff\x85" + FLOATS + b"\x89U\x04abcdtb",
        "at most 8 whole numbers",
    ),
}


@pytest.mark.parametrize("name", RAW)
def test_raw_opcodes_are_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    opcodes, message = RAW[name]
    path = write(tmp_path / "w.npy", wrapped(b"}U\x05conv1](" + opcodes + b"es"))
    with pytest.raises(ValueError, match=f"w.npy is refused: .*{message}"):
        read_npy_weights(path)
    assert not (tmp_path / "ran").exists()


def test_a_function_of_copyregs_registry_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    copyreg.add_extension("builtins", "eval", 0xFC)
    try:
        outer = np.array({"conv1": [Reduces(eval, (RUN,))]}, dtype=object)
        pickled = pickle.dumps(outer, 2)
        assert b"eval" not in pickled  # the file names nothing
        path = write(tmp_path / "w.npy", pickled)
        with pytest.raises(ValueError, match="no pickle opcode EXT1"):
            read_npy_weights(path)
        assert not (tmp_path / "ran").exists()
        np.load(path, allow_pickle=True)
        assert (tmp_path / "ran").exists()
    finally:
        copyreg.remove_extension("builtins", "eval", 0xFC)


@pytest.mark.parametrize("source", ["python2", "today"])
def test_damaged_files_raise_nothing_else(tmp_path, monkeypatch, source):
    """Random bytes changed, and cut at random: the weights, or one ValueError."""
    monkeypatch.chdir(tmp_path)
    small = {"conv1": [np.ones((2, 2), "float32"), np.ones(2, "float32")]}
    outer = np.array(small, dtype=object)
    pickled = python2_pickle(small) if source == "python2" else pickle.dumps(outer, 4)
    rng = np.random.default_rng(0)
    read = 0
    for _ in range(400):
        changed = bytearray(pickled)
        for place in rng.integers(0, len(changed), rng.integers(1, 4)):
            changed[place] = rng.integers(0, 256)
        path = write(tmp_path / "w.npy", bytes(changed[: rng.integers(1, 2 * len(changed))]))
        with contextlib.suppress(ValueError):
            assert isinstance(read_npy_weights(path), dict)
            read += 1
    assert 0 < read < 200


# ---- files that are something else --------------------------------------------------------------


def test_a_file_cut_short(tmp_path):
    pickled = python2_pickle(weights())
    for length in (0, 1, 50, len(pickled) // 2, len(pickled) - 1):
        path = write(tmp_path / "w.npy", pickled[:length])
        with pytest.raises(ValueError, match=r"w\.npy is damaged or cut short \(.+\)$"):
            read_npy_weights(path)


def test_a_length_that_the_file_does_not_have(tmp_path):
    opcodes = b"}U\x05conv1\x8e" + struct.pack("<Q", 2**62) + b"abc"
    with pytest.raises(ValueError, match="damaged or cut short"):
        read_npy_weights(write(tmp_path / "w.npy", wrapped(opcodes)))


def test_bytes_that_do_not_fill_the_shape(tmp_path):
    array = RECONSTRUCT + b"(K\x01K\x02\x85" + FLOATS + b"\x89U\x04abcdtb"
    path = write(tmp_path / "w.npy", wrapped(b"}U\x05conv1](" + array + b"es"))
    with pytest.raises(ValueError, match=r"4 bytes for an array of shape \(2,\) of f4"):
        read_npy_weights(path)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"PK\x03\x04 zip", b"<html>not found"])
def test_not_a_npy_file(tmp_path, content):
    path = tmp_path / "w.npy"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"w\.npy is not a \.npy file: it begins with b'"):
        read_npy_weights(path)


@pytest.mark.parametrize(
    "array", [np.zeros((2, 3), "float32"), np.array([{}, {}], object)], ids=["floats", "objects"]
)
def test_a_npy_file_of_something_else(tmp_path, array):
    np.save(tmp_path / "w.npy", array)
    with pytest.raises(ValueError, match=r"must hold one dictionary .* header is .*'shape': \(2,"):
        read_npy_weights(tmp_path / "w.npy")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds an array, not a dictionary"),
        ({"conv1": np.ones(3)}, "weights of 'conv1' are not a list of arrays"),
        ({"conv1": [1.0, 2.0]}, "weights of 'conv1' are not a list of arrays"),
        ({"conv1": [np.array(["a"], object)]}, "weights of 'conv1' are not a list of arrays"),
        ({"conv1": [np.arange(3)]}, "calls dtype with other arguments"),
    ],
)
def test_a_pickle_of_something_else(tmp_path, content, message):
    outer = np.empty((), object)
    outer[()] = content
    np.save(tmp_path / "w.npy", outer)
    with pytest.raises(ValueError, match=message):
        read_npy_weights(tmp_path / "w.npy")


def test_a_missing_file(tmp_path):
    with pytest.raises(ValueError, match=r"No such weights file: .*absent\.npy"):
        read_npy_weights(tmp_path / "absent.npy")


def test_limits(tmp_path, monkeypatch):
    path = write(tmp_path / "w.npy", python2_pickle(weights()))
    size = path.stat().st_size
    monkeypatch.setattr(npy_weights, "MAX_BYTES", size - 1)
    with pytest.raises(ValueError, match=rf"may have {size - 1} bytes\. .* has {size}$"):
        read_npy_weights(path)
    monkeypatch.setattr(npy_weights, "MAX_BYTES", size)
    assert read_npy_weights(path)
    monkeypatch.setattr(npy_weights, "MAX_OPCODES", 50)
    with pytest.raises(ValueError, match="more than 50 pickle opcodes"):
        read_npy_weights(path)


def test_one_text_used_many_times_counts_each_time(tmp_path, monkeypatch):
    text = b"T" + struct.pack("<i", 4000) + bytes(4000) + b"q\x09"
    arrays = b""
    for _ in range(10):
        arrays += RECONSTRUCT + b"(K\x01M\xe8\x03\x85" + FLOATS + b"\x89" + text + b"tb"
        text = b"h\x09"
    path = write(tmp_path / "w.npy", wrapped(b"}U\x05conv1](" + arrays + b"es"))
    assert len(read_npy_weights(path)["conv1"]) == 10
    monkeypatch.setattr(npy_weights, "MAX_BYTES", 39_000)
    with pytest.raises(ValueError, match="arrays have more than 39000 bytes"):
        read_npy_weights(path)


# ---- into a model ------------------------------------------------------------------------------


def network():
    return keras.Sequential(
        [
            keras.Input((7, 7, 2)),
            layers.Conv2D(4, 3, name="conv1"),
            layers.Flatten(),
            layers.Dense(5, name="fc"),
        ],
        name="small",
    )


def fitting():
    return {**weights(), "fc": [np.ones((100, 5), "float32"), np.zeros(5, "float32")]}


def test_layers_take_the_weights_of_their_names():
    model = network()
    assign_weights(model, dict(reversed(fitting().items())))
    for name, arrays in fitting().items():
        for weight, array in zip(model.get_layer(name).get_weights(), arrays, strict=True):
            np.testing.assert_array_equal(weight, array)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fc": None}, "the file has no weights for 'fc'"),
        ({"fc9": [np.ones(3)]}, "the model has no weights for 'fc9'"),
        (
            {"fc": [np.ones((100, 6)), np.zeros(6)]},
            r"layer 'fc' needs shapes \(100, 5\), \(5,\), the file has \(100, 6\), \(6,\)",
        ),
        ({"fc": [np.ones((100, 5))]}, r"the file has \(100, 5\)$"),
    ],
)
def test_what_does_not_fit_changes_nothing(change, message):
    model = network()
    before = model.get_weights()
    given = {name: arrays for name, arrays in {**fitting(), **change}.items() if arrays is not None}
    with pytest.raises(ValueError, match=message):
        assign_weights(model, given)
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
