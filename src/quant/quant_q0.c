/* Q8_0 and Q4_0: blocks of 32 with one f16 scale and no minimum.
 *
 * A block with a NaN or infinite weight gets a NaN scale, so the damage shows when it is read back.
 * Blocks whose scale is a subnormal float become zero: f16 can not hold such a scale anyway, and its
 * reciprocal would overflow. SPDX-License-Identifier: MIT */
#include <math.h>
#include <string.h>

#include "base/f16.h"
#include "quant/quant.h"
#include "quant/quant_impl.h"

enum { LEN = 32 };

/* The value of largest magnitude, sign kept, the first among equals; NaN if there is one. */
static float extreme(const float *x)
{
    float best = x[0];
    for (int i = 0; i < LEN; i++) {
        if (x[i] != x[i]) return x[i];
        if (fabsf(x[i]) > fabsf(best)) best = x[i];
    }
    return best;
}

void lv_dequantize_q8_0(float *dst, const void *src, size_t n)
{
    const uint8_t *at = src;
    for (size_t i = 0; i < n; i += LEN, at += sizeof(lv_block_q8_0)) {
        lv_block_q8_0 b;
        memcpy(&b, at, sizeof b);
        const float d = lv_f16_to_f32(b.d);
        for (int j = 0; j < LEN; j++) dst[i + (size_t)j] = d * (float)b.qs[j];
    }
}

/* Halves away from zero, as roundf, but in a form that compilers turn into vectors: keys and values of a
 * cache come through here with every row. |x| < 2^31. */
static inline int rounded(float x)
{
    const int whole = (int)x;
    const float rest = x - (float)whole;
    return whole + (rest >= 0.5f) - (rest <= -0.5f);
}

void lv_quantize_q8_0(void *dst, const float *src, size_t n)
{
    uint8_t *at = dst;
    for (size_t i = 0; i < n; i += LEN, at += sizeof(lv_block_q8_0)) {
        const float *x = src + i;
        uint32_t most = 0; /* bits of the largest magnitude: NaN above infinity above the rest */
        for (int j = 0; j < LEN; j++) {
            const uint32_t bits = lv_f32_bits(x[j]) & 0x7fffffffu;
            most = bits > most ? bits : most;
        }
        const float d = lv_f32_from_bits(most) / 127.0f;
        lv_block_q8_0 b = { .d = LV_F16_NAN };
        if (most < 0x7f800000u) {
            const float id = lv_quant_reciprocal(d);
            b.d = lv_f32_to_f16(d);
            for (int j = 0; j < LEN; j++) b.qs[j] = (int8_t)rounded(x[j] * id);
        }
        memcpy(at, &b, sizeof b);
    }
}

void lv_dequantize_q4_0(float *dst, const void *src, size_t n)
{
    const uint8_t *at = src;
    for (size_t i = 0; i < n; i += LEN, at += sizeof(lv_block_q4_0)) {
        lv_block_q4_0 b;
        memcpy(&b, at, sizeof b);
        const float d = lv_f16_to_f32(b.d);
        float *x = dst + i;
        for (int j = 0; j < LEN / 2; j++) {
            x[j] = d * (float)((b.qs[j] & 15) - 8);
            x[j + LEN / 2] = d * (float)((b.qs[j] >> 4) - 8);
        }
    }
}

/* The scale maps the extreme value to -8, the end of the range that has one step more. */
static uint8_t q4_0(float x, float id)
{
    const int q = (int)(x * id + 8.5f);
    return (uint8_t)(q > 15 ? 15 : q);
}

void lv_quantize_q4_0(void *dst, const float *src, size_t n)
{
    uint8_t *at = dst;
    for (size_t i = 0; i < n; i += LEN, at += sizeof(lv_block_q4_0)) {
        const float *x = src + i;
        const float d = extreme(x) / -8.0f;
        lv_block_q4_0 b = { .d = LV_F16_NAN };
        if (isfinite(d)) {
            const float id = lv_quant_reciprocal(d);
            b.d = lv_f32_to_f16(d);
            for (int j = 0; j < LEN / 2; j++)
                b.qs[j] = (uint8_t)(q4_0(x[j], id) | q4_0(x[j + LEN / 2], id) << 4);
        }
        memcpy(at, &b, sizeof b);
    }
}
