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

/* What some time of sweeps came to. */
typedef struct streamed {
    double seconds, wait_s, bytes;
    double compute_s; /* of as many sweeps, as predicted without reads beside them; 0: not known */
} streamed;

static bool not_over(void *end_ns) { return lv_clock_ns() < *(const uint64_t *)end_ns; }

/* Sweeps of so many rows until the time is over, also in the middle of one. */
static int sweep_for(stream_run *r, uint32_t n_rows, double seconds, lever_error *err)
{
    lv_kv *kv = &r->kv;
    uint64_t end_ns = lv_clock_ns() + (uint64_t)(seconds * 1e9);
    lv_batch b = { .rows = r->rows, .n_rows = n_rows, .kv = &kv, .n_kv = 1, .go_on = not_over, .user = &end_ns };
    int rc = LEVER_OK;
    while (rc >= 0 && not_over(&end_ns)) {
        lv_kv_truncate(kv, 0);
        rc = lv_model_forward(r->e->target, &b, err);
    }
    return rc == LEVER_ECANCEL ? LEVER_OK : rc;
}

static int measure(stream_run *r, uint32_t n_rows, double seconds, streamed *out, lever_error *err)
{
    const lv_run_on on = { .machine = r->p->m, .n_ctx = (n_rows + 1) / 2, .kv = r->e->kv_type == LV_TYPE_Q8_0 };
    lv_model_stats before, after;
    LEVER_TRY(sweep_for(r, n_rows, 0.2 * seconds, err)); /* touches memory for the first time */
    lv_model_get_stats(r->e->target, &before);
    const uint64_t t0 = lv_clock_ns();
    LEVER_TRY(sweep_for(r, n_rows, 0.8 * seconds, err));
    *out = (streamed){ .seconds = (double)(lv_clock_ns() - t0) * 1e-9 };
    lv_model_get_stats(r->e->target, &after);
    out->bytes = (double)(after.bytes_read - before.bytes_read);
    out->wait_s = (double)(after.wait_ns - before.wait_ns) * 1e-9;
    lv_sweep_cost c;
    if (r->e->plan.streamed_bytes && lv_sweep_time(&c, &on, &r->shape, n_rows))
        out->compute_s = c.compute * out->bytes / (double)r->e->plan.streamed_bytes;
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

/* Sweeps of one row wait for reads all the time, which have one speed then: the speed of this model's stream. Beside
 * products of many rows they may lose some. Products by themselves (profile_flash.c) say less: here reads go into the
 * ring, and threads wait for each other. */
static void conclude_beside(lv_profile *p, const streamed *s, double alone)
{
    const double products = s->seconds - s->wait_s;
    lever_machine_beside *b = &p->flash->beside;
    b->flash[0] = 1;
    if (s->compute_s <= 0 || products < 0.6 * s->seconds) return;
    /* Where nothing waits, products set the pace of reads, and how fast they could be is not seen. */
    const double seen = s->wait_s > 0.1 * s->seconds ? (s->bytes - alone * s->wait_s) / products / alone : 1;
    const double kept = seen > 1 ? 1 : seen < 0.1 ? 0.1 : seen, slower = products / s->compute_s;
    for (uint32_t i = 1; i < LEVER_MACHINE_BESIDE; i++) {
        b->flash[i] = kept;
        b->products[i] = slower > 1 ? slower : 1;
    }
}

static int stream(stream_run *r, double seconds, lever_error *err)
{
    static const double share = 0.5; /* of one row */
    streamed one, many;
    const double best = lv_machine_stream_bytes_s(r->p->flash, NULL, UINT64_MAX, UINT64_MAX);
    for (uint32_t i = 0; i < MOST; i++) r->rows[i] = (lv_row){ .token = 1, .parent = (int32_t)i - 1 };
    LEVER_TRY(lv_kv_init(&r->kv, lv_model_hparams(r->e->target), r->e->kv_type, MOST, r->e->plan.max_rows, err));
    LEVER_TRY(measure(r, 1, share * seconds, &one, err));
    const double alone = one.seconds > 0 ? one.bytes / one.seconds : 0;
    if (best <= 0 || alone <= 0 || one.wait_s < 0.3 * one.seconds) return LEVER_OK; /* they do not wait for reads */
    for (uint32_t i = 0; i < r->p->m->n_models; i++)
        if (r->p->m->models[i].key == r->shape.key)
            r->p->m->models[i].stream_factor = lv_profile_factor(alone, best);
    LEVER_TRY(measure(r, balanced_rows(r, alone), (1 - share) * seconds, &many, err));
    if (r->p->flash->beside.rows[0]) conclude_beside(r->p, &many, alone);
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
