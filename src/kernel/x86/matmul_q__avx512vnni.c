/* Quantised matrix products on AVX-512 with VNNI. Weights become u8 (w + 128, or the nibble), activations
 * stay s8, so that a block's sum is sum(u x) - offset * sum(x) and only the activations' sums are needed,
 * which are made once when the batch is packed. Every sum is exact: |sum(u x)| <= 255 * 127 * 32 < 2^21.
 *
 * Two layouts of a packed batch:
 *   few rows   (n_rows <= FEW)  row-major; lanes are 16 weight rows: weights pass once, at memory speed
 *   many rows                   groups of 16 rows; lanes are the rows of a group, weights are broadcast:
 *                               a tile of 8 weight rows is unpacked once and used by every group
 * SPDX-License-Identifier: MIT */
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "base/f16.h"
#include "kernel/kernel_isa.h"

#define INLINE static inline __attribute__((always_inline))

enum { FEW = 8, TILE = 8, LANES = 16 };
enum weight { Q8, Q4 };

/* ---- packing ---- */

/* Scale and 32 values of one block, quantised as kernel.h defines; in q as bytes. Returns sum of q. */
INLINE int32_t pack_block(const float *x, int8_t *q, float *d)
{
    const __m512 x0 = _mm512_loadu_ps(x), x1 = _mm512_loadu_ps(x + 16);
    const __m512i abs = _mm512_set1_epi32(0x7fffffff);
    const __m512i a = _mm512_max_epu32(_mm512_and_si512(_mm512_castps_si512(x0), abs),
                                       _mm512_and_si512(_mm512_castps_si512(x1), abs));
    const uint32_t bits = _mm512_reduce_max_epu32(a);
    const float amax = lv_f32_from_bits(bits);
    if (bits >= 0x7f800000u || amax < 0x1p-100f) {
        *d = bits >= 0x7f800000u ? lv_f32_from_bits(0x7fc00000u) : 0.0f;
        memset(q, 0, 32);
        return 0;
    }
    *d = amax / 127.0f;
    const __m512 id = _mm512_set1_ps(127.0f / amax), top = _mm512_set1_ps(127.0f),
                 low = _mm512_set1_ps(-127.0f);
    const __m512i q0 = _mm512_cvtps_epi32(_mm512_max_ps(_mm512_min_ps(_mm512_mul_ps(x0, id), top), low));
    const __m512i q1 = _mm512_cvtps_epi32(_mm512_max_ps(_mm512_min_ps(_mm512_mul_ps(x1, id), top), low));
    _mm_storeu_si128((void *)q, _mm512_cvtepi32_epi8(q0));
    _mm_storeu_si128((void *)(q + 16), _mm512_cvtepi32_epi8(q1));
    return _mm512_reduce_add_epi32(_mm512_add_epi32(q0, q1));
}

/* Few rows: q [n_rows][k], then d [n_rows][nb] and sums [n_rows][nb].
 * Many rows: per group q [nb][8][16][4], then d [nb][16] and sums [nb][16]. */
static size_t act_bytes(size_t n_rows, size_t k)
{
    const size_t rows = n_rows <= FEW ? n_rows : (n_rows + LANES - 1) / LANES * LANES;
    return rows * (k + k / 32 * 8);
}

static void pack_few(uint8_t *dst, const float *x, size_t ldx, size_t n_rows, size_t k, size_t row0,
                     size_t row1)
{
    const size_t nb = k / 32;
    int8_t *q = (int8_t *)dst;
    float *d = (float *)(dst + n_rows * k);
    int32_t *sum = (int32_t *)(d + n_rows * nb);
    for (size_t t = row0; t < row1; t++)
        for (size_t b = 0; b < nb; b++)
            sum[t * nb + b] = pack_block(x + t * ldx + b * 32, q + t * k + b * 32, &d[t * nb + b]);
}

static void pack_group(uint8_t *dst, const float *x, size_t ldx, size_t n, size_t k)
{
    const size_t nb = k / 32;
    float *d = (float *)(dst + LANES * k);
    int32_t *sum = (int32_t *)(d + LANES * nb);
    for (size_t b = 0; b < nb; b++)
        for (size_t l = 0; l < LANES; l++) {
            int8_t q[32] = { 0 };
            float scale = 0;
            sum[b * LANES + l] = l < n ? pack_block(x + l * ldx + b * 32, q, &scale) : 0;
            d[b * LANES + l] = scale;
            for (size_t i = 0; i < 8; i++) memcpy(dst + b * 512 + i * 64 + l * 4, q + i * 4, 4);
        }
}

