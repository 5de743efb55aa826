/* Hyper-parameters of a decoder-only transformer, read from GGUF keys "<arch>.<name>".
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_MODEL_HPARAMS_H
#define LEVER_MODEL_HPARAMS_H

#include <stdbool.h>
#include <stdint.h>

#include "gguf/gguf.h"

typedef struct lv_hparams {
    char     arch[32];
    uint32_t n_vocab, n_ctx_train, n_embd, n_layers, n_ff;
    uint32_t n_heads, n_kv_heads, head_dim, n_rot;
    float    norm_eps, rope_base;
    bool     rope_neox;          /* pairs (i, i + n_rot/2) instead of (2i, 2i + 1) */
    bool     qk_norm, qkv_bias;  /* qwen3; qwen2 */
    float    rope_scale_linear;  /* positions are divided by this; 1 = none */
} lv_hparams;

/* LEVER_OK; LEVER_EFORMAT (missing or nonsensical value: the key and value are named); LEVER_EUNSUP
 * (architecture or rope scaling unknown). All products of two fields fit size_t afterwards. */
int lv_hparams_read(lv_hparams *h, const lv_gguf *g, lever_error *err);

#endif
