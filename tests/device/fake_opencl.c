/* A library with the functions of OpenCL 1.2 that fails on demand: the environment variable LEVER_FAKE_OPENCL
 * says how. Only what is asked of a driver at start does anything.
 * SPDX-License-Identifier: MIT */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>

#define EXPORT __attribute__((visibility("default")))

static int mode_is(const char *name)
{
    const char *mode = getenv("LEVER_FAKE_OPENCL");
    return mode && !strcmp(mode, name);
}

EXPORT cl_int clGetPlatformIDs(cl_uint cap, cl_platform_id *ids, cl_uint *n)
{
    if (mode_is("crash")) raise(SIGSEGV);
    if (mode_is("exit")) _exit(3);
    if (mode_is("hang"))
        for (;;) pause();
    if (mode_is("no platform")) return -1001;
    if (mode_is("broken")) return CL_OUT_OF_RESOURCES;
    if (cap && ids) memset(ids, 0, sizeof *ids);
    *n = 1;
    return CL_SUCCESS;
}

EXPORT cl_int clGetPlatformInfo(cl_platform_id p, cl_platform_info what, size_t cap, void *value, size_t *n)
{
    (void)p, (void)what, (void)n;
    snprintf(value, cap, "fake platform");
    return CL_SUCCESS;
}

EXPORT cl_int clGetDeviceIDs(cl_platform_id p, cl_device_type type, cl_uint cap, cl_device_id *ids,
                             cl_uint *n)
{
    (void)p, (void)type;
    if (mode_is("no device")) return CL_DEVICE_NOT_FOUND;
    if (cap && ids) memset(ids, 0, sizeof *ids);
    *n = 1;
    return CL_SUCCESS;
}

static const char *text_of(cl_device_info what)
{
    switch (what) {
    case CL_DEVICE_NAME: return "fake GPU";
    case CL_DEVICE_VENDOR: return "nobody";
    case CL_DRIVER_VERSION: return "0.1";
    case CL_DEVICE_VERSION: return mode_is("old") ? "OpenCL 1.1 fake" : "OpenCL 1.2 fake";
    default: return NULL;
    }
}

static cl_ulong number_of(cl_device_info what)
{
    const cl_device_fp_config fp = CL_FP_ROUND_TO_NEAREST | CL_FP_INF_NAN | CL_FP_FMA;
    switch (what) {
    case CL_DEVICE_TYPE: return mode_is("cpu") ? CL_DEVICE_TYPE_CPU : CL_DEVICE_TYPE_GPU;
    case CL_DEVICE_AVAILABLE: return !mode_is("not available");
    case CL_DEVICE_COMPILER_AVAILABLE: return !mode_is("no compiler");
    case CL_DEVICE_ENDIAN_LITTLE: return !mode_is("big-endian");
    case CL_DEVICE_SINGLE_FP_CONFIG: return mode_is("no fma") ? fp & ~(cl_ulong)CL_FP_FMA : fp;
    case CL_DEVICE_MAX_WORK_GROUP_SIZE: return mode_is("small groups") ? 32 : 256;
    case CL_DEVICE_LOCAL_MEM_SIZE: return mode_is("little local") ? 1024 : 32768;
    case CL_DEVICE_MAX_COMPUTE_UNITS: return 7;
    case CL_DEVICE_HOST_UNIFIED_MEMORY: return 1;
    case CL_DEVICE_GLOBAL_MEM_SIZE: return (cl_ulong)3 << 30;
    case CL_DEVICE_MAX_MEM_ALLOC_SIZE: return (cl_ulong)1 << 30;
    default: return 0;
    }
}

EXPORT cl_int clGetDeviceInfo(cl_device_id id, cl_device_info what, size_t cap, void *value, size_t *n)
{
    (void)id, (void)n;
    if (text_of(what)) return snprintf(value, cap, "%s", text_of(what)), CL_SUCCESS;
    const cl_ulong v = number_of(what);
    memcpy(value, &v, cap < sizeof v ? cap : sizeof v); /* little-endian */
    return CL_SUCCESS;
}

EXPORT cl_context clCreateContext(const cl_context_properties *p, cl_uint n, const cl_device_id *ids,
                                  void(CL_CALLBACK *tell)(const char *, const void *, size_t, void *),
                                  void *arg, cl_int *rc)
{
    (void)p, (void)n, (void)ids, (void)tell, (void)arg;
    if (mode_is("crash later")) raise(SIGSEGV);
    *rc = CL_OUT_OF_HOST_MEMORY;
    return NULL;
}