static void act_pack(void *dst, const float *x, size_t ldx, size_t n_rows, size_t k, size_t row0, size_t row1)
{
    if (n_rows <= FEW) {
        pack_few(dst, x, ldx, n_rows, k, row0, row1);
        return;
    }
    for (size_t t = row0; t < row1; t += LANES)
        pack_group((uint8_t *)dst + t / LANES * (LANES * (k + k / 32 * 8)), x + t * ldx, ldx,
                   row1 - t < LANES ? row1 - t : LANES, k);
}

/* ---- few rows: lanes are weight rows ---- */

INLINE size_t block_bytes(enum weight w) { return w == Q8 ? sizeof(lv_block_q8_0) : sizeof(lv_block_q4_0); }

/* One block of two rows as 64 unsigned bytes: [a | b]. */
INLINE __m512i load_pair(enum weight w, const uint8_t *a, const uint8_t *b)
{
    if (w == Q8) {
        const __m512i v =
            _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256((const void *)(a + 2))),
                               _mm256_loadu_si256((const void *)(b + 2)), 1);
        return _mm512_xor_si512(v, _mm512_set1_epi8((char)0x80));
    }
    const __m256i two =
        _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const void *)(a + 2))),
                                _mm_loadu_si128((const void *)(b + 2)), 1);
    const __m512i four =
        _mm512_permutexvar_epi64(_mm512_set_epi64(3, 2, 3, 2, 1, 0, 1, 0), _mm512_castsi256_si512(two));
    const __m512i shift = _mm512_set_epi64(0x0004000400040004, 0x0004000400040004, 0, 0, 0x0004000400040004,
                                           0x0004000400040004, 0, 0);
    return _mm512_and_si512(_mm512_srlv_epi16(four, shift), _mm512_set1_epi8(15));
}

/* Sums of eight vectors' halves: p[j] holds the partial sums of row j (low half) and row j + 8 (high half);
 * the result has row r in lane r. */
INLINE __m512i reduce16(const __m512i p[8])
{
    __m512i s[4], u[2];
    for (int j = 0; j < 4; j++) /* pairs (0,1) (2,3) (4,5) (6,7) */
        s[j] = _mm512_add_epi32(_mm512_unpacklo_epi32(p[2 * j], p[2 * j + 1]),
                                _mm512_unpackhi_epi32(p[2 * j], p[2 * j + 1]));
    for (int j = 0; j < 2; j++) /* each 128-bit lane: rows 4j .. 4j+3 */
        u[j] = _mm512_add_epi32(_mm512_unpacklo_epi64(s[2 * j], s[2 * j + 1]),
                                _mm512_unpackhi_epi64(s[2 * j], s[2 * j + 1]));
    /* u[j] = [lo a, lo b | hi a, hi b]: a + b of rows 4j..4j+3 and of rows 8+4j.. */
    const __m512i even = _mm512_shuffle_i32x4(u[0], u[1], 0x88); /* lanes 0, 2 of each */
    const __m512i odd = _mm512_shuffle_i32x4(u[0], u[1], 0xdd);  /* lanes 1, 3 of each */
    const __m512i sum = _mm512_add_epi32(even, odd);             /* rows 0-3, 8-11, 4-7, 12-15 */
    return _mm512_shuffle_i32x4(sum, sum, 0xd8);
}

/* Scales of 16 rows, [nb][16] f32, gathered once per tile. */
INLINE void gather_scales(float *dw, const uint8_t *w, size_t row_bytes, size_t nb, size_t bytes, size_t n)
{
    for (size_t b = 0; b < nb; b++) {
        uint16_t h[16] = { 0 };
        for (size_t r = 0; r < n; r++) memcpy(&h[r], w + r * row_bytes + b * bytes, 2);
        _mm512_store_ps(dw + b * 16, _mm512_cvtph_ps(_mm256_loadu_si256((const void *)h)));
    }
}

