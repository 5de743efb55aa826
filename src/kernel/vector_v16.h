/* The vector kernels, written once over a type of 16 floats: one register on AVX-512, two on AVX2, four on NEON.
 * The including file defines v16 and its operations, and NAME(op) for the tags of the functions. Tails run the scalar
 * steps of kernel/noise.h, which are the same bits. SPDX-License-Identifier: MIT */

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
    return v_exp_ends(x, v_exp_scale(p, n));
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

/* ---- attention ---- */

INLINE const uint16_t *slot_at(const lv_attn_span *s, const uint16_t *base, size_t p)
{
    return base + (p < s->n_prefix ? p : (size_t)s->path[p - s->n_prefix]) * s->stride;
}

INLINE float dot_f16(const float *q, const uint16_t *k, size_t dim)
{
    const size_t whole = dim & ~(size_t)15;
    v16 acc = v_set1(0.0f);
    for (size_t i = 0; i < whole; i += 16) acc = v_fma(v_load(q + i), v_load_f16(k + i), acc);
    if (whole < dim) {
        float tail[16];
        for (size_t i = whole; i < dim; i++) tail[i - whole] = lv_f16_to_f32(k[i]);
        acc = dot_tail(acc, q + whole, tail, dim - whole);
    }
    return v_tree(acc);
}

/* x[i] = exp(x[i] - max), and the sum in 16 lanes by position. */
INLINE float exp_sum(float *y, const float *x, size_t n, float max)
{
    const size_t whole = n & ~(size_t)15;
    v16 sum = v_set1(0.0f);
    for (size_t i = 0; i < whole; i += 16) {
        const v16 e = v_exp(v_sub(v_load(x + i), v_set1(max)));
        v_store(y + i, e);
        sum = v_add(sum, e);
    }
    float lanes[16];
    v_store(lanes, sum);
    for (size_t i = whole; i < n; i++) {
        y[i] = lv_expf(x[i] - max);
        lanes[i - whole] += y[i];
    }
    return v_tree(v_load(lanes));
}

/* out[0 .. 16 * nv) of the weighted sum of values, positions ascending. */
INLINE void weigh_values(size_t nv, float *out, const float *e, const lv_attn_span *span, size_t at, size_t n, float inv)
{
    v16 acc[4];
    for (size_t j = 0; j < nv; j++) acc[j] = v_set1(0.0f);
    for (size_t p = 0; p < n; p++) {
        const uint16_t *v = slot_at(span, span->v, p) + at;
        const v16 w = v_set1(e[p]);
        for (size_t j = 0; j < nv; j++) acc[j] = v_fma(w, v_load_f16(v + 16 * j), acc[j]);
    }
    for (size_t j = 0; j < nv; j++) v_store(out + at + 16 * j, v_mul(acc[j], v_set1(inv)));
}

static void NAME(attention)(float *out, const float *q, const lv_attn_span *span, size_t head_dim, float scale,
                            float *scores)
{
    const size_t n = span->n_prefix + span->n_path;
    float max = -INFINITY;
    for (size_t p = 0; p < n; p++) {
        scores[p] = dot_f16(q, slot_at(span, span->k, p), head_dim) * scale;
        if (scores[p] > max) max = scores[p];
    }
    const float inv = 1.0f / exp_sum(scores, scores, n, max);
    size_t at = 0;
    for (; at + 64 <= head_dim; at += 64) weigh_values(4, out, scores, span, at, n, inv);
    for (; at + 16 <= head_dim; at += 16) weigh_values(1, out, scores, span, at, n, inv);
    for (; at < head_dim; at++) {
        float acc = 0;
        for (size_t p = 0; p < n; p++) acc = __builtin_fmaf(scores[p], lv_f16_to_f32(slot_at(span, span->v, p)[at]), acc);
        out[at] = acc * inv;
    }
}

/* ---- choice ---- */

static size_t NAME(argmax)(const float *x, size_t n)
{
    const size_t whole = n & ~(size_t)15;
    float lanes[16], max = -INFINITY;
    v16 m = v_set1(-INFINITY);
    for (size_t i = 0; i < whole; i += 16) m = v_max(v_load(x + i), m); /* a NaN leaves m as it is */
    v_store(lanes, m);
    for (size_t l = 0; l < 16; l++)
        if (lanes[l] > max) max = lanes[l];
    for (size_t i = whole; i < n; i++)
        if (x[i] > max) max = x[i];
    for (size_t i = 0; i < whole; i += 16) {
        const unsigned hit = v_equal(v_load(x + i), v_set1(max));
        if (hit) return i + (size_t)__builtin_ctz(hit);
    }
    for (size_t i = whole; i < n; i++)
        if (x[i] == max) return i;
    return 0; /* all NaN */
}

static void NAME(softmax)(float *p, const float *x, size_t n)
{
    const float max = x[NAME(argmax)(x, n)];
    const float inv = 1.0f / exp_sum(p, x, n, max);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) v_store(p + i, v_mul(v_load(p + i), v_set1(inv)));
    for (; i < n; i++) p[i] *= inv;
}

INLINE void add_vector_kernels(lv_kernels *k)
{
    k->rmsnorm = NAME(rmsnorm);
    k->add = NAME(add);
    k->silu_mul = NAME(silu_mul);
    k->rope_interleaved = NAME(rope_interleaved);
    k->rope_neox = NAME(rope_neox);
    k->f32_to_f16 = NAME(f32_to_f16);
    k->attention = NAME(attention);
    k->argmax = NAME(argmax);
    k->softmax = NAME(softmax);
}
