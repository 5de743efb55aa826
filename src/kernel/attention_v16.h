/* Attention, written once over v16 (kernel/vector_v16.h, which includes this). Queries come many at a time:
 * every head and every row that reads one KV head; so keys and values are loaded and widened once for several
 * of them. The including file also defines
 *
 *   HEADS, KEYS           queries and keys whose sums run side by side in registers
 *   VALUES                v16 of a value that stay in registers for HEADS queries
 *   MANY, MANY_VALUES     the same for many queries
 *   v_tree4(p, a)         p[j] = v_tree(a[j]), j < 4
 *   v_load_i8(p)          16 signed bytes as floats
 *   v_scale(p)            the f16 at p, of any alignment, in every lane
 *
 * SPDX-License-Identifier: MIT */

enum { KEY_FLOATS = 1024 }; /* keys that are widened ahead, where several groups of queries use them */

/* ---- scores ---- */

/* KEYS keys of `dim` elements, f16 or f32. */
typedef struct keys {
    const uint8_t *at[KEYS];
    bool is_f32;
} keys;

INLINE v16 load_key(const keys *k, size_t j, size_t i)
{
    if (k->is_f32) return v_load((const float *)(const void *)k->at[j] + i);
    return v_load_f16((const uint16_t *)(const void *)k->at[j] + i);
}

INLINE float key_element(const keys *k, size_t j, size_t i)
{
    if (k->is_f32) return ((const float *)(const void *)k->at[j])[i];
    return lv_f16_to_f32(((const uint16_t *)(const void *)k->at[j])[i]);
}

/* Scores of nh <= HEADS queries with `count` <= KEYS keys, whose chains of fma run side by side. */
INLINE void score(size_t nh, size_t count, float *scores, size_t ld, const float *q, const keys *k,
                  size_t dim)
{
    const size_t whole = dim & ~(size_t)15;
    v16 acc[HEADS][KEYS], key[KEYS];
    for (size_t h = 0; h < nh; h++)
        for (size_t j = 0; j < count; j++) acc[h][j] = v_set1(0.0f);
    for (size_t i = 0; i < whole; i += 16) {
        for (size_t j = 0; j < count; j++) key[j] = load_key(k, j, i);
        for (size_t h = 0; h < nh; h++) {
            const v16 x = v_load(q + h * dim + i);
            for (size_t j = 0; j < count; j++) acc[h][j] = v_fma(x, key[j], acc[h][j]);
        }
    }
    for (size_t j = 0; whole < dim && j < count; j++) {
        float tail[16];
        for (size_t i = whole; i < dim; i++) tail[i - whole] = key_element(k, j, i);
        for (size_t h = 0; h < nh; h++)
            acc[h][j] = dot_tail(acc[h][j], q + h * dim + whole, tail, dim - whole);
    }
    for (size_t h = 0; h < nh; h++) {
        if (count == 4)
            v_tree4(scores + h * ld, acc[h]);
        else
            for (size_t j = 0; j < count; j++) scores[h * ld + j] = v_tree(acc[h][j]);
    }
}

INLINE void score_all(size_t count, bool is_f32, float *scores, size_t ld, const float *q, size_t n_q,
                      keys *k, size_t dim)
{
    size_t t = 0;
    k->is_f32 = is_f32;
    for (; t + HEADS <= n_q; t += HEADS) score(HEADS, count, scores + t * ld, ld, q + t * dim, k, dim);
    for (; t < n_q; t++) score(1, count, scores + t * ld, ld, q + t * dim, k, dim);
}

static void NAME(attn_scores)(float *scores, size_t ld, const float *q, size_t n_q, const uint16_t *k,
                              size_t n, size_t dim)
{
    float wide[KEY_FLOATS];
    const bool widen = n_q > 2 * HEADS && KEYS * dim <= KEY_FLOATS && dim % 16 == 0;
    size_t p = 0;
    keys some;
    for (; p + KEYS <= n; p += KEYS) {
        for (size_t j = 0; j < KEYS; j++) some.at[j] = (const uint8_t *)(k + (p + j) * dim);
        if (!widen) {
            score_all(KEYS, false, scores + p, ld, q, n_q, &some, dim);
            continue;
        }
        for (size_t i = 0; i < KEYS * dim; i += 16) v_store(wide + i, v_load_f16(k + p * dim + i));
        for (size_t j = 0; j < KEYS; j++) some.at[j] = (const uint8_t *)(wide + j * dim);
        score_all(KEYS, true, scores + p, ld, q, n_q, &some, dim);
    }
    for (; p < n; p++) {
        some.at[0] = (const uint8_t *)(k + p * dim);
        score_all(1, false, scores + p, ld, q, n_q, &some, dim);
    }
}

