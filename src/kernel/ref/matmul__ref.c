/* Matrix products, the scalar truth. SPDX-License-Identifier: MIT */
#include <math.h>
#include <string.h>

#include "base/f16.h"
#include "kernel/kernel_isa.h"

/* Packed Q8 batch: row-major blocks of scale and 32 int8. */
typedef struct block_act {
    float  d;
    int8_t q[32];
} block_act;

static size_t act_bytes_f32(size_t n_rows, size_t k) { return n_rows * k * sizeof(float); }
static size_t act_bytes_q8(size_t n_rows, size_t k) { return n_rows * (k / 32) * sizeof(block_act); }

static void act_pack_f32(void *dst, const float *x, size_t ldx, size_t n_rows, size_t k, size_t row0,
                         size_t row1)
{
    (void)n_rows;
    for (size_t t = row0; t < row1; t++) memcpy((float *)dst + t * k, x + t * ldx, k * sizeof *x);
}

static void pack_block(block_act *b, const float *x)
{
    uint32_t amax_bits = 0;
    for (int i = 0; i < 32; i++) {
        const uint32_t a = lv_f32_bits(x[i]) & 0x7fffffffu;
        if (a > amax_bits) amax_bits = a;
    }
    const float amax = lv_f32_from_bits(amax_bits);
    memset(b->q, 0, sizeof b->q);
    b->d = 0;
    if (amax_bits >= 0x7f800000u) {
        b->d = lv_f32_from_bits(0x7fc00000u);
        return;
    }
    if (amax < 0x1p-100f) return;
    const float id = 127.0f / amax;
    b->d = amax / 127.0f;
    for (int i = 0; i < 32; i++) {
        float v = x[i] * id;
        v = v > 127.0f ? 127.0f : v < -127.0f ? -127.0f : v;
        b->q[i] = (int8_t)(int)((v + 12582912.0f) - 12582912.0f);
    }
}

static void act_pack_q8(void *dst, const float *x, size_t ldx, size_t n_rows, size_t k, size_t row0,
                        size_t row1)
{
    (void)n_rows;
    const size_t nb = k / 32;
    for (size_t t = row0; t < row1; t++)
        for (size_t b = 0; b < nb; b++) pack_block((block_act *)dst + t * nb + b, x + t * ldx + b * 32);
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

static int32_t dot_q8_0(const lv_block_q8_0 *w, const int8_t *q)
{
    int32_t s = 0;
    for (int i = 0; i < 32; i++) s += w->qs[i] * q[i];
    return s;
}

static int32_t dot_q4_0(const lv_block_q4_0 *w, const int8_t *q)
{
    int32_t s = 0;
    for (int i = 0; i < 16; i++) s += ((w->qs[i] & 15) - 8) * q[i] + ((w->qs[i] >> 4) - 8) * q[i + 16];
    return s;
}

#define MATMUL_Q(name, block, dot)                                                                          \
    static void name(float *y, size_t ldy, const void *w, size_t n_out, const void *act, size_t n_rows,     \
                     size_t k, void *scratch)                                                               \
    {                                                                                                       \
        (void)scratch;                                                                                      \
        const size_t nb = k / 32;                                                                           \
        for (size_t r = 0; r < n_out; r++)                                                                  \
            for (size_t t = 0; t < n_rows; t++) {                                                           \
                const block_act *x = (const block_act *)act + t * nb;                                       \
                float acc = 0;                                                                              \
                for (size_t b = 0; b < nb; b++) {                                                           \
                    block v;                                                                                \
                    memcpy(&v, (const uint8_t *)w + (r * nb + b) * sizeof v, sizeof v);                     \
                    acc = fmaf(lv_f16_to_f32(v.d) * x[b].d, (float)dot(&v, x[b].q), acc);                   \
                }                                                                                           \
                y[t * ldy + r] = acc;                                                                       \
            }                                                                                               \
    }
MATMUL_Q(matmul_q8_0, lv_block_q8_0, dot_q8_0)
MATMUL_Q(matmul_q4_0, lv_block_q4_0, dot_q4_0)

static size_t scratch_bytes(size_t k)
{
    (void)k;
    return 64;
}

void lv_kernels_add_matmul__ref(lv_kernels *k)
{
    k->act_bytes[LV_ACT_F32] = act_bytes_f32;
    k->act_bytes[LV_ACT_Q8] = act_bytes_q8;
    k->act_pack[LV_ACT_F32] = act_pack_f32;
    k->act_pack[LV_ACT_Q8] = act_pack_q8;
    k->matmul_scratch_bytes = scratch_bytes;
    k->matmul[LV_TYPE_F32] = matmul_f32;
    k->matmul[LV_TYPE_F16] = matmul_f16;
    k->matmul[LV_TYPE_BF16] = matmul_bf16;
    k->matmul[LV_TYPE_Q8_0] = matmul_q8_0;
    k->matmul[LV_TYPE_Q4_0] = matmul_q4_0;
}
