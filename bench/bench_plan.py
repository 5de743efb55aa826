#!/usr/bin/env python3
"""What `lever plan` predicts beside what `lever run` measures: a grid of models, memory limits, policies and devices.

First a record of the prompts is made (two runs per pair, under one limit); then rounds, each with one of the
prompts, in two halves: a profile of the machine with a pair, then every other configuration of the pair. Disks
of shared machines change their speed within minutes: a prediction is the middle of those by all profiles, and
what is measured is the time of all rounds together; what single profiles are off by is told too. Memory does so
when the host moves the processors (processors.py): profiles, and runs that read no flash, are made with
processors that are near each other, and made again where they did not stay there. A run that was broken off
goes on where it stopped. Drafting beside verification is off, as it is not predicted.

A device that computes with cores of this machine is one with --cpus: the pair 8b-Q4_0+device, all of whose
products of the device run there, however few rows they have. PoCL on one core: POCL_MAX_PTHREAD_COUNT=1
(3.1; newer versions may want POCL_CPU_MAX_CU_COUNT=1).

usage: bench_plan.py LEVER [--rounds N] [--tokens N] [--device NAME [--cpus LIST]] [--quick] [--grid PAIR...]
                     [--csv FILE] [--plot FILE.svg]
Ends with one line per bar: BAR <name> <measured> <goal> ok|short
SPDX-License-Identifier: MIT
"""

import argparse
import csv
import datetime
import json
import math
import os
import pathlib
import shutil
import statistics
import subprocess
import sys

from bench_demo import append_csv, commit, machine
from bench_grown import ROOT, default_cache, grown, pick_prompts
from processors import Processors

GOALS = {"plan_error_median": 0.04, "plan_error_worst": 0.10, "plan_choice_of_best": 0.97}
COLUMNS = (
    "date commit machine session round model draft mem device policy tokens prompts measured decode_tokens sweeps"
    " draft_s verify_s project_s wait_s decode_s before after draft_before sweep_before chosen near profile_near"
)
AMPLE = "12GiB"
PROMPT = 60  # tokens of a prompt of this benchmark, about
# pair -> (limits, policies)
GRID = {
    "8b-Q4_0": (("1.5GiB", "2GiB", "3GiB", AMPLE), ("none", "chain:2", "chain:8", "lever")),
    "8b-Q4_K": (("3GiB",), ("none", "chain:2", "chain:8", "lever")),
    "8b-Q8_0": (("3GiB", AMPLE), ("none", "chain:2", "lever")),
    "8b-Q4_0-draft-Q8_0": (("3GiB",), ("chain:2", "lever")),
    "demo": (("26MiB", "1GiB"), ("none", "chain:2", "chain:8")),
}
# pair -> (type of the target, of the draft)
TYPES = {f"8b-{t}": (t, "Q4_0") for t in ("Q4_0", "Q4_K", "Q8_0")} | {
    "8b-Q4_0-draft-Q8_0": ("Q4_0", "Q8_0"),
    "8b-Q4_0+device": ("Q4_0", "Q4_0"),
}
DEVICE_PAIR = "8b-Q4_0+device"
# What of it runs there, with which policies.
DEVICE_CELLS = {"": ("none", "chain:2"), "--device": ("none", "chain:2"), "--device-draft": ("chain:2",)}
TIMES = {"demo": 10}  # prompts are answered, where that takes parts of a second
SMOKE = {"demo": (("26MiB", "1GiB"), ("none", "chain:2"))}


