/* Quantised matrix products on baseline NEON. A product of two bytes fits 16 bits (at most 2^14), and pairs
 * are widened at once. SPDX-License-Identifier: MIT */
#include "kernel/arm/tile_neon.h"

#define NAME(fn) fn##__neon

typedef struct vacc { /* two sums of each of lanes 0, 1 and of lanes 2, 3 */
    int32x4_t a, b;
} vacc;

INLINE vacc v_acc(int32_t start)
{
    const int32x4_t s = vsetq_lane_s32(start, vsetq_lane_s32(start, vdupq_n_s32(0), 0), 2);
    return (vacc){ s, s };
}

INLINE vi v_sum(vacc s)
{
    return vpaddq_s32(s.a, s.b);
}

INLINE vacc v_dot(vacc s, vi w, const int8_t *x)
{
    const int8x16_t c = vreinterpretq_s8_s32(w), v = broadcast4(x);
    return (vacc){ vpadalq_s16(s.a, vmull_s8(vget_low_s8(c), vget_low_s8(v))),
                   vpadalq_s16(s.b, vmull_high_s8(c, v)) };
}

#define PAIRS 0
#include "kernel/matmul_tile.h"

void lv_kernels_add_matmul_q__neon(lv_kernels *k)
{
    add_tile_products(k);
}
