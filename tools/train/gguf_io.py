# SPDX-License-Identifier: MIT
"""Checkpoint to GGUF, and GGUF back to a PyTorch model with dequantised weights.

    python gguf_io.py --ckpt WORK/target.pt --tokenizer WORK/tokenizer.json \
        --out models/lever-demo-target.Q8_0.gguf --name "Lever demo target"
"""
import argparse
import json

import gguf
import numpy as np
import torch

from model import Config, Model, load
from tokenizer import SPECIAL

TEMPLATE = ("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
            "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
LICENCE = "MIT (training code); weights trained on MIT, CC-BY-SA-4.0, CDLA-Sharing-1.0 and public-domain text"
TYPES = {"q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
         "q4_0": (gguf.GGMLQuantizationType.Q4_0, gguf.LlamaFileType.MOSTLY_Q4_0),
         "f16": (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
         "f32": (gguf.GGMLQuantizationType.F32, gguf.LlamaFileType.ALL_F32)}


def write(path, model, tokenizer_json, name, kind="q8_0"):
    c, (qtype, ftype) = model.cfg, TYPES[kind]
    w = gguf.GGUFWriter(path, "qwen3")
    w.add_name(name)
    w.add_description("Small demo model of Lever, trained from scratch; for tests and demonstrations.")
    w.add_license(LICENCE)
    w.add_context_length(c.context)
    w.add_embedding_length(c.dim)
    w.add_block_count(c.layers)
    w.add_feed_forward_length(c.ffn)
    w.add_head_count(c.heads)
    w.add_head_count_kv(c.kv_heads)
    w.add_key_length(c.head_dim)
    w.add_value_length(c.head_dim)
    w.add_rope_freq_base(c.rope_base)
    w.add_layer_norm_rms_eps(c.eps)
    w.add_vocab_size(c.vocab)
    w.add_file_type(ftype)
    add_tokenizer(w, tokenizer_json)
    for tensor, p in model.state_dict().items():
        data = p.float().numpy()
        if data.ndim == 2:
            w.add_tensor(tensor, gguf.quants.quantize(data, qtype), raw_dtype=qtype)
        else:
            w.add_tensor(tensor, data)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def add_tokenizer(w, tokenizer_json):
    with open(tokenizer_json) as f:
        bpe = json.load(f)["model"]
    tokens = sorted(bpe["vocab"], key=bpe["vocab"].get)
    merges = [m if isinstance(m, str) else " ".join(m) for m in bpe["merges"]]
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("qwen2")
    w.add_token_list(tokens)
    w.add_token_types([control if t in SPECIAL else normal for t in tokens])
    w.add_token_merges(merges)
    w.add_bos_token_id(tokens.index("<|endoftext|>"))
    w.add_eos_token_id(tokens.index("<|endoftext|>"))
    w.add_eot_token_id(tokens.index("<|im_end|>"))
    w.add_pad_token_id(tokens.index("<|endoftext|>"))
    w.add_add_bos_token(False)
    w.add_chat_template(TEMPLATE)


def read(path):
    """The model a GGUF of ours describes, its weights dequantised to float32."""
    r = gguf.GGUFReader(path)

    def get(key):
        return r.fields["qwen3." + key].contents()

    model = Model(Config(
        dim=get("embedding_length"), layers=get("block_count"), heads=get("attention.head_count"),
        kv_heads=get("attention.head_count_kv"), head_dim=get("attention.key_length"),
        ffn=get("feed_forward_length"), vocab=get("vocab_size"), context=get("context_length"),
        rope_base=get("rope.freq_base"), eps=get("attention.layer_norm_rms_epsilon")))
    state = {t.name: torch.from_numpy(np.array(gguf.quants.dequantize(t.data, t.tensor_type), np.float32))
             for t in r.tensors}
    model.load_state_dict(state)
    return model.eval()


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--ckpt", required=True)
    ap.add_argument("--tokenizer", required=True)
    ap.add_argument("--out", required=True)
    ap.add_argument("--name", required=True)
    ap.add_argument("--type", choices=TYPES, default="q8_0")
    a = ap.parse_args()
    write(a.out, load(a.ckpt), a.tokenizer, a.name, a.type)


if __name__ == "__main__":
    main()
