/* SPDX-License-Identifier: MIT */
#include "support/mkmodel.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "gguf/gguf.h"

enum { CHUNK = 1 << 16, PER_LAYER = 14, TOKEN_NORMAL = 1, TOKEN_CONTROL = 3, TOKEN_UNUSED = 5 };

typedef struct plan_tensor {
    char     name[48];
    uint32_t type, n_dims;
    uint64_t dims[2];
    float    mean, sd;
} plan_tensor;

typedef struct plan {
    const mk_config *c;
    uint32_t     head_dim;
    plan_tensor *t; /* [n] */
    size_t       n;
} plan;

mk_config mk_config_init(void)
{
    return (mk_config){ .arch = "llama", .type = LV_TYPE_Q8_0, .n_vocab = MK_MIN_VOCAB, .n_ctx = 512,
                        .n_embd = 64, .n_layers = 4, .n_ff = 160, .n_heads = 4, .n_kv_heads = 2,
                        .tied = true, .rope_base = 10000.0f, .seed = 1 };
}

static int check_config(const mk_config *c, uint32_t head_dim, lever_error *err)
{
    const bool arch = !strcmp(c->arch, "llama") || !strcmp(c->arch, "qwen2") || !strcmp(c->arch, "qwen3");
    const lv_type_traits *type = lv_type_traits_get(c->type);
    if (!arch) return lv_fail(err, LEVER_EINVAL, 0, "arch '%s': llama, qwen2 or qwen3", c->arch);
    if (!type || !type->quantize) return lv_fail(err, LEVER_EINVAL, 0, "type can not be written");
    if (!c->n_ctx || !c->n_embd || !c->n_layers || !c->n_ff || !c->n_heads || !c->n_kv_heads || !head_dim)
        return lv_fail(err, LEVER_EINVAL, 0, "a size is 0");
    if (c->n_layers > 1000 || c->n_vocab > 1 << 24)
        return lv_fail(err, LEVER_EINVAL, 0, "layers or vocab too large");
    if (c->n_vocab < MK_MIN_VOCAB)
        return lv_fail(err, LEVER_EINVAL, 0, "vocab %" PRIu32 ": at least %d", c->n_vocab, MK_MIN_VOCAB);
    if (c->n_heads % c->n_kv_heads) return lv_fail(err, LEVER_EINVAL, 0, "heads are no multiple of kv-heads");
    if (head_dim % 2) return lv_fail(err, LEVER_EINVAL, 0, "head-dim %" PRIu32 " is odd", head_dim);
    const uint64_t cols[] = { c->n_embd, c->n_ff, (uint64_t)c->n_heads * head_dim };
    for (int i = 0; i < 3; i++)
        if (cols[i] % type->block_len)
            return lv_fail(err, LEVER_EINVAL, 0, "rows of %" PRIu64 " are not whole %s blocks", cols[i],
                           type->name);
    return LEVER_OK;
}

/* ---- which tensors ---- */

static plan_tensor *plan_add(plan *p, int layer, const char *name)
{
    plan_tensor *t = &p->t[p->n++];
    if (layer < 0) snprintf(t->name, sizeof t->name, "%s", name);
    else snprintf(t->name, sizeof t->name, "blk.%d.%s", layer, name);
    return t;
}

static void plan_matrix(plan *p, int layer, const char *name, uint64_t rows, uint64_t cols, float scale)
{
    plan_tensor *t = plan_add(p, layer, name);
    t->type = p->c->type, t->n_dims = 2;
    t->dims[0] = rows, t->dims[1] = cols;
    t->sd = scale / sqrtf((float)cols);
}

static void plan_vector(plan *p, int layer, const char *name, uint64_t n, float mean)
{
    plan_tensor *t = plan_add(p, layer, name);
    t->type = LV_TYPE_F32, t->n_dims = 1;
    t->dims[0] = n;
    t->mean = mean, t->sd = 0.1f;
}

