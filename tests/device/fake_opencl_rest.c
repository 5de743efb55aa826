/* The functions of OpenCL that nobody can reach in fake_opencl.c, as it makes no context. They are there to
 * be found by name, so their true parameters do not matter. SPDX-License-Identifier: MIT */
#include <stdlib.h>

#define UNREACHED(name)                                                                                      \
    __attribute__((visibility("default"))) void *name(void);                                                 \
    void *name(void)                                                                                         \
    {                                                                                                        \
        abort();                                                                                             \
    }

UNREACHED(clReleaseContext)
UNREACHED(clCreateCommandQueue)
UNREACHED(clReleaseCommandQueue)
UNREACHED(clCreateBuffer)
UNREACHED(clReleaseMemObject)
UNREACHED(clCreateProgramWithSource)
UNREACHED(clCreateProgramWithBinary)
UNREACHED(clBuildProgram)
UNREACHED(clGetProgramInfo)
UNREACHED(clGetProgramBuildInfo)
UNREACHED(clReleaseProgram)
UNREACHED(clCreateKernel)
UNREACHED(clReleaseKernel)
UNREACHED(clGetKernelWorkGroupInfo)
UNREACHED(clSetKernelArg)
UNREACHED(clEnqueueNDRangeKernel)
UNREACHED(clEnqueueMapBuffer)
UNREACHED(clEnqueueUnmapMemObject)
UNREACHED(clWaitForEvents)
UNREACHED(clReleaseEvent)
UNREACHED(clFlush)
UNREACHED(clFinish)
