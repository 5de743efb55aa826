/* Quantised matrix products, written once for every instruction set.
 *
 * A tile is VG * VN weight rows; VN is the number of 32-bit lanes of a vector, and lane l belongs to row l.
 * Weights are read 16 bytes of each row at a time and transposed, so that vector c holds bytes 4c..4c+3 of
 * every row: from there on all formats are unpacked lane by lane, with the same few operations. A product
 * step multiplies the 4 codes of each lane with 4 activations of one batch row, which are broadcast; a tile
 * is unpacked once for up to 64 batch rows. Every integer sum is exact, and each output is one chain of fma
 * in ascending blocks.
 *
 * The including file defines these words (below them, each per lane unless it says otherwise):
 *
 *   VN, VG               lanes of a vector; vectors of weight rows in a tile
 *   vi, vf, vacc         integer vector, float vector, running sums of products
 *   NAME(fn)             tag of the functions
 *   v_set v_setf         broadcast
 *   v_and v_or v_add v_sub v_mul
 *   v_shl v_shr v_sar    by a constant; shr shifts zeros in, sar the sign
 *   v_shlv v_shrv        by a variable that is the same in every lane
 *   v_chunk(t, p, s)     t[c] = the 4 bytes at p + lane * s + 4 c, c = 0..3; reads 16 bytes of each row
 *   v_word(p, s)         t[0] of that; may read 16 bytes too
 *   v_f16(v)             float of the low 16 bits
 *   v_asf v_cvt          bits as float; integer to float
 *   v_mulf v_negf v_fma(a, b, c) v_store(p, v) v_lane0(v)
 *   v_lookup(table, v)   each byte 0..15 becomes that entry of table [16]
 *   v_acc(n) v_sum(a)    sums that start at n; the sums as integers
 *   v_dot(a, w, x)       a + 4 products of codes w, 0..127, with the activations x [4]
 *   v_wide(w)            codes -128..127 in the form v_dotw(a, w, x) wants, which adds the products of
 *                        (code + WIDE_OFFSET)
 *   v_dot2(v, w, n)      v + 2 products of the signed 16-bit halves of w with those of n
 *   PAIRS                1: the instruction set multiplies two batch rows at once, and there are also
 *   v_pair(w)            w[0], w[1], 4 codes of every row each, in the form v_mma wants
 *   vacc2 v_acc2(n, m) v_sum2(a, s)   sums of two batch rows, as v_acc and v_sum
 *   v_mma(a, w, x, y)    a + 8 products of the codes of w [2] with x [8] and with y [8]
 *
 * SPDX-License-Identifier: MIT */

enum { TILE = VN * VG, ROWS_MAX = 64, GROUP = LV_ROW_GROUP };

#include "kernel/act_pack.h"

/* ---- blocks of 32 ---- */

INLINE void nibbles(vi w[8], const vi raw[4])
{
    const vi low = v_set(0x0f0f0f0f);
    for (int c = 0; c < 4; c++) {
        w[c] = v_and(raw[c], low);
        w[4 + c] = v_and(v_shr(raw[c], 4), low);
    }
}

/* Bit i of qh is bit 4 of code i. */
INLINE void fifth_bits(vi w[8], vi qh)
{
    for (int c = 0; c < 8; c++) { /* 4 bits to the lowest bits of 4 bytes: bit j moves by 7 j */
        const vi four = v_and(v_shrv(qh, 4 * c), v_set(15));
        const vi bits = v_and(v_mul(four, v_set(0x00204081)), v_set(0x01010101));
        w[c] = v_or(w[c], v_shl(bits, 4));
    }
}

