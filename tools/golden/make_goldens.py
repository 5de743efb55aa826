#!/usr/bin/env python3
"""Build the tiny models of tests/golden and their expected logits from an independent implementation.

    make_goldens.py OUT_DIR          needs torch, transformers and numpy; the tests need none of them

Per architecture: a randomly initialised model (fixed seed) is exported to OUT_DIR/<arch>.gguf in F32,
and its float32 logits for a fixed token sequence go to OUT_DIR/<arch>.logits.txt:

    # provenance
    tokens <n> <id> ...
    max <largest |logit| over all positions>
    row <pos> <argmax, or -1 when the two best are closer than 1% of max> <first id> <n> <logit> ...

SPDX-License-Identifier: MIT
"""
import os
import sys

import numpy as np
import torch
import transformers

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from ggufwrite import Writer  # noqa: E402

SEED = 20251121
VOCAB, CONTEXT, N_TOKENS, SLICE = 160, 128, 40, 16

COMMON = dict(vocab_size=VOCAB, max_position_embeddings=CONTEXT, num_hidden_layers=2,
              attn_implementation="eager", bos_token_id=1, eos_token_id=2)
CONFIGS = {
    # Grouped queries, tied head, Llama 3.1 frequency scaling with all three of its bands in use.
    "llama": transformers.LlamaConfig(
        hidden_size=64, intermediate_size=96, num_attention_heads=4, num_key_value_heads=2,
        tie_word_embeddings=True, rms_norm_eps=1e-5,
        rope_parameters=dict(rope_type="llama3", rope_theta=20000.0, factor=8.0, low_freq_factor=1.0,
                             high_freq_factor=4.0, original_max_position_embeddings=64), **COMMON),
    # Biases, untied head.
    "qwen2": transformers.Qwen2Config(
        hidden_size=48, intermediate_size=96, num_attention_heads=6, num_key_value_heads=2,
        tie_word_embeddings=False, rms_norm_eps=1e-6,
        rope_parameters=dict(rope_type="default", rope_theta=1000000.0), **COMMON),
    # Norms of queries and keys, heads wider than hidden_size / heads.
    "qwen3": transformers.Qwen3Config(
        hidden_size=48, intermediate_size=96, num_attention_heads=4, num_key_value_heads=1, head_dim=24,
        tie_word_embeddings=False, rms_norm_eps=1e-6,
        rope_parameters=dict(rope_type="default", rope_theta=1000000.0), **COMMON),
}
LAYER_NAMES = {
    "input_layernorm.weight": "attn_norm.weight", "self_attn.q_proj.weight": "attn_q.weight",
    "self_attn.q_proj.bias": "attn_q.bias", "self_attn.k_proj.weight": "attn_k.weight",
    "self_attn.k_proj.bias": "attn_k.bias", "self_attn.v_proj.weight": "attn_v.weight",
    "self_attn.v_proj.bias": "attn_v.bias", "self_attn.q_norm.weight": "attn_q_norm.weight",
    "self_attn.k_norm.weight": "attn_k_norm.weight", "self_attn.o_proj.weight": "attn_output.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight", "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.up_proj.weight": "ffn_up.weight", "mlp.down_proj.weight": "ffn_down.weight",
}
END_NAMES = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
             "lm_head.weight": "output.weight"}


def randomise(model):
    """Weights that make every part matter: products keep the scale, norms and biases are not trivial."""
    gen = torch.Generator().manual_seed(SEED)
    for name, p in sorted(model.named_parameters()):
        r = torch.randn(p.shape, generator=gen)
        if name.endswith("norm.weight"):
            r = 1 + 0.2 * r
        elif p.dim() == 2 and "embed" not in name:
            r = r * 1.5 / p.shape[1] ** 0.5
        p.data.copy_(r * (0.5 if p.dim() == 1 and name.endswith("bias") else 1))


