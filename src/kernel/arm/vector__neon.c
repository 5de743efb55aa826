/* Vector kernels on NEON: v16 is four registers. SPDX-License-Identifier: MIT */
#include <arm_neon.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/f16.h"
#include "kernel/kernel_isa.h"
#include "kernel/noise.h"

#define INLINE static inline __attribute__((always_inline))
enum { HEADS = 1, KEYS = 4, VALUES = 4, MANY = 6, MANY_VALUES = 1 };
#define NAME(op) op##__neon

typedef struct v16 {
    float32x4_t q[4];
} v16;

#define EACH(expr)                    \
    v16 r_;                           \
    for (int j = 0; j < 4; j++) r_.q[j] = (expr); \
    return r_

INLINE v16 v_set1(float x) { EACH(vdupq_n_f32(x)); }
INLINE v16 v_load(const float *p) { EACH(vld1q_f32(p + 4 * j)); }
INLINE v16 v_add(v16 a, v16 b) { EACH(vaddq_f32(a.q[j], b.q[j])); }
INLINE v16 v_sub(v16 a, v16 b) { EACH(vsubq_f32(a.q[j], b.q[j])); }
INLINE v16 v_mul(v16 a, v16 b) { EACH(vmulq_f32(a.q[j], b.q[j])); }
INLINE v16 v_div(v16 a, v16 b) { EACH(vdivq_f32(a.q[j], b.q[j])); }
INLINE v16 v_neg(v16 a) { EACH(vnegq_f32(a.q[j])); }
INLINE v16 v_fma(v16 a, v16 b, v16 c) { EACH(vfmaq_f32(c.q[j], a.q[j], b.q[j])); }
/* b when either is NaN, as the x86 instruction: vmaxq would give NaN. */
INLINE v16 v_max(v16 a, v16 b) { EACH(vbslq_f32(vcgtq_f32(a.q[j], b.q[j]), a.q[j], b.q[j])); }
INLINE v16 v_load_f16(const uint16_t *p) { EACH(vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * j)))); }

INLINE v16 v_load_i8(const int8_t *p)
{
    const int8x16_t a = vld1q_s8(p);
    const int16x8_t lo = vmovl_s8(vget_low_s8(a)), hi = vmovl_high_s8(a);
    return (v16){ { vcvtq_f32_s32(vmovl_s16(vget_low_s16(lo))), vcvtq_f32_s32(vmovl_high_s16(lo)),
                    vcvtq_f32_s32(vmovl_s16(vget_low_s16(hi))), vcvtq_f32_s32(vmovl_high_s16(hi)) } };
}

INLINE v16 v_scale(const uint8_t *p)
{
    uint16_t d;
    memcpy(&d, p, 2);
    return v_set1(vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(d))), 0));
}

INLINE void v_store(float *p, v16 a)
{
    for (int j = 0; j < 4; j++) vst1q_f32(p + 4 * j, a.q[j]);
}

INLINE void v_store_f16(uint16_t *p, v16 a)
{
    for (int j = 0; j < 4; j++) vst1_u16(p + 4 * j, vreinterpret_u16_f16(vcvt_f16_f32(a.q[j])));
}

INLINE bool v_equal(v16 a, v16 b)
{
    uint32x4_t any = vdupq_n_u32(0);
    for (int j = 0; j < 4; j++) any = vorrq_u32(any, vceqq_f32(a.q[j], b.q[j]));
    return vmaxvq_u32(any) != 0;
}

INLINE v16 v_less(v16 a, v16 b, v16 t, v16 f) { EACH(vbslq_f32(vcltq_f32(a.q[j], b.q[j]), t.q[j], f.q[j])); }

INLINE float v_tree(v16 v)
{
    const float32x4_t a =
        vaddq_f32(vaddq_f32(v.q[0], v.q[2]), vaddq_f32(v.q[1], v.q[3])); /* 8, then 4 apart */
    const float32x2_t b = vadd_f32(vget_low_f32(a), vget_high_f32(a));
    return vget_lane_f32(b, 0) + vget_lane_f32(b, 1);
}

/* p * 2^n in two exact steps, as lv_expf. */
INLINE float32x4_t exp_scale4(float32x4_t p, float32x4_t n)
{
    const int32x4_t e = vcvtq_s32_f32(n), half = vshrq_n_s32(e, 1), bias = vdupq_n_s32(127);
    const int32x4_t s0 = vshlq_n_s32(vaddq_s32(half, bias), 23);
    const int32x4_t s1 = vshlq_n_s32(vaddq_s32(vsubq_s32(e, half), bias), 23);
    return vmulq_f32(vmulq_f32(p, vreinterpretq_f32_s32(s0)), vreinterpretq_f32_s32(s1));
}

INLINE v16 v_exp_scale(v16 p, v16 n) { EACH(exp_scale4(p.q[j], n.q[j])); }

INLINE float32x4_t split4(float32x4_t x, float32x4_t *n)
{
    const int32x4_t u = vreinterpretq_s32_f32(x);
    const int32x4_t e = vshrq_n_s32(vsubq_s32(u, vdupq_n_s32(0x3f3504f3)), 23);
    *n = vcvtq_f32_s32(e);
    return vreinterpretq_f32_s32(vsubq_s32(u, vshlq_n_s32(e, 23)));
}

INLINE v16 v_split(v16 x, v16 *n) { EACH(split4(x.q[j], &n->q[j])); }

/* 32 floats to their even and odd elements, and back. */
INLINE void v_unzip(const float *p, v16 *even, v16 *odd)
{
    for (int j = 0; j < 4; j++) {
        const float32x4x2_t t = vld2q_f32(p + 8 * j);
        even->q[j] = t.val[0];
        odd->q[j] = t.val[1];
    }
}

INLINE void v_zip(float *p, v16 even, v16 odd)
{
    for (int j = 0; j < 4; j++) vst2q_f32(p + 8 * j, (float32x4x2_t){ { even.q[j], odd.q[j] } });
}

INLINE void v_tree4(float *p, const v16 a[4])
{
    for (int j = 0; j < 4; j++) p[j] = v_tree(a[j]);
}

#include "kernel/vector_v16.h"

void lv_kernels_add_vector__neon(lv_kernels *k) { add_vector_kernels(k); }
