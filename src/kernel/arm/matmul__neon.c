/* Matrix products on baseline NEON. SPDX-License-Identifier: MIT */
#include <arm_neon.h>
#include <string.h>

#include "base/f16.h"
#include "kernel/kernel_isa.h"

#define INLINE static inline __attribute__((always_inline))

/* Each product of two bytes fits int16 (at most 2^14); pairs are widened at once, so nothing can overflow. */
INLINE int32x4_t block_dot(int8x16_t w0, int8x16_t w1, int8x16_t x0, int8x16_t x1)
{
    int32x4_t s = vpaddlq_s16(vmull_s8(vget_low_s8(w0), vget_low_s8(x0)));
    s = vpadalq_s16(s, vmull_s8(vget_high_s8(w0), vget_high_s8(x0)));
    s = vpadalq_s16(s, vmull_s8(vget_low_s8(w1), vget_low_s8(x1)));
    return vpadalq_s16(s, vmull_s8(vget_high_s8(w1), vget_high_s8(x1)));
}

#include "kernel/arm/matmul_q_arm.h"

/* ---- packing: q [n_rows][k] int8, then d [n_rows][nb]; dotprod shares it ---- */

static size_t act_bytes_q8(size_t n_rows, size_t k) { return n_rows * (k + k / 32 * 4); }

INLINE float pack_block(const float *x, int8_t *q)
{
    uint32x4_t a = vdupq_n_u32(0);
    for (int i = 0; i < 32; i += 4)
        a = vmaxq_u32(a, vandq_u32(vreinterpretq_u32_f32(vld1q_f32(x + i)), vdupq_n_u32(0x7fffffff)));
    const uint32_t bits = vmaxvq_u32(a);
    const float amax = lv_f32_from_bits(bits);
    if (bits >= 0x7f800000u || amax < 0x1p-100f) {
        memset(q, 0, 32);
        return bits >= 0x7f800000u ? lv_f32_from_bits(0x7fc00000u) : 0.0f;
    }
    const float id = 127.0f / amax;
    for (int i = 0; i < 32; i += 8) {
        const int32x4_t lo = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + i), id));
        const int32x4_t hi = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + i + 4), id));
        const int16x8_t h = vminq_s16(
            vmaxq_s16(vcombine_s16(vmovn_s32(lo), vmovn_s32(hi)), vdupq_n_s16(-127)), vdupq_n_s16(127));
        vst1_s8(q + i, vmovn_s16(h));
    }
    return amax / 127.0f;
}

static void act_pack_q8(void *dst, const float *x, size_t ldx, size_t n_rows, size_t k, size_t row0,
                        size_t row1)
{
    const size_t nb = k / 32;
    int8_t *q = dst;
    float *d = (float *)(void *)(q + n_rows * k);
    for (size_t t = row0; t < row1; t++)
        for (size_t b = 0; b < nb; b++) d[t * nb + b] = pack_block(x + t * ldx + b * 32, q + t * k + b * 32);
}

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
    k->act_bytes[LV_ACT_Q8] = act_bytes_q8;
    k->act_pack[LV_ACT_Q8] = act_pack_q8;
    k->matmul[LV_TYPE_F32] = matmul_f32;
    k->matmul[LV_TYPE_F16] = matmul_f16;
    k->matmul[LV_TYPE_BF16] = matmul_bf16;
    k->matmul[LV_TYPE_Q8_0] = matmul_q8_0;
    k->matmul[LV_TYPE_Q4_0] = matmul_q4_0;
}
