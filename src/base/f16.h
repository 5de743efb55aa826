/* f16 and bf16 conversions, exact or rounded to nearest even. The scalar truth: SIMD versions
 * (F16C, NEON) give the same bits for every input that is not NaN. SPDX-License-Identifier: MIT */
#ifndef LEVER_BASE_F16_H
#define LEVER_BASE_F16_H

#include <stdint.h>
#include <string.h>

#include "base/compiler.h"

static inline uint32_t lv_f32_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static inline float lv_f32_from_bits(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static inline float lv_f16_to_f32(uint16_t h)
{
    /* Multiplying by 2^112 rebias the exponent; exact for subnormals too. */
    float f = lv_f32_from_bits((uint32_t)(h & 0x7fffu) << 13) * lv_f32_from_bits(0x77800000u);
    uint32_t bits = lv_f32_bits(f);
    if ((h & 0x7c00u) == 0x7c00u) bits = 0x7f800000u | (uint32_t)(h & 0x3ffu) << 13;
    return lv_f32_from_bits(bits | (uint32_t)(h & 0x8000u) << 16);
}

/* Round to nearest even; overflow gives infinity, NaN gives 0x7e00 with the sign. */
static inline uint16_t lv_f32_to_f16(float f)
{
    const uint32_t u = lv_f32_bits(f), sign = u >> 16 & 0x8000u, a = u & 0x7fffffffu;
    if (a > 0x7f800000u) return (uint16_t)(sign | 0x7e00u);
    if (a >= 0x47800000u) return (uint16_t)(sign | 0x7c00u); /* >= 2^16 */
    if (a < 0x38800000u) { /* below 2^-14: adding 0.5 leaves the rounded subnormal in the low bits */
        const float r = lv_f32_from_bits(a) + 0.5f;
        return (uint16_t)(sign | (lv_f32_bits(r) - 0x3f000000u));
    }
    return (uint16_t)(sign | ((a - 0x38000000u + 0xfffu + (a >> 13 & 1u)) >> 13));
}

static inline float lv_bf16_to_f32(uint16_t b) { return lv_f32_from_bits((uint32_t)b << 16); }

static inline uint16_t lv_f32_to_bf16(float f)
{
    const uint32_t u = lv_f32_bits(f);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(u >> 16 | 0x40u); /* quiet NaN */
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}

#endif
