/* F32, F16 and BF16 matrix products on AVX2 with FMA and F16C. SPDX-License-Identifier: MIT */
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "base/f16.h"
#include "kernel/kernel_isa.h"

#define INLINE static inline __attribute__((always_inline))

enum ftype { F32, F16, BF16 };

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

#define ENTRY(name, w)                                                                                       \
    static void name(float *y, size_t ldy, const void *weights, size_t n_out, const void *act,               \
                     size_t n_rows, size_t k, void *scratch)                                                 \
    {                                                                                                        \
        (void)scratch;                                                                                       \
        matmul_f(w, y, ldy, weights, n_out, act, n_rows, k);                                                 \
    }
ENTRY(matmul_f32, F32)
ENTRY(matmul_f16, F16)
ENTRY(matmul_bf16, BF16)

void lv_kernels_add_matmul__avx2(lv_kernels *k)
{
    k->act_bytes[LV_ACT_F32] = act_bytes_f32;
    k->act_pack[LV_ACT_F32] = act_pack_f32;
    k->matmul[LV_TYPE_F32] = matmul_f32;
    k->matmul[LV_TYPE_F16] = matmul_f16;
    k->matmul[LV_TYPE_BF16] = matmul_bf16;
    lv_kernels_add_matmul_q__avx2(k);
}
