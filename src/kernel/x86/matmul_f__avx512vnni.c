/* F32, F16 and BF16 matrix products on AVX-512: the 16 strided accumulators of the definition are the 16
 * lanes of a register. Four weight rows and up to four batch rows share their loads.
 * SPDX-License-Identifier: MIT */
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "kernel/kernel_isa.h"

#define INLINE static inline __attribute__((always_inline))

enum weight { F32, F16, BF16 };
enum { ROWS = 4 };

static size_t act_bytes(size_t n_rows, size_t k) { return n_rows * k * sizeof(float); }

static void act_pack(void *dst, const float *x, size_t ldx, size_t n_rows, size_t k, size_t row0, size_t row1)
{
    (void)n_rows;
    for (size_t t = row0; t < row1; t++) memcpy((float *)dst + t * k, x + t * ldx, k * sizeof *x);
}

INLINE size_t weight_bytes(enum weight w) { return w == F32 ? 4 : 2; }

INLINE __m512 load_weights(enum weight w, const uint8_t *p, __mmask16 m)
{
    if (w == F32) return _mm512_maskz_loadu_ps(m, p);
    const __m256i h = _mm256_maskz_loadu_epi16(m, p);
    if (w == F16) return _mm512_cvtph_ps(h);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

INLINE float tree16(__m512 v)
{
    const __m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    const __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}

/* nr weight rows times nx batch rows. Lanes past k keep their accumulators: adding a zero product would turn
 * a -0 into +0. */
INLINE void tile(enum weight w, size_t nr, size_t nx, float *y, size_t ldy, const uint8_t *weights,
                 const float *x, size_t k)
{
    const size_t wb = weight_bytes(w);
    __m512 acc[ROWS][ROWS];
    for (size_t r = 0; r < nr; r++)
        for (size_t t = 0; t < nx; t++) acc[r][t] = _mm512_setzero_ps();
    for (size_t i = 0; i < k; i += 16) {
        const __mmask16 m = k - i >= 16 ? (__mmask16)0xffff : (__mmask16)((1u << (k - i)) - 1);
        __m512 v[ROWS];
        for (size_t r = 0; r < nr; r++) v[r] = load_weights(w, weights + (r * k + i) * wb, m);
        for (size_t t = 0; t < nx; t++) {
            const __m512 xv = _mm512_maskz_loadu_ps(m, x + t * k + i);
            for (size_t r = 0; r < nr; r++) acc[r][t] = _mm512_mask3_fmadd_ps(v[r], xv, acc[r][t], m);
        }
    }
    for (size_t r = 0; r < nr; r++)
        for (size_t t = 0; t < nx; t++) y[t * ldy + r] = tree16(acc[r][t]);
}

INLINE void row_tiles(enum weight w, size_t nr, float *y, size_t ldy, const uint8_t *weights, const float *x,
                      size_t n_rows, size_t k)
{
    size_t t = 0;
    for (; t + ROWS <= n_rows; t += ROWS) tile(w, nr, ROWS, y + t * ldy, ldy, weights, x + t * k, k);
    for (; t < n_rows; t++) tile(w, nr, 1, y + t * ldy, ldy, weights, x + t * k, k);
}

INLINE void matmul(enum weight w, float *y, size_t ldy, const uint8_t *weights, size_t n_out, const float *x,
                   size_t n_rows, size_t k)
{
    const size_t row_bytes = k * weight_bytes(w);
    size_t r = 0;
    for (; r + ROWS <= n_out; r += ROWS)
        row_tiles(w, ROWS, y + r, ldy, weights + r * row_bytes, x, n_rows, k);
    for (; r < n_out; r++) row_tiles(w, 1, y + r, ldy, weights + r * row_bytes, x, n_rows, k);
}

#define ENTRY(name, w)                                                                                       \
    static void name(float *y, size_t ldy, const void *weights, size_t n_out, const void *act,               \
                     size_t n_rows, size_t k, void *scratch)                                                 \
    {                                                                                                        \
        (void)scratch;                                                                                       \
        matmul(w, y, ldy, weights, n_out, act, n_rows, k);                                                   \
    }
ENTRY(matmul_f32, F32)
ENTRY(matmul_f16, F16)
ENTRY(matmul_bf16, BF16)

void lv_kernels_add_matmul__avx512vnni(lv_kernels *k)
{
    k->act_bytes[LV_ACT_F32] = act_bytes;
    k->act_pack[LV_ACT_F32] = act_pack;
    k->matmul[LV_TYPE_F32] = matmul_f32;
    k->matmul[LV_TYPE_F16] = matmul_f16;
    k->matmul[LV_TYPE_BF16] = matmul_bf16;
    lv_kernels_add_matmul_q__avx512vnni(k);
}
