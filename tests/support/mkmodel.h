/* Writes random models that are complete and valid: any size, a few seconds per GiB, memory of a few
 * rows. For tests of streaming, budgets and speculation that need no meaning in the text.
 *
 * A tensor's numbers depend on the seed, its name and its shape only, and what layer l adds to the
 * residual is scaled by 1 / (l + 1): so the same configuration with fewer layers is a draft model that
 * agrees with the deep one now and then. SPDX-License-Identifier: MIT */
#ifndef LEVER_TESTS_SUPPORT_MKMODEL_H
#define LEVER_TESTS_SUPPORT_MKMODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "quant/quant.h"

/* 256 byte tokens, one per merge, <|endoftext|>; every id above is an unused token. */
enum { MK_N_MERGES = 16, MK_MIN_VOCAB = 256 + MK_N_MERGES + 1 };

typedef struct mk_config {
    const char *arch;  /* "llama", "qwen2" (with q, k, v biases), "qwen3" (with q and k norms) */
    uint32_t type;     /* of the matrices; one that can be quantised */
    uint32_t n_vocab, n_ctx, n_embd, n_layers, n_ff, n_heads, n_kv_heads;
    uint32_t head_dim; /* 0: n_embd / n_heads */
    bool     tied;     /* the output head is the embedding */
    bool     add_bos;  /* texts begin with <|endoftext|> */
    float    rope_base;
    uint64_t seed;
    const char *chat_template; /* NULL: none */
} mk_config;

/* A tiny llama: 273 tokens, width 64, 4 layers, 4 heads of 16, 2 KV heads, Q8_0, about 210 KB. */
mk_config mk_config_init(void);
/* LEVER_OK, LEVER_EINVAL (the message names the field), LEVER_EIO, LEVER_ENOMEM. */
int mk_model_write(const char *path, const mk_config *c, lever_error *err);

#endif
