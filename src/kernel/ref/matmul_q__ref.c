/* Quantised matrix products, the scalar truth: every block is taken apart into integers first.
 * SPDX-License-Identifier: MIT */
#include <math.h>
#include <string.h>

#include "base/f16.h"
#include "kernel/kernel_isa.h"

/* ---- packed batches: per row and block the scale, then the values ---- */

static size_t act_bytes(size_t n_rows, size_t k, size_t len)
{
    return n_rows * (k / len) * (4 + len);
}
static size_t act_bytes_q8(size_t n_rows, size_t k)
{
    return act_bytes(n_rows, k, 32);
}
static size_t act_bytes_q8k(size_t n_rows, size_t k)
{
    return act_bytes(n_rows, k, 256);
}

static float pack_block(int8_t *q, const float *x, size_t len)
{
    uint32_t amax_bits = 0;
    for (size_t i = 0; i < len; i++) {
        const uint32_t a = lv_f32_bits(x[i]) & 0x7fffffffu;
        if (a > amax_bits) amax_bits = a;
    }
    const float amax = lv_f32_from_bits(amax_bits);
    memset(q, 0, len);
    if (amax_bits >= 0x7f800000u) return lv_f32_from_bits(0x7fc00000u);
    if (amax < 0x1p-100f) return 0;
    const float id = 127.0f / amax;
    for (size_t i = 0; i < len; i++) {
        float v = x[i] * id;
        v = v > 127.0f ? 127.0f : v < -127.0f ? -127.0f : v;
        q[i] = (int8_t)(int)((v + 12582912.0f) - 12582912.0f);
    }
    return amax / 127.0f;
}

static void act_pack(void *dst, const float *x, size_t ldx, size_t k, size_t row0, size_t row1, size_t len)
{
    for (size_t t = row0; t < row1; t++)
        for (size_t b = 0; b < k / len; b++) {
            uint8_t *at = (uint8_t *)dst + (t * (k / len) + b) * (4 + len);
            const float d = pack_block((int8_t *)at + 4, x + t * ldx + b * len, len);
            memcpy(at, &d, 4);
        }
}

static void act_pack_q8(void *dst, const float *x, size_t ldx, size_t n_rows, size_t k, size_t row0,
                        size_t row1)
{
    (void)n_rows;
    act_pack(dst, x, ldx, k, row0, row1, 32);
}

static void act_pack_q8k(void *dst, const float *x, size_t ldx, size_t n_rows, size_t k, size_t row0,
                         size_t row1)
{
    (void)n_rows;
    act_pack(dst, x, ldx, k, row0, row1, 256);
}

/* ---- blocks as integers ---- */

/* w[i] ~ d * (sc of i) * code[i] + m (or - dmin * (mn of i)); sc and mn for each 16 codes. */
typedef struct integers {
    int code[256], sc[16], mn[16];
    float d, m;
    bool has_min;
} integers;

static float f16_at(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, 2);
    return lv_f16_to_f32(h);
}

static float exponent_scale(uint8_t e)
{
    if (e == 255) return lv_f32_from_bits(0x7fc00000u);
    return lv_f32_from_bits(e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23);
}

static void take_32(integers *n, uint32_t type, const uint8_t *p)
{
    const uint8_t *qs = p + 2, *qh = p + 2;
    n->has_min = type == LV_TYPE_Q4_1 || type == LV_TYPE_Q5_1;
    n->d = type == LV_TYPE_MXFP4 ? exponent_scale(*p) : f16_at(p);
    if (n->has_min) n->m = f16_at(p + 2), qs += 2, qh += 2;
    if (type == LV_TYPE_Q5_0 || type == LV_TYPE_Q5_1) qs += 4;
    if (type == LV_TYPE_MXFP4) qs = p + 1;
    for (unsigned i = 0; i < 32; i++) {
        const int q = type == LV_TYPE_Q8_0 ? (int8_t)qs[i] : (int)lv_plane_get(qs, 4, 16, i);
        const int high = type == LV_TYPE_Q5_0 || type == LV_TYPE_Q5_1 ? (qh[i / 8] >> i % 8 & 1) << 4 : 0;
        n->code[i] = type == LV_TYPE_Q4_0     ? q - 8
                     : type == LV_TYPE_Q5_0   ? (q | high) - 16
                     : type == LV_TYPE_IQ4_NL ? lv_iq4_value[q]
                     : type == LV_TYPE_MXFP4  ? lv_mxfp4_value[q]
                                              : q | high;
    }
}

