/* A device for tests: works as late as the contract lets it, in memory of its own, and fails where it is told
 * to. What the host may not read any more is overwritten, so a reader that breaks the contract computes
 * nonsense. SPDX-License-Identifier: MIT */
#ifndef LEVER_TESTS_FAKE_DEVICE_H
#define LEVER_TESTS_FAKE_DEVICE_H

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "device/device.h"
#include "kernel/kernel.h"
#include "os/cpu.h"

/* The n-th call of a kind fails, counted from 0, and the device with it: no job is taken from then on. -1:
 * none. */
typedef struct fake_plan {
    long submit, wait, look, take, give, open;
    unsigned refuse; /* every n-th job is one that only the CPU can do; 0: none */
    bool discrete;   /* memory of its own: the host can never look */
    uint64_t types;
    size_t max_k; /* longer rows are the CPU's; 0: as asked for */
} fake_plan;

static const fake_plan fake_works = { -1, -1, -1, -1, -1, -1, 0, false, 0, 0 };
static fake_plan fake_now;
static struct {
    long submit, wait, look, take, give, open, done, pieces;
} fake_count;
static bool fake_failed;

typedef struct fake_memory {
    lv_device_memory base;
    uint8_t *bytes; /* the device's */
} fake_memory;

typedef struct fake_device {
    lv_device base;
    lv_kernels k;
    lv_device_job jobs[LV_DEVICE_JOBS_MOST];
    float *x[LV_DEVICE_JOBS_MOST];
    void *act, *scratch;
} fake_device;

/* Not lv_alloc, whose faults are for the code under test. */
static void *fake_alloc(size_t bytes)
{
    const size_t whole = lv_round_up(bytes, 4096);
    void *p = aligned_alloc(4096, whole);
    if (!p) abort();
    return memset(p, 0, whole);
}

static int fake_fails(long *count, long at, lever_error *err, const char *what)
{
    if ((*count)++ != at) return LEVER_OK;
    fake_failed = true;
    return lv_fail(err, LEVER_EIO, 0, "fake: %s %ld failed", what, *count - 1);
}

static int fake_open_memory(lv_device *d, lv_device_memory **out, size_t bytes, lever_error *err)
{
    (void)d;
    LEVER_TRY(fake_fails(&fake_count.open, fake_now.open, err, "piece"));
    fake_memory *m = fake_alloc(sizeof *m);
    m->base.host = fake_alloc(bytes);
    m->bytes = fake_alloc(bytes);
    m->base.bytes = bytes;
    fake_count.pieces++;
    *out = &m->base;
    return LEVER_OK;
}

static void fake_close_memory(lv_device *d, lv_device_memory *base)
{
    (void)d;
    fake_memory *m = (fake_memory *)base;
    if (!base->looked) free(base->host);
    free(m->bytes);
    free(m);
    fake_count.pieces--;
}

/* Another address each time, and nothing of what was there. */
static int fake_take(lv_device *d, lv_device_memory *base, lever_error *err)
{
    (void)d;
    fake_memory *m = (fake_memory *)base;
    LEVER_TRY(fake_fails(&fake_count.take, fake_now.take, err, "take"));
    uint8_t *fresh = fake_alloc(base->bytes);
    memset(fresh, 0x5a, base->bytes);
    memset(m->bytes, 0x5a, base->bytes);
    if (!base->looked) free(base->host);
    base->host = fresh;
    return LEVER_OK;
}

static int fake_give(lv_device *d, lv_device_memory *base, lever_error *err)
{
    (void)d;
    LEVER_TRY(fake_fails(&fake_count.give, fake_now.give, err, "give"));
    memcpy(((fake_memory *)base)->bytes, base->host, base->bytes);
    memset(base->host, 0xa5, base->bytes);
    return LEVER_OK;
}

