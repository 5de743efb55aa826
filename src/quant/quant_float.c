/* F32, F16, BF16: one weight per block. Loads and stores go through memcpy because tensors of a file
 * may start at any address. SPDX-License-Identifier: MIT */
#include <string.h>

#include "base/f16.h"
#include "quant/quant_impl.h"

void lv_dequantize_f32(float *dst, const void *src, size_t n) { memcpy(dst, src, n * sizeof *dst); }
void lv_quantize_f32(void *dst, const float *src, size_t n) { memcpy(dst, src, n * sizeof *src); }

#define FLOAT16(name, widen, narrow)                                  \
    void lv_dequantize_##name(float *dst, const void *src, size_t n)  \
    {                                                                 \
        const uint8_t *at = src;                                      \
        for (size_t i = 0; i < n; i++, at += 2) {                     \
            uint16_t h;                                               \
            memcpy(&h, at, sizeof h);                                 \
            dst[i] = widen(h);                                        \
        }                                                             \
    }                                                                 \
    void lv_quantize_##name(void *dst, const float *src, size_t n)    \
    {                                                                 \
        uint8_t *at = dst;                                            \
        for (size_t i = 0; i < n; i++, at += 2) {                     \
            const uint16_t h = narrow(src[i]);                        \
            memcpy(at, &h, sizeof h);                                 \
        }                                                             \
    }

FLOAT16(f16, lv_f16_to_f32, lv_f32_to_f16)
FLOAT16(bf16, lv_bf16_to_f32, lv_f32_to_bf16)
