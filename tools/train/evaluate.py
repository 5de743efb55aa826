# SPDX-License-Identifier: MIT
"""Held-out perplexity of both GGUFs and how often the draft agrees with the target.

    python evaluate.py --work tools/train/out --target models/lever-demo-target.Q8_0.gguf \
        --draft models/lever-demo-draft.Q8_0.gguf

Reads the GGUFs, so it measures the weights as shipped (dequantised, float32 maths).
Prints one markdown row per domain. Agreement: how often the target's likeliest token is
the draft's likeliest (top-1) or among its four likeliest (top-4), over held-out text
and over text the target writes greedily after the first 24 tokens of held-out documents.
"""

import argparse
import os

import numpy as np
import torch
import torch.nn.functional as F

import gguf_io
from data import DOMAINS
from model import generate

END = 0  # <|endoftext|>


def held_out(work, domain, limit, context):
    """At most `limit` documents as id tensors, each cut to one context window."""
    z = np.load(os.path.join(work, "tok", f"{domain}.val.npz"))
    ids, starts = torch.from_numpy(z["ids"].astype(np.int64)), z["starts"]
    pick = np.linspace(0, len(starts) - 2, min(limit, len(starts) - 1)).astype(int)
    return [ids[starts[i] : starts[i + 1]][:context] for i in pick]


def agreement(target_logits, draft_logits):
    best = target_logits.argmax(-1, keepdim=True)
    top4 = draft_logits.topk(4, dim=-1).indices
    return float((top4[..., :1] == best).sum()), float((top4 == best).any(-1).sum())


@torch.no_grad()
def measure(target, draft, docs):
    nll_t = nll_d = n = one = four = 0.0
    for d in docs:
        lt, ld = target(d[None, :-1])[0], draft(d[None, :-1])[0]
        nll_t += F.cross_entropy(lt, d[1:], reduction="sum").item()
        nll_d += F.cross_entropy(ld, d[1:], reduction="sum").item()
        a1, a4 = agreement(lt, ld)
        n, one, four = n + len(d) - 1, one + a1, four + a4
    return int(n), np.exp(nll_t / n), np.exp(nll_d / n), one / n, four / n


@torch.no_grad()
def measure_written(target, draft, docs, prompt=24, new=160):
    """Agreement over the target's own greedy continuations."""
    n = one = four = 0.0
    starts = torch.stack([d[:prompt] for d in docs if len(d) > prompt])
    text = torch.cat([starts, generate(target, starts, new)], 1)
    for row in text:
        ids = row.tolist()
        cut = ids.index(END, prompt) if END in ids[prompt:] else len(ids)
        logits = [m(row[None, :cut])[0, prompt - 1 :] for m in (target, draft)]
        a1, a4 = agreement(*logits)
        n, one, four = n + cut - prompt + 1, one + a1, four + a4
    return one / n, four / n


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--work", default="tools/train/out")
    ap.add_argument("--target", default="models/lever-demo-target.Q8_0.gguf")
    ap.add_argument("--draft", default="models/lever-demo-draft.Q8_0.gguf")
    ap.add_argument("--docs", type=int, default=60, help="held-out documents per domain")
    ap.add_argument("--threads", type=int, default=2)
    a = ap.parse_args()
    torch.set_num_threads(a.threads)
    target, draft = gguf_io.read(a.target), gguf_io.read(a.draft)
    print(
        "| domain | held-out tokens | target ppl | draft ppl | top-1 | top-4 | top-1 own text | top-4 own text |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for domain in DOMAINS:
        docs = held_out(a.work, domain, a.docs, target.cfg.context)
        n, pt, pd, one, four = measure(target, draft, docs)
        w1, w4 = measure_written(target, draft, docs[:32])
        print(
            f"| {domain} | {n} | {pt:.2f} | {pd:.2f} | {one:.3f} | {four:.3f} | {w1:.3f} | {w4:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
