/* Models as they are, under the conditions of decoding: how long their sweeps and projections really take, and by how
 * much predictions miss. SPDX-License-Identifier: MIT */
#include <string.h>

#include "engine/engine.h"
#include "engine/profile_impl.h"
#include "os/clock.h"
#include "plan/model_shape.h"

enum { PREFIX = 64, CTX = 512, SAMPLES = 256, MANY = 16 };
/* In this order, as far as time allows; LEVER_MACHINE_RUNS of them. */
static const uint32_t row_counts[LEVER_MACHINE_RUNS] = { 1, 16, 4, 64, 9, 2 };
/* Beside sweeps of row_counts: a row to the vocabulary; a draft's batch of one row after a sweep of the target. */
enum { PROJECT = LEVER_MACHINE_RUNS, FIRST, KINDS };

typedef struct samples {
    uint32_t n;
    double s[SAMPLES];
} samples;

typedef struct model_run {
    lv_profile *p;
    lever_engine *e;
    lv_model *m;
    uint32_t kv_type;
    const lever_machine_device *on; /* NULL: the CPU */
    uint64_t streamed_bytes; /* of the layers */
    lv_model_shape shape;
    lv_kv kv;
    lv_row *rows;      /* [max_rows] */
    float *logits;     /* [n_vocab] */
    samples *taken;    /* [KINDS] */
} model_run;

static void take(samples *t, double s)
{
    if (t->n < SAMPLES) t->s[t->n++] = s;
}

/* From one millisecond's sweep to the next caches and where the system puts threads differ, and decoding meets all of
 * it: of many samples the lower quarter counts, which other programs seldom reach. Of a few long ones the middle does:
 * memory of a shared machine has fast and slow times of seconds, and the low end would be the best of them. */
static double usual(samples *t)
{
    const double middle = lv_middle(t->s, t->n); /* sorts */
    return t->n >= MANY ? t->s[t->n / 4] : middle;
}

static lv_run_on conditions(const model_run *r, uint32_t rows)
{
    return (lv_run_on){ .machine = r->p->m,
                        .products = r->on,
                        .n_ctx = r->kv.n_committed + (rows + 1) / 2,
                        .kv = r->kv_type == LV_TYPE_Q8_0,
                        .streamed_bytes = r->streamed_bytes,
                        .uncorrected = true };
}

/* Seconds that products and the rest are predicted to take; 0: not known. */
static double expected(const model_run *r, uint32_t rows)
{
    const lv_run_on on = conditions(r, rows);
    lv_sweep_cost c;
    return lv_sweep_time(&c, &on, &r->shape, rows) ? c.compute : 0;
}

/* A sweep of a chain of n rows; seconds without waiting for flash. */
static int sweep(model_run *r, uint32_t n, double *busy, lever_error *err)
{
    lv_kv *kv = &r->kv;
    lv_model_stats before, after;
    lv_kv_truncate(kv, kv->n_committed);
    for (uint32_t i = 0; i < n; i++)
        r->rows[i] = (lv_row){ .token = (int32_t)(i * 7 % r->shape.n_vocab), .parent = (int32_t)i - 1 };
    lv_batch b = { .rows = r->rows, .n_rows = n, .kv = &kv, .n_kv = 1 };
    lv_model_get_stats(r->m, &before);
    LEVER_TRY(lv_model_forward(r->m, &b, err));
    lv_model_get_stats(r->m, &after);
    *busy = (double)(after.sweep_ns - before.sweep_ns - (after.wait_ns - before.wait_ns)) * 1e-9;
    return LEVER_OK;
}

static int project(model_run *r, double *seconds, lever_error *err)
{
    uint32_t row = 0;
    const uint64_t t0 = lv_clock_ns();
    LEVER_TRY(lv_model_project(r->m, &row, 1, r->logits, err));
    *seconds = (double)(lv_clock_ns() - t0) * 1e-9;
    return LEVER_OK;
}