def options():
    p = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    p.add_argument("lever")
    p.add_argument("--rounds", type=int, default=4)
    p.add_argument("--tokens", type=int, default=64, help="of an answer")
    p.add_argument(
        "--plain-tokens",
        type=int,
        default=16,
        help="of an answer without a draft that reads flash, or whose layers are on the device",
    )
    p.add_argument("--prompts", type=int, default=4, help="one of each kind in turn; one for each round")
    p.add_argument("--grid", nargs="*", help=f"only these pairs: {' '.join(GRID)}")
    p.add_argument("--device", help="also with the draft, and with the layers, on this device: opencl:NAME")
    p.add_argument("--cpus", help="cores of the CPU's side beside the device")
    p.add_argument("--tries", type=int, default=3, help="to find processors that stay where they are")
    p.add_argument("--quick", action="store_true", help="a few cells of the demo pair, to see that it works")
    p.add_argument("--session", help="name of the run to go on with or to begin; default: the day")
    p.add_argument("--profile-seconds", type=float, default=30)
    p.add_argument("--cache", type=pathlib.Path, default=default_cache())
    p.add_argument("--csv", default=str(ROOT / "bench/results/plan.csv"))
    p.add_argument("--plot", default=str(ROOT / "docs/plan.svg"))
    a = p.parse_args()
    a.session = a.session or datetime.date.today().isoformat()
    a.work = a.cache / f"plan-{a.session}"
    a.work.mkdir(parents=True, exist_ok=True)
    # Profile and counts of this benchmark are its own.
    os.environ["XDG_CACHE_HOME"] = str(a.work)
    a.processors = Processors()
    if a.device:
        GRID[DEVICE_PAIR] = ((AMPLE,), ())
    return a


def run(*args):
    p = subprocess.run([str(x) for x in args], stdout=subprocess.PIPE, check=True)
    return p.stdout


def pair_files(a, name):
    target, draft = (ROOT / f"models/lever-demo-{m}.Q8_0.gguf" for m in ("target", "draft"))
    if name == "demo":
        return target, draft
    return (
        grown(a.lever, target, "qwen3-8b", TYPES[name][0], a.cache),
        grown(a.lever, draft, "qwen3-0.6b", TYPES[name][1], a.cache),
    )


def cells(grid):
    """(pair, limit, device option, policy)"""
    out = []
    for pair, (limits, policies) in grid.items():
        parts = DEVICE_CELLS if pair == DEVICE_PAIR else {"": policies}
        out += [
            (pair, mem, device, policy) for mem in limits for device, ps in parts.items() for policy in ps
        ]
    return out


def in_memory(cell):
    return cell[1] in (AMPLE, "1GiB")


def settings(a, cell):
    pair, mem, device, _ = cell
    target, draft = pair_files(a, pair)
    args = ["-m", target, "-md", draft, "--mem", mem, "-c", 1024, "--temp", 0, "--draft-ahead", "off"]
    args += ["--cpus", a.cpus] if pair == DEVICE_PAIR and a.cpus else []
    return args + ([device, a.device, "--device-min-rows", 1] if device else [])


def learn(a, pairs, prompts):
    """Count how often the draft is right, on the prompts that are measured, with two policies and one limit."""
    for pair in {"8b-Q4_0" if p == DEVICE_PAIR else p: None for p in pairs}:
        done = a.work / f"learnt-{pair}"
        if done.exists():
            continue
        print(f"counting acceptance of {pair}", file=sys.stderr, flush=True)
        for policy in ("chain:8", "lever"):
            cell = (pair, "1GiB" if pair == "demo" else "4GiB", "", policy)
            args = settings(a, cell) + [
                "--policy",
                policy,
                "-n",
                tokens_of(a, cell),
                "--ignore-eos",
                "-q",
                "--json",
            ]
            run(a.lever, "run", *args, "--prompts", prompts)
        done.touch()


def remember(a):
    """Every run and every plan begins with the same record: else the latest prompt would weigh most."""
    kept = a.work / "learnt"
    kept.mkdir(exist_ok=True)
    for f in (a.work / "lever").glob("learnt-*"):
        if not (kept / f.name).exists():
            shutil.copy2(f, kept)
    for f in kept.iterdir():
        shutil.copy2(f, a.work / "lever")


