/* Norms, rotation, attention and friends, the scalar truth. SPDX-License-Identifier: MIT */
#include <math.h>
#include <string.h>

#include "base/f16.h"
#include "kernel/kernel_isa.h"
#include "kernel/noise.h"

static float tree16(float *a)
{
    for (int s = 8; s; s /= 2)
        for (int i = 0; i < s; i++) a[i] += a[i + s];
    return a[0];
}

static void rmsnorm(float *y, const float *x, const float *w, size_t n, float eps)
{
    float acc[16] = { 0 };
    for (size_t i = 0; i < n; i++) acc[i % 16] = fmaf(x[i], x[i], acc[i % 16]);
    const float s = 1.0f / sqrtf(tree16(acc) / (float)n + eps);
    for (size_t i = 0; i < n; i++) y[i] = (x[i] * s) * w[i];
}

static void add(float *x, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i++) x[i] += y[i];
}

static void silu_mul(float *g, const float *u, size_t n)
{
    for (size_t i = 0; i < n; i++) g[i] = (g[i] / (1.0f + lv_expf(-g[i]))) * u[i];
}

static void rotate(float *a, float *b, const float *cs)
{
    const float x = *a, y = *b;
    *a = fmaf(x, cs[0], -(y * cs[1]));
    *b = fmaf(x, cs[1], y * cs[0]);
}

static void rope_interleaved(float *x, const float *cs, size_t n_rot)
{
    for (size_t i = 0; i < n_rot / 2; i++) rotate(&x[2 * i], &x[2 * i + 1], cs + 2 * i);
}

static void rope_neox(float *x, const float *cs, size_t n_rot)
{
    for (size_t i = 0; i < n_rot / 2; i++) rotate(&x[i], &x[i + n_rot / 2], cs + 2 * i);
}

static void f32_to_f16(uint16_t *dst, const float *src, size_t n)
{
    for (size_t i = 0; i < n; i++) dst[i] = lv_f32_to_f16(src[i]);
}

static void attn_scores(float *scores, size_t ld, const float *q, size_t n_q, const uint16_t *k, size_t n,
                        size_t dim)
{
    for (size_t t = 0; t < n_q; t++)
        for (size_t p = 0; p < n; p++) {
            float acc[16] = { 0 };
            for (size_t i = 0; i < dim; i++)
                acc[i % 16] = fmaf(q[t * dim + i], lv_f16_to_f32(k[p * dim + i]), acc[i % 16]);
            scores[t * ld + p] = tree16(acc);
        }
}

static float attn_weights(float *scores, size_t n)
{
    float max = -INFINITY, sum[16] = { 0 };
    for (size_t p = 0; p < n; p++)
        if (scores[p] > max) max = scores[p];
    for (size_t p = 0; p < n; p++) {
        scores[p] = lv_expf(scores[p] - max);
        sum[p % 16] += scores[p];
    }
    return 1.0f / tree16(sum);
}

static void add_weighted(float *out, const float *e, size_t ld, size_t n_q, const float *value, size_t dim)
{
    for (size_t t = 0; t < n_q; t++)
        for (size_t i = 0; i < dim; i++) out[t * dim + i] = fmaf(e[t * ld], value[i], out[t * dim + i]);
}

static void attn_values_f16(float *out, const float *e, size_t ld, size_t n_q, const void *v,
                            const int32_t *slots, size_t n, size_t dim)
{
    float value[LV_HEAD_DIM_MAX];
    void (*dequantize)(float *, const void *, size_t) = lv_type_traits_get(LV_TYPE_F16)->dequantize;
    for (size_t p = 0; p < n; p++) {
        dequantize(value, (const uint16_t *)v + (slots ? (size_t)slots[p] : p) * dim, dim);
        add_weighted(out, e + p, ld, n_q, value, dim);
    }
}

static void attn_values_q8_0(float *out, const float *e, size_t ld, size_t n_q, const void *v,
                             const int32_t *slots, size_t n, size_t dim)
{
    float value[LV_HEAD_DIM_MAX];
    const size_t row_bytes = dim / 32 * sizeof(lv_block_q8_0);
    void (*dequantize)(float *, const void *, size_t) = lv_type_traits_get(LV_TYPE_Q8_0)->dequantize;
    for (size_t p = 0; p < n; p++) {
        dequantize(value, (const uint8_t *)v + (slots ? (size_t)slots[p] : p) * row_bytes, dim);
        add_weighted(out, e + p, ld, n_q, value, dim);
    }
}

static size_t argmax(const float *x, size_t n)
{
    size_t best = 0;
    float max = -INFINITY;
    int found = 0;
    for (size_t i = 0; i < n; i++)
        if (x[i] > max || (!found && x[i] == x[i])) best = i, max = x[i], found = 1;
    return best;
}

static void softmax(float *p, const float *x, size_t n)
{
    const float max = x[argmax(x, n)];
    float sum[16] = { 0 };
    for (size_t i = 0; i < n; i++) {
        p[i] = lv_expf(x[i] - max);
        sum[i % 16] += p[i];
    }
    const float inv = 1.0f / tree16(sum);
    for (size_t i = 0; i < n; i++) p[i] *= inv;
}

static void perturb(float *y, const float *x, size_t n, float temp, uint64_t seed, uint64_t pos, uint32_t id0)
{
    for (size_t i = 0; i < n; i++) y[i] = x[i] / temp + lv_gumbel(seed, pos, id0 + (uint32_t)i);
}

void lv_kernels_add_vector__ref(lv_kernels *k)
{
    k->rmsnorm = rmsnorm;
    k->add = add;
    k->silu_mul = silu_mul;
    k->rope_interleaved = rope_interleaved;
    k->rope_neox = rope_neox;
    k->f32_to_f16 = f32_to_f16;
    k->attn_scores = attn_scores;
    k->attn_weights = attn_weights;
    k->attn_values_f16 = attn_values_f16;
    k->attn_values_q8_0 = attn_values_q8_0;
    k->argmax = argmax;
    k->softmax = softmax;
    k->perturb = perturb;
}
