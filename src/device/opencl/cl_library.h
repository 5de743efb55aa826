/* The functions of an OpenCL library, loaded at run time; nothing is linked.
 * Threading: as OpenCL itself: every call here may come from any thread. SPDX-License-Identifier: MIT */
#ifndef LEVER_DEVICE_OPENCL_CL_LIBRARY_H
#define LEVER_DEVICE_OPENCL_CL_LIBRARY_H

#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>

#include "base/error.h"

/* What Lever calls, all of it part of OpenCL 1.2. */
#define LV_CL_FUNCTIONS(X)                                                                                   \
    X(GetPlatformIDs)                                                                                        \
    X(GetPlatformInfo)                                                                                       \
    X(GetDeviceIDs)                                                                                          \
    X(GetDeviceInfo)                                                                                         \
    X(CreateContext)                                                                                         \
    X(ReleaseContext)                                                                                        \
    X(CreateCommandQueue)                                                                                    \
    X(ReleaseCommandQueue)                                                                                   \
    X(CreateBuffer)                                                                                          \
    X(ReleaseMemObject)                                                                                      \
    X(CreateProgramWithSource)                                                                               \
    X(CreateProgramWithBinary)                                                                               \
    X(BuildProgram)                                                                                          \
    X(GetProgramInfo)                                                                                        \
    X(GetProgramBuildInfo)                                                                                   \
    X(ReleaseProgram)                                                                                        \
    X(CreateKernel)                                                                                          \
    X(ReleaseKernel)                                                                                         \
    X(GetKernelWorkGroupInfo)                                                                                \
    X(SetKernelArg)                                                                                          \
    X(EnqueueNDRangeKernel)                                                                                  \
    X(EnqueueMapBuffer)                                                                                      \
    X(EnqueueUnmapMemObject)                                                                                 \
    X(WaitForEvents)                                                                                         \
    X(ReleaseEvent)                                                                                          \
    X(Flush)                                                                                                 \
    X(Finish)

typedef struct lv_cl {
#define X(name) __typeof__(cl##name) *name; /* cl->GetPlatformIDs is clGetPlatformIDs */
    LV_CL_FUNCTIONS(X)
#undef X
    const char *path; /* borrowed: of the library, as it was found */
} lv_cl;

/* Load the library that the environment variable LEVER_OPENCL_LIB names; without it the first that is found
 * under the usual names and in the vendor folders of Android. It is never unloaded: drivers leave threads and
 * exit handlers behind. LEVER_OK, or LEVER_EUNSUP with the reason. */
int lv_cl_load(lv_cl *cl, lever_error *err);

/* Fill *err for an OpenCL error code, "<what>: CL_...". Returns LEVER_ENOMEM for the codes that mean it, else
 * LEVER_EIO. */
int lv_cl_fail(lever_error *err, cl_int code, const char *what);

#endif
