#!/usr/bin/env python3
"""Write tests/golden/quant_blocks.txt: blocks of every GGUF type and the floats they stand for.

usage: quant_golden.py OUT.txt        (needs the Python packages gguf and numpy)

The bytes are random; the floats are what gguf.quants.dequantize, an implementation that shares no
code with ours, makes of them. A type starts with a line "TYPE bytes N values M"; then come the bytes
and the bits of the floats in hexadecimal. SPDX-License-Identifier: MIT
"""
import importlib.metadata
import sys

import gguf
import numpy as np

SEED = 20251121
PER_LINE = 16
TYPES = "F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS MXFP4".split()

# Where a block keeps its f16 scales, in bytes. Random bits there would give NaN and infinity.
F16_AT = {"F16": [0], "Q4_1": [0, 2], "Q5_1": [0, 2], "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2],
          "Q5_K": [0, 2], "Q6_K": [208], "BF16": [], "MXFP4": []}


def f16_scale(rng, i):
    """Both signs, many exponents; the third of a column is a subnormal f16."""
    if i == 2:
        return np.uint16(rng.integers(1, 0x400) | rng.integers(0, 2) << 15)
    return np.float16(rng.choice([-1, 1]) * rng.uniform(1, 2) * 2.0 ** rng.integers(-14, 4)).view(np.uint16)


def blocks_of(rng, name, length, size):
    n = {1: 32, 32: 6, 256: 3}[length]
    raw = rng.integers(0, 256, (n, size), dtype=np.uint8)
    for at in F16_AT.get(name, [0]):
        raw[:, at:at + 2] = np.array([f16_scale(rng, i) for i in range(n)], np.uint16)[:, None].view(np.uint8)
    if name == "MXFP4":  # the first exponents are subnormal floats; 255 is NaN here and not in the package
        raw[:, 0] = [0, 1, 2, 120, 129, 252][:n]
    if name == "BF16":
        raw[:, 1] &= 0xBF  # exponent below 128: finite
    return raw


def lines(values, form):
    for i in range(0, len(values), PER_LINE):
        yield " ".join(form % v for v in values[i:i + PER_LINE])


def main():
    rng = np.random.default_rng(SEED)
    out = [f"# tools/quant_golden.py, seed {SEED}, gguf {importlib.metadata.version('gguf')}"]
    for name in TYPES:
        qtype = gguf.GGMLQuantizationType[name]
        raw = blocks_of(rng, name, *gguf.GGML_QUANT_SIZES[qtype])
        values = gguf.quants.dequantize(raw.reshape(1, -1), qtype).astype(np.float32).reshape(-1)
        assert np.isfinite(values).all(), name
        out += [f"{name} bytes {raw.size} values {values.size}", *lines(raw.reshape(-1), "%02x"),
                *lines(values.view(np.uint32), "%08x")]
    with open(sys.argv[1], "w", encoding="ascii") as f:
        f.write("\n".join(out) + "\n")


if __name__ == "__main__":
    main()
