/* The tile's words on AVX-512 with VNNI: 16 lanes, two vectors of weight rows. The byte product wants
 * unsigned weights, so signed codes are moved up by 128. SPDX-License-Identifier: MIT */
#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/f16.h"
#include "kernel/kernel_isa.h"

#define INLINE   static inline __attribute__((always_inline))
#define NAME(fn) fn##__avx512vnni

typedef __m512i vi;
typedef __m512 vf;
typedef __m512i vacc;
enum { VN = 16, VG = 2, WIDE_OFFSET = 128 };

#define v_set(n)          _mm512_set1_epi32(n)
#define v_setf(x)         _mm512_set1_ps(x)
#define v_and(a, b)       _mm512_and_si512(a, b)
#define v_or(a, b)        _mm512_or_si512(a, b)
#define v_add(a, b)       _mm512_add_epi32(a, b)
#define v_sub(a, b)       _mm512_sub_epi32(a, b)
#define v_mul(a, b)       _mm512_mullo_epi32(a, b)
#define v_shl(a, n)       _mm512_slli_epi32(a, n)
#define v_shr(a, n)       _mm512_srli_epi32(a, n)
#define v_sar(a, n)       _mm512_srai_epi32(a, n)
#define v_shlv(a, n)      _mm512_sll_epi32(a, _mm_cvtsi32_si128(n))
#define v_shrv(a, n)      _mm512_srl_epi32(a, _mm_cvtsi32_si128(n))
#define v_asf(a)          _mm512_castsi512_ps(a)
#define v_cvt(a)          _mm512_cvtepi32_ps(a)
#define v_mulf(a, b)      _mm512_mul_ps(a, b)
#define v_negf(a)         _mm512_xor_ps(a, _mm512_set1_ps(-0.0f))
#define v_fma(a, b, c)    _mm512_fmadd_ps(a, b, c)
#define v_store(p, a)     _mm512_storeu_ps(p, a)
#define v_lane0(a)        _mm512_cvtss_f32(a)
#define v_acc(start)      _mm512_set1_epi32(start)
#define v_sum(acc)        (acc)
#define v_wide(a)         _mm512_xor_si512(a, _mm512_set1_epi8((char)0x80))
#define v_dotw(acc, w, x) v_dot(acc, w, x)

INLINE vi v_dot(vi acc, vi w, const int8_t *x)
{
    int32_t four;
    memcpy(&four, x, 4);
    return _mm512_dpbusd_epi32(acc, w, _mm512_set1_epi32(four));
}

INLINE vi v_dot2(vi acc, vi w, int32_t n)
{
    return _mm512_dpwssd_epi32(acc, w, _mm512_set1_epi32(n));
}

INLINE vf v_f16(vi a)
{
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(a));
}

INLINE vi v_lookup(const int8_t table[16], vi a)
{
    const __m128i t = _mm_loadu_si128((const void *)table);
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(t), a);
}

/* 16 bytes of rows j, 4 + j, 8 + j and 12 + j, one per 128-bit part. */
INLINE __m512i rows_of(const uint8_t *p, size_t stride, size_t j)
{
    const uint8_t *q = p + j * stride;
    __m512i v = _mm512_castsi128_si512(_mm_loadu_si128((const void *)q));
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const void *)(q + 4 * stride)), 1);
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const void *)(q + 8 * stride)), 2);
    return _mm512_inserti32x4(v, _mm_loadu_si128((const void *)(q + 12 * stride)), 3);
}

INLINE void v_chunk(vi t[4], const uint8_t *p, size_t stride)
{
    const __m512i a = rows_of(p, stride, 0), b = rows_of(p, stride, 1);
    const __m512i c = rows_of(p, stride, 2), d = rows_of(p, stride, 3);
    const __m512i ab = _mm512_unpacklo_epi32(a, b), cd = _mm512_unpacklo_epi32(c, d);
    const __m512i ef = _mm512_unpackhi_epi32(a, b), gh = _mm512_unpackhi_epi32(c, d);
    t[0] = _mm512_unpacklo_epi64(ab, cd);
    t[1] = _mm512_unpackhi_epi64(ab, cd);
    t[2] = _mm512_unpacklo_epi64(ef, gh);
    t[3] = _mm512_unpackhi_epi64(ef, gh);
}

INLINE vi v_word(const uint8_t *p, size_t stride)
{
    vi t[4];
    v_chunk(t, p, stride);
    return t[0];
}
