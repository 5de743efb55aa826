/* Attention by parts: scores, weights, values; and that the parts together mean what attention means.
 * SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/f16.h"
#include "kcheck/kcheck.h"

enum { SLOTS = 140 };

/* [n][dim] f16, ending at a guard page. */
static uint16_t *halves(size_t n)
{
    uint16_t *c = kc_buf(n * 2);
    for (size_t i = 0; i < n; i++) c[i] = lv_f32_to_f16(kc_rand() % 64 ? kc_randf(-2, 2) : 1e-6f);
    return c;
}

static float *floats(size_t n, float lo, float hi)
{
    float *x = kc_buf(n * 4);
    for (size_t i = 0; i < n; i++) x[i] = kc_randf(lo, hi);
    return x;
}

static void check_scores(const kc_tables *k, size_t n_q, size_t n, size_t dim)
{
    char what[96];
    const size_t ld = n + 3;
    float *q = floats(n_q * dim, -3, 3);
    uint16_t *keys = halves(n * dim);
    float *want = kc_buf(((n_q - 1) * ld + n) * 4), *got = kc_buf(((n_q - 1) * ld + n) * 4);
    memset(want, 0, ((n_q - 1) * ld + n) * 4);
    memset(got, 0, ((n_q - 1) * ld + n) * 4);
    k->ref.attn_scores(want, ld, q, n_q, keys, n, dim);
    k->test.attn_scores(got, ld, q, n_q, keys, n, dim);
    snprintf(what, sizeof what, "scores of %zu queries, %zu keys of %zu", n_q, n, dim);
    kc_same(want, got, (n_q - 1) * ld + n, what);
    kc_release();
}

static void check_weights(const kc_tables *k, size_t n)
{
    static const float odd[] = { NAN, INFINITY, -INFINITY, -200.0f, 1e30f, -0.0f };
    for (size_t round = 0; round < 8; round++) {
        char what[96];
        float *want = floats(n, -20, 20), *got = kc_buf(n * 4);
        for (size_t i = 0; round > 1 && i < 1 + n / 7; i++) want[kc_rand() % n] = odd[round - 2];
        memcpy(got, want, n * 4);
        float sums[2] = { k->ref.attn_weights(want, n), k->test.attn_weights(got, n) };
        snprintf(what, sizeof what, "weights of %zu scores, round %zu", n, round);
        kc_same(&sums[0], &sums[1], 1, what);
        kc_same(want, got, n, what);
        kc_release();
    }
}

/* Values of either type, in order and through a list of slots. */
static void check_values(const kc_tables *k, bool q8, size_t n_q, size_t n, size_t dim)
{
    char what[96];
    const size_t ld = n + 5, row_bytes = q8 ? dim / 32 * sizeof(lv_block_q8_0) : dim * 2;
    uint8_t *v = kc_buf(SLOTS * row_bytes);
    for (size_t i = 0; i < SLOTS * dim; i += 4) { /* no NaN among the scales: dequantised weights */
        float x[4] = { kc_randf(-2, 2), kc_randf(-2, 2), kc_randf(-2, 2), kc_randf(-2, 2) };
        if (!q8) k->ref.f32_to_f16((uint16_t *)(void *)v + i, x, 4);
    }
    for (size_t i = 0; q8 && i < SLOTS * row_bytes / sizeof(lv_block_q8_0); i++) {
        const uint16_t d = lv_f32_to_f16(i % 9 ? kc_randf(0, 0.1f) : 6e-8f);
        memcpy(v + i * sizeof(lv_block_q8_0), &d, 2);
    }
    float *e = floats((n_q - 1) * ld + n, 0, 1), *want = floats(n_q * dim, -1, 1),
          *got = kc_buf(n_q * dim * 4);
    memcpy(got, want, n_q * dim * 4);
    int32_t *slots = kc_buf(n * sizeof *slots);
    for (size_t p = 0; p < n; p++) slots[p] = (int32_t)((p * 7 + 139) % SLOTS);
    snprintf(what, sizeof what, "%s values of %zu queries, %zu positions of %zu", q8 ? "q8_0" : "f16", n_q, n,
             dim);
    for (int listed = 0; listed < 2; listed++) {
        (q8 ? k->ref.attn_values_q8_0 : k->ref.attn_values_f16)(want, e, ld, n_q, v, listed ? slots : NULL, n,
                                                                dim);
        (q8 ? k->test.attn_values_q8_0 : k->test.attn_values_f16)(got, e, ld, n_q, v, listed ? slots : NULL,
                                                                  n, dim);
        kc_same(want, got, n_q * dim, what);
    }
    kc_release();
}

