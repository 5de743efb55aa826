/* Jobs of a plug-in: rows are packed, padded and split here, products run there. SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "base/mem.h"
#include "device/plugin/plugin_impl.h"
#include "kernel/act_block.h"
#include "quant/quant.h"

static const size_t block_len[LV_PLUGIN_PACKINGS] = { 32, 256 }, run_len[LV_PLUGIN_PACKINGS] = { 32, 16 };

/* Packing of a type; -1: its rows are floats. */
static int packing_of(uint32_t type)
{
    const uint32_t len = lv_type_traits_get(type)->block_len;
    return len == 32 ? LV_PLUGIN_BY_32 : len == 256 ? LV_PLUGIN_BY_256 : -1;
}

/* ---- buffers ---- */

static void *take(lv_plugin_device *d, size_t n, size_t bytes)
{
    d->base.traits.buffer_bytes += n * bytes;
    return lv_alloc_array(n, bytes, 64);
}

static bool open_slot(lv_plugin_device *d, lv_plugin_slot *s, bool packed[LV_PLUGIN_PACKINGS], bool floats)
{
    const lv_device_config *c = &d->base.config;
    const size_t n = d->most_parts * d->part_rows * c->max_k;
    bool all = (s->parts = take(d, d->most_parts, sizeof *s->parts)) != NULL;
    for (int i = 0; i < LV_PLUGIN_PACKINGS; i++) {
        lv_plugin_rows *r = &s->packed[i];
        if (!packed[i] || n < block_len[i]) continue;
        r->q = take(d, n, 1);
        r->d = take(d, n / block_len[i], sizeof *r->d);
        r->sums = take(d, n / run_len[i], sizeof *r->sums);
        all = all && r->q && r->d && r->sums;
    }
    if (floats) all = (s->x = take(d, n, sizeof *s->x)) != NULL && all;
    if (d->base.traits.row_counts[0])
        all = (s->y = take(d, d->part_rows * c->max_out, sizeof *s->y)) != NULL && all;
    return all;
}

int lv_plugin_slots_open(lv_plugin_device *d, lever_error *err)
{
    bool packed[LV_PLUGIN_PACKINGS] = { false, false }, floats = d->floats;
    for (uint32_t type = 0; type < LV_TYPE_COUNT; type++) {
        if (!(d->base.traits.types >> type & 1)) continue;
        const int packing = packing_of(type);
        if (packing < 0)
            floats = true;
        else
            packed[packing] = true;
    }
    for (unsigned i = 0; i < d->base.config.n_jobs; i++)
        if (!open_slot(d, &d->slots[i], packed, floats))
            return lv_fail(err, LEVER_ENOMEM, 0, "%s: buffers for rows", d->base.traits.name);
    return LEVER_OK;
}

void lv_plugin_slots_close(lv_plugin_device *d)
{
    for (unsigned i = 0; i < d->base.config.n_jobs; i++) {
        lv_plugin_slot *s = &d->slots[i];
        for (int p = 0; p < LV_PLUGIN_PACKINGS; p++) {
            lv_free(s->packed[p].q);
            lv_free(s->packed[p].d);
            lv_free(s->packed[p].sums);
        }
        lv_free(s->x);
        lv_free(s->y);
        lv_free(s->parts);
    }
}

/* ---- rows ---- */

static int pack(const lv_plugin_device *d, const lv_plugin_rows *to, const lv_device_job *job, int packing,
                size_t n_padded, lever_error *err)
{
    const size_t len = block_len[packing], run = run_len[packing];
    const size_t n_blocks = job->n_rows * (job->k / len), n_all = n_padded * (job->k / len);
    for (size_t b = 0; b < n_blocks; b++) {
        int8_t *q = to->q + b * len;
        to->d[b] = lv_act_block(q, job->x + b * len, len);
        if (d->flushes && to->d[b] > 0 && to->d[b] < LV_DEVICE_FLUSH_LIMIT)
            return lv_fail(err, LEVER_EUNSUP, 0, "%s: activations below 2^-71 of row %zu would be lost",
                           d->base.traits.name, b * len / job->k);
        for (size_t i = 0; i < len; i += run) {
            int32_t sum = 0;
            for (size_t j = 0; j < run; j++) sum += q[i + j];
            to->sums[(b * len + i) / run] = sum;
        }
    }
    memset(to->q + n_blocks * len, 0, (n_all - n_blocks) * len);
    memset(to->d + n_blocks, 0, (n_all - n_blocks) * sizeof *to->d);
    memset(to->sums + n_blocks * (len / run), 0, (n_all - n_blocks) * (len / run) * sizeof *to->sums);
    return LEVER_OK;
}

/* Every form of the rows that the products of a job need. *kinds: bits of packings, and 1 <<
 * LV_PLUGIN_PACKINGS for floats. */
static int pack_all(const lv_plugin_device *d, const lv_plugin_slot *s, const lv_device_job *job,
                    size_t n_padded, unsigned *kinds, lever_error *err)
{
    *kinds = d->floats ? 1u << LV_PLUGIN_PACKINGS : 0;
    for (unsigned i = 0; i < job->n_products; i++) {
        const int packing = packing_of(job->products[i].type);
        *kinds |= 1u << (packing < 0 ? LV_PLUGIN_PACKINGS : packing);
    }
    for (int i = 0; i < LV_PLUGIN_PACKINGS; i++)
        if (*kinds >> i & 1) LEVER_TRY(pack(d, &s->packed[i], job, i, n_padded, err));
    if (*kinds >> LV_PLUGIN_PACKINGS) {
        memcpy(s->x, job->x, job->n_rows * job->k * sizeof *s->x);
        memset(s->x + job->n_rows * job->k, 0, (n_padded - job->n_rows) * job->k * sizeof *s->x);
    }
    return LEVER_OK;
}

