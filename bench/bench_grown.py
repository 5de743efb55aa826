#!/usr/bin/env python3
"""The demo pair in the shapes of a large pair: same text as the small pair, at the cost of the large one.

Grows target and draft into a cache folder (once; later runs reuse them), lets both pairs answer the same prompts
greedily, compares the texts, and shows what a token costs with and without speculation.

usage: bench_grown.py LEVER [--target-shape NAME] [--draft-shape NAME] [--type T] [--draft-type T] [--mem SIZE]
                      [--prompts N] [--tokens N] [--plain N] [--cache DIR] [--csv FILE]
Ends with one line per bar: BAR <name> <measured> <goal> ok|short
SPDX-License-Identifier: MIT
"""

import argparse
import datetime
import json
import os
import pathlib
import subprocess
import sys

from bench_demo import append_csv, commit, machine

ROOT = pathlib.Path(__file__).resolve().parent.parent
KINDS = ("code", "math", "chat", "story")


def default_cache():
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "lever"


def quantised(lever, small, kind, cache):
    """The small model with its matrices in `kind`: what the grown one must equal."""
    out = cache / f"{small.stem.split('.')[0]}.{kind}.gguf"
    subprocess.run([lever, "quantize", small, out, kind], check=True)
    return out


def grown(lever, small, shape, kind, cache):
    out = cache / f"{small.stem.split('.')[0]}.{shape}.{kind}.gguf"
    if not out.exists() or out.stat().st_mtime < small.stat().st_mtime:
        print(f"growing {small.name} to {shape} in {kind}", file=sys.stderr, flush=True)
        subprocess.run([lever, "grow", small, out, shape, "--type", kind], check=True, stdout=sys.stderr)
    return out


def answers(lever, target, draft, policy, prompts, n, mem):
    """Records of every prompt's first n new tokens."""
    args = [
        lever,
        "run",
        "--no-learn",
        "-m",
        target,
        "--draft",
        policy,
        "--mem",
        mem,
        "-c",
        "1024",
        "--temp",
        "0",
        "--json",
    ]
    args += ["-n", n, "-q", "--ignore-eos", "--prompts", prompts] + (["-md", draft] if draft else [])
    p = subprocess.run([str(a) for a in args], stdout=subprocess.PIPE, check=True)
    return [json.loads(line) for line in p.stdout.splitlines()]


def sums(records):
    keys = (
        "decode_tokens",
        "decode_s",
        "cycles",
        "drafted",
        "accepted",
        "flash_bytes",
        "flash_wait_s",
        "draft_s",
    )
    s = {k: sum(r["stats"][k] for r in records) for k in keys}
    s["peak"] = max(r["stats"]["peak_rss_bytes"] for r in records)
    return s


def pick_prompts(count, path):
    """The first message or text of prompts of every kind in turn."""
    files = [[json.loads(line) for line in open(ROOT / f"bench/prompts/{k}.jsonl")] for k in KINDS]
    with open(path, "w", encoding="utf-8") as f:
        for i in range(count):
            record = files[i % len(files)][i // len(files)]
            record["turns"] = record.get("turns", [])[:1]
            if not record["turns"]:
                del record["turns"]
            f.write(json.dumps(record) + "\n")


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("lever")
    p.add_argument("--target-shape", default="qwen3-8b")
    p.add_argument("--draft-shape", default="qwen3-0.6b")
    p.add_argument("--type", default="Q4_0")
    p.add_argument("--draft-type", default="Q4_0")
    p.add_argument("--mem", default="3GiB")
    p.add_argument("--policy", default="chain:8")
    p.add_argument("--prompts", type=int, default=20)
    p.add_argument("--tokens", type=int, default=256)
    p.add_argument(
        "--plain", type=int, default=8, help="tokens per prompt decoded without a draft, for the cost"
    )
    p.add_argument("--cache", type=pathlib.Path, default=default_cache())
    p.add_argument("--csv", default=str(ROOT / "bench/results/grown.csv"))
    a = p.parse_args()
    a.cache.mkdir(parents=True, exist_ok=True)
    prompts = a.cache / "prompts.jsonl"
    pick_prompts(a.prompts, prompts)
    target, draft = (ROOT / f"models/lever-demo-{m}.Q8_0.gguf" for m in ("target", "draft"))
    small = answers(
        a.lever, quantised(a.lever, target, a.type, a.cache), None, "none", prompts, a.tokens, "1GiB"
    )
    big_target = grown(a.lever, target, a.target_shape, a.type, a.cache)
    big_draft = grown(a.lever, draft, a.draft_shape, a.draft_type, a.cache)
    plain = answers(a.lever, big_target, None, "none", prompts, a.plain, a.mem)
    fast = answers(a.lever, big_target, big_draft, a.policy, prompts, a.tokens, a.mem)

    same = 0
    for x, y, z in zip(small, fast, plain):
        equal = x["text"] == y["text"] and y["text"].startswith(z["text"].rstrip("\ufffd"))
        same += equal
        if not equal:
            at = len(os.path.commonprefix([x["text"], y["text"]]))
            print(
                f"{x['id']}: the texts part at character {at}: {x['text'][at:at+20]!r} {y['text'][at:at+20]!r}"
            )
    sp, sf = sums(plain), sums(fast)
    speed = {"none": sp["decode_tokens"] / sp["decode_s"], a.policy: sf["decode_tokens"] / sf["decode_s"]}
    print(f"\n{machine()}; {a.target_shape} {a.type}, draft {a.draft_shape} {a.draft_type}, limit {a.mem}\n")
    print(
        f"{'policy':<14} {'tokens':>7} {'tokens/s':>9} {'per sweep':>10} {'GB/sweep':>9} {'GB/s':>6} {'peak MiB':>9}"
    )
    rows = []
    for policy, s in (("none", sp), (a.policy, sf)):
        per_sweep, gb = s["decode_tokens"] / s["cycles"], s["flash_bytes"] / s["cycles"] / 1e9
        rate = s["flash_bytes"] / s["decode_s"] / 1e9
        print(
            f"{policy:<14} {s['decode_tokens']:7d} {speed[policy]:9.3f} {per_sweep:10.2f} {gb:9.2f} {rate:6.2f}"
            f" {s['peak'] / 2**20:9.0f}"
        )
        rows.append(
            [
                datetime.date.today().isoformat(),
                commit(),
                machine(),
                a.target_shape,
                a.type,
                a.draft_shape,
                a.draft_type,
                a.mem,
                policy,
                a.prompts,
                s["decode_tokens"],
                f"{speed[policy]:.4f}",
                f"{per_sweep:.3f}",
                f"{gb:.3f}",
                same,
            ]
        )
    append_csv(
        a.csv,
        "date commit machine target type draft draft_type mem policy prompts tokens tokens_per_s "
        "tokens_per_sweep gb_per_sweep same_texts",
        rows,
    )
    ratio = speed[a.policy] / speed["none"]
    print(f"\nBAR grown_same_texts {same} {a.prompts} {'ok' if same == a.prompts else 'short'}")
    print(f"BAR grown_speedup {ratio:.2f} 2.00 {'ok' if ratio >= 2 else 'short'}")


if __name__ == "__main__":
    main()
