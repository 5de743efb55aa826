"""lever --device: the same text from any device, within --mem; a driver that is missing, old or crashes is one line.

usage: test_device.py LEVER MKMODEL WORK_FOLDER [FAKE_DRIVER.so]
SPDX-License-Identifier: MIT
"""

import json
import os
import sys
import unittest

from cli import CHECK, MIB, OK, SANITIZED, USAGE, WORK, CliTest, lever

FAKE = sys.argv.pop(4) if len(sys.argv) > 4 else None
ASK = ["-p", "Once upon a time", "-n", 40, "--temp", 0, "--no-learn"]


def engine_of(*args, **kw):
    """The engine's part of --json, its text, and what was said on stderr."""
    code, out, err = lever("run", *ASK, "--json", *args, **kw)
    if code != OK:
        raise AssertionError(err)
    d = json.loads(out)
    return d["engine"], d["text"], err, d["stats"]


def why_no_opencl():
    try:
        engine = engine_of("--device", "opencl:any")[0]
    except (AssertionError, OSError) as e:
        return f"lever can not be tried: {e}"
    return engine["device_note"]


NO_OPENCL = why_no_opencl()


class NoteTest(CliTest):
    """What happens where a device can not be had."""

    def says(self, part, *args, env=None):
        engine, text, err, _ = engine_of("--device", "opencl:any", *args, env=env)
        self.assertEqual(text, engine_of()[1])
        self.assertEqual(engine["device"], "cpu")
        self.assertIn(part, err)
        lines = [line for line in err.splitlines() if "runs on the CPU" in line]
        self.assertEqual(len(lines), 1, err)
        self.assertIn(part, engine["device_note"])

    def test_missing_library(self):
        self.says("/nowhere/libOpenCL.so", env={"LEVER_OPENCL_LIB": "/nowhere/libOpenCL.so"})

    def test_a_library_that_is_none(self):
        WORK.mkdir(parents=True, exist_ok=True)
        path = WORK / "not-a-library.so"
        path.write_text("no library")
        self.says("not-a-library.so", env={"LEVER_OPENCL_LIB": str(path)})

    @unittest.skipUnless(FAKE, "no driver that crashes was built")
    def test_drivers_that_crash(self):
        for mode in ("crash", "crash later", "no memory"):
            with self.subTest(mode=mode):
                self.says("OpenCL", env={"LEVER_OPENCL_LIB": FAKE, "LEVER_FAKE_OPENCL": mode})

    def test_both_models_are_one_line(self):
        self.says("every model", "--device-draft", "opencl:any", env={"LEVER_OPENCL_LIB": "/nowhere/x.so"})

    def test_unknown_names(self):
        for args in (["--device", "abacus"], ["--device-draft", "gpu"], ["--project", "later"]):
            code, _, err = lever("run", *ASK, *args)
            self.assertNotEqual(code, OK)
            self.assertIn(args[1], err)

    def test_cpu_is_no_device(self):
        engine, _, err, _ = engine_of("--device", "cpu")
        self.assertEqual((engine["device"], engine["device_jobs"]), ("cpu", 0))
        self.assertIsNone(engine["device_note"])
        self.assertNotIn("device", err)


@unittest.skipIf(NO_OPENCL, NO_OPENCL)
class OpenclTest(CliTest):
    def least(self, *args):
        """The smallest limit that works."""
        code, _, err = lever("run", *ASK, *args, "--mem", "1MiB")
        self.assertNotEqual(code, OK)
        return int(err.split("needs at least ")[1].split(" bytes")[0])

    def test_text_and_memory(self):
        want = engine_of()[1]
        device = ["--device", "opencl:any"]
        for more in ([], ["--device-draft", "opencl:any"], ["--no-pin"], ["--device-min-rows", 4]):
            least = self.least(*device, *more)
            for mem in (least, least + 8 * MIB, least + 40 * MIB):
                with self.subTest(more=more, mem=mem):
                    engine, text, _, stats = engine_of(*device, *more, "--mem", mem)
                    self.assertEqual(text, want)
                    self.assertNotEqual(engine["device"], "cpu")
                    self.assertGreater(engine["device_jobs"], 0)
                    if not SANITIZED:
                        self.assertLessEqual(stats["peak_rss_bytes"], mem)

    def test_without_a_cache_of_kernels(self):
        """The driver compiles in this process then, which its line in the plan must hold."""
        device = ["--device", "opencl:any"]
        least = self.least(*device)
        folder = WORK / "empty-cache"
        folder.mkdir(parents=True, exist_ok=True)
        env = {"POCL_CACHE_DIR": str(folder / str(os.getpid())), "XDG_CACHE_HOME": "/proc/nowhere"}
        engine, _, _, stats = engine_of(*device, "--mem", least + 16 * MIB, env=env)
        self.assertNotEqual(engine["device"], "cpu")
        if not SANITIZED:
            self.assertLessEqual(stats["peak_rss_bytes"], least + 16 * MIB)

    def test_check_compares_with_plain_decoding(self):
        code, _, err = lever("run", *ASK, "--device", "opencl:any", "--check", 20)
        self.assertEqual(code, OK, err)
        self.assertNotEqual(code, CHECK)
        self.assertIn("equal plain decoding", err)
        self.assertIn("jobs", err)

    def test_trace_has_jobs(self):
        path = WORK / "device-trace.json"
        code, _, err = lever("run", *ASK, "--device", "opencl:any", "--trace", path)
        self.assertEqual(code, OK, err)
        events = json.loads(path.read_text())
        jobs = [e for e in events if e.get("cat") == "device" and e["ph"] == "b"]
        self.assertGreater(len(jobs), 10)
        self.assertTrue(all(e["name"] == "target" and e["args"]["bytes"] > 0 for e in jobs))
        names = [e["args"]["name"] for e in events if e["name"] == "thread_name"]
        self.assertIn("device", names)

    def test_eval_gives_the_same_numbers(self):
        text = self.story("device.txt", 12)
        args = ["eval", "--text", text, "-c", 128, "--json", "-m", self.model]
        results = []
        for device in ([], ["--device", "opencl:any"]):
            code, out, err = lever(*args, *device)
            self.assertEqual(code, OK, err)
            results.append(json.loads(out)["perplexity"])
        self.assertEqual(*results)

    def test_reads_are_verified(self):
        code, _, err = lever("inspect", "--checksum", self.model)
        self.assertEqual(code, OK, err)
        args = ["-m", self.model, "-n", 12, "-p", "abc", "--json", "--no-pin", "--verify-reads"]
        results = []
        for device in ([], ["--device", "opencl:any"]):
            code, out, err = lever("run", *args, *device)
            self.assertEqual(code, OK, err)
            results.append(json.loads(out)["text"])
        self.assertEqual(*results)

    def test_chat(self):
        code, out, err = lever("chat", "--temp", 0, "-n", 8, "--device", "opencl:any", stdin=b"hello\n")
        self.assertEqual(code, OK, err)
        want = lever("chat", "--temp", 0, "-n", 8, stdin=b"hello\n")[1]
        self.assertEqual(out, want)

    def test_usage(self):
        self.assertEqual(lever("run", *ASK, "--device")[0], USAGE)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
