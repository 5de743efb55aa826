/* Vector kernels on AVX2: v16 is two registers. SPDX-License-Identifier: MIT */
#include <immintrin.h>
#include <math.h>
#include <stdbool.h>

#include "base/f16.h"
#include "kernel/kernel_isa.h"
#include "kernel/noise.h"

#define INLINE static inline __attribute__((always_inline))
enum { HEADS = 1, KEYS = 4, VALUES = 4, MANY = 5, MANY_VALUES = 1 };
#define NAME(op) op##__avx2

typedef struct v16 {
    __m256 l, h;
} v16;

INLINE v16 v_set1(float x) { return (v16){ _mm256_set1_ps(x), _mm256_set1_ps(x) }; }
INLINE v16 v_load(const float *p) { return (v16){ _mm256_loadu_ps(p), _mm256_loadu_ps(p + 8) }; }
INLINE void v_store(float *p, v16 a) { _mm256_storeu_ps(p, a.l), _mm256_storeu_ps(p + 8, a.h); }
INLINE v16 v_add(v16 a, v16 b) { return (v16){ _mm256_add_ps(a.l, b.l), _mm256_add_ps(a.h, b.h) }; }
INLINE v16 v_sub(v16 a, v16 b) { return (v16){ _mm256_sub_ps(a.l, b.l), _mm256_sub_ps(a.h, b.h) }; }
INLINE v16 v_mul(v16 a, v16 b) { return (v16){ _mm256_mul_ps(a.l, b.l), _mm256_mul_ps(a.h, b.h) }; }
INLINE v16 v_div(v16 a, v16 b) { return (v16){ _mm256_div_ps(a.l, b.l), _mm256_div_ps(a.h, b.h) }; }
INLINE v16 v_max(v16 a, v16 b) { return (v16){ _mm256_max_ps(a.l, b.l), _mm256_max_ps(a.h, b.h) }; }

INLINE v16 v_fma(v16 a, v16 b, v16 c)
{
    return (v16){ _mm256_fmadd_ps(a.l, b.l, c.l), _mm256_fmadd_ps(a.h, b.h, c.h) };
}

INLINE v16 v_neg(v16 a)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return (v16){ _mm256_xor_ps(a.l, sign), _mm256_xor_ps(a.h, sign) };
}

INLINE v16 v_load_f16(const uint16_t *p)
{
    return (v16){ _mm256_cvtph_ps(_mm_loadu_si128((const void *)p)),
                  _mm256_cvtph_ps(_mm_loadu_si128((const void *)(p + 8))) };
}

INLINE v16 v_load_i8(const int8_t *p)
{
    const __m128i a = _mm_loadu_si128((const void *)p);
    return (v16){ _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(a)),
                  _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(a, 8))) };
}

INLINE v16 v_scale(const uint8_t *p)
{
    const __m256 s = _mm256_broadcastss_ps(_mm_cvtph_ps(_mm_loadu_si16(p)));
    return (v16){ s, s };
}

INLINE void v_store_f16(uint16_t *p, v16 a)
{
    _mm_storeu_si128((void *)p, _mm256_cvtps_ph(a.l, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    _mm_storeu_si128((void *)(p + 8), _mm256_cvtps_ph(a.h, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

INLINE bool v_equal(v16 a, v16 b)
{
    const __m256 l = _mm256_cmp_ps(a.l, b.l, _CMP_EQ_OQ), h = _mm256_cmp_ps(a.h, b.h, _CMP_EQ_OQ);
    return _mm256_movemask_ps(_mm256_or_ps(l, h)) != 0;
}

INLINE __m256 less8(__m256 a, __m256 b, __m256 t, __m256 f)
{
    return _mm256_blendv_ps(f, t, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
}

INLINE v16 v_less(v16 a, v16 b, v16 t, v16 f)
{
    return (v16){ less8(a.l, b.l, t.l, f.l), less8(a.h, b.h, t.h, f.h) };
}

INLINE float v_tree(v16 v)
{
    const __m256 a = _mm256_add_ps(v.l, v.h);
    const __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}

/* p * 2^n in two exact steps, as lv_expf. */
INLINE __m256 exp_scale8(__m256 p, __m256 n)
{
    const __m256i e = _mm256_cvttps_epi32(n), half = _mm256_srai_epi32(e, 1), bias = _mm256_set1_epi32(127);
    const __m256i s0 = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
    const __m256i s1 = _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(e, half), bias), 23);
    return _mm256_mul_ps(_mm256_mul_ps(p, _mm256_castsi256_ps(s0)), _mm256_castsi256_ps(s1));
}

INLINE v16 v_exp_scale(v16 p, v16 n) { return (v16){ exp_scale8(p.l, n.l), exp_scale8(p.h, n.h) }; }

INLINE __m256 split8(__m256 x, __m256 *n)
{
    const __m256i u = _mm256_castps_si256(x);
    const __m256i e = _mm256_srai_epi32(_mm256_sub_epi32(u, _mm256_set1_epi32(0x3f3504f3)), 23);
    *n = _mm256_cvtepi32_ps(e);
    return _mm256_castsi256_ps(_mm256_sub_epi32(u, _mm256_slli_epi32(e, 23)));
}

INLINE v16 v_split(v16 x, v16 *n) { return (v16){ split8(x.l, &n->l), split8(x.h, &n->h) }; }

/* 16 floats to their 8 even and 8 odd elements, and back. */
INLINE void unzip8(const float *p, __m256 *even, __m256 *odd)
{
    const __m256 a = _mm256_loadu_ps(p), b = _mm256_loadu_ps(p + 8);
    const __m256 e = _mm256_shuffle_ps(a, b, 0x88), o = _mm256_shuffle_ps(a, b, 0xdd);
    *even = _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(e), 0xd8));
    *odd = _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(o), 0xd8));
}

INLINE void zip8(float *p, __m256 even, __m256 odd)
{
    const __m256 lo = _mm256_unpacklo_ps(even, odd), hi = _mm256_unpackhi_ps(even, odd);
    _mm256_storeu_ps(p, _mm256_permute2f128_ps(lo, hi, 0x20));
    _mm256_storeu_ps(p + 8, _mm256_permute2f128_ps(lo, hi, 0x31));
}

INLINE void v_unzip(const float *p, v16 *even, v16 *odd)
{
    unzip8(p, &even->l, &odd->l);
    unzip8(p + 16, &even->h, &odd->h);
}

INLINE void v_zip(float *p, v16 even, v16 odd)
{
    zip8(p, even.l, odd.l);
    zip8(p + 16, even.h, odd.h);
}

INLINE void v_tree4(float *p, const v16 a[4])
{
    for (int j = 0; j < 4; j++) p[j] = v_tree(a[j]);
}

#include "kernel/vector_v16.h"

void lv_kernels_add_vector__avx2(lv_kernels *k) { add_vector_kernels(k); }
