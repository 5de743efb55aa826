#!/usr/bin/env python3
"""The lever program as a black box: exit codes, messages, limits, interrupts. Standard library only.

usage: test_cli.py LEVER MKMODEL WORK_DIR [unittest options]
SPDX-License-Identifier: MIT
"""

import json
import os
import pathlib
import pty
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time
import unittest

LEVER, MKMODEL, WORK = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
MIB = 1 << 20
ROOT = pathlib.Path(__file__).resolve().parents[2]
SANITIZED = bool(os.environ.get("LEVER_SANITIZED"))
SHARED = pathlib.Path(os.environ.get("LEVER_SHARED", ROOT.parent / "shared"))
OK, OTHER, USAGE, IO, FORMAT, UNSUP, LIMIT, CHECK, CANCEL = 0, 1, 2, 3, 4, 5, 6, 7, 130


def lever(*args, stdin=None, env=None, **kw):
    """Run the program; returns (exit code, stdout bytes, stderr text)."""
    p = subprocess.run(
        [LEVER, *map(str, args)],
        input=stdin,
        stdin=None if stdin is not None else subprocess.DEVNULL,
        stdout=kw.pop("stdout", subprocess.PIPE),
        stderr=subprocess.PIPE,
        timeout=120,
        env={**os.environ, **(env or {})},
        **kw,
    )
    return p.returncode, p.stdout, p.stderr.decode(errors="replace")


def make(name, *args):
    path = WORK / name
    if not path.exists():
        subprocess.run([MKMODEL, str(path), *map(str, args)], check=True)
    return path