static void take_q2_k(integers *n, const uint8_t *p)
{
    lv_block_q2_k b;
    memcpy(&b, p, sizeof b);
    n->d = lv_f16_to_f32(b.d), n->m = lv_f16_to_f32(b.dmin);
    for (int j = 0; j < 16; j++) n->sc[j] = b.scales[j] & 15, n->mn[j] = b.scales[j] >> 4;
    for (unsigned i = 0; i < 256; i++) n->code[i] = (int)lv_plane_get(b.qs, 2, 32, i);
}

static void take_q3_k(integers *n, const uint8_t *p)
{
    lv_block_q3_k b;
    memcpy(&b, p, sizeof b);
    n->d = lv_f16_to_f32(b.d);
    for (unsigned j = 0; j < 16; j++)
        n->sc[j] = (int)(lv_plane_get(b.scales, 4, 8, j) | lv_plane_get(b.scales + 8, 2, 4, j) << 4) - 32;
    for (unsigned i = 0; i < 256; i++)
        n->code[i] = (int)(lv_plane_get(b.qs, 2, 32, i) | lv_plane_get(b.hmask, 1, 32, i) << 2) - 4;
}

static void take_q45_k(integers *n, bool five, const uint8_t *p)
{
    const uint8_t *qs = p + (five ? 48 : 16);
    n->d = f16_at(p), n->m = f16_at(p + 2);
    for (unsigned j = 0; j < 8; j++) {
        uint8_t sc, m;
        lv_q4_k_scale(p + 4, j, &sc, &m);
        n->sc[2 * j] = n->sc[2 * j + 1] = sc;
        n->mn[2 * j] = n->mn[2 * j + 1] = m;
    }
    for (unsigned i = 0; i < 256; i++)
        n->code[i] = (int)(lv_plane_get(qs, 4, 32, i) | (five ? lv_plane_get(p + 16, 1, 32, i) << 4 : 0));
}

static void take_q6_k(integers *n, const uint8_t *p)
{
    lv_block_q6_k b;
    memcpy(&b, p, sizeof b);
    n->d = lv_f16_to_f32(b.d);
    for (int j = 0; j < 16; j++) n->sc[j] = b.scales[j];
    for (unsigned i = 0; i < 256; i++)
        n->code[i] = (int)(lv_plane_get(b.ql, 4, 64, i) | lv_plane_get(b.qh, 2, 32, i) << 4) - 32;
}

static void take_iq4_xs(integers *n, const uint8_t *p)
{
    lv_block_iq4_xs b;
    memcpy(&b, p, sizeof b);
    n->d = lv_f16_to_f32(b.d);
    for (unsigned j = 0; j < 16; j++)
        n->sc[j] =
            (int)(lv_plane_get(b.scales_l, 4, 1, j / 2) | lv_plane_get(b.scales_h, 2, 1, j / 2) << 4) - 32;
    for (unsigned i = 0; i < 256; i++) n->code[i] = lv_iq4_value[lv_plane_get(b.qs, 4, 16, i)];
}

