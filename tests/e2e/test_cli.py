#!/usr/bin/env python3
"""The lever program as a black box: exit codes, messages, limits, interrupts. Standard library only.

usage: test_cli.py LEVER MKMODEL WORK_DIR [unittest options]
SPDX-License-Identifier: MIT
"""

import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import unittest

from cli import (
    LEVER,
    WORK,
    MIB,
    ROOT,
    SANITIZED,
    OK,
    OTHER,
    USAGE,
    IO,
    FORMAT,
    UNSUP,
    LIMIT,
    CHECK,
    CANCEL,
    lever,
    make,
    CliTest,
)


class Cli(CliTest):
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

    def test_trace_shows_reads_layers_and_cycles(self):
        path = WORK / "trace.json"
        out, _ = self.run_ok(
            "-m",
            self.model,
            "-md",
            self.draft,
            "--draft",
            "chain:3",
            "--no-pin",
            "-c",
            64,
            "-p",
            "abc abc",
            "-n",
            12,
            "--ignore-eos",
            "--temp",
            0,
            "--json",
            "--trace",
            path,
        )
        stats = json.loads(out)["stats"]
        events = json.loads(path.read_text())
        tracks = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
        done = [e for e in events if e["ph"] == "X"]
        cycles = [e for e in done if e["name"] == "cycle"]
        self.assertEqual(len(cycles), stats["cycles"] + stats["prefill_sweeps"])
        for e in done:  # what target and draft do lies within a cycle
            self.assertGreaterEqual(e["dur"], 0)
            inside = any(
                c["ts"] - 1 <= e["ts"] and e["ts"] + e["dur"] <= c["ts"] + c["dur"] + 1 for c in cycles
            )
            self.assertTrue(inside, e)
        layers = [e for e in done if e["name"] == "layer" and tracks[e["tid"]] == "target"]
        self.assertEqual(len(layers), 4 * len(cycles))
        begins = {e["id"]: e for e in events if e["ph"] == "b"}
        ends = {e["id"]: e for e in events if e["ph"] == "e"}
        self.assertEqual(begins.keys(), ends.keys())
        self.assertTrue(all(begins[i]["ts"] <= ends[i]["ts"] for i in begins))
        self.assertGreaterEqual(sum(e["args"]["bytes"] for e in begins.values()), stats["flash_bytes"] * 0.9)
        code, _, err = lever(
            "run", "-m", self.model, "-p", "x", "-n", 1, "--trace", WORK / "no" / "trace.json"
        )
        self.assertEqual(code, IO)
        self.assertIn("trace", err)
        code, _, err = lever("run", "-m", self.model, "-p", "x", "-n", 1, "--trace", "/dev/full")
        self.assertEqual(code, IO)
        self.assertIn("No space left", err)

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

    def test_every_policy_gives_the_same_text_and_help_and_errors_list_it(self):
        names = "none chain tree specinfer sequoia eagle2 opttree specexec dyspec edgellm lookup".split()
        settings = {"tree": ":3,2", "sequoia": ":12", "eagle2": ":4,3,12", "specexec": ":12", "dyspec": ":12"}
        options = ["-m", self.model, "-p", "abc abc abc", "-n", 16, "--ignore-eos", "--json"]
        want = json.loads(self.run_ok(*options)[0])["tokens"]
        page = lever("run", "--help")[1].decode()
        code, _, err = lever("run", *options, "--policy", "zigzag")
        self.assertEqual(code, USAGE)
        for name in names:
            draft = ["-md", self.draft] if name not in ("none", "lookup") else []
            policy = name + settings.get(name, "")
            out, _ = self.run_ok(*options, *draft, "--policy", policy)
            report = json.loads(out)
            self.assertEqual(report["tokens"], want, policy)
            self.assertEqual(report["engine"]["policy"], policy)
            self.assertIn(name, err)
            self.assertIn(name, page)

    def test_what_was_learnt_is_kept_unless_told_not_to_and_damage_does_no_harm(self):
        cache = WORK / "learn-cache"
        shutil.rmtree(cache, ignore_errors=True)
        env = {"XDG_CACHE_HOME": str(cache)}
        args = ["-m", self.model, "-md", self.draft, "-p", "abc", "-n", 40, "--temp", 0, "-q", "--ignore-eos"]
        text, _ = self.run_ok(*args, "--no-learn", env=env)
        self.assertFalse(cache.exists())
        for _ in range(2):
            self.assertEqual(self.run_ok(*args, env=env)[0], text)
        (kept,) = (cache / "lever").iterdir()
        good = kept.read_bytes()
        for bad in (b"", good[:50], bytes(len(good)), good[:-1] + b"x"):
            kept.write_bytes(bad)
            out, err = self.run_ok(*args, env=env)
            self.assertEqual((out, err), (text, ""))
            self.assertEqual(len(kept.read_bytes()), len(good))  # written anew
        env["XDG_CACHE_HOME"] = "/proc/nowhere"
        self.assertEqual(self.run_ok(*args, env=env), (text, ""))

    def test_without_a_policy_the_best_that_fits_is_taken(self):
        args = ["-m", self.model, "-md", self.draft, "-p", "abc", "-n", 8, "-c", 256, "--json", "--no-learn"]
        policy = lambda *more: json.loads(self.run_ok(*args, *more)[0])["engine"]["policy"]
        self.assertEqual(policy(), "lever")
        code, _, err = lever("run", *args, "--mem", "1MiB")
        self.assertEqual(code, LIMIT)
        least = int(re.search(r"at least (\d+) bytes", err)[1])
        self.assertEqual(policy("--mem", least), "chain:8")

    def test_draft_with_other_vocabulary_is_refused(self):
        other = ROOT / "models/lever-demo-draft.Q8_0.gguf"
        code, _, err = lever("run", "-m", self.model, "-md", other, "-p", "x")
        self.assertEqual(code, USAGE, err)
        self.assertIn("the vocabularies have 273 and", err)

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

    def test_inspect_says_what_sweeps_read_or_what_is_missing(self):
        said = {}
        demo = ROOT / "models/lever-demo-target.Q8_0.gguf"
        for mem in ("1MiB", "26MiB", "1GiB"):
            code, out, err = lever("inspect", demo, "--mem", mem)
            self.assertEqual(code, OK, err)
            words = ("does not fit", "each sweep reads", "each sweep reads 0 B", "texts of up to 256 tokens")
            said[mem] = [w in out.decode() for w in words]
        self.assertEqual(said["1MiB"], [True, False, False, False])
        self.assertEqual(said["26MiB"], [False, True, False, True])
        self.assertEqual(said["1GiB"], [False, True, True, False])
        plan = self.plan("--mem", "26MiB", model=demo)
        self.assertTrue(0 < plan["lent_bytes"] < plan["streamed_bytes"])

    def test_limit_too_small_says_how_much_is_needed_and_that_works(self):
        code, out, err = lever("run", "-m", self.model, "--mem", "100KiB", "-c", 64, "-p", "x")
        self.assertEqual((code, out), (LIMIT, b""), err)
        self.assertRegex(err, r"need")
        needed = self.plan("--mem", "100KiB", "-c", 64)["needed_bytes"]
        self.run_ok("-m", self.model, "--mem", needed, "-c", 64, "-p", "x", "-n", 3)
        self.assertEqual(lever("run", "-m", self.model, "--mem", needed - 1, "-c", 64, "-p", "x")[0], LIMIT)

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
        code, out, err = lever(
            "inspect",
            ROOT / "models/lever-demo-target.Q8_0.gguf",
            "--json",
            "-c",
            512,
            "-md",
            ROOT / "models/lever-demo-draft.Q8_0.gguf",
            "--mem",
            1,
        )
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
            code, out, err = lever("run", *common, env={"LEVER_IO_FAULTS": f"first={at},error=EIO"})
            self.assertEqual(code, IO, (at, err))
            self.assertIn("small.gguf", err)
            self.assertTrue(good.startswith(out.rstrip(b"\n")), (at, out))

    # ---- checksums

    def copy_with_sums(self, name):
        path = WORK / name
        path.write_bytes(self.model.read_bytes())
        code, out, err = lever("inspect", "--checksum", path)
        self.assertEqual((code, err), (OK, ""))
        self.assertIn(f"{name}.sums", out.decode())
        return path

    def tensors(self, path):
        return json.loads(lever("inspect", "--json", path)[1])["tensors"]

    def flip(self, path, at):
        data = bytearray(path.read_bytes())
        data[at] ^= 32
        path.write_bytes(data)

    def verify(self, path):
        code, out, err = lever("inspect", "--verify", "--json", path)
        self.assertEqual(err, "")
        return code, json.loads(out)

    def test_verify_tells_damaged_tensors_and_offsets(self):
        path = self.copy_with_sums("sums.gguf")
        self.assertFalse((WORK / "sums.gguf.sums.part").exists())
        code, out, _ = lever("inspect", "--verify", path)
        self.assertEqual(code, OK)
        self.assertIn(b"undamaged", out)
        code, report = self.verify(path)
        self.assertEqual((code, report["damaged"], report["damage"]), (OK, False, []))
        hit = self.tensors(path)[3]
        at = hit["offset"] + hit["bytes"] // 2
        self.flip(path, at)
        code, out, _ = lever("inspect", "--verify", path)
        self.assertEqual(code, CHECK)
        self.assertIn(hit["name"], out.decode())
        self.assertIn("1 of ", out.decode())
        code, report = self.verify(path)
        self.assertEqual((code, report["bad_tensors"], report["bad_pages"]), (CHECK, 1, 1))
        (place,) = report["damage"]
        self.assertEqual(place["in"], hit["name"])
        self.assertTrue(place["offset"] <= at < place["offset"] + place["bytes"])
        self.flip(path, at)
        self.flip(path, 30)  # in the header: the model may not even be readable
        code, report = self.verify(path)
        self.assertEqual((code, report["bad_header"], report["damage"][0]["in"]), (CHECK, True, "header"))

    def test_sums_that_are_missing_damaged_or_of_another_model(self):
        path = self.copy_with_sums("sums2.gguf")
        sums = WORK / "sums2.gguf.sums"
        good = sums.read_bytes()
        checks = (["inspect", "--verify", path], ["run", "-m", path, "--verify-reads", "-p", "x"])
        sums.unlink()
        for args in checks:
            code, out, err = lever(*args)
            self.assertEqual((code, out), (IO, b""), err)
            self.assertIn("lever inspect --checksum", err)
        for bad in (good[:-1], good[:70], b"", b"GGUF" + good[4:], good[:100] + b"?" + good[101:]):
            sums.write_bytes(bad)
            for args in checks:
                code, out, err = lever(*args)
                self.assertEqual((code, out), (FORMAT, b""), err)
                self.assertIn("sums2.gguf.sums", err)
        sums.write_bytes((self.copy_with_sums("sums3.gguf").parent / "sums3.gguf.sums").read_bytes())
        data = path.read_bytes()
        path.write_bytes(data + bytes(32))
        for args in checks:
            code, out, err = lever(*args)
            self.assertEqual((code, out), (USAGE, b""), err)
            for word in ("sums2.gguf", "sums3.gguf", f"{len(data)} bytes", f"{len(data) + 32} bytes"):
                self.assertIn(word, err)
        path.write_bytes(data[:-1])
        self.assertEqual(lever("inspect", "--verify", path)[0], USAGE)  # another name and another size
        sums.write_bytes(good)
        code, _, err = lever("inspect", "--verify", path)
        self.assertEqual(code, FORMAT)
        self.assertIn("cut off", err)
        self.assertEqual(lever("inspect", "--verify", "--checksum", path)[0], USAGE)
        self.assertEqual(lever("inspect", "--checksum", path)[0], FORMAT)
        self.assertEqual(sums.read_bytes(), good)

    def test_verify_reads_gives_the_same_text_and_stops_at_damage(self):
        path = self.copy_with_sums("sums4.gguf")
        needed = self.plan("--mem", "1", "-c", 128, "--verify-reads", model=path)["needed_bytes"]
        self.assertGreater(needed, self.plan("--mem", "1", "-c", 128, model=path)["needed_bytes"])
        common = ["-m", path, "-c", 128, "-p", "abc", "-n", 30, "--temp", 0, "--ignore-eos"]
        want, _ = self.run_ok(*common)
        streamed = ["--mem", needed, "--verify-reads"]
        no_pin = ["--verify-reads", "--no-pin", "-md", self.draft]
        for extra in (["--verify-reads"], no_pin, streamed, [*streamed, "--io", "pool"]):
            self.assertEqual(self.run_ok(*common, *extra)[0], want, extra)
        plan = self.plan("--mem", needed, "-c", 128, "--verify-reads", model=path)
        self.assertTrue(any("checksums" in line["label"] for line in plan["lines"]))
        for tensor in (t for t in self.tensors(path) if "token_embd" not in t["name"]):
            if not tensor["name"].startswith(("blk.0.", "blk.3.ffn", "output")):
                continue
            self.flip(path, tensor["offset"])
            for extra in (["--verify-reads"], streamed):
                code, out, err = lever("run", *common, *extra)
                self.assertEqual((code, out.strip() in (b"", b"abc")), (IO, True), (tensor["name"], err))
                self.assertIn("sums4.gguf", err)
                self.assertIn("differs from its checksum", err)
            self.flip(path, tensor["offset"])
        self.assertEqual(self.run_ok(*common, *streamed)[0], want)

    @unittest.skipIf(SANITIZED, "sanitizers use memory of their own")
    def test_peak_memory_stays_in_the_limit_when_reads_are_checked(self):
        shape = (
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
        )
        big = make("big.gguf", "--arch", "llama", "--type", "Q8_0", *shape, "--vocab", 2048)
        self.assertEqual(lever("inspect", "--checksum", big)[0], OK)
        limit = big.stat().st_size // 4
        peak = self.peak_rss(
            "-m", big, "--mem", limit, "-c", 512, "-p", "a b c " * 60, "-n", 6, "--temp", 0, "--verify-reads"
        )
        self.assertLessEqual(peak, limit)

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