INLINE void few_tile(enum weight w, size_t nx, float *y, size_t ldy, const uint8_t *const row[16],
                     const float *dw, const int8_t *q, const float *d, const int32_t *sum, size_t k,
                     __mmask16 mask)
{
    const size_t nb = k / 32, bytes = block_bytes(w);
    const int offset = w == Q8 ? 128 : 8;
    __m512 acc[4];
    for (size_t t = 0; t < nx; t++) acc[t] = _mm512_setzero_ps();
    for (size_t b = 0; b < nb; b++) {
        __m512i v[8];
        for (int j = 0; j < 8; j++) {
            v[j] = load_pair(w, row[j] + b * bytes, row[j + 8] + b * bytes);
            _mm_prefetch((const char *)row[j] + b * bytes + 1024, _MM_HINT_T0);
            _mm_prefetch((const char *)row[j + 8] + b * bytes + 1024, _MM_HINT_T0);
        }
        const __m512 scale = _mm512_load_ps(dw + b * 16);
        for (size_t t = 0; t < nx; t++) {
            const __m512i x = _mm512_broadcast_i64x4(_mm256_loadu_si256((const void *)(q + t * k + b * 32)));
            __m512i p[8];
            for (int j = 0; j < 8; j++) p[j] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), v[j], x);
            const __m512i isum = _mm512_sub_epi32(reduce16(p), _mm512_set1_epi32(offset * sum[t * nb + b]));
            acc[t] = _mm512_fmadd_ps(_mm512_mul_ps(scale, _mm512_set1_ps(d[t * nb + b])),
                                     _mm512_cvtepi32_ps(isum), acc[t]);
        }
    }
    for (size_t t = 0; t < nx; t++) _mm512_mask_storeu_ps(y + t * ldy, mask, acc[t]);
}

INLINE void matmul_few(enum weight w, float *y, size_t ldy, const uint8_t *weights, size_t n_out,
                       const uint8_t *act, size_t n_rows, size_t k, float *dw)
{
    const size_t nb = k / 32, bytes = block_bytes(w), row_bytes = nb * bytes;
    const int8_t *q = (const int8_t *)act;
    const float *d = (const float *)(act + n_rows * k);
    const int32_t *sum = (const int32_t *)(d + n_rows * nb);
    for (size_t r = 0; r < n_out; r += 16) {
        const size_t n = n_out - r < 16 ? n_out - r : 16;
        const uint8_t *row[16];
        for (size_t i = 0; i < 16; i++) row[i] = weights + (r + (i < n ? i : 0)) * row_bytes;
        gather_scales(dw, weights + r * row_bytes, row_bytes, nb, bytes, n);
        const __mmask16 mask = (__mmask16)((1u << n) - 1);
        for (size_t t = 0; t < n_rows;) {
            const size_t left = n_rows - t;
            float *out = y + t * ldy + r;
            const int8_t *qt = q + t * k;
            const float *dt = d + t * nb;
            const int32_t *st = sum + t * nb;
            if (left >= 4) few_tile(w, 4, out, ldy, row, dw, qt, dt, st, k, mask), t += 4;
            else if (left == 3) few_tile(w, 3, out, ldy, row, dw, qt, dt, st, k, mask), t += 3;
            else if (left == 2) few_tile(w, 2, out, ldy, row, dw, qt, dt, st, k, mask), t += 2;
            else few_tile(w, 1, out, ldy, row, dw, qt, dt, st, k, mask), t += 1;
        }
    }
}

/* ---- many rows: lanes are rows of the batch ---- */

/* Unpack n rows into u [nb][TILE][32] and their scales into dw [nb][TILE]; missing rows are zero. */
INLINE void unpack_tile(enum weight w, uint8_t *u, float *dw, const uint8_t *weights, size_t row_bytes,
                        size_t nb, size_t n)
{
    const size_t bytes = block_bytes(w);
    for (size_t r = 0; r < TILE; r++)
        for (size_t b = 0; b < nb; b++) {
            const uint8_t *p = weights + (r < n ? r : 0) * row_bytes + b * bytes;
            uint16_t h;
            memcpy(&h, p, 2);
            dw[b * TILE + r] = _cvtsh_ss(h);
            __m256i v;
            if (w == Q8) {
                v = _mm256_xor_si256(_mm256_loadu_si256((const void *)(p + 2)), _mm256_set1_epi8((char)0x80));
            } else {
                const __m128i x = _mm_loadu_si128((const void *)(p + 2));
                v = _mm256_inserti128_si256(_mm256_castsi128_si256(x), _mm_srli_epi16(x, 4), 1);
                v = _mm256_and_si256(v, _mm256_set1_epi8(15));
            }
            _mm256_store_si256((void *)(u + (b * TILE + r) * 32), v);
        }
}

