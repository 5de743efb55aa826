#!/usr/bin/env python3
"""What each weight type costs in quality, and whether another program agrees: perplexity of the demo target in
every type we write, on text the target wrote itself, by `lever eval` and by llama.cpp's perplexity tool.

usage: bench_quality.py LEVER [--llama-perplexity PATH] [--text FILE] [--csv FILE]
llama-perplexity is taken from the PATH unless given; without it only our own numbers are shown.
Ends with one line per bar: BAR <name> <measured> <goal> ok|short
SPDX-License-Identifier: MIT
"""

import argparse
import datetime
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

from bench_demo import append_csv, commit

ROOT = pathlib.Path(__file__).resolve().parents[1]
TARGET = ROOT / "models/lever-demo-target.Q8_0.gguf"
TYPES = "Q8_0 Q6_K Q5_K Q5_1 Q5_0 Q4_K Q4_1 Q4_0 IQ4_NL IQ4_XS MXFP4 Q3_K Q2_K".split()
PROMPTS = [
    "Once upon a time",
    "def ",
    "<|im_start|>user\nTell me a story about a dog.<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\nSam has 12 apples and eats 5. How many are left?<|im_end|>\n<|im_start|>assistant\n",
]
CONTEXT = 256
AGREE = 0.005  # of the perplexity: both round activations, in different blocks


def write_text(lever, path):
    text = ""
    for i, prompt in enumerate(PROMPTS):
        args = "-q --special --ignore-eos --no-display-prompt --temp 1 --top-k 0 --top-p 1 --min-p 0 -n 900 --seed"
        command = [lever, "run", "--no-learn", "-m", TARGET, "-p", prompt, *args.split(), i]
        text += subprocess.run([*map(str, command)], stdout=subprocess.PIPE, check=True).stdout.decode(
            errors="replace"
        )
    path.write_text(text, encoding="utf-8")


def ours(lever, model, text):
    command = [lever, "eval", "-m", model, "--text", text, "-c", CONTEXT, "--kv", "f16", "--json"]
    out = subprocess.run([*map(str, command)], stdout=subprocess.PIPE, check=True).stdout
    r = json.loads(out)
    return r["perplexity"], r["perplexity_error"], r["scored_tokens"]


def theirs(tool, model, text):
    command = [tool, "-m", model, "-f", text, "-c", CONTEXT, "-b", CONTEXT, "-t", os.cpu_count()]
    p = subprocess.run([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    found = re.search(r"Final estimate: PPL = ([\d.]+)", p.stdout.decode(errors="replace"))
    return float(found[1]) if found else None


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("lever")
    p.add_argument("--llama-perplexity", default=shutil.which("llama-perplexity"))
    p.add_argument("--text", type=pathlib.Path)
    p.add_argument("--csv", default=str(ROOT / "bench/results/quality.csv"))
    a = p.parse_args()
    rows, bars = [], []
    with tempfile.TemporaryDirectory() as folder:
        text = a.text or pathlib.Path(folder) / "text.txt"
        if not a.text:
            write_text(a.lever, text)
        base = None
        print(
            f"{'type':>7} {'MB':>6} {'perplexity':>11} {'+-':>6} {'loss':>8} {'llama.cpp':>10} {'ours/its':>8}"
        )
        for kind in TYPES:
            model = TARGET
            if kind != "Q8_0":
                model = pathlib.Path(folder) / "model.gguf"
                subprocess.run(
                    [a.lever, "quantize", str(TARGET), str(model), kind],
                    check=True,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            value, error, n = ours(a.lever, model, text)
            base = base or value
            other = theirs(a.llama_perplexity, model, text) if a.llama_perplexity else None
            print(
                f"{kind:>7} {model.stat().st_size / 1e6:6.1f} {value:11.4f} {error:6.3f} {value / base - 1:+8.2%}"
                + (f" {other:10.4f} {value / other:8.4f}" if other else "")
            )
            rows.append([kind, n, f"{value:.5f}", f"{value / base:.5f}", f"{other or 0:.5f}"])
            if other:
                bars.append((f"quality_{kind}_differs_from_llamacpp", abs(value / other - 1), AGREE))
    append_csv(
        a.csv,
        "date commit type tokens perplexity of_q8_0 llamacpp_perplexity",
        [[datetime.date.today().isoformat(), commit()] + r for r in rows],
    )
    print()
    for name, value, goal in bars:
        print(f"BAR {name} {value:.4f} {goal:.4f} {'ok' if value <= goal else 'short'}")


if __name__ == "__main__":
    main()
