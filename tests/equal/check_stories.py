#!/usr/bin/env python3
"""`lever run` must reproduce the reference text of stories260K byte for byte in F32, with and without a
Q4_0 copy as draft, resident and streamed. The reference was written by an independent implementation.

usage: check_stories.py SOURCE_DIR LEVER TARGET.gguf DRAFT.gguf
SPDX-License-Identifier: MIT
"""

import json
import os
import pathlib
import subprocess
import sys

source, lever, target, draft = sys.argv[1:5]
shared = pathlib.Path(os.environ.get("LEVER_SHARED") or pathlib.Path(source) / "../shared")
reference = shared / "models/stories260K/reference_greedy_256.txt"
if not reference.exists() or not os.path.exists(target):
    print(f"SKIP: no stories260K under {shared} (set LEVER_SHARED)")
    sys.exit(77)
want = reference.read_bytes().rstrip(b"\n")
plan = json.loads(
    subprocess.run(
        [lever, "inspect", target, "-md", draft, "-c", "320", "--mem", "1", "--json"],
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
)["plan"]
failed = 0
for extra in (
    [],
    ["-md", draft],
    ["-md", draft, "--draft", "tree:4,2,1"],
    ["-md", draft, "--mem", str(plan["needed_bytes"])],
):
    run = subprocess.run(
        [
            lever,
            "run",
            "--no-learn",
            "-m",
            target,
            "-c",
            "320",
            "-p",
            "Once upon a time",
            "-n",
            "300",
            "--temp",
            "0",
            *extra,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    got = run.stdout.rstrip(b"\n")
    same = run.returncode == 0 and len(want) > 200 and got.startswith(want)
    print("ok  " if same else "FAIL", " ".join(extra) or "plain")
    if not same:
        failed += 1
        print(run.stderr.decode(), "\nwant:", want, "\ngot: ", got)
sys.exit(failed != 0)
