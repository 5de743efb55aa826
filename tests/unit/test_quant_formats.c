/* What every block format promises, whatever its layout. (Layouts: tests/golden/test_quant_blocks.c.)
 * SPDX-License-Identifier: MIT */
#include "support/check.h"

#include <math.h>
#include <stdbool.h>

#include "quant/quant.h"

typedef struct format {
    uint32_t type;
    float    bound;      /* relative error on normally distributed weights: about 10 % above what it is */
    int      lo, hi;     /* levels of the plain quantiser that must not be better, */
    const int8_t *table; /* if NULL the whole numbers lo..hi, */
    int      len;        /* and the weights that share its scale */
    bool     stable;     /* quantising a second time changes nothing */
} format;

static const format formats[] = {
    { LV_TYPE_Q8_0, 0.0059f, -127, 127, NULL, 32, true },
    { LV_TYPE_Q4_0, 0.0941f, -8, 7, NULL, 32, true },
    { LV_TYPE_Q4_1, 0.0857f, -8, 7, NULL, 32, true },
    { LV_TYPE_Q5_0, 0.0470f, -16, 15, NULL, 32, true },
    { LV_TYPE_Q5_1, 0.0410f, -16, 15, NULL, 32, true },
    { LV_TYPE_Q2_K, 0.2840f, -2, 1, NULL, 16, false },
    { LV_TYPE_Q3_K, 0.1572f, -4, 3, NULL, 16, false },
    { LV_TYPE_Q4_K, 0.0759f, -8, 7, NULL, 32, false },
    { LV_TYPE_Q5_K, 0.0377f, -16, 15, NULL, 32, false },
    { LV_TYPE_Q6_K, 0.0181f, -32, 31, NULL, 16, false },
    { LV_TYPE_IQ4_NL, 0.0800f, -127, 113, lv_iq4_value, 32, true },
    { LV_TYPE_IQ4_XS, 0.0806f, -127, 113, lv_iq4_value, 32, false },
    { LV_TYPE_MXFP4, 0.1221f, -12, 12, lv_mxfp4_value, 32, true },
};
enum { N_FORMATS = sizeof formats / sizeof *formats, BLOCK = 256, N = BLOCK * 64 };

static float x[N], y[N], z[N];
static uint8_t packed[N * 2];

static uint32_t rng_state;
static float uniform(void) /* -1..1 */
{
    rng_state = rng_state * 1664525u + 1013904223u;
    return (float)((int32_t)rng_state >> 8) / 8388608.0f;
}

static void fill_normal(uint32_t seed, float sd)
{
    rng_state = seed;
    for (int i = 0; i < N; i++) {
        float sum = 0.0f; /* of twelve uniform numbers: variance 4 */
        for (int k = 0; k < 12; k++) sum += uniform();
        x[i] = sum * 0.5f * sd;
    }
}

static const lv_type_traits *there_and_back(const format *f, float *to, const float *from, size_t n)
{
    const lv_type_traits *t = lv_type_traits_get(f->type);
    t->quantize(packed, from, n);
    t->dequantize(to, packed, n);
    return t;
}

static double squared_error(const float *a, const float *b, int n)
{
    double sum = 0.0;
    for (int i = 0; i < n; i++) sum += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    return sum;
}

static double relative_error(const float *want, const float *got)
{
    static const float zeros[N];
    return sqrt(squared_error(want, got, N) / squared_error(want, zeros, N));
}

/* Rounding to the nearest level, with a scale that puts the largest magnitude at the end of the levels, or
 * for powers of two near it. */
static void plain(float *to, const float *from, const format *f)
{
    const int n_levels = f->table ? 16 : f->hi - f->lo + 1;
    for (int b = 0; b < N; b += f->len) {
        float extreme = 0.0f;
        for (int i = b; i < b + f->len; i++)
            if (fabsf(from[i]) > fabsf(extreme)) extreme = from[i];
        const float d = f->type == LV_TYPE_MXFP4 ? ldexpf(1.0f, ilogbf(extreme) - 3) : extreme / (float)f->lo;
        for (int i = b; i < b + f->len; i++) {
            to[i] = INFINITY;
            for (int c = 0; c < n_levels; c++) {
                const float v = d * (float)(f->table ? f->table[c] : f->lo + c);
                if (fabsf(v - from[i]) < fabsf(to[i] - from[i])) to[i] = v;
            }
        }
    }
}

