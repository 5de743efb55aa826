#!/usr/bin/env python3
"""`lever plan`, and `lever run` that follows it, on made-up machines.

SPDX-License-Identifier: MIT
"""

import json
import os
import shutil
import sys
import unittest

from cli import CliTest, IO, LIMIT, OK, ROOT, USAGE, WORK, lever

ROWS = (1, 2, 4, 8, 16, 32, 64, 128)
CACHE = WORK / "plan-cache"
ENV = {"XDG_CACHE_HOME": str(CACHE)}


def real_profile():
    """A quick profile of this machine with one thread: its numbers are replaced, its id is needed."""
    kept = WORK / "plan-real.json"
    if not kept.exists():
        env = {"XDG_CACHE_HOME": str(WORK / "plan-real")}
        model = ROOT / "models/lever-demo-draft.Q8_0.gguf"
        code, _, err = lever(
            "profile", "-m", model, "-t", 1, "--no-run", "--time", 0.2, "--types", "Q8_0", env=env
        )
        assert code in (OK, IO), err
        shutil.copy(WORK / "plan-real/lever/profile.json", kept)
    return json.loads(kept.read_text())


def made_up(target_ms, draft_ms, flash_bytes_s, row=0.05):
    """Milliseconds for a million weights of target and draft; what a further row costs of the first."""
    p = real_profile()
    m = p["machines"][0]
    for key, value in m["rest"].items():
        m["rest"][key] = [0] * len(value) if isinstance(value, list) else 0
    cpu = m["devices"][0]
    cpu.update(call_s=0, unified=True)
    curve = lambda ms: [ms * 1e-9 * (1 + row * (n - 1)) for n in ROWS]
    cpu["products"] = [
        {"type": "Q8_0", "weight_s": curve(target_ms), "pack_s": 0},
        {"type": "Q4_0", "weight_s": curve(draft_ms), "pack_s": 0},
    ]
    m["devices"], m["models"], m["beside"] = [cpu], [], []
    device = os.stat(CliTest.model).st_dev
    point = {"backend": "pool", "block_bytes": 65536, "depth": 2, "huge_pages": True}
    point.update(bytes_per_s=flash_bytes_s, cpu_share=0)
    where = f"{os.major(device)}:{os.minor(device)}"
    p["flash"] = {
        where: {
            "measured": m["measured"],
            "direct": True,
            "best": 0,
            "backend": "pool",
            "block_bytes": 65536,
            "depth": 2,
            "bytes_per_s": flash_bytes_s,
            "points": [point],
        }
    }
    return p


def keep(profile):
    (CACHE / "lever").mkdir(parents=True, exist_ok=True)
    text = profile if isinstance(profile, str) else json.dumps(profile)
    (CACHE / "lever/profile.json").write_text(text)


