/* The vector kernels, written once over a type v16 of 16 floats: one register on AVX-512, two on AVX2, four
 * on NEON. The 16 strided accumulators of the definitions are its lanes, so each statement repeats the
 * reference operation by operation. The including file defines NAME(op), the tag of the functions, what
 * attention_v16.h asks for, and
 *
 *   v_set1 v_load v_store v_load_f16 v_store_f16   memory of any alignment
 *   v_add v_sub v_mul v_div v_neg
 *   v_fma(a, b, c)        a * b + c, rounded once
 *   v_max(a, b)           a > b ? a : b
 *   v_less(a, b, t, f)    a < b ? t : f
 *   v_equal(a, b)         true where some lane of a equals that of b
 *   v_tree(a)             sum of the lanes: i += i + 8, i + 4, i + 2, i + 1
 *   v_exp_scale(p, n)     p * 2^n in two exact steps, n integral
 *   v_split(x, &n)        lv_logf's m and n: x = m 2^n
 *   v_unzip v_zip         32 floats from and to their even and odd elements
 *
 * Tails run the scalar steps of kernel/noise.h, which are the same bits. SPDX-License-Identifier: MIT */

/* ---- 16-lane sums ---- */

/* acc += x * y over the n elements from i on, n < 16, lane = element; other lanes stay untouched. */
INLINE v16 dot_tail(v16 acc, const float *x, const float *y, size_t n)
{
    float a[16];
    v_store(a, acc);
    for (size_t l = 0; l < n; l++) a[l] = __builtin_fmaf(x[l], y[l], a[l]);
    return v_load(a);
}

static void NAME(rmsnorm)(float *y, const float *x, const float *w, size_t n, float eps)
{
    const size_t whole = n & ~(size_t)15;
    v16 acc = v_set1(0.0f);
    for (size_t i = 0; i < whole; i += 16) acc = v_fma(v_load(x + i), v_load(x + i), acc);
    if (whole < n) acc = dot_tail(acc, x + whole, x + whole, n - whole);
    const float s = 1.0f / __builtin_sqrtf(v_tree(acc) / (float)n + eps);
    for (size_t i = 0; i < whole; i += 16)
        v_store(y + i, v_mul(v_mul(v_load(x + i), v_set1(s)), v_load(w + i)));
    for (size_t i = whole; i < n; i++) y[i] = (x[i] * s) * w[i];
}

static void NAME(add)(float *x, const float *y, size_t n)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16) v_store(x + i, v_add(v_load(x + i), v_load(y + i)));
    for (; i < n; i++) x[i] += y[i];
}

/* lv_expf lane by lane. */
INLINE v16 v_exp(v16 x)
{
    const v16 n = v_sub(v_fma(x, v_set1(0x1.715476p+0f), v_set1(12582912.0f)), v_set1(12582912.0f));
    v16 r = v_fma(n, v_set1(-0x1.62e400p-1f), x);
    r = v_fma(n, v_set1(-0x1.7f7d1cp-20f), r);
    v16 p = v_set1(0x1.a01a02p-13f);
    p = v_fma(p, r, v_set1(0x1.6c16c2p-10f));
    p = v_fma(p, r, v_set1(0x1.111112p-7f));
    p = v_fma(p, r, v_set1(0x1.555556p-5f));
    p = v_fma(p, r, v_set1(0x1.555556p-3f));
    p = v_fma(p, r, v_set1(0.5f));
    p = v_fma(p, r, v_set1(1.0f));
    p = v_fma(p, r, v_set1(1.0f));
    /* From 89 on and for NaN: x * inf is inf or NaN as x is. */
    const v16 y = v_less(x, v_set1(89.0f), v_exp_scale(p, n), v_mul(x, v_set1(INFINITY)));
    return v_less(x, v_set1(-104.0f), v_set1(0.0f), y);
}

static void NAME(silu_mul)(float *g, const float *u, size_t n)
{
    const v16 one = v_set1(1.0f);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        const v16 x = v_load(g + i);
        v_store(g + i, v_mul(v_div(x, v_add(one, v_exp(v_neg(x)))), v_load(u + i)));
    }
    for (; i < n; i++) g[i] = (g[i] / (1.0f + lv_expf(-g[i]))) * u[i];
}

/* ---- rotation ---- */

INLINE void rotate(v16 *a, v16 *b, v16 c, v16 s)
{
    const v16 x = *a, y = *b;
    *a = v_fma(x, c, v_neg(v_mul(y, s)));
    *b = v_fma(x, s, v_mul(y, c));
}

INLINE void rotate_one(float *a, float *b, const float *cs)
{
    const float x = *a, y = *b;
    *a = __builtin_fmaf(x, cs[0], -(y * cs[1]));
    *b = __builtin_fmaf(x, cs[1], y * cs[0]);
}

