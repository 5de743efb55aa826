/* SPDX-License-Identifier: MIT */
#include "kernel/kernel_isa.h"

void lv_kernels_add_vector__avx512vnni(lv_kernels *k) { (void)k; }