static void the_error_is_small(bool normal)
{
    for (const format *f = formats; f < formats + N_FORMATS; f++) {
        const lv_type_traits *t = there_and_back(f, y, x, N);
        plain(z, x, f);
        const double error = relative_error(x, y), other = relative_error(x, z);
        printf("     %-6s relative error %.5f, plain rounding %.5f\n", t->name, error, other);
        CHECK(!normal || error <= f->bound);
        CHECK(error <= other * 1.002); /* whose scale is not rounded to f16 */
    }
}

static void the_error_on_normal_weights_is_small(void)
{
    fill_normal(1, 0.02f);
    the_error_is_small(true);
}

/* Sub-blocks of different size, one sign only, zeros, an outlier. */
static void fill_uneven(uint32_t seed)
{
    fill_normal(seed, 1.0f);
    for (int b = 0; b < N; b += 16) {
        const float scale = ldexpf(0.01f, b / 16 % 7);
        for (int i = b; i < b + 16; i++) {
            x[i] *= scale;
            if (b / BLOCK % 4 == 1) x[i] = fabsf(x[i]);
            if (b / BLOCK % 4 == 2 && b % 64 == 0) x[i] = 0.0f;
        }
        if (b / BLOCK % 4 == 3) x[b] *= 20.0f;
    }
}

static void uneven_weights_are_no_worse_than_under_plain_rounding(void)
{
    fill_uneven(2);
    the_error_is_small(false);
}

static void quantising_twice_adds_no_error(void)
{
    fill_normal(3, 0.02f);
    for (const format *f = formats; f < formats + N_FORMATS; f++) {
        const int len = (int)there_and_back(f, y, x, N)->block_len;
        there_and_back(f, z, y, N);
        CHECK(!f->stable || squared_error(y, z, N) == 0.0);
        for (int b = 0; b < N; b += len)
            CHECK(squared_error(y + b, z + b, len) <= squared_error(x + b, y + b, len));
    }
}

/* Nothing depends on the size of the weights but what f16 can hold. */
static void larger_weights_give_larger_values(void)
{
    fill_uneven(4);
    for (int i = 0; i < N; i++) x[i] *= 64.0f; /* keeps every d above f16's subnormal numbers */
    for (const format *f = formats; f < formats + N_FORMATS; f++) {
        there_and_back(f, y, x, N);
        for (int i = 0; i < N; i++) x[i] *= 16.0f;
        there_and_back(f, z, x, N);
        for (int i = 0; i < N; i++) x[i] /= 16.0f, z[i] /= 16.0f;
        CHECK(squared_error(y, z, N) == 0.0);
    }
}

static void equal_weights_stay_equal(void)
{
    const float values[] = { 1.0f, -1.0f, 0.03f, -700.0f };
    for (const format *f = formats; f < formats + N_FORMATS; f++)
        for (int k = 0; k < 4; k++) {
            for (int i = 0; i < BLOCK; i++) x[i] = values[k];
            there_and_back(f, y, x, BLOCK);
            const float allowed = f->type == LV_TYPE_MXFP4 ? 0.1f : f->type == LV_TYPE_Q4_0 ? 0.13f : 0.002f;
            for (int i = 0; i < BLOCK; i++) CHECK(fabsf(y[i] / x[i] - 1.0f) <= allowed && y[i] == y[0]);
        }
}

static void zero_and_tiny_blocks_become_zeros(void)
{
    const float tiny[] = { 0.0f, -0.0f, 1e-40f, -1e-31f };
    for (const format *f = formats; f < formats + N_FORMATS; f++)
        for (int k = 0; k < 4; k++) {
            if (f->type == LV_TYPE_MXFP4 && tiny[k] != 0.0f) continue; /* has a float's exponents */
            memset(x, 0, sizeof x);
            x[3] = x[150] = tiny[k];
            there_and_back(f, y, x, BLOCK);
            for (int i = 0; i < BLOCK; i++) CHECK(y[i] == 0.0f);
        }
}

