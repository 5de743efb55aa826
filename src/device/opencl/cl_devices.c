/* SPDX-License-Identifier: MIT */
#include "device/opencl/cl_devices.h"

#include <stdio.h>
#include <string.h>

#include "device/opencl/cl_kernels.h"
#include "os/child.h"

enum { PLATFORMS_MOST = 8, TEXT = 256 };

/* A value of fixed size; it stays as it is when the driver does not know it. */
static void get(const lv_cl *cl, cl_device_id id, cl_device_info what, void *value, size_t bytes)
{
    unsigned char got[16] = { 0 };
    if (bytes <= sizeof got && cl->GetDeviceInfo(id, what, bytes, got, NULL) == CL_SUCCESS)
        memcpy(value, got, bytes);
}

static void get_text(const lv_cl *cl, cl_device_id id, cl_device_info what, char *text, size_t cap)
{
    char got[TEXT] = "";
    if (cl->GetDeviceInfo(id, what, sizeof got, got, NULL) != CL_SUCCESS) got[0] = '\0';
    got[sizeof got - 1] = '\0';
    snprintf(text, cap, "%.*s", (int)cap - 1, got);
}

/* "OpenCL 1.2 anything" is 102; 0 for another text. */
static unsigned version_of(const char *text)
{
    unsigned major, minor;
    return sscanf(text, "OpenCL %2u.%2u", &major, &minor) == 2 ? major * 100 + minor : 0;
}

/* The first thing that Lever needs and the device has not. */
static void judge(const lv_cl *cl, cl_device_id id, lv_opencl_info *d)
{
    cl_bool available = CL_FALSE, compiler = CL_FALSE, little = CL_FALSE;
    cl_device_fp_config fp = 0;
    size_t group = 0;
    get(cl, id, CL_DEVICE_AVAILABLE, &available, sizeof available);
    get(cl, id, CL_DEVICE_COMPILER_AVAILABLE, &compiler, sizeof compiler);
    get(cl, id, CL_DEVICE_ENDIAN_LITTLE, &little, sizeof little);
    get(cl, id, CL_DEVICE_SINGLE_FP_CONFIG, &fp, sizeof fp);
    get(cl, id, CL_DEVICE_MAX_WORK_GROUP_SIZE, &group, sizeof group);
    d->denormals = fp & CL_FP_DENORM;
    const char *why = !available                           ? "the driver says it is not available"
                      : !compiler                          ? "its driver has no compiler"
                      : !little                            ? "it is big-endian"
                      : !(fp & CL_FP_ROUND_TO_NEAREST)     ? "it does not round to the nearest number"
                      : !(fp & CL_FP_INF_NAN)              ? "it has no infinities and NaN"
                      : !(fp & CL_FP_FMA)                  ? "it has no fused multiply-add"
                      : group < LV_CL_GROUP                ? "its work groups are too small"
                      : d->local_bytes < LV_CL_LOCAL_BYTES ? "it has too little local memory"
                                                           : "";
    snprintf(d->refusal, sizeof d->refusal, "%s", why);
    if (d->version < 102)
        snprintf(d->refusal, sizeof d->refusal, "it has OpenCL %u.%u, and 1.2 is needed", d->version / 100,
                 d->version % 100);
}

static void describe(const lv_cl *cl, cl_device_id id, lv_opencl_info *d)
{
    char version[TEXT];
    cl_device_type type = 0;
    cl_uint units = 0;
    cl_bool unified = CL_FALSE;
    cl_ulong memory = 0, alloc = 0, local = 0;
    get_text(cl, id, CL_DEVICE_NAME, d->name, sizeof d->name);
    get_text(cl, id, CL_DEVICE_VENDOR, d->vendor, sizeof d->vendor);
    get_text(cl, id, CL_DRIVER_VERSION, d->driver, sizeof d->driver);
    get_text(cl, id, CL_DEVICE_VERSION, version, sizeof version);
    get(cl, id, CL_DEVICE_TYPE, &type, sizeof type);
    get(cl, id, CL_DEVICE_MAX_COMPUTE_UNITS, &units, sizeof units);
    get(cl, id, CL_DEVICE_HOST_UNIFIED_MEMORY, &unified, sizeof unified);
    get(cl, id, CL_DEVICE_GLOBAL_MEM_SIZE, &memory, sizeof memory);
    get(cl, id, CL_DEVICE_MAX_MEM_ALLOC_SIZE, &alloc, sizeof alloc);
    get(cl, id, CL_DEVICE_LOCAL_MEM_SIZE, &local, sizeof local);
    d->kind = type & CL_DEVICE_TYPE_GPU   ? LV_OPENCL_GPU
              : type & CL_DEVICE_TYPE_CPU ? LV_OPENCL_CPU
                                          : LV_OPENCL_OTHER;
    d->version = version_of(version);
    d->n_units = units, d->unified = unified;
    d->memory_bytes = memory, d->alloc_bytes = alloc, d->local_bytes = local;
    judge(cl, id, d);
}

