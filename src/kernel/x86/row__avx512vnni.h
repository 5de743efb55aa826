/* Products with one batch row. There is nothing to share a tile among, so weight rows are read one after the
 * other, in the order of memory: 16 blocks at a time, whose sums are added up in one transposition. Memory is
 * called 4 KiB ahead: the processor by itself does not look that far. The chain of fma over the blocks of a
 * row is the definition's (kernel/kernel.h). SPDX-License-Identifier: MIT */

enum { Q4_K_BYTES = 144, Q8_0_BYTES = 34, SPAN = 16 }; /* blocks of a span: one per lane */
enum { AHEAD = 4096 };

/* In each quarter the sums of the same quarter of a[0], a[1], a[2], a[3]. */
INLINE __m512i quarter_sums(const __m512i a[4])
{
    const __m512i x = _mm512_add_epi32(_mm512_unpacklo_epi32(a[0], a[1]), _mm512_unpackhi_epi32(a[0], a[1]));
    const __m512i y = _mm512_add_epi32(_mm512_unpacklo_epi32(a[2], a[3]), _mm512_unpackhi_epi32(a[2], a[3]));
    return _mm512_add_epi32(_mm512_unpacklo_epi64(x, y), _mm512_unpackhi_epi64(x, y));
}

/* Quarters 0 + 1 and 2 + 3 of a, then those of b. */
INLINE __m512i neighbours(__m512i a, __m512i b)
{
    return _mm512_add_epi32(_mm512_shuffle_i32x4(a, b, 0x88), _mm512_shuffle_i32x4(a, b, 0xdd));
}

/* r[l] = sum of the lanes of v[l]. */
INLINE __m512i sums16(const __m512i v[16])
{
    const __m512i a = neighbours(quarter_sums(v), quarter_sums(v + 4));
    const __m512i b = neighbours(quarter_sums(v + 8), quarter_sums(v + 12));
    return neighbours(a, b);
}

/* The same of 16 vectors of 8 lanes: pairs[j] holds numbers j and j + 4, pairs[4 + j] numbers j + 8 and j +
 * 12, j < 4. */
INLINE __m512i half_sums16(const __m512i pairs[8])
{
    return neighbours(quarter_sums(pairs), quarter_sums(pairs + 4));
}

/* The first of the two numbers of a pair. */
INLINE size_t number(int pair)
{
    return (size_t)(pair / 4 * 8 + pair % 4);
}

/* Bytes p and q [32] side by side. */
INLINE __m512i side_by_side(const void *p, const void *q)
{
    const __m512i lo = _mm512_castsi256_si512(_mm256_loadu_si256(p));
    return _mm512_inserti64x4(lo, _mm256_loadu_si256(q), 1);
}

INLINE void call_block_ahead(const uint8_t *p, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(p + AHEAD + i, 0, 3);
}

/* ---- Q8_0 ---- */

/* acc goes on over 16 blocks; sum [16]: of the activations of each. */
INLINE float multiply_span_q8_0(float acc, const uint8_t *p, const int8_t *x, const float *d,
                                const uint8_t *sum)
{
    __m512i pairs[8], t[4];
    _Alignas(64) float scale[SPAN], dot[SPAN];
    v_chunk(t, p, Q8_0_BYTES);
    call_block_ahead(p, SPAN * Q8_0_BYTES);
    for (int i = 0; i < 8; i++) {
        const size_t b = number(i);
        const uint8_t *q = p + b * Q8_0_BYTES + 2;
        const __m512i code = v_wide(side_by_side(q, q + 4 * Q8_0_BYTES));
        pairs[i] =
            _mm512_dpbusd_epi32(_mm512_setzero_si512(), code, side_by_side(x + 32 * b, x + 32 * b + 128));
    }
    const __m512i moved = _mm512_slli_epi32(_mm512_loadu_si512(sum), 7); /* what v_wide added */
    _mm512_store_ps(scale, v_mulf(v_f16(t[0]), _mm512_loadu_ps(d)));
    _mm512_store_ps(dot, v_cvt(_mm512_sub_epi32(half_sums16(pairs), moved)));
    for (size_t b = 0; b < SPAN; b++) acc = __builtin_fmaf(scale[b], dot[b], acc);
    return acc;
}

/* k is a multiple of 512. */
static void multiply_row_q8_0(float *y, const uint8_t *w, size_t n_out, const void *act, size_t k)
{
    const group g = group_at(act, 1, k, 32, 0);
    for (size_t r = 0; r < n_out; r++) {
        float acc = 0.0f;
        for (size_t b = 0; b < k / 32; b += SPAN, w += SPAN * Q8_0_BYTES)
            acc = multiply_span_q8_0(acc, w, g.q + 32 * b, g.d + b, g.sum + 4 * b);
        y[r] = acc;
    }
}

/* ---- Q4_K ---- */

/* Scales and minima of 16 blocks as bytes: those of block b are the 8 at at[b]. */
typedef struct span_scales {
    _Alignas(64) uint64_t scale[SPAN], min[SPAN];
    vf d, dmin;
} span_scales;

/* Two dwords of each lane next to each other. */
INLINE void put_pairs(uint64_t *to, __m512i first, __m512i second)
{
    const __m512i lo = _mm512_unpacklo_epi32(first, second), hi = _mm512_unpackhi_epi32(first, second);
    const __m512i even = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11),
                  odd = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    _mm512_store_si512(to, _mm512_permutex2var_epi64(lo, even, hi));
    _mm512_store_si512(to + 8, _mm512_permutex2var_epi64(lo, odd, hi));
}