static void a_weight_that_is_not_finite_spoils_its_block_only(void)
{
    const float bad[] = { NAN, -NAN, INFINITY, -INFINITY };
    const int at[] = { 0, 17, 31, 255 };
    for (const format *f = formats; f < formats + N_FORMATS; f++)
        for (int k = 0; k < 16; k++) {
            fill_normal(5, 1.0f);
            x[BLOCK + at[k / 4]] = bad[k % 4];
            const int len = (int)there_and_back(f, y, x, 3 * BLOCK)->block_len;
            const int first = BLOCK + at[k / 4] / len * len;
            for (int i = 0; i < 3 * BLOCK; i++) CHECK(!isfinite(y[i]) == (i >= first && i < first + len));
            for (int i = first; i < first + len; i++) CHECK(isnan(y[i]));
        }
}

static void weights_beyond_the_format_do_not_become_finite(void)
{
    const float vast[] = { 3e38f, -3e38f };
    for (const format *f = formats; f < formats + N_FORMATS; f++)
        for (int k = 0; k < 4; k++) {
            memset(x, 0, sizeof x);
            x[7] = vast[k & 1];
            x[9] = vast[k / 2];
            there_and_back(f, y, x, BLOCK);
            if (f->type == LV_TYPE_MXFP4) CHECK(fabsf(y[7] / x[7] - 1.0f) < 0.15f && y[8] == 0.0f);
            else CHECK(!isfinite(y[7]));
        }
}

static void blocks_may_lie_anywhere(void)
{
    fill_normal(6, 0.02f);
    for (const format *f = formats; f < formats + N_FORMATS; f++) {
        const lv_type_traits *t = there_and_back(f, y, x, BLOCK);
        const size_t bytes = lv_type_row_bytes(f->type, BLOCK);
        for (size_t shift = 1; shift < 4; shift++) {
            uint8_t *moved = packed + N + shift;
            memset(packed + N, 0xa5, bytes + 8);
            t->quantize(moved, x, BLOCK);
            CHECK(!memcmp(moved, packed, bytes) && moved[-1] == 0xa5 && moved[bytes] == 0xa5);
            t->dequantize(z, moved, BLOCK);
            CHECK(!memcmp(y, z, BLOCK * sizeof *y));
        }
    }
}

static void mxfp4_follows_the_format(void)
{
    static const float e2m1[] = { 0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f };
    lv_block_mxfp4 b;
    for (int i = 0; i < 32; i++) x[i] = (i & 8 ? -4.0f : 4.0f) * e2m1[i % 8];
    there_and_back(&formats[N_FORMATS - 1], y, x, 32);
    memcpy(&b, packed, sizeof b);
    CHECK_EQ(b.e, 129); /* 2^2 */
    CHECK_EQ(b.qs[1], 0x11);
    CHECK_EQ(b.qs[15], 0xff);
    for (int i = 0; i < 32; i++) CHECK(y[i] == x[i]);
    b.e = 255;
    lv_type_traits_get(LV_TYPE_MXFP4)->dequantize(y, &b, 32);
    for (int i = 0; i < 32; i++) CHECK(isnan(y[i]));
}

int main(void)
{
    RUN(the_error_on_normal_weights_is_small);
    RUN(uneven_weights_are_no_worse_than_under_plain_rounding);
    RUN(quantising_twice_adds_no_error);
    RUN(larger_weights_give_larger_values);
    RUN(equal_weights_stay_equal);
    RUN(zero_and_tiny_blocks_become_zeros);
    RUN(a_weight_that_is_not_finite_spoils_its_block_only);
    RUN(weights_beyond_the_format_do_not_become_finite);
    RUN(blocks_may_lie_anywhere);
    RUN(mxfp4_follows_the_format);
    return check_done();
}
