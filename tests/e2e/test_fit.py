#!/usr/bin/env python3
"""lever fit as a black box. Standard library only.

usage: test_fit.py LEVER MKMODEL WORK_DIR [unittest options]
SPDX-License-Identifier: MIT
"""

import json
import os
import pty
import signal
import subprocess
import sys
import unittest

from cli import LEVER, WORK, MIB, SANITIZED, OK, USAGE, IO, LIMIT, CANCEL, lever, CliTest

QUICK = ("--steps", 30, "-c", 64)


class Fit(CliTest):
    def fit(self, out, *args, text=None, **kw):
        text = text or self.story("fit.txt", 6)
        path = WORK / out
        path.unlink(missing_ok=True)
        code, stdout, err = lever(
            "fit", "-m", self.model, "-md", self.draft, "--text", text, "-o", path, *args, "--json", **kw
        )
        self.assertEqual((code, err), (OK, ""))
        self.assertFalse(list(WORK.glob(out + ".*")))  # nothing unfinished is left
        return json.loads(stdout), path.read_bytes()

    def test_fit_writes_a_sidecar_that_inspect_reads(self):
        for form in ("tied", "untied"):
            r, sidecar = self.fit("a.exit.gguf", "--form", form, *QUICK)
            best = r["best"]
            self.assertEqual(r["form"], form)
            self.assertEqual([t["layers"] for t in r["tried"]], [1, 2, 3])
            self.assertIn(best["layers"], (1, 2, 3))
            self.assertTrue(0 < best["kd"] < best["kd_before"], r)
            self.assertTrue(
                0 <= best["saved"] < 1 and 0 < best["kept"] <= 1 and 0 < best["joint_kept"] <= 1, r
            )
            self.assertGreater(r["train_positions"], 8 * r["held_out_positions"] / 2)
            last = (2, 2)
            for p in r["curve"]:
                self.assertLessEqual((p["edges_kept"], p["true_kept"]), last)
                last = (p["edges_kept"], p["true_kept"])
            self.assertEqual(r["stats"]["sidecar_bytes"], len(sidecar))
            code, out, err = lever("inspect", WORK / "a.exit.gguf", "--json")
            self.assertEqual((code, err), (OK, ""))
            keys = json.loads(out)["keys"]
            self.assertEqual(keys["general.architecture"], "lever-exit")
            self.assertEqual(keys["lever-exit.target.name"], "small.gguf")
            self.assertEqual(keys["lever-exit.form"], form)
            self.assertEqual(keys["lever-exit.layer"], str(best["layers"] - 1))
            self.assertEqual(lever("inspect", WORK / "a.exit.gguf")[0], OK)

    def test_sidecar_depends_on_models_text_and_settings_only(self):
        want = self.fit("a.exit.gguf", *QUICK)[1]
        for args in (["-t", 3], ["-t", 1, "--isa", "ref"], ["--no-pin", "-b", 7, "--io", "pool"]):
            self.assertEqual(self.fit("b.exit.gguf", *QUICK, *args)[1], want, args)
        self.assertNotEqual(self.fit("b.exit.gguf", *QUICK, "--seed", 1)[1], want)
        one = self.fit("b.exit.gguf", *QUICK, "--layers", 2)[0]
        self.assertEqual((one["tried"], one["best"]["layers"]), ([], 2))

    def test_memory_limit_holds_and_streams(self):
        """The demo target's 29 MB within 22 MiB; then the same again with all the memory there is."""
        text = self.story("fit.txt", 6)
        args = ("--text", text, "--layers", 8, "--steps", 4, "--positions", 1200, "-c", 128)
        out = WORK / "demo.exit.gguf"
        peak = self.peak_rss(*args, "-o", out, "--mem", "22MiB", command="fit")
        if not SANITIZED:
            self.assertLess(peak, 22 * MIB)
        tight = out.read_bytes()
        self.assertEqual(lever("fit", *args, "-o", out)[0], OK)
        self.assertEqual(out.read_bytes(), tight)

    def interrupt(self, out, text, word, args):
        """Run until the line of progress says word, then Ctrl-C."""
        main, terminal = pty.openpty()
        command = [LEVER, "fit", "-m", self.model, "-md", self.draft, "--text", text, "-o", WORK / out, *args]
        with subprocess.Popen(
            [str(c) for c in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=terminal
        ) as p:
            os.close(terminal)
            seen = b""
            while word not in seen:
                seen += os.read(main, 4096)
            p.send_signal(signal.SIGINT)
            p.communicate(timeout=60)
            seen += os.read(main, 4096)
        os.close(main)
        self.assertEqual(p.returncode, CANCEL, seen)
        self.assertTrue((WORK / (out + ".fit")).exists() and not (WORK / out).exists())

    def test_an_interrupted_run_goes_on_to_the_same_bytes(self):
        text = self.story("long.txt", 40)
        args = ("--isa", "ref", "-t", 1, "--steps", 200, "--rank", 32, "-c", 64)
        want = self.fit("whole.exit.gguf", *args, text=text)[1]
        out = "parts.exit.gguf"
        (WORK / out).unlink(missing_ok=True)
        for word in (b"recording", b"trying", b"training"):
            self.interrupt(out, text, word, args)
        r, got = self.fit(out, *args, text=text)
        self.assertTrue(r["resumed"])
        self.assertEqual(got, want)

    def test_other_settings_do_not_go_on_from_an_unfinished_run(self):
        text, out = self.story("long.txt", 40), "parts.exit.gguf"
        (WORK / out).unlink(missing_ok=True)
        args = ("--isa", "ref", "-t", 1, "--steps", 200, "-c", 64)
        self.interrupt(out, text, b"training", args)
        r, got = self.fit(out, *QUICK, text=self.story("fit.txt", 6))
        self.assertFalse(r["resumed"])
        self.assertEqual(got, self.fit("a.exit.gguf", *QUICK)[1])

    def test_several_files_and_time_limit(self):
        a, b = self.story("one.txt", 4), self.story("two.txt", 3)
        r, _ = self.fit("a.exit.gguf", *QUICK, text=f"{a},{b}")
        self.assertGreater(r["windows"], self.fit("b.exit.gguf", *QUICK, text=a)[0]["windows"])
        r, _ = self.fit("a.exit.gguf", "--time-limit", 0.001, "-c", 64)
        self.assertLess(r["steps"], 10)

    def test_fit_explains_what_it_can_not_do(self):
        text, short, out = self.story("fit.txt", 6), WORK / "short.txt", WORK / "x.exit.gguf"
        short.write_text("Too short.")
        pair = ("-m", self.model, "-md", self.draft)
        for args, code, word in (
            ([*pair], USAGE, "--text"),
            (["-m", self.model, "--text", text], USAGE, "-md"),
            ([*pair, "--text", short], USAGE, "positions"),
            ([*pair, "--text", text, "--form", "odd"], USAGE, "tied, untied"),
            ([*pair, "--text", text, "--layers", 4], USAGE, "not within 1..3"),
            ([*pair, "--text", text, "--rank", 5000], USAGE, "1..1024"),
            ([*pair, "--text", WORK / "absent.txt"], IO, "absent.txt"),
            ([*pair, "--text", text, "-m", WORK / "absent.gguf"], IO, "absent.gguf"),
            ([*pair, "--text", text, "-o", WORK / "no" / "where.gguf"], IO, "where.gguf"),
            ([*pair, "--text", text, "-o", self.model], USAGE, "overwrite"),
            ([*pair, "--text", text, "--mem", "4500KiB"], LIMIT, "needs at least"),
        ):
            got, stdout, err = lever("fit", "-o", out, *args)
            self.assertEqual((got, stdout), (code, b""), (args, err))
            self.assertIn(word, err)
        self.assertFalse(out.exists())


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]], verbosity=1)