static void plan_layer(plan *p, int layer)
{
    const mk_config *c = p->c;
    const uint64_t q = (uint64_t)c->n_heads * p->head_dim, kv = (uint64_t)c->n_kv_heads * p->head_dim;
    const float residual = 1.0f / (float)(layer + 1);
    plan_vector(p, layer, "attn_norm.weight", c->n_embd, 1.0f);
    plan_matrix(p, layer, "attn_q.weight", q, c->n_embd, 1.0f);
    plan_matrix(p, layer, "attn_k.weight", kv, c->n_embd, 1.0f);
    plan_matrix(p, layer, "attn_v.weight", kv, c->n_embd, 1.0f);
    if (!strcmp(c->arch, "qwen2")) {
        plan_vector(p, layer, "attn_q.bias", q, 0.0f);
        plan_vector(p, layer, "attn_k.bias", kv, 0.0f);
        plan_vector(p, layer, "attn_v.bias", kv, 0.0f);
    }
    if (!strcmp(c->arch, "qwen3")) {
        plan_vector(p, layer, "attn_q_norm.weight", p->head_dim, 1.0f);
        plan_vector(p, layer, "attn_k_norm.weight", p->head_dim, 1.0f);
    }
    plan_matrix(p, layer, "attn_output.weight", c->n_embd, q, residual);
    plan_vector(p, layer, "ffn_norm.weight", c->n_embd, 1.0f);
    plan_matrix(p, layer, "ffn_gate.weight", c->n_ff, c->n_embd, 1.0f);
    plan_matrix(p, layer, "ffn_up.weight", c->n_ff, c->n_embd, 1.0f);
    plan_matrix(p, layer, "ffn_down.weight", c->n_embd, c->n_ff, residual);
}

static void plan_all(plan *p)
{
    const mk_config *c = p->c;
    plan_matrix(p, -1, "token_embd.weight", c->n_vocab, c->n_embd, 1.0f);
    for (uint32_t i = 0; i < c->n_layers; i++) plan_layer(p, (int)i);
    plan_vector(p, -1, "output_norm.weight", c->n_embd, 1.0f);
    if (!c->tied) plan_matrix(p, -1, "output.weight", c->n_vocab, c->n_embd, 1.0f);
}

/* ---- keys ---- */

static int put_arch(lv_gguf_writer *w, const plan *p, lever_error *err)
{
    const mk_config *c = p->c;
    const struct { const char *name; uint32_t v; } keys[] = {
        { "context_length", c->n_ctx },
        { "embedding_length", c->n_embd },
        { "block_count", c->n_layers },
        { "feed_forward_length", c->n_ff },
        { "attention.head_count", c->n_heads },
        { "attention.head_count_kv", c->n_kv_heads },
        { "attention.key_length", p->head_dim },
        { "attention.value_length", p->head_dim },
        { "rope.dimension_count", p->head_dim },
        { "vocab_size", c->n_vocab },
    };
    char key[64];
    LEVER_TRY(lv_gguf_put_str(w, "general.architecture", c->arch, strlen(c->arch), err));
    LEVER_TRY(lv_gguf_put_str(w, "general.name", "random", 6, err));
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        snprintf(key, sizeof key, "%s.%s", c->arch, keys[i].name);
        LEVER_TRY(lv_gguf_put_u32(w, key, keys[i].v, err));
    }
    snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", c->arch);
    LEVER_TRY(lv_gguf_put_f32(w, key, 1e-5f, err));
    snprintf(key, sizeof key, "%s.rope.freq_base", c->arch);
    return lv_gguf_put_f32(w, key, c->rope_base, err);
}

static size_t put_utf8(char *dst, unsigned cp) /* cp < 0x800 */
{
    if (cp < 0x80) {
        dst[0] = (char)cp;
        return 1;
    }
    dst[0] = (char)(0xc0 | cp >> 6);
    dst[1] = (char)(0x80 | (cp & 0x3f));
    return 2;
}