/* ---- weights ---- */

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

/* y[i] = exp(x[i] - max), and the sum in 16 lanes by position. */
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

static float NAME(attn_weights)(float *scores, size_t n)
{
    return 1.0f / exp_sum(scores, scores, n, largest(scores, n));
}

/* ---- values ---- */

typedef struct value_rows {
    const uint8_t *v;
    size_t row_bytes, n;
    const int32_t *slots; /* NULL: 0 .. n - 1 */
} value_rows;

/* 16 elements of a value from `at` on, a multiple of 16. */
INLINE v16 load_value(bool q8, const uint8_t *row, size_t at)
{
    if (!q8) return v_load_f16((const uint16_t *)(const void *)row + at);
    const uint8_t *block = row + at / 32 * sizeof(lv_block_q8_0);
    return v_mul(v_scale(block), v_load_i8((const int8_t *)block + 2 + at % 32)); /* exact: 11 bits by 8 */
}

/* 16 * nv elements of nq sums. */
INLINE void weigh(bool q8, size_t nq, size_t nv, float *out, const float *e, size_t ld, const value_rows *r,
                  size_t at, size_t dim)
{
    v16 acc[MANY][VALUES], value[VALUES]; /* nq and nv are constants here */
    for (size_t t = 0; t < nq; t++)
        for (size_t j = 0; j < nv; j++) acc[t][j] = v_load(out + t * dim + at + 16 * j);
    for (size_t p = 0; p < r->n; p++) {
        const uint8_t *row = r->v + (r->slots ? (size_t)r->slots[p] : p) * r->row_bytes;
        for (size_t j = 0; j < nv; j++) value[j] = load_value(q8, row, at + 16 * j);
        for (size_t t = 0; t < nq; t++) {
            const v16 w = v_set1(e[t * ld + p]);
            for (size_t j = 0; j < nv; j++) acc[t][j] = v_fma(w, value[j], acc[t][j]);
        }
    }
    for (size_t t = 0; t < nq; t++)
        for (size_t j = 0; j < nv; j++) v_store(out + t * dim + at + 16 * j, acc[t][j]);
}

INLINE void weigh_whole(bool q8, size_t nq, size_t nv, float *out, const float *e, size_t ld,
                        const value_rows *r, size_t dim)
{
    size_t at = 0;
    for (; at + 16 * nv <= dim; at += 16 * nv) weigh(q8, nq, nv, out, e, ld, r, at, dim);
    for (; at + 16 <= dim; at += 16) weigh(q8, nq, 1, out, e, ld, r, at, dim);
    for (size_t t = 0; t < nq && at < dim; t++) /* f16 only: blocks have 32 */
        for (size_t i = at; i < dim; i++)
            for (size_t p = 0; p < r->n; p++) {
                const uint8_t *row = r->v + (r->slots ? (size_t)r->slots[p] : p) * r->row_bytes;
                const float value = lv_f16_to_f32(((const uint16_t *)(const void *)row)[i]);
                out[t * dim + i] = __builtin_fmaf(e[t * ld + p], value, out[t * dim + i]);
            }
}

INLINE void values(bool q8, float *out, const float *e, size_t ld, size_t n_q, const value_rows *r,
                   size_t dim)
{
    size_t t = 0;
    for (; t + MANY <= n_q; t += MANY)
        weigh_whole(q8, MANY, MANY_VALUES, out + t * dim, e + t * ld, ld, r, dim);
    for (; t + HEADS <= n_q; t += HEADS)
        weigh_whole(q8, HEADS, VALUES, out + t * dim, e + t * ld, ld, r, dim);
    for (; t < n_q; t++) weigh_whole(q8, 1, VALUES, out + t * dim, e + t * ld, ld, r, dim);
}

static void NAME(attn_values_f16)(float *out, const float *e, size_t ld, size_t n_q, const void *v,
                                  const int32_t *slots, size_t n, size_t dim)
{
    const value_rows r = { v, dim * 2, n, slots };
    values(false, out, e, ld, n_q, &r, dim);
}

static void NAME(attn_values_q8_0)(float *out, const float *e, size_t ld, size_t n_q, const void *v,
                                   const int32_t *slots, size_t n, size_t dim)
{
    const value_rows r = { v, dim / 32 * sizeof(lv_block_q8_0), n, slots };
    values(true, out, e, ld, n_q, &r, dim);
}
