/* Quantised matrix products with the dot product instruction of Armv8.2. SPDX-License-Identifier: MIT */
#include "kernel/arm/tile_neon.h"

#define NAME(fn) fn##__dotprod

typedef int32x4_t vacc;
#define v_acc(start) vdupq_n_s32(start)
#define v_sum(acc)   (acc)

INLINE vacc v_dot(vacc s, vi w, const int8_t *x)
{
    return vdotq_s32(s, vreinterpretq_s8_s32(w), broadcast4(x));
}

#define PAIRS 0
#include "kernel/matmul_tile.h"

void lv_kernels_add_matmul_q__dotprod(lv_kernels *k)
{
    add_tile_products(k);
}
