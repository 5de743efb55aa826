#!/usr/bin/env python3
"""The recordings of the README: what tools/term_svg.py and tools/record_chat.py draw. Standard library only.

usage: test_record.py LEVER MKMODEL WORK_DIR [unittest options]
SPDX-License-Identifier: MIT
"""

import re
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ET
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import record_chat  # noqa: E402
from terminal import Screen  # noqa: E402

SVG = "{http://www.w3.org/2000/svg}"
LEVER = sys.argv[1]
ODD = "a < b & c > d \"e\" 'f' ]]> <script>alert(1)</script>"


def still(svg):
    """The lines of the picture when nothing moves: what is gone is not drawn."""
    rows = {}
    for t in ET.fromstring(svg).iter(SVG + "text"):
        if "gone" in t.get("class", "").split():
            continue
        y = round((float(t.get("y")) - record_chat.PAD) / record_chat.LINE - 0.75)
        x = (float(t.get("x")) - record_chat.PAD) // record_chat.CHAR
        row = rows.get(y, "").ljust(int(x))
        rows[y] = row + "".join(t.itertext())
    return [rows.get(y, "") for y in range(max(rows) + 1)]


class Recordings(unittest.TestCase):
    def check_alone(self, svg):
        """Well-formed, without scripts, and nothing in it is fetched from elsewhere."""
        for e in ET.fromstring(svg).iter():
            self.assertIn(e.tag.removeprefix(SVG), ("svg", "style", "rect", "g", "text"))
            for name in e.attrib:
                self.assertNotRegex(name.lower(), r"^on|href|src")
            if e.tag == SVG + "style":
                self.assertNotRegex(e.text, r"url\(|@import|\\")

    def test_a_command_is_drawn_with_its_text_escaped(self):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "out.svg"
            tool = [sys.executable, "-B", str(ROOT / "tools/term_svg.py"), str(out), 'say "<&>"']
            subprocess.run([*tool, "printf", "%s", ODD + "\n\x1b\x01\xff"], check=True)
            svg = out.read_text(encoding="utf-8")
        self.check_alone(svg)
        self.assertEqual(ET.fromstring(svg).get("aria-label"), 'say "<&>"')
        self.assertEqual(still(svg), ['$ say "<&>"', ODD, "\ufffd\ufffd\xff"])

    def draw(self, pieces, columns=60):
        """A log as of a terminal that got a piece every second."""
        data, log = b"", []
        for at, piece in enumerate(pieces):
            data += piece
            log.append((100.0 + at, len(data)))
        screen = Screen(columns).feed(data.decode())
        return record_chat.draw(record_chat.frames(log, data, columns), columns, "title"), screen

    def test_the_last_picture_is_what_the_terminal_shows_at_the_end(self):
        svg, screen = self.draw(
            [
                b"$ ",
                ODD.encode(),
                b"\r\nloading",
                b"\r\x1b[K",
                b"\x1b[0;3",
                b"2mgre\xc3",
                b"\xa9n\x1b[0m  gap\r\n$ ",
            ]
        )
        self.check_alone(svg)
        self.assertEqual(still(svg), screen.lines())
        self.assertEqual(screen.lines()[1], "gre\u00e9n  gap")
        texts = {t.text: t.get("class", "") for t in ET.fromstring(svg).iter(SVG + "text")}
        self.assertIn("s32", texts["\u00e9n"].split())
        self.assertIn("gone", texts["loading"].split())
        self.assertEqual(ET.fromstring(svg).find(f".//{SVG}text").get("class"), "")  # there from the start

    def test_text_comes_when_the_terminal_got_it(self):
        svg, _ = self.draw([b"a", b" bb", b"\rc"])
        total = 2 + record_chat.HOLD
        names = {t.text: t.get("class").split()[0] for t in ET.fromstring(svg).iter(SVG + "text")}
        for text, stops in (("bb", [(0, 0), (1, 1)]), ("c", [(0, 0), (2, 1)]), ("a", [(0, 1), (2, 0)])):
            rule = re.search(rf"@keyframes {names[text]}{{(.*?}})}}", svg)[1]
            want = "".join(f"{100 * at / total:.2f}%{{opacity:{on}}}" for at, on in stops)
            self.assertEqual(rule, want)

    def test_what_can_not_be_drawn_is_an_error(self):
        with self.assertRaisesRegex(ValueError, "can not draw"):
            self.draw([b"\x1b[5;5H"])

    def test_a_session_is_recorded(self):
        said = subprocess.run([LEVER, "--version"], stdout=subprocess.PIPE, check=True).stdout.decode()
        talk = ((r"\$ ", 0, "lever --version; printf '<%s>\\n' '&'\r"), (r"<&>\s+\$ ", 0, ""))
        log, data = record_chat.record(LEVER, talk, 80)
        svg = record_chat.draw(record_chat.frames(log, data, 80), 80, "version")
        self.check_alone(svg)
        self.assertEqual(still(svg)[1:-1], [*said.splitlines(), "<&>"])

    def test_the_recordings_of_the_readme_are_small_and_end_with_the_numbers(self):
        for name, want in (("demo", "speed .* tokens/s"), ("chat", r"memory: [\d.]+ MiB of 20.0 MiB")):
            svg = (ROOT / f"docs/{name}.svg").read_text(encoding="utf-8")
            self.assertLess(len(svg), 150000)
            self.check_alone(svg)
            self.assertRegex("\n".join(still(svg)), want)
            self.assertIn(f"](docs/{name}.svg)", (ROOT / "README.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]])
