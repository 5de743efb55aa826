/* Conversions of one format family each; the traits table in quant.c points at them.
 * n is a multiple of the block length; pointers may have any alignment. SPDX-License-Identifier: MIT */
#ifndef LEVER_QUANT_QUANT_IMPL_H
#define LEVER_QUANT_QUANT_IMPL_H

#include <stddef.h>

#define LV_QUANT_FAMILY(X)                                                             \
    X(f32) X(f16) X(bf16) X(q8_0) X(q4_0) X(q4_1) X(q5_0) X(q5_1) X(q2_k) X(q3_k)      \
    X(q4_k) X(q5_k) X(q6_k) X(iq4_nl) X(iq4_xs) X(mxfp4)

#define X(name)                                                       \
    void lv_dequantize_##name(float *dst, const void *src, size_t n); \
    void lv_quantize_##name(void *dst, const float *src, size_t n);
LV_QUANT_FAMILY(X)
#undef X

/* 1 / d; 0 where d is subnormal and that could overflow: the block becomes zero. */
static inline float lv_quant_reciprocal(float d)
{
    return d >= 0x1p-126f || d <= -0x1p-126f ? 1.0f / d : 0.0f;
}

enum { LV_F16_NAN = 0x7e00 }; /* the scale of a block that holds a weight that is not finite */

#endif
