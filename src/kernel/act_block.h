/* One block of activations as integers, wherever speed matters; the reference has its own.
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_KERNEL_ACT_BLOCK_H
#define LEVER_KERNEL_ACT_BLOCK_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/f16.h"

/* q [len] and the scale, returned, of x [len]. Plain C that compilers turn into vectors; the definition is in
 * kernel.h. */
static inline __attribute__((always_inline)) float lv_act_block(int8_t *restrict q, const float *restrict x,
                                                                size_t len)
{
    uint32_t bits = 0;
    for (size_t i = 0; i < len; i++) {
        const uint32_t a = lv_f32_bits(x[i]) & 0x7fffffffu;
        bits = a > bits ? a : bits;
    }
    const float amax = lv_f32_from_bits(bits);
    if (bits >= 0x7f800000u || amax < 0x1p-100f) {
        memset(q, 0, len);
        return bits >= 0x7f800000u ? lv_f32_from_bits(0x7fc00000u) : 0.0f;
    }
    const float id = 127.0f / amax;
    for (size_t i = 0; i < len; i++) {
        float v = x[i] * id;
        v = v > 127.0f ? 127.0f : v;
        v = v < -127.0f ? -127.0f : v;
        q[i] = (int8_t)(int)((v + 12582912.0f) - 12582912.0f);
    }
    return amax / 127.0f;
}

#endif
