/* What the kernels of kernels.cl and the code that starts them agree on. SPDX-License-Identifier: MIT */
#ifndef LEVER_DEVICE_OPENCL_CL_KERNELS_H
#define LEVER_DEVICE_OPENCL_CL_KERNELS_H

#include <stddef.h>

/* A work group has LV_CL_GROUP items: LV_CL_OUTS outputs times LV_CL_UNITS units of 32 weights. It computes
 * up to LV_CL_ROWS rows of a batch at once. */
enum { LV_CL_OUTS = 4, LV_CL_UNITS = 16, LV_CL_GROUP = LV_CL_OUTS * LV_CL_UNITS, LV_CL_ROWS = 16 };
/* Local memory of a group: two sums per output, unit and row, two scales per output and unit. */
enum { LV_CL_LOCAL_BYTES = LV_CL_GROUP * (LV_CL_ROWS * 2 + 2) * 4 };

/* The text of kernels.cl, put into the binary by CMake; no NUL at its end. */
extern const char lv_cl_source[];
extern const size_t lv_cl_source_bytes;

#endif
