/* Models as they are: how long their sweeps and projections really take, and by how much predictions miss.
 * SPDX-License-Identifier: MIT */
#include <string.h>

#include "engine/engine.h"
#include "engine/profile_impl.h"
#include "os/clock.h"
#include "plan/model_shape.h"

enum { PREFIX = 64, CTX = 512, REPEATS = 4 };
/* In this order, as far as time allows; LEVER_MACHINE_RUNS of them. */
static const uint32_t row_counts[LEVER_MACHINE_RUNS] = { 1, 16, 4, 64 };

typedef struct model_run {
    lv_profile *p;
    lever_engine *e;
    lv_model *m;
    uint32_t kv_type;
    uint64_t streamed_bytes; /* of the layers */
    lv_model_shape shape;
    lv_kv kv;
    lv_row *rows;  /* [max_rows] */
    float *logits; /* [n_vocab] */
    lever_machine_model *to;
    uint64_t end_ns;
} model_run;

/* A sweep of a chain of n rows; seconds without waiting for flash. */
static int sweep(model_run *r, uint32_t n, double *busy, lever_error *err)
{
    lv_kv *kv = &r->kv;
    lv_model_stats before, after;
    for (uint32_t i = 0; i < n; i++)
        r->rows[i] = (lv_row){ .token = (int32_t)(i * 7 % r->shape.n_vocab), .parent = (int32_t)i - 1 };
    lv_batch b = { .rows = r->rows, .n_rows = n, .kv = &kv, .n_kv = 1 };
    lv_model_get_stats(r->m, &before);
    LEVER_TRY(lv_model_forward(r->m, &b, err));
    lv_model_get_stats(r->m, &after);
    *busy = (double)(after.sweep_ns - before.sweep_ns - (after.wait_ns - before.wait_ns)) * 1e-9;
    return LEVER_OK;
}

/* The first sweep touches all memory for the first time, and leaves a text behind which the others stand. */
static int begin_text(model_run *r, double *busy, lever_error *err)
{
    const uint32_t most = r->e->plan.max_rows, n = most < PREFIX ? most : PREFIX;
    int32_t path[PREFIX];
    LEVER_TRY(sweep(r, n, busy, err));
    for (uint32_t i = 0; i < n; i++) path[i] = (int32_t)i;
    lv_kv_commit(&r->kv, path, n);
    return LEVER_OK;
}

static lv_run_on conditions(const model_run *r, uint32_t rows)
{
    return (lv_run_on){ .machine = r->p->m,
                        .n_ctx = r->kv.n_committed + (rows + 1) / 2,
                        .kv = r->kv_type == LV_TYPE_Q8_0,
                        .streamed_bytes = r->streamed_bytes,
                        .uncorrected = true };
}

static double factor_of(double measured, double predicted)
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

static double left_s(const model_run *r)
{
    const uint64_t now = lv_clock_ns();
    return now < r->end_ns ? (double)(r->end_ns - now) * 1e-9 : 0;
}

static int run_rows(model_run *r, uint32_t rows, double *first, lever_error *err)
{
    double samples[REPEATS];
    uint32_t n = 0;
    const uint64_t t0 = lv_clock_ns();
    do {
        lv_kv_truncate(&r->kv, r->kv.n_committed);
        LEVER_TRY(sweep(r, rows, &samples[n++], err));
    } while (n < REPEATS && left_s(r) > 2 * (double)(lv_clock_ns() - t0) * 1e-9);
    const lv_run_on on = conditions(r, rows);
    lv_sweep_cost c;
    if (!lv_sweep_time(&c, &on, &r->shape, rows)) return LEVER_OK;
    const lv_machine_flash *f = r->streamed_bytes ? r->p->flash : NULL;
    const double slower = f ? lv_machine_products_beside(&f->beside, rows) : 1;
    const double seconds = lv_lower_eighth(samples, n);
    put_run(r->to, rows, seconds, factor_of(seconds, c.compute * slower));
    *first = seconds;
    return LEVER_OK;
}

/* One row to the vocabulary; a head that is streamed is a matter of flash. */
static int run_project(model_run *r, lever_error *err)
{
    double samples[REPEATS];
    uint32_t row = 0;
    if (lv_model_head_streamed(r->m)) return LEVER_OK;
    for (uint32_t i = 0; i < REPEATS; i++) {
        const uint64_t t0 = lv_clock_ns();
        LEVER_TRY(lv_model_project(r->m, &row, 1, r->logits, err));
        samples[i] = (double)(lv_clock_ns() - t0) * 1e-9;
    }
    const lv_run_on on = conditions(r, 1);
    r->to->project_s = lv_lower_eighth(samples, REPEATS);
    r->to->project_factor = factor_of(r->to->project_s, lv_project_s(&on, &r->shape, 1));
    return LEVER_OK;
}

static int run_all(model_run *r, lever_error *err)
{
    double last;
    LEVER_TRY(begin_text(r, &last, err));
    for (uint32_t i = 0; i < LEVER_MACHINE_RUNS; i++) {
        const uint32_t rows = row_counts[i];
        if (rows > r->e->plan.max_rows || (i > 0 && left_s(r) <= 0)) continue;
        LEVER_TRY(run_rows(r, rows, &last, err));
        if (i == 0) LEVER_TRY(run_project(r, err));
        LEVER_TRY(lv_profile_progress(r->p, 1 - left_s(r) / (r->p->models_s > 0 ? r->p->models_s : 1), err));
    }
    return LEVER_OK;
}