def interleave(w, n_heads):
    """Rows of each head from halves (i, i + d/2) to the pairs (2i, 2i + 1) that GGUF llama rotates."""
    return w.reshape(n_heads, 2, -1, w.shape[1]).transpose(0, 2, 1, 3).reshape(w.shape)


def gguf_name(name):
    if name in END_NAMES:
        return END_NAMES[name]
    layer, rest = name.removeprefix("model.layers.").split(".", 1)
    return f"blk.{layer}.{LAYER_NAMES[rest]}"


def export(arch, cfg, model, path):
    out = Writer()
    head_dim = getattr(cfg, "head_dim", None) or cfg.hidden_size // cfg.num_attention_heads
    out.string("general.architecture", arch)
    out.string("general.name", f"golden {arch}")
    for key, value in (("context_length", CONTEXT), ("embedding_length", cfg.hidden_size),
                       ("block_count", cfg.num_hidden_layers), ("feed_forward_length", cfg.intermediate_size),
                       ("attention.head_count", cfg.num_attention_heads),
                       ("attention.head_count_kv", cfg.num_key_value_heads)):
        out.u32(f"{arch}.{key}", value)
    if head_dim * cfg.num_attention_heads != cfg.hidden_size:
        out.u32(f"{arch}.attention.key_length", head_dim)
        out.u32(f"{arch}.attention.value_length", head_dim)
    out.f32(f"{arch}.attention.layer_norm_rms_epsilon", cfg.rms_norm_eps)
    rope = cfg.rope_parameters
    out.f32(f"{arch}.rope.freq_base", rope["rope_theta"])
    if rope["rope_type"] == "llama3":
        plain = rope["rope_theta"] ** (-np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)
        factors = plain / model.model.rotary_emb.inv_freq.double().numpy()
        assert factors[0] < 1.001 and factors[-1] > 7.9 and any(1.1 < f < 7.5 for f in factors), factors
        out.tensor("rope_freqs.weight", factors.shape, factors.astype("<f4").tobytes())
    for name, p in model.named_parameters():
        w = p.detach().numpy().astype("<f4")
        if arch == "llama" and name.endswith(("q_proj.weight", "k_proj.weight")):
            w = interleave(w, cfg.num_attention_heads if "q_proj" in name else cfg.num_key_value_heads)
        out.tensor(gguf_name(name), w.shape, np.ascontiguousarray(w).tobytes())
    out.write(path)


def write_logits(arch, logits, tokens, path):
    biggest = float(np.abs(logits).max())
    with open(path, "w") as f:
        f.write(f"# Logits of tests/golden/{arch}.gguf by transformers {transformers.__version__}, torch "
                f"{torch.__version__.split('+')[0]}, numpy {np.__version__}, float32, eager attention.\n"
                f"# Made by tools/golden/make_goldens.py, seed {SEED}. SPDX-License-Identifier: MIT\n")
        f.write(f"tokens {len(tokens)} {' '.join(map(str, tokens))}\nmax {biggest:.6g}\n")
        for pos, row in enumerate(logits):
            best = np.argsort(row)[::-1]
            clear = row[best[0]] - row[best[1]] > 0.01 * biggest
            first = pos * SLICE % VOCAB
            values = " ".join(f"{v:.6g}" for v in row[first:first + SLICE])
            f.write(f"row {pos} {best[0] if clear else -1} {first} {SLICE} {values}\n")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    torch.set_num_threads(1)
    tokens = np.random.default_rng(SEED).integers(3, VOCAB, N_TOKENS).tolist()
    for arch, cfg in CONFIGS.items():
        model = transformers.AutoModelForCausalLM.from_config(cfg, attn_implementation="eager").float().eval()
        randomise(model)
        with torch.no_grad():
            logits = model(torch.tensor([tokens])).logits[0].numpy()
        export(arch, cfg, model, os.path.join(sys.argv[1], f"{arch}.gguf"))
        write_logits(arch, logits, tokens, os.path.join(sys.argv[1], f"{arch}.logits.txt"))


if __name__ == "__main__":
    main()
