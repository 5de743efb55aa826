# SPDX-License-Identifier: MIT
"""Train the target on the token files; run the same command again to resume.

    python train.py --work tools/train/out --minutes 50

Muon for the matrices inside the blocks, AdamW for embeddings and norms. The learning
rate is flat for the first part of the budget, then falls linearly to zero, so any
checkpoint is usable and the last one is annealed. The budget is training time, summed
over resumes; --steps replaces it by a step count (same schedule, any machine).
"""
import argparse
import math
import os
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

from data import DOMAINS
from model import TARGET, Config, Model, save

# Share of rows per domain at the start and at the end of training: the novels teach
# general English early, the domains the demo shows come to the front later.
MIX_START = {"stories": 0.22, "storychat": 0.08, "chat": 0.20, "math": 0.14, "code": 0.12, "novels": 0.24}
MIX_END = {"stories": 0.26, "storychat": 0.16, "chat": 0.24, "math": 0.18, "code": 0.14, "novels": 0.02}
SHORT = 512  # tokens of a row until LONG_FROM of the budget is spent, then the whole context
LONG_FROM = 0.75


class Rows:
    """Rows of token ids. A row starts at a document and is filled with further
    documents of its domain; what does not fit is cut (each epoch shuffles anew)."""

    def __init__(self, work, split, seed=0):
        self.seed, self.docs, self.order = seed, {}, {}
        self.used, self.tokens = {}, {}  # per domain: documents and tokens taken, all epochs
        for d in DOMAINS:
            self.add(d, os.path.join(work, "tok", f"{d}.{split}.npz"))

    def add(self, domain, path):
        z = np.load(path)
        self.docs[domain] = (z["ids"].astype(np.int64), z["starts"])
        self.used[domain] = self.tokens[domain] = 0

    def row(self, domain, length):
        ids, starts = self.docs[domain]
        n, parts, size = len(starts) - 1, [], 0
        while size < length:
            epoch, at = divmod(self.used[domain], n)
            if self.order.get(domain, (None,))[0] != epoch:
                shuffle = np.random.default_rng([self.seed, epoch, list(self.docs).index(domain)])
                self.order[domain] = (epoch, shuffle.permutation(n))
            doc = self.order[domain][1][at]
            parts.append(ids[starts[doc]:starts[doc + 1]])
            size += len(parts[-1])
            self.used[domain] += 1
        self.tokens[domain] += length - 1
        return np.concatenate(parts)[:length]

    def batch(self, tokens, progress, mix, context, rng):
        """Rows of about `tokens` ids in all; the rows grow longer near the end of training."""
        length = SHORT if progress < LONG_FROM else context
        names = list(mix)
        p = np.array(list(mix.values()))
        pick = rng.choice(len(names), size=tokens // length, p=p / p.sum())
        return torch.from_numpy(np.stack([self.row(names[i], length + 1) for i in pick]))

    def state(self):
        return {"used": dict(self.used), "tokens": dict(self.tokens)}

    def restore(self, s):
        self.used.update(s["used"])
        self.tokens.update(s["tokens"])


def blend(progress):
    return {d: (1 - progress) * MIX_START[d] + progress * MIX_END[d] for d in DOMAINS}


def rate(progress, flat):
    """Fraction of the peak learning rate: warm-up, flat, linear to zero."""
    return min(1.0, progress / 0.01 + 0.02, max(0.0, (1 - progress) / (1 - flat)))


def optimizers(model, lr):
    inner = [p for n, p in model.named_parameters() if p.dim() == 2 and "embd" not in n]
    rest = [p for n, p in model.named_parameters() if p.dim() != 2 or "embd" in n]
    return [torch.optim.Muon(inner, lr=lr, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.95), weight_decay=0.0, fused=True)]


def loss_of(model, batch):
    h = model.hidden(batch[:, :-1])
    logits = F.linear(h, model.token_embd.weight)
    return F.cross_entropy(logits.float().flatten(0, 1), batch[:, 1:].flatten())


