/* Matrix products on AVX2 with FMA and F16C. Quantised types: eight weight rows are the lanes; activations
 * are packed as int16, weights widened to int16, because the byte product instruction needs an unsigned
 * operand and saturates, and -128, which GGUF allows, has no positive twin for the usual sign trick.
 * SPDX-License-Identifier: MIT */
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "base/f16.h"
#include "kernel/kernel_isa.h"

#define INLINE static inline __attribute__((always_inline))

enum qtype { Q8, Q4 };
enum ftype { F32, F16, BF16 };

/* ---- packing: q [n_rows][k] int16, then d [n_rows][nb] ---- */

static size_t act_bytes_q8(size_t n_rows, size_t k) { return n_rows * (k * 2 + k / 32 * 4); }

INLINE __m256i max_abs(__m256i a, const float *x)
{
    const __m256i v =
        _mm256_and_si256(_mm256_castps_si256(_mm256_loadu_ps(x)), _mm256_set1_epi32(0x7fffffff));
    return _mm256_max_epu32(a, v);
}

INLINE float pack_block(const float *x, int16_t *q)
{
    __m256i a = _mm256_setzero_si256();
    for (int i = 0; i < 32; i += 8) a = max_abs(a, x + i);
    __m128i m = _mm_max_epu32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0x4e));
    m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0xb1));
    const uint32_t bits = (uint32_t)_mm_cvtsi128_si32(m);
    const float amax = lv_f32_from_bits(bits);
    if (bits >= 0x7f800000u || amax < 0x1p-100f) {
        memset(q, 0, 64);
        return bits >= 0x7f800000u ? lv_f32_from_bits(0x7fc00000u) : 0.0f;
    }
    const __m256 id = _mm256_set1_ps(127.0f / amax), top = _mm256_set1_ps(127.0f),
                 low = _mm256_set1_ps(-127.0f);
    for (int i = 0; i < 32; i += 16) {
        const __m256 v0 = _mm256_mul_ps(_mm256_loadu_ps(x + i), id),
                     v1 = _mm256_mul_ps(_mm256_loadu_ps(x + i + 8), id);
        const __m256i q0 = _mm256_cvtps_epi32(_mm256_max_ps(_mm256_min_ps(v0, top), low));
        const __m256i q1 = _mm256_cvtps_epi32(_mm256_max_ps(_mm256_min_ps(v1, top), low));
        const __m256i h = _mm256_permute4x64_epi64(_mm256_packs_epi32(q0, q1), 0xd8);
        _mm256_storeu_si256((void *)(q + i), h);
    }
    return amax / 127.0f;
}

static void act_pack_q8(void *dst, const float *x, size_t ldx, size_t n_rows, size_t k, size_t row0,
                        size_t row1)
{
    const size_t nb = k / 32;
    int16_t *q = dst;
    float *d = (float *)(q + n_rows * k);
    for (size_t t = row0; t < row1; t++)
        for (size_t b = 0; b < nb; b++) d[t * nb + b] = pack_block(x + t * ldx + b * 32, q + t * k + b * 32);
}

/* ---- quantised products ---- */

INLINE size_t block_bytes(enum qtype w) { return w == Q8 ? sizeof(lv_block_q8_0) : sizeof(lv_block_q4_0); }

/* Weights of one block as two vectors of int16. */
INLINE void load_block(enum qtype w, const uint8_t *p, __m256i v[2])
{
    if (w == Q8) {
        v[0] = _mm256_cvtepi8_epi16(_mm_loadu_si128((const void *)(p + 2)));
        v[1] = _mm256_cvtepi8_epi16(_mm_loadu_si128((const void *)(p + 18)));
        return;
    }
    const __m128i x = _mm_loadu_si128((const void *)(p + 2)), m = _mm_set1_epi8(15);
    const __m256i eight = _mm256_set1_epi16(8);
    v[0] = _mm256_sub_epi16(_mm256_cvtepu8_epi16(_mm_and_si128(x, m)), eight);
    v[1] = _mm256_sub_epi16(_mm256_cvtepu8_epi16(_mm_and_si128(_mm_srli_epi16(x, 4), m)), eight);
}

