# SPDX-License-Identifier: MIT
"""Train the draft to copy the target's distribution; run again to resume.

    python distill.py --work tools/train/out --minutes 15

The loss is KL(target || draft) over the whole vocabulary, on corpus rows and on text
the target wrote itself (sample.py), since that is what the draft meets in use.
"""
import argparse
import os
import time

import numpy as np
import torch
import torch.nn.functional as F

from model import DRAFT, Config, Model, load, save
from train import SHORT, Clock, Crew, Rows, optimizers, rate

MIX = {"stories": 0.18, "storychat": 0.12, "chat": 0.16, "math": 0.14, "code": 0.12, "novels": 0.03}
SAMPLED = 0.25


def kl(target, draft, ids):
    with torch.no_grad():
        want = F.linear(target.hidden(ids), target.token_embd.weight).float().log_softmax(-1)
    got = F.linear(draft.hidden(ids), draft.token_embd.weight).float().log_softmax(-1)
    hit = (want.argmax(-1) == got.argmax(-1)).float().mean()
    return (want.exp() * (want - got)).sum(-1).mean(), hit


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--work", default="tools/train/out")
    ap.add_argument("--target", default="target.pt", help="checkpoint name inside WORK")
    ap.add_argument("--out", default="draft.pt", help="checkpoint name inside WORK")
    ap.add_argument("--minutes", type=float, default=15)
    ap.add_argument("--steps", type=int, default=0)
    ap.add_argument("--rows", type=int, default=8)
    ap.add_argument("--lr", type=float, default=4e-3)
    ap.add_argument("--flat", type=float, default=0.4)
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--save-every", type=float, default=120)
    ap.add_argument("--no-compile", action="store_true")
    a = ap.parse_args()
    crew = Crew(a.threads)
    torch.manual_seed(1)
    path = os.path.join(a.work, a.out)
    target = load(os.path.join(a.work, a.target)).requires_grad_(False)
    draft, clock = Model(Config(**vars(DRAFT))), Clock(a.minutes, a.steps)
    rows, opts, mix = Rows(a.work, "train", seed=5), optimizers(draft, a.lr), dict(MIX)
    sampled = os.path.join(a.work, "tok", "sampled.train.npz")
    if os.path.exists(sampled):
        rows.add("sampled", sampled)
        mix["sampled"] = SAMPLED
    if os.path.exists(path):
        s = torch.load(path, weights_only=True)
        draft.load_state_dict(s["model"])
        for o, state in zip(opts, s["opt"]):
            o.load_state_dict(state)
        rows.restore(s["rows"])
        clock.spent, clock.step = s["spent"], s["step"]
        print(f"resumed at step {clock.step}, {clock.spent / 60:.1f} min", flush=True)
    compute = kl if a.no_compile else torch.compile(kl, dynamic=False)

    def checkpoint():
        save(path + ".tmp", draft, opt=[o.state_dict() for o in opts], rows=rows.state(),
             spent=clock.spent, step=clock.step)
        os.replace(path + ".tmp", path)

    saved, average, agree = time.time(), None, None
    clock.mark = time.time()
    while clock.progress() < 1.0:
        p = clock.progress()
        ids = rows.batch(a.rows * SHORT, p, mix, DRAFT.context, np.random.default_rng([8, clock.step]))[:, :-1]
        with torch.autocast("cpu", torch.bfloat16):
            loss, hit = compute(target, draft, ids)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(draft.parameters(), 1.0)
        for o in opts:
            for g in o.param_groups:
                g["lr"] = a.lr * rate(p, a.flat)
            o.step()
            o.zero_grad()
        average = loss.item() if average is None else 0.97 * average + 0.03 * loss.item()
        agree = hit.item() if agree is None else 0.97 * agree + 0.03 * hit.item()
        clock.tick()
        crew.after_step()
        if clock.step % 20 == 0:
            print(f"step {clock.step} min {clock.spent / 60:.2f} tokens {sum(rows.tokens.values())} "
                  f"KL {average:.4f} top-1 agreement {agree:.3f}", flush=True)
        if time.time() - saved > a.save_every:
            checkpoint()
            saved = time.time()
    checkpoint()
    print("done", rows.state(), flush=True)


if __name__ == "__main__":
    main()
