/* The tile's words on NEON: 4 lanes, two vectors of weight rows. The including file adds v_acc, v_sum and
 * v_dot. SPDX-License-Identifier: MIT */
#include <arm_neon.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/f16.h"
#include "kernel/kernel_isa.h"

#define INLINE static inline __attribute__((always_inline))

typedef int32x4_t vi;
typedef float32x4_t vf;
enum { VN = 4, VG = 2, WIDE_OFFSET = 0 };

#define v_set(n)          vdupq_n_s32(n)
#define v_setf(x)         vdupq_n_f32(x)
#define v_and(a, b)       vandq_s32(a, b)
#define v_or(a, b)        vorrq_s32(a, b)
#define v_add(a, b)       vaddq_s32(a, b)
#define v_sub(a, b)       vsubq_s32(a, b)
#define v_mul(a, b)       vmulq_s32(a, b)
#define v_shl(a, n)       vshlq_n_s32(a, n)
#define v_shr(a, n)       vreinterpretq_s32_u32(vshrq_n_u32(vreinterpretq_u32_s32(a), n))
#define v_sar(a, n)       vshrq_n_s32(a, n)
#define v_shlv(a, n)      vshlq_s32(a, vdupq_n_s32(n))
#define v_shrv(a, n)      vreinterpretq_s32_u32(vshlq_u32(vreinterpretq_u32_s32(a), vdupq_n_s32(-(n))))
#define v_asf(a)          vreinterpretq_f32_s32(a)
#define v_cvt(a)          vcvtq_f32_s32(a)
#define v_mulf(a, b)      vmulq_f32(a, b)
#define v_negf(a)         vnegq_f32(a)
#define v_fma(a, b, c)    vfmaq_f32(c, a, b)
#define v_store(p, a)     vst1q_f32(p, a)
#define v_lane0(a)        vgetq_lane_f32(a, 0)
#define v_wide(a)         (a)
#define v_dotw(acc, w, x) v_dot(acc, w, x)

INLINE int8x16_t broadcast4(const int8_t *x)
{
    int32_t four;
    memcpy(&four, x, 4);
    return vreinterpretq_s8_s32(vdupq_n_s32(four));
}

INLINE vi v_dot2(vi acc, vi w, int32_t n)
{
    const int16x8_t a = vreinterpretq_s16_s32(w), b = vreinterpretq_s16_s32(vdupq_n_s32(n));
    const int32x4_t lo = vmull_s16(vget_low_s16(a), vget_low_s16(b)), hi = vmull_high_s16(a, b);
    return vaddq_s32(acc, vpaddq_s32(lo, hi));
}

INLINE vf v_f16(vi a)
{
    return vcvt_f32_f16(vreinterpret_f16_s16(vmovn_s32(a)));
}

INLINE vi v_lookup(const int8_t table[16], vi a)
{
    return vreinterpretq_s32_s8(vqtbl1q_s8(vld1q_s8(table), vreinterpretq_u8_s32(a)));
}

INLINE void v_chunk(vi t[4], const uint8_t *p, size_t stride)
{
    const vi a = vreinterpretq_s32_u8(vld1q_u8(p)), b = vreinterpretq_s32_u8(vld1q_u8(p + stride));
    const vi c = vreinterpretq_s32_u8(vld1q_u8(p + 2 * stride)),
             d = vreinterpretq_s32_u8(vld1q_u8(p + 3 * stride));
    const int64x2_t ab = vreinterpretq_s64_s32(vzip1q_s32(a, b)),
                    cd = vreinterpretq_s64_s32(vzip1q_s32(c, d));
    const int64x2_t ef = vreinterpretq_s64_s32(vzip2q_s32(a, b)),
                    gh = vreinterpretq_s64_s32(vzip2q_s32(c, d));
    t[0] = vreinterpretq_s32_s64(vzip1q_s64(ab, cd));
    t[1] = vreinterpretq_s32_s64(vzip2q_s64(ab, cd));
    t[2] = vreinterpretq_s32_s64(vzip1q_s64(ef, gh));
    t[3] = vreinterpretq_s32_s64(vzip2q_s64(ef, gh));
}

INLINE vi v_word(const uint8_t *p, size_t stride)
{
    int32_t n[4];
    for (size_t l = 0; l < 4; l++) memcpy(&n[l], p + l * stride, 4);
    return vld1q_s32(n);
}
