"""Minimal GGUF v3 writer for fixtures: standard library only.

SPDX-License-Identifier: MIT
"""
import struct

ALIGN = 32
F32 = 0
U32_VALUE, I32_VALUE, F32_VALUE, BOOL_VALUE, STRING_VALUE, ARRAY_VALUE = 4, 5, 6, 7, 8, 9


def _string(s):
    raw = s if isinstance(s, bytes) else s.encode("utf-8")
    return struct.pack("<Q", len(raw)) + raw


def _scalar(kind, v):
    if kind == STRING_VALUE:
        return _string(v)
    return struct.pack({U32_VALUE: "<I", I32_VALUE: "<i", F32_VALUE: "<f", BOOL_VALUE: "<?"}[kind], v)


class Writer:
    """Collect keys and F32 tensors, then write them in the order they were added."""

    def __init__(self):
        self._keys, self._tensors = [], []

    def _put(self, key, kind, v):
        self._keys.append(_string(key) + struct.pack("<I", kind) + _scalar(kind, v))

    def u32(self, key, v):
        self._put(key, U32_VALUE, v)

    def f32(self, key, v):
        self._put(key, F32_VALUE, v)

    def bool(self, key, v):
        self._put(key, BOOL_VALUE, v)

    def string(self, key, v):
        self._put(key, STRING_VALUE, v)

    def array(self, key, kind, values):
        body = b"".join(_scalar(kind, v) for v in values)
        self._keys.append(_string(key) + struct.pack("<IIQ", ARRAY_VALUE, kind, len(values)) + body)

    def tensor(self, name, shape, data):
        """shape: slowest first; data: little-endian float32 bytes, row-major."""
        n = 4
        for d in shape:
            n *= d
        if n != len(data):
            raise ValueError(f"{name}: {len(data)} bytes do not fill shape {list(shape)}")
        self._tensors.append((name, tuple(shape), data))

    def write(self, path):
        head = b"GGUF" + struct.pack("<IQQ", 3, len(self._tensors), len(self._keys)) + b"".join(self._keys)
        offset = 0
        for name, shape, data in self._tensors:
            head += _string(name) + struct.pack("<I", len(shape))
            head += struct.pack(f"<{len(shape)}Q", *reversed(shape)) + struct.pack("<IQ", F32, offset)
            offset += -(-len(data) // ALIGN) * ALIGN
        with open(path, "wb") as f:
            f.write(head + b"\0" * (-len(head) % ALIGN))
            for _, _, data in self._tensors:
                f.write(data + b"\0" * (-len(data) % ALIGN))