/* 2^(e - 128), as kernel.h defines for MXFP4. */
INLINE vf exponent_scale(vi e)
{
    const vi is_small = v_sar(v_sub(e, v_set(2)), 31), is_nan = v_sar(v_sub(v_set(254), e), 31);
    const vi normal = v_shl(v_sub(e, v_set(1)), 23);
    const vi small = v_add(v_set(0x00200000), v_and(v_set(0x00200000), v_sub(v_set(0), v_and(e, v_set(1)))));
    const vi finite = v_or(v_and(is_small, small), v_sub(normal, v_and(is_small, normal)));
    return v_asf(v_or(v_and(is_nan, v_set(0x7fc00000)), v_sub(finite, v_and(is_nan, finite))));
}

INLINE bool is_wide(uint32_t type)
{
    return type == LV_TYPE_Q8_0 || type == LV_TYPE_IQ4_NL || type == LV_TYPE_IQ4_XS || type == LV_TYPE_MXFP4;
}

/* What was added to every code to make it unsigned. */
INLINE int32_t code_offset(uint32_t type)
{
    return is_wide(type) ? WIDE_OFFSET : type == LV_TYPE_Q4_0 ? 8 : type == LV_TYPE_Q5_0 ? 16 : 0;
}

INLINE bool has_min(uint32_t type)
{
    return type == LV_TYPE_Q4_1 || type == LV_TYPE_Q5_1 || type == LV_TYPE_Q2_K || type == LV_TYPE_Q4_K ||
           type == LV_TYPE_Q5_K;
}

/* One block of VN rows: vector c of w holds codes 4c..4c+3, *d the scale, *m the minimum. */
INLINE void load_block(uint32_t type, vi w[8], vf *d, vf *m, const uint8_t *p, size_t stride)
{
    vi raw[4];
    const vi head = v_word(p, stride);
    *d = v_f16(head);
    *m = v_f16(v_shr(head, 16));
    switch (type) {
    case LV_TYPE_Q8_0:
        v_chunk(w, p + 2, stride);
        v_chunk(w + 4, p + 18, stride);
        break;
    case LV_TYPE_Q5_0:
        v_chunk(raw, p + 6, stride);
        nibbles(w, raw);
        fifth_bits(w, v_word(p + 2, stride));
        break;
    case LV_TYPE_Q5_1:
        v_chunk(raw, p + 8, stride);
        nibbles(w, raw);
        fifth_bits(w, v_word(p + 4, stride));
        break;
    case LV_TYPE_MXFP4:
        v_chunk(raw, p + 1, stride);
        nibbles(w, raw);
        for (int c = 0; c < 8; c++) w[c] = v_lookup(lv_mxfp4_value, w[c]);
        *d = exponent_scale(v_and(head, v_set(255)));
        break;
    case LV_TYPE_IQ4_NL:
        v_chunk(raw, p + 2, stride);
        nibbles(w, raw);
        for (int c = 0; c < 8; c++) w[c] = v_lookup(lv_iq4_value, w[c]);
        break;
    default: /* Q4_0, Q4_1 */ v_chunk(raw, p + (type == LV_TYPE_Q4_0 ? 2 : 4), stride); nibbles(w, raw);
    }
    for (int c = 0; c < 8 && is_wide(type); c++) w[c] = v_wide(w[c]);
}

/* Sum of the products of vectors w[first] and the n - 1 behind it with the activations at x. */
INLINE vi dot_codes(uint32_t type, const vi w[8], const int8_t *x, int first, int n, int32_t start)
{
    vacc a = v_acc(start);
    for (int c = first; c < first + n; c++)
        a = is_wide(type) ? v_dotw(a, w[c], x + 4 * c) : v_dot(a, w[c], x + 4 * c);
    return v_sum(a);
}

/* A step is one batch row, or two where `pairs` says so; the last of an odd number goes with itself. */
INLINE size_t step_rows(bool pairs, size_t at, size_t end)
{
    return pairs && at + 1 < end ? 2 : 1;
}

INLINE void to_pairs(bool pairs, vi w[8])
{
#if PAIRS
    for (int c = 0; c < 8 && pairs; c += 2) v_pair(w + c);
#else
    (void)pairs, (void)w;
#endif
}

