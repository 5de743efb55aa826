# SPDX-License-Identifier: MIT
"""Golden logits of a GGUF, and samples of what it writes.

    python golden.py --gguf models/lever-demo-target.Q8_0.gguf --tokenizer WORK/tokenizer.json \
        --out tests/golden/demo_target.logits.txt
    python golden.py --gguf ... --tokenizer ... --prompt "Once upon a time" --temperature 0.7

The reference is model.py in float64 on the dequantised weights, activations never
quantised: an independent answer that an engine must approach, not match bit for bit.
"""

import argparse
import hashlib
import os

import torch
from tokenizers import Tokenizer

import gguf_io
from model import generate

TOKENS, TOP = 32, 8
POSITIONS = (3, 12, 21, 31)


def encode(tok, text):
    return torch.tensor([tok.encode(text).ids])


def write_golden(a, model, tok):
    with open(a.gguf, "rb") as f:
        digest = hashlib.sha256(f.read()).hexdigest()
    prompt = encode(tok, "Once upon a time")
    ids = torch.cat([prompt, generate(model, prompt, TOKENS - prompt.shape[1])], 1)
    with torch.no_grad():
        logits = model.double()(ids)[0]
    name = os.path.basename(a.gguf)
    with open(a.out, "w") as f:
        f.write(
            f"# Reference logits of {name}\n# sha256 of the model file: {digest}\n"
            "# Written by tools/train/golden.py: PyTorch, float64, weights dequantised from the file,\n"
            "# activations not quantised. The tokens are the model's own greedy text after\n"
            '# "Once upon a time". "pos P" holds the largest logits after reading tokens 0..P,\n'
            "# largest first, as token-id:logit.\n"
        )
        f.write("tokens: " + " ".join(map(str, ids[0].tolist())) + "\n")
        for p in POSITIONS:
            v, i = logits[p].topk(TOP)
            f.write(f"pos {p}: " + " ".join(f"{t}:{x:.5f}" for t, x in zip(i.tolist(), v.tolist())) + "\n")


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--gguf", required=True)
    ap.add_argument("--tokenizer", required=True)
    ap.add_argument("--out", help="write the golden file here")
    ap.add_argument("--prompt", action="append", default=[], help="print a continuation; \\n is a line end")
    ap.add_argument("--temperature", type=float, default=0.0)
    ap.add_argument("--tokens", type=int, default=220)
    ap.add_argument("--seed", type=int, default=0)
    a = ap.parse_args()
    model, tok = gguf_io.read(a.gguf), Tokenizer.from_file(a.tokenizer)
    for text in a.prompt:
        rng = torch.Generator().manual_seed(a.seed)
        new = generate(model, encode(tok, text.replace("\\n", "\n")), a.tokens, a.temperature, rng)[
            0
        ].tolist()
        stops = [new.index(e) for e in (0, 2) if e in new]
        print(f"--- {text}\n{tok.decode(new[:min(stops, default=len(new))])}\n")
    if a.out:
        write_golden(a, model, tok)


if __name__ == "__main__":
    main()
