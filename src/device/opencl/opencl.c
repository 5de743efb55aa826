/* Opening and closing of OpenCL devices, and their memory. SPDX-License-Identifier: MIT */
#include "device/opencl/opencl.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "device/check.h"
#include "device/opencl/cl_program.h"
#include "device/opencl/opencl_impl.h"
#include "os/child.h"

enum { PAGE = 4096 };

/* ---- pieces of memory ---- */

/* Reads past the page cache want whole pages, which not every driver gives: the piece is one page larger. */
static cl_int map_memory(lv_cl_device *d, lv_cl_memory *m, cl_map_flags how)
{
    cl_int rc;
    m->map =
        d->cl.EnqueueMapBuffer(d->transfers, m->mem, CL_TRUE, how, 0, m->base.bytes + PAGE, 0, NULL, NULL, &rc);
    if (rc != CL_SUCCESS) m->map = NULL;
    return rc;
}

static cl_int map_to_fill(lv_cl_device *d, lv_cl_memory *m)
{
    const cl_int rc = map_memory(d, m, CL_MAP_WRITE_INVALIDATE_REGION);
    if (rc != CL_SUCCESS) return rc;
    m->pad = -(uintptr_t)m->map & (PAGE - 1);
    m->base.host = m->map + m->pad;
    return rc;
}

static cl_int unmap_memory(lv_cl_device *d, lv_cl_memory *m, cl_event *done)
{
    uint8_t *map = m->map;
    m->map = NULL;
    return map ? d->cl.EnqueueUnmapMemObject(d->transfers, m->mem, map, 0, NULL, done) : CL_SUCCESS;
}

static void memory_close(lv_device *base, lv_device_memory *memory)
{
    lv_cl_device *d = (lv_cl_device *)base;
    lv_cl_memory *m = (lv_cl_memory *)memory;
    unmap_memory(d, m, NULL);
    if (m->ready) d->cl.ReleaseEvent(m->ready);
    if (m->mem) d->cl.ReleaseMemObject(m->mem);
    lv_free(m);
}

static int memory_open(lv_device *base, lv_device_memory **out, size_t bytes, lever_error *err)
{
    lv_cl_device *d = (lv_cl_device *)base;
    lv_cl_memory *m = lv_alloc(sizeof *m, 16);
    if (!m) return lv_fail(err, LEVER_ENOMEM, 0, "%s: a piece of memory", base->traits.name);
    cl_int rc;
    m->base.bytes = bytes;
    m->mem =
        d->cl.CreateBuffer(d->context, CL_MEM_READ_ONLY | CL_MEM_ALLOC_HOST_PTR, bytes + PAGE, NULL, &rc);
    if (rc == CL_SUCCESS) rc = map_to_fill(d, m);
    if (rc != CL_SUCCESS) {
        memory_close(base, &m->base);
        return lv_cl_fail(err, rc, "OpenCL: a piece of memory");
    }
    lv_prefer_huge(m->map, bytes + PAGE); /* for drivers, and the CPU, where this is the machine's memory */
    *out = &m->base;
    return LEVER_OK;
}

static int memory_take(lv_device *base, lv_device_memory *memory, lever_error *err)
{
    lv_cl_device *d = (lv_cl_device *)base;
    lv_cl_memory *m = (lv_cl_memory *)memory;
    cl_int rc = unmap_memory(d, m, NULL);
    if (rc == CL_SUCCESS) rc = map_to_fill(d, m);
    return rc == CL_SUCCESS ? LEVER_OK : lv_cl_fail(err, rc, "OpenCL: memory back from the device");
}

static int memory_give(lv_device *base, lv_device_memory *memory, lever_error *err)
{
    lv_cl_device *d = (lv_cl_device *)base;
    lv_cl_memory *m = (lv_cl_memory *)memory;
    if (m->ready) d->cl.ReleaseEvent(m->ready);
    m->ready = NULL;
    cl_int rc = unmap_memory(d, m, &m->ready);
    if (rc == CL_SUCCESS) rc = d->cl.Flush(d->transfers);
    return rc == CL_SUCCESS ? LEVER_OK : lv_cl_fail(err, rc, "OpenCL: memory to the device");
}

/* OpenCL lets kernels read a region that is mapped for reading. */
static int memory_look(lv_device *base, lv_device_memory *memory, lever_error *err)
{
    lv_cl_memory *m = (lv_cl_memory *)memory;
    const cl_int rc = map_memory((lv_cl_device *)base, m, CL_MAP_READ);
    if (rc != CL_SUCCESS) return lv_cl_fail(err, rc, "OpenCL: a look at the device's memory");
    m->base.host = m->map + m->pad;
    return LEVER_OK;
}

/* ---- opening ---- */

static void close(lv_device *base)
{
    lv_cl_device *d = (lv_cl_device *)base;
    for (unsigned i = 0; i < LV_DEVICE_JOBS_MOST; i++) lv_cl_slot_close(d, &d->slots[i]);
    for (int i = 0; i < LV_CL_TYPES; i++)
        if (d->kernels[i]) d->cl.ReleaseKernel(d->kernels[i]);
    if (d->program) d->cl.ReleaseProgram(d->program);
    if (d->transfers) d->cl.Finish(d->transfers), d->cl.ReleaseCommandQueue(d->transfers);
    if (d->queue) d->cl.Finish(d->queue), d->cl.ReleaseCommandQueue(d->queue);
    if (d->context) d->cl.ReleaseContext(d->context);
    lv_free(d);
}