/* Lane r of the result = sum over the lanes of p[r]. */
INLINE __m256i reduce8(const __m256i p[8])
{
    const __m256i a = _mm256_hadd_epi32(p[0], p[1]), b = _mm256_hadd_epi32(p[2], p[3]);
    const __m256i c = _mm256_hadd_epi32(p[4], p[5]), d = _mm256_hadd_epi32(p[6], p[7]);
    const __m256i e = _mm256_hadd_epi32(a, b),
                  f = _mm256_hadd_epi32(c, d); /* [r0-3 low | r0-3 high], [r4-7 ..] */
    return _mm256_add_epi32(_mm256_permute2x128_si256(e, f, 0x20), _mm256_permute2x128_si256(e, f, 0x31));
}

INLINE __m256 load_scales(const uint8_t *const row[8], size_t at)
{
    uint16_t h[8];
    for (int r = 0; r < 8; r++) memcpy(&h[r], row[r] + at, 2);
    return _mm256_cvtph_ps(_mm_loadu_si128((const void *)h));
}

/* Eight weight rows times nx batch rows. */
INLINE void tile_q(enum qtype w, size_t nx, float out[][8], const uint8_t *const row[8], const int16_t *q,
                   const float *d, size_t k)
{
    const size_t nb = k / 32, bytes = block_bytes(w);
    __m256 acc[2];
    for (size_t t = 0; t < nx; t++) acc[t] = _mm256_setzero_ps();
    for (size_t b = 0; b < nb; b++) {
        __m256i p[2][8];
        for (int r = 0; r < 8; r++) {
            __m256i v[2];
            load_block(w, row[r] + b * bytes, v);
            for (size_t t = 0; t < nx; t++) {
                const __m256i x0 = _mm256_loadu_si256((const void *)(q + t * k + b * 32));
                const __m256i x1 = _mm256_loadu_si256((const void *)(q + t * k + b * 32 + 16));
                p[t][r] = _mm256_add_epi32(_mm256_madd_epi16(v[0], x0), _mm256_madd_epi16(v[1], x1));
            }
        }
        const __m256 scale = load_scales(row, b * bytes);
        for (size_t t = 0; t < nx; t++)
            acc[t] = _mm256_fmadd_ps(_mm256_mul_ps(scale, _mm256_set1_ps(d[t * nb + b])),
                                     _mm256_cvtepi32_ps(reduce8(p[t])), acc[t]);
    }
    for (size_t t = 0; t < nx; t++) _mm256_storeu_ps(out[t], acc[t]);
}

INLINE void matmul_q(enum qtype w, float *y, size_t ldy, const uint8_t *weights, size_t n_out,
                     const void *act, size_t n_rows, size_t k)
{
    const size_t nb = k / 32, row_bytes = nb * block_bytes(w);
    const int16_t *q = act;
    const float *d = (const float *)(q + n_rows * k);
    for (size_t r = 0; r < n_out; r += 8) {
        const size_t n = n_out - r < 8 ? n_out - r : 8;
        const uint8_t *row[8];
        for (size_t i = 0; i < 8; i++) row[i] = weights + (r + (i < n ? i : 0)) * row_bytes;
        for (size_t t = 0; t < n_rows; t += 2) {
            const size_t nx = n_rows - t < 2 ? 1 : 2;
            float out[2][8];
            if (nx == 2) tile_q(w, 2, out, row, q + t * k, d + t * nb, k);
            else tile_q(w, 1, out, row, q + t * k, d + t * nb, k);
            for (size_t j = 0; j < nx; j++) memcpy(y + (t + j) * ldy + r, out[j], n * sizeof(float));
        }
    }
}

/* ---- float products: 16 accumulators in two registers ---- */

static size_t act_bytes_f32(size_t n_rows, size_t k) { return n_rows * k * sizeof(float); }

