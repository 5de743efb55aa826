"""What the tests of the lever program share: how to run it, its exit codes, small models.

SPDX-License-Identifier: MIT
"""

import json
import os
import pathlib
import subprocess
import sys
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
        env={**os.environ, "XDG_CACHE_HOME": str(WORK / "cache"), **(env or {})},
        **kw,
    )
    return p.returncode, p.stdout, p.stderr.decode(errors="replace")


def make(name, *args):
    path = WORK / name
    if not path.exists():
        subprocess.run([MKMODEL, str(path), *map(str, args)], check=True)
    return path


class CliTest(unittest.TestCase):
    """A small random model and its Q4_0 copy as a draft; what several files of tests do."""

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
