#!/usr/bin/env python3
"""What makes and feeds models, as a black box: quantize, grow, files of prompts. Standard library only.

usage: test_models.py LEVER MKMODEL WORK_DIR [unittest options]
SPDX-License-Identifier: MIT
"""

import json
import pathlib
import shutil
import subprocess
import sys
import unittest

from cli import WORK, ROOT, SANITIZED, SHARED, OK, USAGE, IO, UNSUP, LIMIT, lever, make, CliTest


class Models(CliTest):
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
        code, out, err = lever(
            "grow", self.model, big, "embd=256,layers=6,ff=512,vocab=1000", "--type", "Q8_0"
        )
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
        code, out, err = lever(
            "grow", small, big, "embd=1024,layers=18,heads=8,kv-heads=4,ff=2048,vocab=9000"
        )
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

    def test_profile_is_kept_and_used(self):
        big, cache = WORK / "zeros.bin", WORK / "profile-cache"
        with open(big, "wb") as f:
            f.truncate(64 << 20)
        env = {"XDG_CACHE_HOME": str(cache)}
        measure = ("profile", "--time", 0.5, "--types", "Q8_0", "--json")
        code, out, err = lever(*measure, "--file", big, env=env)
        self.assertEqual(code, OK, err)
        machine = json.loads(out)
        self.assertEqual([d["kind"] for d in machine["devices"]], ["cpu"])
        self.assertEqual([q["type"] for q in machine["devices"][0]["products"]], ["Q8_0"])
        (p,) = self.the_machine_is_kept(measure, big, env)["flash"].values()
        self.assertTrue(0 <= p["best"] < len(p["points"]))
        big.unlink()
        if not p["direct"]:  # nothing was measured of reads that is worth keeping
            return
        kept = cache / "lever/profile.json"
        best = p["points"][p["best"]]
        (entry,) = json.loads(kept.read_text())["flash"].values()
        self.assertEqual((entry["block_bytes"], entry["depth"]), (best["block_bytes"], best["depth"]))
        want, _ = self.run_ok("-m", self.model, "-p", "abc", "-n", 8, "--temp", 0, "--no-pin", "-q")
        got, err = self.run_ok("-m", self.model, "-p", "abc", "-n", 8, "--temp", 0, "--no-pin", "-q", env=env)
        self.assertEqual((got, err), (want, ""))
        for damage in ("{", "[]", '{"version": 9, "flash": {}}', '{"version": 1, "flash": 3}'):
            kept.write_text(damage)
            got, err = self.run_ok(
                "-m", self.model, "-p", "abc", "-n", 8, "--temp", 0, "--no-pin", "-q", env=env
            )
            self.assertEqual(got, want)
            self.assertIn("damaged", err)
        code, out, err = lever(*measure, "-m", WORK / "absent", env=env)
        self.assertEqual((code, out), (IO, b""))
        self.assertIn("absent", err)
        code, out, err = lever("profile", "--dir", WORK / "absent", env=env)
        self.assertEqual(code, IO, err)

    def the_machine_is_kept(self, measure, file, env):
        """Shown and not measured again; not used with other threads; models are measured beside it. Returns the last
        measurement."""
        kept = pathlib.Path(env["XDG_CACHE_HOME"]) / "lever/profile.json"
        code, shown, err = lever("profile", "--show", "--json", env=env)
        self.assertEqual((code, err), (OK, ""))
        before = kept.read_bytes()
        code, out, err = lever(*measure, "--file", file, "--if-stale", env=env)
        self.assertEqual((code, kept.read_bytes()), (OK, before), err)
        code, out, err = lever("profile", "--show", "-t", 7, env=env)
        self.assertEqual(code, OK)
        self.assertIn("7 threads", err)
        run = ("-m", self.model, "-md", self.draft, "-p", "abc", "-n", 8, "--temp", 0, "-q", "--no-learn")
        want, _ = self.run_ok(*run)
        self.assertEqual(self.run_ok(*run, env=env), (want, ""))
        got, err = self.run_ok(*run, "-t", 7, env=env)
        self.assertEqual(got, want)
        self.assertIn("7 threads", err)
        models = ("-m", self.model, "-md", self.draft, "--file", file, "--mem", "64MiB")
        code, out, err = lever(*measure, *models, env=env)
        self.assertEqual(code, OK, err)
        machine = json.loads(out)
        self.assertEqual([m["name"] for m in machine["models"]], [self.model.name, self.draft.name])
        self.assertEqual(machine["models"][0]["rows"][0], 1)
        whole = kept.read_text()
        code, out, err = lever(*measure, *models, "--if-stale", env=env)
        self.assertEqual((code, kept.read_text()), (OK, whole), err)
        self.assertEqual({m["way"] for m in machine["models"]}, {2})
        kept.write_text(whole.replace('"way": 2', '"way": 0'))  # as another version measured them
        code, out, err = lever(*measure, *models, "--if-stale", env=env)
        machine = json.loads(out)
        self.assertEqual([m["way"] for m in machine["models"]], [2, 2], err)
        code, out, err = lever("profile", "--show", env=env)
        self.assertIn(self.model.name, out.decode())
        self.assertEqual(self.run_ok(*run, env=env), (want, ""))
        return machine

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


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]], verbosity=1)
