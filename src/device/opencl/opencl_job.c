/* Jobs of an OpenCL device: rows are packed here, products run there. SPDX-License-Identifier: MIT */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "device/opencl/opencl_impl.h"
#include "kernel/act_block.h"
#include "quant/quant.h"

static const struct {
    uint32_t type;
    int act;
    bool has_min;
} kernel_types[LV_CL_TYPES] = { { LV_TYPE_Q4_0, 0, false },
                                { LV_TYPE_Q8_0, 0, false },
                                { LV_TYPE_Q4_K, 1, true },
                                { LV_TYPE_Q6_K, 1, false } };
static const size_t act_len[LV_CL_ACTS] = { 32, 256 };

int lv_cl_kernel_of(uint32_t type)
{
    for (int i = 0; i < LV_CL_TYPES; i++)
        if (kernel_types[i].type == type) return i;
    return -1;
}

uint64_t lv_cl_types(void)
{
    uint64_t bits = 0;
    for (int i = 0; i < LV_CL_TYPES; i++) bits |= 1ull << kernel_types[i].type;
    return bits;
}

/* ---- buffers ---- */

static size_t act_bytes(const lv_device_config *c, int act)
{
    const size_t k = lv_round_up(c->max_k, 256);
    return c->max_rows * (k + k / act_len[act] * sizeof(float));
}

static size_t y_bytes(const lv_device_config *c)
{
    return c->max_rows * c->max_out * sizeof(float);
}

size_t lv_cl_slot_bytes(const lv_device_config *c)
{
    return act_bytes(c, 0) + act_bytes(c, 1) + y_bytes(c);
}

static cl_int map_act(lv_cl_device *d, lv_cl_slot *s, int act, cl_bool blocking)
{
    cl_int rc;
    s->act_host[act] = d->cl.EnqueueMapBuffer(d->queue, s->act[act], blocking, CL_MAP_WRITE_INVALIDATE_REGION,
                                              0, act_bytes(&d->base.config, act), 0, NULL, NULL, &rc);
    return rc;
}

static cl_int map_y(lv_cl_device *d, lv_cl_slot *s, cl_bool blocking, size_t bytes, cl_event *done)
{
    cl_int rc;
    s->y_host = d->cl.EnqueueMapBuffer(d->queue, s->y, blocking, CL_MAP_READ, 0, bytes, 0, NULL, done, &rc);
    return rc;
}

int lv_cl_slot_open(lv_cl_device *d, lv_cl_slot *s, lever_error *err)
{
    const lv_device_config *c = &d->base.config;
    cl_int rc = CL_SUCCESS;
    for (int i = 0; i < LV_CL_ACTS && rc == CL_SUCCESS; i++) {
        s->act[i] = d->cl.CreateBuffer(d->context, CL_MEM_READ_ONLY | CL_MEM_ALLOC_HOST_PTR, act_bytes(c, i),
                                       NULL, &rc);
        if (rc == CL_SUCCESS) rc = map_act(d, s, i, CL_TRUE);
    }
    if (rc == CL_SUCCESS)
        s->y =
            d->cl.CreateBuffer(d->context, CL_MEM_WRITE_ONLY | CL_MEM_ALLOC_HOST_PTR, y_bytes(c), NULL, &rc);
    if (rc == CL_SUCCESS) rc = map_y(d, s, CL_TRUE, y_bytes(c), NULL);
    return rc == CL_SUCCESS ? LEVER_OK : lv_cl_fail(err, rc, "OpenCL: buffers for rows");
}

static cl_int unmap(lv_cl_device *d, cl_mem mem, void **host)
{
    void *at = *host;
    *host = NULL;
    return at ? d->cl.EnqueueUnmapMemObject(d->queue, mem, at, 0, NULL, NULL) : CL_SUCCESS;
}

void lv_cl_slot_close(lv_cl_device *d, lv_cl_slot *s)
{
    for (int i = 0; i < LV_CL_ACTS; i++) {
        unmap(d, s->act[i], &s->act_host[i]);
        if (s->act[i]) d->cl.ReleaseMemObject(s->act[i]);
    }
    unmap(d, s->y, &s->y_host);
    if (s->y) d->cl.ReleaseMemObject(s->y);
}

/* ---- jobs ---- */

/* q [n_rows][k], then scales [n_rows][k / len]: what kernels.cl reads. */
static int pack(const lv_cl_device *d, void *dst, const lv_device_job *job, size_t len, lever_error *err)
{
    const size_t n_blocks = job->n_rows * (job->k / len);
    int8_t *q = dst;
    float *scales = (float *)((uint8_t *)dst + job->n_rows * job->k);
    for (size_t b = 0; b < n_blocks; b++) {
        scales[b] = lv_act_block(q + b * len, job->x + b * len, len);
        if (d->flushes && scales[b] > 0 && scales[b] < LV_DEVICE_FLUSH_LIMIT)
            return lv_fail(err, LEVER_EUNSUP, 0, "%s: activations below 2^-71 of row %zu would be lost",
                           d->base.traits.name, b * len / job->k);
    }
    return LEVER_OK;
}

typedef struct argument {
    size_t bytes;
    const void *value; /* NULL: local memory */
} argument;

