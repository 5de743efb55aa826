#!/usr/bin/env python3
"""Run a command and draw what it printed as an SVG, for the README. Standard library only.

usage: term_svg.py OUT.svg TITLE COMMAND...      e.g. term_svg.py docs/demo.svg "make demo" tools/demo.sh
SPDX-License-Identifier: MIT
"""
import subprocess
import sys
import textwrap
from xml.sax.saxutils import escape

COLUMNS, CHAR, LINE, PAD = 100, 8.0, 17, 14
BACK, FORE, DIM, BRIGHT, GOOD = "#14181f", "#d5dbe3", "#8a94a3", "#ffffff", "#7ddc9b"


def style(line, in_block):
    if in_block and ("equal plain decoding" in line or line.lstrip().startswith("speed")):
        return GOOD
    if in_block:
        return BRIGHT if "new tokens" in line else DIM
    return DIM if line.startswith("demo:") else FORE


def main():
    out, title, command = sys.argv[1], sys.argv[2], sys.argv[3:]
    p = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True)
    lines, in_block = [("$ " + title, BRIGHT)], False
    for line in p.stdout.decode().splitlines():
        in_block |= "new tokens" in line
        lines += [(part.lstrip() if i else part, style(line, in_block))
                  for i, part in enumerate(textwrap.wrap(line, COLUMNS, drop_whitespace=False) or [""])]
    width, height = COLUMNS * CHAR + 2 * PAD, len(lines) * LINE + 2 * PAD
    body = []
    for i, (line, color) in enumerate(lines):
        body.append(f'<text x="{PAD}" y="{PAD + LINE * (i + 0.75):.0f}" fill="{color}" xml:space="preserve">'
                    f"{escape(line)}</text>")
    with open(out, "w", encoding="utf-8") as f:
        f.write(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" '
                f'viewBox="0 0 {width:.0f} {height}" role="img" aria-label="{escape(title)}">\n'
                f'<rect width="100%" height="100%" rx="8" fill="{BACK}"/>\n'
                '<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, monospace" font-size="13">\n'
                + "\n".join(body) + "\n</g>\n</svg>\n")


if __name__ == "__main__":
    main()
