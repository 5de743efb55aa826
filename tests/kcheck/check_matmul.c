/* Matrix products and the packing before them. SPDX-License-Identifier: MIT */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/f16.h"
#include "kcheck/kcheck.h"

static const uint32_t types[] = {
    LV_TYPE_F32,  LV_TYPE_F16,    LV_TYPE_BF16,   LV_TYPE_Q8_0,  LV_TYPE_Q4_0, LV_TYPE_Q4_1,
    LV_TYPE_Q5_0, LV_TYPE_Q5_1,   LV_TYPE_Q2_K,   LV_TYPE_Q3_K,  LV_TYPE_Q4_K, LV_TYPE_Q5_K,
    LV_TYPE_Q6_K, LV_TYPE_IQ4_NL, LV_TYPE_IQ4_XS, LV_TYPE_MXFP4,
};
enum { N_TYPES = sizeof types / sizeof *types };

/* Weights in file layout: scales are positive, negative, subnormal, sometimes NaN; values any bits, one in
 * eight an extreme. */
static void fill_weights(uint32_t type, uint8_t *w, size_t bytes)
{
    const lv_type_traits *t = lv_type_traits_get(type);
    if (type == LV_TYPE_F32) {
        for (size_t i = 0; i + 4 <= bytes; i += 4) {
            const float f = kc_randf(-1, 1);
            memcpy(w + i, &f, 4);
        }
        return;
    }
    if (t->block_len == 1) {
        for (size_t i = 0; i + 2 <= bytes; i += 2) {
            const float f = kc_rand() % 16 ? kc_randf(-1, 1) : 1e-7f;
            const uint16_t h = type == LV_TYPE_F16 ? lv_f32_to_f16(f) : lv_f32_to_bf16(f);
            memcpy(w + i, &h, 2);
        }
        return;
    }
    for (size_t i = 0; i < bytes; i += t->block_bytes) {
        for (size_t j = 0; j < t->block_bytes; j++) {
            const uint32_t r = kc_rand();
            w[i + j] = r % 8 ? (uint8_t)(r >> 8) : r & 256 ? 0x80 : 0x7f;
        }
        if (type == LV_TYPE_MXFP4) /* exponents of every size, rarely NaN */
            w[i] = kc_rand() % 8 ? (uint8_t)(110 + kc_rand() % 30) : (uint8_t)kc_rand();
        for (int n = 0; n < t->n_scales; n++) {
            uint16_t d = (uint16_t)((0x2000u + (kc_rand() & 0x0fffu)) | (kc_rand() & 1u) << 15);
            if (kc_rand() % 32 == 0) d = (uint16_t)(kc_rand() & 0x83ff); /* subnormal or zero */
            if (kc_rand() % 512 == 0) d = 0x7e00;                        /* NaN */
            memcpy(w + i + t->scale_at[n], &d, 2);
        }
    }
}

typedef struct product {
    uint32_t type;
    size_t n_rows, n_out, k;
    uint8_t *w;
    float *x;
} product;

/* y [n_rows][n_out] by the kernels of `k`, packed in parts of one row group when in_parts. */
static void multiply(const lv_kernels *k, const product *p, const float *x, size_t n_rows, float *y,
                     bool in_parts)
{
    const int kind = lv_type_act_kind(p->type);
    void *act = kc_buf64(k->act_bytes[kind](n_rows, p->k));
    void *scratch = kc_buf64(k->matmul_scratch_bytes(p->k));
    if (in_parts)
        for (size_t t = 0; t < n_rows; t += LV_ROW_GROUP)
            k->act_pack[kind](act, x, p->k, n_rows, p->k, t,
                              t + LV_ROW_GROUP < n_rows ? t + LV_ROW_GROUP : n_rows);
    else
        k->act_pack[kind](act, x, p->k, n_rows, p->k, 0, n_rows);
    k->matmul[p->type](y, p->n_out, p->w, p->n_out, act, n_rows, p->k, scratch);
}

