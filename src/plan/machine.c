/* SPDX-License-Identifier: MIT */
#include "plan/machine.h"

#include <math.h>
#include <string.h>

enum { HUGE_PAGE = 2 << 20 };

const uint32_t lever_machine_rows[LEVER_MACHINE_ROWS] = { 1, 2, 4, 8, 16, 32, 64, 128 };

bool lv_machine_same(const lever_machine_id *a, const lever_machine_id *b)
{
    const uint64_t more = a->memory_bytes > b->memory_bytes ? a->memory_bytes : b->memory_bytes;
    const uint64_t less = a->memory_bytes > b->memory_bytes ? b->memory_bytes : a->memory_bytes;
    return !strcmp(a->version, b->version) && !strcmp(a->cpu, b->cpu) && !strcmp(a->isa, b->isa) &&
           !strcmp(a->kernel, b->kernel) && a->n_cores == b->n_cores && a->n_threads == b->n_threads &&
           more - less <= more / 16; /* what the kernel keeps for itself differs from start to start */
}

/* ---- what can stand in a file ---- */

static bool is_text(const char *s, size_t cap) { return memchr(s, 0, cap) != NULL; }
static bool within(double x, double lo, double hi) { return x >= lo && x <= hi; } /* false for NaN */
static bool is_time(double s) { return within(s, 0, 1e6); }

static bool are_times(const double *s, size_t n)
{
    while (n && is_time(s[n - 1])) n--;
    return n == 0;
}

static bool device_valid(const lv_machine_device *d)
{
    const double costs[] = { d->call_s, d->give_s, d->give_byte_s, d->take_s };
    bool good = is_text(d->kind, sizeof d->kind) && is_text(d->name, sizeof d->name) &&
                is_text(d->driver, sizeof d->driver) && d->n_products <= LEVER_MACHINE_TYPES &&
                are_times(costs, sizeof costs / sizeof *costs);
    for (uint32_t i = 0; good && i < d->n_products; i++) {
        const lever_machine_product *p = &d->products[i];
        good = is_text(p->type, sizeof p->type) && are_times(p->weight_s, LEVER_MACHINE_ROWS) &&
               is_time(p->pack_s);
    }
    return good;
}

static bool flash_valid(const lv_machine_flash *f)
{
    const lever_flash_profile *r = &f->reads;
    bool good = is_text(f->where, sizeof f->where) && is_text(f->measured, sizeof f->measured) &&
                r->n_points <= LEVER_FLASH_POINTS && (r->best < r->n_points || r->n_points == 0);
    for (uint32_t i = 0; good && i < r->n_points; i++)
        good = r->points[i].backend && within(r->points[i].bytes_per_s, 0, 1e15) &&
               within(r->points[i].cpu_share, 0, 1e6);
    for (uint32_t i = 0; good && i < LEVER_MACHINE_BESIDE && f->beside.rows[i]; i++)
        good = within(f->beside.products[i], 1, 1e6) && within(f->beside.flash[i], 1e-6, 1) &&
               (i == 0 || f->beside.rows[i] > f->beside.rows[i - 1]);
    return good;
}

static bool model_valid(const lever_machine_model *m)
{
    bool good = is_text(m->name, sizeof m->name) && is_text(m->kind, sizeof m->kind) &&
                is_text(m->device, sizeof m->device) && m->n_runs <= LEVER_MACHINE_RUNS &&
                is_time(m->project_s) && (m->project_factor == 0 || within(m->project_factor, 1e-3, 1e3)) &&
                (m->stream_factor == 0 || within(m->stream_factor, 1e-2, 1e2)) && is_time(m->first_s);
    for (uint32_t i = 0; good && i < m->n_runs; i++)
        good = m->rows[i] > (i ? m->rows[i - 1] : 0) && is_time(m->sweep_s[i]) &&
               within(m->factor[i], 1e-3, 1e3);
    return good;
}

static bool rest_valid(const lever_machine_rest *r)
{
    const double times[] = { r->op_s,     r->norm_s,     r->add_s,      r->rope_s,       r->rope_norm_s,
                             r->swiglu_s, r->write_s[0], r->write_s[1], r->candidates_s, r->pick_s };
    return are_times(times, sizeof times / sizeof *times) && are_times(r->attend_s[0], LEVER_MACHINE_ROWS) &&
           are_times(r->attend_s[1], LEVER_MACHINE_ROWS);
}

bool lv_machine_valid(const lv_machine *m)
{
    const lever_machine_id *id = &m->id;
    bool good = is_text(id->version, sizeof id->version) && is_text(id->cpu, sizeof id->cpu) &&
                is_text(id->isa, sizeof id->isa) && is_text(id->kernel, sizeof id->kernel) &&
                is_text(m->measured, sizeof m->measured) && within(m->read_bytes_s, 0, 1e15) &&
                within(m->quiet, 0, 2) && rest_valid(&m->rest) && m->n_devices <= LEVER_MACHINE_DEVICES &&
                m->n_flashes <= LEVER_MACHINE_FLASHES && m->n_models <= LEVER_MACHINE_MODELS;
    for (uint32_t i = 0; good && i < m->n_devices; i++) good = device_valid(&m->devices[i]);
    for (uint32_t i = 0; good && i < m->n_flashes; i++) good = flash_valid(&m->flashes[i]);
    for (uint32_t i = 0; good && i < m->n_models; i++) good = model_valid(&m->models[i]);
    return good;
}

/* ---- entries ---- */