/* dot_codes for the rows of a step, x [n_step][len], into s [n_step]. */
INLINE void dot_step(bool pairs, uint32_t type, vi s[2], const vi w[8], const int8_t *x, size_t len,
                     size_t n_step, int first, int n, const int32_t start[2])
{
#if PAIRS
    if (pairs) {
        const int8_t *y = n_step > 1 ? x + len : x;
        vacc2 a = v_acc2(start[0], start[1]);
        for (int c = first; c < first + n; c += 2) a = v_mma(a, w + c, x + 4 * c, y + 4 * c);
        v_sum2(a, s);
        return;
    }
#else
    (void)pairs, (void)len, (void)n_step;
#endif
    s[0] = dot_codes(type, w, x, first, n, start[0]);
}

/* The rows of a tile are read side by side, too many streams for the processor to foresee. So with each block
 * as many lines as it has are called: of the next tile, which lies behind this one, to the second-level
 * cache; and of this tile, whose rows take turns, to the first. Calls beyond the end of the weights do
 * nothing. */
INLINE void call_ahead(const uint8_t *tile, size_t stride, size_t block, size_t bytes)
{
    enum { LINE = 64, AHEAD = 192 };
    for (size_t i = block * bytes * TILE / LINE; i < (block + 1) * bytes * TILE / LINE; i++) {
        __builtin_prefetch(tile + TILE * stride + i * LINE, 0, 2);
        __builtin_prefetch(tile + i % TILE * stride + i / TILE * LINE + AHEAD, 0, 3);
    }
}

/* Tile of TILE weight rows times batch rows first .. first + n - 1, n <= ROWS_MAX. */
INLINE void tile_32(bool pairs, uint32_t type, vf *restrict acc, const uint8_t *p, size_t stride,
                    const void *act, size_t n_rows, size_t first, size_t n, size_t k)
{
    const size_t bytes = lv_type_block_bytes(type);
    for (size_t i = 0; i < n * VG; i++) acc[i] = v_setf(0.0f);
    const uint8_t *tile = p;
    for (size_t b = 0; b < k / 32; b++, p += bytes) {
        vi w[VG][8];
        vf d[VG], m[VG];
        call_ahead(tile, stride, b, bytes);
        for (int g = 0; g < VG; g++) {
            load_block(type, w[g], &d[g], &m[g], p + (size_t)g * VN * stride, stride);
            to_pairs(pairs, w[g]);
        }
        vf *a = acc;
        for (size_t from = first; from < first + n; from += GROUP) {
            const group x = group_at(act, n_rows, k, 32, from);
            for (size_t at = b * x.n, end = at + x.n, here; at < end; at += here, a += here * VG) {
                here = step_rows(pairs, at, end);
                int32_t sum[2] = { 0 }, start[2];
                memcpy(sum, x.sum + at * 4, here * 4);
                for (int i = 0; i < 2; i++) start[i] = -code_offset(type) * sum[i];
                for (int g = 0; g < VG; g++) {
                    vi s[2];
                    dot_step(pairs, type, s, w[g], x.q + at * 32, 32, here, 0, 8, start);
                    for (size_t i = 0; i < here; i++) {
                        const vf dx = v_setf(x.d[at + i]);
                        vf *sum_g = &a[i * VG + (size_t)g];
                        *sum_g = v_fma(v_mulf(d[g], dx), v_cvt(s[i]), *sum_g);
                        if (has_min(type)) *sum_g = v_fma(v_mulf(m[g], dx), v_setf((float)sum[i]), *sum_g);
                    }
                }
            }
        }
    }
}

/* ---- blocks of 256 ---- */

typedef struct super_block {
    vi raw[48]; /* planes of code bits: first the lower, from raw[32] on the upper ones */
    vi sc[16];  /* scale of each 16 codes */
    vi pair[8]; /* minimum of each 16 codes, or scale times code offset: two 16-bit halves */
    vf d, dmin;
} super_block;

