#!/usr/bin/env python3
"""Lever's policy beside the policies of the literature, on the demo pair in the shapes of a large pair.

All policies answer the same prompts of four kinds on one open engine, in turn (`lever bench`); plain decoding is
measured once more without a draft, so that the draft's memory holds more of the target. A run that was broken off goes
on where it stopped: rows are kept in the CSV.

usage: bench_policies.py LEVER [--policies LIST] [--mem SIZE] [--limit N] [--tokens N] [--temp T] [--cache DIR]
                         [--csv FILE] [--plot FILE.svg] [--calibration FILE.svg]
Ends with one line per bar: BAR <name> <measured> <goal> ok|short
SPDX-License-Identifier: MIT
"""

import argparse
import json
import math
import pathlib
import subprocess
import sys

from bench_grown import KINDS, ROOT, default_cache, grown

POLICIES = "none;chain:8;specinfer;sequoia:24;eagle2:10,6,32;opttree:24;specexec:32@2;edgellm;lever"
# Of Lever against others in geometric mean (METHODS.md section 1.6).
GOALS = {"none": 2.93, "chain:8": 1.50, "edgellm": 1.27, "specinfer": 1.11}


def bench(a, policies, draft, more=()):
    """What `lever bench --json` says; its rows are also in the CSV."""
    args = [a.lever, "bench", "-m", a.target, "--mem", a.mem, "--policies", policies, "--limit", a.limit]
    args += ["-n", a.tokens, "-c", 1024, "--temp", a.temp, "--json", "--resume", "--csv", a.csv, *more]
    args += ["-md", draft] if draft else []
    args += [ROOT / f"bench/prompts/{kind}.jsonl" for kind in KINDS]
    p = subprocess.run([str(x) for x in args], stdout=subprocess.PIPE, check=True)
    return json.loads(p.stdout)


def speeds(rows, policy):
    """Tokens per second by (file, prompt)."""
    return {
        (r["file"], r["prompt"]): r["tokens_per_s"] for r in rows if r["policy"] == policy and r["sweeps"]
    }


def interval(ours, theirs):
    """Geometric mean of the ratios on common prompts, and the factor of its standard error."""
    logs = [math.log(ours[k] / theirs[k]) for k in ours if k in theirs]
    mean = sum(logs) / len(logs)
    spread = sum((x - mean) ** 2 for x in logs) / max(1, len(logs) - 1)
    return math.exp(mean), math.exp(2 * math.sqrt(spread / len(logs)))


def slowest_kind(rows, names):
    """Lever's smallest ratio to any policy on any kind, less its uncertainty, with their names."""
    worst = (math.inf, "")
    ours = speeds(rows, "lever")
    for name in names:
        theirs = speeds(rows, name)
        for file in {f for f, _ in ours}:
            ratio, error = interval({k: v for k, v in ours.items() if k[0] == file}, theirs)
            worst = min(worst, (ratio * error, f"{name} on {file}"))
    return worst


def options():
    p = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    p.add_argument("lever")
    p.add_argument("--policies", default=POLICIES)
    p.add_argument("--mem", default="3GiB")
    p.add_argument("--limit", default=3, type=int)
    p.add_argument("--tokens", default=128, type=int)
    p.add_argument("--temp", default=0, type=float)
    p.add_argument("--cache", default=default_cache(), type=pathlib.Path)
    p.add_argument("--csv", default=str(ROOT / "bench/results/policies.csv"))
    p.add_argument("--plot")
    p.add_argument("--calibration")
    a = p.parse_args()
    a.cache.mkdir(parents=True, exist_ok=True)
    return a


def main():
    a = options()
    a.target = grown(a.lever, ROOT / "models/lever-demo-target.Q8_0.gguf", "qwen3-8b", "Q4_0", a.cache)
    draft = grown(a.lever, ROOT / "models/lever-demo-draft.Q8_0.gguf", "qwen3-0.6b", "Q4_0", a.cache)
    more = [
        x for name in ("plot", "calibration") if getattr(a, name) for x in (f"--{name}", getattr(a, name))
    ]
    out = bench(a, a.policies, draft, more)
    alone = bench(a, "none", None)
    rows, names = out["rows"], out["policies"]
    ours = speeds(rows, "lever")
    print(
        f"{'policy':18} {'tokens/s':>9} {'per sweep':>10} {'rows':>6} {'lever is':>9} {'draft':>6} {'verify':>7}"
    )
    for name in names:
        mine = [r for r in rows if r["policy"] == name]
        cycles = sum(r["sweeps"] for r in mine)
        mean = math.exp(sum(map(math.log, speeds(rows, name).values())) / len(speeds(rows, name)))
        print(
            f"{name:18} {mean:9.2f} {sum(r['decode_tokens'] for r in mine) / cycles:10.2f} "
            f"{sum(r['rows'] for r in mine) / cycles:6.1f} {interval(ours, speeds(rows, name))[0]:9.2f} "
            f"{sum(r['draft_s'] for r in mine) / cycles:6.3f} {sum(r['verify_s'] for r in mine) / cycles:7.3f}"
        )
    print()
    bars = [
        (f"policies_lever_of_{n}", interval(ours, speeds(rows, n))[0], GOALS[n]) for n in GOALS if n in names
    ]
    bars.append(
        ("policies_lever_of_none_without_draft", interval(ours, speeds(alone["rows"], "none"))[0], 2.93)
    )
    worst, where = slowest_kind(rows, [n for n in names if n != "lever"])
    print(f"lever is slowest beside {where}: {worst:.2f} with two standard errors in its favour")
    bars.append(("policies_lever_not_slower_anywhere", worst, 1.0))
    mine = [r for r in rows if r["policy"] == "lever"]
    building = sum(r["draft_s"] - r["draft_model_s"] for r in mine) / sum(r["decode_s"] for r in mine)
    bars.append(("policies_tree_construction", building, -0.02))
    c = out["calibration"]
    if c["guesses"]:  # none when all rows were there already
        bars.append(("policies_calibration_error", c["error"], -0.03))
    bars.append(("policies_expected_tokens_off", abs(1 - c["expected_tokens_of_measured"]), -0.10))
    bars.append(("policies_expected_time_off", abs(1 - c["expected_time_of_measured"]), -0.10))
    for name, measured, goal in bars:
        good = measured <= -goal if goal < 0 else measured >= goal
        print(f"BAR {name} {measured:.3f} {abs(goal)} {'ok' if good else 'short'}")


if __name__ == "__main__":
    sys.exit(main())