INLINE void load_span_scales(span_scales *s, const uint8_t *p)
{
    const vi six = v_set(0x3f3f3f3f), four = v_set(0x0f0f0f0f), two = v_set(0x30303030);
    vi t[4];
    v_chunk(t, p, Q4_K_BYTES);
    s->d = v_f16(t[0]);
    s->dmin = v_f16(v_shr(t[0], 16));
    put_pairs(s->scale, v_and(t[1], six), v_or(v_and(t[3], four), v_and(v_shr(t[1], 2), two)));
    put_pairs(s->min, v_and(t[2], six), v_or(v_and(v_shr(t[3], 4), four), v_and(v_shr(t[2], 2), two)));
}

/* Activations in the order in which the nibbles of a block come: of every four runs of 32 the second and
 * third change places. */
INLINE void order_runs(int8_t *to, const int8_t *x, size_t k)
{
    for (size_t i = 0; i < k; i += 128) {
        const __m512i a = _mm512_loadu_si512(x + i), b = _mm512_loadu_si512(x + i + 64);
        _mm512_store_si512(to + i, _mm512_shuffle_i64x2(a, b, 0x44));
        _mm512_store_si512(to + i + 64, _mm512_shuffle_i64x2(a, b, 0xee));
    }
}

/* Sum over the block of scale * code * x, spread over lanes; x in order. */
INLINE __m512i dot_block(const uint8_t *q, const int8_t *x, uint64_t scale)
{
    const __m512i nibble = _mm512_set1_epi8(15);
    const __m512i sc = _mm512_castsi128_si512(_mm_cvtepu8_epi16(_mm_cvtsi64_si128((long long)scale)));
    __m512i sum = _mm512_setzero_si512();
    for (int half = 0; half < 2; half++) { /* runs 0 and 2 in the low nibbles, 1 and 3 in the high ones */
        const __m512i raw = _mm512_loadu_si512(q + 64 * half);
        for (int high = 0; high < 2; high++) {
            const __m512i code = _mm512_and_si512(high ? _mm512_srli_epi16(raw, 4) : raw, nibble);
            const short a = (short)(4 * half + high), b = (short)(a + 2);
            const __m512i which = _mm512_inserti64x4(_mm512_set1_epi16(a), _mm256_set1_epi16(b), 1);
            const __m512i products =
                _mm512_maddubs_epi16(code, _mm512_load_si512(x + 128 * half + 64 * high));
            sum = _mm512_dpwssd_epi32(sum, products, _mm512_permutexvar_epi16(which, sc));
        }
    }
    return sum;
}

/* Sum over the block of min * x, spread over lanes; xs: sums of 16 activations each. */
INLINE __m256i dot_minima(const int16_t *xs, uint64_t min)
{
    const __m256i sums = _mm256_madd_epi16(_mm256_loadu_si256((const void *)xs), _mm256_set1_epi16(1));
    const __m256i m = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)min));
    return _mm256_mullo_epi32(sums, m);
}

/* acc goes on over n <= 16 blocks; p [16] blocks are readable. */
INLINE float multiply_span_q4_k(float acc, const uint8_t *p, size_t n, const int8_t *x, const float *d,
                                const int16_t *xs)
{
    span_scales s;
    __m512i sums[SPAN], pairs[SPAN / 2];
    __m256i minima[SPAN];
    _Alignas(64) float part[4][SPAN];
    load_span_scales(&s, p);
    for (size_t b = n; b < SPAN; b++) {
        sums[b] = _mm512_setzero_si512();
        minima[b] = _mm256_setzero_si256();
    }
    for (size_t b = 0; b < n; b++) {
        call_block_ahead(p + b * Q4_K_BYTES, Q4_K_BYTES);
        sums[b] = dot_block(p + b * Q4_K_BYTES + 16, x + 256 * b, s.scale[b]);
        minima[b] = dot_minima(xs + 16 * b, s.min[b]);
    }
    for (int i = 0; i < 8; i++)
        pairs[i] = _mm512_inserti64x4(_mm512_castsi256_si512(minima[number(i)]), minima[number(i) + 4], 1);
    const vf dx = _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), d);
    _mm512_store_ps(part[0], v_mulf(s.d, dx));
    _mm512_store_ps(part[1], v_cvt(sums16(sums)));
    _mm512_store_ps(part[2], v_negf(v_mulf(s.dmin, dx)));
    _mm512_store_ps(part[3], v_cvt(half_sums16(pairs)));
    for (size_t b = 0; b < n; b++) {
        acc = __builtin_fmaf(part[0][b], part[1][b], acc);
        acc = __builtin_fmaf(part[2][b], part[3][b], acc);
    }
    return acc;
}

/* ordered [k]: scratch, 64-byte aligned. */
static void multiply_row_q4_k(float *y, const uint8_t *w, size_t n_out, const void *act, size_t k,
                              int8_t *ordered)
{
    const size_t n_blocks = k / 256, n_whole = n_blocks / SPAN * SPAN, n_rest = n_blocks - n_whole;
    const group g = group_at(act, 1, k, 256, 0);
    const int16_t *xs = (const int16_t *)(const void *)g.sum;
    uint8_t rest[SPAN * Q4_K_BYTES] = { 0 };
    order_runs(ordered, g.q, k);
    for (size_t r = 0; r < n_out; r++, w += n_blocks * Q4_K_BYTES) {
        float acc = 0.0f;
        for (size_t b = 0; b < n_whole; b += SPAN)
            acc = multiply_span_q4_k(acc, w + b * Q4_K_BYTES, SPAN, ordered + 256 * b, g.d + b, xs + 16 * b);
        if (n_rest) {
            memcpy(rest, w + n_whole * Q4_K_BYTES, n_rest * Q4_K_BYTES);
            acc = multiply_span_q4_k(acc, rest, n_rest, ordered + 256 * n_whole, g.d + n_whole,
                                     xs + 16 * n_whole);
        }
        y[r] = acc;
    }
}