/* The plug-in's number of rows for n. */
static size_t padded(const lv_plugin_device *d, size_t n)
{
    const uint32_t *counts = d->base.traits.row_counts;
    for (int i = 0; i < LV_DEVICE_ROW_COUNTS && counts[i]; i++)
        if (counts[i] >= n) return counts[i];
    return n;
}

/* ---- jobs ---- */

static lever_plugin_rows rows_from(const lv_plugin_rows *r, size_t k, int packing, size_t first)
{
    return (lever_plugin_rows){ r->q + first * k, r->d + first * (k / block_len[packing]),
                                r->sums + first * (k / run_len[packing]) };
}

/* Rows [first, first + n_rows) of the padded batch; results of a part with rows of zeros go to s->y. */
static void fill_part(lv_plugin_slot *s, lv_plugin_part *part, const lv_device_job *job, unsigned kinds,
                      size_t first, size_t n_rows)
{
    const bool staged = first + n_rows > job->n_rows;
    size_t y_at = 0;
    for (unsigned i = 0; i < job->n_products; i++) {
        const lv_device_product *p = &job->products[i];
        part->products[i] = (lever_plugin_product){
            .w = ((const lv_plugin_memory *)p->w)->memory,
            .w_at = p->w_at,
            .n_out = p->n_out,
            .y = staged ? s->y + y_at : p->y + first * p->ldy,
            .ldy = staged ? p->n_out : p->ldy,
            .type = p->type,
        };
        y_at += n_rows * p->n_out;
    }
    part->job = (lever_plugin_job){ .bytes = sizeof part->job,
                                    .n_products = job->n_products,
                                    .products = part->products,
                                    .n_rows = n_rows,
                                    .k = job->k };
    if (kinds >> LV_PLUGIN_BY_32 & 1)
        part->job.by_32 = rows_from(&s->packed[LV_PLUGIN_BY_32], job->k, LV_PLUGIN_BY_32, first);
    if (kinds >> LV_PLUGIN_BY_256 & 1)
        part->job.by_256 = rows_from(&s->packed[LV_PLUGIN_BY_256], job->k, LV_PLUGIN_BY_256, first);
    if (kinds >> LV_PLUGIN_PACKINGS & 1) part->job.x = s->x + first * job->k;
}

/* Every part that was started is waited for, whatever becomes of the others. */
static int wait_parts(lv_plugin_device *d, unsigned slot, lever_error *err)
{
    lv_plugin_slot *s = &d->slots[slot];
    int rc = LEVER_OK;
    for (unsigned i = 0; i < s->n_started; i++) {
        char why[LEVER_PLUGIN_WHY_BYTES] = "";
        const int result = d->table->wait(d->device, slot * d->most_parts + i, why);
        if (result == LEVER_PLUGIN_OK) continue;
        d->lost = true;
        if (rc == LEVER_OK) rc = lv_plugin_fail(d, result, "a product", why, err);
    }
    s->n_started = 0;
    return rc == LEVER_EUNSUP ? LEVER_EIO : rc; /* too late to refuse */
}

int lv_plugin_submit(lv_device *base, unsigned slot, const lv_device_job *job, lever_error *err)
{
    lv_plugin_device *d = (lv_plugin_device *)base;
    lv_plugin_slot *s = &d->slots[slot];
    if (d->lost) return lv_fail(err, LEVER_EIO, 0, "%s failed before", base->traits.name);
    const size_t n_full = (job->n_rows - 1) / d->part_rows * d->part_rows; /* rows before the last part */
    const size_t n_last = padded(d, job->n_rows - n_full);
    unsigned kinds, n_parts = 0;
    LEVER_TRY(pack_all(d, s, job, n_full + n_last, &kinds, err));
    for (size_t first = 0; first <= n_full; first += d->part_rows)
        fill_part(s, &s->parts[n_parts++], job, kinds, first, first < n_full ? d->part_rows : n_last);
    s->n_rows = job->n_rows;
    s->n_last = job->n_rows - n_full;
    s->n_products = job->n_products;
    memcpy(s->products, job->products, sizeof s->products);
    for (s->n_started = 0; s->n_started < n_parts; s->n_started++) {
        char why[LEVER_PLUGIN_WHY_BYTES] = "";
        const lever_plugin_job *part = &s->parts[s->n_started].job;
        const int result = d->table->submit(d->device, slot * d->most_parts + s->n_started, part, why);
        if (result == LEVER_PLUGIN_OK) continue;
        d->lost = result != LEVER_PLUGIN_REFUSED;
        const int rc = lv_plugin_fail(d, result, "starting a product", why, err);
        const int others = wait_parts(d, slot, err);
        return others < 0 ? others : rc;
    }
    return LEVER_OK;
}

int lv_plugin_wait(lv_device *base, unsigned slot, lever_error *err)
{
    lv_plugin_device *d = (lv_plugin_device *)base;
    lv_plugin_slot *s = &d->slots[slot];
    const size_t n_padded = (size_t)s->parts[s->n_started - 1].job.n_rows;
    LEVER_TRY(wait_parts(d, slot, err));
    if (n_padded == s->n_last) return LEVER_OK;
    const float *from = s->y;
    for (unsigned i = 0; i < s->n_products; i++) {
        const lv_device_product *p = &s->products[i];
        float *to = p->y + (s->n_rows - s->n_last) * p->ldy;
        for (size_t t = 0; t < s->n_last; t++)
            memcpy(to + t * p->ldy, from + t * p->n_out, p->n_out * sizeof *from);
        from += n_padded * p->n_out;
    }
    return LEVER_OK;
}
