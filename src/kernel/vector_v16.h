/* The vector kernels, written once over a type v16 of 16 floats: one register on AVX-512, two on AVX2, four
 * on NEON. The 16 strided accumulators of the definitions are its lanes, so each statement repeats the
 * reference operation by operation. The including file defines NAME(op), the tag of the functions, and v_set1
 * v_load v_store v_load_f16 v_store_f16      memory of any alignment v_add v_sub v_mul v_div v_neg v_fma(a,
 * b, c)      a * b + c, rounded once v_max(a, b)           a > b ? a : b               v_less(a, b, t, f) a <
 * b ? t : f v_equal(a, b)         true where some lane of a equals that of b v_tree(a)             sum of the
 * lanes: i += i + 8, i + 4, i + 2, i + 1 v_exp_scale(p, n)     p * 2^n in two exact steps, n integral
 *   v_split(x, &n)        lv_logf's m and n: x = m 2^n
 *   v_unzip v_zip         32 floats from and to their even and odd elements
 *   HEADS, KEYS, VALUES   heads and positions scored side by side, v16 of the value pass kept in registers
 *   v_tree4(p, a)         p[j] = v_tree(a[j]), j < 4
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

/* ---- attention ---- */

INLINE const uint16_t *slot_at(const lv_attn_span *s, const uint16_t *base, size_t p)
{
    return base + (p < s->n_prefix ? p : (size_t)s->path[p - s->n_prefix]) * s->stride;
}

/* Scores of nh <= HEADS heads at `count` <= KEYS positions, whose chains of fma run side by side. */
INLINE void score(size_t nh, size_t count, float *scores, size_t ld, const float *q, const lv_attn_span *span,
                  size_t p, size_t dim, float scale)
{
    const size_t whole = dim & ~(size_t)15;
    const uint16_t *k[KEYS];
    v16 acc[HEADS][KEYS], key[KEYS];
    for (size_t j = 0; j < count; j++) k[j] = slot_at(span, span->k, p + j);
    for (size_t h = 0; h < nh; h++)
        for (size_t j = 0; j < count; j++) acc[h][j] = v_set1(0.0f);
    for (size_t i = 0; i < whole; i += 16) {
        for (size_t j = 0; j < count; j++) key[j] = v_load_f16(k[j] + i);
        for (size_t h = 0; h < nh; h++) {
            const v16 x = v_load(q + h * dim + i);
            for (size_t j = 0; j < count; j++) acc[h][j] = v_fma(x, key[j], acc[h][j]);
        }
    }
    for (size_t j = 0; whole < dim && j < count; j++) {
        float tail[16];
        for (size_t i = whole; i < dim; i++) tail[i - whole] = lv_f16_to_f32(k[j][i]);
        for (size_t h = 0; h < nh; h++)
            acc[h][j] = dot_tail(acc[h][j], q + h * dim + whole, tail, dim - whole);
    }
    for (size_t h = 0; h < nh; h++) {
        float *to = scores + h * ld + p;
        if (count == 4) v_tree4(to, acc[h]);
        else
            for (size_t j = 0; j < count; j++) to[j] = v_tree(acc[h][j]);
        for (size_t j = 0; j < count; j++) to[j] *= scale;
    }
}

/* The largest of n values; NaN never wins; -inf when there is no other. */
INLINE float largest(const float *x, size_t n)
{
    const size_t whole = n & ~(size_t)15;
    float lanes[16], max = -INFINITY;
    v16 m = v_set1(-INFINITY);
    for (size_t i = 0; i < whole; i += 16) m = v_max(v_load(x + i), m); /* a NaN leaves m as it is */
    v_store(lanes, m);
    for (size_t l = 0; l < 16; l++) max = lanes[l] > max ? lanes[l] : max;
    for (size_t i = whole; i < n; i++) max = x[i] > max ? x[i] : max;
    return max;
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

/* 16 * nv elements from `at` on of the weighted sums of values of nh heads, positions ascending. */
INLINE void weigh_values(size_t nh, size_t nv, float *out, const float *e, size_t ld, const float *inv,
                         const lv_attn_span *span, size_t at, size_t n, size_t dim)
{
    v16 acc[HEADS][VALUES], value[VALUES];
    for (size_t h = 0; h < nh; h++)
        for (size_t j = 0; j < nv; j++) acc[h][j] = v_set1(0.0f);
    for (size_t p = 0; p < n; p++) {
        const uint16_t *v = slot_at(span, span->v, p) + at;
        for (size_t j = 0; j < nv; j++) value[j] = v_load_f16(v + 16 * j);
        for (size_t h = 0; h < nh; h++) {
            const v16 w = v_set1(e[h * ld + p]);
            for (size_t j = 0; j < nv; j++) acc[h][j] = v_fma(w, value[j], acc[h][j]);
        }
    }
    for (size_t h = 0; h < nh; h++)
        for (size_t j = 0; j < nv; j++)
            v_store(out + h * dim + at + 16 * j, v_mul(acc[h][j], v_set1(inv[h])));
}

INLINE void attend(size_t nh, float *out, const float *q, const lv_attn_span *span, size_t dim, float scale,
                   float *scores, size_t ld)
{
    const size_t n = span->n_prefix + span->n_path;
    float inv[HEADS];
    size_t p = 0, at = 0;
    for (; p + KEYS <= n; p += KEYS) score(nh, KEYS, scores, ld, q, span, p, dim, scale);
    for (; p < n; p++) score(nh, 1, scores, ld, q, span, p, dim, scale);
    for (size_t h = 0; h < nh; h++) {
        float *s = scores + h * ld;
        inv[h] = 1.0f / exp_sum(s, s, n, largest(s, n));
    }
    for (; at + 16 * VALUES <= dim; at += 16 * VALUES)
        weigh_values(nh, VALUES, out, scores, ld, inv, span, at, n, dim);
    for (; at + 16 <= dim; at += 16) weigh_values(nh, 1, out, scores, ld, inv, span, at, n, dim);
    for (size_t h = 0; h < nh; h++)
        for (size_t i = at; i < dim; i++) {
            float acc = 0;
            for (p = 0; p < n; p++)
                acc = __builtin_fmaf(scores[h * ld + p], lv_f16_to_f32(slot_at(span, span->v, p)[i]), acc);
            out[h * dim + i] = acc * inv[h];
        }
}

static void NAME(attention)(float *out, const float *q, size_t n_heads, const lv_attn_span *span,
                            size_t head_dim, float scale, float *scores, size_t ld)
{
    size_t h = 0;
    for (; h + HEADS <= n_heads; h += HEADS)
        attend(HEADS, out + h * head_dim, q + h * head_dim, span, head_dim, scale, scores, ld);
    for (; h < n_heads; h++)
        attend(1, out + h * head_dim, q + h * head_dim, span, head_dim, scale, scores, ld);
}

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
    k->attention = NAME(attention);
    k->argmax = NAME(argmax);
    k->softmax = NAME(softmax);
    k->perturb = NAME(perturb);
}
