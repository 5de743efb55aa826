/* KV cache writes and attention. All queries that read one KV head, of every head and row of a block, meet
 * its keys in one product and the values they share in another; what a row of a tree has for itself, the path
 * behind the common prefix, follows row by row. SPDX-License-Identifier: MIT */
#include <string.h>

#include "device/cpu/cpu_impl.h"

enum {
    QUERIES_MOST = 64,            /* what one tile of keys serves */
    SCORE_BYTES_MOST = 640 << 10, /* scores of a block stay in a second-level cache */
    QUERIES_LEAST = 4,
    KEYS_LEAST = 32 /* fewer keys are as slow: a product works on whole tiles */
};

lv_attn_scratch lv_cpu_attn_scratch(const lv_kernels *k, const lv_cpu_config *c)
{
    const size_t dim = lv_round_up(c->max_head_dim, 32);
    lv_attn_scratch s = { .ld = lv_round_up(c->max_ctx + c->max_rows, 16) + KEYS_LEAST };
    s.n_queries = SCORE_BYTES_MOST / (s.ld * sizeof(float));
    if (s.n_queries > QUERIES_MOST) s.n_queries = QUERIES_MOST;
    if (s.n_queries < QUERIES_LEAST) s.n_queries = QUERIES_LEAST;
    s.queries = lv_round_up(s.n_queries * s.ld * sizeof(float), 64);
    s.packed = s.queries + lv_round_up(s.n_queries * dim * sizeof(float), 64);
    s.inv = s.packed + lv_round_up(k->act_bytes[LV_ACT_Q8](s.n_queries, dim), 64);
    s.bytes = s.inv + lv_round_up(s.n_queries * sizeof(float), 64);
    return s;
}

/* ---- writing ---- */

typedef struct kv_job {
    lv_cpu *cpu;
    const lv_cpu_attn_row *rows;
    const float *k, *v;
    size_t n_kv_heads, head_dim;
} kv_job;

static void put(const lv_cpu *cpu, const lv_cpu_kv *kv, uint8_t *to, const float *x, size_t n)
{
    if (kv->type == LV_TYPE_F16)
        cpu->k.f32_to_f16((uint16_t *)(void *)to, x, n);
    else
        lv_type_traits_get(kv->type)->quantize(to, x, n);
}

static void write_rows(void *arg, size_t begin, size_t end, unsigned thread)
{
    (void)thread;
    const kv_job *j = arg;
    for (size_t t = begin; t < end; t++) {
        const lv_cpu_kv *kv = &j->rows[t].kv;
        for (size_t h = 0; h < j->n_kv_heads; h++) {
            const size_t to = h * kv->head_stride + j->rows[t].slot * kv->row_bytes;
            const size_t from = (t * j->n_kv_heads + h) * j->head_dim;
            put(j->cpu, kv, kv->k + to, j->k + from, j->head_dim);
            put(j->cpu, kv, kv->v + to, j->v + from, j->head_dim);
        }
    }
}

void lv_cpu_write_kv(lv_cpu *cpu, const lv_cpu_attn_row *rows, const float *k, const float *v, size_t n_rows,
                     size_t n_kv_heads, size_t head_dim)
{
    kv_job j = { cpu, rows, k, v, n_kv_heads, head_dim };
    lv_cpu_run_if(cpu, n_rows, 1, n_rows * n_kv_heads * head_dim * 8, write_rows, &j);
}

/* ---- reading ---- */

typedef struct attention_job {
    lv_cpu *cpu;
    float *out;
    const float *q;
    const lv_cpu_attn_row *rows;
    size_t n_rows, n_heads, n_kv_heads, head_dim;
    float scale;
    size_t part_heads, n_parts; /* heads of a KV head that go together; parts of a KV head */
    size_t block_rows, n_blocks;
} attention_job;

