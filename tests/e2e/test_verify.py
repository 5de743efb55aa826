#!/usr/bin/env python3
"""lever run and bench with --verify as a black box. Standard library only.

usage: test_verify.py LEVER MKMODEL WORK_DIR [unittest options]
SPDX-License-Identifier: MIT
"""

import csv
import json
import sys
import unittest

from cli import WORK, MIB, SANITIZED, OK, USAGE, LIMIT, lever, CliTest

RULES = ("specinfer", "sequoia", "traversal")
DRAWING = ("chain:3", "tree:2,2", "specinfer:1,2,1", "sequoia:6")
CHOOSING = ("eagle2", "opttree", "specexec", "edgellm", "lever", "lookup")


class Verify(CliTest):
    def run_json(self, *args):
        common = (
            "-m",
            self.model,
            "-md",
            self.draft,
            "-c",
            128,
            "-p",
            "abc abc",
            "-n",
            30,
            "--ignore-eos",
            "--json",
        )
        out, err = self.run_ok(*common, *args)
        self.assertEqual(err, "")
        return json.loads(out)

    def test_every_rule_gives_a_text_that_depends_on_the_seed(self):
        for rule in RULES:
            for policy in DRAWING:
                args = ("--verify", rule, "--policy", policy)
                r = self.run_json(*args, "--seed", 4)
                self.assertEqual((len(r["tokens"]), r["engine"]["verify"]), (30, rule))
                self.assertGreater(r["stats"]["drafted"], 0)
                self.assertEqual(self.run_json(*args, "--seed", 4)["tokens"], r["tokens"])
                self.assertNotEqual(self.run_json(*args, "--seed", 5)["tokens"], r["tokens"])

    def test_match_is_the_default_and_all_there_is_at_temperature_0(self):
        plain = self.run_json()
        self.assertEqual(plain["engine"]["verify"], "match")
        self.assertEqual(self.run_json("--verify", "match", "--check", 30)["tokens"], plain["tokens"])
        greedy = self.run_json("--temp", 0)["tokens"]
        for rule in RULES:
            self.assertNotEqual(self.run_json("--verify", rule)["tokens"], plain["tokens"])
            self.assertEqual(self.run_json("--verify", rule, "--policy", "none")["tokens"], plain["tokens"])
            r = self.run_json("--verify", rule, "--temp", 0, "--check", 30)
            self.assertEqual((r["tokens"], r["check"]["equal"]), (greedy, 30))

    def refused(self, *args, command="run"):
        code, out, err = lever(command, "-m", self.model, "-md", self.draft, "-c", 128, *args)
        self.assertEqual((code, out), (USAGE, b""), err)
        return err

    def test_what_a_rule_can_not_do_is_refused_with_what_can(self):
        for rule in RULES:
            for policy in CHOOSING:
                err = self.refused("-p", "abc", "--verify", rule, "--policy", policy)
                for word in (rule, policy, "none, chain, tree, specinfer, sequoia", "--verify match"):
                    self.assertIn(word, err)
            for k in (0, 257):
                self.assertIn("from 1 to 256", self.refused("-p", "abc", "--verify", rule, "--top-k", k))
            self.assertIn("--check", self.refused("-p", "abc", "--verify", rule, "--check", 3))
        self.assertIn("replacement", self.refused("-p", "a", "--verify", "specinfer", "--policy", "dyspec:4"))
        self.assertIn("traversal", self.refused("-p", "abc", "--verify", "typical"))

    @unittest.skipIf(SANITIZED, "sanitizers need memory of their own")
    def test_a_rule_keeps_to_the_limit(self):
        args = ("--policy", "sequoia:100,8", "--verify", "traversal")
        common = ("-m", self.model, "-md", self.draft, "-c", 128, "-p", "a")
        code, _, err = lever("run", *common, *args, "--mem", MIB)
        self.assertEqual(code, LIMIT)
        least = int(err.split("at least ")[1].split()[0])
        stats = self.run_json(*args, "--mem", least)["stats"]
        self.assertLessEqual(stats["peak_rss_bytes"], least)

    # ---- bench

    def bench(self, *args, code=OK):
        path = WORK / "verify.jsonl"
        path.write_text("".join(json.dumps({"id": f"p{i}", "prompt": f"abc {i}"}) + "\n" for i in range(2)))
        common = ("-m", self.model, "-md", self.draft, "-c", 128, "-n", 12, "--temp", 0.8, "--ignore-eos")
        policies = ("--policies", "chain:3;tree:2,2")
        got, out, err = lever("bench", *common, *policies, "--prompts", path, *args)
        self.assertEqual(got, code, err)
        return out.decode(), err

    def test_the_rule_is_a_column_and_rows_of_another_are_not_taken_over(self):
        path = WORK / "rules.csv"
        path.unlink(missing_ok=True)
        for i, rule in enumerate(("match", *RULES)):
            out, _ = self.bench("--csv", path, "--resume", "--verify", rule, "--json")
            r = json.loads(out)
            self.assertEqual((r["verify"], r["measured"], r["resumed"]), (rule, 4, 0))
            self.assertEqual({row["verify"] for row in r["rows"]}, {rule})
            with open(path, newline="", encoding="utf-8") as f:
                self.assertEqual([row["verify"] for row in csv.DictReader(f)][4 * i :], [rule] * 4)
        again = json.loads(self.bench("--csv", path, "--resume", "--json")[0])  # without the option: match
        self.assertEqual((again["measured"], again["resumed"]), (0, 4))
        texts = {row["text_hash"] for row in r["rows"] if row["prompt"] == "p0"}
        self.assertEqual(len(texts), 2)  # traversal: every policy has a text of its own
        out, _ = self.bench("--verify", "traversal")
        self.assertIn("verified by traversal", out)

    def test_a_policy_that_chooses_is_refused_before_anything_is_measured(self):
        for policy in CHOOSING:
            err = self.bench("--policies", f"none;{policy}", "--verify", "sequoia", code=USAGE)[1]
            self.assertIn(policy, err)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]], verbosity=1)