def profile(a, pair, number):
    """Measure the machine with a pair; kept under a number, so that a run that was broken off finds it. The share of
    the time for which processors were near."""
    kept, used = a.work / f"profile-{pair}-{number}.json", a.work / "lever/profile.json"
    near = kept.with_suffix(".near")

    def work():
        used.unlink(missing_ok=True)
        target, draft = pair_files(a, pair)
        more = ["--device", a.device] if pair == DEVICE_PAIR else []
        more += ["--cpus", a.cpus] if pair == DEVICE_PAIR and a.cpus else []
        run(a.lever, "profile", "-m", target, "-md", draft, "--time", a.profile_seconds, *more)
        return used.read_bytes()

    used.parent.mkdir(parents=True, exist_ok=True)
    if not near.exists():
        print(f"profile {number}: {pair}", file=sys.stderr, flush=True)
        found, share = a.processors.held(work, a.tries, share=0.95)
        kept.write_bytes(found)
        near.write_text(f"{share:.2f}", encoding="utf-8")
    used.write_bytes(kept.read_bytes())
    return near.read_text(encoding="utf-8")


def predict(a, grid):
    """Every cell -> its choice, as `lever plan` sees it; and the plans by (pair, limit, device)."""
    remember(a)
    choices, best = {}, {}
    for pair, mem, device in {c[:3] for c in cells(grid)}:
        policies = [c[3] for c in cells(grid) if c[:3] == (pair, mem, device)]
        args = settings(a, (pair, mem, device, ""))
        tokens = tokens_of(a, (pair, mem, device, ""))
        args += ["--policies", ";".join(policies), "-n", tokens, "--json"]
        args += ["--positions", PROMPT + tokens // 2]
        args += [] if device else ["--device", "cpu"]
        plan = json.loads(run(a.lever, "plan", *args))["plans"][0]
        for c in plan["choices"]:
            choices[pair, mem, device, c["policy"]] = c
        best[pair, mem, device] = plan["choices"][plan["best"]]["policy"]
    return choices, best


def tokens_of(a, cell):
    """Of an answer; more of the demo pair, which gives thousands a second, fewer where every token is a sweep."""
    if cell[0] == "demo":
        return 2 * a.tokens
    slow = cell[3] == "none" and (cell[1] != AMPLE or cell[2] == "--device")
    return a.plain_tokens if slow else a.tokens


def measure(a, cell, prompts):
    remember(a)
    tokens = tokens_of(a, cell)
    args = settings(a, cell) + ["--policy", cell[3], "-n", tokens, "--ignore-eos", "-q", "--json"]
    prompts = ",".join([str(prompts)] * TIMES.get(cell[0], 1))
    tries = a.tries if in_memory(cell) else 1
    out, near = a.processors.held(lambda: run(a.lever, "run", *args, "--prompts", prompts), tries)
    records = [json.loads(line)["stats"] for line in out.splitlines()]
    keys = "decode_tokens cycles draft_s verify_s project_s flash_wait_s decode_s".split()
    return {k: sum(r[k] for r in records) for k in keys} | {"near": near}


def known_rows(a):
    """Rows of this session, by round and cell."""
    if not os.path.exists(a.csv):
        return {}
    with open(a.csv, newline="", encoding="utf-8") as f:
        rows = [r for r in csv.DictReader(f) if r["session"] == a.session]
    return {(int(r["round"]), r["model"], r["mem"], r["device"], r["policy"]): r for r in rows}


def measure_cells(a, todo, number, prompts):
    """Measure what is not there yet. Pairs that need parts of a second answer all prompts."""
    every, one = prompts
    for cell in todo:
        name = "-".join(x.strip("-").replace(":", "") for x in cell if x)
        kept = a.work / f"round-{number}-{name}.json"
        if kept.exists():
            continue
        m = measure(a, cell, every if cell[0] in TIMES else one)
        speed, what = m["decode_tokens"] / m["decode_s"], " ".join(cell)
        print(
            f"round {number}: {what}: {speed:.3f} tokens/s, near {m['near']:.2f}", file=sys.stderr, flush=True
        )
        kept.write_text(json.dumps({"cell": cell, **m}))


def measure_round(a, grid, number, prompts):
    """What belongs to the profile of the first half is in the columns of `before`, of the second in `after`."""
    for pair, (limits, policies) in grid.items():
        part = {pair: (limits, policies)}
        near, predicted = [], []
        for i in (0, 1):
            near.append(profile(a, pair, f"{number}.{i}"))
            predicted.append(predict(a, part))
            measure_cells(a, cells(part)[i::2], number, prompts)
        finish_round(a, number, predicted, " ".join(near))


def finish_round(a, number, predicted, profile_near):
    """Rows of a round with its predictions, into the CSV."""
    known, rows = known_rows(a), []
    for kept in sorted(a.work.glob(f"round-{number}-*.json")):
        m = json.loads(kept.read_text())
        cell = tuple(m["cell"])
        if (number, *cell) in known or cell not in predicted[0][0]:
            continue
        pair, mem, device, policy = cell
        (choices, best), (later, _) = predicted
        p, q = choices[cell], later[cell]
        rows.append(
            [datetime.date.today().isoformat(), commit(), machine(), a.session, number, pair]
            + [
                "demo" if pair == "demo" else f"0.6b-{TYPES[pair][1]}",
                mem,
                device,
                policy,
                tokens_of(a, cell),
                a.prompts * TIMES[pair] if pair in TIMES else 1,
            ]
            + [f"{m['decode_tokens'] / m['decode_s']:.5g}", m["decode_tokens"], m["cycles"]]
            + [f"{m[k]:.5g}" for k in ("draft_s", "verify_s", "project_s", "flash_wait_s", "decode_s")]
            + [
                f"{p['tokens_per_s']:.5g}",
                f"{q['tokens_per_s']:.5g}",
                f"{p['draft_s']:.5g}",
                f"{p['sweep_s']:.5g}",
            ]
            + [int(best[pair, mem, device] == policy), f"{m['near']:.2f}", profile_near]
        )
    append_csv(a.csv, COLUMNS, rows)


# ---- what came of it ----


def summary(rows):
    """Per cell: predicted and measured tokens/s of all rounds together. Every round has the same number of tokens."""
    cellrows = {}
    for r in rows.values():
        cellrows.setdefault((r["model"], r["mem"], r["device"], r["policy"]), []).append(r)
    return {
        cell: {
            "predicted": statistics.median(float(r[k]) for r in mine for k in ("before", "after") if r[k]),
            "single": [float(r[k]) for r in mine for k in ("before", "after") if r[k]],
            "measured": statistics.harmonic_mean([float(r["measured"]) for r in mine]),
            "chosen": sum(int(r["chosen"]) for r in mine) * 2 > len(mine),
        }
        for cell, mine in cellrows.items()
    }


def error(s):
    return abs(s["predicted"] / s["measured"] - 1)


def choice_of_best(cellsum):
    """The smallest share of the best measured speed that a plan's choice reaches, and where."""
    worst = (math.inf, "")
    for group in {c[:3] for c in cellsum if not c[2]}:
        mine = {c: s for c, s in cellsum.items() if c[:3] == group}
        best = max(s["measured"] for s in mine.values())
        chosen = max((s["measured"] for s in mine.values() if s["chosen"]), default=0)
        worst = min(worst, (chosen / best, " ".join(group)))
    return worst


def draw(path, cellsum):
    """Predicted against measured, both axes logarithmic, with lines of 4 % and 10 %."""
    size, margin = 560, 60
    values = [v for s in cellsum.values() for v in (s["predicted"], s["measured"])]
    lo, hi = math.log10(min(values) / 1.3), math.log10(max(values) * 1.3)
    at = lambda v: margin + (math.log10(v) - lo) / (hi - lo) * (size - 2 * margin)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{size}" height="{size}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{size}" height="{size}" fill="white"/>',
    ]
    first, last = 10**lo, 10**hi
    for part, color in ((0.10, "#f4e3d0"), (0.04, "#e4efd9")):
        points = [(first, first * (1 + part)), (last, last * (1 + part)), (last, last * (1 - part))]
        points.append((first, first * (1 - part)))
        text = " ".join(f"{at(x):.1f},{size - at(y):.1f}" for x, y in points)
        out.append(f'<polygon points="{text}" fill="{color}"/>')
    decades = [d * 10**e for e in range(math.floor(lo), math.ceil(hi) + 1) for d in (1, 2, 5)]
    for v in decades:
        if not first <= v <= last:
            continue
        x = at(v)
        out.append(f'<text x="{x:.1f}" y="{size - margin + 18}" text-anchor="middle">{v:g}</text>')
        out.append(f'<text x="{margin - 8}" y="{size - x + 4:.1f}" text-anchor="end">{v:g}</text>')
    colors = {"none": "#555555", "chain:2": "#1f77b4", "chain:8": "#d62728", "lever": "#2ca02c"}
    for cell, s in sorted(cellsum.items()):
        title = (
            f"{' '.join(x for x in cell if x)}: predicted {s['predicted']:.3g}, measured {s['measured']:.3g}"
        )
        out.append(
            f'<circle cx="{at(s["measured"]):.1f}" cy="{size - at(s["predicted"]):.1f}" r="5" fill-opacity="0.75" '
            f'fill="{colors.get(cell[3], "#9467bd")}"><title>{title}</title></circle>'
        )
    for i, (name, color) in enumerate(colors.items()):
        y = margin + 16 * i
        out.append(f'<circle cx="{margin + 12}" cy="{y}" r="5" fill="{color}"/>')
        out.append(f'<text x="{margin + 24}" y="{y + 4}">{name}</text>')
    out.append(f'<text x="{size / 2}" y="{size - 14}" text-anchor="middle">measured tokens/s</text>')
    out.append(
        f'<text x="16" y="{size / 2}" text-anchor="middle" transform="rotate(-90 16 {size / 2})">predicted tokens/s'
        " (bands: 4 and 10 %)</text>"
    )
    pathlib.Path(path).write_text("\n".join(out) + "\n</svg>\n", encoding="utf-8")


