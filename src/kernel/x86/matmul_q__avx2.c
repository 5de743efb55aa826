/* Quantised matrix products on AVX2: 8 lanes. The byte product wants one unsigned operand and adds pairs in
 * 16 bits: codes up to 127 fit as they are; signed ones give their sign to the activation, which is never
 * -128, and stay as magnitudes of at most 128. SPDX-License-Identifier: MIT */
#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/f16.h"
#include "kernel/kernel_isa.h"

#define INLINE   static inline __attribute__((always_inline))
#define NAME(fn) fn##__avx2

typedef __m256i vi;
typedef __m256 vf;
typedef __m256i vacc;
enum { VN = 8, VG = 1, WIDE_OFFSET = 0 };

#define v_set(n)       _mm256_set1_epi32(n)
#define v_setf(x)      _mm256_set1_ps(x)
#define v_and(a, b)    _mm256_and_si256(a, b)
#define v_or(a, b)     _mm256_or_si256(a, b)
#define v_add(a, b)    _mm256_add_epi32(a, b)
#define v_sub(a, b)    _mm256_sub_epi32(a, b)
#define v_mul(a, b)    _mm256_mullo_epi32(a, b)
#define v_shl(a, n)    _mm256_slli_epi32(a, n)
#define v_shr(a, n)    _mm256_srli_epi32(a, n)
#define v_sar(a, n)    _mm256_srai_epi32(a, n)
#define v_shlv(a, n)   _mm256_sll_epi32(a, _mm_cvtsi32_si128(n))
#define v_shrv(a, n)   _mm256_srl_epi32(a, _mm_cvtsi32_si128(n))
#define v_asf(a)       _mm256_castsi256_ps(a)
#define v_cvt(a)       _mm256_cvtepi32_ps(a)
#define v_mulf(a, b)   _mm256_mul_ps(a, b)
#define v_negf(a)      _mm256_xor_ps(a, _mm256_set1_ps(-0.0f))
#define v_fma(a, b, c) _mm256_fmadd_ps(a, b, c)
#define v_store(p, a)  _mm256_storeu_ps(p, a)
#define v_lane0(a)     _mm256_cvtss_f32(a)
#define v_acc(start)   _mm256_set1_epi32(start)
#define v_sum(acc)     (acc)
#define v_wide(a)      (a)

INLINE vi broadcast4(const int8_t *x)
{
    int32_t four;
    memcpy(&four, x, 4);
    return _mm256_set1_epi32(four);
}

INLINE vi add_pairs(vi acc, vi pairs)
{
    return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

INLINE vi v_dot(vi acc, vi w, const int8_t *x)
{
    return add_pairs(acc, _mm256_maddubs_epi16(w, broadcast4(x)));
}

INLINE vi v_dotw(vi acc, vi w, const int8_t *x)
{
    return add_pairs(acc, _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(broadcast4(x), w)));
}

INLINE vi v_dot2(vi acc, vi w, int32_t n)
{
    return _mm256_add_epi32(acc, _mm256_madd_epi16(w, _mm256_set1_epi32(n)));
}

INLINE vf v_f16(vi a)
{
    const vi low = _mm256_and_si256(a, _mm256_set1_epi32(0xffff));
    return _mm256_cvtph_ps(_mm_packus_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1)));
}

INLINE vi v_lookup(const int8_t table[16], vi a)
{
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)table)), a);
}

/* 16 bytes of rows j and 4 + j. */
INLINE vi rows_of(const uint8_t *p, size_t stride, size_t j)
{
    const uint8_t *q = p + j * stride;
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const void *)q)),
                                   _mm_loadu_si128((const void *)(q + 4 * stride)), 1);
}

INLINE void v_chunk(vi t[4], const uint8_t *p, size_t stride)
{
    const vi a = rows_of(p, stride, 0), b = rows_of(p, stride, 1);
    const vi c = rows_of(p, stride, 2), d = rows_of(p, stride, 3);
    const vi ab = _mm256_unpacklo_epi32(a, b), cd = _mm256_unpacklo_epi32(c, d);
    const vi ef = _mm256_unpackhi_epi32(a, b), gh = _mm256_unpackhi_epi32(c, d);
    t[0] = _mm256_unpacklo_epi64(ab, cd);
    t[1] = _mm256_unpackhi_epi64(ab, cd);
    t[2] = _mm256_unpacklo_epi64(ef, gh);
    t[3] = _mm256_unpackhi_epi64(ef, gh);
}

INLINE vi v_word(const uint8_t *p, size_t stride)
{
    vi t[4];
    v_chunk(t, p, stride);
    return t[0];
}

#define PAIRS 0
#include "kernel/matmul_tile.h"

void lv_kernels_add_matmul_q__avx2(lv_kernels *k)
{
    add_tile_products(k);
}
