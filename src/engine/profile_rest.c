/* What is not a product: norms, rotation, attention, choosing tokens; and how fast memory is read.
 * SPDX-License-Identifier: MIT */
#include <string.h>

#include "engine/profile_impl.h"
#include "plan/machine.h"
#include "spec/sampler.h"

enum {
    N = LV_PROFILE_K,
    HEADS = 32,
    KV_HEADS = 8,
    HEAD = LV_PROFILE_HEAD, /* attention of an 8B model */
    CTX = LV_PROFILE_CTX,
    SLOTS = CTX + LV_PROFILE_ROWS,
    VOCAB = 1 << 15,
    CANDIDATES = 8,
    READ_PART = 1 << 20,
    CACHES = -100 /* less the type: what p->weights holds for attention */
};
_Static_assert(HEADS *HEAD == N, "a row is as long as the heads together");

typedef struct rest_state {
    lv_profile *p;
    float *a, *b;          /* [LV_PROFILE_ROWS][N] */
    float *cs;             /* [HEAD / 2][2] */
    uint8_t *cache;        /* [HEAD] in either type */
    lv_cpu_attn_row *rows; /* [LV_PROFILE_ROWS] */
    float *logits, *used;  /* [VOCAB] */
    lv_sampler *sampler;
} rest_state;

static rest_state *state_of(const lv_profile *p) { return p->step; }

/* Some microseconds of arithmetic that can not be shortened. */
static void chunk(void *arg, size_t begin, size_t end, unsigned thread)
{
    (void)arg, (void)thread;
    for (size_t i = begin; i < end; i++) {
        volatile float seen;
        float x = 1;
        for (int k = 0; k < 4096; k++) x = x * 0.999f + 0.001f;
        seen = x;
        (void)seen;
    }
}

static int run_chunk(lv_profile *p, lv_point *point, size_t n, lever_error *err)
{
    (void)p, (void)point, (void)err;
    chunk(NULL, 0, n, 0);
    return LEVER_OK;
}

/* A chunk for each thread: what this takes beyond one chunk is handing over, and waiting for the last. */
static int run_hand_over(lv_profile *p, lv_point *point, size_t n, lever_error *err)
{
    (void)point, (void)err;
    for (size_t i = 0; i < n; i++) lv_cpu_run(p->cpu, lv_cpu_n_threads(p->cpu), 1, chunk, NULL);
    return LEVER_OK;
}

static void read_part(void *arg, size_t begin, size_t end, unsigned thread)
{
    (void)thread;
    const uint64_t *w = arg;
    uint64_t sum[8] = { 0 };
    for (size_t i = begin * (READ_PART / 8); i < end * (READ_PART / 8); i += 8)
        for (size_t k = 0; k < 8; k++) sum[k] ^= w[i + k];
    volatile uint64_t seen = sum[0] ^ sum[1] ^ sum[2] ^ sum[3] ^ sum[4] ^ sum[5] ^ sum[6] ^ sum[7];
    (void)seen;
}

static int run_read(lv_profile *p, lv_point *point, size_t n, lever_error *err)
{
    (void)point, (void)err;
    for (size_t i = 0; i < n; i++) lv_cpu_run(p->cpu, p->weights_bytes / READ_PART, 1, read_part, p->weights);
    return LEVER_OK;
}

static int run_norm(lv_profile *p, lv_point *point, size_t n, lever_error *err)
{
    (void)point, (void)err;
    const rest_state *s = state_of(p);
    for (size_t i = 0; i < n; i++) lv_cpu_kernels(p->cpu)->rmsnorm(s->a, p->x, s->b, N, 1e-6f);
    return LEVER_OK;
}

static int run_add(lv_profile *p, lv_point *point, size_t n, lever_error *err)
{
    (void)point, (void)err;
    for (size_t i = 0; i < n; i++) lv_cpu_kernels(p->cpu)->add(state_of(p)->a, p->x, N);
    return LEVER_OK;
}

/* point->type: with a norm of each head. */
static int run_rope(lv_profile *p, lv_point *point, size_t n, lever_error *err)
{
    (void)err;
    const rest_state *s = state_of(p);
    const lv_kernels *k = lv_cpu_kernels(p->cpu);
    for (size_t i = 0; i < n; i++)
        for (size_t h = 0; h < HEADS; h++) {
            float *x = p->x + h * HEAD;
            if (point->type) k->rmsnorm(x, x, s->b, HEAD, 1e-6f);
            k->rope_neox(x, s->cs, HEAD);
        }
    return LEVER_OK;
}

