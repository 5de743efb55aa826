/* Reading the flash: alone, and beside products. SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "engine/profile_impl.h"
#include "flash/load.h"
#include "flash/probe.h"
#include "os/clock.h"
#include "plan/machine.h"

_Static_assert((int)LEVER_FLASH_POINTS >= (int)LV_PROBE_POINTS, "the public list holds every point");

static void on_point(void *user, uint32_t done, uint32_t total)
{
    lv_profile_progress(user, (double)done / total, NULL); /* a wish to stop is heard at the next step */
}

static int probe_reads(lv_profile *p, lever_flash_profile *out, double seconds, lever_error *err)
{
    const lv_probe_config c = { .path = p->params->flash_path, .progress = on_point, .user = p,
                                .point_ns = (uint64_t)(seconds * 1e9 / LV_PROBE_POINTS_USUAL) };
    lv_probe probe;
    LEVER_TRY(lv_probe_run(&probe, &c, err));
    *out = (lever_flash_profile){ .n_points = probe.n_points, .best = probe.best, .direct = probe.direct };
    for (uint32_t i = 0; i < probe.n_points; i++) {
        const lv_probe_point *q = &probe.points[i];
        out->points[i] = (lever_flash_point){ .backend = q->backend,
                                              .block_bytes = q->block_bytes,
                                              .depth = q->depth,
                                              .huge_pages = q->huge_pages,
                                              .bytes_per_s = q->bytes_per_s,
                                              .cpu_share = q->cpu_share };
    }
    return LEVER_OK;
}

int lv_profile_flash(lv_profile *p, double seconds, lever_error *err)
{
    lever_flash_profile reads;
    LEVER_TRY(probe_reads(p, &reads, seconds, err));
    LEVER_TRY(lv_profile_progress(p, 1, err));
    lever_machine_flash *f =
        lv_profile_flash_entry(p->m, p->params->flash_where ? p->params->flash_where : "");
    f->reads = reads;
    f->beside = (lever_machine_beside){ 0 };
    p->flash = f;
    lv_profile_now(f->measured, sizeof f->measured);
    return LEVER_OK;
}

/* ---- beside products ---- */

enum { WINDOWS = 8, WINDOWS_LEAST = 3, SLICE_BYTES = 4 << 20 };
static const double window_most_s = 0.1; /* that slow reads may ask for */

typedef struct beside_state {
    lv_profile *p;
    lv_flash_load *load;
    uint32_t type, rows, n_out, windows;
    double window_s, flight_s;
} beside_state;

uint32_t lv_profile_windows(double seconds, double flight_s, double *window_s)
{
    const double least = fmin(5 * flight_s, window_most_s), each = seconds / (2 * LEVER_MACHINE_BESIDE);
    uint32_t n = WINDOWS;
    while (n > WINDOWS_LEAST && each / n < least) n--;
    *window_s = fmax(each / n, least);
    return n;
}

/* Slices of streamed size until the window is over; reads are started anew where the engine does it: at the
 * beginning of each product, by the thread that leads it. *flash: bytes per second, once as much has come as is in
 * flight. Returns seconds of a product. */
static double products(const beside_state *s, bool beside, double *flash)
{
    lv_profile *p = s->p;
    const size_t bytes = s->n_out * lv_type_row_bytes(s->type, LV_PROFILE_K);
    const lv_beside pump = { beside ? lv_flash_load_pump : NULL, s->load };
    if (beside) lv_flash_load_pump(s->load);
    const uint64_t t0 = lv_clock_ns();
    uint64_t before = lv_flash_load_bytes(s->load);
    uint32_t n = 0;
    double passed, begun = 0;
    do {
        if (p->weights_at + bytes > p->weights_bytes) p->weights_at = 0;
        lv_cpu_matmul_beside(p->cpu, p->y, s->n_out, s->type, p->weights + p->weights_at, s->n_out, s->rows,
                             LV_PROFILE_K, pump);
        p->weights_at += bytes;
        n++;
        passed = (double)(lv_clock_ns() - t0) * 1e-9;
        if (begun == 0 && passed >= s->flight_s && passed < s->window_s) {
            begun = passed;
            before = lv_flash_load_bytes(s->load);
        }
    } while (passed < s->window_s);
    *flash = (double)(lv_flash_load_bytes(s->load) - before) / (passed - begun);
    return passed / n;
}

static int measure_beside(beside_state *s, double best, double *slower, double *kept, lever_error *err)
{
    double slowed[WINDOWS], lost[WINDOWS], speed;
    lv_cpu_pack(s->p->cpu, (enum lv_act_kind)lv_type_act_kind(s->type), s->p->x, s->rows, LV_PROFILE_K);
    for (uint32_t i = 0; i < s->windows; i++) {
        const double alone = products(s, false, &speed);
        slowed[i] = products(s, true, &speed) / alone;
        lost[i] = 1 - speed / best;
        LEVER_TRY(lv_profile_progress(s->p, (double)i / s->windows, err));
    }
    /* Not the best of them: products are fastest in windows in which reads stand still. */
    const double factor = lv_middle(slowed, s->windows), share = 1 - lv_middle(lost, s->windows);
    *slower = factor > 1 ? factor : 1;
    *kept = share > 1 ? 1 : share < 0.01 ? 0.01 : share;
    return LEVER_OK;
}

int lv_profile_beside(lv_profile *p, double seconds, lever_error *err)
{
    static const uint32_t rows[LEVER_MACHINE_BESIDE] = { 1, 8, 32 };
    lever_machine_flash *f =
        lv_profile_flash_entry(p->m, p->params->flash_where ? p->params->flash_where : "");
    const lever_flash_point *best = &f->reads.points[f->reads.best];
    if (!f->reads.direct || best->bytes_per_s <= 0) return LEVER_OK;
    beside_state s = { .p = p, .type = p->types[0] };
    s.flight_s = (double)best->block_bytes * best->depth / best->bytes_per_s;
    s.windows = lv_profile_windows(seconds, s.flight_s, &s.window_s);
    s.n_out = SLICE_BYTES / (uint32_t)lv_type_row_bytes(s.type, LV_PROFILE_K);
    if (s.n_out > LV_PROFILE_SLICE) s.n_out = LV_PROFILE_SLICE;
    lv_profile_fill(p, s.type);
    LEVER_TRY(lv_flash_load_open(&s.load, p->params->flash_path, best->backend, best->block_bytes,
                                 best->depth, err));
    int rc = LEVER_OK;
    for (uint32_t i = 0; i < LEVER_MACHINE_BESIDE && rc >= 0; i++) {
        s.rows = rows[i];
        rc = measure_beside(&s, best->bytes_per_s, &f->beside.products[i], &f->beside.flash[i], err);
        if (rc >= 0) f->beside.rows[i] = rows[i];
    }
    lv_flash_load_close(&s.load);
    return rc;
}
