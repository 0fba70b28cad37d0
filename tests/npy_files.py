"""Pickled `.npy` files of weights, written by hand, opcode by opcode."""

import struct


def write(path, pickled, header="{'descr': '|O', 'fortran_order': False, 'shape': (), }"):
    """A version 1 .npy file around a pickle, by hand."""
    header = header.ljust(117) + "\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode())
    with path.open("ab") as file:
        file.write(pickled)
    return path


# ---- Python 2 (protocol 2, text for bytes, one memoised dtype), opcode by opcode ----------------

RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
OBJECTS = (
    b"cnumpy\ndtype\nU\x02O8K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb"
)
FLOATS = (
    b"cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
)


def python2_array(array, dtype):
    shape = b"(" + b"".join(b"J" + struct.pack("<i", side) for side in array.shape) + b"t"
    data = array.tobytes()
    text = b"T" + struct.pack("<i", len(data)) + data
    return RECONSTRUCT + b"(K\x01" + shape + dtype + b"\x89" + text + b"tb"


def wrapped(content):
    """The pickle of a 0-d object array around what the opcodes `content` make."""
    return b"\x80\x02" + RECONSTRUCT + b"(K\x01)" + OBJECTS + b"\x89]" + content + b"atb."


def python2_pickle(arrays_by_name):
    content, dtype = b"}(", FLOATS + b"q\x07"
    for name, arrays in arrays_by_name.items():
        content += b"U" + bytes([len(name)]) + name.encode() + b"]("
        for array in arrays:
            content += python2_array(array, dtype)
            dtype = b"h\x07"
        content += b"e"
    return wrapped(content + b"u")
