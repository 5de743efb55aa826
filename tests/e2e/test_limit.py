"""--mem under a memory cgroup of the same size: the kernel kills what takes one page more than it can reclaim.

Needs the right to make a memory cgroup (version 1 or 2); skipped with a reason where that is missing.

usage: test_limit.py LEVER MKMODEL WORK_FOLDER
SPDX-License-Identifier: MIT
"""

import json
import sys
import unittest

from cli import LEVER, MIB, OK, ROOT, SANITIZED, WORK, CliTest, make

sys.path.insert(0, str(ROOT / "tools"))
from cgroup import Cgroup  # noqa: E402


def run_in(group, *args):
    """(exit code or -signal, stdout) of the program inside."""
    WORK.mkdir(parents=True, exist_ok=True)
    out = WORK / "limit.out"
    code, _ = group.run([LEVER, *args], out)
    return code, out.read_bytes()


def why_not():
    """Why no cgroup can be made here, or None."""
    if SANITIZED:
        return "sanitizers take memory of their own"
    try:
        with Cgroup(64 * MIB) as g:
            code, _ = run_in(g, "version")
            return None if code == OK else f"a program in a fresh cgroup ends with {code}"
    except OSError as e:
        return f"no memory cgroup can be made: {e}"


WHY_NOT = why_not()


@unittest.skipIf(WHY_NOT, WHY_NOT)
class MemoryLimitTest(CliTest):
    def run_within(self, mem, *args):
        """Run with --mem inside a cgroup of that size; returns stdout."""
        with Cgroup(mem) as g:
            code, out = run_in(g, *args, "--mem", mem)
            self.assertEqual(g.kills(), 0, args)
            self.assertEqual(code, OK, args)
            return out

    def demo(self, mem, *args):
        return self.run_within(mem, "run", "-n", 48, "--temp", 0, "--json", *args)

    def test_a_cgroup_does_kill_who_takes_more(self):
        with Cgroup(16 * MIB) as g:
            code, _ = run_in(g, "run", "-p", "Once upon a time", "-n", 8, "--mem", 64 * MIB)
            self.assertNotEqual(code, OK)
            self.assertGreater(g.kills(), 0)

    def test_speculation_prefill_and_streaming_stay_below(self):
        text = self.story("limit.txt", 6)
        texts = set()
        for mem in (24, 48):
            for draft in ("none", "chain:8", "tree:3,2,1"):
                out = json.loads(self.demo(mem * MIB, "--draft", draft, "-f", text, "-c", 1024))
                self.assertGreater(out["stats"]["prompt_tokens"], 300)
                self.assertLessEqual(out["stats"]["peak_rss_bytes"], mem * MIB)
                texts.add(out["text"])
        self.assertEqual(len(texts), 1)

    def test_a_text_that_fills_the_context_stays_below(self):
        args = ["run", "-p", "Once upon a time", "-c", 1000, "-n", 990, "--ignore-eos", "--temp", 0, "--json"]
        texts = set()
        for mem in (24, 36):
            for draft in ("none", "chain:8"):
                out = json.loads(self.run_within(mem * MIB, *args, "--draft", draft))
                self.assertGreater(out["stats"]["new_tokens"], 900)
                self.assertLessEqual(out["stats"]["peak_rss_bytes"], mem * MIB)
                texts.add(out["text"])
        self.assertEqual(len(texts), 1)

    def test_evaluation_stays_below(self):
        out = self.run_within(40 * MIB, "eval", "--text", self.story("limit-eval.txt", 8), "--json")
        self.assertGreater(json.loads(out)["scored_tokens"], 100)

    def test_a_model_ten_times_the_limit(self):
        big = make(
            "limit-big.gguf",
            *"--arch qwen3 --type Q8_0 --embd 1024 --layers 10 --ff 4096 --heads 16 --kv-heads 4".split(),
            *"--head-dim 64 --vocab 2000".split(),
        )
        size = big.stat().st_size
        self.assertGreater(size, 100 * MIB)
        out = json.loads(self.run_within(size // 10, "run", "-m", big, "-p", "abc", "-n", 4, "--json"))
        self.assertEqual(out["stats"]["new_tokens"], 4)
        big.unlink()

    def test_the_default_limit_fits_the_cgroup(self):
        with Cgroup(32 * MIB) as g:
            code, out = run_in(g, "run", "-p", "Once upon a time", "-n", 8, "--json")
            self.assertEqual((code, g.kills()), (OK, 0))
            self.assertLess(json.loads(out)["stats"]["mem_limit_bytes"], 32 * MIB)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]], verbosity=1)
