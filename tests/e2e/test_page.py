"""The page of lever serve in a headless Chromium, against a fake server with a scripted answer.

usage: test_page.py LEVER MKMODEL WORK [TEST...]      exit 77: no Chromium here
SPDX-License-Identifier: MIT
"""

import json
import re
import sys
import time
import unittest

from page_case import ANSWER, DONE, FOOT, MARKED, NOTICE, PICTURES, ROOT, TITLE, WORK, PageTest, main

sys.path.insert(0, str(ROOT / "tests/support"))
import fake_lever_serve  # noqa: E402


def box(css):
    return f"(b => [b.x, b.y, b.width, b.height])(document.querySelector('{css}').getBoundingClientRect())"


class FakeServer(PageTest):
    """What a visitor does, and sees."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = fake_lever_serve.start()
        cls.addClassCleanup(cls.server.shutdown)

    def setUp(self):
        self.server.options.rate, self.server.options.key = 30, ""
        del self.server.requests[:]

    def test_an_answer_streams_and_its_tree_grows(self):
        self.begin(self.server.url)
        self.ask("Tell me a story.", wait=False)
        first = self.b.wait(f"document.querySelector('.answer .text')?.innerText.length > 20 && {ANSWER}")
        self.assertTrue(fake_lever_serve.STORY.startswith(first[:10]), first)
        self.b.wait(
            f"{TITLE}.includes('cycle') && document.querySelectorAll('#stage .n-accepted').length > 1"
        )
        self.assertTrue(self.b.js("document.querySelector('.answer').getAttribute('aria-busy') === 'true'"))
        self.b.picture(PICTURES / "page-streaming.png")
        self.b.wait(DONE)
        self.assertGreater(len(fake_lever_serve.STORY), len(first) + 50)  # it did stream
        # innerText shows a paragraph's end as one line feed or two; words are what counts
        self.assertEqual(self.b.js(ANSWER).split(), fake_lever_serve.STORY.split())
        self.assertRegex(self.b.js(FOOT), r"\d+ tokens .*tokens per pass")
        self.assertRegex(self.b.js("document.querySelector('#said').textContent"), "Answer complete")
        self.quiet()

    def test_the_request_carries_talk_and_settings(self):
        self.begin(self.server.url)
        self.b.click("#open-settings")
        self.b.js("(document.querySelector('#set-system').value = '', 1)")
        self.b.keys("You are brief.")
        for name, value in [("temperature", "0.5"), ("top_p", "0.9"), ("seed", "7"), ("max_tokens", "99")]:
            self.b.click(f"#set-{name}")
            self.b.keys(value)
        self.b.picture(PICTURES / "page-settings.png")
        self.b.keys("ENTER")
        self.b.wait("!document.querySelector('#settings').open")
        self.server.options.rate = 4000
        self.ask("One.")
        self.ask("Two.")
        body = self.server.requests[-1]
        self.assertEqual([m["role"] for m in body["messages"]], ["system", "user", "assistant", "user"])
        self.assertEqual(body["messages"][0]["content"], "You are brief.")
        self.assertEqual(body["messages"][2]["content"], fake_lever_serve.STORY)
        settings = {k: body[k] for k in ("temperature", "top_p", "seed", "max_tokens")}
        self.assertEqual(settings, {"temperature": 0.5, "top_p": 0.9, "seed": 7, "max_tokens": 99})
        self.assertEqual((body["stream"], body["lever"]), (True, {"cycles": True}))
        self.b.open(self.server.url)  # the settings stay, the talk stays, a new one forgets the talk only
        self.assertEqual(self.b.js("document.querySelectorAll('.message').length"), 4)
        self.b.click("#new")
        self.assertEqual(self.b.js("document.querySelectorAll('.message').length"), 0)
        self.b.click("#open-settings")
        self.assertEqual(self.b.js("document.querySelector('#set-seed').value"), "7")
        self.quiet()

    def test_probabilities_on_hover_and_focus(self):
        self.begin(self.server.url)
        self.b.hover("#stage .n-rejected")
        tip = "!document.querySelector('#tip').hidden && document.querySelector('#tip').textContent"
        self.assertRegex(
            self.b.wait(tip),
            r'" \w+": rejected\ndrafted\nexpected to be right: \d+ %\ndraft model gave it: \d+ %',
        )
        self.b.picture(PICTURES / "page-hover.png")
        self.b.hover("h1")
        self.b.wait("document.querySelector('#tip').hidden")
        self.b.js("document.querySelector('#stage [tabindex=\"0\"]').focus()")
        self.b.keys("RIGHT", "RIGHT")
        self.assertIn("accepted", self.b.wait(tip))
        where = "document.activeElement.getAttribute('aria-label')"
        self.assertRegex(self.b.js(where), "^.+: accepted, drafted, expected to be right: ")
        self.b.keys("END")
        self.assertIn("chosen by the target itself", self.b.js(where))
        self.b.keys("HOME", "DOWN")
        self.assertRegex(self.b.js(where), "rejected|pruned|not proposed")
        self.assertEqual(self.b.js("document.querySelectorAll('#stage [tabindex=\"0\"]').length"), 1)
        self.quiet()

    def test_keyboard_alone(self):
        self.begin(self.server.url)
        self.server.options.rate = 15  # long enough for a busy machine
        self.b.js("document.querySelector('.skip').focus()")
        seen = []
        for _ in range(20):
            self.b.keys("TAB")
            seen.append(self.b.js("document.activeElement.id || document.activeElement.getAttribute('role')"))
        order = [
            seen.index(x)
            for x in ("new", "open-settings", "theme", "log", "prompt", "send", "origins", "live", "treeitem")
        ]
        self.assertEqual(order, sorted(order), seen)
        self.assertTrue(self.b.js("document.querySelector('#send').matches(':enabled')"))
        self.b.js("document.querySelector('#prompt').focus()")
        self.b.keys("first")
        self.b.keys("ENTER", hold="SHIFT")
        self.b.keys("second")
        self.assertEqual(self.b.js("document.querySelector('#prompt').value"), "first\nsecond")
        self.assertEqual(self.server.requests, [])
        self.b.keys("ENTER")
        self.b.wait("document.querySelectorAll('.answer .text p').length")
        self.assertEqual(self.server.requests[0]["messages"][-1]["content"], "first\nsecond")
        self.b.keys("ESC")
        self.b.wait(DONE)
        self.assertIn("not complete", self.b.js(FOOT))
        self.quiet()

    def test_stop_ends_the_request(self):
        self.begin(self.server.url)
        self.server.options.rate = 15  # long enough for a busy machine
        aborted = self.server.aborted
        self.ask("Tell me a story.", wait=False)
        self.b.wait("document.querySelector('.answer .text')?.innerText.length > 10")
        self.assertEqual(self.b.js("document.querySelector('#send').textContent.trim()"), "Stop")
        self.b.click("#send")
        self.b.wait(DONE)
        half = self.b.js(ANSWER)
        self.assertLess(len(half), len(fake_lever_serve.STORY))
        for _ in range(100):
            if self.server.aborted > aborted:
                break
            time.sleep(0.1)
        self.assertEqual(self.server.aborted, aborted + 1)
        self.server.options.rate = 4000
        self.ask("And now?")
        self.assertTrue(self.server.requests[-1]["messages"][1]["content"].startswith(half[:10]))
        self.quiet()

    def test_cycles_can_be_looked_at_again(self):
        self.begin(self.server.url)
        self.server.options.rate = 400
        self.ask("Tell me a story.")
        last = int(re.search(r"\d+", self.b.js(TITLE))[0])
        self.assertEqual(int(self.b.js("document.querySelector('#scrub').max")), last - 1)
        self.b.click("#prev")
        self.assertIn(f"cycle {last - 1}", self.b.js(TITLE))
        self.assertEqual(self.b.js("document.querySelector('#live-label').textContent"), "Paused")
        self.b.js("document.querySelector('#scrub').focus()")
        self.b.keys("HOME")
        self.assertRegex(self.b.js(TITLE), "cycle 1$")
        self.b.keys("RIGHT", "RIGHT")
        self.assertRegex(self.b.js(TITLE), "cycle 3$")
        self.b.click("#next")
        self.assertRegex(self.b.js(TITLE), "cycle 4$")
        self.b.click("#live")
        self.assertIn(f"cycle {last}", self.b.js(TITLE))
        self.b.click("#prev")
        self.b.click("#prev")
        self.b.click("#replay")
        self.b.wait(f"{TITLE}.endsWith('cycle {last}')")
        self.quiet()

    def test_pause_holds_the_tree_while_the_text_goes_on(self):
        self.begin(self.server.url)
        self.server.options.rate = 15  # long enough for a busy machine
        self.ask("Tell me a story.", wait=False)
        self.b.wait(f"{TITLE}.includes('cycle')")
        self.b.click("#live")
        held, length = self.b.js(TITLE), self.b.js(f"{ANSWER}.length")
        self.b.wait(f"{ANSWER}.length > {length + 60}")
        self.assertEqual(self.b.js(TITLE), held)
        self.b.click("#live")
        self.b.wait(f"{TITLE} !== '{held}'")
        self.quiet()

    def test_the_pointer_holds_the_tree(self):
        self.begin(self.server.url)
        self.server.options.rate = 15  # long enough for a busy machine
        self.ask("Tell me a story.", wait=False)
        self.b.wait(f"{TITLE}.includes('cycle')")
        self.b.hover("#stage")
        label = "document.querySelector('#live-label').textContent"
        self.b.wait(f"{label} === 'Held'")
        held, length = self.b.js(TITLE), self.b.js(f"{ANSWER}.length")
        self.b.wait(f"{ANSWER}.length > {length + 60}")
        self.assertEqual(self.b.js(TITLE), held)
        self.b.hover("h1")
        self.b.wait(f"{TITLE} !== '{held}' && {label} === 'Live'")
        self.quiet()

    def test_no_width_scrolls_sideways(self):
        self.begin(self.server.url)
        self.server.options.rate = 1000
        self.ask("Tell me a story.")
        for width in (320, 480, 600, 861, 1000, 1081, 1920):
            self.b.size(width, 700)
            with self.subTest(width=width):
                self.no_sideways()

    def test_nothing_jumps(self):
        self.begin(self.server.url)
        places = [box(x) for x in ("#composer", "#stage", "#send", "#scrub", ".gauges", "#lanes")]
        now = lambda: [[round(v) for v in self.b.js(p)][:2] for p in places]  # noqa: E731
        before = now()
        self.ask("Tell me a story.", wait=False)
        self.b.wait(f"{TITLE}.includes('cycle')")
        self.assertEqual(now(), before)
        self.b.wait(DONE)
        self.assertEqual(now(), before)

    def test_a_long_answer_stays_bounded(self):
        self.begin(self.server.url)
        self.server.options.rate = 6000
        self.ask("[words 4000]", wait=False)
        self.b.wait(DONE, seconds=240)
        self.assertEqual(len(self.b.js(ANSWER).split()), 4000)
        self.assertEqual(int(self.b.js("document.querySelector('#scrub').max")), 399)
        self.assertLess(self.b.js("document.querySelectorAll('#stage *').length"), 2000)
        bottom = "(e => e.scrollHeight - e.scrollTop - e.clientHeight)(document.querySelector('#log'))"
        self.assertLess(self.b.js(bottom), 50)
        self.quiet()

    def test_phone(self):
        for scheme in ("light", "dark"):
            self.begin(self.server.url, 360, 740, prefers_color_scheme=scheme)
            self.no_sideways()
            self.ask("[hostile]")
            self.no_sideways()
            self.ask("[code]")
            self.no_sideways()
            self.b.picture(PICTURES / f"page-phone-talk-{scheme}.png")
            self.b.click("[data-show=tree]")
            self.b.wait("document.querySelector('#stage').clientHeight > 150")
            self.no_sideways()
            self.b.picture(PICTURES / f"page-phone-tree-{scheme}.png")
            small = self.b.js(
                "[...document.querySelectorAll('.top button, .player button')]"
                ".filter(e => e.clientHeight < 30 || e.clientWidth < 30).map(e => e.id)"
            )
            self.assertEqual(small, [])
            self.quiet()

    def test_light_and_dark(self):
        background = "getComputedStyle(document.body).backgroundColor"
        self.begin(self.server.url, prefers_color_scheme="light")
        light = self.b.js(background)
        self.b.media(prefers_color_scheme="dark")
        self.b.wait(f"{background} !== '{light}'")
        self.begin(self.server.url, prefers_color_scheme="dark")
        dark = self.b.js(background)
        self.b.click("#theme")
        self.assertEqual(self.b.js(background), light)
        self.b.open(self.server.url)
        self.assertEqual(self.b.js(background), light)  # the switch is remembered
        self.b.click("#theme")
        self.assertEqual(self.b.js(background), dark)
        self.server.options.rate = 1000
        self.ask("Tell me a story.")
        self.b.picture(PICTURES / "page-dark.png")
        self.quiet()

    def test_reduced_motion(self):
        moving = "document.getAnimations().length"
        self.begin(self.server.url, prefers_reduced_motion="no-preference")
        self.ask("Tell me a story.", wait=False)
        self.b.wait(f"{moving} > 0")
        self.begin(self.server.url, prefers_reduced_motion="reduce")
        self.ask("Tell me a story.", wait=False)
        self.b.wait("document.querySelectorAll('.answer .text p').length")
        self.assertEqual(self.b.js(moving), 0)
        self.b.wait(DONE)
        self.b.click("#prev")
        self.b.click("#next")
        self.assertEqual(self.b.js(moving), 0)

    def test_hostile_text_stays_text(self):
        self.begin(self.server.url)
        self.ask("<b>me</b> [hostile] <img src=x onerror=alert(1)>")
        self.assertEqual(
            self.b.js(
                "document.querySelectorAll('.message img, .message script, .message b, .message a').length"
            ),
            0,
        )
        self.assertEqual(self.b.js("document.title"), "Lever")
        text = self.b.js("document.querySelector('.answer .text').textContent")
        for piece in (
            "<img src=x onerror=",
            "<script>document",
            "&lt;b&gt;",
            "W" * 400,
            "مرحبا",
            "👩‍👩‍👧",
            "javascript:alert(1)",
            "a<b>",
        ):
            self.assertIn(piece, text)
        self.assertIn("<b>me</b>", self.b.js("document.querySelector('.user .text').textContent"))
        self.no_sideways()
        self.b.picture(PICTURES / "page-hostile.png")
        self.quiet()

    def test_code_and_reasoning(self):
        self.begin(self.server.url)
        self.ask("[code] [think]")
        code = self.b.js("document.querySelector('.answer pre').textContent")
        self.assertEqual(code, "for (size_t i = 0; i < n; i++) {\n    sum += a[i] * b[i]; // <b>\n}")
        self.assertEqual(self.b.js("document.querySelector('.answer p code').textContent"), "n")
        self.assertEqual(self.b.js("document.querySelector('.block header span').textContent"), "c")
        self.assertNotIn("```", self.b.js("document.querySelector('.answer .text').textContent"))
        self.assertFalse(self.b.js("document.querySelector('.reasoning').open"))
        thought = self.b.js("document.querySelector('.reasoning div').textContent")
        self.assertEqual(thought, "The user wants to see me think.\nSo I do, for a while.")
        self.b.open(self.server.url)
        self.assertEqual(self.b.js("document.querySelector('.reasoning div').textContent"), thought)
        self.ask("And now?")
        self.assertEqual(self.server.requests[-1]["messages"][1]["reasoning_content"], thought)
        self.assertNotIn("reasoning_content", self.server.requests[-1]["messages"][0])
        self.quiet()

    def test_origins_follow_the_tokens(self):
        self.begin(self.server.url)
        self.server.options.rate = 1000
        self.ask("Tell me a story.")
        self.assertGreater(self.b.js(MARKED), 0.95 * len(fake_lever_serve.STORY))
        kinds = self.b.js(
            "['draft', 'lookup', 'target'].map(k => document.querySelectorAll(`.answer .o-${k}`).length)"
        )
        self.assertTrue(all(kinds), kinds)
        talker = fake_lever_serve.Talker(fake_lever_serve.STORY, 1)
        own = talker.cycle()[0]["next"]["text"]
        self.assertTrue(
            self.b.js("document.querySelector('.answer .o-target').textContent.startsWith(arguments[0])", own)
        )

    def test_copy_and_export(self):
        self.begin(self.server.url)
        self.b.devtools("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(WORK))
        for old in WORK.glob("talk-*"):
            old.unlink()
        self.server.options.rate = 4000
        self.ask("Tell me a story.")
        self.b.click(".answer .foot button")
        self.b.wait("document.querySelector('.answer .foot button').textContent === 'Copied'")
        for kind, ending in (("json", "json"), ("md", "md")):
            self.b.click("#export")
            self.b.click(f"#export-{kind}")
            for _ in range(100):
                files = list(WORK.glob(f"talk-*.{ending}"))
                if files:
                    break
                time.sleep(0.1)
            self.assertEqual(len(files), 1, kind)
        talk = json.loads(next(WORK.glob("talk-*.json")).read_text(encoding="utf-8"))
        self.assertEqual(talk["lever_talk"], 1)
        self.assertEqual([m["role"] for m in talk["messages"]], ["user", "assistant"])
        self.assertEqual(talk["messages"][1]["content"], fake_lever_serve.STORY)
        self.assertIn("Tell me a story.", next(WORK.glob("talk-*.md")).read_text(encoding="utf-8"))
        self.quiet()


class Trouble(PageTest):
    """Refusals and lost connections, told in plain words."""

    expected_log = ("Failed to load resource", "net::ERR")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = fake_lever_serve.start("--rate", "400")
        cls.addClassCleanup(cls.server.shutdown)

    def setUp(self):
        self.server.options.key = ""

    def test_refusals_in_plain_words(self):
        self.begin(self.server.url)
        cases = [
            ("[busy]", "busy.*Try again in 7.s"),
            ("[down]", "can not answer now.*shutting down"),
            ("[bad]", "refused.*longer than the context"),
        ]
        for said, told in cases:
            self.ask(said, wait=False)
            self.assertRegex(self.b.wait(NOTICE), told)
            self.assertEqual(self.b.js("document.querySelectorAll('.answer').length"), 0)
            self.b.picture(PICTURES / f"page-trouble-{said[1:-1]}.png")
            self.b.click("#new")
        self.ask("[busy]", wait=False)
        self.b.wait(NOTICE)
        self.ask("Better?")  # the message without an answer is left out
        self.assertEqual(len(self.server.requests[-1]["messages"]), 1)
        self.quiet()

    def test_connection_lost_in_the_middle(self):
        self.begin(self.server.url)
        self.ask("[cut]", wait=False)
        self.assertIn("connection was lost", self.b.wait(NOTICE))
        half = self.b.js(ANSWER)
        self.assertTrue(20 < len(half) < len(fake_lever_serve.STORY))
        requests = len(self.server.requests)
        self.b.click("#retry")
        self.b.wait(NOTICE)
        self.assertEqual(len(self.server.requests), requests + 1)
        self.assertEqual(self.b.js("document.querySelectorAll('.answer').length"), 1)
        self.quiet()

    def test_failure_in_the_middle(self):
        self.begin(self.server.url)
        self.ask("[fail]", wait=False)
        self.assertIn("ended early: reading the model failed", self.b.wait(NOTICE))
        self.assertGreater(self.b.js(f"{ANSWER}.length"), 20)
        self.assertTrue(self.b.js("document.querySelector('[aria-busy]') === null"))
        self.quiet()

    def test_server_gone(self):
        other = fake_lever_serve.start()
        self.begin(other.url)
        other.gone = True  # open connections too
        other.shutdown()
        other.server_close()
        self.b.wait("document.querySelector('.top').hasAttribute('data-lost')")
        self.ask("Anybody there?", wait=False)
        self.assertIn("Is the server still running", self.b.wait(NOTICE))
        self.quiet()

    def test_key(self):
        self.server.options.key = "secret"
        self.begin(self.server.url)
        self.assertIn("API key", self.b.js("document.querySelector('#model').textContent"))
        self.ask("Hello", wait=False)
        self.b.wait("document.querySelector('#settings').open && document.activeElement.id === 'set-key'")
        self.b.keys("secret", "ENTER")
        self.b.wait("document.querySelector('#model').textContent.includes('gguf')")
        self.b.click("#retry")
        self.b.wait(DONE)
        self.assertFalse(self.b.js(NOTICE))
        self.quiet()


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


class Files(unittest.TestCase):
    """What needs no browser."""

    def test_contrast(self):
        css = (ROOT / "apps/lever/page/style.css").read_text(encoding="utf-8")
        light = dict(re.findall(r"--([\w-]+): (#\w{6})", css.split("}")[0]))
        dark = {**light, **dict(re.findall(r"--([\w-]+): (#\w{6})", css.split("}")[1]))}
        text = [(f, b) for f in ("ink", "soft") for b in ("bg", "card", "sunk")]
        text += [(f, b) for f in ("draft", "lookup", "target") for b in ("card", "sunk")]
        text += [
            ("on-draft", "draft"),
            ("on-lookup", "lookup"),
            ("on-target", "target-mark"),
            ("on-main", "main"),
            ("bad", "bad-tint"),
        ]
        marks = (
            [("edge", b) for b in ("card", "bg", "sunk")]
            + [("focus", b) for b in ("card", "bg")]
            + [("draft", "bg"), ("lookup", "bg")]
        )
        for name, colours in (("light", light), ("dark", dark)):
            for pairs, least in ((text, 4.5), (marks, 3.0)):
                for front, back in pairs:
                    high, low = sorted((luminance(colours[front]), luminance(colours[back])), reverse=True)
                    ratio = (high + 0.05) / (low + 0.05)
                    self.assertGreaterEqual(ratio, least, f"{name}: {front} on {back}: {ratio:.2f}")

    def test_nothing_from_elsewhere(self):
        for path in (ROOT / "apps/lever/page").iterdir():
            text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
            self.assertNotRegex(
                text,
                r"(?i)https?://|@import|innerHTML|insertAdjacentHTML|\beval\(|document\.write",
                path.name,
            )
            if path.suffix == ".html":
                self.assertNotRegex(text, r"(?i)\sstyle=|\son\w+=|<style|<script>", path.name)


if __name__ == "__main__":
    main()
