/* Quantised matrix products on AVX-512 with VNNI. SPDX-License-Identifier: MIT */
#include "kernel/x86/tile_avx512vnni.h"

#define PAIRS 0
#include "kernel/matmul_tile.h"

#include "kernel/x86/row__avx512vnni.h"

static void NAME(matmul_q4_k_any)(float *y, size_t ldy, const void *w, size_t n_out, const void *act,
                                  size_t n_rows, size_t k, void *scratch)
{
    if (n_rows > 1 || k > sizeof(tile_scratch))
        NAME(matmul_q4_k)(y, ldy, w, n_out, act, n_rows, k, scratch);
    else
        multiply_row_q4_k(y, w, n_out, act, k, scratch);
}

static void NAME(matmul_q8_0_any)(float *y, size_t ldy, const void *w, size_t n_out, const void *act,
                                  size_t n_rows, size_t k, void *scratch)
{
    if (n_rows > 1 || k % 512) NAME(matmul_q8_0)(y, ldy, w, n_out, act, n_rows, k, scratch);
    else multiply_row_q8_0(y, w, n_out, act, k);
}

void lv_kernels_add_matmul_q__avx512vnni(lv_kernels *k)
{
    add_tile_products(k);
    k->matmul[LV_TYPE_Q8_0] = NAME(matmul_q8_0_any);
    k->matmul[LV_TYPE_Q4_K] = NAME(matmul_q4_k_any);
}
