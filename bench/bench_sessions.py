#!/usr/bin/env python3
"""Conversations that share sweeps: total tokens a second of 1, 2 and 4 at a time, in turns.

Every number of conversations answers the same prompts, so the texts must be the same ones; each round runs every
number once, on the demo pair in large shapes or any other.

usage: bench_sessions.py BUILD_DIR [--target F] [--draft F] [--mem SIZE] [--counts 1,2,4] [--rounds N] [--prompts N]
                         [--tokens N] [--policy P] [--flash-limit SIZE] [--csv FILE]
Ends with one line per bar: BAR <name> <measured> <goal> ok|short
SPDX-License-Identifier: MIT
"""

import argparse
import datetime
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

from bench_demo import append_csv, commit, machine
from bench_grown import KINDS, ROOT, default_cache, grown

UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
GOAL = 2.5


def to_bytes(size):
    for unit, n in UNITS.items():
        if size.endswith(unit):
            return int(float(size[: -len(unit)]) * n)
    return int(size)


def pick_prompts(count):
    """The first text or message of prompts of every kind in turn."""
    files = [[json.loads(line) for line in open(ROOT / f"bench/prompts/{k}.jsonl")] for k in KINDS]
    records = [files[i % len(files)][i // len(files)] for i in range(count)]
    return [r.get("prompt") or r["turns"][0] for r in records]


def run(a, n, prompts, learnt):
    cmd = [a.build / "bench/lever_sessions", "--learnt", learnt]
    cmd += ["--policy", a.policy] if a.policy else []
    cmd += ["--flash-limit", to_bytes(a.flash_limit)] if a.flash_limit else []
    cmd += [a.target, a.draft, to_bytes(a.mem), n, a.tokens]
    text = b"".join(p.encode() + b"\0" for p in prompts)
    p = subprocess.run([str(c) for c in cmd], input=text, stdout=subprocess.PIPE, check=True)
    return json.loads(p.stdout)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cache = default_cache()
    cache.mkdir(parents=True, exist_ok=True)
    p.add_argument("build", type=pathlib.Path)
    p.add_argument("--target")
    p.add_argument("--draft")
    p.add_argument("--mem", default="3GiB")
    p.add_argument("--counts", default="1,2,4")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--prompts", type=int, default=16)
    p.add_argument("--tokens", type=int, default=128)
    p.add_argument("--policy")
    p.add_argument("--flash-limit", help="bytes per second that reads are held back to, 1GiB")
    p.add_argument("--csv", default=str(ROOT / "bench/results/sessions.csv"))
    a = p.parse_args()
    for name, shape in ("target", "qwen3-8b"), ("draft", "qwen3-0.6b"):
        if getattr(a, name) is None:
            small = ROOT / f"models/lever-demo-{name}.Q8_0.gguf"
            setattr(a, name, grown(a.build / "lever", small, shape, "Q4_0", cache))
    counts = [int(c) for c in a.counts.split(",")]
    prompts = pick_prompts(a.prompts)
    results = {n: [] for n in counts}
    with tempfile.TemporaryDirectory() as d:
        for n in counts:  # policies learn what things cost; not counted
            run(a, n, prompts[: 2 * n], f"{d}/learnt-{n}")
        for i in range(a.rounds):
            for n in counts if i % 2 == 0 else counts[::-1]:
                results[n].append(run(a, n, prompts, f"{d}/learnt-{n}"))
                print(json.dumps(results[n][-1]), file=sys.stderr, flush=True)
    print(f"\n{machine()}; {pathlib.Path(a.target).name}, limit {a.mem}, medians of {a.rounds}\n")
    print(
        f"{'sessions':>8} {'tokens/s':>9} {'times one':>9} {'tokens/cycle':>12} {'rows':>6} {'cycle s':>8}"
        f" {'draft s':>8}"
    )
    rows, speed = [], {}
    for n in counts:
        m = {
            k: statistics.median(r[k] for r in results[n])
            for k, v in results[n][0].items()
            if not isinstance(v, str)
        }
        speed[n] = m["tokens_per_s"]
        times = speed[n] / speed[counts[0]]
        print(
            f"{n:8d} {speed[n]:9.2f} {times:9.2f} {m['tokens_per_cycle']:12.2f} {m['rows_per_cycle']:6.1f}"
            f" {m['cycle_s']:8.3f} {m['draft_s']:8.3f}"
        )
        rows.append(
            [datetime.date.today().isoformat(), commit(), machine(), pathlib.Path(a.target).name, a.mem]
            + [a.flash_limit or ""]
            + [results[n][0]["policy"], n, a.prompts, a.tokens, f"{speed[n]:.4f}", f"{times:.3f}"]
            + [f"{m['tokens_per_cycle']:.3f}", f"{m['rows_per_cycle']:.2f}", f"{m['cycle_s']:.4f}"]
            + [f"{m['draft_s']:.4f}", f"{m['first_token_s']:.3f}"]
        )
    append_csv(
        a.csv,
        "date commit machine target mem flash_limit policy sessions prompts tokens tokens_per_s times_one "
        "tokens_per_cycle rows_per_cycle cycle_s draft_s first_token_s",
        rows,
    )
    sums = {r["text_sum"] for n in counts for r in results[n]}
    times = speed[counts[-1]] / speed[counts[0]]
    print(f"\nBAR sessions_same_texts {len(sums)} 1 {'ok' if len(sums) == 1 else 'short'}")
    print(
        f"BAR sessions_{counts[-1]}_over_{counts[0]} {times:.2f} {GOAL:.2f} {'ok' if times >= GOAL else 'short'}"
    )


if __name__ == "__main__":
    main()
