/* Kernels: leaf arithmetic behind one table chosen once at start. No allocation, no I/O, no
 * threads, no globals. Every function's result is defined bit for bit by its `__ref` version
 * (DESIGN.md section 2) and is the same for every ISA, batch width and split of the work.
 *
 * Contract of every kernel, unless its comment says otherwise: pointers are valid, do not overlap
 * and may have any alignment (weights: bytes); sizes are >= 1; reads and writes stay inside the
 * documented shapes. NaN in activations propagates as the reference does it.
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_KERNEL_KERNEL_H
#define LEVER_KERNEL_KERNEL_H

#include <stddef.h>
#include <stdint.h>

#include "quant/quant.h"

/* Activations of a row batch are packed once per matrix input. Which packing a weight type
 * multiplies with is fixed: F32, F16, BF16 -> LV_ACT_F32; types of blocks of 32 -> LV_ACT_Q8; of 256 ->
 * LV_ACT_Q8K.
 *
 * LV_ACT_Q8 (LV_ACT_Q8K), per row and block of 32 (256): amax = max |x|, compared as unsigned bits, so that
 *   NaN > inf. amax < 2^-100: d = 0, q = 0. amax inf or NaN: d = NaN (0x7fc00000), q = 0.
 *   Else d = amax / 127, id = 127 / amax, q = round-to-nearest-even(x * id) clamped to [-127, 127].
 * The byte layout of a packed batch is private to an ISA: pack and multiply with one table. */
enum lv_act_kind { LV_ACT_F32, LV_ACT_Q8, LV_ACT_Q8K, LV_ACT_COUNT };
enum { LV_ROW_GROUP = 16 }; /* rows are packed in groups of this many */

/* Bytes of a packed batch [n_rows][k]; k a multiple of the block length. */
typedef size_t (*lv_act_bytes_fn)(size_t n_rows, size_t k);
/* Pack rows [row0, row1) of x [n_rows][ldx] (f32, k used) into dst, which holds the whole batch and
 * is 64-byte aligned. row0 is a multiple of LV_ROW_GROUP, row1 too unless it is n_rows. */
typedef void (*lv_act_pack_fn)(void *dst, const float *x, size_t ldx, size_t n_rows, size_t k,
                               size_t row0, size_t row1);
/* y[t * ldy + r] = sum_i w[r][i] * x[t][i]   for r < n_out, t < n_rows (overwritten)
 *   w       [n_out][k] in the table's weight type, file layout, any alignment
 *   act     packed batch [n_rows][k] from the same table, 64-byte aligned
 *   scratch matmul_scratch_bytes(k) bytes, 64-byte aligned, private to the calling thread
 * Quantised types, one chain per output from +0 in ascending blocks; sums of integers are exact in int32:
 *   blocks of 32    isum = sum w x; acc = fmaf(d * dx, (float)isum, acc); with a minimum m (Q4_1, Q5_1) then
 *                   acc = fmaf(m * dx, (float)sum x, acc). MXFP4: d = 2^(e - 128), NaN for e = 255.
 *   blocks of 256   isum = sum over sub-blocks of scale * (sum w x), signed scales and codes as in quant.h;
 *                   acc = fmaf(d * dx, (float)isum, acc); with minima (Q2_K, Q4_K, Q5_K) then
 *                   acc = fmaf(-(dmin * dx), (float)sum over sub-blocks of min * (sum x), acc).
 * F32/F16/BF16: 16 strided accumulators
 * from +0 (element i to lane i mod 16, fmaf ascending), then lanes are added pairwise: i += i+8,
 * i += i+4, i += i+2, i += i+1 ("dot16"). */
typedef void (*lv_matmul_fn)(float *y, size_t ldy, const void *w, size_t n_out, const void *act,
                             size_t n_rows, size_t k, void *scratch);

enum { LV_HEAD_DIM_MAX = 1024 };

