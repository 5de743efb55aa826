/* SPDX-License-Identifier: MIT */
#include "device/cpu/cpu_device.h"

#include <stdio.h>

#include "device/cpu/cpu_impl.h"

typedef struct cpu_device {
    lv_device base;
    lv_cpu *cpu;
} cpu_device;

static int memory_open(lv_device *d, lv_device_memory **out, size_t bytes, lever_error *err)
{
    lv_device_memory *m = lv_alloc(sizeof *m, 16);
    if (!m || !(m->host = lv_map(bytes))) {
        lv_free(m);
        return lv_fail(err, LEVER_ENOMEM, 0, "%s: a piece of %zu bytes", d->traits.name, bytes);
    }
    m->bytes = bytes;
    *out = m;
    return LEVER_OK;
}

static void memory_close(lv_device *d, lv_device_memory *m)
{
    (void)d;
    lv_unmap(m->host, m->bytes);
    lv_free(m);
}

/* One memory, one reader: nothing changes hands. */
static int memory_pass(lv_device *d, lv_device_memory *m, lever_error *err)
{
    (void)d, (void)m, (void)err;
    return LEVER_OK;
}

static int submit(lv_device *d, unsigned slot, const lv_device_job *job, lever_error *err)
{
    (void)slot, (void)err;
    lv_cpu *cpu = ((cpu_device *)d)->cpu;
    unsigned packed = 0;
    for (unsigned i = 0; i < job->n_products; i++) {
        const lv_device_product *p = &job->products[i];
        const int kind = lv_type_act_kind(p->type);
        if (!(packed >> kind & 1)) lv_cpu_pack(cpu, (enum lv_act_kind)kind, job->x, job->n_rows, job->k);
        packed |= 1u << kind;
        lv_cpu_matmul(cpu, p->y, p->ldy, p->type, p->w->host + p->w_at, p->n_out, job->n_rows, job->k);
    }
    return LEVER_OK;
}

static int wait(lv_device *d, unsigned slot, lever_error *err)
{
    (void)d, (void)slot, (void)err;
    return LEVER_OK;
}

static void close(lv_device *d)
{
    lv_free(d);
}

int lv_cpu_device_open(lv_device **out, lv_cpu *cpu, const lv_device_config *c, lever_error *err)
{
    static const lv_device_table table = { memory_open, memory_close, memory_pass, memory_pass,
                                           memory_pass, submit,       wait,        close };
    *out = NULL;
    LEVER_TRY(lv_device_config_check(c, err));
    if (c->max_rows > cpu->c.max_rows || c->max_k > cpu->c.max_k)
        return lv_fail(err, LEVER_EINVAL, 0, "CPU device: %zu rows of %zu, more than %zu of %zu", c->max_rows,
                       c->max_k, cpu->c.max_rows, cpu->c.max_k);
    cpu_device *d = lv_alloc(sizeof *d, 16);
    if (!d) return lv_fail(err, LEVER_ENOMEM, 0, "CPU device");
    d->cpu = cpu;
    d->base.table = &table;
    d->base.config = *c;
    d->base.traits = (lv_device_traits){ .kind = "cpu", .piece_bytes = SIZE_MAX, .unified = true };
    snprintf(d->base.traits.name, sizeof d->base.traits.name, "CPU (%s)", cpu->k.isa);
    for (uint32_t type = 0; type < LV_TYPE_COUNT; type++)
        if (cpu->k.matmul[type] && cpu->act[lv_type_act_kind(type)]) d->base.traits.types |= 1ull << type;
    *out = &d->base;
    return LEVER_OK;
}
