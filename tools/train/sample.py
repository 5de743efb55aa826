# SPDX-License-Identifier: MIT
"""Text written by the target, as distillation material for the draft.

    python sample.py --work tools/train/out --minutes 3

Prompts are the first tokens of training documents; half of the batches are greedy,
half drawn at temperature 0.8. Adds to WORK/tok/sampled.train.npz: run again with
another --seed for more.
"""
import argparse
import os
import time

import numpy as np
import torch

from data import DOMAINS
from model import generate, load
from train import MIX_END, Rows

END = 0  # <|endoftext|>


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--work", default="tools/train/out")
    ap.add_argument("--target", default="target.pt", help="checkpoint name inside WORK")
    ap.add_argument("--minutes", type=float, default=3)
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--batch", type=int, default=128)
    ap.add_argument("--seed", type=int, default=0)
    a = ap.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)
    model, rng = load(os.path.join(a.work, a.target)), np.random.default_rng([99, a.seed])
    rows = Rows(a.work, "train", seed=77 + a.seed)
    mix = np.array([MIX_END[d] for d in DOMAINS])
    path = os.path.join(a.work, "tok", "sampled.train.npz")
    docs, end, turn = [], time.time() + 60 * a.minutes, 0
    if os.path.exists(path):
        old = np.load(path)
        docs = np.split(old["ids"], old["starts"][1:-1])
    while time.time() < end:
        length = int(rng.integers(4, 40))
        pick = rng.choice(len(DOMAINS), size=a.batch, p=mix / mix.sum())
        prompt = torch.from_numpy(np.stack([rows.row(DOMAINS[i], length) for i in pick]))
        with torch.autocast("cpu", torch.bfloat16):
            new = generate(model, prompt, 320, temperature=0.8 if turn % 2 else 0.0)
        turn += 1
        for row in torch.cat([prompt, new], 1).tolist():
            cut = row.index(END, length) + 1 if END in row[length:] else len(row)
            docs.append(np.array(row[:cut], np.uint16))
        starts = np.cumsum([0] + [len(d) for d in docs])
        np.savez(path, ids=np.concatenate(docs), starts=starts)
        print(f"{len(docs)} documents, {starts[-1]} tokens", flush=True)


if __name__ == "__main__":
    main()
