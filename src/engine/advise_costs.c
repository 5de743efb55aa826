/* From a measured machine and a memory plan to what the parts of a cycle take. SPDX-License-Identifier: MIT */
#include "engine/advise_impl.h"

#include <math.h>
#include <string.h>

enum { LEARNT_MOST = 1 << 20, POSITIONS = 256 };

static const uint32_t grid[] = { 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256 };
enum { N_GRID = sizeof grid / sizeof *grid };
_Static_assert((int)N_GRID <= (int)LV_CURVE_POINTS, "a curve holds the grid");

/* ---- what does not change ---- */

static void load_acceptances(lv_adviser *a, lv_engine_setup *o)
{
    const lever_advise_params *p = a->params;
    if (!p->load_learnt || !a->has_draft) return;
    const uint64_t pair = lv_learnt_pair(o->target_file_bytes, o->target, o->draft);
    char *bytes = lv_alloc(LEARNT_MOST, 64);
    const size_t n = bytes ? p->load_learnt(p->user, pair, bytes, LEARNT_MOST) : 0;
    if (n && n <= LEARNT_MOST) lv_learnt_acceptances(bytes, n, pair, &a->acceptances);
    lv_free(bytes);
}

int lv_adviser_init(lv_adviser *a, lv_engine_setup *o, const lever_advise_params *p, lever_error *err)
{
    *a = (lv_adviser){ .params = p, .has_draft = o->draft != NULL };
    if (!p->machine || !lv_machine_valid(p->machine))
        return lv_fail(err, LEVER_EINVAL, 0, "this profile can not be used: run lever profile again");
    a->flash = p->where ? lv_machine_flash_find(p->machine, p->where)
             : p->machine->n_flashes ? &p->machine->flashes[0] : NULL;
    if (!lv_model_shape_of(&a->target, o->target) || (o->draft && !lv_model_shape_of(&a->draft, o->draft)))
        return lv_fail(err, LEVER_EUNSUP, 0, "a model has more than %d kinds of matrices", LV_SHAPE_MATRICES);
    if (o->draft) {
        const double head = (double)a->draft.n_vocab * a->draft.n_embd;
        a->target_ratio = lv_model_shape_weights(&a->target) / (lv_model_shape_weights(&a->draft) + head);
    }
    a->layer_bytes = lv_alloc_array(a->target.n_layers, sizeof *a->layer_bytes, 64);
    if (!a->layer_bytes) return lv_fail(err, LEVER_ENOMEM, 0, "comparison of configurations");
    load_acceptances(a, o);
    return LEVER_OK;
}

void lv_adviser_fini(lv_adviser *a)
{
    lv_free(a->layer_bytes);
    *a = (lv_adviser){ 0 };
}

/* ---- flash ---- */

/* As the machine reads, or as slowly as a modelled device would. */
static double flash_speed(const lv_adviser *a, const lv_engine_setup *o)
{
    const lv_flash_model *m = &o->flash;
    const uint64_t extent = o->plan.extent_bytes;
    const lever_machine_model *run = lv_machine_model_find(a->params->machine, a->target.key, NULL);
    double speed = lv_machine_stream_bytes_s(a->flash, run, extent, o->plan.ring_bytes);
    if (m->bytes_per_s == 0) return speed;
    const double held = (double)m->bytes_per_s * (double)extent / (double)(extent + m->half_bytes);
    return speed > 0 ? fmin(speed, held) : held;
}

/* A row of the embedding, where it is read by itself: a short read that nothing overlaps. */
static double embedding_s(const lv_adviser *a, const lv_engine_setup *o)
{
    const lv_machine_flash *f = a->flash;
    double least = 0;
    if (o->plan.head_resident && lv_model_tied(o->target)) return 0;
    for (uint32_t i = 0; f && i < f->reads.n_points; i++) {
        const lever_flash_point *p = &f->reads.points[i];
        const double one = p->bytes_per_s > 0 ? p->depth * (p->block_bytes / p->bytes_per_s) : 0;
        if (one > 0 && (least == 0 || one < least)) least = one;
    }
    return least;
}

/* ---- curves ---- */

