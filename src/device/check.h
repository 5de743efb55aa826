/* A sample of products against the reference, before a device is trusted: compilers, drivers and plug-ins
 * have bugs, and what they say about rounding need not be true. SPDX-License-Identifier: MIT */
#ifndef LEVER_DEVICE_CHECK_H
#define LEVER_DEVICE_CHECK_H

#include "device/device.h"

/* Some products of every type and number of rows that traits has. LEVER_OK; LEVER_EUNSUP: other bits, or for
 * an approximate device, results that are far off; else what failed. Allocates, and frees. */
int lv_device_check(lv_device *d, lever_error *err);

#endif
