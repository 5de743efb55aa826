/* SPDX-License-Identifier: MIT */
#include "device/opencl/cl_program.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "device/opencl/cl_kernels.h"

enum { PATH_CAP = 1024, KEY_CAP = 1024, BINARY_MOST = 64 << 20 };

/* A cache file: this, then the binary. Written and read by one machine, so in its own byte order. */
typedef struct file_head {
    char magic[8];
    uint64_t key, bytes, sum; /* of the binary */
} file_head;
static const char magic[8] = { 'L', 'V', 'C', 'L', 'B', 'I', 'N', '1' };

static void build_options(char *text, size_t cap)
{
    snprintf(text, cap, "-cl-std=CL1.2 -DOUTS=%du -DUNITS=%du -DGROUP=%d", LV_CL_OUTS, LV_CL_UNITS,
             LV_CL_GROUP);
}

/* Whatever a binary depends on. */
static uint64_t cache_key(const lv_opencl_info *d, const char *options)
{
    char text[KEY_CAP];
    snprintf(text, sizeof text, "%s\n%s\n%s\n%s\n%u\n%s\n%016" PRIx64, d->platform, d->vendor, d->name,
             d->driver, d->version, options, lv_hash64(lv_cl_source, lv_cl_source_bytes));
    return lv_hash64(text, strlen(text));
}

static bool cache_path(char *path, const char *dir, uint64_t key, const char *end)
{
    const int n = snprintf(path, PATH_CAP, "%s/opencl-%016" PRIx64 "%s", dir, key, end);
    return n > 0 && n < PATH_CAP;
}

/* The binary in the cache: *bytes at the address returned (lv_free), or NULL. */
static void *cache_read(const char *dir, uint64_t key, size_t *bytes)
{
    char path[PATH_CAP];
    file_head head;
    void *binary = NULL;
    FILE *f = cache_path(path, dir, key, ".bin") ? fopen(path, "rb") : NULL;
    if (!f) return NULL;
    if (fread(&head, sizeof head, 1, f) == 1 && !memcmp(head.magic, magic, sizeof magic) && head.key == key &&
        head.bytes > 0 && head.bytes <= BINARY_MOST && (binary = lv_alloc((size_t)head.bytes, 16))) {
        *bytes = (size_t)head.bytes;
        if (fread(binary, 1, *bytes, f) != *bytes || fgetc(f) != EOF ||
            lv_hash64(binary, *bytes) != head.sum) {
            lv_free(binary);
            binary = NULL;
        }
    }
    fclose(f);
    return binary;
}

/* Whole or not at all: readers see the old file or the new one. */
static void cache_write(const char *dir, uint64_t key, const void *binary, size_t bytes)
{
    char path[PATH_CAP], temp[PATH_CAP];
    file_head head = { .key = key, .bytes = bytes, .sum = lv_hash64(binary, bytes) };
    memcpy(head.magic, magic, sizeof magic);
    if (!cache_path(path, dir, key, ".bin") || !cache_path(temp, dir, key, ".XXXXXX")) return;
    const int fd = mkstemp(temp);
    if (fd < 0) return;
    FILE *f = fdopen(fd, "wb");
    bool ok = f && fwrite(&head, sizeof head, 1, f) == 1 && fwrite(binary, 1, bytes, f) == bytes;
    if (f && fclose(f) != 0) ok = false;
    if (!ok || rename(temp, path) != 0) remove(temp);
}

static void cache_store(const lv_cl *cl, cl_program program, const char *dir, uint64_t key)
{
    size_t bytes = 0;
    if (cl->GetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, sizeof bytes, &bytes, NULL) != CL_SUCCESS)
        return;
    unsigned char *binary = bytes && bytes <= BINARY_MOST ? lv_alloc(bytes, 16) : NULL;
    if (!binary) return;
    if (cl->GetProgramInfo(program, CL_PROGRAM_BINARIES, sizeof binary, &binary, NULL) == CL_SUCCESS)
        cache_write(dir, key, binary, bytes);
    lv_free(binary);
}

static cl_program from_binary(const lv_cl *cl, cl_context context, cl_device_id device, const char *options,
                              const void *binary, size_t bytes)
{
    cl_int rc, state = CL_INVALID_BINARY;
    const unsigned char *at = binary;
    cl_program program = cl->CreateProgramWithBinary(context, 1, &device, &bytes, &at, &state, &rc);
    if (!program) return NULL;
    if (rc == CL_SUCCESS && state == CL_SUCCESS &&
        cl->BuildProgram(program, 1, &device, options, NULL, NULL) == CL_SUCCESS)
        return program;
    cl->ReleaseProgram(program);
    return NULL;
}

/* What the compiler said, in one line. */
static int build_failed(const lv_cl *cl, cl_program program, cl_device_id device, cl_int rc, lever_error *err)
{
    char log[300] = "", *whole = NULL;
    size_t bytes = 0;
    cl->GetProgramBuildInfo(program, device, CL_PROGRAM_BUILD_LOG, 0, NULL, &bytes);
    if (bytes && bytes < BINARY_MOST && (whole = lv_alloc(bytes + 1, 16)) &&
        cl->GetProgramBuildInfo(program, device, CL_PROGRAM_BUILD_LOG, bytes, whole, NULL) == CL_SUCCESS)
        snprintf(log, sizeof log, "%s", whole);
    lv_free(whole);
    for (char *c = log; *c; c++)
        if (*c < ' ') *c = ' ';
    if (!log[0]) return lv_cl_fail(err, rc, "OpenCL: the driver can not compile our kernels");
    return lv_fail(err, LEVER_EIO, 0, "OpenCL: the driver can not compile our kernels: %s", log);
}

int lv_cl_program(const lv_cl *cl, cl_context context, cl_device_id device, const lv_opencl_info *info,
                  const char *cache_dir, cl_program *out, bool *from_cache, lever_error *err)
{
    char options[128];
    build_options(options, sizeof options);
    const uint64_t key = cache_key(info, options);
    size_t bytes = 0;
    void *binary = cache_dir ? cache_read(cache_dir, key, &bytes) : NULL;
    *out = binary ? from_binary(cl, context, device, options, binary, bytes) : NULL;
    *from_cache = *out != NULL;
    lv_free(binary);
    if (*out) return LEVER_OK;

    cl_int rc;
    const char *source = lv_cl_source;
    const size_t length = lv_cl_source_bytes;
    cl_program program = cl->CreateProgramWithSource(context, 1, &source, &length, &rc);
    if (!program) return lv_cl_fail(err, rc, "OpenCL: program");
    rc = cl->BuildProgram(program, 1, &device, options, NULL, NULL);
    if (rc != CL_SUCCESS) {
        const int failed = build_failed(cl, program, device, rc, err);
        cl->ReleaseProgram(program);
        return failed;
    }
    if (cache_dir) cache_store(cl, program, cache_dir, key);
    *out = program;
    return LEVER_OK;
}
