# SPDX-License-Identifier: MIT
"""Byte-level BPE with 8192 tokens: train it, then turn documents into token files.

    python tokenizer.py --work tools/train/out

writes WORK/tokenizer.json and, per domain and split, WORK/tok/<domain>.<split>.npz
with `ids` (uint16, documents end to end, each closed by <|endoftext|>) and `starts`.
The split pattern is Qwen2's (tokenizer.ggml.pre = "qwen2"), digits one by one.
"""
import argparse
import json
import os

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from data import DOMAINS

VOCAB = 8192
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
         r"|\s*[\r\n]+|\s+(?!\S)|\s+")
SAMPLE_CHARS = {"stories": 9e6, "chat": 5e6, "math": 3e6, "code": 2e6, "novels": 3e6}


def docs(work, domain, split):
    with open(os.path.join(work, "docs", f"{domain}.{split}.jsonl")) as f:
        return [json.loads(line) for line in f]


def train(work):
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(QWEN2), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tok.decoder = decoders.ByteLevel()

    def sample():
        for domain, limit in SAMPLE_CHARS.items():
            items, used, i = docs(work, domain, "train"), 0, 0
            while used < limit and i < 2 * len(items):
                text = items[i % len(items)]
                for s in SPECIAL:
                    text = text.replace(s, "\n")
                used, i = used + len(text), i + 1
                yield text

    tok.train_from_iterator(sample(), trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=SPECIAL, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tok.save(os.path.join(work, "tokenizer.json"))
    return tok


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--work", default="tools/train/out")
    a = ap.parse_args()
    tok = train(a.work)
    assert tok.get_vocab_size() == VOCAB
    probe = "A \u00fc\u4e2d\U0001f600\x00\x7f\t\r\n  12345 don't\n\n\n    x"
    assert tok.decode(tok.encode(probe).ids) == probe
    os.makedirs(os.path.join(a.work, "tok"), exist_ok=True)
    for domain in DOMAINS:
        for split in ("train", "val"):
            texts = docs(a.work, domain, split)
            ids = [e.ids + [0] for e in tok.encode_batch(texts)]
            starts = np.cumsum([0] + [len(i) for i in ids])
            np.savez(os.path.join(a.work, "tok", f"{domain}.{split}.npz"),
                     ids=np.concatenate([np.array(i, np.uint16) for i in ids]), starts=starts)
            print(f"{domain}.{split}: {len(texts)} documents, {starts[-1]} tokens, "
                  f"{sum(map(len, texts)) / starts[-1]:.2f} characters per token")


if __name__ == "__main__":
    main()