/* Queries of rows t .. t + n_rows - 1, which share a cache, and of n_heads heads from `head` on. */
typedef struct block {
    const lv_cpu_attn_row *rows;
    size_t t, n_rows, kv_head, head, n_heads;
    size_t n_keys, n_common; /* slots to score; positions that every row of the block reads */
} block;

static size_t row_at(const attention_job *j, const block *b, size_t i)
{
    return ((b->t + i) * j->n_heads + b->head) * j->head_dim;
}

static void gather_queries(const attention_job *j, const block *b, float *q)
{
    const size_t n = b->n_heads * j->head_dim;
    for (size_t i = 0; i < b->n_rows; i++)
        for (size_t d = 0; d < n; d++) q[i * n + d] = j->q[row_at(j, b, i) + d] * j->scale;
}

static void score_keys(const attention_job *j, const block *b, float *scores, const float *q, void *packed,
                       void *scratch)
{
    const lv_kernels *k = &j->cpu->k;
    const lv_cpu_kv *kv = &b->rows->kv;
    const size_t n_q = b->n_rows * b->n_heads, ld = j->cpu->attn_scratch.ld;
    const uint8_t *keys = kv->k + b->kv_head * kv->head_stride;
    if (kv->type == LV_TYPE_F16) {
        k->attn_scores(scores, ld, q, n_q, (const uint16_t *)(const void *)keys, b->n_keys, j->head_dim);
        return;
    }
    size_t n = b->n_keys < KEYS_LEAST ? KEYS_LEAST : b->n_keys; /* whatever the slots behind hold */
    if (n > kv->n_slots) n = kv->n_slots;
    k->act_pack[LV_ACT_Q8](packed, q, j->head_dim, n_q, j->head_dim, 0, n_q);
    k->matmul[kv->type](scores, ld, keys, n, packed, n_q, j->head_dim, scratch);
}

/* Scores by slot become weights by position. */
static void weigh_keys(const attention_job *j, const block *b, float *scores, float *inv)
{
    for (size_t i = 0; i < b->n_rows; i++) {
        const lv_cpu_attn_row *row = &b->rows[i];
        for (size_t h = 0; h < b->n_heads; h++, scores += j->cpu->attn_scratch.ld) {
            /* A path ascends and starts behind the prefix, so no score is overwritten before it is read. */
            for (size_t p = 0; p < row->n_path; p++) scores[row->n_prefix + p] = scores[row->path[p]];
            *inv++ = j->cpu->k.attn_weights(scores, row->n_prefix + row->n_path);
        }
    }
}

static void add_values(const attention_job *j, const block *b, float *out, const float *e, size_t n_q,
                       size_t from, const int32_t *slots, size_t n)
{
    const lv_cpu_kv *kv = &b->rows->kv;
    const uint8_t *v = kv->v + b->kv_head * kv->head_stride + (slots ? 0 : from * kv->row_bytes);
    if (n == 0) return;
    (kv->type == LV_TYPE_F16 ? j->cpu->k.attn_values_f16 : j->cpu->k.attn_values_q8_0)(
        out, e + from, j->cpu->attn_scratch.ld, n_q, v, slots, n, j->head_dim);
}

static void attend(const attention_job *j, const block *b, uint8_t *base, void *scratch)
{
    const lv_attn_scratch *s = &j->cpu->attn_scratch;
    float *scores = (float *)(void *)(base + s->scores), *q = (float *)(void *)(base + s->queries);
    float *inv = (float *)(void *)(base + s->inv), *sums = q;
    const size_t n_q = b->n_rows * b->n_heads, n = b->n_heads * j->head_dim;
    gather_queries(j, b, q);
    score_keys(j, b, scores, q, base + s->packed, scratch);
    weigh_keys(j, b, scores, inv);
    memset(sums, 0, n_q * j->head_dim * sizeof *sums); /* the queries are done */
    add_values(j, b, sums, scores, n_q, 0, NULL, b->n_common);
    for (size_t i = 0; i < b->n_rows; i++) {
        const lv_cpu_attn_row *row = &b->rows[i];
        const float *e = scores + i * b->n_heads * s->ld;
        add_values(j, b, sums + i * n, e, b->n_heads, b->n_common, NULL, row->n_prefix - b->n_common);
        add_values(j, b, sums + i * n, e, b->n_heads, row->n_prefix, row->path, row->n_path);
        float *out = j->out + row_at(j, b, i);
        for (size_t d = 0; d < n; d++) out[d] = sums[i * n + d] * inv[i * b->n_heads + d / j->head_dim];
    }
}

