/* SPDX-License-Identifier: MIT */
#include "kernel/kernel_isa.h"

void lv_kernels_add_matmul__neon(lv_kernels *k) { (void)k; }
