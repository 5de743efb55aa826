# SPDX-License-Identifier: MIT
"""The model card and its picture, from what a training run left behind.

    python card.py --work tools/train/out

reads WORK/{target,draft}.{pt,log}, WORK/eval.md (evaluate.py), WORK/samples.txt (golden.py --prompt ...), the GGUFs in
models/ and card.md beside this script, where @NAME@ stands for a value; writes models/README.md and
models/training.svg. Logs are the output of train.py and distill.py.
"""

import argparse
import hashlib
import os
import re

import torch

from model import Config, Model

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCES = {
    "stories": ("TinyStories samples, partly recased", "CDLA-Sharing-1.0"),
    "storychat": ("the same stories as answers to a request", "CDLA-Sharing-1.0"),
    "chat": ("Schema-Guided Dialogue (DSTC8) by Google, as ChatML", "CC BY-SA 4.0"),
    "math": ("GSM8K training set by OpenAI, with its worked answers", "MIT"),
    "code": ("TheAlgorithms/Python, functions and classes", "MIT"),
    "novels": ("English novels published by 1930, a tenth of the text", "public domain by date"),
}


def read_log(path, pattern):
    """[(millions of tokens, values...)] of the log lines that match, one per step."""
    rows = {}
    with open(path) as f:
        for m in re.finditer(r"step (\d+) min [\d.]+ tokens (\d+) " + pattern, f.read()):
            rows[int(m[1])] = (int(m[2]) / 1e6, *map(float, m.groups()[2:]))
    return [rows[s] for s in sorted(rows)]


def panel(points, x0, title, color, width=400, height=200):
    """One curve with axes; points (x, y)."""
    left, top = x0 + 44, 34
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    low, high = min(ys) - 0.04 * (max(ys) - min(ys)), max(ys)

    def at(x, y):
        return left + x / max(xs) * (width - 60), top + (high - y) / (high - low) * (height - 20)

    out = [f'<text x="{left}" y="18" font-weight="600">{title}</text>']
    for i in range(5):
        y = low + (high - low) * i / 4
        px, py = at(0, y)
        out.append(f'<path d="M{left} {py:.1f}H{left + width - 60}" stroke="currentColor" opacity=".15"/>')
        out.append(f'<text x="{left - 6}" y="{py + 4:.1f}" text-anchor="end">{y:.2f}</text>')
        x = max(xs) * i / 4
        out.append(f'<text x="{at(x, low)[0]:.1f}" y="{top + height}" text-anchor="middle">{x:.1f} M</text>')
    line = " ".join(f"{px:.1f},{py:.1f}" for px, py in (at(*p) for p in points))
    out.append(f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="2"/>')
    return out


def picture(target, draft):
    body = panel([(r[0], r[1]) for r in target], 0, "target: training loss over tokens", "#2f81f7")
    body += panel([(r[0], r[2]) for r in draft], 430, "draft: agrees with the target (top-1)", "#3fb950")
    style = 'font-family="system-ui, sans-serif" font-size="12" fill="currentColor" color="#57606a"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 860 244" role="img" '
        f'aria-label="Training curves" {style}>\n' + "\n".join(body) + "\n</svg>\n"
    )


def samples(path):
    """golden.py's samples as markdown."""
    out = []
    with open(path) as f:
        for part in f.read().strip().split("--- ")[1:]:
            prompt, _, text = part.partition("\n")
            lines = "\n".join("    " + line if line else "" for line in text.rstrip().split("\n"))
            out.append(f"Prompt: `{prompt.strip()}`\n\n{lines}")
    return "\n\n".join(out)


def describe(state):
    c = state["config"]
    n = sum(p.numel() for p in Model(Config(**c)).parameters())
    shape = "{layers} layers, width {dim}, {heads} heads of {head_dim}, {kv_heads} KV, ffn {ffn}".format(**c)
    return shape, f"{n / 1e6:.2f} M", f"{sum(state['rows']['tokens'].values()) / 1e6:.2f}"


def data_rows(work, rows):
    for d, (source, licence) in SOURCES.items():
        with open(os.path.join(work, "docs", f"{d}.train.jsonl")) as f:
            passes = rows["used"][d] / sum(1 for _ in f)
        yield f"| {d} | {source} | {licence} | {rows['tokens'][d] / 1e6:.2f} | {passes:.1f} |"


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--work", default="tools/train/out")
    ap.add_argument("--models", default=os.path.join(HERE, "..", "..", "models"))
    a = ap.parse_args()
    values = {"EVAL": open(os.path.join(a.work, "eval.md")).read().strip()}
    for role in ("target", "draft"):
        state = torch.load(os.path.join(a.work, role + ".pt"), weights_only=True)
        key = role[0].upper()
        values[key + "SHAPE"], values[key + "PARAMS"], values[key + "TOKENS"] = describe(state)
        values[key + "MINUTES"] = f"{state['spent'] / 60:.0f}"
        with open(os.path.join(a.models, f"lever-demo-{role}.Q8_0.gguf"), "rb") as f:
            raw = f.read()
        values[key + "BYTES"], values[key + "SHA"] = f"{len(raw):,}", hashlib.sha256(raw).hexdigest()
        if role == "target":
            values["DATA"] = "\n".join(data_rows(a.work, state["rows"]))
            values["VOCAB"], values["CONTEXT"] = str(state["config"]["vocab"]), str(
                state["config"]["context"]
            )
    target = read_log(os.path.join(a.work, "target.log"), r"loss ([\d.]+)")
    draft = read_log(os.path.join(a.work, "draft.log"), r"KL ([\d.]+) top-1 agreement ([\d.]+)")
    step = max(1, len(target) // 9)
    picked = target[step - 1 :: step]
    values["LOSS"] = "\n".join(
        [
            "| tokens (M) | " + " | ".join(f"{r[0]:.2f}" for r in picked) + " |",
            "|---|" + "---|" * len(picked),
            "| loss | " + " | ".join(f"{r[1]:.2f}" for r in picked) + " |",
        ]
    )
    values["SAMPLES"] = samples(os.path.join(a.work, "samples.txt"))
    with open(os.path.join(HERE, "card.md")) as f:
        card = f.read()
    for name, value in values.items():
        card = card.replace(f"@{name}@", value)
    with open(os.path.join(a.models, "README.md"), "w") as f:
        f.write(card)
    with open(os.path.join(a.models, "training.svg"), "w") as f:
        f.write(picture(target, draft))


if __name__ == "__main__":
    main()
