#!/usr/bin/env python3
"""Record a talk of `lever chat` as an SVG that moves, for the README. Standard library only.

usage: record_chat.py LEVER OUT.svg
Somebody types at a shell on a pty; drawn is what the terminal got, at the moment it got it, nothing cut or
sped up. The texts are the same every time; times, and so numbers and some colours, are the machine's.
SPDX-License-Identifier: MIT
"""

import codecs
import os
import pathlib
import re
import sys
import tempfile
import time

from term_svg import CHAR, FORE, LINE, PAD, document, place, xml_text

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests/e2e"))
from terminal import Screen, Terminal  # noqa: E402

COLUMNS = 61  # lines that stay readable on a telephone; the texts below break between words here
KEY = 0.05  # seconds between two keys
FRAME = 0.02  # what comes closer together is one picture
HOLD, PLAYS = 8.0, 2  # the last picture stands for this long, then once more from the start
TITLE = "a talk with lever chat"
SHELL, PROMPT = r"\$ ", r"\x1b\[\?2004h\x1b\[1m>"
TALK = (  # wait for this, then so many seconds, then type
    (SHELL, 0.8, "lever chat --mem 20MiB --flash-model emmc5.1 --show-draft\r"),
    (PROMPT, 1.5, "/temp 0\r"),
    (PROMPT, 0.8, "I am looking for a restaurant in San Jose.\r"),
    (PROMPT, 1.2, "Italian food, please.\r"),
    (PROMPT, 1.2, "Please book a table for four at 6 pm.\r"),
    (PROMPT, 1.5, "/reset\r"),
    (PROMPT, 0.8, "Tell me a story about a snowman.\r"),
    (r"grass", 0.0, "\x03"),
    (PROMPT, 1.5, "/stats\r"),
    (PROMPT, 1.5, "\x04"),
    (SHELL, 0.5, ""),
)
# By the numbers of SGR, as `lever chat` uses them.
LOOKS = {
    "1": "font-weight:bold",
    "2": "fill-opacity:.6",
    "32": "fill:#6fdc8c",
    "33": "fill:#ffc94d",
    "36": "fill:#4fc8ea",
}


class Recorder(Terminal):
    """A terminal that remembers when its bytes came: log is [(seconds, bytes up to then)]."""

    def __init__(self, argv, env, cols):
        super().__init__(argv, env, cols, rows=100)
        self.log = []

    def read(self, timeout):
        more = super().read(timeout)
        if more:
            self.log.append((time.monotonic(), len(self.bytes)))
        return more

    def rest(self, seconds):
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.read(left)

    def play(self, talk):
        for pattern, pause, keys in talk:
            self.until(pattern)
            self.rest(pause)
            for key in keys:
                self.send(key)
                self.rest(KEY)


def frames(log, data, columns):
    """[(seconds, {(row, column): (character, style)}, (row, column) of the cursor)], from 0 seconds on."""
    screen, decode, held, done = (
        Screen(columns),
        codecs.getincrementaldecoder("utf-8")("replace").decode,
        "",
        0,
    )
    out = []
    for i, (at, end) in enumerate(log):
        held += decode(data[done:end])
        done = end
        if i + 1 < len(log) and log[i + 1][0] - at < FRAME:
            continue
        cut = re.search(r"\x1b(\[[?\d;]*)?$", held)  # a sequence that is not all there yet
        now = held[: cut.start()] if cut else held
        held = held[len(now) :]
        screen.feed(now)
        cells = {(y, x): cell for y, row in enumerate(screen.rows) for x, cell in enumerate(row)}
        out.append((at - log[0][0], cells, (screen.y, min(screen.x, columns - 1))))
    if screen.odd:
        raise ValueError(f"the terminal got what this tool can not draw: {screen.odd}")
    return out


