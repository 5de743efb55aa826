/* Devices that are shared libraries, by the interface of include/lever/device_plugin.h. A library that is
 * missing, of another version, crashes, hangs or computes something else is an error code with one line of
 * text: it is first tried in a child process (os/child.h). Only a path that the caller names is ever loaded.
 * Threading: one call at a time. SPDX-License-Identifier: MIT */
#ifndef LEVER_DEVICE_PLUGIN_PLUGIN_H
#define LEVER_DEVICE_PLUGIN_PLUGIN_H

#include "device/device.h"

enum { LV_PLUGIN_LIMIT_MS = 30000 }; /* a driver may compile for its hardware first */

typedef struct lv_plugin_config {
    lv_device_config sizes;
    const char *path;  /* of the library, with a '/' in it: nothing is searched for */
    unsigned limit_ms; /* opening is tried in a child process first, for so long; 0: it is not */
} lv_plugin_config;

/* Load the library and open its device, after its products equalled the CPU's on a sample. The traits name
 * the types of weights and the numbers of rows it computes at once; other numbers are padded and split here.
 * What the plug-in takes for itself is in no count of memory. LEVER_OK; LEVER_EUNSUP: it can not be used,
 * with one line of why; LEVER_EIO: no such file, or the device fails; LEVER_EINVAL: sizes, or a path without
 * '/'; LEVER_ENOMEM. Whichever it is, the CPU can go on, and the library, once loaded, stays in memory. Open
 * it before threads start. Returned: lv_device_close. */
int lv_plugin_open(lv_device **out, const lv_plugin_config *c, lever_error *err);

#endif
