#!/usr/bin/env python3
"""How close a streamed sweep comes to what the flash gives, and what that is worth beside mmap.

1. I/O-bound: sweeps of one row over an 8B shape of which nothing is resident, beside a plain loop of direct reads and
   fio on the same file, in turns. fio gets huge pages where the system lets this program reserve some.
2. Compute as long as I/O: the number of rows whose products take as long as the reads; a streamed sweep of that many
   rows against the longer of the two.
3. Under a memory cgroup: plain decoding beside llama.cpp with mmap on the same file (llama-bench on the PATH or
   --llama-bench; skipped without it or without the right to make a cgroup).

usage: bench_flash.py BUILD_DIR [--shape qwen3-8b] [--type Q4_0] [--threads N] [--rounds N] [--llama-bench PATH]
                      [--mem 1.5GiB,3GiB] [--cache DIR] [--csv FILE] [--parts 1,2,3]
Ends with one line per bar: BAR <name> <measured> <goal> ok|short
SPDX-License-Identifier: MIT
"""

import argparse
import contextlib
import datetime
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

from bench_demo import append_csv, commit, machine
from bench_grown import ROOT, default_cache, grown
from bench_kernels import sweeps

sys.path.insert(0, str(ROOT / "tools"))
from cgroup import Cgroup  # noqa: E402

RING_MIB = 64
FIO = [("2M", 2), ("2M", 4), ("4M", 1), ("4M", 2)]
PLAIN_KIB = [2048, 4096]
BALANCE_ROWS = [48, 64, 80, 96, 112, 128, 160]
HUGE_PAGES = pathlib.Path("/proc/sys/vm/nr_hugepages")


@contextlib.contextmanager
def huge_pages(n):
    """Reserve n huge pages for fio, which can not ask for transparent ones. Yields whether there are some."""
    try:
        before = int(HUGE_PAGES.read_text())
        HUGE_PAGES.write_text(str(max(n, before)))
    except OSError:
        yield False
        return
    try:
        yield int(HUGE_PAGES.read_text()) >= n
    finally:
        HUGE_PAGES.write_text(str(before))


def plain_loop(build, model, kib):
    args = [build / "bench/lever_sweep", "--read", model, 1, kib]
    return json.loads(subprocess.run([str(a) for a in args], stdout=subprocess.PIPE, check=True).stdout)


def fio(model, block, depth, huge):
    args = f"fio --name=read --direct=1 --rw=read --readonly --ioengine=io_uring --time_based --runtime=1".split()
    args += [f"--filename={model}", f"--bs={block}", f"--iodepth={depth}", "--output-format=json"]
    args += ["--iomem=mmaphuge"] if huge else []
    out = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout
    return json.loads(out)["jobs"][0]["read"]["bw_bytes"]


def stream(a, model, rows):
    """Bytes per second, seconds of one sweep and what lever_sweep tells, of streamed sweeps."""
    out = sweeps(a.build, model, a.threads, 2, 0, "f16", rows, ["--stream", RING_MIB])
    seconds = [s for n in rows for s in out["rows"][str(n)]]
    return out["flash_bytes"] / sum(seconds), statistics.median(seconds), out


