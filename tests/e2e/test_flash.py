"""The lever program on slower, failing and full devices.

SPDX-License-Identifier: MIT
"""

import json
import os
import resource
import sys
import unittest

from cli import IO, OK, USAGE, WORK, CliTest, lever, make

KIB = 1 << 10


class FlashTest(CliTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.wide = make(
            "wide.gguf", "--embd", 256, "--layers", 2, "--ff", 1024, "--heads", 4, "--kv-heads", 2
        )

    def greedy(self, *args, **kw):
        return self.run_ok("-m", self.wide, "-p", "abc", "-n", 6, "--temp", 0, "--no-pin", *args, **kw)

    def test_modelled_flash_changes_the_speed_and_not_the_text(self):
        want, _ = self.greedy("-q")
        for args, name, limit in (
            (("--flash-limit", "40MB"), None, 40_000_000),
            (("--flash-limit", "40MB", "--io", "pool"), None, 40_000_000),
            (("--flash-model", "microsd-a1"), "microsd-a1", 90_000_000),
            (("--flash-model", "ufs4.0", "--flash-limit", "40MB"), "ufs4.0", 40_000_000),
        ):
            out, _ = self.greedy("--json", *args)
            r = json.loads(out)
            self.assertTrue(want.decode().rstrip("\n").endswith(r["text"]), args)
            self.assertEqual(
                (r["engine"]["flash_model"], r["engine"]["flash_limit_bytes_per_s"]), (name, limit)
            )
            # Not faster than the link; what was read ahead before decoding began is at most a ring.
            s = r["stats"]
            least = (s["flash_bytes"] - r["engine"]["streamed_bytes"]) / limit
            self.assertTrue(least > 0 and s["prefill_s"] + s["decode_s"] > least, args)
        _, err = self.greedy("--flash-model", "microsd-a1")
        self.assertIn("held back as microsd-a1 to 85.8 MiB/s", err)
        code, out, err = lever("run", "-m", self.wide, "-p", "x", "--flash-model", "tape")
        self.assertEqual((code, out), (USAGE, b""))
        self.assertIn("known: ufs4.0, ufs3.1, emmc5.1, microsd-a1, nvme", err)

    def test_modelled_flash_changes_no_evaluation(self):
        args = ("-m", self.wide, "--text", self.story("flash.txt", 4), "-c", 64, "--limit", 2, "--no-pin")
        want, got = self.eval_json(*args), self.eval_json(*args, "--flash-limit", "40MB")
        self.assertEqual(want["perplexity"], got["perplexity"])
        self.assertTrue(
            got["stats"]["eval_s"] > (got["stats"]["flash_bytes"] - self.wide.stat().st_size) / 40e6
        )

    def read_sizes(self, cache, *args):
        trace = WORK / "sizes.json"
        self.greedy("-q", "--trace", trace, *args, env={"XDG_CACHE_HOME": str(cache)})
        events = json.loads(trace.read_text())
        events = events["traceEvents"] if isinstance(events, dict) else events
        return [e["args"]["bytes"] for e in events if e["name"] == "read" and "args" in e]

    def test_a_profile_is_of_the_real_device(self):
        """Its size of reads, at least 128 of the widest rows, serves real flash, also when slowed down,
        but no modelled device."""
        cache, device = WORK / "flash-cache", os.stat(self.wide).st_dev
        (cache / "lever").mkdir(parents=True, exist_ok=True)
        entry = {"backend": "pool", "block_bytes": 64 * KIB, "depth": 3}
        profile = {"version": 1, "flash": {f"{os.major(device)}:{os.minor(device)}": entry}}
        (cache / "lever/profile.json").write_text(json.dumps(profile))
        without = max(self.read_sizes(WORK / "no-cache"))
        most = 128 * 1024 // 32 * 34 + 8 * KIB  # rows of 1024 in Q8_0; whole pages
        self.assertGreater(without, 200 * KIB)
        self.assertLessEqual(max(self.read_sizes(cache)), most)
        self.assertLessEqual(max(self.read_sizes(cache, "--flash-limit", "900MB")), most)
        self.assertEqual(max(self.read_sizes(cache, "--flash-model", "ufs4.0")), without)

    def test_described_faults_reach_every_backend(self):
        want, _ = self.greedy("-q")
        for io in ("auto", "pool"):
            for fault in ("first=3,count=1,error=EIO", "short=65536", "error=EINTR,times=3"):
                got, _ = self.greedy("-q", "--io", io, env={"LEVER_IO_FAULTS": fault})
                self.assertEqual(got, want, (io, fault))
            code, out, err = lever(
                *("run", "-m", self.wide, "-p", "abc", "-n", 6, "--temp", 0, "--no-pin", "--io", io),
                env={"LEVER_IO_FAULTS": "first=12,error=ENODEV"},
            )
            self.assertEqual(code, IO)
            self.assertIn("No such device", err)
            self.assertTrue(want.startswith(out.rstrip(b"\n")))
        code, _, err = lever("run", "-m", self.wide, "-p", "a", env={"LEVER_IO_FAULTS": "error=EWHAT"})
        self.assertEqual(code, USAGE)
        self.assertIn("error=EWHAT", err)

    def test_a_limit_of_file_size_is_an_error_that_leaves_no_file(self):
        """Where mounting a full disk is not permitted; the signal must not end the program half way."""
        folder = WORK / "limited"
        folder.mkdir(exist_ok=True)
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100 * KIB, 100 * KIB))
        for args in (
            ("quantize", self.wide, folder / "q.gguf", "F16"),
            ("grow", self.wide, folder / "g.gguf", "layers=4", "--type", "Q8_0"),
        ):
            code, _, err = lever(*args, preexec_fn=limit)
            self.assertEqual(code, IO, err)
            self.assertIn("File too large", err)
            self.assertEqual(list(folder.iterdir()), [], args)
            code, _, err = lever(*args)  # it was the limit
            self.assertEqual(code, OK, err)
            args[2].unlink()


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]], verbosity=1)
