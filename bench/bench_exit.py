#!/usr/bin/env python3
"""Early-exit pruning on held-out prompts: what is dropped, what it costs in accepted tokens, what it saves.

First part, as the paper's Figure 12: a fixed policy with a threshold, without shadow candidates, without safeguards,
and in full. Shares are counted in dry runs, which decide on the same trees and drop nothing; times of a sweep come from
runs that do drop, in turns with runs that do not. Second part: policy lever with pruning as it decides itself beside
none, with the target in memory and streamed.

usage: bench_exit.py LEVER [--target FILE --draft FILE] [--policy P] [--threshold T] [--limit N] [--tokens N]
                     [--rounds N] [--mem SIZE] [--threads N] [--csv FILE]
Without --target the demo pair and its sidecar. Ends with one line per bar: BAR <name> <measured> <goal> ok|short
SPDX-License-Identifier: MIT
"""

import argparse
import csv
import datetime
import json
import math
import pathlib
import statistics
import subprocess
import sys

from bench_demo import commit, machine
from bench_grown import KINDS, ROOT

VARIANTS = {  # of the paper's figure
    "no pruning": "off",
    "no shadow candidates": "{},no-shadows",
    "no safeguards": "{},no-safeguards",
    "full": "{}",
}


def bench(a, policy, prune, mem, more=()):
    """Rows of `lever bench` for one policy."""
    args = [a.lever, "bench", "-m", a.target, "-md", a.draft, "--policies", policy, "--prune", prune, *more]
    args += ["--limit", a.limit, "-n", a.tokens, "-c", 1024, "--json", "--temp", a.temp]
    args += ["--mem", mem] if mem else []
    args += ["-t", a.threads] if a.threads else []
    args += [ROOT / f"bench/prompts/{kind}.jsonl" for kind in KINDS]
    p = subprocess.run([str(x) for x in args], stdout=subprocess.PIPE, check=True)
    return json.loads(p.stdout)["rows"]


def total(rows, key):
    return sum(r[key] for r in rows)


def speed(rows):
    """Geometric mean of tokens per second."""
    return math.exp(statistics.mean(math.log(r["tokens_per_s"]) for r in rows if r["sweeps"]))


def shares(rows):
    """Of a dry run: rows that would go on, accepted tokens that would stay."""
    kept = total(rows, "kept_rows") / total(rows, "rows")
    return kept, 1 - total(rows, "accepted_dropped") / max(1, total(rows, "accepted"))


def sweep_ms(rows):
    return 1e3 * total(rows, "verify_s") / total(rows, "sweeps")


def figure(a, add):
    """The four variants; returns what the bars need of the full one."""
    table, times = {}, {name: [] for name in VARIANTS}
    for name, rule in VARIANTS.items():
        table[name] = (
            shares(bench(a, a.policy, rule.format(a.threshold) + ",dry", None)) if rule != "off" else (1, 1)
        )
    for _ in range(a.rounds):
        for name, rule in VARIANTS.items():
            times[name].append(bench(a, a.policy, rule.format(a.threshold), None))
    plain = statistics.median(map(sweep_ms, times["no pruning"]))
    print(f"{a.policy}, threshold {a.threshold}, temperature {a.temp}, target in memory")
    print(f"{'':22} {'rows kept':>10} {'accepted kept':>14} {'sweep, ms':>10} {'less':>7} {'tokens/s':>9}")
    for name in VARIANTS:
        ms, tps = (statistics.median(map(f, times[name])) for f in (sweep_ms, speed))
        kept, right = table[name]
        print(f"{name:22} {kept:10.1%} {right:14.1%} {ms:10.3f} {1 - ms / plain:7.1%} {tps:9.1f}")
        add(
            part="threshold",
            policy=a.policy,
            prune=VARIANTS[name].format(a.threshold),
            mem="",
            rows_kept=kept,
            accepted_kept=right,
            sweep_ms=ms,
            tokens_per_s=tps,
        )
    return *table["full"], 1 - statistics.median(map(sweep_ms, times["full"])) / plain


def beside_none(a, mem, add):
    """Speed of policy lever with pruning against without, by round."""
    ratios = []
    for i in range(3 * a.rounds):  # trees of this policy differ from run to run, as its costs do
        order = ("off", "auto") if i % 2 else ("auto", "off")
        rows = {rule: bench(a, "lever", rule, mem) for rule in order}
        ratios.append(speed(rows["auto"]) / speed(rows["off"]))
        for rule in order:
            add(
                part="auto",
                policy="lever",
                prune=rule,
                mem=mem or "",
                rows_kept=total(rows[rule], "kept_rows") / total(rows[rule], "rows"),
                accepted_kept="",
                sweep_ms=sweep_ms(rows[rule]),
                tokens_per_s=speed(rows[rule]),
            )
    kept = total(rows["auto"], "kept_rows") / total(rows["auto"], "rows")
    print(
        f"lever, {mem or 'target in memory'}: with pruning {statistics.median(ratios):.3f} of the speed without "
        f"({min(ratios):.3f} to {max(ratios):.3f}), {kept:.0%} of the rows kept"
    )
    return statistics.median(ratios)


def options():
    p = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    p.add_argument("lever")
    p.add_argument("--target", default=ROOT / "models/lever-demo-target.Q8_0.gguf", type=pathlib.Path)
    p.add_argument("--draft", default=ROOT / "models/lever-demo-draft.Q8_0.gguf", type=pathlib.Path)
    p.add_argument("--policy", default="eagle2:10,6,60")
    p.add_argument("--threshold", default="0.08")
    p.add_argument("--limit", default=4, type=int)
    p.add_argument("--tokens", default=96, type=int)
    p.add_argument("--rounds", default=5, type=int)
    p.add_argument("--temp", default=0, type=float)
    p.add_argument("--mem", default="28MiB", help="limit of the streamed part; empty: leave it out")
    p.add_argument("--threads", type=int)
    p.add_argument("--csv", default=str(ROOT / "bench/results/exit.csv"))
    return p.parse_args()


def main():
    a = options()
    rows = []

    def add(**row):
        rows.append(
            {
                "date": datetime.date.today().isoformat(),
                "commit": commit(),
                "machine": machine(),
                "target": a.target.name,
                "temperature": a.temp,
                "threshold": a.threshold,
                **row,
            }
        )

    kept, right, less = figure(a, add)
    ratios = {"in_memory": beside_none(a, None, add)}
    if a.mem:
        ratios["streamed"] = beside_none(a, a.mem, add)
    new = not pathlib.Path(a.csv).exists()
    with open(a.csv, "a", newline="", encoding="utf-8") as f:
        w = csv.DictWriter(f, rows[0].keys())
        if new:
            w.writeheader()
        w.writerows({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in r.items()} for r in rows)
    bars = [
        ("exit_rows_kept", kept, -0.48),
        ("exit_accepted_kept", right, 0.95),
        ("exit_sweep_less", less, 0.12),
    ]
    bars += [(f"exit_speed_{name}", ratio, 0.98) for name, ratio in ratios.items()]
    for name, measured, goal in bars:
        good = measured <= -goal if goal < 0 else measured >= goal
        print(f"BAR {name} {measured:.3f} {abs(goal)} {'ok' if good else 'short'}")


if __name__ == "__main__":
    sys.exit(main())
