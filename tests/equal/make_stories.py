#!/usr/bin/env python3
"""Convert the shared stories260K weights to GGUF in the build tree; exit 77 where they are absent.

usage: make_stories.py SOURCE_DIR OUT.gguf
SPDX-License-Identifier: MIT
"""

import os
import pathlib
import subprocess
import sys

source, out = pathlib.Path(sys.argv[1]), sys.argv[2]
shared = pathlib.Path(os.environ.get("LEVER_SHARED") or source / "../shared")
weights = shared / "models/stories260K"
if not (weights / "stories260K.bin").exists():
    print(f"SKIP: no stories260K under {shared} (set LEVER_SHARED)")
    sys.exit(77)
sys.exit(
    subprocess.run(
        [
            sys.executable,
            str(source / "tools/llama2c_to_gguf.py"),
            str(weights / "stories260K.bin"),
            str(weights / "tok512.bin"),
            out,
        ]
    ).returncode
)
