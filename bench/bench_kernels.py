#!/usr/bin/env python3
"""Sweeps of an 8B shape by number of rows, beside llama.cpp on the same file, the same threads, in turns.

Models are grown from the demo target into a cache folder (once). llama.cpp is taken from the PATH (llama-bench) or from
--llama-bench; without it only our own numbers are shown. Each round runs both programs once; a figure is the median
over rounds, rows per second.

usage: bench_kernels.py BUILD_DIR [--types Q4_0,Q4_K,Q8_0] [--shape qwen3-8b] [--threads N] [--rounds N]
                        [--llama-bench PATH] [--cache DIR] [--csv FILE]
Ends with one line per bar: BAR <name> <measured> <goal> ok|short
SPDX-License-Identifier: MIT
"""

import argparse
import datetime
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys

from bench_demo import append_csv, commit, machine
from bench_grown import ROOT, default_cache, grown

ROWS = [1, 2, 4, 8, 16, 32, 64]
CONTEXT = 2048
GOAL = {1: 1.0, 2: 1.0, 4: 1.0, 8: 1.0, 16: 1.1, 32: 1.1, 64: 1.35}


def sweeps(build, model, threads, rounds, context, kv, rows, more=()):
    """What lever_sweep prints."""
    args = [build / "bench/lever_sweep", *more, model, threads, rounds, context, kv, *rows]
    out = json.loads(subprocess.run([str(a) for a in args], stdout=subprocess.PIPE, check=True).stdout)
    return out


def ours(build, model, threads):
    """Rows per second by number of rows, bytes per second of the read tests, and 1-row sweeps beside them."""
    out = sweeps(build, model, threads, 2, 0, "f16", ROWS)
    speeds = {int(n): int(n) / min(s) for n, s in out["rows"].items()}
    return speeds, list(zip(out["read_bytes_per_s"], out["rows"]["1"]))


def attention(a, model):
    """What a context adds to a sweep, as a share of the longer one: rows of the table, bars."""
    table, bars = [], []
    rows = [1, 4, 16, 64]
    print(f"\nwith {CONTEXT} positions in the cache:")
    print(f"{'cache':>6} {'rows':>5} {'empty, s':>9} {'full, s':>9} {'share':>6}")
    for kv in ("f16", "q8_0"):
        out = sweeps(a.build, model, a.threads, a.rounds, CONTEXT, kv, rows)
        for n in rows:
            empty, full = out["empty"][str(n)], out["rows"][str(n)]
            less, more = statistics.median(empty), statistics.median(full)
            share = statistics.median(1 - x / y for x, y in zip(empty, full))
            print(f"{kv:>6} {n:5d} {less:9.3f} {more:9.3f} {share:6.2f}")
            table.append(
                [
                    f"context {CONTEXT} {kv}",
                    n,
                    f"{n / more:.3f}",
                    f"{n / max(full):.3f}",
                    f"{n / min(full):.3f}",
                    "",
                ]
            )
            bars.append((f"kernels_attention_share_{kv}_{n}_rows_{CONTEXT}_positions", share, -0.15))
    return table, bars


