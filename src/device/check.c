/* SPDX-License-Identifier: MIT */
#include "device/check.h"

#include <string.h>

#include "base/f16.h"
#include "base/mem.h"
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

/* In [-1, 1). */
static float draw_float(sample *s)
{
    return ((float)draw(s) - 8388608.0f) * 0x1p-23f;
}

/* Any codes; scales of both signs around 2^-8, one in 16 of them subnormal. */
static void fill_weights(sample *s, const lv_type_traits *t)
{
    if (t->block_len == 1) {
        for (size_t at = 0; at < s->w_bytes; at += t->block_bytes) {
            const float w = draw_float(s);
            t->quantize(s->w + at, &w, 1);
        }
        return;
    }
    for (size_t i = 0; i < s->w_bytes; i++) s->w[i] = (uint8_t)draw(s);
    for (size_t at = 0; at < s->w_bytes; at += t->block_bytes)
        for (int n = 0; n < t->n_scales; n++) {
            uint16_t d = (uint16_t)(0x1800u + draw(s) % 0x1000u) | (uint16_t)((draw(s) & 1u) << 15);
            if (draw(s) % 16 == 0) d &= 0x83ff;
            memcpy(s->w + at + t->scale_at[n], &d, 2);
        }
}

/* Activations around 1, some blocks with an outlier; not for devices that may compute in half precision. */
static void fill(sample *s, bool outliers)
{
    fill_weights(s, lv_type_traits_get(s->type));
    for (size_t i = 0; i < s->n_rows * s->k; i++) {
        s->x[i] = draw_float(s);
        if (outliers && draw(s) % 128 == 0) s->x[i] *= 1000.0f;
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

static float magnitude(float x)
{
    return x < 0 ? -x : x;
}

static bool is_near(const sample *s, size_t row, float got, float want)
{
    float largest = 0;
    for (size_t r = 0; r < s->n_out; r++) {
        const float a = magnitude(s->want[row * s->n_out + r]);
        if (a > largest) largest = a;
    }
    return magnitude(got - want) <= largest * 0.0625f; /* false for NaN */
}

static int compare(const lv_device *d, const sample *s, lever_error *err)
{
    for (size_t i = 0; i < s->n_rows * s->n_out; i++) {
        const float got = s->got[i], want = s->want[i];
        if (lv_f32_bits(got) == lv_f32_bits(want)) continue;
        if (d->traits.approximate && is_near(s, i / s->n_out, got, want)) continue;
        return lv_fail(err, LEVER_EUNSUP, 0,
                       "%s can not be used: it computes %a for a product of %s that is %a (row %zu of %zu)",
                       d->traits.name, (double)got, lv_type_traits_get(s->type)->name, (double)want,
                       i / s->n_out + 1, s->n_rows);
    }
    return LEVER_OK;
}

static int check_sample(lv_device *d, uint32_t type, size_t n_rows, size_t k, lever_error *err)
{
    lv_kernels ref;
    lv_kernels_init(&ref, 0);
    const int kind = lv_type_act_kind(type);
    sample s = { .type = type, .n_rows = n_rows, .k = k, .random = 20240607u + type };
    s.n_out = d->config.max_out < OUT ? d->config.max_out : OUT;
    s.w_bytes = s.n_out * lv_type_row_bytes(type, k);
    s.w = lv_alloc(s.w_bytes, 64);
    s.x = lv_alloc(s.n_rows * s.k * sizeof(float), 64);
    s.got = lv_alloc(s.n_rows * s.n_out * sizeof(float), 64);
    s.want = lv_alloc(s.n_rows * s.n_out * sizeof(float), 64);
    s.act = lv_alloc(ref.act_bytes[kind](s.n_rows, s.k), 64);
    s.scratch = lv_alloc(ref.matmul_scratch_bytes(s.k) + 64, 64);
    int rc = LEVER_OK;
    if (!s.w || !s.x || !s.got || !s.want || !s.act || !s.scratch)
        rc = lv_fail(err, LEVER_ENOMEM, 0, "%s: a sample of products", d->traits.name);
    if (rc == LEVER_OK) {
        fill(&s, !d->traits.approximate);
        reference(&s);
        rc = compute(d, &s, err);
    }
    if (rc == LEVER_OK) rc = compare(d, &s, err);
    void *const all[] = { s.w, s.x, s.got, s.want, s.act, s.scratch };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) lv_free(all[i]);
    return rc;
}

static int check_type(lv_device *d, uint32_t type, lever_error *err)
{
    const lv_device_config *c = &d->config;
    const size_t len = lv_type_traits_get(type)->block_len, k = c->max_k < K ? c->max_k / len * len : K;
    if (!k) return LEVER_OK; /* opened for rows without a whole block of this type */
    LEVER_TRY(check_sample(d, type, c->max_rows < ROWS ? c->max_rows : ROWS, k, err));
    for (int i = 0; i < LV_DEVICE_ROW_COUNTS && d->traits.row_counts[i]; i++)
        if (d->traits.row_counts[i] <= c->max_rows)
            LEVER_TRY(check_sample(d, type, d->traits.row_counts[i], k, err));
    return LEVER_OK;
}

int lv_device_check(lv_device *d, lever_error *err)
{
    for (uint32_t type = 0; type < LV_TYPE_COUNT; type++)
        if (d->traits.types >> type & 1) LEVER_TRY(check_type(d, type, err));
    return LEVER_OK;
}
