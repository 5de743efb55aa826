/* A sample of products against the reference, before a device is trusted: compilers and drivers have bugs,
 * and what they say about rounding need not be true. SPDX-License-Identifier: MIT */
#include <string.h>

#include "base/f16.h"
#include "base/mem.h"
#include "device/opencl/opencl_impl.h"
#include "kernel/kernel.h"

enum { ROWS = 3, OUT = 9, K = 1024 }; /* at most; fewer where the device was opened for fewer */

typedef struct sample {
    uint32_t type;
    size_t n_rows, n_out, k, w_bytes;
    uint8_t *w;
    float *x, *got, *want;
    void *act, *scratch;
    uint32_t random;
} sample;

static uint32_t draw(sample *s)
{
    s->random = s->random * 1664525u + 1013904223u;
    return s->random >> 8;
}

/* Any codes; scales of both signs around 2^-8, one in 16 of them subnormal. Activations around 1, some blocks
 * with an outlier. */
static void fill(sample *s)
{
    const lv_type_traits *t = lv_type_traits_get(s->type);
    for (size_t i = 0; i < s->w_bytes; i++) s->w[i] = (uint8_t)draw(s);
    for (size_t at = 0; at < s->w_bytes; at += t->block_bytes)
        for (int n = 0; n < t->n_scales; n++) {
            uint16_t d = (uint16_t)(0x1800u + draw(s) % 0x1000u) | (uint16_t)((draw(s) & 1u) << 15);
            if (draw(s) % 16 == 0) d &= 0x83ff;
            memcpy(s->w + at + t->scale_at[n], &d, 2);
        }
    for (size_t i = 0; i < s->n_rows * s->k; i++) {
        s->x[i] = ((float)draw(s) - 8388608.0f) * 0x1p-23f;
        if (draw(s) % 128 == 0) s->x[i] *= 1000.0f;
    }
}

static void reference(sample *s)
{
    lv_kernels ref;
    lv_kernels_init(&ref, 0);
    ref.act_pack[lv_type_act_kind(s->type)](s->act, s->x, s->k, s->n_rows, s->k, 0, s->n_rows);
    ref.matmul[s->type](s->want, s->n_out, s->w, s->n_out, s->act, s->n_rows, s->k, s->scratch);
}

static int compute(lv_device *d, sample *s, lever_error *err)
{
    lv_device_memory *m;
    LEVER_TRY(lv_device_memory_open(d, &m, s->w_bytes, err));
    memcpy(m->host, s->w, s->w_bytes);
    const lv_device_job job = { s->x, s->n_rows, s->k, 1, { { m, 0, s->type, s->n_out, s->got, s->n_out } } };
    int rc = lv_device_memory_give(d, m, err);
    if (rc == LEVER_OK) rc = lv_device_submit(d, &job, err);
    if (rc >= 0) rc = lv_device_wait(d, rc, err);
    lv_device_memory_close(d, &m);
    return rc;
}

static int compare(const lv_device *d, const sample *s, lever_error *err)
{
    for (size_t i = 0; i < s->n_rows * s->n_out; i++)
        if (lv_f32_bits(s->want[i]) != lv_f32_bits(s->got[i]))
            return lv_fail(err, LEVER_EUNSUP, 0,
                           "OpenCL: %s can not be used: it computes %a for a product of %s "
                           "that is %a",
                           d->traits.name, (double)s->got[i], lv_type_traits_get(s->type)->name,
                           (double)s->want[i]);
    return LEVER_OK;
}

static int check_type(lv_device *d, uint32_t type, lever_error *err)
{
    lv_kernels ref;
    lv_kernels_init(&ref, 0);
    const lv_device_config *c = &d->config;
    const size_t len = lv_type_block_len(type), k = c->max_k < K ? c->max_k / len * len : K;
    if (!k) return LEVER_OK; /* opened for rows without a whole block of this type */
    sample s = { .type = type, .k = k, .random = 20240607u + type };
    s.n_rows = c->max_rows < ROWS ? c->max_rows : ROWS;
    s.n_out = c->max_out < OUT ? c->max_out : OUT;
    s.w_bytes = s.n_out * lv_type_row_bytes(type, s.k);
    s.w = lv_alloc(s.w_bytes, 64);
    s.x = lv_alloc(s.n_rows * s.k * sizeof(float), 64);
    s.got = lv_alloc(s.n_rows * s.n_out * sizeof(float), 64);
    s.want = lv_alloc(s.n_rows * s.n_out * sizeof(float), 64);
    s.act = lv_alloc(ref.act_bytes[lv_type_act_kind(type)](s.n_rows, s.k), 64);
    s.scratch = lv_alloc(ref.matmul_scratch_bytes(s.k) + 64, 64);
    int rc = LEVER_OK;
    if (!s.w || !s.x || !s.got || !s.want || !s.act || !s.scratch)
        rc = lv_fail(err, LEVER_ENOMEM, 0, "OpenCL: a sample of products");
    if (rc == LEVER_OK) {
        fill(&s);
        reference(&s);
        rc = compute(d, &s, err);
    }
    if (rc == LEVER_OK) rc = compare(d, &s, err);
    void *const all[] = { s.w, s.x, s.got, s.want, s.act, s.scratch };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) lv_free(all[i]);
    return rc;
}

int lv_cl_check(lv_device *d, lever_error *err)
{
    for (uint32_t type = 0; type < LV_TYPE_COUNT; type++)
        if (d->traits.types >> type & 1) LEVER_TRY(check_type(d, type, err));
    return LEVER_OK;
}
