/* What a measured machine predicts of an engine's models, for policies that have seen nothing yet (METHODS.md
 * section 1.3: the tables are seeded from offline profiling). SPDX-License-Identifier: MIT */
#include "engine/engine.h"

#include <string.h>

#include "os/file.h"
#include "plan/model_shape.h"

enum { CTX = 256 }; /* positions of a text that is expected: answers begin with hundreds */

_Static_assert((int)LV_SEED_ROWS >= (int)LEVER_MACHINE_ROWS, "a seed for every number of rows");

/* The entry of a device; NULL: the CPU. False: a device that was not measured. */
static bool find_device(const lv_machine *m, const lv_device *d, const lv_machine_device **out)
{
    *out = d ? lv_machine_device_find(m, d->traits.kind, d->traits.name, d->traits.driver) : NULL;
    return !d || *out;
}

static const lv_machine_flash *find_flash(const lv_machine *m, const char *path)
{
    lv_file f;
    char where[32];
    if (lv_file_open(&f, path, NULL) < 0) return NULL;
    lv_file_where(&f, where, sizeof where);
    lv_file_close(&f);
    return lv_machine_flash_find(m, where);
}

/* Bytes that a sweep has to wait for: those of the ring are read while the draft runs. */
static uint64_t bytes_of_sweep(const lever_engine *e, const lv_engine_setup *o)
{
    size_t n;
    const lv_model_weight *w = lv_model_weights(e->target, &n);
    const uint64_t beside = o->plan.ring_bytes + (o->plan.head_resident ? 0 : w[n - 1].bytes) +
                            lv_model_lend_planned(e->target);
    return o->plan.streamed_bytes > beside ? o->plan.streamed_bytes - beside : 0;
}

/* Fills one row count. False: something of it was not measured. */
static bool predict(lv_cost_seed *seed, const lever_engine *e, const lv_run_on *on, const lv_run_on *draft_on,
                    const lv_model_shape *target, const lv_model_shape *draft)
{
    const uint32_t rows = lever_machine_rows[seed->n];
    lv_sweep_cost c;
    lv_run_on now = *on, draft_now = *draft_on;
    if (rows < e->devices.min_rows) now.products = NULL;
    if (rows < e->devices.draft_min_rows) draft_now.products = NULL;
    if (!lv_sweep_time(&c, &now, target, rows)) return false;
    const double drafted = e->draft ? lv_draft_s(&draft_now, draft, rows) : 0;
    if (drafted < 0) return false;
    seed->rows[seed->n] = rows;
    const double busy = on->flash ? c.compute * lv_machine_products_beside(&on->flash->beside, rows) : c.compute;
    seed->verify_s[seed->n] = busy < c.sweep ? busy : c.sweep;
    seed->draft_s[seed->n++] = drafted;
    seed->flash_s = c.flash;
    return true;
}

static bool shapes_of(const lever_engine *e, lv_model_shape *target, lv_model_shape *draft)
{
    *draft = (lv_model_shape){ 0 };
    return lv_model_shape_of(target, e->target) && (!e->draft || lv_model_shape_of(draft, e->draft));
}

void lv_engine_seed(lever_engine *e, const lv_engine_setup *o)
{
    const lv_machine *m = o->config.machine;
    if (!m || o->eval || !lv_machine_valid(m) || !m->n_devices) return;
    lv_model_shape target, draft;
    lv_run_on on = { .machine = m, .n_ctx = CTX, .kv = e->kv_type == LV_TYPE_Q8_0 };
    lv_run_on draft_on = { .machine = m, .n_ctx = CTX, .kv = e->draft_kv_type == LV_TYPE_Q8_0 };
    if (!shapes_of(e, &target, &draft) || !find_device(m, e->devices.target, &on.products) ||
        !find_device(m, e->devices.draft, &draft_on.products))
        return;
    on.head_on_device = o->config.project_device;
    on.streamed_bytes = bytes_of_sweep(e, o);
    on.extent_bytes = o->plan.extent_bytes;
    on.flash = find_flash(m, o->config.model_path);
    on.flash_bytes_s = (double)e->flash.bytes_per_s;
    if (!e->flash.bytes_per_s)
        on.flash_bytes_s = lv_machine_stream_bytes_s(on.flash, lv_machine_model_find(m, target.key, NULL),
                                                     o->plan.extent_bytes, o->plan.ring_bytes);
    if (on.streamed_bytes && !on.flash && !(on.flash_bytes_s > 0)) return; /* half of the answer would be wrong */
    lv_cost_seed seed = { 0 };
    for (uint32_t i = 0; i < LEVER_MACHINE_ROWS; i++)
        if (!predict(&seed, e, &on, &draft_on, &target, &draft)) return;
    const double head = lv_project_s(&on, &target, 1);
    seed.project_s = (head > 0 ? head : 0) + lv_pick_s(&on, &target);
    seed.overhead_s = e->draft ? lv_candidates_s(&on, &draft) : 0;
    for (uint32_t i = 0; i < e->n_policies; i++) lv_policy_seed(e->policies[i], &seed);
}
