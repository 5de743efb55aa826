/* The program of kernels.cl for a device, compiled or from the cache on disk. SPDX-License-Identifier: MIT */
#ifndef LEVER_DEVICE_OPENCL_CL_PROGRAM_H
#define LEVER_DEVICE_OPENCL_CL_PROGRAM_H

#include <stdbool.h>

#include "device/opencl/cl_library.h"
#include "device/opencl/opencl.h"

/* cache_dir: an existing folder, or NULL for none. A cache file of another program, device or driver, or one
 * that is damaged or refused by the driver, is compiled anew and replaced; one that can not be written is no
 * error. *from_cache tells which it was. LEVER_OK; LEVER_ENOMEM; LEVER_EIO: the driver failed, with the
 * beginning of what its compiler said. Returned: clReleaseProgram. */
int lv_cl_program(const lv_cl *cl, cl_context context, cl_device_id device, const lv_opencl_info *info,
                  const char *cache_dir, cl_program *out, bool *from_cache, lever_error *err);

#endif