/* The first sweep touches all memory for the first time, and leaves a text behind which the others stand. */
static int begin_text(model_run *r, double seconds, lever_error *err)
{
    const uint32_t most = r->e->plan.max_rows;
    uint32_t n = most < PREFIX ? most : PREFIX;
    int32_t path[PREFIX];
    double busy;
    while (n > 1 && expected(r, n) > seconds / 8) n /= 2;
    LEVER_TRY(sweep(r, n, &busy, err));
    for (uint32_t i = 0; i < n; i++) path[i] = (int32_t)i;
    lv_kv_commit(&r->kv, path, n);
    return LEVER_OK;
}

/* ---- cycles ---- */

/* A sweep of row_counts[i] rows, and one of them to the vocabulary: a head that is streamed is a matter of flash. */
static int take_batch(model_run *r, uint32_t i, lever_error *err)
{
    double s;
    LEVER_TRY(sweep(r, row_counts[i], &s, err));
    take(&r->taken[i], s);
    if (lv_model_head_streamed(r->m)) return LEVER_OK;
    LEVER_TRY(project(r, &s, err));
    take(&r->taken[PROJECT], s);
    return LEVER_OK;
}

/* What the target's sweep has left in the caches is in the way of the first batch after it. */
static int take_first(model_run *r, lever_error *err)
{
    double busy, projected;
    LEVER_TRY(sweep(r, 1, &busy, err));
    LEVER_TRY(project(r, &projected, err));
    take(&r->taken[FIRST], busy + projected);
    return LEVER_OK;
}

static int draft_some(model_run *draft, uint32_t i, bool after_target, lever_error *err)
{
    if (after_target) LEVER_TRY(take_first(draft, err));
    LEVER_TRY(take_batch(draft, 0, err));
    return i ? take_batch(draft, i, err) : LEVER_OK;
}

/* As decoding goes: a tree has been drafted before its rows are verified; one row is plain decoding, and before it was
 * another one. The draft runs once even where there is time for nothing else. */
static int cycle(model_run *target, model_run *draft, uint32_t i, lever_error *err)
{
    double s;
    if (draft && (!target || i || !draft->taken[0].n)) LEVER_TRY(draft_some(draft, i, target && i, err));
    if (draft && target && !i) LEVER_TRY(sweep(target, 1, &s, err));
    return target ? take_batch(target, i, err) : LEVER_OK;
}

/* Cycles of a pair; either may be NULL, which leaves its part out. */
typedef struct turns {
    lv_profile *p;
    model_run *target, *draft;
    double seconds, from, to; /* for them; which part of the step they are */
} turns;

/* A cycle of so many rows leaves time for others; one row always does. */
static bool has_time_for(const turns *t, uint32_t rows)
{
    const double s = (t->target ? expected(t->target, rows) : 0) + (t->draft ? expected(t->draft, rows) : 0);
    return rows == 1 || s <= t->seconds / 2;
}

/* By turns with every number of rows, so that a disturbance, or a clock that changes, meets all of them. */
static int run_cycles(const turns *t, lever_error *err)
{
    const uint32_t max_rows = (t->target ? t->target : t->draft)->e->plan.max_rows;
    const uint64_t begin = lv_clock_ns(), length = (uint64_t)(t->seconds * 1e9);
    uint64_t took[LEVER_MACHINE_RUNS] = { 0 };
    bool any = true;
    for (uint32_t round = 0; round < SAMPLES && any; round++) {
        any = false;
        for (uint32_t i = 0; i < LEVER_MACHINE_RUNS; i++) {
            const uint64_t passed = lv_clock_ns() - begin;
            if (row_counts[i] > max_rows || (round + i && passed + took[i] >= length)) continue;
            if (!has_time_for(t, row_counts[i])) continue;
            LEVER_TRY(cycle(t->target, t->draft, i, err));
            took[i] = lv_clock_ns() - begin - passed;
            any = true;
            const double share = length ? (double)(passed + took[i]) / (double)length : 1;
            LEVER_TRY(lv_profile_progress(t->p, t->from + (t->to - t->from) * (share < 1 ? share : 1), err));
        }
    }
    return LEVER_OK;
}