static int fake_look(lv_device *d, lv_device_memory *base, lever_error *err)
{
    (void)d;
    LEVER_TRY(fake_fails(&fake_count.look, fake_now.look, err, "look"));
    free(base->host);
    base->host = ((fake_memory *)base)->bytes;
    return LEVER_OK;
}

static int fake_submit(lv_device *base, unsigned slot, const lv_device_job *job, lever_error *err)
{
    fake_device *d = (fake_device *)base;
    if (fake_failed) return lv_fail(err, LEVER_EIO, 0, "fake: failed before");
    if (fake_now.refuse && fake_count.submit % fake_now.refuse == fake_now.refuse - 1) {
        fake_count.submit++;
        return lv_fail(err, LEVER_EUNSUP, 0, "fake: not this one");
    }
    LEVER_TRY(fake_fails(&fake_count.submit, fake_now.submit, err, "job"));
    d->jobs[slot] = *job;
    memcpy(d->x[slot], job->x, job->n_rows * job->k * sizeof(float));
    return LEVER_OK;
}

/* All the work is done here: by then everything borrowed for the call alone is gone. */
static int fake_wait(lv_device *base, unsigned slot, lever_error *err)
{
    fake_device *d = (fake_device *)base;
    const lv_device_job *j = &d->jobs[slot];
    if (fake_failed) return lv_fail(err, LEVER_EIO, 0, "fake: failed before");
    LEVER_TRY(fake_fails(&fake_count.wait, fake_now.wait, err, "wait"));
    for (unsigned i = 0; i < j->n_products; i++) {
        const lv_device_product *p = &j->products[i];
        d->k.act_pack[lv_type_act_kind(p->type)](d->act, d->x[slot], j->k, j->n_rows, j->k, 0, j->n_rows);
        d->k.matmul[p->type](p->y, p->ldy, ((const fake_memory *)p->w)->bytes + p->w_at, p->n_out, d->act,
                             j->n_rows, j->k, d->scratch);
    }
    fake_count.done++;
    return LEVER_OK;
}

static void fake_close(lv_device *base)
{
    fake_device *d = (fake_device *)base;
    for (int i = 0; i < LV_DEVICE_JOBS_MOST; i++) free(d->x[i]);
    free(d->act);
    free(d->scratch);
    free(d);
}

/* An lv_device_open_fn; what fake_now says holds from here on. */
static int fake_open(lv_device **out, const lv_device_config *sizes, lever_error *err)
{
    static const lv_device_table table = { fake_open_memory, fake_close_memory, fake_take, fake_give,
                                           fake_look,        fake_submit,       fake_wait, fake_close };
    (void)err;
    fake_device *d = fake_alloc(sizeof *d);
    const size_t k = lv_round_up(sizes->max_k, 256);
    memset(&fake_count, 0, sizeof fake_count);
    fake_failed = false;
    lv_kernels_init(&d->k, lv_cpu_detect());
    d->base.table = &table;
    d->base.config = *sizes;
    if (fake_now.max_k) d->base.config.max_k = fake_now.max_k;
    d->base.config.max_rows = sizes->max_rows < 5 ? sizes->max_rows : 5; /* so that batches are cut */
    d->base.traits = (lv_device_traits){ .kind = "fake",
                                         .name = "fake",
                                         .types = fake_now.types,
                                         .piece_bytes = (size_t)1 << 32,
                                         .unified = !fake_now.discrete,
                                         .overlaps = true,
                                         .buffer_bytes = 1 << 20 };
    for (int i = 0; i < LV_DEVICE_JOBS_MOST; i++) d->x[i] = fake_alloc(sizes->max_rows * k * sizeof(float));
    size_t act = 64;
    for (int i = 0; i < LV_ACT_COUNT; i++) {
        const size_t n = d->k.act_bytes[i](sizes->max_rows, k);
        if (n > act) act = n;
    }
    d->act = fake_alloc(act);
    d->scratch = fake_alloc(d->k.matmul_scratch_bytes(k) + 64);
    *out = &d->base;
    return LEVER_OK;
}

#endif
