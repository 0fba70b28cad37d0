"""Small ICC profiles (version 2 of the specification, ICC.1:2001-04), made byte by byte."""

import struct

import numpy as np

D50 = (0.9642, 1.0, 0.8249)
# The primaries of sRGB, adapted to D50: the columns of IEC 61966-2-1's matrix after Bradford.
RED, GREEN, BLUE = (0.4360, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)


def srgb_to_linear(values: np.ndarray) -> np.ndarray:
    """The curve of IEC 61966-2-1, for values of 0-1."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(values: np.ndarray) -> np.ndarray:
    return np.where(values <= 0.0031308, values * 12.92, 1.055 * values ** (1 / 2.4) - 0.055)


def gamma(exponent: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(exponent * 256))


def table(values: np.ndarray) -> bytes:
    levels = np.rint(values * 65535).astype(">u2")
    return b"curv" + bytes(4) + struct.pack(">I", len(levels)) + levels.tobytes()


SRGB_CURVE = table(srgb_to_linear(np.linspace(0, 1, 1024)))


def xyz(values: tuple[float, float, float]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in values))


def profile(space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    """A profile of this colour space ("RGB "), connected through "XYZ " or "Lab "."""
    table_size = 4 + 12 * len(tags)
    index, data = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        index += name + struct.pack(">II", 128 + table_size + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    kind = b"prtr" if space == b"CMYK" else b"mntr"
    header = struct.pack(">I4sI4s4s4s", 128 + table_size + len(data), b"", 0x02100000, kind,
                         space, connection)  # fmt: skip
    header += struct.pack(">6H4s", 2024, 1, 1, 0, 0, 0, b"acsp") + bytes(28)
    header += xyz(D50)[8:]
    return header.ljust(128, b"\0") + index + data


def rgb(
    primaries: tuple[tuple[float, float, float], ...] = (RED, GREEN, BLUE),
    curve: bytes = SRGB_CURVE,
) -> bytes:
    names = (b"rXYZ", b"gXYZ", b"bXYZ")
    tags = {name: xyz(primary) for name, primary in zip(names, primaries, strict=True)}
    curves = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    return profile(b"RGB ", b"XYZ ", {b"wtpt": xyz(D50), **tags, **curves})


def grey(curve: bytes) -> bytes:
    return profile(b"GRAY", b"XYZ ", {b"wtpt": xyz(D50), b"kTRC": curve})


def cmyk(corner: dict[tuple[int, int, int, int], tuple[float, float, float]]) -> bytes:
    """A press by the CIELAB colour (D50) of each of the 16 combinations of full and no ink."""
    identity = np.arange(256, dtype=np.uint8).tobytes()
    matrix = struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    grid = b""
    for inks in np.ndindex(2, 2, 2, 2):  # the last ink varies fastest
        lightness, a, b = corner[inks]
        grid += bytes((round(lightness * 2.55), round(a + 128), round(b + 128)))
    lut = b"mft1" + bytes(4) + bytes((4, 3, 2, 0)) + matrix + 4 * identity + grid + 3 * identity
    return profile(b"CMYK", b"Lab ", {b"wtpt": xyz(D50), b"A2B0": lut})