static void act_pack_f32(void *dst, const float *x, size_t ldx, size_t n_rows, size_t k, size_t row0,
                         size_t row1)
{
    (void)n_rows;
    for (size_t t = row0; t < row1; t++) memcpy((float *)dst + t * k, x + t * ldx, k * sizeof *x);
}

INLINE __m256 load_f(enum ftype w, const uint8_t *p)
{
    if (w == F32) return _mm256_loadu_ps((const float *)(const void *)p);
    const __m128i h = _mm_loadu_si128((const void *)p);
    if (w == F16) return _mm256_cvtph_ps(h);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}

INLINE float scalar_f(enum ftype w, const uint8_t *p)
{
    float f;
    uint16_t h;
    if (w == F32) return memcpy(&f, p, 4), f;
    memcpy(&h, p, 2);
    return w == F16 ? _cvtsh_ss(h) : lv_bf16_to_f32(h);
}

INLINE float dot16(enum ftype w, const uint8_t *p, const float *x, size_t k)
{
    const size_t wb = w == F32 ? 4 : 2;
    __m256 a0 = _mm256_setzero_ps(), a1 = a0;
    size_t i = 0;
    for (; i + 16 <= k; i += 16) {
        a0 = _mm256_fmadd_ps(load_f(w, p + i * wb), _mm256_loadu_ps(x + i), a0);
        a1 = _mm256_fmadd_ps(load_f(w, p + (i + 8) * wb), _mm256_loadu_ps(x + i + 8), a1);
    }
    if (i < k) {
        float acc[16];
        _mm256_storeu_ps(acc, a0);
        _mm256_storeu_ps(acc + 8, a1);
        for (size_t l = 0; i < k; i++, l++) acc[l] = __builtin_fmaf(scalar_f(w, p + i * wb), x[i], acc[l]);
        a0 = _mm256_loadu_ps(acc);
        a1 = _mm256_loadu_ps(acc + 8);
    }
    const __m256 a = _mm256_add_ps(a0, a1);
    const __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}

INLINE void matmul_f(enum ftype w, float *y, size_t ldy, const uint8_t *weights, size_t n_out, const float *x,
                     size_t n_rows, size_t k)
{
    const size_t row_bytes = k * (w == F32 ? 4 : 2);
    for (size_t r = 0; r < n_out; r++)
        for (size_t t = 0; t < n_rows; t++) y[t * ldy + r] = dot16(w, weights + r * row_bytes, x + t * k, k);
}

#define ENTRY(name, fn, w)                                                                                   \
    static void name(float *y, size_t ldy, const void *weights, size_t n_out, const void *act,               \
                     size_t n_rows, size_t k, void *scratch)                                                 \
    {                                                                                                        \
        (void)scratch;                                                                                       \
        fn(w, y, ldy, weights, n_out, act, n_rows, k);                                                       \
    }
ENTRY(matmul_q8_0, matmul_q, Q8)
ENTRY(matmul_q4_0, matmul_q, Q4)
ENTRY(matmul_f32, matmul_f, F32)
ENTRY(matmul_f16, matmul_f, F16)
ENTRY(matmul_bf16, matmul_f, BF16)

void lv_kernels_add_matmul__avx2(lv_kernels *k)
{
    k->act_bytes[LV_ACT_F32] = act_bytes_f32;
    k->act_pack[LV_ACT_F32] = act_pack_f32;
    k->act_bytes[LV_ACT_Q8] = act_bytes_q8;
    k->act_pack[LV_ACT_Q8] = act_pack_q8;
    k->matmul[LV_TYPE_F32] = matmul_f32;
    k->matmul[LV_TYPE_F16] = matmul_f16;
    k->matmul[LV_TYPE_BF16] = matmul_bf16;
    k->matmul[LV_TYPE_Q8_0] = matmul_q8_0;
    k->matmul[LV_TYPE_Q4_0] = matmul_q4_0;
}