INLINE vi byte_of(vi v, int i, bool is_signed)
{
    return is_signed ? v_sar(v_shlv(v, 24 - 8 * i), 24) : v_and(v_shrv(v, 8 * i), v_set(255));
}

INLINE void load_chunks(vi *raw, const uint8_t *p, size_t stride, int n)
{
    for (int c = 0; c < n; c++) v_chunk(raw + 4 * c, p + 16 * c, stride);
}

/* Scales and minima of Q4_K and Q5_K: 8 of 6 bits each in 12 bytes. */
INLINE void load_scales_6(super_block *s, vi m[16], const vi head[4])
{
    const vi six = v_set(0x3f3f3f3f), four = v_set(0x0f0f0f0f), two = v_set(0x30303030);
    const vi sc[2] = { v_and(head[1], six), v_or(v_and(head[3], four), v_and(v_shr(head[1], 2), two)) };
    const vi mn[2] = { v_and(head[2], six),
                       v_or(v_and(v_shr(head[3], 4), four), v_and(v_shr(head[2], 2), two)) };
    for (int j = 0; j < 8; j++) {
        s->sc[2 * j] = s->sc[2 * j + 1] = byte_of(sc[j / 4], j % 4, false);
        m[2 * j] = m[2 * j + 1] = byte_of(mn[j / 4], j % 4, false);
    }
}

/* Scales of Q3_K: 8 bytes of low 4 bits, run 8, then 4 bytes of high 2 bits, run 4. */
INLINE void load_scales_q3(super_block *s, const vi t[4])
{
    vi low[2], high;
    low[0] = v_or(v_shr(t[0], 16), v_shl(t[1], 16)); /* the chunk starts 2 bytes before the scales */
    low[1] = v_or(v_shr(t[1], 16), v_shl(t[2], 16));
    high = v_or(v_shr(t[2], 16), v_shl(t[3], 16));
    for (int j = 0; j < 16; j++) {
        const vi lo = v_and(v_shrv(byte_of(low[j / 4 % 2], j % 4, false), 4 * (j / 8)), v_set(15));
        const vi hi = v_and(v_shrv(byte_of(high, j % 4, false), 2 * (j / 4)), v_set(3));
        s->sc[j] = v_sub(v_or(lo, v_shl(hi, 4)), v_set(32));
    }
}

INLINE void load_scales_xs(super_block *s, const vi head[4])
{
    for (int j = 0; j < 8; j++) {
        const vi lo = v_and(v_shrv(head[1], 4 * j), v_set(15)),
                 hi = v_and(v_shrv(head[0], 16 + 2 * j), v_set(3));
        s->sc[2 * j] = s->sc[2 * j + 1] = v_sub(v_or(lo, v_shl(hi, 4)), v_set(32));
    }
}

/* What was added to the codes, as 2^n; 0 for none. */
INLINE int offset_shift(uint32_t type)
{
    return type == LV_TYPE_Q3_K                         ? 2
           : type == LV_TYPE_Q6_K                       ? 5
           : type == LV_TYPE_IQ4_XS && WIDE_OFFSET != 0 ? 7
                                                        : 0;
}

INLINE void set_pairs(uint32_t type, super_block *s, const vi m[16])
{
    const vi half = v_set(0xffff);
    for (int j = 0; j < 8; j++) {
        vi a = m[2 * j], b = m[2 * j + 1];
        if (!has_min(type)) {
            a = v_shlv(s->sc[2 * j], offset_shift(type));
            b = v_shlv(s->sc[2 * j + 1], offset_shift(type));
        }
        s->pair[j] = v_or(v_and(a, half), v_shl(b, 16));
    }
}

