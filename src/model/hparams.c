/* Reading and bounding hyper-parameters. Every limit below is far above any published model and
 * low enough that a product of two fields, in bytes, fits 63 bits: the rest of model/ may multiply
 * them as size_t without checks. Angles of rotation stay below 2^51, where lv_sincos is defined.
 * SPDX-License-Identifier: MIT */
#include "model/hparams.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "model/arch.h"

enum {
    MAX_VOCAB = 1 << 24,
    MAX_CTX = 1 << 30,
    MAX_EMBD = 1 << 17,
    MAX_LAYERS = 1 << 10,
    MAX_FF = 1 << 20,
    MAX_HEADS = 1 << 12,
    MAX_HEAD_DIM = 1 << 10,
    MAX_Q = 1 << 18
};

typedef struct reader {
    const lv_gguf *g;
    const char *arch;
    lever_error *err;
    char key[96];
} reader;

static const char *key_of(reader *r, const char *name)
{
    snprintf(r->key, sizeof r->key, "%s.%s", r->arch, name);
    return r->key;
}

/* Integer in [1, max]; absent: fallback, or LEVER_EFORMAT when that is 0. */
static int read_u32(reader *r, const char *name, uint32_t *v, uint32_t fallback, uint32_t max)
{
    uint64_t x = fallback;
    const int found = lv_gguf_get_u64(r->g, key_of(r, name), &x, r->err);
    if (found < 0) return found;
    if (!found && !fallback) return lv_fail(r->err, LEVER_EFORMAT, 0, "key '%s' is missing", r->key);
    if (x < 1 || x > max)
        return lv_fail(r->err, LEVER_EFORMAT, 0, "key '%s' is %" PRIu64 ", not within 1..%" PRIu32, r->key, x,
                       max);
    *v = (uint32_t)x;
    return LEVER_OK;
}

/* Number in [min, max], min > 0; absent: fallback, or LEVER_EFORMAT when that is 0. The test is written
 * so that NaN fails it. */
static int read_f32(reader *r, const char *name, float *v, float fallback, float min, float max)
{
    float x = fallback;
    const int found = lv_gguf_get_f32(r->g, key_of(r, name), &x, r->err);
    if (found < 0) return found;
    if (!found && fallback == 0) return lv_fail(r->err, LEVER_EFORMAT, 0, "key '%s' is missing", r->key);
    if (!(x >= min && x <= max))
        return lv_fail(r->err, LEVER_EFORMAT, 0, "key '%s' is %g, not within %g..%g", r->key, (double)x,
                       (double)min, (double)max);
    *v = x;
    return LEVER_OK;
}

static int read_arch(lv_hparams *h, reader *r)
{
    lv_str name = { 0 };
    const int found = lv_gguf_get_str(r->g, "general.architecture", &name, r->err);
    if (found < 0) return found;
    if (!found) return lv_fail(r->err, LEVER_EFORMAT, 0, "key 'general.architecture' is missing");
    const lv_arch *arch = lv_arch_find(name);
    if (!arch) {
        char known[128];
        return lv_fail(r->err, LEVER_EUNSUP, 0, "architecture '%.*s' is not supported (known: %s)",
                       (int)(name.len < 64 ? name.len : 64), name.s, lv_arch_names(known, sizeof known));
    }
    snprintf(h->arch, sizeof h->arch, "%s", arch->name);
    h->rope_neox = arch->rope_neox;
    h->qk_norm = arch->qk_norm;
    h->qkv_bias = arch->qkv_bias;
    r->arch = arch->name;
    return LEVER_OK;
}

static int read_vocab(lv_hparams *h, reader *r)
{
    const lv_gguf_tensor *embd = lv_gguf_find_tensor(r->g, "token_embd.weight");
    const lv_gguf_kv *tokens = lv_gguf_find(r->g, "tokenizer.ggml.tokens");
    const uint64_t n = embd ? embd->dims[0] : tokens ? tokens->n : 0;
    if (n < 1 || n > MAX_VOCAB)
        return lv_fail(r->err, LEVER_EFORMAT, 0,
                       "vocabulary of %" PRIu64 " tokens (from %s), not within 1..%d", n,
                       embd ? "token_embd.weight" : "tokenizer.ggml.tokens", MAX_VOCAB);
    if (tokens && tokens->n != n)
        return lv_fail(r->err, LEVER_EFORMAT, 0,
                       "token_embd.weight has %" PRIu64 " rows, but tokenizer.ggml.tokens %" PRIu64
                       " entries",
                       n, tokens->n);
    h->n_vocab = (uint32_t)n;
    return LEVER_OK;
}