int lv_cl_devices(const lv_cl *cl, lv_opencl_list *list, lv_cl_ids *ids, lever_error *err)
{
    cl_platform_id platforms[PLATFORMS_MOST];
    cl_uint n_platforms = 0;
    *list = (lv_opencl_list){ 0 };
    const cl_int rc = cl->GetPlatformIDs(PLATFORMS_MOST, platforms, &n_platforms);
    if (rc == -1001) return LEVER_OK; /* CL_PLATFORM_NOT_FOUND_KHR: a loader without a driver */
    if (rc != CL_SUCCESS) return lv_cl_fail(err, rc, "OpenCL: asking for platforms");
    for (cl_uint p = 0; p < n_platforms && p < PLATFORMS_MOST; p++) {
        cl_device_id found[LV_OPENCL_DEVICES_MOST];
        cl_uint n = 0;
        char platform[TEXT] = "";
        if (cl->GetDeviceIDs(platforms[p], CL_DEVICE_TYPE_ALL, LV_OPENCL_DEVICES_MOST, found, &n) !=
            CL_SUCCESS)
            continue; /* a platform without a device says so by an error */
        if (cl->GetPlatformInfo(platforms[p], CL_PLATFORM_NAME, TEXT - 1, platform, NULL) != CL_SUCCESS)
            platform[0] = '\0';
        for (cl_uint i = 0; i < n && i < LV_OPENCL_DEVICES_MOST && list->n < LV_OPENCL_DEVICES_MOST; i++) {
            lv_opencl_info *d = &list->devices[list->n];
            describe(cl, found[i], d);
            snprintf(d->platform, sizeof d->platform, "%.63s", platform);
            if (ids) ids->platform[list->n] = platforms[p], ids->device[list->n] = found[i];
            list->n++;
        }
    }
    return LEVER_OK;
}

/* How well a device meets the wish: 0 not at all; a GPU goes before another kind. */
static int rank(const lv_opencl_info *d, const char *want)
{
    const bool any = !strcmp(want, "any"), gpu = !strcmp(want, "gpu");
    if (gpu ? d->kind == LV_OPENCL_CPU : !any && !strstr(d->name, want) && !strstr(d->platform, want))
        return 0;
    return d->kind == LV_OPENCL_GPU ? 3 : d->kind == LV_OPENCL_OTHER ? 2 : 1;
}

int lv_cl_choose(const lv_opencl_list *list, const char *want, lever_error *err)
{
    if (!want || !*want) want = "gpu";
    int best = -1;
    const lv_opencl_info *refused = NULL;
    for (unsigned i = 0; i < list->n; i++) {
        const lv_opencl_info *d = &list->devices[i];
        if (!rank(d, want)) continue;
        if (d->refusal[0])
            refused = refused ? refused : d;
        else if (best < 0 || rank(d, want) > rank(&list->devices[best], want))
            best = (int)i;
    }
    if (best >= 0) return best;
    if (refused)
        return lv_fail(err, LEVER_EUNSUP, 0, "OpenCL: %s can not be used: %s", refused->name,
                       refused->refusal);
    if (list->n == 0) return lv_fail(err, LEVER_EUNSUP, 0, "OpenCL: the library has no driver with a device");
    if (!strcmp(want, "gpu"))
        return lv_fail(err, LEVER_EUNSUP, 0, "OpenCL: no GPU, only %s (%s)", list->devices[0].name,
                       list->devices[0].platform);
    return lv_fail(err, LEVER_EUNSUP, 0, "OpenCL: no device of %u is called '%s'", list->n, want);
}

typedef struct list_result {
    int rc;
    lever_error err;
    lv_opencl_list list;
} list_result;

static void list_in_child(void *arg, void *result)
{
    (void)arg;
    list_result *r = result;
    lv_cl cl;
    r->rc = lv_cl_load(&cl, &r->err);
    if (r->rc == LEVER_OK) r->rc = lv_cl_devices(&cl, &r->list, NULL, &r->err);
}

int lv_opencl_list_devices(lv_opencl_list *list, unsigned limit_ms, lever_error *err)
{
    list_result r;
    *list = (lv_opencl_list){ 0 };
    LEVER_TRY(lv_child_run(list_in_child, NULL, &r, sizeof r, limit_ms, "OpenCL: the driver", err));
    if (r.rc < 0) return lv_fail(err, LEVER_EUNSUP, r.err.os_errno, "%s", r.err.msg);
    *list = r.list;
    return LEVER_OK;
}