const lv_machine_device *lv_machine_device_find(const lv_machine *m, const char *kind, const char *name,
                                                const char *driver)
{
    for (uint32_t i = 0; i < m->n_devices; i++) {
        const lv_machine_device *d = &m->devices[i];
        if (!strcmp(d->kind, kind) && !strcmp(d->name, name) && (!driver || !strcmp(d->driver, driver)))
            return d;
    }
    return NULL;
}

const lv_machine_flash *lv_machine_flash_find(const lv_machine *m, const char *where)
{
    for (uint32_t i = 0; i < m->n_flashes; i++)
        if (!strcmp(m->flashes[i].where, where)) return &m->flashes[i];
    return NULL;
}

const lever_machine_model *lv_machine_model_find(const lv_machine *m, uint64_t key, const lv_machine_device *on)
{
    const char *kind = on ? on->kind : "", *name = on ? on->name : "";
    for (uint32_t i = 0; i < m->n_models; i++)
        if (m->models[i].key == key && !strcmp(m->models[i].kind, kind) && !strcmp(m->models[i].device, name))
            return &m->models[i];
    return NULL;
}

/* ---- numbers ---- */

/* Through the points (x[i], y[i]); on beyond the last along its last piece where `beyond` says so, else
 * constant. */
static double along(const double *x, const double *y, uint32_t n, double at, bool beyond)
{
    if (n == 0) return 0;
    if (at <= x[0] || n == 1) return n == 1 && beyond && at > x[0] ? y[0] * at / x[0] : y[0];
    uint32_t i = 1;
    while (i + 1 < n && at > x[i]) i++;
    if (at > x[i] && !beyond) return y[i];
    return y[i - 1] + (y[i] - y[i - 1]) * (at - x[i - 1]) / (x[i] - x[i - 1]);
}

double lv_machine_at(const double y[LEVER_MACHINE_ROWS], double rows)
{
    double x[LEVER_MACHINE_ROWS], up[LEVER_MACHINE_ROWS], most = 0;
    uint32_t n = 0;
    for (uint32_t i = 0; i < LEVER_MACHINE_ROWS; i++) {
        if (!(y[i] > 0)) continue;
        most = y[i] > most ? y[i] : most;
        x[n] = lever_machine_rows[i], up[n++] = most;
    }
    return along(x, up, n, rows, true);
}

static const lever_machine_product *product_of(const lv_machine_device *d, uint32_t type)
{
    for (uint32_t i = 0; i < d->n_products; i++)
        if (d->products[i].gguf_type == type) return &d->products[i];
    return NULL;
}

bool lv_machine_knows(const lv_machine_device *d, uint32_t type) { return product_of(d, type) != NULL; }

double lv_machine_products_s(const lv_machine_device *d, uint32_t type, double weights, double rows)
{
    const lever_machine_product *p = product_of(d, type);
    double each = p ? lv_machine_at(p->weight_s, rows) : 0;
    for (uint32_t i = 0; !p && i < d->n_products; i++) {
        const double other = lv_machine_at(d->products[i].weight_s, rows);
        if (other > each) each = other;
    }
    return each > 0 ? weights * each : -1;
}

double lv_machine_pack_s(const lv_machine_device *d, uint32_t type, double rows, double cols)
{
    const lever_machine_product *p = product_of(d, type);
    double each = p ? p->pack_s : 0;
    for (uint32_t i = 0; !p && i < d->n_products; i++)
        if (d->products[i].pack_s > each) each = d->products[i].pack_s;
    return rows * cols * each;
}

static double beside(const lever_machine_beside *b, const double *y, double rows)
{
    double x[LEVER_MACHINE_BESIDE];
    uint32_t n = 0;
    while (n < LEVER_MACHINE_BESIDE && b->rows[n]) x[n] = b->rows[n], n++;
    return n ? along(x, y, n, rows, false) : 1;
}

double lv_machine_products_beside(const lever_machine_beside *b, double rows)
{
    return beside(b, b->products, rows);
}
double lv_machine_flash_beside(const lever_machine_beside *b, double rows)
{
    return beside(b, b->flash, rows);
}

double lv_machine_flash_bytes_s(const lv_machine_flash *f)
{
    return f && f->reads.n_points ? f->reads.points[f->reads.best].bytes_per_s : 0;
}

double lv_machine_stream_bytes_s(const lv_machine_flash *f, const lever_machine_model *m, uint64_t extent_bytes,
                                 uint64_t ring_bytes)
{
    double fastest = 0, any = 0;
    for (uint32_t i = 0; f && i < f->reads.n_points; i++) {
        const lever_flash_point *p = &f->reads.points[i];
        if (strcmp(p->backend, f->reads.points[f->reads.best].backend)) continue;
        any = any > 0 ? fmin(any, p->bytes_per_s) : p->bytes_per_s;
        const bool fits = p->block_bytes <= extent_bytes && (uint64_t)p->block_bytes * p->depth <= ring_bytes &&
                          p->huge_pages == (ring_bytes >= HUGE_PAGE);
        if (fits) fastest = fmax(fastest, p->bytes_per_s);
    }
    return (fastest > 0 ? fastest : any) * (m && m->stream_factor > 0 ? m->stream_factor : 1);
}

double lv_machine_factor(const lever_machine_model *m, double rows)
{
    double x[LEVER_MACHINE_RUNS];
    if (!m || !m->n_runs) return 1;
    for (uint32_t i = 0; i < m->n_runs; i++) x[i] = m->rows[i];
    return along(x, m->factor, m->n_runs, rows, false);
}
