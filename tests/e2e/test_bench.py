#!/usr/bin/env python3
"""lever bench as a black box. Standard library only.

usage: test_bench.py LEVER MKMODEL WORK_DIR [unittest options]
SPDX-License-Identifier: MIT
"""

import csv
import json
import math
import pty
import os
import shutil
import signal
import subprocess
import sys
import time
import unittest
import xml.etree.ElementTree

from cli import (
    LEVER,
    WORK,
    ROOT,
    SANITIZED,
    OK,
    USAGE,
    IO,
    FORMAT,
    UNSUP,
    LIMIT,
    CHECK,
    CANCEL,
    lever,
    CliTest,
)


def fnv(data):
    h = 14695981039346656037
    for byte in data:
        h = (h ^ byte) * 1099511628211 % (1 << 64)
    return f"{h:016x}"


class Bench(CliTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.files = []
        for kind, n in (("story", 4), ("code", 6)):
            path = WORK / f"{kind}.jsonl"
            records = [{"id": f"{kind}, {i}", "prompt": f"{kind} {i} once upon"} for i in range(n)]
            path.write_text("".join(json.dumps(r) + "\n" for r in records))
            cls.files.append(path)

    def setUp(self):
        self.csv = WORK / f"{self._testMethodName}.csv"
        if self.csv.exists():
            self.csv.unlink()

    def bench(self, *args, code=OK, files=None, models=None, **kw):
        """Run on the small models; returns standard output and standard error."""
        models = models or ("-m", self.model, "-md", self.draft)
        got, out, err = lever(
            "bench", *models, "-n", 12, "-c", 128, *args, *(self.files if files is None else files), **kw
        )
        self.assertEqual(got, code, err)
        return out.decode(), err

    def rows(self):
        with open(self.csv, newline="", encoding="utf-8") as f:
            return list(csv.DictReader(f))

    # ---- rows and tables

    def test_every_prompt_and_policy_is_a_row_in_turn(self):
        policies = ["none", "chain:3", "tree:2,1"]
        out, err = self.bench("--policies", ",".join(policies), "--csv", self.csv, "--limit", 3)
        self.assertEqual(err, "")
        rows = self.rows()
        ids = ["story, 0", "story, 1", "story, 2", "code, 0", "code, 2", "code, 4"]  # evenly from each file
        self.assertEqual([r["prompt"] for r in rows], [i for i in ids for _ in policies])
        for i in range(len(ids)):
            turn = [r["policy"] for r in rows[3 * i : 3 * i + 3]]
            self.assertEqual(turn, [policies[(i + k) % 3] for k in range(3)])
            self.assertEqual(len({r["text_hash"] for r in rows[3 * i : 3 * i + 3]}), 1)
        for r in rows:
            self.assertEqual(r["file"], r["prompt"].split(",")[0] + ".jsonl")
            self.assertEqual((r["model"], r["draft"]), ("small.gguf", "draft.gguf"))
            self.assertEqual(int(r["model_bytes"]), self.model.stat().st_size)
            self.assertEqual(r["options"], "-c 128")
            parts = sum(float(r[k]) for k in ("draft_s", "verify_s", "project_s"))
            self.assertLessEqual(parts, float(r["decode_s"]) * 1.001)
            self.assertLessEqual(float(r["flash_wait_s"]), float(r["verify_s"]) * 1.001)
            if r["policy"] == "none" and int(r["sweeps"]):
                self.assertEqual((r["tokens_per_sweep"], r["rows_per_sweep"]), ("1", "1"))
        for word in (*policies, "story", "code", "all", "tokens/s", "ratio"):
            self.assertIn(word, out)
        self.assertEqual(out.count("chain:3 "), 3)  # two kinds and all

    def test_the_texts_are_those_of_run(self):
        sampling = ("--temp", 0.7, "--seed", 5)
        self.bench("--csv", self.csv, "--policies", "none;chain:2", "--limit", 1, *sampling)
        for row in self.rows():
            prompt = f"{row['prompt'].replace(',', '')} once upon"
            out, _ = self.run_ok("-m", self.model, "-p", prompt, "-n", 12, "-c", 128, "--json", *sampling)
            self.assertEqual(row["text_hash"], fnv(json.loads(out)["text"][len(prompt) :].encode()))

    def test_json_sums_up_its_rows(self):
        out, err = self.bench("--policies", "none,chain:3", "--json", "--rounds", 2, "--ignore-eos")
        r = json.loads(out)
        self.assertEqual((err, r["stop"], r["policies"]), ("", "end", ["none", "chain:3"]))
        self.assertEqual((r["measured"], r["resumed"], len(r["rows"])), (40, 0, 40))
        speed = {}
        for row in r["rows"]:
            key = (row["file"], row["prompt"], row["policy"])
            speed.setdefault(key, []).append(math.log(row["decode_tokens"] / row["decode_s"]))
        for s in r["summary"]:
            mine = [
                row for row in r["rows"] if row["policy"] == s["policy"] and s["file"] in ("all", row["file"])
            ]
            prompts = {row["prompt"] for row in mine}
            self.assertEqual(s["prompts"], len(prompts))
            for name in ("decode_tokens", "sweeps"):
                self.assertEqual(s[name], sum(row[name] for row in mine))
            self.assertAlmostEqual(s["tokens_per_sweep"], s["decode_tokens"] / s["sweeps"], 6)
            mean = {k: sum(v) / len(v) for k, v in speed.items() if s["file"] in ("all", k[0])}
            own = [v for k, v in sorted(mean.items()) if k[2] == s["policy"]]
            first = [v for k, v in sorted(mean.items()) if k[2] == "none"]
            self.assertAlmostEqual(math.log(s["tokens_per_s"]["mean"]), sum(own) / len(own), 5)
            if s["policy"] == "none":
                self.assertIsNone(s["ratio"]["mean"])
                continue
            ratio = math.exp(sum(a - b for a, b in zip(own, first)) / len(own))
            self.assertAlmostEqual(s["ratio"]["mean"] / ratio, 1, 5)
            self.assertLess(s["ratio"]["low"], s["ratio"]["mean"])
            self.assertLess(s["ratio"]["mean"], s["ratio"]["high"])

    def test_policies_may_have_commas(self):
        for text, want in (
            ("none,chain:2,tree:2,1,1", ["none", "chain:2", "tree:2,1,1"]),
            ("tree:2,1,none", ["tree:2,1", "none"]),
            ("none; chain:2 tree:2,1;chain:1", ["none", "chain:2", "tree:2,1", "chain:1"]),
        ):
            out, _ = self.bench("--policies", text, "--json", "--limit", 1, files=self.files[:1])
            self.assertEqual(json.loads(out)["policies"], want)

    def test_messages_in_turns_are_one_row(self):
        path = WORK / "turns.jsonl"
        path.write_text(json.dumps({"id": "t", "turns": ["hello", "and now"]}) + "\n")
        self.bench(files=[path], code=UNSUP)  # the model has no chat template
        self.bench("--raw", "--ignore-eos", "--csv", self.csv, files=[path])
        self.assertEqual([int(r["new_tokens"]) for r in self.rows()], [24] * 3)

    # ---- going on

    def test_resume_measures_only_what_is_missing(self):
        args = ("--policies", "none,chain:3", "--csv", self.csv)
        self.bench(*args)
        whole = self.csv.read_bytes()
        lines = whole.splitlines(keepends=True)
        self.assertEqual(len(lines), 1 + 20)
        kept = b"".join(lines[:6])
        self.csv.write_bytes(kept + lines[6][:40])  # killed within a row
        out, _ = self.bench(*args, "--resume", "--json")
        r = json.loads(out)
        self.assertEqual((r["measured"], r["resumed"], len(r["rows"])), (15, 5, 20))
        again = self.csv.read_bytes()
        self.assertTrue(again.startswith(kept))
        keys = [(x["file"], x["prompt"], x["policy"]) for x in self.rows()]
        self.assertEqual(len(set(keys)), 20)
        self.assertEqual(len(keys), 20)
        out, _ = self.bench(*args, "--resume", "--json")
        self.assertEqual((json.loads(out)["measured"], self.csv.read_bytes()), (0, again))
        for more in (["--seed", 1], ["-n", 11], ["--ignore-eos"], ["--mem", "1GiB"]):  # other measurements
            out, _ = self.bench(*args, "--resume", "--json", "--limit", 1, *more)
            self.assertEqual(json.loads(out)["resumed"], 0, more)
        self.bench(*args, "--limit", 1)  # without --resume everything again
        self.assertEqual(len(self.rows()), 20 + 4 * 4 + 4)

    def test_another_text_is_an_error_that_names_prompt_and_policies(self):
        args = ("--policies", "none,chain:3", "--csv", self.csv, "--limit", 2)
        self.bench(*args)
        rows = self.rows()
        lines = self.csv.read_text().splitlines(keepends=True)
        victim = next(i for i, r in enumerate(rows) if (r["prompt"], r["policy"]) == ("code, 3", "chain:3"))
        wrong = "0" * 16
        lines[1 + victim] = lines[1 + victim].replace(rows[victim]["text_hash"], wrong)
        self.csv.write_text("".join(lines))
        _, err = self.bench(*args, "--resume", code=CHECK)
        for word in ("TEXTS DIFFER", "code, 3", "code.jsonl", "'none'", "'chain:3'"):
            self.assertIn(word, err)
        # The same when the other policy is measured only now, which is then not written.
        plain = next(i for i, r in enumerate(rows) if (r["prompt"], r["policy"]) == ("code, 3", "none"))
        del lines[1 + plain]
        self.csv.write_text("".join(lines))
        out, err = self.bench(*args, "--resume", "--json", code=CHECK)
        self.assertEqual(json.loads(out)["stop"], "texts differ")
        self.assertIn("code, 3", json.loads(out)["error"])
        self.assertEqual(self.csv.read_text(), "".join(lines))

    def test_ctrl_c_ends_after_the_prompt(self):
        path = WORK / "many.jsonl"
        path.write_text("".join(json.dumps({"prompt": f"number {i}"}) + "\n" for i in range(5000)))
        args = ["bench", "-m", self.model, "-md", self.draft, "-n", "16", "-c", "128", "--ignore-eos"]
        args += ["--policies", "none,chain:2", "--csv", self.csv, path]
        p = subprocess.Popen(
            [LEVER, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
        )
        until = time.monotonic() + 60
        while time.monotonic() < until and not (self.csv.exists() and len(self.rows()) > 2):
            time.sleep(0.01)
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=60)
        self.assertEqual(p.returncode, CANCEL, err)
        self.assertIn(b"ending after this prompt", err)
        self.assertIn(b"tokens/s", out)
        rows = self.rows()
        self.assertTrue(2 < len(rows) < 10000)
        done = {}
        for r in rows:
            done.setdefault(r["prompt"], set()).add(r["policy"])
        self.assertTrue(all(v == {"none", "chain:2"} for v in done.values()), done)

    def test_progress_tells_the_time_left_on_a_terminal(self):
        master, slave = pty.openpty()
        args = ["bench", "-m", self.model, "-md", self.draft, "-n", "100", "-c", "128", "--ignore-eos"]
        args += ["--rounds", "1000", *self.files]
        p = subprocess.Popen([LEVER, *map(str, args)], stdout=subprocess.DEVNULL, stderr=slave)
        os.close(slave)
        seen = b""
        while b"s left" not in seen:
            seen += os.read(master, 1000)
        p.kill()
        p.wait()
        os.close(master)
        self.assertRegex(seen, rb"(story|code), \d, (none|chain:8), +\d+%")

    # ---- memory

    def test_shares_in_memory_rise_as_asked(self):
        asked = [0, 30, 60, 100]
        code, out, err = lever(
            *("bench", "--sweep-mem", ",".join(map(str, asked)), "--residency", "spread,first"),
            *("--policies", "none,chain:2", "-n", 4, "-c", 128, "--json", "--limit", 1, "--ignore-eos"),
            ROOT / "bench/prompts/story.jsonl",
        )
        self.assertEqual(code, OK, err)
        r = json.loads(out)
        self.assertEqual(err, "")
        for which in ("spread", "first"):
            for policy in ("none", "chain:2"):
                of = [
                    s
                    for s in r["summary"]
                    if (s["residency"], s["policy"], s["file"]) == (which, policy, "all")
                ]
                self.assertEqual([s["share_asked"] for s in of], asked)
                share = [s["share"] for s in of]
                self.assertEqual((share[0], share[3]), (0, 100))
                for s in of:  # the demo model's largest matrix is 2 % of it, its head 8 %
                    self.assertLess(abs(s["share"] - s["share_asked"]), 4)
                self.assertEqual(sorted(set(share)), share)
                limits = [s["mem_limit_bytes"] for s in of]
                self.assertEqual(sorted(set(limits)), limits)
                read = [s["flash_bytes_per_sweep"] for s in of]
                self.assertEqual(sorted(read, reverse=True), read)
                self.assertTrue(read[0] > 20e6 and read[3] == 0, read)
        self.assertEqual(len({row["text_hash"] for row in r["rows"]}), 1)
        if not SANITIZED:
            for row in r["rows"]:
                self.assertLessEqual(row["peak_rss_bytes"], max(limits))

    def test_residencies_are_compared_under_one_limit(self):
        out, _ = self.bench("--residency", "spread,first,none", "--policies", "none", "--limit", 1)
        for word in ("spread", "first", "none", "kept"):
            self.assertIn(word, out)

    # ---- pictures

    @unittest.skipUnless(shutil.which("gnuplot"), "gnuplot is not installed")
    def test_pictures(self):
        svg, png = WORK / "p.svg", WORK / "p.png"
        self.bench("--policies", "none,chain:2,tree:2,1", "--limit", 2, "--plot", svg)
        text = " ".join(xml.etree.ElementTree.parse(svg).getroot().itertext())
        for word in ("tokens per second", "tokens per sweep", "ms per cycle", "tree:2,1", "story", "code"):
            self.assertIn(word, text)
        _, err = self.bench("--residency", "spread,none", "--limit", 1, "--plot", png)
        self.assertEqual(err, "")
        self.assertTrue(png.read_bytes().startswith(b"\x89PNG"))
        self.bench("--limit", 1, "-n", 1, "--plot", svg, code=USAGE)  # nothing decoded
        _, err = self.bench("--limit", 1, "--plot", WORK / "no/such/p.svg", code=IO)
        self.assertIn("no/such/p.svg", err)

    def test_what_a_policy_expected_is_compared_with_what_came(self):
        out, _ = self.bench("--policies", "none,lever:12", "--limit", 2, "-n", 24, "--json")
        result = json.loads(out)
        bins = result["calibration"]["bins"]
        self.assertEqual(sum(b["guesses"] for b in bins), result["calibration"]["guesses"])
        self.assertGreater(result["calibration"]["guesses"], 20)
        self.assertTrue(all(0 < b["stated"] <= 1 and 0 <= b["right"] <= 1 for b in bins))
        off = sum(b["guesses"] * abs(b["stated"] - b["right"]) for b in bins)
        self.assertAlmostEqual(result["calibration"]["error"], off / result["calibration"]["guesses"], 6)
        for r in result["rows"]:  # only lever says what it expects
            self.assertEqual(r["expected_tokens"] > 0, r["policy"] == "lever:12")
        self.bench("--policies", "none", "--limit", 1, "--calibration", "x.txt", code=USAGE)
        if shutil.which("gnuplot"):
            svg = WORK / "calibration.svg"
            self.bench("--policies", "lever:12", "--limit", 1, "-n", 24, "--calibration", svg)
            self.assertIn("calibration error", svg.read_text())
            self.bench("--policies", "chain:2", "--limit", 1, "--calibration", svg, code=USAGE)

    def test_without_gnuplot_the_rows_are_still_written(self):
        svg = WORK / "none.svg"
        out, err = self.bench(
            "--limit", 1, "--csv", self.csv, "--plot", svg, code=UNSUP, env={"PATH": str(WORK)}
        )
        self.assertIn("gnuplot", err)
        self.assertIn("tokens/s", out)
        self.assertEqual((len(self.rows()), svg.exists()), (6, False))

    # ---- errors

    def test_bad_arguments_are_named_before_a_model_is_opened(self):
        absent = ("-m", WORK / "absent.gguf")
        for args, word in (
            (["--policies", "none,zigzag:2"], "zigzag"),
            (["--policies", "none,chain:0"], "chain"),
            (["--policies", "none,chain:2,none"], "twice"),
            (["--policies", " ; "], "no policy"),
            (["--rounds", 0], "--rounds"),
            (["--resume"], "--csv"),
            (["--plot", "x.gif"], ".svg"),
            (["--sweep-mem", "0,120"], "120"),
            (["--sweep-mem", "0,x"], "'x'"),
            (["--sweep-mem", ","], "no share"),
            (["--sweep-mem", "10,10"], "twice"),
            (["--sweep-mem", "10", "--mem", "1GiB"], "--mem"),
            (["--sweep-mem", "10", "--no-pin"], "--no-pin"),
            (["--sweep-mem", "10", "--residency", "none"], "none"),
            (["--residency", "last"], "spread, first, none"),
            (["--residency", "first", "--pin-first"], "--pin-first"),
            (["--frobnicate"], "--frobnicate"),
            ([self.files[0]], "two prompt files"),
        ):
            file = [] if "--resume" in args else ["--csv", self.csv]
            out, err = self.bench(*args, *file, models=absent, code=USAGE)
            self.assertIn(word, err)
            self.assertEqual(out, "")
        self.assertFalse(self.csv.exists())
        self.assertIn("needs prompts", self.bench(models=absent, files=[], code=USAGE)[1])
        self.assertIn("needs a draft", self.bench(models=("-m", self.model), code=USAGE)[1])
        self.bench(models=absent, code=IO)
        self.bench(files=[WORK / "absent.jsonl"], code=IO)

    def test_a_prompt_that_does_not_fit_is_left_out(self):
        path = WORK / "long.jsonl"
        path.write_text(json.dumps({"prompt": "word " * 900}) + "\n" + json.dumps({"prompt": "Once"}) + "\n")
        _, err = self.bench("--csv", self.csv, files=[path], code=LIMIT)
        self.assertEqual(err.count("left out"), 1)
        self.assertEqual([r["prompt"] for r in self.rows()], ["long-2"] * 3)

    def test_results_that_can_not_be_written(self):
        self.csv.write_text("my notes")
        _, err = self.bench("--csv", self.csv, code=FORMAT)
        self.assertIn("other columns", err)
        self.assertEqual(self.csv.read_text(), "my notes")
        self.assertIn("no/such", self.bench("--csv", WORK / "no/such/x.csv", code=IO)[1])
        self.assertIn("No space left", self.bench("--csv", "/dev/full", code=IO)[1])
        with open("/dev/full", "wb") as full:
            code, _, err = lever(
                "bench", "-m", self.model, "-md", self.draft, "-n", 2, "-c", 64, self.files[0], stdout=full
            )
        self.assertEqual(code, IO)
        self.assertIn("standard output", err)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]], verbosity=1)
