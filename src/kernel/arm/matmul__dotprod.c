/* Quantised matrix products with the dot product instruction of Armv8.2. SPDX-License-Identifier: MIT */
#include <arm_neon.h>
#include <string.h>

#include "kernel/kernel_isa.h"

#define INLINE static inline __attribute__((always_inline))

INLINE int32x4_t block_dot(int8x16_t w0, int8x16_t w1, int8x16_t x0, int8x16_t x1)
{
    return vdotq_s32(vdotq_s32(vdupq_n_s32(0), w0, x0), w1, x1);
}

#include "kernel/arm/matmul_q_arm.h"

void lv_kernels_add_matmul__dotprod(lv_kernels *k)
{
    k->matmul[LV_TYPE_Q8_0] = matmul_q8_0;
    k->matmul[LV_TYPE_Q4_0] = matmul_q4_0;
}
