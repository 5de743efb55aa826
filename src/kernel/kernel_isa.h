/* What each instruction set adds to the dispatch table. Each function overwrites the entries it has a
 * faster version of; kernel.c calls them from the plainest level to the best the processor has.
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_KERNEL_KERNEL_ISA_H
#define LEVER_KERNEL_KERNEL_ISA_H

#include "kernel/kernel.h"

void lv_kernels_add_matmul__ref(lv_kernels *k);
void lv_kernels_add_matmul_q__ref(lv_kernels *k); /* each add_matmul calls its add_matmul_q */
void lv_kernels_add_vector__ref(lv_kernels *k);

#if defined(__x86_64__)
void lv_kernels_add_matmul__avx2(lv_kernels *k);
void lv_kernels_add_matmul_q__avx2(lv_kernels *k);
void lv_kernels_add_vector__avx2(lv_kernels *k);
void lv_kernels_add_matmul__avx512vnni(lv_kernels *k);
void lv_kernels_add_matmul_q__avx512vnni(lv_kernels *k);
void lv_kernels_add_vector__avx512vnni(lv_kernels *k);
#elif defined(__aarch64__)
void lv_kernels_add_matmul__neon(lv_kernels *k);
void lv_kernels_add_matmul_q__neon(lv_kernels *k);
void lv_kernels_add_vector__neon(lv_kernels *k);
void lv_kernels_add_matmul_q__dotprod(lv_kernels *k);
void lv_kernels_add_matmul_q__i8mm(lv_kernels *k);
#endif

#endif
