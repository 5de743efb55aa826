/* Quantised matrix products with the integer matrix multiply of Armv8.6: one instruction takes 8 codes of two
 * weight rows and of two batch rows. A single batch row goes by dot products. SPDX-License-Identifier: MIT */
#include "kernel/arm/tile_neon.h"

#define NAME(fn) fn##__i8mm

typedef int32x4_t vacc;
#define v_acc(start) vdupq_n_s32(start)
#define v_sum(acc)   (acc)

INLINE vacc v_dot(vacc s, vi w, const int8_t *x)
{
    return vdotq_s32(s, vreinterpretq_s8_s32(w), broadcast4(x));
}

typedef struct vacc2 { /* weight rows 0, 1 and 2, 3; of each row the sums of both batch rows */
    int32x4_t a, b;
} vacc2;

INLINE void v_pair(vi w[2])
{
    const vi even = vzip1q_s32(w[0], w[1]);
    w[1] = vzip2q_s32(w[0], w[1]);
    w[0] = even;
}

INLINE vacc2 v_acc2(int32_t n, int32_t m)
{
    const int32x4_t s = vzip1q_s32(vdupq_n_s32(n), vdupq_n_s32(m));
    return (vacc2){ s, s };
}

INLINE vacc2 v_mma(vacc2 s, const vi w[2], const int8_t *x, const int8_t *y)
{
    const int8x16_t xy = vcombine_s8(vld1_s8(x), vld1_s8(y));
    return (vacc2){ vmmlaq_s32(s.a, vreinterpretq_s8_s32(w[0]), xy),
                    vmmlaq_s32(s.b, vreinterpretq_s8_s32(w[1]), xy) };
}

INLINE void v_sum2(vacc2 s, vi sum[2])
{
    sum[0] = vuzp1q_s32(s.a, s.b);
    sum[1] = vuzp2q_s32(s.a, s.b);
}

#define PAIRS 1
#include "kernel/matmul_tile.h"

void lv_kernels_add_matmul_q__i8mm(lv_kernels *k)
{
    add_tile_products(k);
}
