/* The CPU as a device (device/device.h). SPDX-License-Identifier: MIT */
#ifndef LEVER_DEVICE_CPU_CPU_DEVICE_H
#define LEVER_DEVICE_CPU_CPU_DEVICE_H

#include "device/cpu/cpu.h"
#include "device/device.h"

/* Every type that `cpu` has products and packing for; submit does the whole work. cpu is borrowed, and may be
 * used directly between two calls. LEVER_OK; LEVER_EINVAL: it was opened for fewer or shorter rows;
 * LEVER_ENOMEM. Returned: lv_device_close. Pieces of memory come from lv_map. */
int lv_cpu_device_open(lv_device **out, lv_cpu *cpu, const lv_device_config *c, lever_error *err);

#endif
