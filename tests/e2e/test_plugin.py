"""lever --device with a plug-in: the same text, streamed and resident; one that does not work is one line.

usage: test_plugin.py LEVER MKMODEL WORK_FOLDER EXAMPLE.so FAULTY.so
SPDX-License-Identifier: MIT
"""

import json
import pathlib
import sys
import unittest

from cli import IO, MIB, OK, SANITIZED, USAGE, CliTest, lever

FAULTY, EXAMPLE = sys.argv.pop(5), sys.argv.pop(4)
ASK = ["-p", "Once upon a time", "-n", 12 if SANITIZED else 24, "--temp", 0, "--no-learn"]


def run(*args, mode=None):
    """(engine's part of --json, text, what was said)"""
    code, out, err = lever("run", *ASK, "--json", *args, env={"LEVER_FAULTY_PLUGIN": mode or ""})
    if code != OK:
        raise AssertionError(err)
    d = json.loads(out)
    return d["engine"], d["text"], err


class PluginTest(CliTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.want = run()[1]

    def same(self, *args, **kw):
        engine, text, err = run(*args, **kw)
        self.assertEqual(text, self.want)
        return engine, err

    def test_same_text(self):
        for more in ([], ["--no-pin"], ["--device-draft", EXAMPLE], ["--device-min-rows", 2]):
            with self.subTest(more=more):
                engine, err = self.same("--device", EXAMPLE, *more)
                self.assertEqual(engine["device"], "example device (a thread)")
                self.assertGreater(engine["device_jobs"], 0)
                self.assertIsNone(engine["device_note"])

    def test_memory(self):
        for mem in (48 * MIB, 64 * MIB):
            code, out, err = lever("run", *ASK, "--json", "--device", EXAMPLE, "--mem", mem)
            self.assertEqual(code, OK, err)
            d = json.loads(out)
            self.assertEqual(d["text"], self.want)
            self.assertGreater(d["engine"]["device_jobs"], 0)
            if not SANITIZED:
                self.assertLessEqual(d["stats"]["peak_rss_bytes"], mem)

    def test_a_plug_in_with_memory_of_its_own(self):
        for more in ([], ["--no-pin"]):
            engine, _ = self.same("--device", FAULTY, *more)
            self.assertEqual(engine["device"], "faulty plug-in")
            self.assertGreater(engine["device_jobs"], 0)

    def test_one_that_does_not_work_is_a_line(self):
        for mode, part in (("crash", "crashed"), ("newer", "version 2.3"), ("rounds twice", "it computes")):
            with self.subTest(mode=mode):
                engine, err = self.same("--device", FAULTY, mode=mode)
                self.assertEqual(engine["device"], "cpu")
                lines = [x for x in err.splitlines() if "runs on the CPU" in x]
                self.assertEqual(len(lines), 1, err)
                self.assertIn(part, lines[0])
        self.assertIn("/nowhere/npu.so", self.same("--device", "/nowhere/npu.so")[1])

    def test_approximate_ones_may_draft(self):
        engine, _ = self.same("--device-draft", FAULTY, mode="approximate")
        self.assertEqual(engine["draft_device"], "faulty plug-in")
        engine, err = self.same("--device", FAULTY, mode="approximate")
        self.assertEqual(engine["device"], "cpu")
        self.assertIn("can only serve a draft", err)

    def test_one_that_fails_later(self):
        """Its memory can not be read here, so this answer is lost; the text never goes wrong."""
        code, out, err = lever(
            "run", *ASK, "--device", FAULTY, env={"LEVER_FAULTY_PLUGIN": "fails after 40 jobs"}
        )
        self.assertEqual(code, IO)
        self.assertIn("too hot", err)
        self.assertTrue(self.want.startswith(out.decode().rstrip("\n")))

    def test_only_paths_are_loaded(self):
        name = pathlib.Path(EXAMPLE).name
        code, _, err = lever(
            "run", *ASK, "--device", name, env={"LD_LIBRARY_PATH": str(pathlib.Path(EXAMPLE).parent)}
        )
        self.assertEqual(code, USAGE)
        self.assertIn("unknown device", err)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
