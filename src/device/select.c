/* SPDX-License-Identifier: MIT */
#include "device/select.h"

#include <string.h>

#ifdef LEVER_OPENCL
#include "device/opencl/opencl.h"
#include "os/child.h"
#endif

static struct {
    const char *name;
    lv_device_open_fn open;
} registered;

void lv_device_register(const char *name, lv_device_open_fn open)
{
    registered.name = open ? name : NULL;
    registered.open = open;
}

static bool is_cpu(const char *want)
{
    return !want || !*want || !strcmp(want, "cpu");
}

/* What stands behind "opencl:", "" for "opencl" alone; NULL: another kind. */
static const char *opencl_name(const char *want)
{
    static const char kind[] = "opencl";
    if (strncmp(want, kind, sizeof kind - 1)) return NULL;
    want += sizeof kind - 1;
    return *want == ':' ? want + 1 : *want ? NULL : want;
}

static bool is_registered(const char *want)
{
    return registered.name && !strcmp(want, registered.name);
}

int lv_device_want_check(const char *want, lever_error *err)
{
    if (is_cpu(want) || is_registered(want) || opencl_name(want)) return LEVER_OK;
    return lv_fail(err, LEVER_EINVAL, 0, "unknown device '%s'; known: cpu, opencl, opencl:NAME", want);
}

#ifdef LEVER_OPENCL
static int open_opencl(lv_device **out, const char *name, const lv_device_config *sizes, const char *cache_dir,
                       lever_error *err)
{
    static bool used; /* drivers do not survive a fork */
    const lv_opencl_config c = { .sizes = *sizes,
                                 .want = *name ? name : "gpu",
                                 .cache_dir = cache_dir,
                                 .limit_ms = used || !lv_child_is_safe() ? 0 : LV_OPENCL_LIMIT_MS };
    const int rc = lv_opencl_open(out, &c, err);
    if (rc >= 0) used = true;
    return rc;
}
#else
static int open_opencl(lv_device **out, const char *name, const lv_device_config *sizes, const char *cache_dir,
                       lever_error *err)
{
    (void)out, (void)name, (void)sizes, (void)cache_dir;
    return lv_fail(err, LEVER_EUNSUP, 0, "this build has no OpenCL");
}
#endif

int lv_device_open_named(lv_device **out, const char *want, const lv_device_config *sizes, const char *cache_dir,
                         lever_error *err)
{
    *out = NULL;
    LEVER_TRY(lv_device_want_check(want, err));
    if (is_cpu(want)) return LEVER_OK;
    LEVER_TRY(lv_device_config_check(sizes, err));
    if (is_registered(want)) return registered.open(out, sizes, err);
    return open_opencl(out, opencl_name(want), sizes, cache_dir, err);
}