/* Byte-level BPE writes each byte as a printable character: printable Latin-1 stands for itself, the
 * other 68 bytes are numbered from U+0100 in ascending order. */
static size_t byte_text(char *dst, unsigned byte)
{
    unsigned next = 0x100;
    for (unsigned b = 0;; b++) {
        const bool self = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        if (b == byte) return put_utf8(dst, self ? b : next);
        next += !self;
    }
}

#define SP "\xc4\xa0" /* U+0120: the space */
static const char *const merges[MK_N_MERGES] = {
    SP " t", "h e", SP "t he", "i n", SP " a", "o u", SP " s", "e r", "o n", "r e", "n d", SP "a nd",
    "i t", SP " w", "in g", "t h",
};

typedef struct vocabulary {
    lv_str  *text;             /* [n_vocab] into pool */
    int32_t *type;             /* [n_vocab] */
    char   (*pool)[16];        /* [n_vocab] */
} vocabulary;

static void vocabulary_fill(vocabulary *v, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        char *s = v->pool[i];
        v->type[i] = i < MK_MIN_VOCAB - 1 ? TOKEN_NORMAL : i < MK_MIN_VOCAB ? TOKEN_CONTROL : TOKEN_UNUSED;
        if (i < 256) {
            s[byte_text(s, i)] = '\0';
        } else if (i < 256 + MK_N_MERGES) {
            const char *m = merges[i - 256], *gap = strchr(m, ' ');
            snprintf(s, sizeof *v->pool, "%.*s%s", (int)(gap - m), m, gap + 1);
        } else if (i == MK_MIN_VOCAB - 1) {
            snprintf(s, sizeof *v->pool, "<|endoftext|>");
        } else {
            snprintf(s, sizeof *v->pool, "[PAD%" PRIu32 "]", i);
        }
        v->text[i] = (lv_str){ s, strlen(s) };
    }
}

static int put_tokenizer(lv_gguf_writer *w, const vocabulary *v, const mk_config *c, lever_error *err)
{
    const uint32_t n = c->n_vocab;
    lv_str m[MK_N_MERGES];
    for (int i = 0; i < MK_N_MERGES; i++) m[i] = (lv_str){ merges[i], strlen(merges[i]) };
    LEVER_TRY(lv_gguf_put_str(w, "tokenizer.ggml.model", "gpt2", 4, err));
    LEVER_TRY(lv_gguf_put_str(w, "tokenizer.ggml.pre", "gpt-2", 5, err));
    LEVER_TRY(lv_gguf_put_strs(w, "tokenizer.ggml.tokens", v->text, n, err));
    LEVER_TRY(lv_gguf_put_i32s(w, "tokenizer.ggml.token_type", v->type, n, err));
    LEVER_TRY(lv_gguf_put_strs(w, "tokenizer.ggml.merges", m, MK_N_MERGES, err));
    LEVER_TRY(lv_gguf_put_u32(w, "tokenizer.ggml.bos_token_id", MK_MIN_VOCAB - 1, err));
    LEVER_TRY(lv_gguf_put_u32(w, "tokenizer.ggml.eos_token_id", MK_MIN_VOCAB - 1, err));
    if (c->chat_template)
        LEVER_TRY(lv_gguf_put_str(w, "tokenizer.chat_template", c->chat_template, strlen(c->chat_template), err));
    return lv_gguf_put_bool(w, "tokenizer.ggml.add_bos_token", c->add_bos, err);
}

static int put_vocabulary(lv_gguf_writer *w, const mk_config *c, lever_error *err)
{
    const uint32_t n = c->n_vocab;
    vocabulary v = { .text = lv_alloc_array(n, sizeof *v.text, 16),
                     .type = lv_alloc_array(n, sizeof *v.type, 16),
                     .pool = lv_alloc_array(n, sizeof *v.pool, 16) };
    int rc = LEVER_ENOMEM;
    if (!v.text || !v.type || !v.pool) {
        lv_fail(err, rc, 0, "vocabulary of %" PRIu32 " tokens", n);
        goto fail;
    }
    vocabulary_fill(&v, n);
    rc = put_tokenizer(w, &v, c, err);
fail:
    lv_free(v.text);
    lv_free(v.type);
    lv_free(v.pool);
    return rc;
}

