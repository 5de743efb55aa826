/* Products of a device that is not the CPU, and what handing work and memory to it takes.
 * SPDX-License-Identifier: MIT */
#include <string.h>

#include "engine/profile_impl.h"
#include "os/clock.h"
#include "plan/machine.h"

enum { PIECES = 8, PIECE_BYTES = 8 << 20, SMALL_BYTES = 512 << 10, MIN_OUT = 32 };

typedef struct device_state {
    lv_device_memory *pieces[PIECES]; /* more than caches hold, weights of `type` in all of them */
    lv_device_memory *small;          /* for MIN_OUT rows of any type */
    size_t piece_bytes;
    uint32_t type, next;
    bool filled;
    double short_s, long_s, give_s, give_small_s, take_s; /* measured */
} device_state;

/* A device may take fewer rows at once than it was asked for. */
static int run_job(lv_profile *p, const lv_device_memory *w, size_t at, const lv_point *point,
                   lever_error *err)
{
    const size_t most = p->device->config.max_rows;
    for (size_t done = 0, n; done < point->rows; done += n) {
        n = point->rows - done < most ? point->rows - done : most;
        const lv_device_job job = {
            .x = p->x + done * LV_PROFILE_K,
            .n_rows = n,
            .k = LV_PROFILE_K,
            .n_products = 1,
            .products = { { .w = w,
                            .w_at = at,
                            .type = point->type,
                            .n_out = point->n_out,
                            .y = p->y + done * point->n_out,
                            .ldy = point->n_out } },
        };
        const int number = lv_device_submit(p->device, &job, err);
        LEVER_TRY(number);
        LEVER_TRY(lv_device_wait(p->device, number, err));
    }
    return LEVER_OK;
}

/* Take a piece, fill it with weights, give it. */
static int refill(lv_profile *p, lv_device_memory *m, lever_error *err)
{
    LEVER_TRY(lv_device_memory_take(p->device, m, err));
    memcpy(m->host, p->weights, m->bytes);
    return lv_device_memory_give(p->device, m, err);
}

static int prepare_device(lv_profile *p, lv_point *point, lever_error *err)
{
    device_state *s = p->step;
    if (s->filled && s->type == point->type) return LEVER_OK;
    lv_profile_fill(p, point->type);
    s->filled = false;
    for (uint32_t i = 0; i < PIECES; i++) LEVER_TRY(refill(p, s->pieces[i], err));
    LEVER_TRY(refill(p, s->small, err));
    s->filled = true;
    s->type = point->type;
    return LEVER_OK;
}

/* As many matrices of a piece as there are, then the next piece. */
static int run_device(lv_profile *p, lv_point *point, size_t n, lever_error *err)
{
    device_state *s = p->step;
    const size_t bytes = point->n_out * lv_type_row_bytes(point->type, LV_PROFILE_K);
    const size_t each = s->piece_bytes / bytes;
    for (size_t i = 0; i < n; i++) {
        s->next = (s->next + 1) % (uint32_t)(PIECES * each);
        LEVER_TRY(run_job(p, s->pieces[s->next / each], s->next % each * bytes, point, err));
    }
    return LEVER_OK;
}

/* point->n_out 0: time the taking; else the giving and a small job that waits for it. The job is not counted.
 */
static int pass_memory(lv_profile *p, lv_point *point, lv_device_memory *m, bool giving, size_t n,
                       lever_error *err)
{
    uint64_t ns = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t t0 = lv_clock_ns();
        LEVER_TRY(lv_device_memory_take(p->device, m, err));
        if (!giving) ns += lv_clock_ns() - t0;
        memcpy(m->host, p->weights, m->bytes);
        t0 = lv_clock_ns();
        LEVER_TRY(lv_device_memory_give(p->device, m, err));
        LEVER_TRY(run_job(p, m, 0, point, err));
        if (giving) ns += lv_clock_ns() - t0;
    }
    point->passed_ns = ns ? ns : 1;
    return LEVER_OK;
}

static int run_give(lv_profile *p, lv_point *point, size_t n, lever_error *err)
{
    return pass_memory(p, point, ((device_state *)p->step)->pieces[0], true, n, err);
}

static int run_give_small(lv_profile *p, lv_point *point, size_t n, lever_error *err)
{
    return pass_memory(p, point, ((device_state *)p->step)->small, true, n, err);
}

static int run_take(lv_profile *p, lv_point *point, size_t n, lever_error *err)
{
    return pass_memory(p, point, ((device_state *)p->step)->pieces[0], false, n, err);
}