/* The gate is put back each time: its values would shrink to subnormal ones. Copying is little beside it. */
static int run_swiglu(lv_profile *p, lv_point *point, size_t n, lever_error *err)
{
    (void)point, (void)err;
    const rest_state *s = state_of(p);
    for (size_t i = 0; i < n; i++) {
        memcpy(s->a, p->x, N * sizeof *s->a);
        lv_cpu_kernels(p->cpu)->silu_mul(s->a, s->b, N);
    }
    return LEVER_OK;
}

static uint32_t kv_type(const lv_point *point) { return point->type ? LV_TYPE_Q8_0 : LV_TYPE_F16; }

static int run_write(lv_profile *p, lv_point *point, size_t n, lever_error *err)
{
    (void)err;
    const rest_state *s = state_of(p);
    for (size_t i = 0; i < n; i++)
        for (size_t h = 0; h < HEADS; h++) {
            if (point->type)
                lv_type_traits_get(LV_TYPE_Q8_0)->quantize(s->cache, p->x + h * HEAD, HEAD);
            else
                lv_cpu_kernels(p->cpu)->f32_to_f16((uint16_t *)(void *)s->cache, p->x + h * HEAD, HEAD);
        }
    return LEVER_OK;
}

/* Caches of point->type, one behind the other all over p->weights. */
static void fill_caches(lv_profile *p, uint32_t type)
{
    if (p->weights_type == CACHES - (int)type) return;
    const size_t head = lv_type_row_bytes(type, HEAD), whole = HEADS * head;
    for (size_t h = 0; h < HEADS; h++)
        lv_type_traits_get(type)->quantize(p->weights + h * head, p->x + h * HEAD, HEAD);
    for (size_t at = whole; at < p->weights_bytes; at += whole)
        memcpy(p->weights + at, p->weights, p->weights_bytes - at < whole ? p->weights_bytes - at : whole);
    p->weights_type = CACHES - (int)type;
    p->weights_at = 0;
}

/* All rows behind CTX positions that they share. */
static int prepare_attend(lv_profile *p, lv_point *point, lever_error *err)
{
    (void)err;
    const rest_state *s = state_of(p);
    fill_caches(p, kv_type(point));
    const size_t head = lv_type_row_bytes(kv_type(point), HEAD);
    for (size_t i = 0; i < point->rows; i++)
        s->rows[i] = (lv_cpu_attn_row){ .kv = { .type = kv_type(point),
                                                .n_slots = SLOTS,
                                                .row_bytes = head,
                                                .head_stride = SLOTS * head },
                                        .slot = CTX + i,
                                        .n_prefix = CTX };
    return LEVER_OK;
}

/* Another cache each time, as the next layer has one. */
static int run_attend(lv_profile *p, lv_point *point, size_t n, lever_error *err)
{
    (void)err;
    const rest_state *s = state_of(p);
    const size_t cache = KV_HEADS * s->rows->kv.head_stride;
    for (size_t i = 0; i < n; i++) {
        if (p->weights_at + 2 * cache > p->weights_bytes) p->weights_at = 0;
        for (size_t t = 0; t < point->rows; t++) {
            s->rows[t].kv.k = p->weights + p->weights_at;
            s->rows[t].kv.v = s->rows[t].kv.k + cache;
        }
        p->weights_at += 2 * cache;
        lv_cpu_attention(p->cpu, s->a, p->x, s->rows, point->rows, HEADS, KV_HEADS, HEAD, 0.088f);
    }
    return LEVER_OK;
}

/* point->type: the candidates of a drafted row, else the target's choice. */
static int run_choose(lv_profile *p, lv_point *point, size_t n, lever_error *err)
{
    (void)err;
    const rest_state *s = state_of(p);
    const int32_t text[1] = { 0 };
    const lv_history h = { .tokens = text, .n_tokens = 1 };
    int32_t tokens[CANDIDATES];
    float probs[CANDIDATES];
    for (size_t i = 0; i < n; i++) {
        memcpy(s->used, s->logits, VOCAB * sizeof *s->used);
        if (point->type)
            lv_sampler_candidates(s->sampler, s->used, &h, CANDIDATES, 1, tokens, probs);
        else
            lv_sampler_pick(s->sampler, s->used, &h);
    }
    return LEVER_OK;
}

