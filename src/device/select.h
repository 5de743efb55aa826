/* Which device a name means: what --device takes.
 *
 *   "cpu"             our own kernels, without a device; NULL and "" too
 *   "opencl"          the best GPU or accelerator
 *   "opencl:NAME"     one whose name or platform contains NAME, also a CPU behind OpenCL; "opencl:any": any
 *   a path with '/'   a plug-in (docs/devices.md)
 *
 * Threading: one call at a time. SPDX-License-Identifier: MIT */
#ifndef LEVER_DEVICE_SELECT_H
#define LEVER_DEVICE_SELECT_H

#include "device/device.h"

/* LEVER_OK, or LEVER_EINVAL with the names there are. Looks at no device. */
int lv_device_want_check(const char *want, lever_error *err);

/* May the device of this name be one that is only good for a draft (lv_device_config.approximate_will_do)? */
bool lv_device_want_may_be_approximate(const char *want);

/* Open what `want` names; cache_dir: an existing folder for compiled kernels, NULL for none. Whatever runs in
 * a driver is first tried in a child process, unless this process has threads already or has opened a device
 * of the kind before: a driver that crashes then takes the process with it. So open devices first. LEVER_OK,
 * with *out NULL for the CPU; LEVER_EINVAL: no such name, or sizes; LEVER_EUNSUP, LEVER_ENOMEM, LEVER_EIO:
 * not to be had, with one line of why, and the CPU can go on. Returned: lv_device_close. */
int lv_device_open_named(lv_device **out, const char *want, const lv_device_config *sizes,
                         const char *cache_dir, lever_error *err);

/* Tests: `open` makes the device of this name; NULL: no longer. The name is borrowed. */
typedef int (*lv_device_open_fn)(lv_device **out, const lv_device_config *sizes, lever_error *err);
void lv_device_register(const char *name, lv_device_open_fn open);

#endif
