/* A model with everything it needs, for the forward tests. SPDX-License-Identifier: MIT */
#ifndef LEVER_TESTS_FORWARD_RIG_H
#define LEVER_TESTS_FORWARD_RIG_H

#include "support/check.h"

#include "model/model.h"
#include "os/cpu.h"

enum { RIG_ROWS = 64, RIG_CTX = 128, RIG_SCRATCH = 80, RIG_TOKENS = 40 };

enum rig_pin { PIN_ALL, PIN_NONE, PIN_ODD, PIN_HEAD, PIN_LAYERS };

typedef struct rig_config {
    const char *path;
    unsigned n_threads; /* 0 = 1 */
    unsigned cpu_flags;
    enum rig_pin pin;
    const char *backend; /* NULL: "pool" when something streams */
    size_t extent_bytes; /* 0 = 4096 */
    size_t extra_ring;   /* bytes above the minimum */
    lv_io_config io;     /* zeroed: defaults */
    bool verify;         /* check reads; the sums lie beside the model */
} rig_config;

typedef struct rig {
    lv_model *m;
    lv_cpu *cpu;
    lv_io *io;
    lv_kv kv;
    uint32_t n_vocab;
} rig;

static inline void rig_close(rig *r)
{
    lv_model_close(&r->m);
    lv_io_close(&r->io);
    lv_cpu_close(&r->cpu);
    lv_kv_fini(&r->kv);
}

static inline void rig_pin_weights(lv_model *m, enum rig_pin pin)
{
    size_t n;
    lv_model_weight *w = lv_model_weights(m, &n);
    for (size_t i = 0; i < n; i++) {
        const bool head = i + 1 == n;
        w[i].resident = pin == PIN_ALL || (pin == PIN_ODD && i % 2) || (pin == PIN_HEAD && head) ||
                        (pin == PIN_LAYERS && !head);
    }
}

static inline int rig_open(rig *r, const rig_config *c, lever_error *err)
{
    memset(r, 0, sizeof *r);
    LEVER_TRY(lv_model_open(&r->m, c->path, err));
    if (c->verify) LEVER_TRY(lv_model_verify_reads(r->m, err));
    const lv_cpu_config cc = { .n_threads = c->n_threads ? c->n_threads : 1,
                               .cpu_flags = c->cpu_flags,
                               .max_rows = RIG_ROWS,
                               .max_k = lv_model_max_k(r->m),
                               .max_ctx = RIG_CTX,
                               .max_head_dim = lv_model_hparams(r->m)->head_dim };
    LEVER_TRY(lv_cpu_open(&r->cpu, &cc, err));
    LEVER_TRY(lv_kv_init(&r->kv, lv_model_hparams(r->m), LV_TYPE_F16, RIG_CTX, RIG_SCRATCH, err));
    lv_io_config io = c->io;
    if (!io.depth) lv_io_config_init(&io);
    if (c->pin != PIN_ALL) LEVER_TRY(lv_io_open(&r->io, c->backend ? c->backend : "pool", &io, err));
    rig_pin_weights(r->m, c->pin);
    lv_model_load_config lc = { .cpu = r->cpu,
                                .io = r->io,
                                .max_rows = RIG_ROWS,
                                .extent_bytes = c->extent_bytes ? c->extent_bytes : 4096 };
    const size_t ring = lv_model_min_ring(r->m, lc.extent_bytes);
    lc.ring_bytes = ring ? ring + c->extra_ring : 0;
    LEVER_TRY(lv_model_load(r->m, &lc, err));
    r->n_vocab = lv_model_hparams(r->m)->n_vocab;
    return LEVER_OK;
}

/* Append rows to the scratch part; parents [n] as in lv_row, or NULL for a chain. */
static inline int rig_forward(rig *r, const int32_t *tokens, const int32_t *parents, uint32_t n,
                              lever_error *err)
{
    lv_row rows[RIG_ROWS + 1]; /* one more than a model takes: a test asks for that */
    lv_kv *kv = &r->kv;
    const int32_t base = (int32_t)kv->n_scratch;
    for (uint32_t i = 0; i < n; i++)
        rows[i] = (lv_row){ .token = tokens[i], .parent = parents ? parents[i] : base + (int32_t)i - 1 };
    lv_batch b = { .rows = rows, .n_rows = n, .kv = &kv, .n_kv = 1 };
    return lv_model_forward(r->m, &b, err);
}

static inline int rig_project(rig *r, uint32_t n, float *logits, lever_error *err)
{
    uint32_t rows[RIG_ROWS];
    for (uint32_t i = 0; i < n; i++) rows[i] = i;
    return lv_model_project(r->m, rows, n, logits, err);
}

static inline void rig_commit_chain(rig *r, uint32_t n)
{
    int32_t path[RIG_ROWS];
    for (uint32_t i = 0; i < n; i++) path[i] = (int32_t)i;
    lv_kv_commit(&r->kv, path, n);
}

/* Decode tokens [n] in batches of `chunk`; logits [n][n_vocab]. */
static inline int rig_decode(rig *r, const int32_t *tokens, uint32_t n, uint32_t chunk, float *logits,
                             lever_error *err)
{
    for (uint32_t i = 0; i < n; i += chunk) {
        const uint32_t c = n - i < chunk ? n - i : chunk;
        LEVER_TRY(rig_forward(r, tokens + i, NULL, c, err));
        LEVER_TRY(rig_project(r, c, logits + (size_t)i * r->n_vocab, err));
        rig_commit_chain(r, c);
    }
    return LEVER_OK;
}

/* Fixed pseudo-random tokens below n_vocab. */
static inline void rig_tokens(int32_t *tokens, uint32_t n, uint32_t n_vocab, uint32_t seed)
{
    uint32_t x = seed * 2654435761u + 1;
    for (uint32_t i = 0; i < n; i++) {
        x = x * 1664525u + 1013904223u;
        tokens[i] = (int32_t)((x >> 8) % n_vocab);
    }
}

/* FNV-1a over committed keys and values: equal caches, equal sums. */
static inline uint64_t rig_kv_sum(const lv_kv *kv)
{
    uint64_t h = 0xcbf29ce484222325u ^ kv->n_committed;
    for (uint32_t l = 0; l < kv->n_layers; l++)
        for (uint32_t head = 0; head < kv->n_kv_heads; head++)
            for (size_t i = 0; i < kv->n_committed * kv->row_bytes; i++) {
                h = (h ^ kv->k[lv_kv_offset(kv, l, head) + i]) * 0x100000001b3u;
                h = (h ^ kv->v[lv_kv_offset(kv, l, head) + i]) * 0x100000001b3u;
            }
    return h;
}

/* Logits and cache of plain decoding (one row at a time, one thread, reference kernels, resident):
 * what everything else must equal. logits [RIG_TOKENS][n_vocab], returned: free with free(). */
static inline float *rig_truth(const char *path, const int32_t *tokens, uint32_t n, uint64_t *kv_sum)
{
    rig r;
    lever_error e = { 0 };
    CHECK_OK(rig_open(&r, &(rig_config){ .path = path }, &e), &e);
    float *logits = calloc((size_t)n * (r.n_vocab ? r.n_vocab : 1), sizeof *logits);
    if (r.n_vocab) CHECK_OK(rig_decode(&r, tokens, n, 1, logits, &e), &e);
    *kv_sum = rig_kv_sum(&r.kv);
    rig_close(&r);
    return logits;
}

#endif