/* One block of VN rows. */
INLINE void load_super(uint32_t type, super_block *s, const uint8_t *p, size_t stride)
{
    vi t[4], m[16];
    switch (type) {
    case LV_TYPE_Q4_K:
    case LV_TYPE_Q5_K:
        v_chunk(t, p, stride);
        s->d = v_f16(t[0]);
        s->dmin = v_f16(v_shr(t[0], 16));
        load_scales_6(s, m, t);
        load_chunks(s->raw, p + (type == LV_TYPE_Q4_K ? 16 : 48), stride, 8);
        if (type == LV_TYPE_Q5_K) load_chunks(s->raw + 32, p + 16, stride, 2);
        break;
    case LV_TYPE_Q2_K:
        v_chunk(t, p, stride);
        for (int j = 0; j < 16; j++) {
            const vi both = byte_of(t[j / 4], j % 4, false);
            s->sc[j] = v_and(both, v_set(15));
            m[j] = v_shr(both, 4);
        }
        load_chunks(s->raw, p + 16, stride, 4);
        v_chunk(t, p + 68, stride); /* the last 16 bytes */
        s->d = v_f16(t[3]);
        s->dmin = v_f16(v_shr(t[3], 16));
        break;
    case LV_TYPE_Q3_K:
        load_chunks(s->raw, p + 32, stride, 4);
        load_chunks(s->raw + 32, p, stride, 2);
        v_chunk(t, p + 94, stride);
        s->d = v_f16(v_shr(t[3], 16));
        load_scales_q3(s, t);
        break;
    case LV_TYPE_Q6_K:
        load_chunks(s->raw, p, stride, 12);
        v_chunk(t, p + 192, stride);
        for (int j = 0; j < 16; j++) s->sc[j] = byte_of(t[j / 4], j % 4, true);
        v_chunk(t, p + 194, stride);
        s->d = v_f16(v_shr(t[3], 16));
        break;
    default: /* IQ4_XS */
        v_chunk(t, p, stride);
        s->d = v_f16(t[0]);
        load_scales_xs(s, t);
        load_chunks(s->raw, p + 8, stride, 8);
    }
    set_pairs(type, s, m);
}

INLINE vi plane_bits(const vi *raw, int c, int shift, int32_t mask)
{
    return v_and(v_shrv(raw[c], shift), v_set(mask));
}

/* Codes 32 u .. 32 u + 31 (quant.h: planes and runs). */
INLINE void super_codes(uint32_t type, vi w[8], const super_block *s, int u)
{
    const vi *hi = s->raw + 32;
    for (int c = 0; c < 8; c++) switch (type) {
        case LV_TYPE_Q2_K: w[c] = plane_bits(s->raw, 8 * (u / 4) + c, 2 * (u % 4), 0x03030303); break;
        case LV_TYPE_Q3_K:
            w[c] = v_or(plane_bits(s->raw, 8 * (u / 4) + c, 2 * (u % 4), 0x03030303),
                        v_shl(plane_bits(hi, c, u, 0x01010101), 2));
            break;
        case LV_TYPE_Q5_K:
            w[c] = v_or(plane_bits(s->raw, 8 * (u / 2) + c, 4 * (u % 2), 0x0f0f0f0f),
                        v_shl(plane_bits(hi, c, u, 0x01010101), 4));
            break;
        case LV_TYPE_Q6_K:
            w[c] = v_or(plane_bits(s->raw, 16 * (u / 4) + 8 * (u % 2) + c, 4 * (u / 2 % 2), 0x0f0f0f0f),
                        v_shl(plane_bits(hi, 8 * (u / 4) + c, 2 * (u % 4), 0x03030303), 4));
            break;
        case LV_TYPE_IQ4_XS:
            w[c] = v_wide(v_lookup(lv_iq4_value, plane_bits(s->raw, 4 * u + c % 4, 4 * (c / 4), 0x0f0f0f0f)));
            break;
        default: w[c] = plane_bits(s->raw, 8 * (u / 2) + c, 4 * (u % 2), 0x0f0f0f0f); /* Q4_K */
        }
}

INLINE bool scales_per_16(uint32_t type)
{
    return type == LV_TYPE_Q2_K || type == LV_TYPE_Q3_K || type == LV_TYPE_Q6_K;
}