static void check_product(const kc_tables *k, product p)
{
    char what[96];
    const size_t bytes = p.n_out * lv_type_row_bytes(p.type, p.k);
    p.w = kc_buf(bytes);
    p.x = kc_buf(p.n_rows * p.k * sizeof(float));
    fill_weights(p.type, p.w, bytes);
    kc_fill(p.x, p.n_rows * p.k);
    if (kc_rand() % 8 == 0) p.x[kc_rand() % (p.n_rows * p.k)] = INFINITY;
    if (kc_rand() % 8 == 0) p.x[kc_rand() % (p.n_rows * p.k)] = NAN;
    float *want = kc_buf(p.n_rows * p.n_out * sizeof(float)),
          *got = kc_buf(p.n_rows * p.n_out * sizeof(float));
    multiply(&k->ref, &p, p.x, p.n_rows, want, false);
    multiply(&k->test, &p, p.x, p.n_rows, got, true);
    snprintf(what, sizeof what, "%s rows=%zu out=%zu k=%zu", lv_type_traits_get(p.type)->name, p.n_rows,
             p.n_out, p.k);
    kc_same(want, got, p.n_rows * p.n_out, what);
    /* One row alone is the same as in the batch. */
    const size_t t = kc_rand() % p.n_rows;
    multiply(&k->test, &p, p.x + t * p.k, 1, got, false);
    snprintf(what, sizeof what, "%s row %zu of %zu alone, out=%zu k=%zu", lv_type_traits_get(p.type)->name, t,
             p.n_rows, p.n_out, p.k);
    kc_same(want + t * p.n_out, got, p.n_out, what);
    kc_release();
}

/* y may have columns beyond n_out: they must stay as they are. */
static void check_ldy(const kc_tables *k, uint32_t type)
{
    product p = {
        .type = type, .n_rows = 19, .n_out = 73, .k = lv_type_act_kind(type) == LV_ACT_Q8K ? 512 : 64
    };
    const size_t ldy = 90, kind = (size_t)lv_type_act_kind(type);
    p.w = kc_buf(p.n_out * lv_type_row_bytes(type, p.k));
    p.x = kc_buf(p.n_rows * p.k * sizeof(float));
    fill_weights(type, p.w, p.n_out * lv_type_row_bytes(type, p.k));
    kc_fill(p.x, p.n_rows * p.k);
    float *want = kc_buf(p.n_rows * p.n_out * sizeof(float)), *got = kc_buf(p.n_rows * ldy * sizeof(float));
    multiply(&k->ref, &p, p.x, p.n_rows, want, false);
    for (size_t i = 0; i < p.n_rows * ldy; i++) got[i] = 12345.0f;
    void *act = kc_buf64(k->test.act_bytes[kind](p.n_rows, p.k)),
         *scratch = kc_buf64(k->test.matmul_scratch_bytes(p.k));
    k->test.act_pack[kind](act, p.x, p.k, p.n_rows, p.k, 0, p.n_rows);
    const size_t row = lv_type_row_bytes(type, p.k);
    k->test.matmul[type](got, ldy, p.w, 5, act, p.n_rows, p.k, scratch); /* split after 5 rows */
    k->test.matmul[type](got + 5, ldy, p.w + 5 * row, p.n_out - 5, act, p.n_rows, p.k, scratch);
    for (size_t t = 0; t < p.n_rows; t++) {
        kc_same(want + t * p.n_out, got + t * ldy, p.n_out, "split product");
        for (size_t i = p.n_out; i < ldy; i++)
            if (got[t * ldy + i] != 12345.0f)
                kc_fail("%s wrote column %zu of %zu", lv_type_traits_get(type)->name, i, p.n_out);
    }
    kc_release();
}

/* The reference against sums in double of dequantised weights: |error| <= 2 (n + 8) eps sum |term|.
 * Activations are small whole multiples of 1/127 of a block's largest, so that their quantisation is exact.
 */