def io_bound(a, model):
    """Part 1: rows of the table, bars."""
    readers = {f"plain loop, {kib} KiB": [] for kib in PLAIN_KIB}
    has_fio = shutil.which("fio")
    ours, cpu = [], []
    with huge_pages(32) as huge:
        if has_fio:
            kind = "huge pages" if huge else "small pages"
            readers |= {f"fio {b} x {d}, {kind}": [] for b, d in FIO}
        for i in range(a.rounds):
            print(f"reading, round {i + 1} of {a.rounds}", file=sys.stderr, flush=True)
            for kib in PLAIN_KIB:
                readers[f"plain loop, {kib} KiB"].append(plain_loop(a.build, model, kib)["bytes_per_s"])
            before, _, _ = stream(a, model, [1])
            for b, d in FIO if has_fio else []:
                readers[f"fio {b} x {d}, {kind}"].append(fio(model, b, d, huge))
            after, seconds, out = stream(a, model, [1])
            ours.append((before + after) / 2)
            cpu.append((out["cpu_s"] / sum(out["rows"]["1"]), out["flash_wait_s"] / sum(out["rows"]["1"])))
    print(f"\n{'reader':28} {'median GB/s':>12} {'least':>7} {'most':>7}")
    table = []
    for name, v in [*readers.items(), ("streamed sweep, 1 row", ours)]:
        print(f"{name:28} {statistics.median(v) / 1e9:12.2f} {min(v) / 1e9:7.2f} {max(v) / 1e9:7.2f}")
        table.append([name, f"{statistics.median(v):.4g}", f"{min(v):.4g}", f"{max(v):.4g}", "bytes/s"])
    if not has_fio:
        print("fio is not installed: without it the best reader is the plain loop")
    # Against the reader that is best over all rounds, in the same round: a maximum over readers of one second
    # each would be that of the noise.
    name = max(readers, key=lambda k: statistics.median(readers[k]))
    paired = [x / y for x, y in zip(ours, readers[name])]
    print(
        f"best reader: {name}; share by round: {' '.join(f'{x:.3f}' for x in paired)}; processor "
        f"{statistics.median(c for c, _ in cpu):.2f} cores with the products, "
        f"waiting {statistics.median(w for _, w in cpu):.2f}"
    )
    return table, [("flash_share_of_best_reader", statistics.median(paired), 0.97)]


def balanced(a, model):
    """Part 2: a streamed sweep against the longer of its reads and its products."""
    resident = sweeps(a.build, model, a.threads, 2, 0, "f16", BALANCE_ROWS)
    _, io_s, _ = stream(a, model, [1])
    compute = {n: min(resident["rows"][str(n)]) for n in BALANCE_ROWS}
    rows = min(BALANCE_ROWS, key=lambda n: abs(compute[n] - io_s))
    print(f"\n{'rows':>5} {'products, s':>12} {'reads, s':>9} {'together, s':>12} {'of the longer':>14}")
    table, ratios = [], []
    for _ in range(a.rounds):
        _, io_s, _ = stream(a, model, [1])
        resident = sweeps(a.build, model, a.threads, 2, 0, "f16", [rows])
        _, both, out = stream(a, model, [rows])
        alone = statistics.median(resident["rows"][str(rows)])
        ratio = both / max(alone, io_s)
        ratios.append(ratio)
        print(f"{rows:5d} {alone:12.3f} {io_s:9.3f} {both:12.3f} {ratio:14.3f}", flush=True)
        table.append(
            [f"balance {rows} rows", f"{both:.4g}", f"{alone:.4g}", f"{io_s:.4g}", "s: both, products, reads"]
        )
    return table, [("flash_balanced_sweep_of_longer", statistics.median(ratios), -1.05)]


def llama_mmap(a, model, limit, out):
    """Tokens per second and bytes read per token of llama-bench: from runs of two lengths."""
    reads = []
    for n in (2, 6):
        command = [a.llama_bench, "-m", model, "-t", a.threads, "-p", 0, "-n", n, "-r", 1, "-o", "json"]
        command += ["--repack", 0]  # else the weights are copied, which takes their size in memory
        with open(model, "rb") as f:  # what an earlier run left in the page cache belongs to no limit
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        with Cgroup(limit) as g:
            code, usage = g.run(command, out)
        if code != 0:
            return None
        reads.append(usage.ru_inblock * 512)
    speed = json.loads(out.read_text())[0]["samples_ts"][0]
    return speed, (reads[1] - reads[0]) / 4


