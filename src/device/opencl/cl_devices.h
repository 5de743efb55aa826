/* The OpenCL devices of this machine, and which of them Lever can use.
 * Threading: any, one call at a time. SPDX-License-Identifier: MIT */
#ifndef LEVER_DEVICE_OPENCL_CL_DEVICES_H
#define LEVER_DEVICE_OPENCL_CL_DEVICES_H

#include "device/opencl/cl_library.h"
#include "device/opencl/opencl.h"

/* Ids beside the descriptions of an lv_opencl_list; they live as long as the library. */
typedef struct lv_cl_ids {
    cl_platform_id platform[LV_OPENCL_DEVICES_MOST];
    cl_device_id device[LV_OPENCL_DEVICES_MOST];
} lv_cl_ids;

/* Every device of every platform, in the library's order (ids nullable). LEVER_OK, also with none; LEVER_EIO:
 * the library fails. */
int lv_cl_devices(const lv_cl *cl, lv_opencl_list *list, lv_cl_ids *ids, lever_error *err);

/* Index of the device to use, for `want` as lv_opencl_config has it; LEVER_EUNSUP: none, with the reason. */
int lv_cl_choose(const lv_opencl_list *list, const char *want, lever_error *err);

#endif
