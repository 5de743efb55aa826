/* Q2_K, Q3_K, Q4_K, Q5_K, Q6_K: layouts. The numbers come from quant_fit.c.
 * SPDX-License-Identifier: MIT */
#include <string.h>

#include "base/f16.h"
#include "quant/quant.h"
#include "quant/quant_fit.h"
#include "quant/quant_impl.h"

enum { LEN = 256 };

/* ---- Q2_K ---- */

void lv_dequantize_q2_k(float *dst, const void *src, size_t n)
{
    const uint8_t *at = src;
    for (float *x = dst; x != dst + n; x += LEN, at += sizeof(lv_block_q2_k)) {
        lv_block_q2_k b;
        memcpy(&b, at, sizeof b);
        const float d = lv_f16_to_f32(b.d), dmin = lv_f16_to_f32(b.dmin);
        for (unsigned i = 0; i < LEN; i++) {
            const float ds = d * (float)(b.scales[i / 16] & 15), dm = dmin * (float)(b.scales[i / 16] >> 4);
            x[i] = ds * (float)lv_plane_get(b.qs, 2, 32, i) - dm;
        }
    }
}

void lv_quantize_q2_k(void *dst, const float *src, size_t n)
{
    static const lv_fit_affine_format format = { 16, 16, 3, 15 };
    uint8_t *at = dst;
    for (const float *x = src; x != src + n; x += LEN, at += sizeof(lv_block_q2_k)) {
        lv_fit_affine fit;
        lv_fit_affine_block(&fit, &format, x);
        lv_block_q2_k b = { .d = fit.d, .dmin = fit.dmin };
        for (unsigned j = 0; j < 16; j++) b.scales[j] = (uint8_t)(fit.scale[j] | fit.min[j] << 4);
        for (unsigned i = 0; i < LEN; i++) lv_plane_put(b.qs, 2, 32, i, fit.code[i]);
        memcpy(at, &b, sizeof b);
    }
}

/* ---- Q3_K ---- */

void lv_dequantize_q3_k(float *dst, const void *src, size_t n)
{
    const uint8_t *at = src;
    for (float *x = dst; x != dst + n; x += LEN, at += sizeof(lv_block_q3_k)) {
        lv_block_q3_k b;
        memcpy(&b, at, sizeof b);
        const float d = lv_f16_to_f32(b.d);
        for (unsigned i = 0; i < LEN; i++) {
            const unsigned j = i / 16;
            const unsigned sc = lv_plane_get(b.scales, 4, 8, j) | lv_plane_get(b.scales + 8, 2, 4, j) << 4;
            const unsigned q = lv_plane_get(b.qs, 2, 32, i) | lv_plane_get(b.hmask, 1, 32, i) << 2;
            x[i] = d * (float)((int)sc - 32) * (float)((int)q - 4);
        }
    }
}

void lv_quantize_q3_k(void *dst, const float *src, size_t n)
{
    static const lv_fit_scaled_format format = { 16, 16, -32, 31, -4, 3, NULL, NULL };
    uint8_t *at = dst;
    for (const float *x = src; x != src + n; x += LEN, at += sizeof(lv_block_q3_k)) {
        lv_fit_scaled fit;
        lv_fit_scaled_block(&fit, &format, x);
        lv_block_q3_k b = { .d = fit.d };
        for (unsigned j = 0; j < 16; j++) {
            const unsigned sc = (unsigned)(fit.scale[j] + 32);
            lv_plane_put(b.scales, 4, 8, j, sc);
            lv_plane_put(b.scales + 8, 2, 4, j, sc >> 4);
        }
        for (unsigned i = 0; i < LEN; i++) {
            lv_plane_put(b.qs, 2, 32, i, fit.code[i]);
            lv_plane_put(b.hmask, 1, 32, i, fit.code[i] >> 2);
        }
        memcpy(at, &b, sizeof b);
    }
}

/* ---- Q4_K and Q5_K ---- */

void lv_q4_k_scale(const uint8_t scales[12], unsigned j, uint8_t *sc, uint8_t *m)
{
    if (j < 4) {
        *sc = scales[j] & 63;
        *m = scales[j + 4] & 63;
    } else {
        *sc = (uint8_t)((scales[j + 4] & 15) | scales[j - 4] >> 6 << 4);
        *m = (uint8_t)(scales[j + 4] >> 4 | scales[j] >> 6 << 4);
    }
}

static void put_scales(uint8_t scales[12], const uint8_t *sc, const uint8_t *m)
{
    for (unsigned j = 0; j < 4; j++) {
        scales[j] = (uint8_t)(sc[j] | sc[j + 4] >> 4 << 6);
        scales[j + 4] = (uint8_t)(m[j] | m[j + 4] >> 4 << 6);
        scales[j + 8] = (uint8_t)((sc[j + 4] & 15) | m[j + 4] << 4);
    }
}

