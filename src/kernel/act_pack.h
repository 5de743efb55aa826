/* Packed batches of activations, as the tile products read them (kernel/matmul_tile.h, which includes this).
 * Groups of at most 16 rows, one after the other; of n rows and nb blocks of `len` a group has
 *   q [nb][n][len] int8, d [nb][n] f32, sum [nb][n] int32 (len 32) or [nb][n][16] int16 of 16 each (len 256).
 * SPDX-License-Identifier: MIT */

#include "kernel/act_block.h"

INLINE size_t row_bytes_of(size_t k, size_t len)
{
    return k + k / len * (len == 32 ? 8 : 36);
}

typedef struct group {
    const int8_t *q;
    const float *d;
    const uint8_t *sum;
    size_t n;
} group;

INLINE group group_at(const void *act, size_t n_rows, size_t k, size_t len, size_t first)
{
    const size_t n = n_rows - first < GROUP ? n_rows - first : GROUP;
    const uint8_t *p = (const uint8_t *)act + first * row_bytes_of(k, len);
    return (group){ (const int8_t *)p, (const float *)(const void *)(p + n * k), p + n * (k + k / len * 4),
                    n };
}

INLINE int32_t sum_of(const int8_t *q, size_t n)
{
    int32_t s = 0;
    for (size_t i = 0; i < n; i++) s += q[i];
    return s;
}

INLINE void pack_rows(void *dst, const float *x, size_t ldx, size_t n_rows, size_t k, size_t row0,
                      size_t row1, size_t len)
{
    for (size_t first = row0; first < row1; first += GROUP) {
        const group g = group_at(dst, n_rows, k, len, first);
        int8_t *q = (int8_t *)dst + (g.q - (const int8_t *)dst);
        float *d = (float *)dst + (g.d - (const float *)dst);
        uint8_t *sums = (uint8_t *)dst + (g.sum - (const uint8_t *)dst);
        for (size_t t = 0; t < g.n; t++)
            for (size_t b = 0; b < k / len; b++) {
                const size_t at = b * g.n + t;
                d[at] = lv_act_block(q + at * len, x + (first + t) * ldx + b * len, len);
                if (len == 32) {
                    const int32_t s = sum_of(q + at * 32, 32);
                    memcpy(sums + at * 4, &s, 4);
                    continue;
                }
                for (size_t i = 0; i < 16; i++) {
                    const int16_t s = (int16_t)sum_of(q + at * 256 + i * 16, 16);
                    memcpy(sums + at * 32 + i * 2, &s, 2);
                }
            }
    }
}

static size_t NAME(act_bytes_q8)(size_t n_rows, size_t k)
{
    return n_rows * row_bytes_of(k, 32);
}
static size_t NAME(act_bytes_q8k)(size_t n_rows, size_t k)
{
    return n_rows * row_bytes_of(k, 256);
}

static void NAME(act_pack_q8)(void *dst, const float *x, size_t ldx, size_t n_rows, size_t k, size_t row0,
                              size_t row1)
{
    pack_rows(dst, x, ldx, n_rows, k, row0, row1, 32);
}

static void NAME(act_pack_q8k)(void *dst, const float *x, size_t ldx, size_t n_rows, size_t k, size_t row0,
                               size_t row1)
{
    pack_rows(dst, x, ldx, n_rows, k, row0, row1, 256);
}