static void take_block(integers *n, uint32_t type, const uint8_t *p)
{
    n->has_min = type == LV_TYPE_Q2_K || type == LV_TYPE_Q4_K || type == LV_TYPE_Q5_K;
    switch (type) {
    case LV_TYPE_Q2_K: take_q2_k(n, p); break;
    case LV_TYPE_Q3_K: take_q3_k(n, p); break;
    case LV_TYPE_Q4_K: take_q45_k(n, false, p); break;
    case LV_TYPE_Q5_K: take_q45_k(n, true, p); break;
    case LV_TYPE_Q6_K: take_q6_k(n, p); break;
    case LV_TYPE_IQ4_XS: take_iq4_xs(n, p); break;
    default: take_32(n, type, p);
    }
}

/* ---- products ---- */

static float add_32(float acc, const integers *n, float dx, const int8_t *x)
{
    int32_t isum = 0, xsum = 0;
    for (int i = 0; i < 32; i++) isum += n->code[i] * x[i], xsum += x[i];
    acc = fmaf(n->d * dx, (float)isum, acc);
    return n->has_min ? fmaf(n->m * dx, (float)xsum, acc) : acc;
}

static float add_256(float acc, const integers *n, float dx, const int8_t *x)
{
    int32_t isum = 0, msum = 0;
    for (int i = 0; i < 256; i++) isum += n->sc[i / 16] * n->code[i] * x[i], msum += n->mn[i / 16] * x[i];
    acc = fmaf(n->d * dx, (float)isum, acc);
    return n->has_min ? fmaf(-(n->m * dx), (float)msum, acc) : acc;
}

static void multiply(uint32_t type, float *y, size_t ldy, const uint8_t *w, size_t n_out, const void *act,
                     size_t n_rows, size_t k)
{
    const size_t len = lv_type_block_len(type), nb = k / len, bytes = lv_type_block_bytes(type);
    for (size_t r = 0; r < n_out; r++) {
        for (size_t t = 0; t < n_rows; t++) y[t * ldy + r] = 0;
        for (size_t b = 0; b < nb; b++) {
            integers n = { 0 };
            take_block(&n, type, w + (r * nb + b) * bytes);
            for (size_t t = 0; t < n_rows; t++) {
                const uint8_t *at = (const uint8_t *)act + (t * nb + b) * (4 + len);
                const int8_t *x = (const int8_t *)at + 4;
                float dx, *acc = &y[t * ldy + r];
                memcpy(&dx, at, 4);
                *acc = len == 32 ? add_32(*acc, &n, dx, x) : add_256(*acc, &n, dx, x);
            }
        }
    }
}

#define PRODUCTS(X)                                                                                          \
    X(q4_0, Q4_0)                                                                                            \
    X(q4_1, Q4_1) X(q5_0, Q5_0) X(q5_1, Q5_1) X(q8_0, Q8_0) X(iq4_nl, IQ4_NL) X(mxfp4, MXFP4) X(q2_k, Q2_K)  \
        X(q3_k, Q3_K) X(q4_k, Q4_K) X(q5_k, Q5_K) X(q6_k, Q6_K) X(iq4_xs, IQ4_XS)

#define X(name, id)                                                                                          \
    static void matmul_##name(float *y, size_t ldy, const void *w, size_t n_out, const void *act,            \
                              size_t n_rows, size_t k, void *scratch)                                        \
    {                                                                                                        \
        (void)scratch;                                                                                       \
        multiply(LV_TYPE_##id, y, ldy, w, n_out, act, n_rows, k);                                            \
    }
PRODUCTS(X)
#undef X

void lv_kernels_add_matmul_q__ref(lv_kernels *k)
{
    k->act_bytes[LV_ACT_Q8] = act_bytes_q8;
    k->act_pack[LV_ACT_Q8] = act_pack_q8;
    k->act_bytes[LV_ACT_Q8K] = act_bytes_q8k;
    k->act_pack[LV_ACT_Q8K] = act_pack_q8k;
#define X(name, id) k->matmul[LV_TYPE_##id] = matmul_##name;
    PRODUCTS(X)
#undef X
}