/* Weights sum to one: equal values come back, and a query that fits one key far better gets its value. */
static void check_meaning(const kc_tables *k)
{
    enum { DIM = 64, N = 40, BEST = 17 };
    uint16_t *keys = halves(N * DIM), *v = halves(N * DIM);
    float q[DIM], scores[N], out[DIM] = { 0 };
    for (size_t i = 0; i < DIM; i++) q[i] = 20.0f * lv_f16_to_f32(keys[BEST * DIM + i]);
    k->test.attn_scores(scores, N, q, 1, keys, N, DIM);
    const float inv = k->test.attn_weights(scores, N);
    k->test.attn_values_f16(out, scores, N, 1, v, NULL, N, DIM);
    for (size_t i = 0; i < DIM; i++)
        if (!(fabsf(out[i] * inv - lv_f16_to_f32(v[BEST * DIM + i])) < 1e-3f))
            kc_fail("best key: out[%zu] = %g", i, (double)(out[i] * inv));
    for (size_t i = 0; i < N * DIM; i++) v[i] = lv_f32_to_f16((float)(i % DIM) - 30.0f);
    for (size_t i = 0; i < N; i++) scores[i] = kc_randf(-5, 5);
    memset(out, 0, sizeof out);
    const float inv2 = k->test.attn_weights(scores, N);
    k->test.attn_values_f16(out, scores, N, 1, v, NULL, N, DIM);
    for (int i = 0; i < DIM; i++)
        if (!(fabsf(out[i] * inv2 - ((float)i - 30.0f)) < 1e-4f))
            kc_fail("equal values: out[%d] = %g", i, (double)(out[i] * inv2));
    kc_release();
}

/* Infinities and NaN among keys, values or the query come out as in the reference. */
static void check_special(const kc_tables *k, size_t n_q, size_t n, size_t dim)
{
    static const uint16_t odd[] = { 0x7c00, 0xfc00, 0x7e00, 0x8000, 0x0001, 0x7bff };
    for (size_t round = 0; round < 6; round++) {
        char what[96];
        uint16_t *kv = halves(n * dim);
        float *q = floats(n_q * dim, -3, 3), *e = floats(n_q * n, 0, 1);
        float *want = floats(n_q * n, 0, 0), *got = floats(n_q * n, 0, 0);
        float *out = floats(n_q * dim, 0, 0), *out2 = floats(n_q * dim, 0, 0);
        for (size_t i = 0; i < 3; i++) kv[kc_rand() % (n * dim)] = odd[round];
        if (round > 3) q[0] = round == 4 ? NAN : -INFINITY;
        snprintf(what, sizeof what, "odd f16 values, %zu queries, n=%zu dim=%zu round %zu", n_q, n, dim,
                 round);
        k->ref.attn_scores(want, n, q, n_q, kv, n, dim);
        k->test.attn_scores(got, n, q, n_q, kv, n, dim);
        kc_same(want, got, n_q * n, what);
        k->ref.attn_values_f16(out, e, n, n_q, kv, NULL, n, dim);
        k->test.attn_values_f16(out2, e, n, n_q, kv, NULL, n, dim);
        kc_same(out, out2, n_q * dim, what);
        kc_release();
    }
}

static void bench(const kc_tables *k)
{
    enum { N = 2048, DIM = 128, Q = 32 };
    char name[32];
    uint16_t *f16 = halves((size_t)N * DIM);
    uint8_t *q8 = kc_buf((size_t)N * DIM / 32 * sizeof(lv_block_q8_0));
    float *q = floats(Q * DIM, -1, 1), *out = floats(Q * DIM, 0, 0), *scores = kc_buf64(Q * N * 4);
    memset(q8, 1, (size_t)N * DIM / 32 * sizeof(lv_block_q8_0));
    for (size_t n = 1; n <= Q; n = n == 1 ? 4 : n * 8) {
        const double work = (double)(n * N) * DIM * 2;
        snprintf(name, sizeof name, "attn_scores_f16_%zux2048", n);
        KC_BENCH(name, N * DIM * 2.0, work, k->test.attn_scores(scores, N, q, n, f16, N, DIM));
        snprintf(name, sizeof name, "attn_weights_%zux2048", n);
        KC_BENCH(name, (double)n * N * 4, (double)n * N,
                 for (size_t t = 0; t < n; t++) k->test.attn_weights(scores + t * N, N));
        snprintf(name, sizeof name, "attn_values_f16_%zux2048", n);
        KC_BENCH(name, N * DIM * 2.0, work, k->test.attn_values_f16(out, scores, N, n, f16, NULL, N, DIM));
        snprintf(name, sizeof name, "attn_values_q8_0_%zux2048", n);
        KC_BENCH(name, N * DIM * 1.0625, work, k->test.attn_values_q8_0(out, scores, N, n, q8, NULL, N, DIM));
    }
    kc_release();
}

void kc_check_attention(const kc_tables *k)
{
    static const size_t dims[] = { 4, 8, 16, 20, 32, 64, 80, 96, 128, 256, 288 },
                        queries[] = { 1, 2, 3, 4, 5, 8, 13, 31, 32, 64 },
                        counts[] = { 1, 2, 3, 4, 7, 16, 33, 130 };
    for (size_t d = 0; d < sizeof dims / sizeof *dims; d++)
        for (size_t i = 0; i < sizeof queries / sizeof *queries; i++)
            for (size_t j = 0; j < sizeof counts / sizeof *counts; j++) {
                check_scores(k, queries[i], counts[j], dims[d]);
                check_values(k, false, queries[i], counts[j], dims[d]);
                if (dims[d] % 32 == 0) check_values(k, true, queries[i], counts[j], dims[d]);
            }
    for (size_t n = 1; n <= 50; n++) check_weights(k, n);
    check_meaning(k);
    for (size_t n = 1; n <= 40; n += 13) check_special(k, 1, n, 20), check_special(k, 14, n, 64);
    if (kc_benching()) bench(k);
}