void lv_dequantize_q4_k(float *dst, const void *src, size_t n)
{
    const uint8_t *at = src;
    for (float *x = dst; x != dst + n; x += LEN, at += sizeof(lv_block_q4_k)) {
        lv_block_q4_k b;
        memcpy(&b, at, sizeof b);
        const float d = lv_f16_to_f32(b.d), dmin = lv_f16_to_f32(b.dmin);
        for (unsigned i = 0; i < LEN; i++) {
            uint8_t sc, m;
            lv_q4_k_scale(b.scales, i / 32, &sc, &m);
            x[i] = d * (float)sc * (float)lv_plane_get(b.qs, 4, 32, i) - dmin * (float)m;
        }
    }
}

void lv_quantize_q4_k(void *dst, const float *src, size_t n)
{
    static const lv_fit_affine_format format = { 8, 32, 15, 63 };
    uint8_t *at = dst;
    for (const float *x = src; x != src + n; x += LEN, at += sizeof(lv_block_q4_k)) {
        lv_fit_affine fit;
        lv_fit_affine_block(&fit, &format, x);
        lv_block_q4_k b = { .d = fit.d, .dmin = fit.dmin };
        put_scales(b.scales, fit.scale, fit.min);
        for (unsigned i = 0; i < LEN; i++) lv_plane_put(b.qs, 4, 32, i, fit.code[i]);
        memcpy(at, &b, sizeof b);
    }
}

void lv_dequantize_q5_k(float *dst, const void *src, size_t n)
{
    const uint8_t *at = src;
    for (float *x = dst; x != dst + n; x += LEN, at += sizeof(lv_block_q5_k)) {
        lv_block_q5_k b;
        memcpy(&b, at, sizeof b);
        const float d = lv_f16_to_f32(b.d), dmin = lv_f16_to_f32(b.dmin);
        for (unsigned i = 0; i < LEN; i++) {
            const unsigned q = lv_plane_get(b.qs, 4, 32, i) | lv_plane_get(b.qh, 1, 32, i) << 4;
            uint8_t sc, m;
            lv_q4_k_scale(b.scales, i / 32, &sc, &m);
            x[i] = d * (float)sc * (float)q - dmin * (float)m;
        }
    }
}

void lv_quantize_q5_k(void *dst, const float *src, size_t n)
{
    static const lv_fit_affine_format format = { 8, 32, 31, 63 };
    uint8_t *at = dst;
    for (const float *x = src; x != src + n; x += LEN, at += sizeof(lv_block_q5_k)) {
        lv_fit_affine fit;
        lv_fit_affine_block(&fit, &format, x);
        lv_block_q5_k b = { .d = fit.d, .dmin = fit.dmin };
        put_scales(b.scales, fit.scale, fit.min);
        for (unsigned i = 0; i < LEN; i++) {
            lv_plane_put(b.qs, 4, 32, i, fit.code[i]);
            lv_plane_put(b.qh, 1, 32, i, fit.code[i] >> 4);
        }
        memcpy(at, &b, sizeof b);
    }
}

/* ---- Q6_K ---- */

void lv_dequantize_q6_k(float *dst, const void *src, size_t n)
{
    const uint8_t *at = src;
    for (float *x = dst; x != dst + n; x += LEN, at += sizeof(lv_block_q6_k)) {
        lv_block_q6_k b;
        memcpy(&b, at, sizeof b);
        const float d = lv_f16_to_f32(b.d);
        for (unsigned i = 0; i < LEN; i++) {
            const unsigned q = lv_plane_get(b.ql, 4, 64, i) | lv_plane_get(b.qh, 2, 32, i) << 4;
            x[i] = d * (float)b.scales[i / 16] * (float)((int)q - 32);
        }
    }
}

void lv_quantize_q6_k(void *dst, const float *src, size_t n)
{
    static const lv_fit_scaled_format format = { 16, 16, -128, 127, -32, 31, NULL, NULL };
    uint8_t *at = dst;
    for (const float *x = src; x != src + n; x += LEN, at += sizeof(lv_block_q6_k)) {
        lv_fit_scaled fit;
        lv_fit_scaled_block(&fit, &format, x);
        lv_block_q6_k b = { .d = fit.d };
        for (unsigned j = 0; j < 16; j++) b.scales[j] = (int8_t)fit.scale[j];
        for (unsigned i = 0; i < LEN; i++) {
            lv_plane_put(b.ql, 4, 64, i, fit.code[i]);
            lv_plane_put(b.qh, 2, 32, i, fit.code[i] >> 4);
        }
        memcpy(at, &b, sizeof b);
    }
}