def print_table(cellsum):
    print(f"{'pair':9} {'limit':7} {'device':14} {'policy':8} {'predicted':>9} {'measured':>9} {'error':>7}")
    for cell, s in sorted(cellsum.items()):
        mark = ">" if s["chosen"] else " "
        print(
            f"{cell[0]:9} {cell[1]:7} {cell[2]:14}{mark}{cell[3]:8} {s['predicted']:9.3f} {s['measured']:9.3f}"
            f" {100 * (s['predicted'] / s['measured'] - 1):+6.1f} %"
        )


def main():
    a = options()
    grid = SMOKE if a.quick else {k: v for k, v in GRID.items() if not a.grid or k in a.grid}
    prompts = a.work / "prompts.jsonl"
    pick_prompts(a.prompts, prompts)
    learn(a, grid, prompts)
    lines = prompts.read_text(encoding="utf-8").splitlines(keepends=True)
    for number in range(a.rounds):
        one = a.work / f"prompt-{number % a.prompts}.jsonl"
        one.write_text(lines[number % a.prompts], encoding="utf-8")
        measure_round(a, grid, number, (prompts, one))
    wanted = set(cells(grid))
    known = {k: r for k, r in known_rows(a).items() if k[1:] in wanted}
    cellsum = summary(known)
    print(f"\n{machine()}; {a.rounds} rounds, {a.prompts} prompts, answers of {a.tokens} tokens, greedy\n")
    print_table(cellsum)
    if not a.quick:
        draw(a.plot, cellsum)
    errors = [error(s) for s in cellsum.values()]
    share, where = choice_of_best(cellsum)
    single = [abs(p / s["measured"] - 1) for s in cellsum.values() for p in s["single"]]
    print(
        f"\nby single profiles: half within {statistics.median(single):.1%}, worst {max(single):.0%}"
        f"\n{len(errors)} configurations; the plan's choice is furthest from the best at {where}"
    )
    bars = (
        ("plan_error_median", statistics.median(errors)),
        ("plan_error_worst", max(errors)),
        ("plan_choice_of_best", share),
    )
    for name, value in bars:
        good = value >= GOALS[name] if name == "plan_choice_of_best" else value <= GOALS[name]
        print(f"BAR {name} {value:.3f} {GOALS[name]} {'ok' if good else 'short'}")


if __name__ == "__main__":
    sys.exit(main())