/* As engine/devices.c chooses it. */
static uint32_t min_rows(const lv_engine_setup *o, const lv_run_on *on, const lv_model_shape *s)
{
    if (o->config.device_min_rows) return o->config.device_min_rows;
    return on->products && on->products->unified ? lv_rows_for_device(on, s) : 0;
}

static bool fill_target(lv_speed_costs *c, const lv_adviser *a, const lv_run_on *on, uint32_t least)
{
    for (uint32_t i = 0; i < N_GRID; i++) {
        lv_sweep_cost s;
        lv_run_on now = *on;
        if (grid[i] < least) now.products = NULL;
        const double head = lv_project_s(&now, &a->target, grid[i]);
        if (!lv_sweep_time(&s, &now, &a->target, grid[i]) || head < 0) return false;
        lv_curve_add(&c->sweep, grid[i], s.compute);
        lv_curve_add(&c->project, grid[i], head);
        if (!a->flash) continue;
        const lever_machine_beside *b = &a->flash->beside;
        lv_curve_add(&c->products_beside, grid[i], fmin(lv_machine_products_beside(b, grid[i]), 100));
        lv_curve_add(&c->flash_beside, grid[i], fmax(lv_machine_flash_beside(b, grid[i]), 0.01));
    }
    return true;
}

static bool fill_draft(lv_speed_costs *c, const lv_adviser *a, const lv_run_on *on, uint32_t least)
{
    for (uint32_t i = 0; i < N_GRID; i++) {
        lv_run_on now = *on;
        if (grid[i] < least) now.products = NULL;
        const double s = lv_draft_s(&now, &a->draft, grid[i]);
        if (s < 0) return false;
        lv_curve_add(&c->draft, grid[i], s);
    }
    c->candidates_s = lv_candidates_s(on, &a->draft);
    const lever_machine_model *run = lv_machine_model_find(on->machine, a->draft.key, NULL);
    if (run && !on->products) c->draft_first_s = run->first_s;
    return true;
}

static void fill_stream(lv_speed_costs *c, const lv_adviser *a, lv_engine_setup *o, bool lends)
{
    size_t n;
    const lv_model_weight *w = lv_model_weights(o->target, &n);
    memset(a->layer_bytes, 0, a->target.n_layers * sizeof *a->layer_bytes);
    for (size_t i = 0; i < n; i++) {
        if (w[i].resident || (lends && w[i].lent)) continue;
        if (w[i].layer < 0) c->head_bytes += (double)w[i].bytes;
        else a->layer_bytes[w[i].layer] += (double)w[i].bytes, c->streamed_bytes += (double)w[i].bytes;
    }
    c->layer_bytes = a->layer_bytes;
    /* One extent is held by the products. */
    c->ring_bytes = o->plan.ring_bytes > o->plan.extent_bytes
                        ? (double)(o->plan.ring_bytes - o->plan.extent_bytes) : 0;
}

static uint32_t kv_of(uint32_t type) { return type == LV_TYPE_Q8_0; }

bool lv_adviser_costs(lv_speed_costs *c, const lv_adviser *a, lv_engine_setup *o, const lv_machine_device *layers,
                      const lv_machine_device *draft)
{
    const uint32_t positions = a->params->n_positions ? a->params->n_positions : POSITIONS;
    *c = (lv_speed_costs){ .n_layers = a->target.n_layers };
    fill_stream(c, a, o, !layers);
    lv_run_on on = { .machine = a->params->machine, .products = layers, .kv = kv_of(o->target_kv_type),
                     .n_ctx = positions < o->plan.n_ctx ? positions : o->plan.n_ctx,
                     .streamed_bytes = (uint64_t)c->streamed_bytes, .extent_bytes = o->plan.extent_bytes };
    on.head_on_device = o->config.project_device;
    if (!fill_target(c, a, &on, min_rows(o, &on, &a->target))) return false;
    c->pick_s = lv_pick_s(&on, &a->target);
    c->row_s = embedding_s(a, o);
    if (o->exit) c->exit_layer = lv_exit_layer(o->exit) + 1;
    if (c->streamed_bytes + c->head_bytes > 0 && (c->flash_bytes_s = flash_speed(a, o)) <= 0) return false;
    on.products = draft, on.kv = kv_of(o->draft_kv_type), on.streamed_bytes = 0;
    return !o->draft || fill_draft(c, a, &on, min_rows(o, &on, &a->draft));
}
