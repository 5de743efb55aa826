/* Attention of one head over committed prefix and tree path. SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/f16.h"
#include "kcheck/kcheck.h"

enum { SLOTS = 140, MAX_DIM = 128, HEADS = 2 };

/* [SLOTS][HEADS * dim] f16, ending at a guard page. */
static uint16_t *cache(size_t dim)
{
    const size_t n = SLOTS * HEADS * dim;
    uint16_t *c = kc_buf(n * 2);
    for (size_t i = 0; i < n; i++) c[i] = lv_f32_to_f16(kc_rand() % 64 ? kc_randf(-2, 2) : 1e-6f);
    return c;
}

static void attend(const lv_kernels *k, float *out, const float *q, size_t n_heads, const lv_attn_span *span,
                   size_t dim)
{
    const size_t n = span->n_prefix + span->n_path, ld = (n + 15) / 16 * 16;
    float *scores = kc_buf64(n_heads * ld * sizeof *scores);
    k->attention(out, q, n_heads, span, dim, 0.125f, scores, ld);
}

static void check(const kc_tables *k, size_t dim, size_t n_heads, size_t n_prefix, size_t n_path)
{
    char what[96];
    const size_t n_out = n_heads * dim;
    uint16_t *kc = cache(dim), *vc = cache(dim);
    float *q = kc_buf(n_out * 4), *want = kc_buf(n_out * 4), *got = kc_buf(n_out * 4);
    for (size_t i = 0; i < n_out; i++) q[i] = kc_randf(-3, 3);
    int32_t path[32];
    for (size_t i = 0; i < n_path; i++) path[i] = (int32_t)(n_prefix + (i * 7 + 3) % (SLOTS - n_prefix));
    lv_attn_span span = { .k = kc + dim,
                          .v = vc + dim,
                          .stride = HEADS * dim,
                          .n_prefix = n_prefix,
                          .path = path,
                          .n_path = n_path }; /* the second head, so the last slot ends at the guard page */
    attend(&k->ref, want, q, n_heads, &span, dim);
    attend(&k->test, got, q, n_heads, &span, dim);
    snprintf(what, sizeof what, "attention heads=%zu dim=%zu prefix=%zu path=%zu", n_heads, dim, n_prefix,
             n_path);
    kc_same(want, got, n_out, what);
    /* A path whose slots are copied behind the prefix is a longer prefix: the same bits. */
    uint16_t *k2 = kc_buf(SLOTS * HEADS * dim * 2), *v2 = kc_buf(SLOTS * HEADS * dim * 2);
    memcpy(k2, kc, SLOTS * HEADS * dim * 2);
    memcpy(v2, vc, SLOTS * HEADS * dim * 2);
    for (size_t i = 0; i < n_path; i++) {
        memcpy(k2 + (n_prefix + i) * HEADS * dim, kc + (size_t)path[i] * HEADS * dim, HEADS * dim * 2);
        memcpy(v2 + (n_prefix + i) * HEADS * dim, vc + (size_t)path[i] * HEADS * dim, HEADS * dim * 2);
    }
    const lv_attn_span flat = {
        .k = k2 + dim, .v = v2 + dim, .stride = HEADS * dim, .n_prefix = n_prefix + n_path
    };
    attend(&k->test, got, q, n_heads, &flat, dim);
    kc_same(want, got, n_out, "the same as one prefix");
    kc_release();
}

/* Weights sum to one: the output lies between the smallest and largest value, and equal values come back. */
static void check_meaning(const kc_tables *k)
{
    enum { DIM = 64 };
    uint16_t *kc = cache(DIM), *vc = cache(DIM);
    float q[DIM], out[DIM];
    for (int i = 0; i < DIM; i++) q[i] = kc_randf(-3, 3);
    for (size_t i = 0; i < SLOTS * HEADS * DIM; i++) vc[i] = lv_f32_to_f16((float)(i % DIM) - 30.0f);
    const lv_attn_span span = { .k = kc, .v = vc, .stride = HEADS * DIM, .n_prefix = SLOTS };
    attend(&k->test, out, q, 1, &span, DIM);
    for (int i = 0; i < DIM; i++)
        if (!(fabsf(out[i] - ((float)i - 30.0f)) < 1e-4f))
            kc_fail("equal values: out[%d] = %g", i, (double)out[i]);
    kc_release();
}

/* Infinities and NaN among keys, values or the query come out as in the reference. */
static void check_special(const kc_tables *k, size_t dim, size_t n)
{
    static const uint16_t odd[] = { 0x7c00, 0xfc00, 0x7e00, 0x8000, 0x0001, 0x7bff };
    for (int round = 0; round < 12; round++) {
        uint16_t *kc = cache(dim), *vc = cache(dim);
        float *q = kc_buf(dim * 4), *want = kc_buf(dim * 4), *got = kc_buf(dim * 4);
        for (size_t i = 0; i < dim; i++) q[i] = round < 10 ? kc_randf(-3, 3) : round == 10 ? NAN : -INFINITY;
        for (size_t i = 0; round < 6 && i < 3; i++) kc[kc_rand() % (n * HEADS * dim)] = odd[round];
        for (size_t i = 0; round >= 4 && i < 3; i++) vc[kc_rand() % (n * HEADS * dim)] = odd[round % 6];
        const lv_attn_span span = { .k = kc, .v = vc, .stride = HEADS * dim, .n_prefix = n };
        attend(&k->ref, want, q, 1, &span, dim);
        attend(&k->test, got, q, 1, &span, dim);
        char what[96];
        snprintf(what, sizeof what, "attention with odd values, dim=%zu n=%zu round %d", dim, n, round);
        kc_same(want, got, dim, what);
        kc_release();
    }
}

void kc_check_attention(const kc_tables *k)
{
    static const size_t dims[] = { 4, 8, 16, 20, 32, 64, 80, 128 },
                        prefixes[] = { 0, 1, 2, 5, 15, 16, 17, 40, 100 }, paths[] = { 0, 1, 2, 3, 7, 8, 20 };
    for (size_t d = 0; d < 8; d++)
        for (size_t i = 0; i < 9; i++)
            for (size_t j = 0; j < 7; j++)
                if (prefixes[i] + paths[j] > 0)
                    check(k, dims[d], 1 + (d + i + j) % LV_ATTN_HEADS, prefixes[i], paths[j]);
    check_meaning(k);
    for (size_t n = 1; n <= 40; n += 13) check_special(k, 20, n), check_special(k, 64, n);
    if (!kc_benching()) return;
    enum { N = 2048, DIM = 128, KV = 1024 };
    uint16_t *kc = kc_buf((size_t)N * KV * 2), *vc = kc_buf((size_t)N * KV * 2);
    for (size_t i = 0; i < (size_t)N * KV; i++) kc[i] = vc[i] = lv_f32_to_f16(kc_randf(-1, 1));
    float q[4 * DIM], out[4 * DIM], *scores = kc_buf64(4 * N * sizeof *scores);
    for (int i = 0; i < 4 * DIM; i++) q[i] = kc_randf(-1, 1);
    const lv_attn_span span = { .k = kc, .v = vc, .stride = KV, .n_prefix = N };
    KC_BENCH("attention_1x2048x128", N * DIM * 4.0, N * DIM * 4.0,
             k->test.attention(out, q, 1, &span, DIM, 0.088f, scores, N));
    KC_BENCH("attention_4x2048x128", N * DIM * 4.0, 4 * N * DIM * 4.0,
             k->test.attention(out, q, 4, &span, DIM, 0.088f, scores, N));
    kc_release();
}
