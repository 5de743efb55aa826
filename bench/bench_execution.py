#!/usr/bin/env python3
"""How the draft is run: one node after the other, in fixed batches, or in batches by cost; how rows are projected; and
what runs at the same time. The paper's figures 13 and 14, on this machine.

Runs are taken in turns, on the same prompts, greedily; every text must be the same.
1. Drafting: policy lever with batches of at most 1 node, of 2 to 16, and by cost: drafting time per cycle, tokens/s.
2. Verification: layers on the CPU, and on a device where --device names one; all rows projected at once, or on demand.
3. Drafting beside verification: off and on; from a trace, how long both ran at the same time.

usage: bench_execution.py LEVER [--target FILE --draft FILE] [--mem SIZE] [--device NAME] [--cpus LIST]
                          [--prompts N] [--tokens N] [--rounds N] [--csv FILE] [--plots PREFIX]
Without --target the demo pair in the shapes of 8B and 0.6B models, made in the cache folder. A device that computes
with cores of this machine (PoCL) leaves the cores of --cpus to the CPU's side.
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

import bench_svg
from bench_demo import append_csv, commit, machine
from bench_grown import ROOT, default_cache, grown, pick_prompts

BATCHES = {"one by one": "lever:96,1"} | {f"batches of {k}": f"lever:96,{k},{k}" for k in (2, 4, 8, 16)}
BATCHES["by cost"] = "lever:96"
SUMS = "decode_tokens decode_s cycles draft_s verify_s project_s rows drafted ahead_s ahead_used ahead_rows".split()


def run(a, options, trace=None):
    """Sums over all prompts, and their texts."""
    args = [
        a.lever,
        "run",
        "--no-learn",
        "-m",
        a.target,
        "-md",
        a.draft,
        "--mem",
        a.mem,
        "-c",
        1024,
        "--temp",
        0,
    ]
    args += ["-n", a.tokens, "-q", "--ignore-eos", "--json", "--prompts", a.prompt_file, *options]
    args += ["--trace", trace] if trace else []
    p = subprocess.run([str(x) for x in args], stdout=subprocess.PIPE, check=True)
    records = [json.loads(line) for line in p.stdout.splitlines()]
    return {k: sum(r["stats"][k] for r in records) for k in SUMS}, [r["text"] for r in records]


def per_cycle(s, key):
    return 1e3 * s[key] / max(1, s["cycles"])


def speed(s):
    return s["decode_tokens"] / s["decode_s"]


class Part:
    """Variants measured in turns."""

    def __init__(self, a, name, variants):
        self.a, self.name, self.variants = a, name, variants
        self.sums = {v: [] for v in variants}

    def measure(self, texts):
        names = list(self.variants)
        for r in range(self.a.rounds):
            for v in names[r % len(names) :] + names[: r % len(names)]:
                s, text = run(self.a, self.variants[v])
                self.sums[v].append(s)
                texts.append(text)
            if sys.stderr.isatty():
                print(f"{self.name}: round {r + 1} of {self.a.rounds}", file=sys.stderr)

    def median(self, variant, f):
        return statistics.median(map(f, self.sums[variant]))

    def show(self, add):
        print(
            f"\n{self.name}\n{'':30} {'draft ms':>9} {'verify ms':>10} {'project ms':>11} {'tokens/s':>9}"
            f" {'per sweep':>10}"
        )
        for v in self.variants:
            ms = [
                self.median(v, lambda s, k=k: per_cycle(s, k)) for k in ("draft_s", "verify_s", "project_s")
            ]
            tps = self.median(v, speed)
            each = self.median(v, lambda s: s["decode_tokens"] / max(1, s["cycles"]))
            print(f"{v:30} {ms[0]:9.2f} {ms[1]:10.1f} {ms[2]:11.2f} {tps:9.2f} {each:10.2f}")
            add(self.name, v, ms, tps, each)

    def ratio(self, x, y):
        """Tokens per second of x by those of y, the median over rounds."""
        return statistics.median(speed(p) / speed(q) for p, q in zip(self.sums[x], self.sums[y]))


def spans(path):
    """Of a trace: lists of (from, to) in microseconds by track, 'ahead' apart."""
    with open(path, encoding="utf-8") as f:
        events = json.load(f)
    tracks = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    found, begun = {}, {}
    for e in events:
        track = (
            "ahead"
            if e["name"] == "ahead"
            else "verify" if e["name"] == "verify" else tracks.get(e.get("tid"))
        )
        if e["ph"] == "X":
            found.setdefault(track, []).append((e["ts"], e["ts"] + e["dur"]))
        elif e["ph"] == "b":
            begun[e["cat"], e["id"]] = e["ts"]
        elif e["ph"] == "e":
            found.setdefault(track, []).append((begun.pop((e["cat"], e["id"])), e["ts"]))
    return found


def union(list_of_spans):
    joined = []
    for x, y in sorted(list_of_spans):
        if joined and x <= joined[-1][1]:
            joined[-1][1] = max(joined[-1][1], y)
        else:
            joined.append([x, y])
    return joined


def length(joined):
    return sum(y - x for x, y in joined)


def common(p, q):
    """Time that two unions share."""
    total, i, k = 0, 0, 0
    while i < len(p) and k < len(q):
        total += max(0, min(p[i][1], q[k][1]) - max(p[i][0], q[k][0]))
        if p[i][1] < q[k][1]:
            i += 1
        else:
            k += 1
    return total


def picture(path, t):
    """Two cycles from the middle of what spans() gave."""
    shown = [v for v in union(t["verify"]) if common(union(t["ahead"]), [v])]
    first = max(0, len(shown) // 2 - 1)
    begin, end = shown[first][0], shown[min(first + 1, len(shown) - 1)][1]
    pad = (end - begin) * 0.02
    names = {"draft": 0, "ahead": 1, "verify": 4, "device": 3, "flash": 2}
    labels = {"ahead": "draft, ahead", "verify": "sweep of the target"}
    tracks = [(labels.get(k, k), [(*s, i) for s in t[k]]) for k, i in names.items() if t.get(k)]
    bench_svg.timeline(path, "What runs at the same time: two cycles", tracks, begin - pad, end + pad)


def overlap(a, options, plot, texts):
    """Shares of the sweeps in which the draft ran ahead, and of that time in which the device had jobs. None: it never
    ran ahead."""
    with tempfile.NamedTemporaryFile(suffix=".json") as f:
        texts.append(run(a, options, f.name)[1])
        t = spans(f.name)
    ahead, verify, device = (union(t.get(k, [])) for k in ("ahead", "verify", "device"))
    if not ahead or not verify:
        return None
    share = common(ahead, verify) / length([v for v in verify if common(ahead, [v])])
    beside = common(ahead, device) / length(ahead)
    if plot:
        picture(plot, t)
    return share, beside


def options():
    p = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    p.add_argument("lever")
    p.add_argument("--target", type=pathlib.Path)
    p.add_argument("--draft", type=pathlib.Path)
    p.add_argument("--mem", default="2GiB")
    p.add_argument("--device", help="such as opencl:pthread; default: the CPU only")
    p.add_argument("--cpus", help="cores of the CPU's side beside a device")
    p.add_argument("--prompts", type=int, default=4)
    p.add_argument("--tokens", type=int, default=96)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--cache", type=pathlib.Path, default=default_cache())
    p.add_argument("--csv", default=str(ROOT / "bench/results/execution.csv"))
    p.add_argument(
        "--plots", default=str(ROOT / "bench/results/execution"), help="beginning of names of SVG files"
    )
    a = p.parse_args()
    a.cache.mkdir(parents=True, exist_ok=True)
    if not a.target:
        small = [ROOT / f"models/lever-demo-{m}.Q8_0.gguf" for m in ("target", "draft")]
        a.target = grown(a.lever, small[0], "qwen3-8b", "Q4_0", a.cache)
        a.draft = grown(a.lever, small[1], "qwen3-0.6b", "Q4_0", a.cache)
    a.prompt_file = a.cache / "prompts-execution.jsonl"
    pick_prompts(a.prompts, a.prompt_file)
    return a


def parts(a):
    on = ["--device", a.device] if a.device else []
    cpus = ["--cpus", a.cpus] if a.cpus else []
    off = ["--draft-ahead", "off"]
    layers = {"CPU": [], **({"device": [*on, *cpus]} if a.device else {})}
    projects = {"all at once": ["--project", "eager"], "on demand": ["--project", "demand"]}
    return (
        Part(a, "drafting", {k: ["--draft", v, *off] for k, v in BATCHES.items()}),
        Part(
            a,
            "verification",
            {
                f"layers {x}, projected {y}": [*layers[x], *projects[y], *off]
                for x in layers
                for y in projects
            },
        ),
        Part(a, "drafting ahead", {k: [*on, *cpus, "--draft-ahead", k] for k in ("off", "on")}),
    )


def main():
    a = options()
    rows, texts = [], []
    drafting, verification, ahead = parts(a)
    for part in (drafting, verification, ahead):
        part.measure(texts)

    def add(part, variant, ms, tps, each):
        rows.append(
            [datetime.date.today().isoformat(), commit(), machine(), a.target.name, a.draft.name, a.mem]
            + [a.device or "cpu", part, variant, a.rounds]
            + [f"{x:.3f}" for x in (*ms, tps, each)]
        )

    print(f"{machine()}; {a.target.name}, {a.draft.name}, limit {a.mem}, device {a.device or 'none'}")
    for part in (drafting, verification, ahead):
        part.show(add)
    append_csv(
        a.csv,
        "date commit machine target draft mem device part variant rounds draft_ms verify_ms project_ms tokens_per_s "
        "tokens_per_sweep",
        rows,
    )
    for part, keys in ((drafting, ["draft_s"]), (verification, ["verify_s", "project_s"])):
        cycle = [
            (v, [(k[:-2], part.median(v, lambda s, k=k: per_cycle(s, k))) for k in keys])
            for v in part.variants
        ]
        rate = [(v, [("tokens", part.median(v, speed))]) for v in part.variants]
        bench_svg.bars(
            f"{a.plots}-{part.name}.svg",
            f"{part.name.capitalize()}: {a.target.stem}, limit {a.mem}",
            [("time per cycle", "ms", cycle), ("speed", "tokens/s", rate)],
        )
    shares = overlap(a, ahead.variants["on"], f"{a.plots}-overlap.svg", texts)
    same = all(t == texts[0] for t in texts)
    by_cost = drafting.ratio("by cost", "one by one")
    demand = min(
        verification.ratio(f"layers {x}, projected on demand", f"layers {x}, projected all at once")
        for x in (["CPU", "device"] if a.device else ["CPU"])
    )
    print(f"\ndrafting ahead: {ahead.ratio('on', 'off'):.3f} of the speed without")
    if shares:
        print(
            f"the draft ran ahead for {shares[0]:.0%} of the sweeps; the device had jobs for {shares[1]:.0%} of that"
        )
    print(f"\nBAR execution_same_text {int(same)} 1 {'ok' if same else 'short'}")
    print(f"BAR execution_batches_by_cost {by_cost:.3f} 1.000 {'ok' if by_cost >= 1 else 'short'}")
    print(f"BAR execution_project_on_demand {demand:.3f} 1.000 {'ok' if demand >= 1 else 'short'}")
    if shares:
        beside = shares[0] * (shares[1] if a.device else 1)
        print(f"BAR execution_overlap {beside:.2f} 0.50 {'ok' if beside >= 0.5 else 'short'}")


if __name__ == "__main__":
    main()
