/* OpenCL devices, loaded at run time. A driver that is missing, too old, crashes or hangs is an error code
 * with one line of text, never the end of the process: it is first tried in a child process (os/child.h).
 * Threading: one call at a time. SPDX-License-Identifier: MIT */
#ifndef LEVER_DEVICE_OPENCL_OPENCL_H
#define LEVER_DEVICE_OPENCL_OPENCL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

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

#endif