static int read_sizes(lv_hparams *h, reader *r)
{
    LEVER_TRY(read_u32(r, "context_length", &h->n_ctx_train, 0, MAX_CTX));
    LEVER_TRY(read_u32(r, "embedding_length", &h->n_embd, 0, MAX_EMBD));
    LEVER_TRY(read_u32(r, "block_count", &h->n_layers, 0, MAX_LAYERS));
    LEVER_TRY(read_u32(r, "feed_forward_length", &h->n_ff, 0, MAX_FF));
    LEVER_TRY(read_u32(r, "attention.head_count", &h->n_heads, 0, MAX_HEADS));
    LEVER_TRY(read_u32(r, "attention.head_count_kv", &h->n_kv_heads, h->n_heads, MAX_HEADS));
    if (h->n_heads % h->n_kv_heads)
        return lv_fail(r->err, LEVER_EFORMAT, 0,
                       "%s.attention.head_count is %" PRIu32 ", not a multiple of head_count_kv, %" PRIu32,
                       r->arch, h->n_heads, h->n_kv_heads);
    const uint32_t even = h->n_embd / h->n_heads;
    uint32_t value_dim;
    LEVER_TRY(read_u32(r, "attention.key_length", &h->head_dim, even, MAX_HEAD_DIM));
    LEVER_TRY(read_u32(r, "attention.value_length", &value_dim, even, MAX_HEAD_DIM));
    if (value_dim != h->head_dim)
        return lv_fail(r->err, LEVER_EUNSUP, 0,
                       "%s.attention.value_length is %" PRIu32 ", but key_length %" PRIu32
                       "; they must be equal",
                       r->arch, value_dim, h->head_dim);
    if ((uint64_t)h->n_heads * h->head_dim > MAX_Q)
        return lv_fail(r->err, LEVER_EFORMAT, 0,
                       "%" PRIu32 " attention heads of %" PRIu32 ": more than %d values", h->n_heads,
                       h->head_dim, MAX_Q);
    return LEVER_OK;
}

static int read_rope_scaling(lv_hparams *h, reader *r)
{
    lv_str type = { 0 };
    h->rope_scale_linear = 1;
    int found = lv_gguf_get_str(r->g, key_of(r, "rope.scaling.type"), &type, r->err);
    if (found < 0) return found;
    if (!found) /* files from before 2023-11 have only the factor */
        return read_f32(r, "rope.scale_linear", &h->rope_scale_linear, 1, 1e-3f, 1e6f);
    if (type.len == 4 && !memcmp(type.s, "none", 4)) return LEVER_OK;
    if (type.len == 6 && !memcmp(type.s, "linear", 6))
        return read_f32(r, "rope.scaling.factor", &h->rope_scale_linear, 1, 1e-3f, 1e6f);
    return lv_fail(r->err, LEVER_EUNSUP, 0,
                   "rope scaling '%.*s' (key '%s') is not supported (known: none, linear)",
                   (int)(type.len < 64 ? type.len : 64), type.s, r->key);
}

static int read_rope(lv_hparams *h, reader *r)
{
    LEVER_TRY(read_f32(r, "rope.freq_base", &h->rope_base, 10000, 1, 1e12f));
    LEVER_TRY(read_u32(r, "rope.dimension_count", &h->n_rot, h->head_dim, h->head_dim));
    if (h->n_rot % 2)
        return lv_fail(r->err, LEVER_EFORMAT, 0,
                       "key '%s.rope.dimension_count' is %" PRIu32 ", an odd number", r->arch, h->n_rot);
    return read_rope_scaling(h, r);
}

int lv_hparams_read(lv_hparams *h, const lv_gguf *g, lever_error *err)
{
    reader r = { .g = g, .err = err };
    memset(h, 0, sizeof *h);
    LEVER_TRY(read_arch(h, &r));
    uint64_t n_expert = 0;
    LEVER_TRY(lv_gguf_get_u64(g, key_of(&r, "expert_count"), &n_expert, err));
    if (n_expert)
        return lv_fail(err, LEVER_EUNSUP, 0, "key '%s' is %" PRIu64 ": mixtures of experts are not supported",
                       r.key, n_expert);
    LEVER_TRY(read_sizes(h, &r));
    LEVER_TRY(read_f32(&r, "attention.layer_norm_rms_epsilon", &h->norm_eps, 0, 1e-30f, 1));
    LEVER_TRY(read_rope(h, &r));
    return read_vocab(h, &r);
}
