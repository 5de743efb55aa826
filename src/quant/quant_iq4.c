/* IQ4_NL, IQ4_XS, MXFP4: four bits that stand for the values of a table. SPDX-License-Identifier: MIT */
#include <math.h>
#include <string.h>

#include "base/f16.h"
#include "quant/quant.h"
#include "quant/quant_fit.h"
#include "quant/quant_impl.h"

/* Closer together where normally distributed weights are dense. */
const int8_t lv_iq4_value[16] = { -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113 };
const int8_t lv_mxfp4_value[16] = { 0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12 };

static const float iq4_middle[15] = { -115.5f, -93.5f, -74.0f, -57.0f, -42.0f, -28.5f, -16.0f, -4.5f,
                                      7.0f,    19.0f,  31.5f,  45.5f,  61.0f,  79.0f,  101.0f };

/* ---- IQ4_NL ---- */

void lv_dequantize_iq4_nl(float *dst, const void *src, size_t n)
{
    const uint8_t *at = src;
    for (float *x = dst; x != dst + n; x += 32, at += sizeof(lv_block_iq4_nl)) {
        lv_block_iq4_nl b;
        memcpy(&b, at, sizeof b);
        const float d = lv_f16_to_f32(b.d);
        for (unsigned i = 0; i < 32; i++) x[i] = d * (float)lv_iq4_value[lv_plane_get(b.qs, 4, 16, i)];
    }
}

void lv_quantize_iq4_nl(void *dst, const float *src, size_t n)
{
    static const lv_fit_scaled_format format = { 1, 32, 1, 1, -127, 113, lv_iq4_value, iq4_middle };
    uint8_t *at = dst;
    for (const float *x = src; x != src + n; x += 32, at += sizeof(lv_block_iq4_nl)) {
        lv_fit_scaled fit;
        lv_fit_scaled_block(&fit, &format, x);
        lv_block_iq4_nl b = { .d = fit.d };
        for (unsigned i = 0; i < 32; i++) lv_plane_put(b.qs, 4, 16, i, fit.code[i]);
        memcpy(at, &b, sizeof b);
    }
}

/* ---- IQ4_XS ---- */

void lv_dequantize_iq4_xs(float *dst, const void *src, size_t n)
{
    const uint8_t *at = src;
    for (float *x = dst; x != dst + n; x += 256, at += sizeof(lv_block_iq4_xs)) {
        lv_block_iq4_xs b;
        memcpy(&b, at, sizeof b);
        const float d = lv_f16_to_f32(b.d);
        for (unsigned i = 0; i < 256; i++) {
            const unsigned j = i / 32;
            const unsigned sc = lv_plane_get(b.scales_l, 4, 1, j) | lv_plane_get(b.scales_h, 2, 1, j) << 4;
            const float ds = d * (float)((int)sc - 32);
            x[i] = ds * (float)lv_iq4_value[lv_plane_get(b.qs, 4, 16, i)];
        }
    }
}

void lv_quantize_iq4_xs(void *dst, const float *src, size_t n)
{
    static const lv_fit_scaled_format format = { 8, 32, -32, 31, -127, 113, lv_iq4_value, iq4_middle };
    uint8_t *at = dst;
    for (const float *x = src; x != src + n; x += 256, at += sizeof(lv_block_iq4_xs)) {
        lv_fit_scaled fit;
        lv_fit_scaled_block(&fit, &format, x);
        lv_block_iq4_xs b = { .d = fit.d };
        for (unsigned j = 0; j < 8; j++) {
            const unsigned sc = (unsigned)(fit.scale[j] + 32);
            lv_plane_put(b.scales_l, 4, 1, j, sc);
            lv_plane_put(b.scales_h, 2, 1, j, sc >> 4);
        }
        for (unsigned i = 0; i < 256; i++) lv_plane_put(b.qs, 4, 16, i, fit.code[i]);
        memcpy(at, &b, sizeof b);
    }
}

/* ---- MXFP4 ---- */

enum { E8M0_NAN = 255, E8M0_LARGEST = 252 /* 12 * 2^(e - 128) is finite */ };

/* 2^(e - 128); half of E8M0's value because the table is doubled. The first two are subnormal. */
static float half_scale(unsigned e)
{
    if (e == E8M0_NAN) return lv_f32_from_bits(0x7fc00000u);
    return lv_f32_from_bits(e < 2 ? 0x200000u << e : (e - 1) << 23);
}

void lv_dequantize_mxfp4(float *dst, const void *src, size_t n)
{
    const uint8_t *at = src;
    for (float *x = dst; x != dst + n; x += 32, at += sizeof(lv_block_mxfp4)) {
        lv_block_mxfp4 b;
        memcpy(&b, at, sizeof b);
        const float d = half_scale(b.e);
        for (unsigned i = 0; i < 32; i++) x[i] = d * (float)lv_mxfp4_value[lv_plane_get(b.qs, 4, 16, i)];
    }
}

/* The code whose value is nearest to v, the smaller magnitude of two. */
static unsigned mxfp4_code(float v)
{
    const float a = fabsf(v);
    unsigned q = 0;
    for (unsigned c = 0; c < 7; c++) q += 2.0f * a > (float)(lv_mxfp4_value[c] + lv_mxfp4_value[c + 1]);
    return q && v < 0.0f ? q | 8 : q;
}

/* Squared error of a block under exponent e. Powers of two multiply and divide without rounding. */
static double mxfp4_error(const float *x, unsigned e)
{
    const float d = half_scale(e);
    double sum = 0.0;
    for (unsigned i = 0; i < 32; i++) {
        const double r = (double)x[i] - d * (float)lv_mxfp4_value[mxfp4_code(x[i] / d)];
        sum += r * r;
    }
    return sum;
}

/* Under the first exponent tried the largest magnitude is 8 to 16 units of 2^(e - 128), where 12 is the end
 * of the table, under the second 4 to 8. Which one is better depends on how many are cut off. */
static unsigned mxfp4_exponent(const float *x)
{
    float max = 0.0f;
    for (unsigned i = 0; i < 32; i++) {
        if (!isfinite(x[i])) return E8M0_NAN;
        if (fabsf(x[i]) > max) max = fabsf(x[i]);
    }
    if (max == 0.0f) return 0;
    int first;
    frexpf(max, &first); /* max in [2^(first-1), 2^first) */
    unsigned pick = 0;
    double least = INFINITY;
    for (int k = first + 128 - 4; k <= first + 128 - 3; k++) {
        const unsigned e = (unsigned)(k < 0 ? 0 : k > E8M0_LARGEST ? E8M0_LARGEST : k);
        const double error = mxfp4_error(x, e);
        if (error < least) least = error, pick = e;
    }
    return pick;
}

void lv_quantize_mxfp4(void *dst, const float *src, size_t n)
{
    uint8_t *at = dst;
    for (const float *x = src; x != src + n; x += 32, at += sizeof(lv_block_mxfp4)) {
        lv_block_mxfp4 b = { .e = (uint8_t)mxfp4_exponent(x) };
        const float d = half_scale(b.e);
        for (unsigned i = 0; i < 32 && b.e != E8M0_NAN; i++)
            lv_plane_put(b.qs, 4, 16, i, mxfp4_code(x[i] / d));
        memcpy(at, &b, sizeof b);
    }
}
