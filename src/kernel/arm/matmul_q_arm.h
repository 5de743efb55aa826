/* Quantised matrix products of Arm, written once over block_dot(w0, w1, x0, x1): four partial sums of a block's 32
 * products, which the including file defines. Lanes are four weight rows. SPDX-License-Identifier: MIT */

enum qtype { Q8, Q4 };

INLINE size_t block_bytes(enum qtype w) { return w == Q8 ? sizeof(lv_block_q8_0) : sizeof(lv_block_q4_0); }

INLINE int32x4_t block_sums(enum qtype w, const uint8_t *p, int8x16_t x0, int8x16_t x1)
{
    if (w == Q8) return block_dot(vld1q_s8((const int8_t *)p + 2), vld1q_s8((const int8_t *)p + 18), x0, x1);
    const uint8x16_t q = vld1q_u8(p + 2);
    const int8x16_t eight = vdupq_n_s8(8);
    return block_dot(vsubq_s8(vreinterpretq_s8_u8(vandq_u8(q, vdupq_n_u8(15))), eight),
                     vsubq_s8(vreinterpretq_s8_u8(vshrq_n_u8(q, 4)), eight), x0, x1);
}

/* Four weight rows times nx batch rows; act: q [n_rows][k] int8, then d [n_rows][nb]. */
INLINE void tile_q(enum qtype w, size_t nx, float out[][4], const uint8_t *const row[4], const int8_t *q,
                   const float *d, size_t k)
{
    const size_t nb = k / 32, bytes = block_bytes(w);
    float32x4_t acc[4];
    for (size_t t = 0; t < nx; t++) acc[t] = vdupq_n_f32(0.0f);
    for (size_t b = 0; b < nb; b++) {
        uint16_t h[4];
        for (int r = 0; r < 4; r++) memcpy(&h[r], row[r] + b * bytes, 2);
        const float32x4_t scale = vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(h)));
        for (size_t t = 0; t < nx; t++) {
            const int8x16_t x0 = vld1q_s8(q + t * k + b * 32), x1 = vld1q_s8(q + t * k + b * 32 + 16);
            int32x4_t p[4];
            for (int r = 0; r < 4; r++) p[r] = block_sums(w, row[r] + b * bytes, x0, x1);
            const int32x4_t isum = vpaddq_s32(vpaddq_s32(p[0], p[1]), vpaddq_s32(p[2], p[3]));
            acc[t] = vfmaq_f32(acc[t], vmulq_n_f32(scale, d[t * nb + b]), vcvtq_f32_s32(isum));
        }
    }
    for (size_t t = 0; t < nx; t++) vst1q_f32(out[t], acc[t]);
}

INLINE void matmul_q(enum qtype w, float *y, size_t ldy, const uint8_t *weights, size_t n_out,
                     const void *act, size_t n_rows, size_t k)
{
    const size_t nb = k / 32, row_bytes = nb * block_bytes(w);
    const int8_t *q = act;
    const float *d = (const float *)(const void *)(q + n_rows * k);
    for (size_t r = 0; r < n_out; r += 4) {
        const size_t n = n_out - r < 4 ? n_out - r : 4;
        const uint8_t *row[4];
        for (size_t i = 0; i < 4; i++) row[i] = weights + (r + (i < n ? i : 0)) * row_bytes;
        for (size_t t = 0; t < n_rows;) {
            const size_t nx = n_rows - t >= 4 ? 4 : 1;
            float out[4][4];
            if (nx == 4) tile_q(w, 4, out, row, q + t * k, d + t * nb, k);
            else tile_q(w, 1, out, row, q + t * k, d + t * nb, k);
            for (size_t j = 0; j < nx; j++) memcpy(y + (t + j) * ldy + r, out[j], n * sizeof(float));
            t += nx;
        }
    }
}

static void matmul_q8_0(float *y, size_t ldy, const void *w, size_t n_out, const void *act, size_t n_rows,
                        size_t k, void *scratch)
{
    (void)scratch;
    matmul_q(Q8, y, ldy, w, n_out, act, n_rows, k);
}

static void matmul_q4_0(float *y, size_t ldy, const void *w, size_t n_out, const void *act, size_t n_rows,
                        size_t k, void *scratch)
{
    (void)scratch;
    matmul_q(Q4, y, ldy, w, n_out, act, n_rows, k);
}
