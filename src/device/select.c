/* SPDX-License-Identifier: MIT */
#include "device/select.h"

#include <string.h>

#ifdef LEVER_OPENCL
#include "device/opencl/opencl.h"
#endif
#ifdef LEVER_PLUGINS
#include "device/plugin/plugin.h"
#endif
#include "os/child.h"

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

/* The path of a plug-in. */
static bool is_path(const char *want)
{
    return strchr(want, '/') != NULL;
}

static bool is_registered(const char *want)
{
    return registered.name && !strcmp(want, registered.name);
}

int lv_device_want_check(const char *want, lever_error *err)
{
    if (is_cpu(want) || is_registered(want) || opencl_name(want) || is_path(want)) return LEVER_OK;
    return lv_fail(
        err, LEVER_EINVAL, 0,
        "unknown device '%s'; known: cpu, opencl, opencl:NAME, or the path of a plug-in, with a '/'", want);
}

bool lv_device_want_may_be_approximate(const char *want)
{
    return !is_cpu(want) && is_path(want);
}

#ifdef LEVER_OPENCL
static int open_opencl(lv_device **out, const char *name, const lv_device_config *sizes,
                       const char *cache_dir, lever_error *err)
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
static int open_opencl(lv_device **out, const char *name, const lv_device_config *sizes,
                       const char *cache_dir, lever_error *err)
{
    (void)out, (void)name, (void)sizes, (void)cache_dir;
    return lv_fail(err, LEVER_EUNSUP, 0, "this build has no OpenCL");
}
#endif

#ifdef LEVER_PLUGINS
static int open_plugin(lv_device **out, const char *path, const lv_device_config *sizes, lever_error *err)
{
    const lv_plugin_config c = { .sizes = *sizes,
                                 .path = path,
                                 .limit_ms = lv_child_is_safe() ? LV_PLUGIN_LIMIT_MS : 0 };
    return lv_plugin_open(out, &c, err);
}
#else
static int open_plugin(lv_device **out, const char *path, const lv_device_config *sizes, lever_error *err)
{
    (void)out, (void)sizes;
    return lv_fail(err, LEVER_EUNSUP, 0, "plug-in '%s': this build has none", path);
}
#endif

int lv_device_open_named(lv_device **out, const char *want, const lv_device_config *sizes,
                         const char *cache_dir, lever_error *err)
{
    *out = NULL;
    LEVER_TRY(lv_device_want_check(want, err));
    if (is_cpu(want)) return LEVER_OK;
    LEVER_TRY(lv_device_config_check(sizes, err));
    if (is_registered(want)) return registered.open(out, sizes, err);
    if (!opencl_name(want)) return open_plugin(out, want, sizes, err);
    return open_opencl(out, opencl_name(want), sizes, cache_dir, err);
}