class Clock:
    """Progress 0..1 through the budget, continued across resumes."""

    def __init__(self, minutes, steps):
        self.minutes, self.steps, self.spent, self.step = minutes, steps, 0.0, 0
        self.mark = time.time()

    def tick(self):
        now = time.time()
        self.spent, self.mark, self.step = self.spent + now - self.mark, now, self.step + 1

    def progress(self):
        return min(1.0, self.step / self.steps if self.steps else self.spent / (60 * self.minutes))


class Crew:
    """One thread while other work holds a core (two would mostly wait for each other),
    all threads otherwise: a short matrix product every few steps says which is faster."""

    def __init__(self, most, every=12):
        self.most, self.every, self.steps, self.now = most, every, 0, most
        self.choose()

    def probe(self, threads):
        torch.set_num_threads(threads)
        x, start = torch.ones(768, 768), time.time()
        for _ in range(30):
            x @ x
        return time.time() - start

    def choose(self):
        if self.most > 1:
            self.now = self.most if self.probe(self.most) < 0.85 * self.probe(1) else 1
        torch.set_num_threads(self.now)

    def after_step(self):
        self.steps += 1
        if self.steps % self.every == 0:
            self.choose()


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--work", default="tools/train/out")
    ap.add_argument("--out", default="target.pt", help="checkpoint name inside WORK")
    ap.add_argument("--minutes", type=float, default=50)
    ap.add_argument("--steps", type=int, default=0)
    ap.add_argument("--rows", type=int, default=8, help="rows of 512 tokens per step (later half as many of 1024)")
    ap.add_argument("--lr", type=float, default=2e-3)
    ap.add_argument("--flat", type=float, default=0.3, help="share of the budget before the decay")
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--save-every", type=float, default=180, help="seconds between checkpoints")
    ap.add_argument("--no-compile", action="store_true")
    a = ap.parse_args()
    crew = Crew(a.threads)
    torch.manual_seed(0)
    path = os.path.join(a.work, a.out)
    cfg = Config(**vars(TARGET))
    model, clock = Model(cfg), Clock(a.minutes, a.steps)
    rows, opts = Rows(a.work, "train"), optimizers(model, a.lr)
    if os.path.exists(path):
        s = torch.load(path, weights_only=True)
        model.load_state_dict(s["model"])
        for o, state in zip(opts, s["opt"]):
            o.load_state_dict(state)
        rows.restore(s["rows"])
        clock.spent, clock.step = s["spent"], s["step"]
        print(f"resumed at step {clock.step}, {clock.spent / 60:.1f} min", flush=True)
    compute = loss_of if a.no_compile else torch.compile(loss_of, dynamic=False)
    saved, average = time.time(), None

    def checkpoint():
        save(path + ".tmp", model, opt=[o.state_dict() for o in opts], rows=rows.state(),
             spent=clock.spent, step=clock.step)
        os.replace(path + ".tmp", path)

    clock.mark = time.time()
    while clock.progress() < 1.0:
        p = clock.progress()
        batch = rows.batch(a.rows * SHORT, p, blend(p), cfg.context, np.random.default_rng([7, clock.step]))
        with torch.autocast("cpu", torch.bfloat16):
            loss = compute(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for o in opts:
            for g in o.param_groups:
                g["lr"] = a.lr * rate(p, a.flat)
            o.step()
            o.zero_grad()
        value = loss.item()
        if not math.isfinite(value):
            sys.exit("loss is not finite; resume from the last checkpoint with a lower --lr")
        average = value if average is None else 0.97 * average + 0.03 * value
        clock.tick()
        crew.after_step()
        if clock.step % 20 == 0:
            print(f"step {clock.step} min {clock.spent / 60:.2f} tokens {sum(rows.tokens.values())} "
                  f"loss {average:.4f} rate {rate(p, a.flat):.3f} threads {crew.now}", flush=True)
        if time.time() - saved > a.save_every:
            checkpoint()
            saved = time.time()
    checkpoint()
    print("done", rows.state(), flush=True)


if __name__ == "__main__":
    main()