/* isum += the scaled sums of codes 32 u .. 32 u + 31. */
INLINE void add_sub_block(bool pairs, uint32_t type, vi *restrict isum, const super_block *s, int u,
                          const void *act, size_t n_rows, size_t first, size_t n, size_t k, size_t b)
{
    static const int32_t zero[2] = { 0 };
    vi w[VG][8];
    for (int g = 0; g < VG; g++) {
        super_codes(type, w[g], &s[g], u);
        to_pairs(pairs, w[g]);
    }
    for (size_t from = first; from < first + n; from += GROUP) {
        const group x = group_at(act, n_rows, k, 256, from);
        for (size_t at = b * x.n, end = at + x.n, here; at < end; at += here, isum += here * VG) {
            here = step_rows(pairs, at, end);
            const int8_t *q = x.q + at * 256 + 32 * u;
            for (int g = 0; g < VG; g++) {
                const int n_first = scales_per_16(type) ? 4 : 8;
                vi lo[2], hi[2];
                dot_step(pairs, type, lo, w[g], q, 256, here, 0, n_first, zero);
                if (scales_per_16(type)) dot_step(pairs, type, hi, w[g], q, 256, here, 4, 4, zero);
                for (size_t i = 0; i < here; i++) {
                    vi *sum = &isum[i * VG + (size_t)g];
                    *sum = v_add(*sum, v_mul(lo[i], s[g].sc[2 * u]));
                    if (scales_per_16(type)) *sum = v_add(*sum, v_mul(hi[i], s[g].sc[2 * u + 1]));
                }
            }
        }
    }
}

INLINE void tile_256(bool pairs, uint32_t type, vf *restrict acc, vi *restrict isum, super_block *s,
                     const uint8_t *p, size_t stride, const void *act, size_t n_rows, size_t first, size_t n,
                     size_t k)
{
    const size_t bytes = lv_type_block_bytes(type);
    for (size_t i = 0; i < n * VG; i++) acc[i] = v_setf(0.0f);
    const uint8_t *tile = p;
    for (size_t b = 0; b < k / 256; b++, p += bytes) {
        call_ahead(tile, stride, b, bytes);
        for (int g = 0; g < VG; g++) load_super(type, &s[g], p + (size_t)g * VN * stride, stride);
        for (size_t i = 0; i < n * VG; i++) isum[i] = v_set(0);
        for (int u = 0; u < 8; u++) add_sub_block(pairs, type, isum, s, u, act, n_rows, first, n, k, b);
        size_t i = 0;
        for (size_t from = first; from < first + n; from += GROUP) {
            const group x = group_at(act, n_rows, k, 256, from);
            for (size_t at = b * x.n; at < (b + 1) * x.n; at++) {
                const vf dx = v_setf(x.d[at]);
                for (int g = 0; g < VG; g++, i++) {
                    vi part = v_set(0);
                    for (int j = 0; j < 8 && (has_min(type) || offset_shift(type)); j++) {
                        int32_t sums;
                        memcpy(&sums, x.sum + at * 32 + (size_t)j * 4, 4);
                        part = v_dot2(part, s[g].pair[j], sums);
                    }
                    const vi whole = has_min(type) ? isum[i] : v_sub(isum[i], part);
                    acc[i] = v_fma(v_mulf(s[g].d, dx), v_cvt(whole), acc[i]);
                    if (has_min(type)) acc[i] = v_fma(v_negf(v_mulf(s[g].dmin, dx)), v_cvt(part), acc[i]);
                }
            }
        }
    }
}

/* ---- the whole product ---- */

typedef struct tile_scratch {
    vf acc[ROWS_MAX * VG];
    vi isum[ROWS_MAX * VG];
    super_block super[VG];
} tile_scratch;

static size_t NAME(tile_scratch_bytes)(size_t k)
{
    (void)k;
    return sizeof(tile_scratch);
}

