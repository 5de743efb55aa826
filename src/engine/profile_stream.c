/* The target with nothing in memory but its head: what share of the flash's speed its sweeps reach, and what products
 * and reads cost each other.
 * SPDX-License-Identifier: MIT */
#include "engine/engine.h"
#include "engine/profile_impl.h"
#include "os/clock.h"
#include "plan/model_shape.h"

enum { MOST = 256, STEP = 16 }; /* rows */

typedef struct stream_run {
    lv_profile *p;
    lever_engine *e;
    lv_model_shape shape;
    lv_kv    kv;
    lv_row   rows[MOST];
} stream_run;

enum { SLICES = 12 };

/* Looked at between layers. */
typedef struct slicing {
    const lv_model *model;
    uint64_t begin_ns, slice_ns, end_ns;
    uint64_t at_ns[SLICES + 1];
    lv_model_stats at[SLICES + 1]; /* [n] */
    uint32_t n;
} slicing;

static bool go_on(void *user)
{
    slicing *s = user;
    const uint64_t now = lv_clock_ns();
    if (s->n <= SLICES && now >= s->begin_ns + s->n * s->slice_ns) {
        s->at_ns[s->n] = now;
        lv_model_get_stats(s->model, &s->at[s->n++]);
    }
    return now < s->end_ns;
}

/* Sweeps of so many rows until the time is over, also in the middle of one. Memory is touched for the first time before
 * the first slice begins. */
static int sweep(stream_run *r, uint32_t n_rows, double seconds, slicing *s, lever_error *err)
{
    lv_kv *kv = &r->kv;
    const uint64_t now = lv_clock_ns(), ns = (uint64_t)(seconds * 1e9);
    *s = (slicing){ .model = r->e->target, .begin_ns = now + ns / 5, .slice_ns = (ns - ns / 5) / (SLICES + 1),
                    .end_ns = now + ns };
    lv_batch b = { .rows = r->rows, .n_rows = n_rows, .kv = &kv, .n_kv = 1, .go_on = go_on, .user = s };
    int rc = LEVER_OK;
    while (rc >= 0 && go_on(s)) {
        lv_kv_truncate(kv, 0);
        rc = lv_model_forward(r->e->target, &b, err);
    }
    return rc == LEVER_ECANCEL ? LEVER_OK : rc;
}

static int measure(stream_run *r, uint32_t n_rows, double seconds, lv_streamed *out, lever_error *err)
{
    const lv_run_on on = { .machine = r->p->m, .n_ctx = (n_rows + 1) / 2, .kv = r->e->kv_type == LV_TYPE_Q8_0 };
    double rate[SLICES], wait[SLICES], slower[SLICES];
    slicing s;
    lv_sweep_cost c = { 0 };
    *out = (lv_streamed){ 0 };
    LEVER_TRY(sweep(r, n_rows, seconds, &s, err));
    const bool known = r->e->plan.streamed_bytes && lv_sweep_time(&c, &on, &r->shape, n_rows);
    uint32_t n = 0;
    for (uint32_t i = 0; i + 1 < s.n; i++) {
        const double took = (double)(s.at_ns[i + 1] - s.at_ns[i]) * 1e-9;
        const double bytes = (double)(s.at[i + 1].bytes_read - s.at[i].bytes_read);
        const double waited = (double)(s.at[i + 1].wait_ns - s.at[i].wait_ns) * 1e-9;
        if (took <= 0 || bytes <= 0) continue;
        rate[n] = bytes / took, wait[n] = waited / took;
        slower[n++] = known ? (took - waited) / (c.compute * bytes / (double)r->e->plan.streamed_bytes) : 0;
    }
    if (n) *out = (lv_streamed){ lv_middle(rate, n), lv_middle(wait, n), lv_middle(slower, n) };
    return LEVER_OK;
}

/* As many rows that products take nearly as long as reads. With fewer, what products are late by is lost in waiting:
 * threads that wait have to be woken. With more, reads pause. */
static uint32_t balanced_rows(const stream_run *r, double bytes_s)
{
    static const double part = 0.9;
    const uint32_t most = r->e->plan.max_rows < MOST ? r->e->plan.max_rows : MOST;
    uint32_t rows = STEP;
    for (lv_sweep_cost c; rows + STEP <= most; rows += STEP) {
        const lv_run_on on = { .machine = r->p->m, .n_ctx = (rows + 1) / 2, .kv = r->e->kv_type == LV_TYPE_Q8_0 };
        if (!lv_sweep_time(&c, &on, &r->shape, rows)) break;
        if (c.compute * bytes_s >= part * (double)r->e->plan.streamed_bytes) break;
    }
    return rows < most ? rows : most;
}

void lv_profile_conclude_beside(lever_machine_beside *b, const lv_streamed *s, double alone)
{
    if (!b->rows[0]) return;
    b->flash[0] = 1;
    if (s->slower <= 0 || s->wait_part > 0.4) return;
    /* Where nothing waits, products set the pace of reads, and how fast they could be is not seen. */
    const double seen = s->wait_part > 0.1 ? (s->bytes_s / alone - s->wait_part) / (1 - s->wait_part) : 1;
    const double kept = seen > 1 ? 1 : seen < 0.1 ? 0.1 : seen;
    for (uint32_t i = 1; i < LEVER_MACHINE_BESIDE; i++) {
        b->flash[i] = kept;
        b->products[i] = s->slower > 1 ? s->slower : 1;
    }
}

static int stream(stream_run *r, double seconds, lever_error *err)
{
    static const double share = 0.5; /* of one row */
    lv_streamed one, many;
    const double best = lv_machine_stream_bytes_s(r->p->flash, NULL, UINT64_MAX, UINT64_MAX);
    for (uint32_t i = 0; i < MOST; i++) r->rows[i] = (lv_row){ .token = 1, .parent = (int32_t)i - 1 };
    LEVER_TRY(lv_kv_init(&r->kv, lv_model_hparams(r->e->target), r->e->kv_type, MOST, r->e->plan.max_rows, err));
    LEVER_TRY(measure(r, 1, share * seconds, &one, err));
    const double alone = one.bytes_s;
    if (best <= 0 || alone <= 0 || one.wait_part < 0.3) return LEVER_OK; /* they do not wait for reads */
    for (uint32_t i = 0; i < r->p->m->n_models; i++)
        if (r->p->m->models[i].key == r->shape.key && !r->p->m->models[i].kind[0])
            r->p->m->models[i].stream_factor = lv_profile_factor(alone, best);
    LEVER_TRY(measure(r, balanced_rows(r, alone), (1 - share) * seconds, &many, err));
    lv_profile_conclude_beside(&r->p->flash->beside, &many, alone);
    return LEVER_OK;
}

int lv_profile_stream(lv_profile *p, const lever_config *like, double seconds, lever_error *err)
{
    lever_config c = *like;
    c.draft_path = NULL;
    c.no_pin = true;
    stream_run *r = lv_alloc(sizeof *r, 64);
    if (!r) return lv_fail(err, LEVER_ENOMEM, 0, "the measurement of streams");
    *r = (stream_run){ .p = p };
    int rc = lever_engine_open(&r->e, &c, err);
    if (rc >= 0 && lv_model_shape_of(&r->shape, r->e->target)) rc = stream(r, seconds, err);
    lv_kv_fini(&r->kv);
    lever_engine_close(&r->e);
    lv_free(r);
    return rc;
}