class PlanTest(CliTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        CliTest.model = cls.model

    def setUp(self):
        shutil.rmtree(CACHE, ignore_errors=True)
        self.pair = ["-m", self.model, "-md", self.draft, "-c", 128, "-t", 1]

    def plan(self, *args):
        code, out, err = lever("plan", *self.pair, *args, env=ENV)
        self.assertEqual(code, OK, err)
        return out.decode()

    def plan_json(self, *args):
        return json.loads(self.plan(*args, "--json"))["plans"]

    def run_json(self, *args):
        args = [*self.pair, "-p", "abc", "-n", 12, "--temp", 0, "--ignore-eos", "--no-learn", "--json", *args]
        out, err = self.run_ok(*args, env=ENV)
        return json.loads(out), err

    def least(self):
        """The smallest limit for the target alone, whose layers are then streamed."""
        code, out, _ = lever("inspect", self.model, "-c", 128, "-t", 1, "--mem", "1MiB", "--json", env=ENV)
        self.assertEqual(code, OK)
        return json.loads(out)["plan"]["needed_bytes"]

    def test_without_a_profile_it_says_how_to_get_one(self):
        code, out, err = lever("plan", *self.pair, env=ENV)
        self.assertEqual((code, out), (USAGE, b""))
        self.assertIn("lever profile", err)
        report, _ = self.run_json()
        self.assertEqual(report["engine"]["policy"], "lever")
        self.assertNotIn("advice", report["engine"])

    def test_the_table(self):
        keep(made_up(1000, 20, 1e7))
        out = self.plan("--mem", self.least() + (1 << 20), "--policies", "none;chain:2;chain:4;tree:2,2")
        lines = out.splitlines()
        self.assertTrue(all(len(line) <= 80 for line in lines), out)
        self.assertIn("acceptance assumed, not measured", lines[1])
        head = lines.index(next(x for x in lines if x.startswith("  configuration")))
        self.assertEqual(
            lines[head].split(), "configuration tokens/s tokens rows cycle bound memory read".split()
        )
        rows = [x[2:].split() for x in lines[head + 1 : head + 5]]
        self.assertEqual({r[0] for r in rows}, {"none", "chain:2", "chain:4", "tree:2,2"})
        speeds = [float(r[1]) for r in rows]
        self.assertEqual(speeds, sorted(speeds, reverse=True))
        self.assertEqual([x[0] for x in lines[head + 1 : head + 5]].count(">"), 1)
        self.assertTrue(lines[head + 1].startswith("> "))
        by_name = {r[0]: r for r in rows}
        # 0.70 and 0.73 of a usual pair, so 1 + p1 + p1 p2 tokens; 196.6 ms of layers and 25.6 ms of head for one
        # row, a twentieth more for each further one; the head for four nodes at once, so once for these two.
        self.assertEqual(by_name["none"][1:7], ["4.5", "1.00", "1.0", "222", "ms", "compute"])
        self.assertEqual(by_name["chain:2"][1:7], ["8.74", "2.21", "3.0", "253", "ms", "compute"])
        self.assertEqual(by_name["chain:4"][1:7], ["9.76", "2.84", "5.0", "291", "ms", "compute"])
        self.assertEqual(by_name["tree:2,2"][1:4], ["8.39", "2.47", "7.0"])

    def test_plain_decoding_is_what_its_parts_take(self):
        keep(made_up(1000, 20, 1e7))
        (plan,) = self.plan_json("--policies", "none;chain:1")
        none = next(c for c in plan["choices"] if c["policy"] == "none")
        # 4 layers of 64 x (128 + 2 x 64 + 128) + 3 x 64 x 128 weights, 1 s a million; the head has 400 x 64.
        weights = 4 * (64 * (128 + 2 * 64 + 128) + 3 * 64 * 128)
        self.assertEqual(none["streamed_bytes"], 0)
        self.assertAlmostEqual(none["sweep_s"], weights * 1e-6, delta=weights * 1e-6 * 0.001)
        self.assertAlmostEqual(none["project_s"], 400 * 64 * 1e-6, delta=400 * 64 * 1e-6 * 0.001)
        self.assertAlmostEqual(none["tokens_per_s"], 1 / (none["sweep_s"] + none["project_s"]), delta=1e-3)
        self.assertEqual(none["bound"], "compute")

    def test_a_slow_draft_is_not_used(self):
        keep(made_up(1000, 100000, 1e9))
        (plan,) = self.plan_json()
        self.assertFalse(plan["speculate"])
        self.assertEqual(plan["choices"][plan["best"]]["policy"], "none")
        self.assertIn("do not speculate: ", self.plan())
        with_draft, _ = self.run_json("--policy", "chain:2")
        report, _ = self.run_json()
        self.assertEqual(report["engine"]["policy"], "none")
        self.assertTrue(report["engine"]["advice"].startswith("do not speculate: "))
        self.assertEqual(report["stats"]["drafted"], 0)
        self.assertEqual(report["tokens"], with_draft["tokens"])
        self.assertNotIn("advice", with_draft["engine"])
        self.assertLess(report["engine"]["planned_bytes"], with_draft["engine"]["planned_bytes"])
        _, err = self.run_ok(*self.pair, "-p", "abc", "-n", 8, "--no-learn", env=ENV)
        self.assertIn("  plan         do not speculate: ", err)

    def test_a_fast_draft_is_used(self):
        keep(made_up(1000, 1, 1e9))
        (plan,) = self.plan_json()
        self.assertTrue(plan["speculate"])
        report, _ = self.run_json()
        self.assertNotEqual(report["engine"]["policy"], "none")
        self.assertGreater(report["stats"]["drafted"], 0)
        self.assertIn("acceptance assumed", report["engine"]["advice"])

    def test_several_limits(self):
        keep(made_up(100, 2, 1e7))
        least = self.least()
        code, out, err = lever("inspect", self.model, *self.pair[2:], "--policy", "lever", "--json", env=ENV)
        self.assertEqual(code, OK, err)
        all_of_it = json.loads(out)["plan"]["total_bytes"]
        sizes = f"{2 * all_of_it},{least + 100000},{all_of_it}"
        out = self.plan("--mem", sizes)
        lines = out.splitlines()
        self.assertTrue(all(len(line) <= 80 for line in lines), out)
        self.assertEqual(len([x for x in lines if "flash" in x or "compute" in x or "draft" in x]), 3, out)
        self.assertIn("more memory stops paying at ", out)
        plans = self.plan_json("--mem", sizes)
        speeds = [p["choices"][p["best"]]["tokens_per_s"] for p in plans]
        self.assertEqual(speeds, sorted(speeds))
        self.assertEqual([p["limit_bytes"] for p in plans], sorted(p["limit_bytes"] for p in plans))

    def test_nothing_fits(self):
        keep(made_up(100, 2, 1e7))
        code, out, err = lever("plan", *self.pair, "--mem", "1MiB", env=ENV)
        self.assertEqual(code, LIMIT, err)
        self.assertIn("nothing fits this limit", out.decode())

    def test_bad_options(self):
        keep(made_up(100, 2, 1e7))
        for args in (
            ["--mem", "1GiB,x"],
            ["--mem", ","],
            ["--mem", "0"],
            ["--policies", "nonsense"],
            ["-n", 1],
        ):
            code, _, err = lever("plan", *self.pair, *args, env=ENV)
            self.assertEqual(code, USAGE, (args, err))
            self.assertTrue(err.startswith("lever: "), err)

    def test_damaged_profiles_do_no_harm(self):
        bad = made_up(100, 2, 1e7)
        bad["machines"][0]["devices"][0]["products"][0]["weight_s"][2] = -1
        for text in (bad, "{", json.dumps({"version": 2}), json.dumps(bad).replace("Q8_0", "Q8_0" * 40)):
            keep(text)
            code, _, err = lever("plan", *self.pair, env=ENV)
            self.assertEqual(code, USAGE, err)
            self.assertIn("lever profile", err)
            report, _ = self.run_json()
            self.assertEqual(report["engine"]["policy"], "lever")

    def test_acceptance_is_measured_when_asked_for_and_kept(self):
        keep(made_up(1000, 20, 1e9))
        (before,) = self.plan_json("--temp", 0)
        self.assertFalse(before["acceptance_measured"])
        (plan,) = self.plan_json("--temp", 0, "--measure", 1)
        self.assertTrue(plan["acceptance_measured"])
        self.assertGreaterEqual(plan["tokens_seen"], 96)
        self.assertNotEqual(plan["chain"], before["chain"])
        self.assertIn("acceptance counted at", self.plan("--temp", 0))
        self.assertIn("acceptance assumed", self.plan("--temp", 0, "--no-learn"))


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]], verbosity=1)
