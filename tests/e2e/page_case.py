"""What the tests of the page share: the browser, and a page without a past.

SPDX-License-Identifier: MIT
"""

import pathlib
import sys
import unittest

import browser

ROOT = pathlib.Path(__file__).resolve().parents[2]
LEVER, WORK = sys.argv[1], pathlib.Path(sys.argv[3])
PICTURES = WORK.parents[1] / "artefacts"
DONE = "!document.querySelector('[aria-busy]') && document.querySelector('.answer .foot button')"
ANSWER = "[...document.querySelectorAll('.answer .text')].at(-1).innerText"
TITLE = "document.querySelector('#tree-title').textContent"
FOOT = "document.querySelector('.answer .foot').innerText"
NOTICE = "!document.querySelector('#notice').hidden && document.querySelector('#notice-text').textContent"
# How much of the answer says where it came from.
MARKED = "[...document.querySelectorAll('.answer [class^=o-]')].reduce((n, e) => n + e.textContent.length, 0)"


class PageTest(unittest.TestCase):
    """A page without a past; whatever the console got is an error."""

    expected_log = ()

    @classmethod
    def setUpClass(cls):
        cls.b = browser.Browser(1280, 860)
        cls.addClassCleanup(cls.b.close)

    def begin(self, url, width=1280, height=860, **media):
        self.b.size(width, height, mobile=width < 500, scale=1)
        self.b.media(**media)
        self.b.open(url)
        self.b.js("(localStorage.clear(), sessionStorage.clear(), 1)")
        self.b.open(url)
        self.b.wait("document.querySelector('#model').textContent !== 'connecting…'")
        self.b.log()

    def ask(self, text, wait=True):
        self.b.click("#prompt")
        self.b.keys(text, "ENTER")
        if wait:
            self.b.wait(DONE)

    def quiet(self):
        lines = [x["message"] for x in self.b.log() if x["level"] != "DEBUG"]
        self.assertEqual([x for x in lines if not any(e in x for e in self.expected_log)], [])

    def no_sideways(self):
        wide = self.b.js(
            "[...document.querySelectorAll('html, body, main, .talk, .look, .log, .card, .composer, .keys')]"
            ".filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.className || e.tagName)"
        )
        self.assertEqual(wide, [])


def main():
    """Run the tests of the calling file; further arguments name some of them."""
    reason = browser.missing()
    if reason:
        print(f"SKIP: {reason}")
        sys.exit(77)
    WORK.mkdir(parents=True, exist_ok=True)
    unittest.main(module="__main__", argv=sys.argv[:1] + sys.argv[4:])
