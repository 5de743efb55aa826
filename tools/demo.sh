#!/bin/sh
# The main job in one command: a target streamed from flash under a limit smaller than its file, a draft
# in memory, the text as it comes, and the closing block. Arguments are passed on to `lever run`.
# SPDX-License-Identifier: MIT
set -eu
cd "$(dirname "$0")/.."
target=models/lever-demo-target.Q8_0.gguf
size=$(wc -c <"$target")
limit=18MiB
printf 'demo: %s (%s bytes) under a hard limit of %s for the whole process\n\n' "$target" "$size" "$limit" >&2
exec build/release/lever run --mem "$limit" -c 256 ${LEVER_DEMO_DRAFT:+--draft "$LEVER_DEMO_DRAFT"} \
    -p "Once upon a time, there was a little girl named Lily." -n 180 --temp 0 --check 48 "$@"
