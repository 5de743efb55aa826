#!/usr/bin/env python3
"""Run a command and draw what it printed as an SVG, for the README. Standard library only.

usage: term_svg.py OUT.svg TITLE COMMAND...      e.g. term_svg.py docs/demo.svg "make demo" tools/demo.sh
SPDX-License-Identifier: MIT
"""

import re
import subprocess
import sys
import textwrap
from xml.sax.saxutils import escape, quoteattr

COLUMNS, CHAR, LINE, PAD = 100, 8, 17, 14
BACK, FORE, DIM, BRIGHT, GOOD = "#14181f", "#d5dbe3", "#8a94a3", "#ffffff", "#7ddc9b"
NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def place(x, y):
    """Attributes of text whose first character stands in this column and row."""
    return f'x="{PAD + CHAR * x}" y="{PAD + LINE * (y + 0.75):.0f}"'


def xml_text(text):
    """The text as it may stand between two tags: XML has no place for most control characters."""
    return escape(NOT_IN_XML.sub("\ufffd", text))


def document(title, columns, rows, body, css=""):
    """A picture of a terminal of this size; dark by itself, so it stands on a light and on a dark page."""
    width, height = columns * CHAR + 2 * PAD, rows * LINE + 2 * PAD
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" aria-label={quoteattr(NOT_IN_XML.sub("", title))}>\n'
        + (f"<style>\n{css}</style>\n" if css else "")
        + f'<rect width="100%" height="100%" rx="8" fill="{BACK}"/>\n'
        f'<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, monospace" font-size="13" '
        f'fill="{FORE}" xml:space="preserve">\n' + "\n".join(body) + "\n</g>\n</svg>\n"
    )


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
    for line in p.stdout.decode(errors="replace").splitlines():
        in_block |= "new tokens" in line
        parts = textwrap.wrap(line, COLUMNS, drop_whitespace=False) or [""]
        lines += [(part.lstrip() if i else part, style(line, in_block)) for i, part in enumerate(parts)]
    body = [
        f'<text {place(0, y)} fill="{color}">{xml_text(line)}</text>' for y, (line, color) in enumerate(lines)
    ]
    with open(out, "w", encoding="utf-8") as f:
        f.write(document(title, COLUMNS, len(lines), body))


if __name__ == "__main__":
    main()