/* ---- what they say ---- */

double lv_profile_factor(double measured, double predicted)
{
    const double f = predicted > 0 ? measured / predicted : 1;
    return f < 1e-2 ? 1e-2 : f > 1e2 ? 1e2 : f;
}

/* Keeps runs sorted by rows. */
static void put_run(lever_machine_model *to, uint32_t rows, double seconds, double factor)
{
    uint32_t at = to->n_runs++;
    for (; at > 0 && to->rows[at - 1] > rows; at--) {
        to->rows[at] = to->rows[at - 1];
        to->sweep_s[at] = to->sweep_s[at - 1];
        to->factor[at] = to->factor[at - 1];
    }
    to->rows[at] = rows, to->sweep_s[at] = seconds, to->factor[at] = factor;
}

static void conclude(model_run *r, lever_machine_model *to)
{
    for (uint32_t i = 0; i < LEVER_MACHINE_RUNS; i++) {
        const lv_run_on on = conditions(r, row_counts[i]);
        lv_sweep_cost c;
        if (r->taken[i].n == 0 || !lv_sweep_time(&c, &on, &r->shape, row_counts[i])) continue;
        const lv_machine_flash *f = r->streamed_bytes ? r->p->flash : NULL;
        const double slower = f ? lv_machine_products_beside(&f->beside, row_counts[i]) : 1;
        const double seconds = usual(&r->taken[i]);
        put_run(to, row_counts[i], seconds, lv_profile_factor(seconds, c.compute * slower));
    }
    to->way = LEVER_MACHINE_WAY;
    if (r->on || r->taken[PROJECT].n == 0) return; /* the head is the CPU's */
    const lv_run_on on = conditions(r, 1);
    to->project_s = usual(&r->taken[PROJECT]);
    to->project_factor = lv_profile_factor(to->project_s, lv_project_s(&on, &r->shape, 1));
    if (r->taken[FIRST].n == 0 || to->n_runs == 0) return;
    const double more = usual(&r->taken[FIRST]) - to->sweep_s[0] - to->project_s;
    to->first_s = more > 0 ? more : 0;
}

static int open_run(model_run *r, double seconds, lever_error *err)
{
    r->rows = lv_alloc_array(r->e->plan.max_rows, sizeof *r->rows, 64);
    r->logits = lv_alloc_array(r->shape.n_vocab, sizeof *r->logits, 64);
    r->taken = lv_alloc_array(KINDS, sizeof *r->taken, 64);
    if (!r->rows || !r->logits || !r->taken) return lv_fail(err, LEVER_ENOMEM, 0, "rows of the measurement");
    for (uint32_t i = 0; i < KINDS; i++) r->taken[i].n = 0;
    LEVER_TRY(lv_kv_init(&r->kv, lv_model_hparams(r->m), r->kv_type, CTX, r->e->plan.max_rows, err));
    return begin_text(r, seconds, err);
}

static void close_run(model_run *r)
{
    lv_kv_fini(&r->kv);
    lv_free(r->rows);
    lv_free(r->logits);
    lv_free(r->taken);
}

/* A streamed target reads on while the draft runs, as far as the ring has room: then each is measured for itself, and
 * caches do not matter. */
static int run_pair(lv_profile *p, model_run *target, model_run *draft, double seconds, lever_error *err)
{
    static const double share = 0.7; /* of the target */
    if (!target || !draft || !target->streamed_bytes)
        return run_cycles(&(turns){ p, target, draft, seconds, 0, 1 }, err);
    LEVER_TRY(run_cycles(&(turns){ p, target, NULL, share * seconds, 0, share }, err));
    return run_cycles(&(turns){ p, NULL, draft, (1 - share) * seconds, share, 1 }, err);
}

