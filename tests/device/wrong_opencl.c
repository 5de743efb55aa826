/* The true OpenCL library, but kernels get another fma: what a driver with a fast one would do. All other
 * functions are found in the library this one is linked with. SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>

typedef cl_program (*create_fn)(cl_context, cl_uint, const char **, const size_t *, cl_int *);

__attribute__((visibility("default"))) cl_program clCreateProgramWithSource(cl_context context, cl_uint n,
                                                                            const char **texts,
                                                                            const size_t *lengths, cl_int *rc)
{
    static const char first[] = "#define fma(a, b, c) ((a) * (b) + (c))\n";
    create_fn create;
    void *at = dlsym(RTLD_NEXT, "clCreateProgramWithSource");
    memcpy(&create, &at, sizeof at);
    if (!create || n != 1) abort();
    const char *both[2] = { first, texts[0] };
    const size_t both_lengths[2] = { sizeof first - 1, lengths[0] };
    return create(context, 2, both, both_lengths, rc);
}
