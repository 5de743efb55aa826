#!/usr/bin/env python3
"""Build the vocabulary of llama-bpe or qwen2 from the shared raw files; exit 77 where they are absent.

usage: make_vocab.py SOURCE_DIR NAME OUT.gguf
SPDX-License-Identifier: MIT
"""

import os
import pathlib
import subprocess
import sys

source, name, out = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
shared = pathlib.Path(os.environ.get("LEVER_SHARED") or source / "../shared") / "tokenizers"
files = {"llama-bpe": ["llama3/tokenizer.model"], "qwen2": ["qwen3/vocab.txt", "qwen3/merges.txt"]}[name]
if not all((shared / f).exists() for f in files):
    print(f"SKIP: no raw files of {name} under {shared} (set LEVER_SHARED)")
    sys.exit(77)
sys.exit(
    subprocess.run(
        [sys.executable, str(source / "tools/vocab_gguf.py"), name, *(str(shared / f) for f in files), out]
    ).returncode
)
