#!/usr/bin/env python3
"""Convert a llama2.c version 0 checkpoint and its tokenizer to GGUF F32 (standard library only).

    llama2c_to_gguf.py model.bin tokenizer.bin out.gguf

Checkpoint: seven int32 (dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len), then
float32 arrays layer-major. A negative vocab_size says that the output head is stored separately.
Tokenizer: int32 longest token, then per token float32 score, int32 length, bytes.
SPDX-License-Identifier: MIT
"""
import re
import struct
import sys

from ggufwrite import F32_VALUE, I32_VALUE, STRING_VALUE, Writer

NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6


class Floats:
    """Hands out consecutive float32 arrays of a file as bytes."""

    def __init__(self, raw, at):
        self.raw, self.at = raw, at

    def take(self, *shape):
        n = 4
        for d in shape:
            n *= d
        if self.at + n > len(self.raw):
            sys.exit(f"checkpoint ends early: {self.at + n} bytes needed, {len(self.raw)} present")
        part = self.raw[self.at:self.at + n]
        self.at += n
        return part


def read_tokens(path, n_vocab):
    """[(text bytes, score, type)], with spaces as SentencePiece's U+2581 again."""
    with open(path, "rb") as f:
        raw = f.read()
    tokens, at = [], 4
    for i in range(n_vocab):
        score, length = struct.unpack_from("<fi", raw, at)
        text = raw[at + 8:at + 8 + length]
        at += 8 + length
        if i == 0:
            text, kind = b"<unk>", UNKNOWN
        elif i in (1, 2):
            text, kind = (b"<s>", b"</s>")[i - 1], CONTROL
        elif re.fullmatch(rb"<0x[0-9A-F]{2}>", text):
            kind = BYTE
        else:
            text, kind = text.replace(b" ", "\u2581".encode()), NORMAL
        tokens.append((text, score, kind))
    return tokens


def put_tokenizer(out, tokens):
    out.string("tokenizer.ggml.model", "llama")
    out.array("tokenizer.ggml.tokens", STRING_VALUE, [t for t, _, _ in tokens])
    out.array("tokenizer.ggml.scores", F32_VALUE, [s for _, s, _ in tokens])
    out.array("tokenizer.ggml.token_type", I32_VALUE, [k for _, _, k in tokens])
    for name, token in (("bos", 1), ("eos", 2), ("unknown", 0)):
        out.u32(f"tokenizer.ggml.{name}_token_id", token)
    for name, value in (("add_bos_token", True), ("add_eos_token", False), ("add_space_prefix", True)):
        out.bool(f"tokenizer.ggml.{name}", value)


def put_tensors(out, raw, dims):
    dim, hidden, n_layers, n_heads, n_kv_heads, vocab, seq_len = dims
    head, n_vocab = dim // n_heads, abs(vocab)
    kv = head * n_kv_heads
    f = Floats(raw, 28)
    out.tensor("token_embd.weight", (n_vocab, dim), f.take(n_vocab, dim))
    for name, shape in (("attn_norm", (dim,)), ("attn_q", (dim, dim)), ("attn_k", (kv, dim)),
                        ("attn_v", (kv, dim)), ("attn_output", (dim, dim)), ("ffn_norm", (dim,)),
                        ("ffn_gate", (hidden, dim)), ("ffn_down", (dim, hidden)), ("ffn_up", (hidden, dim))):
        for layer in range(n_layers):
            out.tensor(f"blk.{layer}.{name}.weight", shape, f.take(*shape))
    out.tensor("output_norm.weight", (dim,), f.take(dim))
    f.take(2, seq_len, head // 2)  # cosines and sines that nobody needs
    if vocab < 0:
        out.tensor("output.weight", (n_vocab, dim), f.take(n_vocab, dim))


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    with open(sys.argv[1], "rb") as f:
        raw = f.read()
    if len(raw) < 28:
        sys.exit("checkpoint ends inside its header")
    dims = struct.unpack_from("<7i", raw)
    dim, hidden, n_layers, n_heads, n_kv_heads, vocab, seq_len = dims
    if min(dim, hidden, n_layers, n_heads, n_kv_heads, abs(vocab), seq_len) < 1 or dim % n_heads:
        sys.exit(f"not a llama2.c version 0 checkpoint: header {dims}")
    out = Writer()
    out.string("general.architecture", "llama")
    out.string("general.name", "llama2.c checkpoint")
    for key, value in (("context_length", seq_len), ("embedding_length", dim), ("block_count", n_layers),
                       ("feed_forward_length", hidden), ("attention.head_count", n_heads),
                       ("attention.head_count_kv", n_kv_heads), ("rope.dimension_count", dim // n_heads),
                       ("vocab_size", abs(vocab))):
        out.u32(f"llama.{key}", value)
    out.f32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    out.f32("llama.rope.freq_base", 10000.0)
    put_tokenizer(out, read_tokens(sys.argv[2], abs(vocab)))
    put_tensors(out, raw, dims)
    out.write(sys.argv[3])


if __name__ == "__main__":
    main()