static int measure_model(lv_profile *p, lever_engine *e, lv_model *m, uint32_t kv_type, const char *path,
                         double seconds, lever_error *err)
{
    model_run r = { .p = p, .e = e, .m = m, .kv_type = kv_type };
    if (!lv_model_shape_of(&r.shape, m))
        return LEVER_OK; /* of more kinds of matrices than there is room for */
    if (m == e->target) r.streamed_bytes = e->plan.streamed_bytes;
    r.end_ns = lv_clock_ns() + (uint64_t)(seconds * 1e9);
    const char *name = strrchr(path, '/');
    r.to = lv_profile_model_entry(p->m, r.shape.key, name ? name + 1 : path);
    r.rows = lv_alloc_array(e->plan.max_rows, sizeof *r.rows, 64);
    r.logits = lv_alloc_array(r.shape.n_vocab, sizeof *r.logits, 64);
    int rc = r.rows && r.logits ? LEVER_OK : lv_fail(err, LEVER_ENOMEM, 0, "rows of the measurement");
    if (rc >= 0) rc = lv_kv_init(&r.kv, lv_model_hparams(m), kv_type, CTX, e->plan.max_rows, err);
    if (rc >= 0) rc = run_all(&r, err);
    lv_kv_fini(&r.kv);
    lv_free(r.rows);
    lv_free(r.logits);
    return rc;
}

/* ---- from flash ---- */

static bool not_over(void *end_ns) { return lv_clock_ns() < *(const uint64_t *)end_ns; }

/* Sweeps of one row until the time is over, also in the middle of one. */
static int sweep_for(lv_model *m, lv_kv *kv, double seconds, lever_error *err)
{
    lv_row row = { .token = 1, .parent = -1 };
    uint64_t end_ns = lv_clock_ns() + (uint64_t)(seconds * 1e9);
    lv_batch b = { .rows = &row, .n_rows = 1, .kv = &kv, .n_kv = 1, .go_on = not_over, .user = &end_ns };
    int rc = LEVER_OK;
    while (rc >= 0 && not_over(&end_ns)) {
        lv_kv_truncate(kv, 0);
        rc = lv_model_forward(m, &b, err);
    }
    return rc == LEVER_ECANCEL ? LEVER_OK : rc;
}

/* Reads of the engine, beside what measuring the flash alone gave. 0: products do not wait for them. */
static double stream_factor(const lv_profile *p, lever_engine *e, const lv_model_shape *shape, double seconds,
                            uint64_t bytes, double wait_s)
{
    const lv_run_on on = { .machine = p->m, .n_ctx = 1, .kv = e->kv_type == LV_TYPE_Q8_0 };
    const lever_machine_beside *b = &p->flash->beside;
    const double alone = lv_machine_stream_bytes_s(p->flash, NULL, UINT64_MAX, UINT64_MAX);
    lv_sweep_cost c;
    if (!lv_sweep_time(&c, &on, shape, 1) || wait_s < 0.3 * seconds || !e->plan.streamed_bytes || alone <= 0) return 0;
    const double sweeps = (double)bytes / (double)e->plan.streamed_bytes;
    const double beside = sweeps * c.compute * lv_machine_products_beside(b, 1);
    const double lost = beside * (1 - lv_machine_flash_beside(b, 1));
    return lost < 0.9 * seconds ? factor_of((double)bytes / (seconds - lost), alone) : 0;
}

/* The target with nothing in memory but its head. */
static int measure_stream(lv_profile *p, const lever_config *like, double seconds, lever_error *err)
{
    lever_config c = *like;
    c.draft_path = NULL;
    c.no_pin = true;
    lever_engine *e;
    lv_model_shape shape;
    lv_kv kv = { 0 };
    LEVER_TRY(lever_engine_open(&e, &c, err));
    int rc = lv_kv_init(&kv, lv_model_hparams(e->target), e->kv_type, 1, e->plan.max_rows, err);
    lv_model_stats before, after;
    if (rc >= 0) rc = sweep_for(e->target, &kv, 0.2 * seconds, err); /* touches memory for the first time */
    lv_model_get_stats(e->target, &before);
    const uint64_t t0 = lv_clock_ns();
    if (rc >= 0) rc = sweep_for(e->target, &kv, 0.8 * seconds, err);
    const double took = (double)(lv_clock_ns() - t0) * 1e-9;
    lv_model_get_stats(e->target, &after);
    if (rc >= 0 && lv_model_shape_of(&shape, e->target)) {
        const double factor = stream_factor(p, e, &shape, took, after.bytes_read - before.bytes_read,
                                            (double)(after.wait_ns - before.wait_ns) * 1e-9);
        for (uint32_t i = 0; i < p->m->n_models; i++)
            if (p->m->models[i].key == shape.key) p->m->models[i].stream_factor = factor;
    }
    lv_kv_fini(&kv);
    lever_engine_close(&e);
    return rc;
}

int lv_profile_models(lv_profile *p, double seconds, lever_error *err)
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
    const bool streams = p->flash && p->flash->reads.direct;
    const double stream = streams ? 0.2 * seconds : 0;
    seconds -= stream;
    lever_engine *e;
    LEVER_TRY(lever_engine_open(&e, &c, err));
    const double draft = e->draft ? 0.3 * seconds : 0;
    p->models_s = seconds - draft;
    int rc = measure_model(p, e, e->target, e->kv_type, params->model_path, seconds - draft, err);
    if (rc >= 0 && e->draft)
        rc = measure_model(p, e, e->draft, e->draft_kv_type, params->draft_path, draft, err);
    lever_engine_close(&e);
    return rc >= 0 && streams ? measure_stream(p, &c, stream, err) : rc;
}