static void NAME(rope_interleaved)(float *x, const float *cs, size_t n_rot)
{
    size_t i = 0;
    for (; i + 32 <= n_rot; i += 32) {
        v16 a, b, c, s;
        v_unzip(x + i, &a, &b);
        v_unzip(cs + i, &c, &s);
        rotate(&a, &b, c, s);
        v_zip(x + i, a, b);
    }
    for (; i < n_rot; i += 2) rotate_one(&x[i], &x[i + 1], cs + i);
}

static void NAME(rope_neox)(float *x, const float *cs, size_t n_rot)
{
    const size_t half = n_rot / 2;
    size_t i = 0;
    for (; i + 16 <= half; i += 16) {
        v16 a = v_load(x + i), b = v_load(x + half + i), c, s;
        v_unzip(cs + 2 * i, &c, &s);
        rotate(&a, &b, c, s);
        v_store(x + i, a);
        v_store(x + half + i, b);
    }
    for (; i < half; i++) rotate_one(&x[i], &x[half + i], cs + 2 * i);
}

static void NAME(f32_to_f16)(uint16_t *dst, const float *src, size_t n)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16) v_store_f16(dst + i, v_load(src + i));
    for (; i < n; i++) dst[i] = lv_f32_to_f16(src[i]);
}

#include "kernel/attention_v16.h"

/* ---- choice ---- */

static size_t NAME(argmax)(const float *x, size_t n)
{
    const float max = largest(x, n);
    size_t i = 0;
    while (i + 16 <= n && !v_equal(v_load(x + i), v_set1(max))) i += 16;
    for (; i < n; i++)
        if (x[i] == max) return i;
    return 0; /* all NaN */
}

static void NAME(softmax)(float *p, const float *x, size_t n)
{
    const float inv = 1.0f / exp_sum(p, x, n, largest(x, n));
    size_t i = 0;
    for (; i + 16 <= n; i += 16) v_store(p + i, v_mul(v_load(p + i), v_set1(inv)));
    for (; i < n; i++) p[i] *= inv;
}

/* lv_logf lane by lane. */
INLINE v16 v_log(v16 x)
{
    v16 n;
    const v16 m = v_split(x, &n), f = v_sub(m, v_set1(1.0f));
    const v16 s = v_div(f, v_add(m, v_set1(1.0f))), z = v_mul(s, s);
    v16 p = v_set1(0x1.c71c72p-3f);
    p = v_fma(p, z, v_set1(0x1.24924ap-2f));
    p = v_fma(p, z, v_set1(0x1.99999ap-2f));
    p = v_fma(p, z, v_set1(0x1.555556p-1f));
    const v16 t = v_fma(v_neg(s), v_sub(f, v_mul(z, p)), f);
    return v_fma(n, v_set1(0x1.62e400p-1f), v_fma(n, v_set1(0x1.7f7d1cp-20f), t));
}

/* lv_gumbel of 16 ids from id0 on. */
INLINE v16 v_gumbel(uint64_t seed, uint64_t pos, uint32_t id0)
{
    float high[16], low[16];
    for (uint32_t l = 0; l < 16; l++) {
        const uint64_t bits = lv_noise_bits(seed, pos, id0 + l);
        high[l] = (float)(int32_t)(bits >> 40);
        low[l] = (float)(int32_t)(bits >> 16 & 0xffffffu);
    }
    const v16 u =
        v_fma(v_load(high), v_set1(0x1p-24f), v_fma(v_load(low), v_set1(0x1p-48f), v_set1(0x1p-49f)));
    v16 p = v_fma(u, v_set1(0.2f), v_set1(0.25f));
    p = v_fma(p, u, v_set1(0x1.555556p-2f));
    p = v_fma(p, u, v_set1(0.5f));
    p = v_fma(v_mul(p, u), u, u);
    const v16 e = v_neg(v_log(v_max(v_sub(v_set1(1.0f), u), v_set1(0x1p-25f))));
    return v_neg(v_log(v_less(u, v_set1(0x1p-6f), p, e)));
}

static void NAME(perturb)(float *y, const float *x, size_t n, float temp, uint64_t seed, uint64_t pos,
                          uint32_t id0)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        v_store(y + i, v_add(v_div(v_load(x + i), v_set1(temp)), v_gumbel(seed, pos, id0 + (uint32_t)i)));
    for (; i < n; i++) y[i] = x[i] / temp + lv_gumbel(seed, pos, id0 + (uint32_t)i);
}

INLINE void add_vector_kernels(lv_kernels *k)
{
    k->rmsnorm = NAME(rmsnorm);
    k->add = NAME(add);
    k->silu_mul = NAME(silu_mul);
    k->rope_interleaved = NAME(rope_interleaved);
    k->rope_neox = NAME(rope_neox);
    k->f32_to_f16 = NAME(f32_to_f16);
    k->attn_scores = NAME(attn_scores);
    k->attn_weights = NAME(attn_weights);
    k->attn_values_f16 = NAME(attn_values_f16);
    k->attn_values_q8_0 = NAME(attn_values_q8_0);
    k->argmax = NAME(argmax);
    k->softmax = NAME(softmax);
    k->perturb = NAME(perturb);
}
