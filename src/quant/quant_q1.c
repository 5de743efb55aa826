/* Q4_1, Q5_0, Q5_1: blocks of 32 with an f16 scale, a minimum where the name ends in 1, and a fifth bit
 * kept apart. Quantisation is the plain one that files of these types are made with: the scale spans
 * the extremes. NaN, infinities and subnormal scales: as in quant_q0.c. SPDX-License-Identifier: MIT */
#include <math.h>
#include <string.h>

#include "base/f16.h"
#include "quant/quant.h"
#include "quant/quant_impl.h"

enum { LEN = 32 };

/* Scale and minimum for `top` steps; a scale that is not finite when a weight is not. */
static float span(const float *x, float top, float *min)
{
    float lo = x[0], hi = x[0];
    for (int i = 0; i < LEN; i++) {
        if (x[i] != x[i]) return x[i];
        if (x[i] < lo) lo = x[i];
        if (x[i] > hi) hi = x[i];
    }
    *min = lo;
    return (hi - lo) / top;
}

/* v >= 0; the caller has added the half that makes this rounding to nearest. */
static unsigned code(float v, unsigned top)
{
    const unsigned q = (unsigned)v;
    return q > top ? top : q;
}

/* The codes of Q4_0, Q4_1 and the low bits of Q5: the halves of the block side by side in a byte. */
static unsigned low(const uint8_t *qs, unsigned i) { return lv_plane_get(qs, 4, 16, i); }

static unsigned high(const uint8_t *qh, unsigned i) { return lv_plane_get(qh, 1, 1, i); }

void lv_dequantize_q4_1(float *dst, const void *src, size_t n)
{
    const uint8_t *at = src;
    for (float *x = dst; x != dst + n; x += LEN, at += sizeof(lv_block_q4_1)) {
        lv_block_q4_1 b;
        memcpy(&b, at, sizeof b);
        const float d = lv_f16_to_f32(b.d), m = lv_f16_to_f32(b.m);
        for (unsigned i = 0; i < LEN; i++) x[i] = d * (float)low(b.qs, i) + m;
    }
}

void lv_quantize_q4_1(void *dst, const float *src, size_t n)
{
    uint8_t *at = dst;
    for (const float *x = src; x != src + n; x += LEN, at += sizeof(lv_block_q4_1)) {
        float min = 0.0f;
        const float d = span(x, 15.0f, &min);
        lv_block_q4_1 b = { .d = LV_F16_NAN };
        if (isfinite(d)) {
            const float id = lv_quant_reciprocal(d);
            b.d = lv_f32_to_f16(d);
            b.m = lv_f32_to_f16(min);
            for (unsigned i = 0; i < LEN; i++)
                lv_plane_put(b.qs, 4, 16, i, code((x[i] - min) * id + 0.5f, 15));
        }
        memcpy(at, &b, sizeof b);
    }
}

void lv_dequantize_q5_0(float *dst, const void *src, size_t n)
{
    const uint8_t *at = src;
    for (float *x = dst; x != dst + n; x += LEN, at += sizeof(lv_block_q5_0)) {
        lv_block_q5_0 b;
        memcpy(&b, at, sizeof b);
        const float d = lv_f16_to_f32(b.d);
        for (unsigned i = 0; i < LEN; i++)
            x[i] = d * (float)((int)(low(b.qs, i) | high(b.qh, i) << 4) - 16);
    }
}

/* The value of largest magnitude becomes -16, the end of the range that has one step more. */
void lv_quantize_q5_0(void *dst, const float *src, size_t n)
{
    uint8_t *at = dst;
    for (const float *x = src; x != src + n; x += LEN, at += sizeof(lv_block_q5_0)) {
        float extreme = x[0];
        for (int i = 0; i < LEN && extreme == extreme; i++)
            if (x[i] != x[i] || fabsf(x[i]) > fabsf(extreme)) extreme = x[i];
        const float d = extreme / -16.0f;
        lv_block_q5_0 b = { .d = LV_F16_NAN };
        if (isfinite(d)) {
            const float id = lv_quant_reciprocal(d);
            b.d = lv_f32_to_f16(d);
            for (unsigned i = 0; i < LEN; i++) {
                const unsigned q = code(x[i] * id + 16.5f, 31);
                lv_plane_put(b.qs, 4, 16, i, q);
                lv_plane_put(b.qh, 1, 1, i, q >> 4);
            }
        }
        memcpy(at, &b, sizeof b);
    }
}

void lv_dequantize_q5_1(float *dst, const void *src, size_t n)
{
    const uint8_t *at = src;
    for (float *x = dst; x != dst + n; x += LEN, at += sizeof(lv_block_q5_1)) {
        lv_block_q5_1 b;
        memcpy(&b, at, sizeof b);
        const float d = lv_f16_to_f32(b.d), m = lv_f16_to_f32(b.m);
        for (unsigned i = 0; i < LEN; i++) x[i] = d * (float)(low(b.qs, i) | high(b.qh, i) << 4) + m;
    }
}

void lv_quantize_q5_1(void *dst, const float *src, size_t n)
{
    uint8_t *at = dst;
    for (const float *x = src; x != src + n; x += LEN, at += sizeof(lv_block_q5_1)) {
        float min = 0.0f;
        const float d = span(x, 31.0f, &min);
        lv_block_q5_1 b = { .d = LV_F16_NAN };
        if (isfinite(d)) {
            const float id = lv_quant_reciprocal(d);
            b.d = lv_f32_to_f16(d);
            b.m = lv_f32_to_f16(min);
            for (unsigned i = 0; i < LEN; i++) {
                const unsigned q = code((x[i] - min) * id + 0.5f, 31);
                lv_plane_put(b.qs, 4, 16, i, q);
                lv_plane_put(b.qh, 1, 1, i, q >> 4);
            }
        }
        memcpy(at, &b, sizeof b);
    }
}
