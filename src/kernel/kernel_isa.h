/* What each instruction set adds to the dispatch table. Each function overwrites the entries it has a
 * faster version of; kernel.c calls them from the plainest to the best. SPDX-License-Identifier: MIT */
#ifndef LEVER_KERNEL_KERNEL_ISA_H
#define LEVER_KERNEL_KERNEL_ISA_H

#include "kernel/kernel.h"

void lv_kernels_add_matmul__ref(lv_kernels *k);
void lv_kernels_add_vector__ref(lv_kernels *k);

#endif