static void keep(lv_profile *p, model_run *r, const char *path)
{
    const char *name = strrchr(path, '/');
    if (r->on && lv_model_device_note(r->m)) return; /* it has left the device */
    conclude(r, lv_profile_model_entry(p->m, r->shape.key, r->on, name ? name + 1 : path));
}

static const lever_machine_device *entry_of(const lv_profile *p, const lv_device *d)
{
    return d ? lv_machine_device_find(p->m, d->traits.kind, d->traits.name, d->traits.driver) : NULL;
}

/* On the CPU, or on the devices of the engine: then models that run there. */
static int measure_models(lv_profile *p, lever_engine *e, bool on_devices, double seconds, lever_error *err)
{
    model_run target = { .p = p, .e = e, .m = e->target, .kv_type = e->kv_type,
                         .on = entry_of(p, e->devices.target), .streamed_bytes = e->plan.streamed_bytes };
    model_run draft = { .p = p, .e = e, .m = e->draft, .kv_type = e->draft_kv_type,
                        .on = entry_of(p, e->devices.draft) };
    /* Models of more kinds of matrices than there is room for are left out. */
    model_run *t = lv_model_shape_of(&target.shape, e->target) ? &target : NULL;
    model_run *d = e->draft && lv_model_shape_of(&draft.shape, e->draft) ? &draft : NULL;
    if (on_devices && !target.on) t = NULL;
    if (on_devices && !draft.on) d = NULL;
    int rc = t ? open_run(t, seconds, err) : LEVER_OK;
    if (rc >= 0 && d) rc = open_run(d, seconds, err);
    if (rc >= 0 && (t || d)) rc = run_pair(p, t, d, seconds, err);
    if (rc >= 0 && t) keep(p, t, p->params->model_path);
    if (rc >= 0 && d) keep(p, d, p->params->draft_path);
    close_run(&target);
    close_run(&draft);
    return rc;
}

static int open_and_measure(lv_profile *p, const lever_config *c, bool on_devices, double seconds, lever_error *err)
{
    lever_engine *e;
    LEVER_TRY(lever_engine_open(&e, c, err));
    const int rc = measure_models(p, e, on_devices, seconds, err);
    lever_engine_close(&e);
    return rc;
}

static lever_config usual_config(const lv_profile *p)
{
    const lever_profile_params *params = p->params;
    lever_config c;
    lever_config_init(&c);
    c.model_path = params->model_path;
    c.draft_path = params->draft_path;
    c.mem_bytes = params->mem_bytes;
    c.n_threads = params->n_threads;
    c.cpus = params->cpus;
    c.isa = params->isa;
    c.n_ctx = CTX;
    if (p->flash && p->flash->reads.direct) {
        c.flash_block_bytes = p->flash->reads.points[p->flash->reads.best].block_bytes;
        c.flash_depth = p->flash->reads.points[p->flash->reads.best].depth;
    }
    return c;
}

/* What products by themselves do not show: rows that go there and back, jobs that overlap, larger matrices. */
static int run_on_device(lv_profile *p, const lever_config *like, double seconds, lever_error *err)
{
    lever_config c = *like;
    c.device = p->params->device;
    c.draft_device = c.draft_path ? c.device : NULL;
    c.device_cache_dir = p->params->device_cache;
    c.device_min_rows = 1;
    const int rc = open_and_measure(p, &c, true, seconds, err);
    return rc == LEVER_ELIMIT ? LEVER_OK : rc; /* no room for the driver: runs within this limit have none either */
}

int lv_profile_models(lv_profile *p, double seconds, lever_error *err)
{
    const lever_config c = usual_config(p);
    const bool streams = p->flash && p->flash->reads.direct;
    const double there = p->on_device ? 0.3 * seconds : 0, stream = streams ? 0.5 * (seconds - there) : 0;
    LEVER_TRY(open_and_measure(p, &c, false, seconds - there - stream, err));
    if (p->on_device) LEVER_TRY(run_on_device(p, &c, there, err));
    return streams ? lv_profile_stream(p, &c, stream, err) : LEVER_OK;
}