/* ---- numbers ---- */

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static uint64_t name_seed(uint64_t seed, const char *name)
{
    uint64_t h = mix(seed + 0x9e3779b97f4a7c15u);
    for (; *name; name++) h = mix(h ^ (uint8_t)*name);
    return h;
}

/* Sum of four uniform 16-bit numbers: bell-shaped within 3.46 standard deviations, one hash each. */
static void fill_normal(float *x, size_t n, uint64_t *state, float mean, float sd)
{
    const float unit = sd / 37837.2f; /* sqrt(4 / 12) * 65536 */
    for (size_t i = 0; i < n; i++) {
        const uint64_t r = mix(*state += 0x9e3779b97f4a7c15u);
        const int32_t sum = (int32_t)((r & 0xffff) + (r >> 16 & 0xffff) + (r >> 32 & 0xffff) + (r >> 48));
        x[i] = mean + unit * (float)(sum - 131070);
    }
}

static int write_tensor(lv_gguf_writer *w, const plan_tensor *t, uint64_t seed, float *x, uint8_t *q,
                        lever_error *err)
{
    const lv_type_traits *type = lv_type_traits_get(t->type);
    uint64_t state = name_seed(seed, t->name), left = t->dims[0] * (t->n_dims == 2 ? t->dims[1] : 1);
    while (left) {
        const size_t n = left < CHUNK ? (size_t)left : CHUNK; /* CHUNK holds whole blocks of any type */
        fill_normal(x, n, &state, t->mean, t->sd);
        type->quantize(q, x, n);
        LEVER_TRY(lv_gguf_write_data(w, q, n / type->block_len * type->block_bytes, err));
        left -= n;
    }
    return LEVER_OK;
}

static int write_model(lv_gguf_writer *w, const plan *p, lever_error *err)
{
    LEVER_TRY(put_arch(w, p, err));
    LEVER_TRY(put_vocabulary(w, p->c, err));
    for (size_t i = 0; i < p->n; i++) {
        const plan_tensor *t = &p->t[i];
        LEVER_TRY(lv_gguf_put_tensor(w, t->name, t->type, t->n_dims, t->dims, err));
    }
    float *x = lv_alloc_array(CHUNK, sizeof *x, 64);
    uint8_t *q = lv_alloc_array(CHUNK, sizeof *x, 64);
    int rc = x && q ? LEVER_OK : lv_fail(err, LEVER_ENOMEM, 0, "rows of weights");
    for (size_t i = 0; rc == LEVER_OK && i < p->n; i++) rc = write_tensor(w, &p->t[i], p->c->seed, x, q, err);
    lv_free(x);
    lv_free(q);
    return rc < 0 ? rc : lv_gguf_writer_finish(w, err);
}

int mk_model_write(const char *path, const mk_config *c, lever_error *err)
{
    plan p = { .c = c, .head_dim = c->head_dim ? c->head_dim : c->n_heads ? c->n_embd / c->n_heads : 0 };
    LEVER_TRY(check_config(c, p.head_dim, err));
    p.t = lv_alloc_array((size_t)c->n_layers * PER_LAYER + 3, sizeof *p.t, 16);
    if (!p.t) return lv_fail(err, LEVER_ENOMEM, 0, "tensor list");
    plan_all(&p);
    lv_gguf_writer *w;
    int rc = lv_gguf_writer_open(&w, path, err);
    if (rc == LEVER_OK) rc = write_model(w, &p, err);
    lv_gguf_writer_close(&w);
    lv_free(p.t);
    return rc;
}
