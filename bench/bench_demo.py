#!/usr/bin/env python3
"""Speculation against plain decoding on the demo pair, streamed under a memory limit.

Interleaved: every round runs each policy once, in rotating order, on the same prompts; medians and spread over
rounds; the text must be the same.

usage: bench_demo.py LEVER [--rounds N] [--mem SIZE] [--csv FILE]
Ends with one line per bar: BAR <name> <measured> <goal> ok|short
SPDX-License-Identifier: MIT
"""

import argparse
import csv
import datetime
import json
import os
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
POLICIES = ["none", "chain:2", "chain:4", "chain:6", "chain:8", "tree:2,1,1,1", "tree:4,2,1"]
PROMPTS = [
    "Once upon a time, there was a little girl named Lily.",
    "One day, a little dog named Max",
    "Tom and Sam were best friends. They liked to",
    "It was a cold day and the wind",
]


def machine():
    model = "unknown"
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        for line in f:
            if line.startswith(("model name", "CPU part")):
                model = line.split(":", 1)[1].strip()
                break
    family = [
        line.split(":")[1].strip()
        for line in open("/proc/cpuinfo", encoding="utf-8")
        if line.startswith("cpu family")
    ]
    return f"{model}{' family ' + family[0] if family else ''}, {os.cpu_count()} cores"


def append_csv(path, columns, rows):
    """Add rows to a file of results, which begins with the names of its columns, separated by spaces here."""
    new = not os.path.exists(path)
    with open(path, "a", newline="", encoding="utf-8") as f:
        w = csv.writer(f)
        if new:
            w.writerow(columns.split())
        w.writerows(rows)


def commit():
    out = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, stdout=subprocess.PIPE, check=False
    )
    return out.stdout.decode().strip() or "unknown"


def run(lever, policy, prompt, mem):
    out = subprocess.run(
        [
            lever,
            "run",
            "--no-learn",
            "--mem",
            mem,
            "-c",
            "256",
            "--draft",
            policy,
            "-p",
            prompt,
            "-n",
            "160",
            "--temp",
            "0",
            "--ignore-eos",
            "--json",
        ],
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    return json.loads(out)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("lever")
    p.add_argument("--rounds", type=int, default=10)
    p.add_argument("--mem", default="18MiB")
    p.add_argument("--csv", default=str(ROOT / "bench/results/demo.csv"))
    a = p.parse_args()
    speed, per_sweep, flash, text = {q: [] for q in POLICIES}, {}, {}, {}
    same = True
    for r in range(a.rounds):
        for q in POLICIES[r % len(POLICIES) :] + POLICIES[: r % len(POLICIES)]:
            tokens = seconds = sweeps = read = 0
            for prompt in PROMPTS:
                result = run(a.lever, q, prompt, a.mem)
                same &= text.setdefault(prompt, result["text"]) == result["text"]
                s = result["stats"]
                tokens, seconds = tokens + s["decode_tokens"], seconds + s["decode_s"]
                sweeps, read = sweeps + s["cycles"], read + s["flash_bytes"]
            speed[q].append(tokens / seconds)
            per_sweep[q], flash[q] = tokens / sweeps, read / tokens
        if sys.stderr.isatty():
            print(f"\rround {r + 1} of {a.rounds}", end="", file=sys.stderr, flush=True)
    engine = result["engine"]
    print(
        f"\n{machine()}; {engine['isa']}, {engine['threads']} threads, {engine['io']}; limit {a.mem}, "
        f"{engine['streamed_bytes']} bytes streamed per sweep; {a.rounds} rounds of {len(PROMPTS)} prompts\n"
    )
    print(
        f"{'policy':<14} {'tokens/s':>9} {'low':>8} {'high':>8} {'per sweep':>10} {'flash/token':>12} {'ratio':>6}"
    )
    rows, plain = [], speed["none"]
    for q in POLICIES:
        ratio = statistics.median(x / y for x, y in zip(speed[q], plain))
        print(
            f"{q:<14} {statistics.median(speed[q]):9.1f} {min(speed[q]):8.1f} {max(speed[q]):8.1f} "
            f"{per_sweep[q]:10.2f} {flash[q] / 1e6:9.2f} MB {ratio:6.2f}"
        )
        rows.append(
            [
                datetime.date.today().isoformat(),
                commit(),
                machine(),
                "lever-demo Q8_0",
                a.mem,
                q,
                f"{statistics.median(speed[q]):.1f}",
                f"{min(speed[q]):.1f}",
                f"{max(speed[q]):.1f}",
                f"{per_sweep[q]:.3f}",
                f"{flash[q]:.0f}",
                f"{ratio:.3f}",
            ]
        )
    append_csv(
        a.csv,
        "date commit machine model mem policy tokens_per_s low high tokens_per_sweep flash_bytes_per_token "
        "ratio_to_plain",
        rows,
    )
    best = max(float(r[-1]) for r in rows)
    print(f"\nBAR demo_same_text {int(same)} 1 {'ok' if same else 'short'}")
    print(f"BAR demo_speculation_over_plain {best:.2f} 1.50 {'ok' if best >= 1.5 else 'short'}")


if __name__ == "__main__":
    main()