/* Rows of v are weight rows, lanes are batch rows: store v transposed, [lane][row], as far as both exist. */
INLINE void store_transposed(float *y, size_t ldy, const __m512 v[TILE], size_t n_lanes, size_t n)
{
    float buf[TILE][LANES] __attribute__((aligned(64)));
    for (int r = 0; r < TILE; r++) _mm512_store_ps(buf[r], v[r]);
    const __m256i index =
        _mm256_setr_epi32(0, LANES, 2 * LANES, 3 * LANES, 4 * LANES, 5 * LANES, 6 * LANES, 7 * LANES);
    const __mmask8 mask = (__mmask8)((1u << n) - 1);
    for (size_t t = 0; t < n_lanes; t++)
        _mm256_mask_storeu_ps(y + t * ldy, mask, _mm256_i32gather_ps(&buf[0][t], index, 4));
}

INLINE void many_tile(enum weight w, float *y, size_t ldy, const uint8_t *u, const float *dw,
                      const uint8_t *group, size_t k, size_t n_lanes, size_t n)
{
    const size_t nb = k / 32;
    const float *d = (const float *)(group + LANES * k);
    const int32_t *sum = (const int32_t *)(d + LANES * nb);
    __m512 acc[TILE];
    for (int r = 0; r < TILE; r++) acc[r] = _mm512_setzero_ps();
    for (size_t b = 0; b < nb; b++) {
        const __m512i s = _mm512_load_si512(sum + b * LANES);
        const __m512i start = _mm512_sub_epi32(_mm512_setzero_si512(),
                                               w == Q8 ? _mm512_slli_epi32(s, 7) : _mm512_slli_epi32(s, 3));
        __m512i isum[TILE];
        for (int r = 0; r < TILE; r++) isum[r] = start;
        for (int i = 0; i < 8; i++) {
            const __m512i x = _mm512_load_si512(group + b * 512 + (size_t)i * 64);
            for (int r = 0; r < TILE; r++) {
                int32_t four;
                memcpy(&four, u + (b * TILE + (size_t)r) * 32 + i * 4, 4);
                isum[r] = _mm512_dpbusd_epi32(isum[r], _mm512_set1_epi32(four), x);
            }
        }
        const __m512 scale = _mm512_load_ps(d + b * LANES);
        for (int r = 0; r < TILE; r++)
            acc[r] = _mm512_fmadd_ps(_mm512_mul_ps(_mm512_set1_ps(dw[b * TILE + (size_t)r]), scale),
                                     _mm512_cvtepi32_ps(isum[r]), acc[r]);
    }
    store_transposed(y, ldy, acc, n_lanes, n);
}

INLINE void matmul_many(enum weight w, float *y, size_t ldy, const uint8_t *weights, size_t n_out,
                        const uint8_t *act, size_t n_rows, size_t k, uint8_t *scratch)
{
    const size_t nb = k / 32, row_bytes = nb * block_bytes(w), group_bytes = LANES * (k + nb * 8);
    float *dw = (float *)(scratch + TILE * k);
    for (size_t r = 0; r < n_out; r += TILE) {
        const size_t n = n_out - r < TILE ? n_out - r : TILE;
        unpack_tile(w, scratch, dw, weights + r * row_bytes, row_bytes, nb, n);
        for (size_t t = 0; t < n_rows; t += LANES)
            many_tile(w, y + t * ldy + r, ldy, scratch, dw, act + t / LANES * group_bytes, k,
                      n_rows - t < LANES ? n_rows - t : LANES, n);
    }
}

/* ---- entry points ---- */

static void matmul_q8_0(float *y, size_t ldy, const void *w, size_t n_out, const void *act, size_t n_rows,
                        size_t k, void *scratch)
{
    if (n_rows <= FEW) matmul_few(Q8, y, ldy, w, n_out, act, n_rows, k, scratch);
    else matmul_many(Q8, y, ldy, w, n_out, act, n_rows, k, scratch);
}

static void matmul_q4_0(float *y, size_t ldy, const void *w, size_t n_out, const void *act, size_t n_rows,
                        size_t k, void *scratch)
{
    if (n_rows <= FEW) matmul_few(Q4, y, ldy, w, n_out, act, n_rows, k, scratch);
    else matmul_many(Q4, y, ldy, w, n_out, act, n_rows, k, scratch);
}

/* Tile bytes and scales; scales of 16 rows in the other regime. */
static size_t scratch_bytes(size_t k) { return TILE * k + k / 32 * 16 * sizeof(float) + 64; }

void lv_kernels_add_matmul_q__avx512vnni(lv_kernels *k)
{
    k->act_bytes[LV_ACT_Q8] = act_bytes;
    k->act_pack[LV_ACT_Q8] = act_pack;
    k->matmul_scratch_bytes = scratch_bytes;
    k->matmul[LV_TYPE_Q8_0] = matmul_q8_0;
    k->matmul[LV_TYPE_Q4_0] = matmul_q4_0;
}