typedef struct lv_kernels {
    const char *isa; /* best ISA in the table: "ref", "avx2", "avx512vnni", "neon", "dotprod", "i8mm" */

    lv_act_bytes_fn act_bytes[LV_ACT_COUNT];
    lv_act_pack_fn  act_pack[LV_ACT_COUNT];
    lv_matmul_fn    matmul[LV_TYPE_COUNT]; /* NULL: type has no product in this build */
    size_t (*matmul_scratch_bytes)(size_t k);

    /* s = dot16(x, x) / n; y[i] = (x[i] * (1 / sqrtf(s + eps))) * w[i]. y may be x. */
    void (*rmsnorm)(float *y, const float *x, const float *w, size_t n, float eps);
    /* x += y */
    void (*add)(float *x, const float *y, size_t n);
    /* g[i] = (g[i] / (1 + exp(-g[i]))) * u[i] */
    void (*silu_mul)(float *g, const float *u, size_t n);
    /* Rotate one head in place: pair i is (x[2i], x[2i+1]) for interleaved, (x[i], x[i+n_rot/2])
     * for neox; cs [n_rot/2][2] = cos, sin. (a, b) -> (a*c - b*s, a*s + b*c), each as
     * fmaf(a, c, -(b * s)) and fmaf(a, s, b * c). */
    void (*rope_interleaved)(float *x, const float *cs, size_t n_rot);
    void (*rope_neox)(float *x, const float *cs, size_t n_rot);
    void (*f32_to_f16)(uint16_t *dst, const float *src, size_t n);
    /* Attention of n_q queries, q [n_q][dim], already scaled, that read one KV head; dim <= LV_HEAD_DIM_MAX.
     * For each: score[p] = q . K[p]; m = max score (NaN never wins, but a NaN score makes out NaN);
     * e[p] = exp(score[p] - m); s = sum of e in 16 lanes by absolute position p mod 16, tree as in dot16;
     * out[d] = (sum_p e[p] * V[p][d], fmaf from +0, ascending p) * (1 / s). Queries are independent.
     *
     * Scores with n keys k [n][dim] in f16: scores[t * ld + p] = dot16(q[t], k[p]). With keys in Q8_0 they
     * are the matrix product, with the queries packed as LV_ACT_Q8. */
    void (*attn_scores)(float *scores, size_t ld, const float *q, size_t n_q, const uint16_t *k, size_t n,
                        size_t dim);
    /* The n scores of one query become e; returns 1 / s. */
    float (*attn_weights)(float *scores, size_t n);
    /* out[t * dim + d] = fmaf(e[t * ld + p], V[slots[p]][d], out[t * dim + d]) for p = 0 .. n - 1 in this
     * order; slots NULL: V[p]. v [..][dim], aligned to 2; Q8_0: dim a multiple of 32. */
    void (*attn_values_f16)(float *out, const float *e, size_t ld, size_t n_q, const void *v,
                            const int32_t *slots, size_t n, size_t dim);
    void (*attn_values_q8_0)(float *out, const float *e, size_t ld, size_t n_q, const void *v,
                             const int32_t *slots, size_t n, size_t dim);
    /* Index of the largest value, lowest index among equals; NaN never wins; 0 when all are NaN. */
    size_t (*argmax)(const float *x, size_t n);
    /* p = softmax(x): max, exp(x - max), sum by 16 lanes, times 1 / sum. p may be x. */
    void (*softmax)(float *p, const float *x, size_t n);
    /* y[i] = x[i] / temp + gumbel(seed, pos, id0 + i): the shared noise of METHODS.md section 4,
     * see kernel/noise.h. y may be x. */
    void (*perturb)(float *y, const float *x, size_t n, float temp, uint64_t seed, uint64_t pos,
                    uint32_t id0);
} lv_kernels;

/* Fill *k with the best kernels that cpu_flags (os/cpu.h) allow; 0 gives the reference. */
void lv_kernels_init(lv_kernels *k, unsigned cpu_flags);

/* Activation packing of a weight type; -1 when the type has no product. */
int lv_type_act_kind(uint32_t type);

#endif
