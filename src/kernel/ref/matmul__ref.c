/* F32, F16 and BF16 matrix products, the scalar truth. SPDX-License-Identifier: MIT */
#include <math.h>
#include <string.h>

#include "base/f16.h"
#include "kernel/kernel_isa.h"

static size_t act_bytes_f32(size_t n_rows, size_t k) { return n_rows * k * sizeof(float); }

static void act_pack_f32(void *dst, const float *x, size_t ldx, size_t n_rows, size_t k, size_t row0,
                         size_t row1)
{
    (void)n_rows;
    for (size_t t = row0; t < row1; t++) memcpy((float *)dst + t * k, x + t * ldx, k * sizeof *x);
}

static float tree16(const float *acc)
{
    float a[16];
    memcpy(a, acc, sizeof a);
    for (int s = 8; s; s /= 2)
        for (int i = 0; i < s; i++) a[i] += a[i + s];
    return a[0];
}

#define MATMUL_FLOAT(name, type, to_f32)                                                                    \
    static void name(float *y, size_t ldy, const void *w, size_t n_out, const void *act, size_t n_rows,     \
                     size_t k, void *scratch)                                                               \
    {                                                                                                       \
        (void)scratch;                                                                                      \
        for (size_t r = 0; r < n_out; r++)                                                                  \
            for (size_t t = 0; t < n_rows; t++) {                                                           \
                const float *x = (const float *)act + t * k;                                                \
                const uint8_t *row = (const uint8_t *)w + r * k * sizeof(type);                             \
                float acc[16] = { 0 };                                                                      \
                for (size_t i = 0; i < k; i++) {                                                            \
                    type v;                                                                                 \
                    memcpy(&v, row + i * sizeof v, sizeof v);                                               \
                    acc[i % 16] = fmaf(to_f32(v), x[i], acc[i % 16]);                                       \
                }                                                                                           \
                y[t * ldy + r] = tree16(acc);                                                               \
            }                                                                                               \
    }
#define SAME(v) (v)
MATMUL_FLOAT(matmul_f32, float, SAME)
MATMUL_FLOAT(matmul_f16, uint16_t, lv_f16_to_f32)
MATMUL_FLOAT(matmul_bf16, uint16_t, lv_bf16_to_f32)

static size_t scratch_bytes(size_t k)
{
    (void)k;
    return 64;
}

void lv_kernels_add_matmul__ref(lv_kernels *k)
{
    k->act_bytes[LV_ACT_F32] = act_bytes_f32;
    k->act_pack[LV_ACT_F32] = act_pack_f32;
    k->matmul_scratch_bytes = scratch_bytes;
    k->matmul[LV_TYPE_F32] = matmul_f32;
    k->matmul[LV_TYPE_F16] = matmul_f16;
    k->matmul[LV_TYPE_BF16] = matmul_bf16;
    lv_kernels_add_matmul_q__ref(k);
}
