#!/usr/bin/env python3
"""lever eval as a black box. Standard library only.

usage: test_eval.py LEVER MKMODEL WORK_DIR [unittest options]
SPDX-License-Identifier: MIT
"""

import json
import os
import pty
import signal
import subprocess
import sys
import unittest

from cli import LEVER, WORK, ROOT, SANITIZED, OK, USAGE, IO, LIMIT, CANCEL, lever, CliTest


class Eval(CliTest):
    def test_eval_of_the_demo_pair(self):
        text = self.story("story.txt", 12)
        r = self.eval_json("--text", text)
        key_values = json.loads(lever("inspect", ROOT / "models/lever-demo-target.Q8_0.gguf", "--json")[1])[
            "keys"
        ]
        context = int(next(v for k, v in key_values.items() if k.endswith(".context_length")))
        n_ctx = min(context, 512)
        self.assertEqual(r["n_ctx"], n_ctx)
        self.assertEqual(r["windows"], r["text_tokens"] // n_ctx)
        self.assertEqual(r["scored_tokens"], r["windows"] * (n_ctx - n_ctx // 2 - 1))
        self.assertEqual(r["stats"]["tokens"], r["windows"] * (n_ctx - 1))
        self.assertTrue(r["scored_tokens"] < r["scored_bytes"] < text.stat().st_size)
        d = r["draft"]
        self.assertTrue(1 < r["perplexity"] < d["perplexity"] < 200, r)
        self.assertTrue(0.3 < d["agree_1"] < d["agree_4"] < 1 and 0 < d["kl"] < 3, d)
        code, out, err = lever("eval", "--text", text)
        self.assertEqual((code, err), (OK, ""))
        self.assertIn(f"perplexity    {r['perplexity']:.4f} +- {r['perplexity_error']:.4f}\n", out.decode())
        self.assertIn(f"{100 * d['agree_1']:.2f}%", out.decode())

    def test_eval_does_not_depend_on_memory_threads_or_batches(self):
        text = self.story("story.txt", 12)
        common = ("--text", text, "-m", self.model, "-md", self.draft, "-c", 100, "--limit", 3)
        want = self.eval_json(*common)
        self.assertEqual((want["windows"], want["scored_tokens"]), (3, 3 * 49))
        for args in (["--no-pin", "-b", 7], ["-t", 3, "-b", 1], ["--isa", "ref", "--io", "pool", "--no-pin"]):
            got = self.eval_json(*common, *args)
            del got["stats"]
            self.assertEqual(got, {k: v for k, v in want.items() if k != "stats"})
        same = self.eval_json(*common, "-md", self.model)
        self.assertEqual([same["draft"][k] for k in ("agree_1", "agree_4", "kl")], [1, 1, 0])
        self.assertEqual(same["draft"]["perplexity"], want["perplexity"])
        alone = self.eval_json(
            "--text", "/dev/stdin", "-m", self.model, "-c", 100, "--limit", 3, stdin=text.read_bytes()
        )
        self.assertNotIn("draft", alone)
        self.assertEqual(alone["perplexity"], want["perplexity"])

    @unittest.skipIf(SANITIZED, "minutes under a sanitizer")
    def test_quantised_copies_lose_no_more_than_their_format_is_known_for(self):
        """Perplexity of text the demo target wrote itself, against that of its Q8_0 file."""
        target, text = ROOT / "models/lever-demo-target.Q8_0.gguf", WORK / "own.txt"
        written = b""
        for seed, prompt in enumerate(("Once upon a time", "def ", "The")):
            out, _ = self.run_ok(
                "-m",
                target,
                "-p",
                prompt,
                "-n",
                500,
                "--ignore-eos",
                "--temp",
                1,
                "--top-k",
                0,
                "--top-p",
                1,
                "--min-p",
                0,
                "--seed",
                seed,
                "-q",
            )
            written += out
        text.write_bytes(written)
        common = ("--text", text, "-c", 256)
        base = self.eval_json("-m", target, *common)["perplexity"]
        self.assertTrue(3 < base < 60, base)
        losses = {
            "Q6_K": 0.01,
            "Q5_K": 0.02,
            "Q4_K": 0.03,
            "IQ4_XS": 0.04,
            "Q4_0": 0.04,
            "Q3_K": 0.13,
            "Q2_K": 0.5,
        }
        for kind, most in losses.items():
            path = WORK / f"loss-{kind}.gguf"
            code, _, err = lever("quantize", target, path, kind)
            self.assertEqual(code, OK, err)
            loss = self.eval_json("-m", path, *common)["perplexity"] / base - 1
            path.unlink()
            self.assertTrue(-0.02 < loss < most, (kind, loss))

    def test_eval_explains_what_it_can_not_do(self):
        text, short = self.story("story.txt", 12), WORK / "short.txt"
        short.write_text("Too short.")
        pair, demo = ("-m", self.model), ROOT / "models/lever-demo-draft.Q8_0.gguf"
        for args, code, word in (
            ([], USAGE, "--text"),
            (["--text", short, "-c", 64], USAGE, "tokens, but one window takes 64"),
            (["--text", os.devnull], USAGE, "has 0 tokens"),
            (["--text", text, "-c", 2], USAGE, "-c 3"),
            (["--text", text, "--draft", "chain:4"], USAGE, "--draft"),
            (["--text", text, "-md", demo], USAGE, "does not fit target"),
            (["--text", WORK / "absent.txt"], IO, "absent.txt"),
            (["--text", WORK], IO, "directory"),
            (["--text", text, "-m", WORK / "absent.gguf"], IO, "absent.gguf"),
            (["--text", text, "--mem", "100KiB"], LIMIT, "needs at least"),
        ):
            got, out, err = lever("eval", *pair, *args)
            self.assertEqual((got, out), (code, b""), (args, err))
            self.assertIn(word, err)
        with open("/dev/full", "wb") as full:
            got, _, err = lever("eval", *pair, "--text", text, "-c", 64, "--limit", 1, stdout=full)
        self.assertEqual(got, IO, err)
        self.assertIn("No space left", err)

    def test_eval_with_failing_flash_reports_what_it_had(self):
        text = self.story("story.txt", 12)
        args = ("--text", text, "-m", self.model, "-c", 64, "--no-pin", "-b", 16, "--json")
        code, out, err = lever("eval", *args, env={"LEVER_IO_FAULTS": "first=400,error=EIO"})
        self.assertEqual(code, IO, err)
        self.assertIn("small.gguf", err)
        r = json.loads(out)
        self.assertEqual((r["stop"], r["error"]["code"]), ("error", "LEVER_EIO"))
        self.assertTrue(r["scored_tokens"] > 0 and r["perplexity"] > 1)

    def test_ctrl_c_ends_an_evaluation_with_what_was_scored(self):
        text = self.story("long.txt", 400)
        main, terminal = pty.openpty()
        command = [LEVER, "eval", "--text", text, "-m", self.model, "--isa", "ref", "-t", "1", "--json"]
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=terminal
        ) as p:
            os.close(terminal)
            seen = b""
            while b"perplexity" not in seen:  # the running line
                seen += os.read(main, 4096)
            p.send_signal(signal.SIGINT)
            out, _ = p.communicate(timeout=30)
        os.close(main)
        self.assertEqual(p.returncode, CANCEL)
        self.assertRegex(seen.decode(), r"perplexity [0-9.]+, +[0-9]+%")
        r = json.loads(out)
        self.assertEqual(r["stop"], "cancel")
        self.assertTrue(0 < r["scored_tokens"] and r["stats"]["tokens"] < r["windows"] * (r["n_ctx"] - 1))


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]], verbosity=1)