static void check_reference(const kc_tables *k, uint32_t type)
{
    enum { K_MAX = 512, OUT = 5, ROWS = 3 };
    const int kind = lv_type_act_kind(type);
    const size_t K = kind == LV_ACT_Q8K ? 512 : 96;
    product p = { .type = type, .n_rows = ROWS, .n_out = OUT, .k = K };
    const size_t row = lv_type_row_bytes(type, K);
    p.w = kc_buf(OUT * row);
    p.x = kc_buf(ROWS * K * sizeof(float));
    fill_weights(type, p.w, OUT * row);
    for (size_t i = 0; i < ROWS * K; i++)
        p.x[i] = i % (kind == LV_ACT_Q8K ? 256 : 32) == 5 ? 127.0f : (float)((int)(kc_rand() % 255) - 127);
    float *got = kc_buf(ROWS * OUT * sizeof(float)), dq[K_MAX];
    multiply(&k->ref, &p, p.x, ROWS, got, false);
    for (size_t r = 0; r < OUT; r++) {
        lv_type_traits_get(type)->dequantize(dq, p.w + r * row, K);
        for (size_t t = 0; t < ROWS; t++) {
            double sum = 0, mag = 0;
            for (size_t i = 0; i < K; i++) {
                const double term = (double)dq[i] * (double)p.x[t * K + i];
                sum += term;
                mag += fabs(term);
            }
            const double err = fabs(sum - (double)got[t * OUT + r]);
            if (!(err <= 2.0 * (double)(K + 8) * (double)FLT_EPSILON * mag) && sum == sum)
                kc_fail("%s reference: want %g, got %g", lv_type_traits_get(type)->name, sum,
                        (double)got[t * OUT + r]);
        }
    }
    kc_release();
}

static void bench_products(const kc_tables *k)
{
    static const size_t rows[] = { 1, 2, 4, 8, 9, 16, 32, 64 };
    for (int i = 0; i < N_TYPES; i++)
        for (size_t n = 0; n < sizeof rows / sizeof *rows; n++) {
            product p = { .type = types[i], .n_rows = rows[n], .n_out = 1024, .k = 4096 };
            const size_t bytes = p.n_out * lv_type_row_bytes(p.type, p.k);
            const int kind = lv_type_act_kind(p.type);
            p.w = kc_buf(bytes);
            fill_weights(p.type, p.w, bytes);
            p.x = kc_buf(p.n_rows * p.k * sizeof(float));
            for (size_t j = 0; j < p.n_rows * p.k; j++) p.x[j] = kc_randf(-1, 1);
            float *y = kc_buf(p.n_rows * p.n_out * sizeof(float));
            void *act = kc_buf64(k->test.act_bytes[kind](p.n_rows, p.k)),
                 *scratch = kc_buf64(k->test.matmul_scratch_bytes(p.k));
            k->test.act_pack[kind](act, p.x, p.k, p.n_rows, p.k, 0, p.n_rows);
            char name[64];
            snprintf(name, sizeof name, "matmul_%s_%zurows", lv_type_traits_get(p.type)->name, p.n_rows);
            KC_BENCH(name, (double)bytes, 2.0 * (double)(p.n_out * p.k * p.n_rows),
                     k->test.matmul[p.type](y, p.n_out, p.w, p.n_out, act, p.n_rows, p.k, scratch));
            kc_release();
        }
}

void kc_check_matmul(const kc_tables *k)
{
    static const size_t outs[] = { 1, 2, 3, 4, 7, 8, 16, 17, 31, 32, 33, 65 };
    enum { N_OUTS = sizeof outs / sizeof *outs };
    static const size_t q_k[] = { 32, 64, 96, 256, 1056 }, k_k[] = { 256, 512, 768, 256, 1280 };
    static const size_t f_k[] = { 1, 7, 16, 17, 100, 256 };
    static const size_t big[] = { 31, 32, 33, 64, 127 };
    for (int i = 0; i < N_TYPES; i++) {
        const int kind = lv_type_act_kind(types[i]);
        const bool q = kind != LV_ACT_F32;
        const size_t *const ks = kind == LV_ACT_Q8K ? k_k : q_k;
        check_reference(k, types[i]);
        check_ldy(k, types[i]);
        for (size_t rows = 1; rows <= 17; rows++) /* every width, every out, each k in turn */
            for (size_t o = 0; o < N_OUTS; o++) {
                const size_t kk = q ? ks[(rows + o) % 5] : f_k[(rows + o) % 6];
                check_product(k, (product){ .type = types[i], .n_rows = rows, .n_out = outs[o], .k = kk });
            }
        for (size_t b = 0; b < 5; b++)
            check_product(k, (product){ .type = types[i],
                                        .n_rows = big[b],
                                        .n_out = outs[N_OUTS - 1 - b],
                                        .k = q ? ks[b] : f_k[b] });
    }
    if (kc_benching()) bench_products(k);
}