def lever_stream(a, model, limit, out):
    command = [a.build / "lever", "run", "--no-learn", "-m", model, "--draft", "none", "--mem", limit, "-t", a.threads]
    command += ["-p", "Once upon a time", "-n", 9, "--temp", 0, "-c", 512, "--ignore-eos", "--json"]
    with Cgroup(limit) as g:
        code, _ = g.run(command, out)
    if code != 0:
        return None
    s = json.loads(out.read_text())["stats"]
    return s["tokens_per_second"], s["flash_bytes"] / s["decode_tokens"]


def beside_mmap(a, model):
    """Part 3."""
    table, bars = [], []
    goals = {1536: 1.8, 3072: 2.5}
    print("\n    limit  llama.cpp mmap, tokens/s  GB/token  lever plain  GB/token  ratio")
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "out"
        for mib in goals:
            runs = []
            for _ in range(max(1, a.rounds // 2)):
                pair = lever_stream(a, model, mib << 20, out), llama_mmap(a, model, mib << 20, out)
                if not all(pair):
                    print(
                        f"{mib:5d} MiB: {'lever' if not pair[0] else 'llama-bench'} failed under this limit"
                    )
                    break
                runs.append(pair)
            if not runs:
                continue
            ours, theirs = ([statistics.median(v) for v in zip(*side)] for side in zip(*runs))
            ratio = statistics.median(x[0] / y[0] for x, y in runs)
            print(
                f"{mib:5d} MiB {theirs[0]:25.2f} {theirs[1] / 1e9:9.2f} {ours[0]:12.2f} {ours[1] / 1e9:9.2f} "
                f"{ratio:6.2f}",
                flush=True,
            )
            table.append(
                [
                    f"mmap {mib} MiB",
                    f"{ours[0]:.4g}",
                    f"{theirs[0]:.4g}",
                    f"{ratio:.3g}",
                    "tokens/s: ours, mmap, ratio",
                ]
            )
            bars.append((f"flash_plain_of_mmap_{mib}_mib", ratio, goals[mib]))
    return table, bars


def why_no_mmap(a):
    if not a.llama_bench:
        return "llama-bench is not on the PATH"
    try:
        with Cgroup(64 << 20):
            return None
    except OSError as e:
        return f"no memory cgroup can be made: {e}"


def options():
    p = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    p.add_argument("build", type=pathlib.Path)
    p.add_argument("--shape", default="qwen3-8b")
    p.add_argument("--type", default="Q4_0")
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--llama-bench", default=shutil.which("llama-bench"))
    p.add_argument("--cache", type=pathlib.Path, default=default_cache())
    p.add_argument("--csv", default=str(ROOT / "bench/results/flash.csv"))
    p.add_argument("--parts", default="1,2,3")
    a = p.parse_args()
    a.build = a.build.resolve()
    a.cache.mkdir(parents=True, exist_ok=True)
    return a


def main():
    a = options()
    target = ROOT / "models/lever-demo-target.Q8_0.gguf"
    model = grown(a.build / "lever", target, a.shape, a.type, a.cache)
    print(f"{machine()}, {a.threads} threads; {model.name}, {model.stat().st_size / 1e9:.2f} GB")
    parts = {"1": io_bound, "2": balanced, "3": beside_mmap}
    table, bars = [], []
    for name in a.parts.split(","):
        if name == "3" and why_no_mmap(a):
            print(f"\nbeside mmap: skipped, {why_no_mmap(a)}")
            continue
        rows, more = parts[name](a, model)
        table += rows
        bars += more
    when = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%MZ")
    head = [when, commit(), machine(), model.name, a.threads]
    append_csv(
        a.csv, "time commit machine model threads what median least most unit", [head + r for r in table]
    )
    print()
    for name, measured, goal in bars:
        good = measured <= -goal if goal < 0 else measured >= goal
        print(f"BAR {name} {measured:.3f} {abs(goal)} {'ok' if good else 'short'}")


if __name__ == "__main__":
    main()