/* y [n_rows][n_out] at float y_at of the slot's buffer. */
static cl_int start_product(lv_cl_device *d, lv_cl_slot *s, const lv_device_job *job,
                            const lv_device_product *p, cl_ulong y_at)
{
    const lv_cl_memory *m = (const lv_cl_memory *)p->w;
    const int kernel = lv_cl_kernel_of(p->type);
    const size_t n_tiles = (job->n_rows + LV_CL_ROWS - 1) / LV_CL_ROWS;
    const cl_uint n_out = (cl_uint)p->n_out, n_rows = (cl_uint)job->n_rows, k = (cl_uint)job->k;
    const cl_uint tile = (cl_uint)((job->n_rows + n_tiles - 1) / n_tiles);
    const cl_ulong w_at = (cl_ulong)m->pad + p->w_at;
    const size_t sums_bytes = (size_t)tile * LV_CL_GROUP * sizeof(cl_int);
    const size_t mins_bytes = kernel_types[kernel].has_min ? sums_bytes : sizeof(cl_int);
    const argument args[] = {
        { sizeof m->mem, &m->mem },
        { sizeof w_at, &w_at },
        { sizeof(cl_mem), &s->act[kernel_types[kernel].act] },
        { sizeof s->y, &s->y },
        { sizeof y_at, &y_at },
        { sizeof n_out, &n_out },
        { sizeof n_rows, &n_rows },
        { sizeof k, &k },
        { sizeof tile, &tile },
        { sums_bytes, NULL },
        { mins_bytes, NULL },
        { 2 * LV_CL_GROUP * sizeof(cl_float), NULL },
    };
    for (cl_uint i = 0; i < sizeof args / sizeof *args; i++) {
        const cl_int rc = d->cl.SetKernelArg(d->kernels[kernel], i, args[i].bytes, args[i].value);
        if (rc != CL_SUCCESS) return rc;
    }
    const size_t local[2] = { LV_CL_GROUP, 1 };
    const size_t global[2] = { (p->n_out + LV_CL_OUTS - 1) / LV_CL_OUTS * LV_CL_GROUP,
                               (job->n_rows + tile - 1) / tile };
    return d->cl.EnqueueNDRangeKernel(d->queue, d->kernels[kernel], 2, NULL, global, local, 1, &m->ready,
                                      NULL);
}

/* Buffers to the device, products, buffers back; the queue keeps this order. */
static cl_int start(lv_cl_device *d, lv_cl_slot *s, const lv_device_job *job, unsigned acts)
{
    cl_int rc = unmap(d, s->y, &s->y_host);
    for (int i = 0; i < LV_CL_ACTS && rc == CL_SUCCESS; i++)
        if (acts >> i & 1) rc = unmap(d, s->act[i], &s->act_host[i]);
    cl_ulong y_at = 0;
    for (unsigned i = 0; i < job->n_products && rc == CL_SUCCESS; i++) {
        rc = start_product(d, s, job, &job->products[i], y_at);
        y_at += (cl_ulong)(job->n_rows * job->products[i].n_out);
    }
    for (int i = 0; i < LV_CL_ACTS && rc == CL_SUCCESS; i++)
        if (acts >> i & 1) rc = map_act(d, s, i, CL_FALSE);
    if (rc == CL_SUCCESS) rc = map_y(d, s, CL_FALSE, (size_t)y_at * sizeof(float), &s->done);
    return rc == CL_SUCCESS ? d->cl.Flush(d->queue) : rc;
}

static int lose(lv_cl_device *d, cl_int rc, const char *what, lever_error *err)
{
    d->lost = true;
    const int code = lv_cl_fail(err, rc, what);
    return lv_fail_prefix(err, code, "%s failed", d->base.traits.name);
}

int lv_cl_submit(lv_device *base, unsigned slot, const lv_device_job *job, lever_error *err)
{
    lv_cl_device *d = (lv_cl_device *)base;
    lv_cl_slot *s = &d->slots[slot];
    if (d->lost) return lv_fail(err, LEVER_EIO, 0, "%s failed before", d->base.traits.name);
    unsigned acts = 0;
    for (unsigned i = 0; i < job->n_products; i++) {
        const int act = kernel_types[lv_cl_kernel_of(job->products[i].type)].act;
        if (!(acts >> act & 1)) LEVER_TRY(pack(d, s->act_host[act], job, act_len[act], err));
        acts |= 1u << act;
    }
    s->n_rows = job->n_rows;
    s->n_products = job->n_products;
    memcpy(s->products, job->products, sizeof s->products);
    const cl_int rc = start(d, s, job, acts);
    return rc == CL_SUCCESS ? LEVER_OK : lose(d, rc, "starting a product", err);
}

int lv_cl_wait(lv_device *base, unsigned slot, lever_error *err)
{
    lv_cl_device *d = (lv_cl_device *)base;
    lv_cl_slot *s = &d->slots[slot];
    const cl_int rc = d->cl.WaitForEvents(1, &s->done);
    d->cl.ReleaseEvent(s->done);
    s->done = NULL;
    if (rc != CL_SUCCESS) return lose(d, rc, "a product", err);
    const float *from = s->y_host;
    for (unsigned i = 0; i < s->n_products; i++) {
        const lv_device_product *p = &s->products[i];
        for (size_t t = 0; t < s->n_rows; t++, from += p->n_out)
            memcpy(p->y + t * p->ldy, from, p->n_out * sizeof *from);
    }
    return LEVER_OK;
}
