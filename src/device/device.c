/* What devices have in common: arguments are checked here, once. SPDX-License-Identifier: MIT */
#include "device/device.h"

#include "base/mem.h"
#include "quant/quant.h"

int lv_device_config_check(const lv_device_config *c, lever_error *err)
{
    if (!c->max_rows || !c->max_k || !c->max_out)
        return lv_fail(err, LEVER_EINVAL, 0, "device: rows, row length and outputs must be at least 1");
    if (!c->n_jobs || c->n_jobs > LV_DEVICE_JOBS_MOST)
        return lv_fail(err, LEVER_EINVAL, 0, "device: %u jobs at once, 1 to %d are possible", c->n_jobs,
                       LV_DEVICE_JOBS_MOST);
    return LEVER_OK;
}

void lv_device_close(lv_device **d)
{
    if (!d || !*d) return;
    for (int i = 0; i < LV_DEVICE_JOBS_MOST; i++)
        if ((*d)->busy[i]) lv_device_wait(*d, i, NULL);
    (*d)->table->close(*d);
    *d = NULL;
}

int lv_device_memory_open(lv_device *d, lv_device_memory **out, size_t bytes, lever_error *err)
{
    *out = NULL;
    if (!bytes) return lv_fail(err, LEVER_EINVAL, 0, "%s: a piece of 0 bytes", d->traits.name);
    if (bytes > d->traits.piece_bytes)
        return lv_fail(err, LEVER_ELIMIT, 0, "%s: a piece of %zu bytes; the largest possible has %zu",
                       d->traits.name, bytes, d->traits.piece_bytes);
    return d->table->memory_open(d, out, bytes, err);
}

void lv_device_memory_close(lv_device *d, lv_device_memory **m)
{
    if (!m || !*m) return;
    d->table->memory_close(d, *m);
    *m = NULL;
}

int lv_device_memory_take(lv_device *d, lv_device_memory *m, lever_error *err)
{
    if (!m->given) return LEVER_OK;
    LEVER_TRY(d->table->memory_take(d, m, err));
    m->given = m->looked = false;
    return LEVER_OK;
}

int lv_device_memory_give(lv_device *d, lv_device_memory *m, lever_error *err)
{
    if (m->given) return LEVER_OK;
    LEVER_TRY(d->table->memory_give(d, m, err));
    m->given = true;
    return LEVER_OK;
}

int lv_device_memory_look(lv_device *d, lv_device_memory *m, lever_error *err)
{
    if (!m->given || m->looked) return LEVER_OK;
    if (!d->traits.unified || !d->table->memory_look)
        return lv_fail(err, LEVER_EUNSUP, 0, "%s: the host can not read what the device has", d->traits.name);
    LEVER_TRY(d->table->memory_look(d, m, err));
    m->looked = true;
    return LEVER_OK;
}

static int check_product(const lv_device *d, const lv_device_job *job, const lv_device_product *p,
                         lever_error *err)
{
    if (p->type >= LV_TYPE_COUNT || !(d->traits.types >> p->type & 1)) {
        const lv_type_traits *t = lv_type_traits_get(p->type);
        return lv_fail(err, LEVER_EUNSUP, 0, "%s: no products with weights of %s", d->traits.name,
                       t ? t->name : "an unknown type");
    }
    size_t bytes;
    const size_t row = lv_type_row_bytes(p->type, job->k);
    if (!row || !p->n_out || p->ldy < p->n_out || !p->y || lv_mul_size(&bytes, row, p->n_out) < 0)
        return lv_fail(err, LEVER_EINVAL, 0, "%s: a product of %zu outputs, row length %zu", d->traits.name,
                       p->n_out, job->k);
    if (!p->w || !p->w->given)
        return lv_fail(err, LEVER_EINVAL, 0, "%s: weights that the device was not given", d->traits.name);
    if (p->w_at > p->w->bytes || bytes > p->w->bytes - p->w_at)
        return lv_fail(err, LEVER_EINVAL, 0, "%s: weights [%zu, + %zu) in a piece of %zu bytes",
                       d->traits.name, p->w_at, bytes, p->w->bytes);
    return LEVER_OK;
}

static int check_job(const lv_device *d, const lv_device_job *job, lever_error *err)
{
    const lv_device_config *c = &d->config;
    if (!job->x || !job->n_rows || !job->k || job->n_rows > c->max_rows || job->k > c->max_k ||
        !job->n_products || job->n_products > LV_DEVICE_PRODUCTS)
        return lv_fail(err, LEVER_EINVAL, 0,
                       "%s: a job of %u products, %zu rows of %zu; opened for %zu rows of %zu",
                       d->traits.name, job->n_products, job->n_rows, job->k, c->max_rows, c->max_k);
    size_t left = c->max_out;
    for (unsigned i = 0; i < job->n_products; i++) {
        LEVER_TRY(check_product(d, job, &job->products[i], err));
        if (job->products[i].n_out > left)
            return lv_fail(err, LEVER_EINVAL, 0, "%s: more outputs than the %zu it was opened for",
                           d->traits.name, c->max_out);
        left -= job->products[i].n_out;
    }
    return LEVER_OK;
}

int lv_device_submit(lv_device *d, const lv_device_job *job, lever_error *err)
{
    LEVER_TRY(check_job(d, job, err));
    for (unsigned slot = 0; slot < d->config.n_jobs; slot++) {
        if (d->busy[slot]) continue;
        LEVER_TRY(d->table->submit(d, slot, job, err));
        d->busy[slot] = true;
        return (int)slot;
    }
    return lv_fail(err, LEVER_EAGAIN, 0, "%s: %u jobs are under way", d->traits.name, d->config.n_jobs);
}

int lv_device_wait(lv_device *d, int number, lever_error *err)
{
    if (number < 0 || number >= LV_DEVICE_JOBS_MOST || !d->busy[number])
        return lv_fail(err, LEVER_EINVAL, 0, "%s: no job %d is under way", d->traits.name, number);
    d->busy[number] = false;
    return d->table->wait(d, (unsigned)number, err);
}
