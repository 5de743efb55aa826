/* Canonical scalar maths of the token path: exp, log and the shared noise, made of IEEE add, mul, div
 * and fma only, so that every compiler and ISA gives the same bits. SIMD kernels repeat these steps
 * lane by lane. Header-only: each ISA's object compiles its own copy. SPDX-License-Identifier: MIT */
#ifndef LEVER_KERNEL_NOISE_H
#define LEVER_KERNEL_NOISE_H

#include <math.h>
#include <stdint.h>

#include "base/f16.h"

/* e^x. Error <= 2 ulp; +inf above 88.73, 0 below -103.98 (subnormal results are rounded twice); NaN stays.
 * x = n ln 2 + r, |r| <= ln 2 / 2, n to nearest even; e^r by its series to r^7, scaled in two exact steps. */
static inline float lv_expf(float x)
{
    if (!(x < 89.0f)) return x != x ? x : INFINITY;
    if (x < -104.0f) return 0.0f;
    const float n = fmaf(x, 0x1.715476p+0f, 12582912.0f) - 12582912.0f;
    float r = fmaf(n, -0x1.62e400p-1f, x);
    r = fmaf(n, -0x1.7f7d1cp-20f, r);
    float p = 0x1.a01a02p-13f;
    p = fmaf(p, r, 0x1.6c16c2p-10f);
    p = fmaf(p, r, 0x1.111112p-7f);
    p = fmaf(p, r, 0x1.555556p-5f);
    p = fmaf(p, r, 0x1.555556p-3f);
    p = fmaf(p, r, 0.5f);
    p = fmaf(p, r, 1.0f);
    p = fmaf(p, r, 1.0f);
    const int32_t e = (int32_t)n, half = e >> 1;
    const float s0 = lv_f32_from_bits((uint32_t)(half + 127) << 23);
    const float s1 = lv_f32_from_bits((uint32_t)(e - half + 127) << 23);
    return p * s0 * s1;
}

/* ln x for normal x > 0; error <= 2 ulp. x = 2^e m, sqrt(1/2) <= m < sqrt(2); ln m = 2 atanh(s),
 * s = (m - 1) / (m + 1), by its odd series to s^9. */
static inline float lv_logf(float x)
{
    const uint32_t u = lv_f32_bits(x);
    const int32_t e = (int32_t)(u - 0x3f3504f3u) >> 23; /* 0x3f3504f3 = sqrt(1/2) */
    const float m = lv_f32_from_bits(u - ((uint32_t)e << 23)), n = (float)e;
    const float f = m - 1.0f, s = f / (m + 1.0f), z = s * s;
    float p = 0x1.c71c72p-3f; /* 2/9 */
    p = fmaf(p, z, 0x1.24924ap-2f);
    p = fmaf(p, z, 0x1.99999ap-2f);
    p = fmaf(p, z, 0x1.555556p-1f);
    /* ln m = f - s (f - z p): keeps the leading term exact. */
    const float t = fmaf(-s, f - z * p, f);
    return fmaf(n, 0x1.62e400p-1f, fmaf(n, 0x1.7f7d1cp-20f, t));
}

/* 64 well-mixed bits of (seed, pos, id): two rounds of multiply and xor-shift per word. */
static inline uint64_t lv_noise_bits(uint64_t seed, uint64_t pos, uint32_t id)
{
    uint64_t h = seed + UINT64_C(0x9e3779b97f4a7c15) * (pos + 1);
    h = (h ^ h >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    h = (h ^ h >> 27) * UINT64_C(0x94d049bb133111eb);
    h ^= h >> 31;
    h += UINT64_C(0xd6e8feb86659fd93) * ((uint64_t)id + 1);
    h = (h ^ h >> 32) * UINT64_C(0xd6e8feb86659fd93);
    h = (h ^ h >> 32) * UINT64_C(0xd6e8feb86659fd93);
    return h ^ h >> 32;
}

/* Standard Gumbel noise -ln E, E = -ln(1 - u) exponential, u uniform in (0, 1] in steps of 2^-48 rounded to
 * 24 significant bits. The winner of a vocabulary has E near 0, so u must be fine there: among 150 000 tokens
 * the smallest u is about 2^-17 and still has 24 bits; the best two are equal in about one draw of 10^7.
 * Noise lies in [-2.86, 33.97]; near its lower end, which never wins, it is coarse (1 - u has steps of
 * 2^-24). u < 2^-6: the series of -ln(1 - u), because 1 - u would lose the bits of u. */
static inline float lv_gumbel(uint64_t seed, uint64_t pos, uint32_t id)
{
    const uint64_t bits = lv_noise_bits(seed, pos, id);
    const float high = (float)(int32_t)(bits >> 40), low = (float)(int32_t)(bits >> 16 & 0xffffffu);
    const float u = fmaf(high, 0x1p-24f, fmaf(low, 0x1p-48f, 0x1p-49f));
    float e;
    if (u < 0x1p-6f) {
        float p = fmaf(u, 0.2f, 0.25f);
        p = fmaf(p, u, 0x1.555556p-2f);
        p = fmaf(p, u, 0.5f);
        e = fmaf(p * u, u, u);
    } else {
        const float v = 1.0f - u;
        e = -lv_logf(v > 0x1p-25f ? v : 0x1p-25f);
    }
    return -lv_logf(e);
}

#endif