def runs(pictures):
    """Text that comes and goes together: [(row, column, text, style, begin, end)]; end None: it stays."""
    alive, cells = {}, []
    for at, shown, _ in pictures:
        for y, x in [where for where, (_, cell) in alive.items() if shown.get(where) != cell]:
            begin, cell = alive.pop((y, x))
            cells.append((y, begin, at, x, *cell))
        for where, cell in shown.items():
            alive.setdefault(where, (at, cell))
    cells += [(y, begin, None, x, *cell) for (y, x), (begin, cell) in alive.items()]
    out = []
    for y, begin, end, x, char, style in sorted(cells, key=lambda c: (c[0], c[1], c[2] or 1e9, c[3])):
        if out and out[-1][3:] == [style, begin, end] and out[-1][:2] == [y, x - len(out[-1][2])]:
            out[-1][2] += char
        else:
            out.append([y, x, char, style, begin, end])
    return out


class Times:
    """The rules of CSS that show text from one moment to another, each once."""

    def __init__(self, total):
        self.total, self.names = total, {}

    def percent(self, seconds):
        return f"{100 * seconds / self.total:.2f}%"

    def name(self, begin, end):
        if begin == 0 and end is None:
            return ""
        return self.names.setdefault((begin, end), f"t{len(self.names)}")

    def rules(self):
        for (begin, end), name in self.names.items():
            gone = f"{self.percent(end)}{{opacity:0}}" if end else ""
            hidden = f"{self.percent(0)}{{opacity:0}}" if begin else ""
            stops = f"{hidden}{self.percent(begin)}{{opacity:1}}{gone}"
            yield f"@keyframes {name}{{{stops}}}.{name}{{animation-name:{name}}}"


def cursor_rules(times, pictures):
    """Where the cursor stands; the block is drawn at the place of its last picture."""
    stops, last = [], None
    for at, _, (y, x) in pictures:
        if (y, x) != last:
            stops.append(f"{times.percent(at)}{{transform:translate({CHAR * x}px,{LINE * y}px)}}")
        last = (y, x)
    return "@keyframes cursor{" + "".join(stops) + "}.cursor{animation-name:cursor}"


def draw(pictures, columns, title):
    """The SVG. It stands still, as at its end, where motion is not wanted or not known."""
    times = Times(pictures[-1][0] + HOLD)
    body, used = [], set()
    for y, x, text, style, begin, end in runs(pictures):
        x += len(text) - len(text.lstrip(" "))
        text = text.strip(" ")
        if not text:
            continue
        looks = [n for n in style.split(";") if n in LOOKS]
        used.update(looks)
        names = [times.name(begin, end), "gone" if end else "", *("s" + n for n in looks)]
        body.append(
            f'<text class="{" ".join(filter(None, names))}" {place(x, y)} textLength="{CHAR * len(text)}" '
            f'lengthAdjust="spacingAndGlyphs">{xml_text(text)}</text>'
        )
    y, x = pictures[-1][2]
    body.append(
        f'<rect class="cursor" x="{PAD}" y="{PAD}" width="{CHAR}" height="{LINE}" fill="{FORE}" '
        f'fill-opacity=".5" transform="translate({CHAR * x},{LINE * y})"/>'
    )
    css = "".join(f".s{n}{{{LOOKS[n]}}}\n" for n in sorted(used)) + ".gone{opacity:0}\n"
    css += "@media (prefers-reduced-motion:no-preference){\n"
    css += f"text,.cursor{{animation:{times.total:.2f}s step-end {PLAYS} both}}\n"
    css += "\n".join([*times.rules(), cursor_rules(times, pictures)]) + "\n}\n"
    rows = max(y for _, cells, _ in pictures for y, _ in cells) + 1
    return document(title, columns, rows, body, css)


def record(lever, talk, columns):
    """Play the talk in a home folder where nothing was ever learnt; returns what frames() takes."""
    with tempfile.TemporaryDirectory() as home:
        path = f"{os.path.dirname(os.path.abspath(lever))}:{os.environ['PATH']}"
        env = {"HOME": home, "PATH": path, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "PS1": "$ "}
        terminal = Recorder(["/bin/sh", "+m", "-i"], env, columns)
        try:
            terminal.play(talk)
        finally:
            terminal.close()
    return terminal.log, terminal.bytes


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    lever, out = sys.argv[1:]
    log, data = record(lever, TALK, COLUMNS)
    pathlib.Path(out).write_text(draw(frames(log, data, COLUMNS), COLUMNS, TITLE), encoding="utf-8")


if __name__ == "__main__":
    main()