static int open_state(rest_state *s, lv_profile *p, lever_error *err)
{
    s->p = p;
    s->a = lv_alloc_array((size_t)LV_PROFILE_ROWS * N, sizeof *s->a, 64);
    s->b = lv_alloc_array(N, sizeof *s->b, 64);
    s->cs = lv_alloc_array(HEAD, sizeof *s->cs, 64);
    s->cache = lv_alloc(HEAD * sizeof(uint16_t), 64);
    s->rows = lv_alloc_array(LV_PROFILE_ROWS, sizeof *s->rows, 64);
    s->logits = lv_alloc_array(VOCAB, sizeof *s->logits, 64);
    s->used = lv_alloc_array(VOCAB, sizeof *s->used, 64);
    if (!s->a || !s->b || !s->cs || !s->cache || !s->rows || !s->logits || !s->used)
        return lv_fail(err, LEVER_ENOMEM, 0, "buffers of the measurement");
    for (size_t i = 0; i < N; i++) s->b[i] = 1;
    for (size_t i = 0; i < HEAD; i += 2) s->cs[i] = 0.8f, s->cs[i + 1] = 0.6f;
    for (size_t i = 0; i < VOCAB; i++) s->logits[i] = 4 * p->x[i % (LV_PROFILE_ROWS * N)];
    lv_sampler_params params;
    lv_sampler_params_init(&params);
    return lv_sampler_open(&s->sampler, &params, lv_cpu_kernels(p->cpu), VOCAB, err);
}

static void close_state(rest_state *s)
{
    lv_sampler_close(&s->sampler);
    void *const blocks[] = { s->a, s->b, s->cs, s->cache, s->rows, s->logits, s->used };
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) lv_free(blocks[i]);
}

/* Everything but attention; returns how many points. */
static size_t add_points(lv_profile *p, lv_point *to, double *chunk_s, double *read_s)
{
    lever_machine_rest *r = &p->m->rest;
    const double each = 1.0 / N, entry = 1.0 / VOCAB;
    const double read = 1.0 / (double)(p->weights_bytes / READ_PART * READ_PART);
    const lv_point points[] = {
        { .run = run_chunk, .out = chunk_s, .scale = 1 },
        { .run = run_hand_over, .out = &r->op_s, .scale = 1 },
        { .run = run_read, .out = read_s, .scale = read },
        { .run = run_norm, .out = &r->norm_s, .scale = each },
        { .run = run_add, .out = &r->add_s, .scale = each },
        { .run = run_rope, .out = &r->rope_s, .scale = each, .type = 0 },
        { .run = run_rope, .out = &r->rope_norm_s, .scale = each, .type = 1 },
        { .run = run_swiglu, .out = &r->swiglu_s, .scale = each },
        { .run = run_write, .out = &r->write_s[0], .scale = each, .type = 0 },
        { .run = run_write, .out = &r->write_s[1], .scale = each, .type = 1 },
        { .run = run_choose, .out = &r->candidates_s, .scale = entry, .type = 1 },
        { .run = run_choose, .out = &r->pick_s, .scale = entry, .type = 0 },
    };
    memcpy(to, points, sizeof points);
    return sizeof points / sizeof *points;
}

static size_t add_attention(lv_profile *p, lv_point *to)
{
    size_t n = 0;
    for (uint32_t type = 0; type < LEVER_MACHINE_KV; type++)
        for (uint32_t i = LEVER_MACHINE_ROWS; i-- > 0;)
            to[n++] = (lv_point){ .run = run_attend,
                                  .prepare = prepare_attend,
                                  .out = &p->m->rest.attend_s[type][i],
                                  .scale = 1.0 / ((double)lever_machine_rows[i] * HEADS * CTX * HEAD),
                                  .type = type,
                                  .rows = lever_machine_rows[i] };
    return n;
}

int lv_profile_rest(lv_profile *p, double seconds, lever_error *err)
{
    rest_state s = { 0 };
    double chunk_s = 0, read_s = 0;
    p->step = &s;
    int rc = open_state(&s, p, err);
    if (rc >= 0) {
        size_t n = add_points(p, p->points, &chunk_s, &read_s);
        n += add_attention(p, p->points + n);
        rc = lv_points_measure(p, p->points, n, seconds, err);
    }
    if (read_s > 0) p->m->read_bytes_s = 1 / read_s;
    p->m->rest.op_s = p->m->rest.op_s > chunk_s ? p->m->rest.op_s - chunk_s : 0;
    p->m->devices[0].call_s = p->m->rest.op_s;
    close_state(&s);
    p->step = NULL;
    return rc;
}
