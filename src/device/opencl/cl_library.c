/* SPDX-License-Identifier: MIT */
#include "device/opencl/cl_library.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "os/library.h"

/* On Android the driver itself has the functions of OpenCL, sometimes beside those of OpenGL ES. */
static const char *const names[] = {
    "libOpenCL.so.1",
    "libOpenCL.so",
    "/vendor/lib64/libOpenCL.so",
    "/system/vendor/lib64/libOpenCL.so",
    "/system/lib64/libOpenCL.so",
    "/vendor/lib64/egl/libGLES_mali.so",
    "/system/vendor/lib64/egl/libGLES_mali.so",
    "/vendor/lib64/libPVROCL.so",
};
enum { N_NAMES = sizeof names / sizeof *names };

/* LEVER_OK; LEVER_EIO: this library can not be loaded; LEVER_EUNSUP: it is not what we need. */
static int load_one(lv_cl *cl, const char *name, lever_error *err)
{
    char why[256];
    void *library = lv_library_open(name, why, sizeof why);
    if (!library) return lv_fail(err, LEVER_EIO, 0, "OpenCL: %s", why);
    const char *missing = NULL;
#define X(fn)                                                                                                \
    lv_library_symbol(library, "cl" #fn, &cl->fn);                                                           \
    if (!cl->fn && !missing) missing = "cl" #fn;
    LV_CL_FUNCTIONS(X)
#undef X
    cl->path = name;
    if (!missing) return LEVER_OK;
    lv_library_close(library);
    return lv_fail(err, LEVER_EUNSUP, 0, "OpenCL: %s has no %s, so it is not OpenCL 1.2", name, missing);
}

int lv_cl_load(lv_cl *cl, lever_error *err)
{
    lever_error e = { 0 };
    const char *wanted = getenv("LEVER_OPENCL_LIB");
    if (wanted && *wanted) {
        if (load_one(cl, wanted, &e) == LEVER_OK) return LEVER_OK;
        return lv_fail(err, LEVER_EUNSUP, 0, "%s (named by LEVER_OPENCL_LIB)", e.msg);
    }
    bool found = false;
    for (size_t i = 0; i < N_NAMES; i++) {
        lever_error one = { 0 };
        const int rc = load_one(cl, names[i], &one);
        if (rc == LEVER_OK) return LEVER_OK;
        if (rc == LEVER_EUNSUP && !found) e = one, found = true;
    }
    if (found) return lv_fail(err, LEVER_EUNSUP, 0, "%s", e.msg);
    return lv_fail(err, LEVER_EUNSUP, 0,
                   "OpenCL: no library (%s and %d more were tried; LEVER_OPENCL_LIB may name one)", names[0],
                   N_NAMES - 1);
}

static const char *error_name(cl_int code)
{
    switch (code) {
#define X(name)                                                                                              \
    case name: return #name;
        X(CL_DEVICE_NOT_FOUND)
        X(CL_DEVICE_NOT_AVAILABLE)
        X(CL_COMPILER_NOT_AVAILABLE)
        X(CL_MEM_OBJECT_ALLOCATION_FAILURE)
        X(CL_OUT_OF_RESOURCES)
        X(CL_OUT_OF_HOST_MEMORY)
        X(CL_BUILD_PROGRAM_FAILURE)
        X(CL_MAP_FAILURE)
        X(CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST)
        X(CL_INVALID_VALUE)
        X(CL_INVALID_BINARY)
        X(CL_INVALID_BUFFER_SIZE)
        X(CL_INVALID_KERNEL_NAME)
        X(CL_INVALID_KERNEL_ARGS)
        X(CL_INVALID_WORK_GROUP_SIZE)
        X(CL_INVALID_OPERATION)
#undef X
    case -1001: return "CL_PLATFORM_NOT_FOUND_KHR";
    default: return NULL;
    }
}

int lv_cl_fail(lever_error *err, cl_int code, const char *what)
{
    const bool memory = code == CL_MEM_OBJECT_ALLOCATION_FAILURE || code == CL_OUT_OF_HOST_MEMORY;
    const int rc = memory ? LEVER_ENOMEM : LEVER_EIO;
    const char *name = error_name(code);
    if (name) return lv_fail(err, rc, 0, "%s: %s", what, name);
    return lv_fail(err, rc, 0, "%s: OpenCL error %d", what, code);
}