/* Rows from t on, at most up to `end`, of the same cache. */
static block next_block(const attention_job *j, size_t t, size_t end)
{
    block b = { .rows = &j->rows[t], .t = t, .n_common = SIZE_MAX };
    for (; t < end && j->rows[t].kv.k == b.rows->kv.k; t++, b.n_rows++) {
        const lv_cpu_attn_row *row = &j->rows[t];
        const size_t n = row->n_path ? (size_t)row->path[row->n_path - 1] + 1 : row->n_prefix;
        if (n > b.n_keys) b.n_keys = n;
        if (row->n_prefix < b.n_common) b.n_common = row->n_prefix;
    }
    return b;
}

/* Unit i: a block of rows, a part of the heads of a KV head; the units of a KV head follow each other, so
 * that its keys and values stay in the cache. */
static void attention_units(void *arg, size_t begin, size_t end, unsigned thread)
{
    const attention_job *j = arg;
    uint8_t *base = j->cpu->attn + thread * j->cpu->attn_scratch.bytes;
    void *scratch = j->cpu->scratch + thread * j->cpu->scratch_bytes;
    const size_t group = j->n_heads / j->n_kv_heads;
    for (size_t i = begin; i < end; i++) {
        const size_t part = i / j->n_blocks % j->n_parts, first = i % j->n_blocks * j->block_rows;
        const size_t last = first + j->block_rows < j->n_rows ? first + j->block_rows : j->n_rows;
        for (size_t t = first; t < last;) {
            block b = next_block(j, t, last);
            b.kv_head = i / j->n_blocks / j->n_parts;
            b.head = b.kv_head * group + part * j->part_heads;
            b.n_heads = group - part * j->part_heads;
            if (b.n_heads > j->part_heads) b.n_heads = j->part_heads;
            attend(j, &b, base, scratch);
            t += b.n_rows;
        }
    }
}

static size_t div_up(size_t a, size_t b)
{
    return (a + b - 1) / b;
}

void lv_cpu_attention(lv_cpu *cpu, float *out, const float *q, const lv_cpu_attn_row *rows, size_t n_rows,
                      size_t n_heads, size_t n_kv_heads, size_t head_dim, float scale)
{
    attention_job j = { cpu, out, q, rows, n_rows, n_heads, n_kv_heads, head_dim, scale, 0, 0, 0, 0 };
    const size_t group = n_heads / n_kv_heads, most = cpu->attn_scratch.n_queries;
    j.part_heads = group < most ? group : most;
    j.n_parts = div_up(group, j.part_heads);
    /* Long blocks use each key and value often, short ones give every thread some four units. */
    j.block_rows = div_up(n_rows * n_kv_heads * j.n_parts, 4 * cpu->c.n_threads);
    if (j.block_rows > most / j.part_heads) j.block_rows = most / j.part_heads;
    j.n_blocks = div_up(n_rows, j.block_rows);
    j.block_rows = div_up(n_rows, j.n_blocks); /* of equal length */
    const size_t longest = rows[n_rows - 1].n_prefix + rows[n_rows - 1].n_path;
    lv_cpu_run_if(cpu, n_kv_heads * j.n_parts * j.n_blocks, 1, n_rows * n_heads * head_dim * longest * 2,
                  attention_units, &j);
}
