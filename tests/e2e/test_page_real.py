"""The page of lever serve in a headless Chromium: the program with the demo pair, real cycles.

usage: test_page_real.py LEVER MKMODEL WORK [TEST...]      exit 77: no Chromium here
SPDX-License-Identifier: MIT
"""

import json
import os
import re
import subprocess
import time
import urllib.request

from page_case import ANSWER, DONE, FOOT, LEVER, MARKED, PICTURES, ROOT, TITLE, WORK, PageTest, main


class RealServer(PageTest):
    """lever serve with the demo pair: real cycles, and the text that others get for the same request."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.log = open(WORK / "serve.log", "w+", encoding="utf-8")
        cls.addClassCleanup(cls.log.close)
        cls.server = subprocess.Popen(
            [
                LEVER,
                "serve",
                "--port",
                "0",
                "--policy",
                "eagle2:4,5,24",
                "--flash-model",
                "ufs3.1",
                "--mem",
                "48MiB",
            ],
            stderr=cls.log,
            cwd=ROOT,
            env={**os.environ, "XDG_CACHE_HOME": str(WORK / "cache")},
        )
        cls.addClassCleanup(cls.end)
        for _ in range(600):
            address = re.search(r"http://[\d.]+:\d+", (WORK / "serve.log").read_text(encoding="utf-8"))
            if address or cls.server.poll() is not None:
                break
            time.sleep(0.1)
        cls.url = address[0]

    @classmethod
    def end(cls):
        cls.server.terminate()
        cls.server.wait(60)

    def fetch(self, path, body=None):
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)

    def test_real_answer(self):
        self.begin(self.url)
        settings = {"temperature": 0.7, "seed": 5, "max_tokens": 200}
        self.b.js("return localStorage.setItem('lever.settings', arguments[0])", json.dumps(settings))
        self.b.open(self.url)
        self.ask("Tell me a story about a fox.")
        body = {"messages": [{"role": "user", "content": "Tell me a story about a fox."}]}
        want = self.fetch("/v1/chat/completions", {**body, **settings})
        want = want["choices"][0]["message"]["content"]
        shown = "document.querySelector('.answer .text').textContent"
        self.assertEqual("".join(self.b.js(shown).split()), "".join(want.split()))
        self.assertRegex(
            self.b.js("document.querySelector('.answer .foot').innerText"), r"\d+ tokens .* tokens per pass"
        )
        self.assertGreater(self.b.js(MARKED), 0.9 * len("".join(want.split("\n"))))
        cycles = int(self.b.js("document.querySelector('#scrub').max")) + 1
        self.assertGreater(cycles, 5)
        accepted = own = 0
        for i in range(cycles):
            self.b.js(
                "(s => { s.value = arguments[0]; s.dispatchEvent(new Event('input')); return 1; })"
                "(document.querySelector('#scrub'))",
                i,
            )
            accepted += self.b.js("document.querySelectorAll('#stage .n-accepted').length")
            own += self.b.js("document.querySelectorAll('#stage .n-next').length")
        tokens = int(self.b.js("document.querySelector('.answer .foot').innerText.match(/(\\d+) tokens/)[1]"))
        self.assertGreater(accepted, tokens / 4)
        self.assertLessEqual(abs(accepted + own - tokens), 1)  # the trees tell where every token came from
        self.assertIn("MiB", self.b.js("document.querySelector('#mem').textContent"))
        self.b.click("#live")
        self.b.js("(document.querySelector('#about').open = false, 1)")
        self.b.picture(PICTURES / "page-real.png")
        self.quiet()

    def test_an_exported_talk_goes_on_at_the_terminal(self):
        self.begin(self.url)
        self.b.devtools("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(WORK))
        for old in WORK.glob("talk-*"):
            old.unlink()
        self.ask("Tell me a story about a cat.")
        self.b.click("#export")
        self.b.click("#export-json")
        for _ in range(100):
            files = list(WORK.glob("talk-*.json"))
            if files:
                break
            time.sleep(0.1)
        self.assertEqual(len(files), 1)
        command = [LEVER, "chat", "--load", str(files[0]), "-n", "8"]
        done = subprocess.run(command, input=b"And then?\n", capture_output=True, timeout=120, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(b"loaded 2 messages", done.stderr)
        self.assertTrue(done.stdout.strip())

    def test_stop_frees_the_place(self):
        self.begin(self.url)
        self.ask("Tell me a long story about the sea.", wait=False)
        self.b.wait(f"{TITLE}.includes('cycle')")
        self.b.keys("ESC")
        self.b.wait(DONE)
        for _ in range(200):
            if self.fetch("/lever/status")["active"] == 0:
                break
            time.sleep(0.1)
        self.assertEqual(self.fetch("/lever/status")["active"], 0)
        self.quiet()


if __name__ == "__main__":
    main()