class Cli(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        WORK.mkdir(parents=True, exist_ok=True)
        cls.model = make(
            "small.gguf",
            "--arch",
            "qwen3",
            "--type",
            "Q8_0",
            "--embd",
            64,
            "--layers",
            4,
            "--ff",
            128,
            "--heads",
            4,
            "--kv-heads",
            2,
            "--head-dim",
            32,
            "--vocab",
            400,
        )
        cls.draft = WORK / "draft.gguf"
        if not cls.draft.exists():
            code, _, err = lever("quantize", cls.model, cls.draft, "Q4_0")
            assert code == OK, err

    def run_ok(self, *args, **kw):
        code, out, err = lever("run", *args, **kw)
        self.assertEqual(code, OK, err)
        return out, err

    # ---- what people do first

    def test_help_and_version_need_no_model(self):
        for args in (
            ["--help"],
            ["help"],
            ["run", "--help"],
            ["inspect", "-h"],
            ["eval", "--help"],
            ["quantize", "--help"],
            ["grow", "--help"],
            ["--version"],
        ):
            code, out, err = lever(*args)
            self.assertEqual((code, err), (OK, ""), args)
            self.assertTrue(out.strip())
            self.assertLessEqual(max(map(len, out.decode().splitlines())), 110)
        self.assertEqual(lever()[0], USAGE)

    def test_prompt_from_option_file_and_stdin_give_the_same_text(self):
        common = ["-m", self.model, "-n", 12, "--temp", 0]
        a, _ = self.run_ok(*common, "-p", "hello there")
        (WORK / "prompt.txt").write_text("hello there")
        b, _ = self.run_ok(*common, "-f", WORK / "prompt.txt")
        c, _ = self.run_ok(*common, stdin=b"hello there")
        self.assertEqual(a, b)
        self.assertEqual(a, c)
        self.assertTrue(a.startswith(b"hello there"))

    def test_closing_block_tells_speed_flash_memory_and_check(self):
        plan = self.plan("-c", 128, "--mem", "1", "-md", self.draft)
        _, err = self.run_ok(
            "-m",
            self.model,
            "-md",
            self.draft,
            "-c",
            128,
            "--mem",
            plan["needed_bytes"],
            "-p",
            "abc",
            "-n",
            40,
            "--temp",
            0,
            "--ignore-eos",
            "--check",
            16,
        )
        for word in ("tokens/s", "tokens per sweep", "per token", "peak", "limit", "equal plain decoding"):
            self.assertIn(word, err)

    def test_json_is_one_object_with_text_tokens_and_statistics(self):
        out, err = self.run_ok(
            "-m",
            self.model,
            "-md",
            self.draft,
            "-p",
            "abc",
            "-n",
            20,
            "--temp",
            0,
            "--ignore-eos",
            "--json",
            "--check",
            8,
        )
        r = json.loads(out)
        self.assertTrue(r["text"].startswith("abc"))
        self.assertEqual(len(r["tokens"]), 20)
        self.assertEqual(r["stats"]["new_tokens"], 20)
        self.assertEqual(r["check"]["equal"], 8)
        self.assertEqual(err, "")

    def test_same_seed_same_text_other_seed_other_text(self):
        common = [
            "-m",
            self.model,
            "-p",
            "abc",
            "-n",
            24,
            "--ignore-eos",
            "--top-k",
            0,
            "--top-p",
            1,
            "--min-p",
            0,
        ]
        texts = [self.run_ok(*common, "--seed", s)[0] for s in (1, 1, 2)]
        self.assertEqual(texts[0], texts[1])
        self.assertNotEqual(texts[0], texts[2])

    # ---- bad input

    def test_bad_options_are_named(self):
        for args, word in (
            (["--frobnicate"], "--frobnicate"),
            (["-n", "many"], "many"),
            (["--mem", "3XB"], "3XB"),
            (["--temp", "nan"], "--temp"),
            (["-p"], "-p"),
            (["--temp", "-1"], "temperature"),
            (["--draft", "chain:0"], "chain"),
            (["--draft", "zigzag"], "zigzag"),
            (["--io", "carrier-pigeon"], "carrier-pigeon"),
            (["--isa", "mmx"], "mmx"),
            (["--kv", "q3_k"], "known: auto, f16, q8_0"),
            (["--cpus", "0-"], "list of cores"),
            (["--cpus", "1000"], "not one this process may use"),
            (["--top-p", "7"], "top"),
            (["--repeat-penalty", "0"], "penalty"),
        ):
            prompt = [] if "-p" in args else ["-p", "x"]
            code, out, err = lever("run", "-m", self.model, "-md", self.draft, *prompt, *args)
            self.assertEqual(code, USAGE, (args, err))
            self.assertIn(word, err)
            self.assertEqual(out, b"")
        self.assertEqual(lever("dance")[0], USAGE)

    def test_missing_and_unreadable_files(self):
        for args in (
            ["run", "-m", WORK / "absent.gguf", "-p", "x"],
            ["inspect", WORK / "absent.gguf"],
            ["run", "-m", WORK, "-p", "x"],
            ["run", "-m", self.model, "-md", WORK / "absent.gguf", "-p", "x"],
            ["run", "-m", self.model, "-f", WORK / "absent.txt"],
            ["quantize", WORK / "absent.gguf", WORK / "o.gguf", "Q8_0"],
        ):
            code, out, err = lever(*args)
            self.assertEqual(code, IO, (args, err))
            self.assertEqual(out, b"")
            self.assertRegex(err, "absent|work|directory")

    def test_truncated_files_at_many_lengths(self):
        data = self.model.read_bytes()
        cut = WORK / "cut.gguf"
        for n in [0, 3, 4, 8, 23, 24, 100, 1000, 5000, len(data) // 2, len(data) - 1]:
            cut.write_bytes(data[:n])
            code, out, err = lever("run", "-m", cut, "-p", "x")
            self.assertIn(code, (FORMAT, IO), (n, err))
            self.assertEqual(out, b"")
            self.assertIn("cut.gguf", err)

    def test_corrupted_headers_never_crash(self):
        data = bytearray(self.model.read_bytes())
        bad = WORK / "bad.gguf"
        for at in list(range(0, 400, 7)) + [1000, 2000, 4000]:
            for value in (0xFF, 0x00, 0x80):
                broken = bytearray(data)
                broken[at] ^= value or 0x01
                bad.write_bytes(broken)
                code, _, err = lever("inspect", bad)
                self.assertIn(code, (OK, IO, FORMAT, UNSUP, OTHER), (at, value, err))
                self.assertNotIn("Sanitizer", err)

    def test_wrong_magic_and_version_are_named(self):
        data = bytearray(self.model.read_bytes())
        bad = WORK / "magic.gguf"
        bad.write_bytes(b"GGML" + data[4:])
        code, _, err = lever("inspect", bad)
        self.assertEqual(code, FORMAT)
        self.assertRegex(err, "(?i)magic|GGUF")
        bad.write_bytes(data[:4] + struct.pack("<I", 99) + data[8:])
        code, _, err = lever("inspect", bad)
        self.assertIn(code, (UNSUP, FORMAT))
        self.assertIn("99", err)

    def test_draft_may_be_padded_to_another_vocabulary_size(self):
        other = make(
            "padded.gguf",
            "--arch",
            "llama",
            "--type",
            "Q8_0",
            "--embd",
            64,
            "--layers",
            1,
            "--ff",
            64,
            "--heads",
            2,
            "--kv-heads",
            2,
            "--head-dim",
            32,
            "--vocab",
            300,
        )
        options = ("run", "-m", self.model, "-p", "x", "-n", 20, "--temp", 0)
        code, text, err = lever(*options, "-md", other)
        self.assertEqual(code, OK, err)
        self.assertEqual(text, lever(*options)[1])

    def test_draft_with_other_vocabulary_is_refused(self):
        other = ROOT / "models/lever-demo-draft.Q8_0.gguf"
        code, _, err = lever("run", "-m", self.model, "-md", other, "-p", "x")
        self.assertEqual(code, USAGE, err)
        self.assertIn("the vocabularies have 273 and", err)

    def prompts(self, *args):
        """Runs prompts on the demo target; the records of its JSON lines."""
        code, out, err = lever("run", "--temp", 0, *([] if "-n" in args else ["-n", 6]), "--json", *args)
        self.assertEqual(code, OK, err)
        return [json.loads(line) for line in out.splitlines()]

    def test_prompt_files_are_answered_one_by_one(self):
        files = sorted((ROOT / "bench/prompts").glob("*.jsonl"))
        self.assertEqual([f.stem for f in files], ["chat", "code", "math", "story"])
        records = self.prompts("--prompts", ",".join(map(str, files)), "--limit", 2)
        self.assertEqual({r["kind"] for r in records}, {f.stem for f in files})
        self.assertTrue(all(r["text"] and 0 < r["stats"]["new_tokens"] <= 6 for r in records))
        alone = self.prompts("--prompts", files[3], "--limit", 2)
        self.assertEqual([r["text"] for r in alone], [r["text"] for r in records if r["kind"] == "story"])
        second = [r for r in records if r["kind"] == "chat" and r["turn"] == 1]
        self.assertTrue(second and all(r["stats"]["prompt_tokens"] > 10 for r in second))

    def test_our_prompts_are_complete(self):
        for f in (ROOT / "bench/prompts").glob("*.jsonl"):
            records = [json.loads(line) for line in f.read_text().splitlines()]
            self.assertGreaterEqual(len(records), 25, f)
            self.assertEqual(len({r["id"] for r in records}), len(records), f)
            self.assertEqual({r["kind"] for r in records}, {f.stem})

    @unittest.skipUnless(SHARED.exists(), "needs the shared test material")
    def test_the_benchmarks_own_files_are_read(self):
        for name, kind in (
            ("human-eval/HumanEval.jsonl.gz", "code"),
            ("mbpp/mbpp.jsonl", "code"),
            ("gsm8k/test.jsonl", "math"),
            ("spec-bench/question.jsonl", "writing"),
        ):
            records = self.prompts("--prompts", SHARED / "prompts" / name, "--limit", 1)
            self.assertEqual(records[0]["kind"], kind)

    def test_a_prompt_that_does_not_fit_is_reported_and_the_rest_answered(self):
        path = WORK / "long.jsonl"
        path.write_text(json.dumps({"prompt": "word " * 900}) + "\n" + json.dumps({"prompt": "Once"}) + "\n")
        code, out, err = lever("run", "--prompts", path, "-c", 128, "-n", 4, "--json")
        self.assertEqual(code, LIMIT, err)
        records = [json.loads(line) for line in out.splitlines()]
        self.assertEqual(len(records), 2)
        self.assertIn("error", records[0])
        self.assertTrue(records[1]["text"])
        self.assertIn("left out", err)

    def test_messages_need_a_known_chat_template(self):
        path = WORK / "turns.jsonl"
        path.write_text(json.dumps({"turns": ["hello"]}) + "\n")
        code, _, err = lever("run", "-m", self.model, "--prompts", path, "-n", 3)
        self.assertEqual(code, UNSUP)
        self.assertIn("chat template", err)
        self.assertEqual(lever("run", "-m", self.model, "--prompts", path, "-n", 3, "--raw")[0], OK)

    def test_grow_writes_a_model_of_the_shape_with_the_same_text(self):
        big = WORK / "grown.gguf"
        code, out, err = lever("grow", self.model, big, "embd=256,layers=6,ff=512,vocab=1000", "--type", "Q8_0")
        self.assertEqual(code, OK, err)
        self.assertIn(b"bit for bit", out)
        run = ("-p", "once upon", "-n", 30, "--temp", 0)
        self.assertEqual(lever("run", "-m", big, *run)[1], lever("run", "-m", self.model, *run)[1])
        self.assertEqual(lever("run", "-m", big, "-md", self.model, *run)[0], OK)
        self.assertIn(b"grown to the shape of", lever("inspect", big)[1])

    def test_the_grown_demo_target_writes_the_same_text_for_twenty_prompts(self):
        limit, n = (1, 16) if SANITIZED else (5, 256)
        big = WORK / "grown-demo.gguf"
        small = ROOT / "models/lever-demo-target.Q8_0.gguf"
        code, out, err = lever("grow", small, big, "embd=1024,layers=18,heads=8,kv-heads=4,ff=2048,vocab=9000")
        self.assertEqual(code, OK, err)
        self.assertIn(b"bit for bit", out)
        files = ",".join(str(ROOT / f"bench/prompts/{k}.jsonl") for k in ("code", "math", "chat", "story"))
        options = ["--prompts", files, "--limit", limit, "-n", n, "--ignore-eos", "-c", 1024]
        draft = ["-md", ROOT / "models/lever-demo-draft.Q8_0.gguf"]
        want = self.prompts("-m", small, *draft, *options)
        got = self.prompts("-m", big, *draft, *options, "--mem", "200MiB")
        big.unlink()
        self.assertGreaterEqual(len(want), 4 * limit)
        for a, b in zip(want, got):
            self.assertEqual((a["id"], a["turn"], a["text"]), (b["id"], b["turn"], b["text"]))
            self.assertGreaterEqual(b["stats"]["new_tokens"], min(n, 200))

    def test_grow_refuses_by_name_and_leaves_no_file(self):
        big = WORK / "not-grown.gguf"
        for args, code in (
            ((self.model, big, "embd=32"), USAGE),
            ((self.model, big, "qwen9-8b"), USAGE),
            ((self.model, big, "layers=6", "--type", "Q9"), USAGE),
            ((self.model, big), USAGE),
            ((self.model, self.model, "layers=6"), USAGE),
            ((WORK / "missing.gguf", big, "layers=6"), IO),
            ((self.model, WORK / "no/such/folder.gguf", "layers=6"), IO),
        ):
            got, out, err = lever("grow", *args)
            self.assertEqual((got, out), (code, b""), err)
            self.assertFalse(big.exists())
            self.assertTrue(err.startswith("lever: "))

    def test_prompt_longer_than_the_context_is_refused(self):
        code, _, err = lever("run", "-m", self.model, "-c", 32, "-p", "word " * 200)
        self.assertEqual(code, LIMIT, err)
        self.assertIn("32", err)

    def test_invalid_utf8_prompt_is_continued(self):
        out, _ = self.run_ok("-m", self.model, "-n", 4, "--temp", 0, stdin=b"\xff\xfe\x80 abc \xe2\x82")
        self.assertTrue(out.startswith(b"\xff\xfe\x80 abc \xe2\x82"))

    # ---- memory

    def plan(self, *args, model=None):
        code, out, err = lever("inspect", model or self.model, "--json", *args)
        self.assertEqual(code, OK, err)
        return json.loads(out)["plan"]

    def test_limit_too_small_says_how_much_is_needed_and_that_works(self):
        code, out, err = lever("run", "-m", self.model, "--mem", "100KiB", "-c", 64, "-p", "x")
        self.assertEqual((code, out), (LIMIT, b""), err)
        self.assertRegex(err, r"need")
        needed = self.plan("--mem", "100KiB", "-c", 64)["needed_bytes"]
        self.run_ok("-m", self.model, "--mem", needed, "-c", 64, "-p", "x", "-n", 3)
        self.assertEqual(lever("run", "-m", self.model, "--mem", needed - 1, "-c", 64, "-p", "x")[0], LIMIT)

    def peak_rss(self, *args, command="run"):
        """Peak resident set of a run, as the kernel saw it."""
        pid = os.fork()
        if pid == 0:
            null = os.open(os.devnull, os.O_RDWR)
            for fd in (0, 1, 2):
                os.dup2(null, fd)
            os.execv(LEVER, [LEVER, command, *map(str, args)])
        _, status, usage = os.wait4(pid, 0)
        self.assertEqual(os.waitstatus_to_exitcode(status), OK)
        return usage.ru_maxrss * 1024

    @unittest.skipIf(SANITIZED, "sanitizers use memory of their own")
    def test_peak_memory_stays_in_the_limit_with_a_model_four_times_as_large(self):
        big = make(
            "big.gguf",
            "--arch",
            "llama",
            "--type",
            "Q8_0",
            "--embd",
            1024,
            "--layers",
            12,
            "--ff",
            2816,
            "--heads",
            16,
            "--kv-heads",
            4,
            "--head-dim",
            64,
            "--vocab",
            2048,
        )
        size = big.stat().st_size
        limit = size // 4
        self.assertGreater(size, 100 * MIB)
        for extra in ([], ["--io", "pool"], ["--no-pin"]):
            peak = self.peak_rss(
                "-m", big, "--mem", limit, "-c", 512, "-p", "a b c " * 60, "-n", 6, "--temp", 0, *extra
            )
            self.assertLessEqual(peak, limit + 16 * MIB, extra)  # what the project promises at the least
            self.assertLessEqual(peak, limit, extra)  # what it is built to do
        text = self.story("memory.txt", 1)
        for extra in (["-md", big, "--mem", size + limit], ["--mem", limit]):
            peak = self.peak_rss("-m", big, *extra, "--text", text, "-c", 48, "--limit", 1, command="eval")
            self.assertLessEqual(peak, int(extra[-1]), extra)

    @unittest.skipIf(os.environ.get("LEVER_SANITIZED"), "sanitizers use memory of their own")
    def test_peak_memory_of_the_demo_pair_with_a_full_context(self):
        code, out, err = lever("inspect", ROOT / "models/lever-demo-target.Q8_0.gguf", "--json", "-c", 512,
                               "-md", ROOT / "models/lever-demo-draft.Q8_0.gguf", "--mem", 1)
        self.assertEqual(code, OK, err)
        needed = json.loads(out)["plan"]["needed_bytes"]
        text = self.story("memory20.txt", 20)
        for limit in (needed + MIB, needed + 3 * MIB):
            # The program's own count: that of wait4 begins with the Python process it was forked from.
            common = ("--mem", limit, "-c", 512, "-t", 2, "--json")
            out, _ = self.run_ok(*common, "-p", "Once", "-n", 0, "--ignore-eos")
            self.assertLessEqual(json.loads(out)["stats"]["peak_rss_bytes"], limit)
            r = self.eval_json(*common[:-1], "--text", text, "--limit", 3)
            self.assertLessEqual(r["stats"]["peak_rss_bytes"], limit)

    # ---- evaluation

    def story(self, name, n):
        """A text file of n slightly different paragraphs, about 90 words each."""
        names = "Anna Ben Clara David Emma Finn Greta Hugo".split()
        text = ""
        for i in range(n):
            who, other = names[i % 8], names[(i * 3 + 1) % 8]
            text += (
                f"Once upon a time there was a child called {who} who lived in a small house near the sea. "
                f"Every morning {who} went down to the water to look for shells, and on day {i} there was "
                f"something new in the sand: a box with a lock. {who} ran to {other}, and together they "
                f"tried {i % 5 + 2} keys until one of them turned. Inside lay a letter. 'What does it say?' "
                f"asked {other}. They read it twice, laughed, and carried the box home before it got dark.\n\n"
            )
        path = WORK / name
        path.write_text(text)
        return path

    def eval_json(self, *args, **kw):
        code, out, err = lever("eval", "--json", *args, **kw)
        self.assertEqual((code, err), (OK, ""))
        return json.loads(out)

    def test_eval_of_the_demo_pair(self):
        text = self.story("story.txt", 12)
        r = self.eval_json("--text", text)
        key_values = json.loads(lever("inspect", ROOT / "models/lever-demo-target.Q8_0.gguf", "--json")[1])["keys"]
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
        alone = self.eval_json("--text", "/dev/stdin", "-m", self.model, "-c", 100, "--limit", 3,
                               stdin=text.read_bytes())
        self.assertNotIn("draft", alone)
        self.assertEqual(alone["perplexity"], want["perplexity"])

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
        args = ("--text", text, "-m", self.model, "-c", 64, "--no-pin", "--io", "sim", "-b", 16, "--json")
        code, out, err = lever("eval", *args, env={"LEVER_SIM_FAIL_AT": "400"})
        self.assertEqual(code, IO, err)
        self.assertIn("small.gguf", err)
        r = json.loads(out)
        self.assertEqual((r["stop"], r["error"]["code"]), ("error", "LEVER_EIO"))
        self.assertTrue(r["scored_tokens"] > 0 and r["perplexity"] > 1)

    def test_ctrl_c_ends_an_evaluation_with_what_was_scored(self):
        text = self.story("long.txt", 400)
        main, terminal = pty.openpty()
        command = [LEVER, "eval", "--text", text, "-m", self.model, "--isa", "ref", "-t", "1", "--json"]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=terminal) as p:
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

    # ---- things that break on the way

    def test_failing_flash_gives_no_wrong_token(self):
        needed = self.plan("--mem", "1", "-c", 128)["needed_bytes"]
        common = [
            "-m",
            self.model,
            "--mem",
            needed,
            "-c",
            128,
            "-p",
            "abc",
            "-n",
            30,
            "--temp",
            0,
            "--ignore-eos",
        ]
        good, _ = self.run_ok(*common)
        for at in (0, 5, 40, 90):
            code, out, err = lever("run", *common, "--io", "sim", env={"LEVER_SIM_FAIL_AT": str(at)})
            self.assertEqual(code, IO, (at, err))
            self.assertIn("small.gguf", err)
            self.assertTrue(good.startswith(out.rstrip(b"\n")), (at, out))

    def test_full_disk_on_output(self):
        with open("/dev/full", "wb") as full:
            code, _, err = lever("run", "-m", self.model, "-p", "x", "-n", 5, stdout=full)
        self.assertEqual(code, IO, err)
        self.assertIn("No space left", err)

    def test_closed_reader_ends_the_run(self):
        r, w = os.pipe()
        os.close(r)
        with os.fdopen(w, "wb") as closed:
            code, _, err = lever("run", "-m", self.model, "-p", "x", "-n", 5, stdout=closed)
        self.assertEqual(code, IO, err)

    def test_quantize_on_a_full_disk_leaves_no_file(self):
        small = WORK / "tiny_fs"
        small.mkdir(exist_ok=True)
        if subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "lever-test", str(small)], stderr=subprocess.DEVNULL
        ).returncode:
            self.skipTest("mounting a small file system is not permitted here")
        try:
            code, _, err = lever("quantize", self.model, small / "o.gguf", "F16")
            self.assertEqual(code, IO, err)
            self.assertIn("No space left", err)
            self.assertEqual(list(small.iterdir()), [])
        finally:
            subprocess.run(["umount", str(small)], check=True)

    def test_quantize_refuses_bad_types_and_its_own_input(self):
        self.assertEqual(lever("quantize", self.model, WORK / "o.gguf", "Q9_9")[0], USAGE)
        copy = WORK / "self.gguf"
        shutil.copy(self.model, copy)
        before = copy.read_bytes()
        self.assertEqual(lever("quantize", copy, copy, "Q4_0")[0], USAGE)
        self.assertEqual(copy.read_bytes(), before)

    def test_quantize_lists_the_types_it_knows(self):
        code, _, err = lever("quantize", self.model, WORK / "o.gguf", "Q9_9")
        self.assertEqual(code, USAGE)
        self.assertIn("F32, F16, Q4_0, Q4_1,", err)
        self.assertIn("IQ4_XS, BF16, MXFP4", err)

    def test_rows_that_are_not_whole_blocks_keep_their_type(self):
        model = make("k.gguf", "--type", "F16", "--layers", 2, "--embd", 256, "--ff", 160, "--vocab", 400)
        out = WORK / "k-q4.gguf"
        code, _, err = lever("quantize", model, out, "q4_k")
        self.assertEqual(code, OK, err)
        self.assertIn("their rows are not whole blocks of q4_k: 2 (the first", err)
        self.assertIn("blk.0.ffn_down.weight, 160 columns, F16", err)
        tensors = {t["name"]: t for t in json.loads(lever("inspect", out, "--json")[1])["tensors"]}
        self.assertEqual(tensors["blk.1.ffn_down.weight"]["type"], "F16")
        self.assertEqual(tensors["blk.1.ffn_up.weight"]["type"], "Q4_K")
        code, _, err = lever("run", "-m", out, "-p", "abc", "-n", 1)
        self.assertEqual(code, OK, err)

    def test_quantized_copies_run(self):
        wide = make("wide.gguf", "--type", "F16", "--layers", 2, "--embd", 256, "--ff", 512, "--vocab", 400)
        in_32 = "F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 IQ4_NL MXFP4".split()
        for kind in in_32 + "Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_XS".split():
            out = WORK / f"copy-{kind}.gguf"
            code, _, err = lever("quantize", self.model if kind in in_32 else wide, out, kind)
            self.assertEqual(code, OK, err)
            self.run_ok("-m", out, "-p", "abc", "-n", 4)
            self.assertIn(kind, lever("inspect", out)[1].decode())

    def test_ctrl_c_ends_with_the_text_so_far_and_statistics(self):
        p = subprocess.Popen(
            [
                LEVER,
                "run",
                "-m",
                str(self.model),
                "-c",
                "4096",
                "-n",
                "0",
                "-p",
                "abc",
                "--ignore-eos",
                "--isa",
                "ref",
                "-t",
                "1",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        got = p.stdout.read(8)  # it is decoding
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=30)
        self.assertEqual(p.returncode, CANCEL, err)
        self.assertIn(b"tokens/s", err)
        self.assertIn(b"cancel", err)
        self.assertTrue((got + out).startswith(b"abc"))

    def test_hostile_names_do_not_reach_the_terminal(self):
        data = self.model.read_bytes()
        evil = data.replace(b"general.name", b"general.\x1b[2J", 1)
        if evil == data:
            evil = data.replace(b"qwen3.block_count", b"qwen3.block\x1b[2Jx", 1)
        path = WORK / "evil.gguf"
        path.write_bytes(evil)
        code, out, err = lever("inspect", path)
        self.assertNotIn(b"\x1b", out)
        self.assertNotIn("\x1b", err)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]], verbosity=1)
