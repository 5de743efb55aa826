/* What an OpenCL device holds; shared by the files of device/opencl only. SPDX-License-Identifier: MIT */
#ifndef LEVER_DEVICE_OPENCL_OPENCL_IMPL_H
#define LEVER_DEVICE_OPENCL_OPENCL_IMPL_H

#include "device/opencl/cl_devices.h"
#include "device/opencl/cl_kernels.h"

enum { LV_CL_TYPES = 4, LV_CL_ACTS = 2 }; /* kernels; packings of rows: blocks of 32, of 256 */

/* Buffers of one job. While no job uses them they are mapped, so that rows are packed in place. */
typedef struct lv_cl_slot {
    cl_mem act[LV_CL_ACTS], y;
    void *act_host[LV_CL_ACTS], *y_host; /* NULL: not mapped */
    cl_event done;
    size_t n_rows;
    unsigned n_products;
    lv_device_product products[LV_DEVICE_PRODUCTS];
} lv_cl_slot;

typedef struct lv_cl_device {
    lv_device base;
    lv_cl cl;
    lv_opencl_info info;
    cl_context context;
    cl_command_queue queue;     /* products, in order */
    cl_command_queue transfers; /* pieces of memory change hands, so that this never waits for products */
    cl_program program;
    cl_kernel kernels[LV_CL_TYPES];
    lv_cl_slot slots[LV_DEVICE_JOBS_MOST];
    bool flushes; /* numbers below 2^-126 become zero */
    bool from_cache, lost;
} lv_cl_device;

typedef struct lv_cl_memory {
    lv_device_memory base;
    cl_mem mem;
    uint8_t *map;   /* where the driver put it; base.host is in it; NULL: it is not mapped */
    size_t   pad;   /* bytes before base.host */
    cl_event ready; /* the device has it; NULL before the first time */
} lv_cl_memory;

/* device/opencl/opencl_job.c: entries of the table, and the buffers they use. */
int    lv_cl_submit(lv_device *d, unsigned slot, const lv_device_job *job, lever_error *err);
int    lv_cl_wait(lv_device *d, unsigned slot, lever_error *err);
size_t lv_cl_slot_bytes(const lv_device_config *c);
int    lv_cl_slot_open(lv_cl_device *d, lv_cl_slot *s, lever_error *err);
void   lv_cl_slot_close(lv_cl_device *d, lv_cl_slot *s);
/* Index of a type's kernel, -1 for none; bits of all types. */
int      lv_cl_kernel_of(uint32_t type);
uint64_t lv_cl_types(void);

#endif