def theirs(llama_bench, model, threads):
    args = [
        llama_bench,
        "-m",
        model,
        "-t",
        threads,
        "-p",
        ",".join(map(str, ROWS)),
        "-n",
        0,
        "-r",
        2,
        "-o",
        "json",
    ]
    p = subprocess.run([str(a) for a in args], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    return {r["n_prompt"]: max(r["samples_ts"]) for r in json.loads(p.stdout)}


def floors(build, threads):
    args = [str(build / "bench/lever_sweep"), "--floors", str(threads)]
    return json.loads(subprocess.run(args, stdout=subprocess.PIPE, check=True).stdout)


def weights(build, model):
    """Bytes and number of weights that a sweep of one row reads: all but the embedding table."""
    out = subprocess.run(
        [str(build / "lever"), "inspect", str(model), "--tensors", "--json"], stdout=subprocess.PIPE
    )
    tensors = [t for t in json.loads(out.stdout)["tensors"] if t["name"] != "token_embd.weight"]
    count = 0
    for t in tensors:
        n = 1
        for d in t["shape"]:
            n *= d
        count += n
    return sum(t["bytes"] for t in tensors), count


def measure(a, kind, llama):
    """Rows per second by number of rows, of both programs, one entry per round; read tests and 1-row sweeps."""
    model = grown(a.build / "lever", ROOT / "models/lever-demo-target.Q8_0.gguf", a.shape, kind, a.cache)
    mine, other, pairs = {n: [] for n in ROWS}, {n: [] for n in ROWS}, []
    for i in range(a.rounds):
        speeds, beside = ours(a.build, model, a.threads)
        pairs += beside
        for n, v in speeds.items():
            mine[n].append(v)
        for n, v in theirs(llama, model, a.threads).items() if llama else ():
            other[n].append(v)
        if sys.stderr.isatty():
            print(f"\r{kind}: round {i + 1} of {a.rounds}", end="", file=sys.stderr, flush=True)
    return model, mine, other, pairs


def report(a, kind, measured, floor):
    model, mine, other, pairs = measured
    n_bytes, n_weights = weights(a.build, model)
    print(f"\n{kind}: {n_bytes / 2**30:.2f} GiB, {n_weights / 1e9:.2f} G weights per sweep")
    print(
        f"{'rows':>5} {'rows/s':>9} {'low':>8} {'high':>8} {'GOP/s':>8} "
        f"{'of peak':>8} {'GB/s':>7} {'llama.cpp':>10} {'ratio':>6}"
    )
    table, bars = [], []
    for n in ROWS:
        speed = statistics.median(mine[n])
        rival = statistics.median(other[n]) if other[n] else None
        ratio = statistics.median(x / y for x, y in zip(mine[n], other[n])) if rival else None
        ops, rate = 2 * n_weights * speed, n_bytes * speed / n
        peak = f"{ops / floor['byte_ops_per_s']:8.2f}" if floor["byte_ops_per_s"] else f"{'':8}"
        print(
            f"{n:5d} {speed:9.2f} {min(mine[n]):8.2f} {max(mine[n]):8.2f} {ops / 1e9:8.0f} {peak} {rate / 1e9:7.1f}"
            + (f" {rival:10.2f} {ratio:6.2f}" if rival else "")
        )
        table.append(
            [kind, n, f"{speed:.3f}", f"{min(mine[n]):.3f}", f"{max(mine[n]):.3f}", f"{rival or 0:.3f}"]
        )
        if ratio:
            bars.append((f"kernels_{kind}_{n}_rows_to_llamacpp", ratio, GOAL[n]))
    share = statistics.median(n_bytes / seconds / read for read, seconds in pairs)
    reads = [read / 1e9 for read, _ in pairs]
    print(f"memory reads beside: {statistics.median(reads):.1f} GB/s ({min(reads):.1f} to {max(reads):.1f})")
    bars.append((f"kernels_{kind}_1_row_of_read_speed", share, 0.9))
    return table, bars


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("build", type=pathlib.Path)
    p.add_argument("--types", default="Q4_0,Q4_K,Q8_0")
    p.add_argument("--shape", default="qwen3-8b")
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--llama-bench", default=shutil.which("llama-bench"))
    p.add_argument("--cache", type=pathlib.Path, default=default_cache())
    p.add_argument("--csv", default=str(ROOT / "bench/results/kernels.csv"))
    a = p.parse_args()
    a.cache.mkdir(parents=True, exist_ok=True)
    if not a.llama_bench:
        print("no llama-bench on the PATH: our own numbers only", file=sys.stderr)
    floor = floors(a.build, a.threads)
    print(
        f"{machine()}, {a.threads} threads; byte products {floor['byte_ops_per_s'] / 1e9:.0f} GOP/s at most; "
        f"{a.shape}, {a.rounds} rounds in turns"
    )
    rows, bars = [], []
    kinds = a.types.split(",")
    for kind in kinds:
        measured = measure(a, kind, a.llama_bench)
        floor_after = floors(a.build, a.threads)
        best = {k: max(floor[k], floor_after[k]) for k in floor}
        t, b = report(a, kind, measured, best)
        rows += t
        bars += b
        if kind == kinds[0]:
            t, b = attention(a, measured[0])
            rows += t
            bars += b
    head = [datetime.date.today().isoformat(), commit(), machine(), a.threads, a.shape]
    append_csv(
        a.csv,
        "date commit machine threads shape type rows rows_per_s low high llamacpp_rows_per_s",
        [head + r for r in rows],
    )
    print()
    for name, value, goal in bars:
        met = value >= goal if goal > 0 else value <= -goal  # below zero: at most
        print(f"BAR {name} {value:.2f} {abs(goal):.2f} {'ok' if met else 'short'}")


if __name__ == "__main__":
    main()
