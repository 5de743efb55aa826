/* OpenCL devices, loaded at run time. A driver that is missing, too old, crashes or hangs is an error code
 * with one line of text, never the end of the process: it is first tried in a child process (os/child.h).
 * Threading: one call at a time. SPDX-License-Identifier: MIT */
#ifndef LEVER_DEVICE_OPENCL_OPENCL_H
#define LEVER_DEVICE_OPENCL_OPENCL_H

#include <stdbool.h>
#include <stdint.h>

#include "device/device.h"

enum { LV_OPENCL_DEVICES_MOST = 8 };
enum lv_opencl_kind { LV_OPENCL_CPU, LV_OPENCL_GPU, LV_OPENCL_OTHER };

/* Plain data; texts are cut where they are longer. */
typedef struct lv_opencl_info {
    char name[96], vendor[64], platform[64], driver[64];
    char refusal[128];           /* why Lever does not use it; empty: it can */
    enum lv_opencl_kind kind;
    unsigned version;            /* of OpenCL: 102 is 1.2 */
    unsigned n_units;            /* compute units */
    bool unified;                /* shares its memory with the host */
    bool denormals;              /* keeps numbers below 2^-126; else see docs/devices.md */
    uint64_t memory_bytes, alloc_bytes; /* all of its memory; the largest piece */
    uint64_t local_bytes;
} lv_opencl_info;

typedef struct lv_opencl_list {
    unsigned n;
    lv_opencl_info devices[LV_OPENCL_DEVICES_MOST];
} lv_opencl_list;

enum { LV_OPENCL_LIMIT_MS = 30000 }; /* a driver's first compilation may take seconds */

/* What is there, asked in a child process that gets limit_ms. LEVER_OK, also with n = 0. LEVER_EUNSUP: no
 * library, or not a working one; the text says why. LEVER_ENOMEM, LEVER_EIO. */
int lv_opencl_list_devices(lv_opencl_list *list, unsigned limit_ms, lever_error *err);

typedef struct lv_opencl_config {
    lv_device_config sizes;
    const char *want;      /* "gpu" (NULL too): any but a CPU; "any": that too; else part of a name or platform */
    const char *cache_dir; /* existing folder for compiled kernels; NULL: none */
    unsigned limit_ms;     /* all of this is tried in a child process first, for so long; 0: it is not, as where
                            * this process has used OpenCL before: drivers do not survive a fork */
    bool assume_flush;     /* for tests: a device that loses numbers below 2^-126, whatever it says */
} lv_opencl_config;

/* Bytes of buffers for such sizes (for the memory plan); pieces of memory and what a driver takes for itself,
 * often some ten MiB, come on top. */
size_t lv_opencl_memory_bytes(const lv_device_config *sizes);
/* The best device that `want` allows, after its products equalled the CPU's on a sample. Types Q4_0, Q8_0,
 * Q4_K and Q6_K. LEVER_OK; LEVER_EUNSUP: none that works, with one line of why; LEVER_EINVAL, LEVER_ENOMEM,
 * LEVER_EIO. Whichever it is, the CPU can go on. Open it before threads start. Returned: lv_device_close. */
int lv_opencl_open(lv_device **out, const lv_opencl_config *c, lever_error *err);

/* Of a device that lv_opencl_open returned: borrowed from it. */
const lv_opencl_info *lv_opencl_device_info(const lv_device *d);
/* Did its kernels come from the cache? */
bool lv_opencl_from_cache(const lv_device *d);

#endif
