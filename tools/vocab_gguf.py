#!/usr/bin/env python3
"""Build vocabulary-only GGUF files from raw tokenizer files, for tests. Standard library only.

usage: vocab_gguf.py llama-bpe TOKENIZER.MODEL OUT.gguf    base64 token and rank per line (tiktoken)
       vocab_gguf.py qwen2 VOCAB.TXT MERGES.TXT OUT.gguf   one token, one merge per line, in id order
SPDX-License-Identifier: MIT
"""

import base64
import struct
import sys

NORMAL, CONTROL, UNUSED = 1, 3, 5
U32, I32, BOOL, STRING, ARRAY = 4, 5, 7, 8, 9


def byte_alphabet():
    """GPT-2's printable character for each byte: itself, or the next free one from U+0100 on."""
    keep = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    chars, free = {b: chr(b) for b in keep}, 0x100
    for b in range(256):
        if b not in chars:
            chars[b], free = chr(free), free + 1
    return chars


CHARS = byte_alphabet()


def text_of(raw):
    return "".join(CHARS[b] for b in raw)


def string(s):
    raw = s.encode()
    return struct.pack("<Q", len(raw)) + raw


def entry(key, kind, payload):
    return string(key) + struct.pack("<I", kind) + payload


def array(key, kind, items, pack):
    return entry(key, ARRAY, struct.pack("<IQ", kind, len(items)) + b"".join(map(pack, items)))


def write(path, name, pre, tokens, types, merges, settings):
    keys = [
        entry("general.architecture", STRING, string("llama")),
        entry("general.name", STRING, string(name)),
        entry("tokenizer.ggml.model", STRING, string("gpt2")),
        entry("tokenizer.ggml.pre", STRING, string(pre)),
        array("tokenizer.ggml.tokens", STRING, tokens, string),
        array("tokenizer.ggml.token_type", I32, types, lambda t: struct.pack("<i", t)),
        array("tokenizer.ggml.merges", STRING, merges, string),
    ]
    keys += [
        entry(
            f"tokenizer.ggml.{k}",
            BOOL if isinstance(v, bool) else U32,
            struct.pack("<?" if isinstance(v, bool) else "<I", v),
        )
        for k, v in settings.items()
    ]
    with open(path, "wb") as f:
        f.write(b"GGUF" + struct.pack("<IQQ", 3, 0, len(keys)) + b"".join(keys))


def llama3_specials():
    named = {
        0: "<|begin_of_text|>",
        1: "<|end_of_text|>",
        4: "<|finetune_right_pad_id|>",
        6: "<|start_header_id|>",
        7: "<|end_header_id|>",
        8: "<|eom_id|>",
        9: "<|eot_id|>",
        10: "<|python_tag|>",
    }
    out, reserved = [], 0
    for i in range(256):
        if i in named:
            out.append(named[i])
        else:
            out.append(f"<|reserved_special_token_{reserved}|>")
            reserved += 1
    return out


def llama_bpe(ranks_path, out):
    with open(ranks_path, "rb") as f:
        rank = {base64.b64decode(token): int(r) for token, r in (line.split() for line in f if line.strip())}
    by_rank = sorted(rank, key=rank.get)
    # tiktoken joins any two neighbours whose union is a token, the lowest rank first. As a list of merges
    # that is every way to cut a token into two tokens, in the order of the tokens' ranks.
    merges = []
    for token in by_rank:
        cuts = [
            (rank[token[:i]], rank[token[i:]], i)
            for i in range(1, len(token))
            if token[:i] in rank and token[i:] in rank
        ]
        merges += [f"{text_of(token[:i])} {text_of(token[i:])}" for _, _, i in sorted(cuts)]
    specials = llama3_specials()
    n = len(by_rank)
    write(
        out,
        "llama-bpe",
        "llama-bpe",
        [text_of(t) for t in by_rank] + specials,
        [NORMAL] * n + [CONTROL] * len(specials),
        merges,
        {"bos_token_id": n, "eos_token_id": n + 1, "eot_token_id": n + 9},
    )


def qwen2(vocab_path, merges_path, out):
    with open(vocab_path, encoding="utf-8", newline="\n") as f:
        tokens = f.read().split("\n")
    with open(merges_path, encoding="utf-8", newline="\n") as f:
        merges = f.read().split("\n")
    tokens, merges = [t for t in tokens if t], [m for m in merges if m]
    n_normal = len(merges) + 256
    types = [NORMAL] * n_normal + [UNUSED if t.startswith("[PAD") else CONTROL for t in tokens[n_normal:]]
    write(
        out,
        "qwen2",
        "qwen2",
        tokens,
        types,
        merges,
        {
            "bos_token_id": tokens.index("<|endoftext|>"),
            "eos_token_id": tokens.index("<|im_end|>"),
            "add_bos_token": False,
        },
    )


if __name__ == "__main__":
    kinds = {"llama-bpe": (llama_bpe, 2), "qwen2": (qwen2, 3)}
    if len(sys.argv) < 2 or sys.argv[1] not in kinds or len(sys.argv) - 2 != kinds[sys.argv[1]][1]:
        sys.exit(__doc__)
    kinds[sys.argv[1]][0](*sys.argv[2:])
