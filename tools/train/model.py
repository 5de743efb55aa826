# SPDX-License-Identifier: MIT
"""Qwen3 in plain PyTorch: the architecture both demo models share.

One file that reads like the paper: RMSNorm, grouped-query attention with a norm
per head on q and k, rotary positions (neox halves), SwiGLU, tied embeddings, no biases.
"""
from dataclasses import asdict, dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F


@dataclass
class Config:
    dim: int = 256
    layers: int = 16
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 128
    ffn: int = 1536
    vocab: int = 8192
    context: int = 1024
    rope_base: float = 10000.0
    eps: float = 1e-6


# Width 256 and heads of 128: a power of four below 4096, and the head size of the large models, so that
# `grow` embeds these models in shapes of 8B without a single changed bit.
TARGET = Config()
DRAFT = Config(layers=4, heads=2, kv_heads=1, ffn=512)


class RMSNorm(nn.Module):
    def __init__(self, n, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n))
        self.eps = eps

    def forward(self, x):
        return F.rms_norm(x, (x.shape[-1],), self.weight.to(x.dtype), self.eps)


def rope_tables(cfg, n):
    """cos and sin, each [n][head_dim], the two halves of a row equal."""
    freq = cfg.rope_base ** (-torch.arange(0, cfg.head_dim, 2).float() / cfg.head_dim)
    angle = torch.outer(torch.arange(n).float(), freq)
    angle = torch.cat([angle, angle], dim=-1)
    return angle.cos(), angle.sin()


def rotate(x, cos, sin):
    """x: [batch][heads][positions][head_dim]"""
    a, b = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-b, a], dim=-1) * sin


class Cache:
    """Keys and values of the positions seen so far; n counts them."""

    def __init__(self, cfg, batch):
        shape = (cfg.layers, batch, cfg.kv_heads, cfg.context, cfg.head_dim)
        self.shape, self.k, self.v, self.n = shape, None, None, 0

    def append(self, layer, k, v):
        if self.k is None:
            self.k, self.v = k.new_zeros(self.shape), v.new_zeros(self.shape)
        end = self.n + k.shape[2]
        self.k[layer, :, :, self.n:end] = k
        self.v[layer, :, :, self.n:end] = v
        return self.k[layer, :, :, :end], self.v[layer, :, :, :end]


def attend(q, k, v, chunk=256):
    """Causal attention as matrix products, a chunk of queries at a time: in bf16 on a CPU the fused kernel takes
    half of a training step, this a third of that."""
    out = []
    for at in range(0, q.shape[2], chunk):
        end = min(at + chunk, q.shape[2])
        scores = (q[:, :, at:end] @ k[:, :, :end].transpose(-2, -1)).float() * q.shape[-1] ** -0.5
        future = torch.ones(end - at, end, dtype=torch.bool).triu(at + 1)
        out.append(scores.masked_fill(future, float("-inf")).softmax(-1).to(q.dtype) @ v[:, :, :end])
    return torch.cat(out, 2)


class Block(nn.Module):
    def __init__(self, c, index):
        super().__init__()
        self.c, self.index = c, index
        self.attn_norm = RMSNorm(c.dim, c.eps)
        self.attn_q = nn.Linear(c.dim, c.heads * c.head_dim, bias=False)
        self.attn_k = nn.Linear(c.dim, c.kv_heads * c.head_dim, bias=False)
        self.attn_v = nn.Linear(c.dim, c.kv_heads * c.head_dim, bias=False)
        self.attn_q_norm = RMSNorm(c.head_dim, c.eps)
        self.attn_k_norm = RMSNorm(c.head_dim, c.eps)
        self.attn_output = nn.Linear(c.heads * c.head_dim, c.dim, bias=False)
        self.ffn_norm = RMSNorm(c.dim, c.eps)
        self.ffn_gate = nn.Linear(c.dim, c.ffn, bias=False)
        self.ffn_up = nn.Linear(c.dim, c.ffn, bias=False)
        self.ffn_down = nn.Linear(c.ffn, c.dim, bias=False)

    def forward(self, x, cos, sin, cache=None):
        c, (b, t, _) = self.c, x.shape
        h = self.attn_norm(x)
        q = self.attn_q_norm(self.attn_q(h).view(b, t, c.heads, c.head_dim)).transpose(1, 2)
        k = self.attn_k_norm(self.attn_k(h).view(b, t, c.kv_heads, c.head_dim)).transpose(1, 2)
        v = self.attn_v(h).view(b, t, c.kv_heads, c.head_dim).transpose(1, 2)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        group, past = c.heads // c.kv_heads, 0
        if cache is not None:
            past = cache.n
            k, v = cache.append(self.index, k, v)
        if past:  # one new position: the heads of a group are queries on the same keys
            assert t == 1
            a = F.scaled_dot_product_attention(q.reshape(b, c.kv_heads, group, -1), k, v)
            a = a.reshape(b, c.heads, 1, -1)
        else:
            k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
            a = attend(q, k, v) if self.training else F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attn_output(a.transpose(1, 2).reshape(b, t, -1))
        h = self.ffn_norm(x)
        return x + self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h))


class Model(nn.Module):
    """Parameter names follow GGUF (blk.N.attn_q.weight ...), so export is a plain walk."""

    def __init__(self, cfg):
        super().__init__()
        self.cfg = cfg
        self.token_embd = nn.Embedding(cfg.vocab, cfg.dim)
        self.blk = nn.ModuleList([Block(cfg, i) for i in range(cfg.layers)])
        self.output_norm = RMSNorm(cfg.dim, cfg.eps)
        cos, sin = rope_tables(cfg, cfg.context)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                residual = "attn_output" in name or "ffn_down" in name
                nn.init.normal_(p, std=0.02 / (2 * cfg.layers) ** 0.5 if residual else 0.02)

    def hidden(self, ids, cache=None):
        """Token ids [batch][positions] to normed states [batch][positions][dim]."""
        x = self.token_embd(ids)
        past = cache.n if cache else 0
        cos, sin = self.cos[past:past + ids.shape[1]], self.sin[past:past + ids.shape[1]]
        if torch.is_autocast_enabled("cpu"):
            x, cos, sin = x.bfloat16(), cos.bfloat16(), sin.bfloat16()
        for b in self.blk:
            x = b(x, cos, sin, cache)
        if cache:
            cache.n += ids.shape[1]
        return self.output_norm(x)

    def forward(self, ids, cache=None):
        return F.linear(self.hidden(ids, cache), self.token_embd.weight)


def save(path, model, **extra):
    torch.save({"config": asdict(model.cfg), "model": model.state_dict(), **extra}, path)


def load(path):
    """A model in eval mode from a checkpoint written by save()."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    model = Model(Config(**state["config"]))
    model.load_state_dict(state["model"])
    return model.eval()


@torch.no_grad()
def generate(model, ids, n, temperature=0.0, rng=None):
    """n new ids after each prompt. ids: [batch][positions]; temperature 0 takes the
    likeliest id. Nothing stops early: the caller cuts at the end marks it wants."""
    cache = Cache(model.cfg, ids.shape[0])
    step, out = ids, []
    for _ in range(min(n, model.cfg.context - ids.shape[1])):
        h = model.hidden(step, cache)[:, -1]
        logits = F.linear(h, model.token_embd.weight).float()
        if temperature > 0:
            step = torch.multinomial((logits / temperature).softmax(-1), 1, generator=rng)
        else:
            step = logits.argmax(-1, keepdim=True)
        out.append(step)
    return torch.cat(out, 1)
