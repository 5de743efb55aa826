/* F32, F16 and BF16 matrix products on NEON. SPDX-License-Identifier: MIT */
#include <arm_neon.h>
#include <string.h>

#include "base/f16.h"
#include "kernel/kernel_isa.h"

#define INLINE static inline __attribute__((always_inline))

static size_t act_bytes_f32(size_t n_rows, size_t k) { return n_rows * k * sizeof(float); }

static void act_pack_f32(void *dst, const float *x, size_t ldx, size_t n_rows, size_t k, size_t row0,
                         size_t row1)
{
    (void)n_rows;
    for (size_t t = row0; t < row1; t++) memcpy((float *)dst + t * k, x + t * ldx, k * sizeof *x);
}

/* ---- float products: 16 accumulators in four registers ---- */

enum ftype { F32, F16, BF16 };

INLINE float32x4_t load_f(enum ftype w, const uint8_t *p)
{
    if (w == F32) return vreinterpretq_f32_u8(vld1q_u8(p));
    const uint16x4_t h = vreinterpret_u16_u8(vld1_u8(p));
    if (w == F16) return vcvt_f32_f16(vreinterpret_f16_u16(h));
    return vreinterpretq_f32_u32(vshll_n_u16(h, 16));
}

INLINE float scalar_f(enum ftype w, const uint8_t *p)
{
    float f;
    uint16_t h;
    if (w == F32) return memcpy(&f, p, 4), f;
    memcpy(&h, p, 2);
    return w == F16 ? lv_f16_to_f32(h) : lv_bf16_to_f32(h);
}

INLINE float tree16(const float32x4_t v[4])
{
    const float32x4_t a = vaddq_f32(vaddq_f32(v[0], v[2]), vaddq_f32(v[1], v[3]));
    const float32x2_t b = vadd_f32(vget_low_f32(a), vget_high_f32(a));
    return vget_lane_f32(b, 0) + vget_lane_f32(b, 1);
}

/* One weight row times nx batch rows. */
INLINE void tile_f(enum ftype w, size_t nx, float *y, size_t ldy, const uint8_t *p, const float *x, size_t k)
{
    const size_t wb = w == F32 ? 4 : 2, whole = k & ~(size_t)15;
    float32x4_t acc[4][4];
    for (size_t t = 0; t < nx; t++)
        for (int j = 0; j < 4; j++) acc[t][j] = vdupq_n_f32(0.0f);
    for (size_t i = 0; i < whole; i += 16)
        for (int j = 0; j < 4; j++) {
            const float32x4_t v = load_f(w, p + (i + 4 * (size_t)j) * wb);
            for (size_t t = 0; t < nx; t++)
                acc[t][j] = vfmaq_f32(acc[t][j], v, vld1q_f32(x + t * k + i + 4 * (size_t)j));
        }
    for (size_t t = 0; t < nx; t++) {
        float lanes[16];
        for (int j = 0; j < 4; j++) vst1q_f32(lanes + 4 * j, acc[t][j]);
        for (size_t i = whole; i < k; i++)
            lanes[i - whole] = __builtin_fmaf(scalar_f(w, p + i * wb), x[t * k + i], lanes[i - whole]);
        for (int j = 0; j < 4; j++) acc[t][j] = vld1q_f32(lanes + 4 * j);
        y[t * ldy] = tree16(acc[t]);
    }
}

INLINE void matmul_f(enum ftype w, float *y, size_t ldy, const uint8_t *weights, size_t n_out, const float *x,
                     size_t n_rows, size_t k)
{
    const size_t row_bytes = k * (w == F32 ? 4 : 2);
    for (size_t r = 0; r < n_out; r++) {
        size_t t = 0;
        for (; t + 4 <= n_rows; t += 4)
            tile_f(w, 4, y + t * ldy + r, ldy, weights + r * row_bytes, x + t * k, k);
        for (; t < n_rows; t++) tile_f(w, 1, y + t * ldy + r, ldy, weights + r * row_bytes, x + t * k, k);
    }
}

#define ENTRY(name, w)                                                                                       \
    static void name(float *y, size_t ldy, const void *weights, size_t n_out, const void *act,               \
                     size_t n_rows, size_t k, void *scratch)                                                 \
    {                                                                                                        \
        (void)scratch;                                                                                       \
        matmul_f(w, y, ldy, weights, n_out, act, n_rows, k);                                                 \
    }
ENTRY(matmul_f32, F32)
ENTRY(matmul_f16, F16)
ENTRY(matmul_bf16, BF16)

void lv_kernels_add_matmul__neon(lv_kernels *k)
{
    k->act_bytes[LV_ACT_F32] = act_bytes_f32;
    k->act_pack[LV_ACT_F32] = act_pack_f32;
    k->matmul[LV_TYPE_F32] = matmul_f32;
    k->matmul[LV_TYPE_F16] = matmul_f16;
    k->matmul[LV_TYPE_BF16] = matmul_bf16;
    lv_kernels_add_matmul_q__neon(k);
}