INLINE void tile_some(uint32_t type, tile_scratch *s, const uint8_t *p, size_t stride, const void *act,
                      size_t n_rows, size_t first, size_t n, size_t k)
{
    const bool small = lv_type_block_len(type) == 32;
    if (PAIRS && n > 1 && small)
        tile_32(true, type, s->acc, p, stride, act, n_rows, first, n, k);
    else if (PAIRS && n > 1)
        tile_256(true, type, s->acc, s->isum, s->super, p, stride, act, n_rows, first, n, k);
    else if (small)
        tile_32(false, type, s->acc, p, stride, act, n_rows, first, n, k);
    else
        tile_256(false, type, s->acc, s->isum, s->super, p, stride, act, n_rows, first, n, k);
}

/* stride 0: every lane is the same weight row, and only one output is stored. */
INLINE void tile_rows(uint32_t type, float *y, size_t ldy, const uint8_t *p, size_t stride, const void *act,
                      size_t n_rows, size_t k, tile_scratch *s)
{
    for (size_t first = 0; first < n_rows; first += ROWS_MAX) {
        const size_t n = n_rows - first < ROWS_MAX ? n_rows - first : ROWS_MAX;
        tile_some(type, s, p, stride, act, n_rows, first, n, k);
        for (size_t t = 0; t < n; t++)
            for (size_t g = 0; g < VG && stride; g++)
                v_store(y + (first + t) * ldy + g * VN, s->acc[t * VG + g]);
        for (size_t t = 0; t < n && !stride; t++) y[(first + t) * ldy] = v_lane0(s->acc[t * VG]);
    }
}

INLINE void multiply(uint32_t type, float *y, size_t ldy, const uint8_t *w, size_t n_out, const void *act,
                     size_t n_rows, size_t k, void *scratch)
{
    const size_t stride = k / lv_type_block_len(type) * lv_type_block_bytes(type);
    for (size_t r = 0; r < n_out; r += TILE) {
        if (n_out < TILE) { /* few rows: one at a time */
            for (; r < n_out; r++) tile_rows(type, y + r, ldy, w + r * stride, 0, act, n_rows, k, scratch);
            return;
        }
        const size_t from = n_out - r < TILE ? n_out - TILE : r; /* the last tile may repeat some rows */
        tile_rows(type, y + from, ldy, w + from * stride, stride, act, n_rows, k, scratch);
    }
}

#define PRODUCTS(X)                                                                                          \
    X(q4_0, Q4_0)                                                                                            \
    X(q4_1, Q4_1)                                                                                            \
    X(q5_0, Q5_0)                                                                                            \
    X(q5_1, Q5_1) X(q8_0, Q8_0) X(iq4_nl, IQ4_NL) X(mxfp4, MXFP4) X(q2_k, Q2_K) X(q3_k, Q3_K) X(q4_k, Q4_K)  \
        X(q5_k, Q5_K) X(q6_k, Q6_K) X(iq4_xs, IQ4_XS)

#define X(name, id)                                                                                          \
    static void NAME(matmul_##name)(float *y, size_t ldy, const void *w, size_t n_out, const void *act,      \
                                    size_t n_rows, size_t k, void *scratch)                                  \
    {                                                                                                        \
        multiply(LV_TYPE_##id, y, ldy, w, n_out, act, n_rows, k, scratch);                                   \
    }
PRODUCTS(X)
#undef X

INLINE void add_tile_products(lv_kernels *t)
{
    t->act_bytes[LV_ACT_Q8] = NAME(act_bytes_q8);
    t->act_pack[LV_ACT_Q8] = NAME(act_pack_q8);
    t->act_bytes[LV_ACT_Q8K] = NAME(act_bytes_q8k);
    t->act_pack[LV_ACT_Q8K] = NAME(act_pack_q8k);
    t->matmul_scratch_bytes = NAME(tile_scratch_bytes);
#define X(name, id) t->matmul[LV_TYPE_##id] = NAME(matmul_##name);
    PRODUCTS(X)
#undef X
}