static int open_pieces(lv_profile *p, device_state *s, lever_error *err)
{
    const size_t most = p->device->traits.piece_bytes;
    s->piece_bytes = most < PIECE_BYTES ? most & ~(size_t)4095 : PIECE_BYTES;
    for (uint32_t i = 0; i < PIECES; i++)
        LEVER_TRY(lv_device_memory_open(p->device, &s->pieces[i], s->piece_bytes, err));
    return lv_device_memory_open(p->device, &s->small, SMALL_BYTES, err);
}

static void close_pieces(lv_profile *p, device_state *s)
{
    for (uint32_t i = 0; i < PIECES; i++) lv_device_memory_close(p->device, &s->pieces[i]);
    lv_device_memory_close(p->device, &s->small);
}

/* Small jobs, and memory changing hands; call_s and what follows from it. */
static int measure_hand_over(lv_profile *p, lever_machine_device *d, uint32_t type, double seconds,
                             lever_error *err)
{
    device_state *s = p->step;
    const lv_point small = {
        .prepare = prepare_device, .scale = 1, .type = type, .rows = 1, .n_out = MIN_OUT
    };
    lv_point *points = p->points;
    for (int i = 0; i < 5; i++) points[i] = small;
    points[0].run = run_device, points[0].out = &s->short_s;
    points[1].run = run_device, points[1].out = &s->long_s, points[1].rows = LV_PROFILE_ROWS;
    points[2].run = run_give, points[2].out = &s->give_s;
    points[3].run = run_give_small, points[3].out = &s->give_small_s;
    points[4].run = run_take, points[4].out = &s->take_s;
    LEVER_TRY(lv_points_measure(p, points, 5, seconds, err));
    d->call_s = s->short_s;
    d->take_s = s->take_s;
    const double whole = (s->give_s - s->give_small_s) / (double)(s->piece_bytes - SMALL_BYTES);
    d->give_byte_s = whole > 0 ? whole : 0;
    const double each = s->give_small_s - s->short_s - d->give_byte_s * SMALL_BYTES;
    d->give_s = each > 0 ? each : 0;
    return LEVER_OK;
}

static int measure_device(lv_profile *p, lever_machine_device *d, double seconds, lever_error *err)
{
    device_state *s = p->step;
    lv_point *points = p->points;
    size_t n = 0;
    uint32_t first = 0;
    d->n_products = 0;
    for (uint32_t i = p->n_types; i-- > 0;)
        if (p->device->traits.types >> p->types[i] & 1) first = i, d->n_products++;
    if (!d->n_products) return LEVER_OK;
    LEVER_TRY(measure_hand_over(p, d, p->types[first], 0.2 * seconds, err));
    /* Packing of rows is part of submitting; results come back with waiting: neither depends on the weights.
     */
    const double row = (s->long_s - s->short_s) / ((LV_PROFILE_ROWS - 1) * (double)LV_PROFILE_K);
    for (uint32_t i = first, at = 0; i < p->n_types; i++) {
        if (!(p->device->traits.types >> p->types[i] & 1)) continue;
        lever_machine_product *to = &d->products[at++];
        lv_profile_name_product(to, p->types[i]);
        to->pack_s = row > 0 ? row : 0;
        for (uint32_t r = LEVER_MACHINE_ROWS; r-- > 0;)
            points[n++] = (lv_point){ .run = run_device,
                                      .prepare = prepare_device,
                                      .out = &to->weight_s[r],
                                      .scale = 1.0 / ((double)LV_PROFILE_OUT * LV_PROFILE_K),
                                      .less = d->call_s + to->pack_s * lever_machine_rows[r] * LV_PROFILE_K,
                                      .type = p->types[i],
                                      .rows = lever_machine_rows[r],
                                      .n_out = LV_PROFILE_OUT };
    }
    return lv_points_measure(p, points, n, 0.8 * seconds, err);
}

int lv_profile_device(lv_profile *p, double seconds, lever_error *err)
{
    const lv_device_traits *t = &p->device->traits;
    device_state s = { 0 };
    p->step = &s;
    lever_machine_device *d = lv_profile_device_entry(p->m, t->kind, t->name, t->driver);
    d->unified = t->unified;
    int rc = open_pieces(p, &s, err);
    if (rc >= 0) rc = measure_device(p, d, seconds, err);
    if (rc < 0) d->n_products = 0; /* numbers of half a measurement are none */
    close_pieces(p, &s);
    p->step = NULL;
    return rc;
}
