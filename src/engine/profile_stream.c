/* The target with nothing in memory but its head: what share of the flash's speed its sweeps reach.
 * SPDX-License-Identifier: MIT */
#include "engine/engine.h"
#include "engine/profile_impl.h"
#include "os/clock.h"
#include "plan/model_shape.h"

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
    return lost < 0.9 * seconds ? lv_profile_factor((double)bytes / (seconds - lost), alone) : 0;
}

int lv_profile_stream(lv_profile *p, const lever_config *like, double seconds, lever_error *err)
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