static int find_device(lv_cl_device *d, const char *want, lv_cl_ids *ids, lever_error *err)
{
    lv_opencl_list list;
    LEVER_TRY(lv_cl_load(&d->cl, err));
    LEVER_TRY(lv_cl_devices(&d->cl, &list, ids, err));
    const int chosen = lv_cl_choose(&list, want, err);
    if (chosen >= 0) d->info = list.devices[chosen];
    return chosen;
}

static int make_kernels(lv_cl_device *d, cl_device_id id, lever_error *err)
{
    static const char *const names[LV_CL_TYPES] = { "matmul_q4_0", "matmul_q8_0", "matmul_q4_k",
                                                    "matmul_q6_k" };
    for (int i = 0; i < LV_CL_TYPES; i++) {
        cl_int rc;
        size_t group = 0;
        d->kernels[i] = d->cl.CreateKernel(d->program, names[i], &rc);
        if (rc == CL_SUCCESS)
            rc = d->cl.GetKernelWorkGroupInfo(d->kernels[i], id, CL_KERNEL_WORK_GROUP_SIZE, sizeof group,
                                              &group, NULL);
        if (rc != CL_SUCCESS) return lv_cl_fail(err, rc, "OpenCL: kernels");
        if (group < LV_CL_GROUP)
            return lv_fail(err, LEVER_EUNSUP, 0, "OpenCL: %s has work groups of %zu for %s, %d are needed",
                           d->info.name, group, names[i], LV_CL_GROUP);
    }
    return LEVER_OK;
}

static int open_parts(lv_cl_device *d, const lv_opencl_config *c, lever_error *err)
{
    lv_cl_ids ids;
    const int at = find_device(d, c->want, &ids, err);
    if (at < 0) return at;
    cl_int rc;
    const cl_context_properties properties[] = { CL_CONTEXT_PLATFORM, (cl_context_properties)ids.platform[at],
                                                 0 };
    d->context = d->cl.CreateContext(properties, 1, &ids.device[at], NULL, NULL, &rc);
    if (rc == CL_SUCCESS) d->queue = d->cl.CreateCommandQueue(d->context, ids.device[at], 0, &rc);
    if (rc == CL_SUCCESS) d->transfers = d->cl.CreateCommandQueue(d->context, ids.device[at], 0, &rc);
    if (rc != CL_SUCCESS) return lv_cl_fail(err, rc, "OpenCL: context");
    LEVER_TRY(lv_cl_program(&d->cl, d->context, ids.device[at], &d->info, c->cache_dir, &d->program,
                            &d->from_cache, err));
    LEVER_TRY(make_kernels(d, ids.device[at], err));
    for (unsigned i = 0; i < c->sizes.n_jobs; i++) LEVER_TRY(lv_cl_slot_open(d, &d->slots[i], err));

    d->flushes = c->assume_flush || !d->info.denormals;
    d->base.traits = (lv_device_traits){ .kind = "opencl", .types = lv_cl_types(), .overlaps = true };
    d->base.traits.unified = d->info.unified;
    d->base.traits.buffer_bytes = lv_opencl_memory_bytes(&c->sizes);
    d->base.traits.piece_bytes = d->info.alloc_bytes > PAGE ? (size_t)(d->info.alloc_bytes - PAGE) : 0;
    snprintf(d->base.traits.name, sizeof d->base.traits.name, "%s", d->info.name);
    snprintf(d->base.traits.driver, sizeof d->base.traits.driver, "%s", d->info.driver);
    const int same = lv_device_check(&d->base, err);
    return same < 0 ? lv_fail_prefix(err, same, "OpenCL") : LEVER_OK;
}

static int open_here(lv_device **out, const lv_opencl_config *c, lever_error *err)
{
    static const lv_device_table table = { memory_open, memory_close, memory_take, memory_give,
                                           memory_look, lv_cl_submit, lv_cl_wait,  close };
    lv_cl_device *d = lv_alloc(sizeof *d, 16);
    if (!d) return lv_fail(err, LEVER_ENOMEM, 0, "OpenCL: the device's description");
    d->base.table = &table;
    d->base.config = c->sizes;
    *out = &d->base;
    const int rc = open_parts(d, c, err);
    if (rc < 0) lv_device_close(out);
    return rc;
}

typedef struct trial {
    int rc;
    lever_error err;
} trial;

static void open_in_child(void *arg, void *result)
{
    trial *r = result;
    lv_device *d = NULL;
    r->rc = open_here(&d, arg, &r->err);
    lv_device_close(&d);
}

size_t lv_opencl_memory_bytes(const lv_device_config *sizes)
{
    return sizeof(lv_cl_device) + sizes->n_jobs * lv_cl_slot_bytes(sizes);
}

int lv_opencl_open(lv_device **out, const lv_opencl_config *c, lever_error *err)
{
    *out = NULL;
    LEVER_TRY(lv_device_config_check(&c->sizes, err));
    const size_t most = (size_t)1 << 28; /* products of two of them fit 64 bits, with room */
    if (c->sizes.max_rows > most || c->sizes.max_k > most || c->sizes.max_out > most)
        return lv_fail(err, LEVER_EINVAL, 0, "OpenCL: sizes above %zu", most);
    if (c->limit_ms) {
        trial r;
        lv_opencl_config config = *c;
        LEVER_TRY(lv_child_run(open_in_child, &config, &r, sizeof r, c->limit_ms, "OpenCL: the driver", err));
        if (r.rc < 0) return lv_fail(err, r.rc, r.err.os_errno, "%s", r.err.msg);
    }
    return open_here(out, c, err);
}

const lv_opencl_info *lv_opencl_device_info(const lv_device *d)
{
    return &((const lv_cl_device *)d)->info;
}
bool lv_opencl_from_cache(const lv_device *d)
{
    return ((const lv_cl_device *)d)->from_cache;
}
