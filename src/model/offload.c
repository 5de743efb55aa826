/* SPDX-License-Identifier: MIT */
#include "model/offload.h"

#include <stdio.h>
#include <string.h>

#include "model/state.h"
#include "os/clock.h"

bool lv_model_can_offload(const lv_model_weight *w, const lv_device *d)
{
    return d && d->traits.types >> w->type & 1 && w->cols <= d->config.max_k;
}

void lv_offload_lose(lv_offload *o, const lever_error *why)
{
    if (!o->note[0]) snprintf(o->note, sizeof o->note, "%.220s; the CPU goes on", why->msg);
    o->lost = true;
}

/* ---- slots of the stream ---- */

void lv_offload_close_slots(lv_offload *o)
{
    for (uint32_t i = 0; o->slots && i < o->n_slots; i++) lv_device_memory_close(o->device, &o->slots[i]);
    lv_free(o->slots);
    lv_free(o->slot_host);
    o->slots = NULL;
    o->slot_host = NULL;
    o->n_slots = 0;
}

int lv_offload_open_slots(lv_offload *o, uint32_t n, size_t bytes, lever_error *err)
{
    int rc = LEVER_OK;
    o->slots = lv_alloc_array(n, sizeof *o->slots, 16);
    o->slot_host = lv_alloc_array(n, sizeof *o->slot_host, 16);
    o->n_slots = n;
    if (!o->slots || !o->slot_host) rc = lv_fail(err, LEVER_ENOMEM, 0, "list of %u slots", n);
    for (uint32_t i = 0; rc >= 0 && i < n; i++) {
        rc = lv_device_memory_open(o->device, &o->slots[i], bytes, err);
        if (rc >= 0) o->slot_host[i] = o->slots[i]->host;
    }
    if (rc < 0) lv_offload_close_slots(o);
    return rc;
}

/* The device is done with the oldest slot that is held: reads may go there again. */
static int release_slot(lv_model *m, lever_error *err)
{
    lv_offload *o = &m->offload;
    const uint32_t i = lv_stream_oldest(m->stream);
    lever_error e = { 0 };
    const int rc = lv_device_memory_take(o->device, o->slots[i], &e);
    if (rc < 0) {
        lv_offload_lose(o, &e);
        return lv_fail(err, rc, 0, "%s", e.msg);
    }
    o->slot_host[i] = o->slots[i]->host;
    lv_stream_release(m->stream);
    return LEVER_OK;
}

/* ---- jobs ---- */

/* From the pieces, which the device may have or not. */
static int multiply_here(lv_sweep *s, const lv_offload_job *j)
{
    lv_offload *o = &s->m->offload;
    const lv_device_job *job = &j->job;
    unsigned packed = 0;
    for (unsigned i = 0; i < job->n_products; i++) {
        const lv_device_product *p = &job->products[i];
        lever_error e = { 0 };
        if (lv_device_memory_look(o->device, j->pieces[i], &e) < 0) {
            lv_offload_lose(o, &e);
            return lv_fail(
                s->err, LEVER_EIO, 0,
                "a product failed on the device, and the CPU can not read its weights there (%.200s); "
                "from now on the CPU has them",
                o->note);
        }
        const int kind = lv_type_act_kind(p->type);
        if (!(packed >> kind & 1)) lv_cpu_pack(s->cpu, (enum lv_act_kind)kind, job->x, job->n_rows, job->k);
        packed |= 1u << kind;
        lv_cpu_matmul(s->cpu, p->y, p->ldy, p->type, p->w->host + p->w_at, p->n_out, job->n_rows, job->k);
    }
    memset(s->packed, 0, sizeof s->packed);
    return LEVER_OK;
}

static void trace_job(const lv_sweep *s, const lv_offload_job *j)
{
    if (!s->m->trace.fn || j->number < 0) return;
    int64_t bytes = 0;
    for (unsigned i = 0; i < j->job.n_products; i++) {
        const lv_device_product *p = &j->job.products[i];
        bytes += (int64_t)(p->n_out * lv_type_row_bytes(p->type, j->job.k));
    }
    lv_trace_emit(&s->m->trace, &(lever_trace_event){ .track = "device",
                                                      .name = s->m->track,
                                                      .begin_ns = j->begin_ns,
                                                      .end_ns = lv_clock_ns(),
                                                      .index = s->layer,
                                                      .rows = (int64_t)j->job.n_rows,
                                                      .bytes = bytes });
}

/* Wait for the oldest job; the slots it used go back to the stream. */
static int finish_oldest(lv_sweep *s)
{
    lv_model *m = s->m;
    lv_offload *o = &m->offload;
    lv_offload_job *j = &o->jobs[o->first];
    if (m->stream) lv_stream_pump(m->stream);
    if (j->number >= 0) {
        lever_error e = { 0 };
        const uint64_t t0 = lv_clock_ns();
        const int rc = lv_device_wait(o->device, j->number, &e);
        o->wait_ns += lv_clock_ns() - t0;
        trace_job(s, j);
        if (rc < 0) {
            lv_offload_lose(o, &e);
            LEVER_TRY(multiply_here(s, j));
        }
    }
    o->first = (o->first + 1) % LV_DEVICE_JOBS_MOST;
    o->n--;
    for (uint32_t i = 0; i < j->n_slots; i++) LEVER_TRY(release_slot(m, s->err));
    if (j->n_slots) lv_stream_pump(m->stream);
    return LEVER_OK;
}

static int submit(lv_offload *o, const lv_offload_job *j, lever_error *err)
{
    for (unsigned i = 0; i < j->job.n_products; i++)
        LEVER_TRY(lv_device_memory_give(o->device, j->pieces[i], err));
    return lv_device_submit(o->device, &j->job, err);
}

/* At the end of the list of jobs; done by the CPU where the device does not take it. */
static int start(lv_sweep *s, const lv_offload_job *job)
{
    lv_offload *o = &s->m->offload;
    while (o->n == o->device->config.n_jobs) LEVER_TRY(finish_oldest(s));
    lv_offload_job *j = &o->jobs[(o->first + o->n) % LV_DEVICE_JOBS_MOST];
    *j = *job;
    j->number = -1;
    j->begin_ns = lv_clock_ns();
    if (!o->lost) {
        lever_error e = { 0 };
        j->number = submit(o, j, &e);
        const bool refused =
            j->number == LEVER_EUNSUP || j->number == LEVER_EAGAIN; /* others may use it too */
        if (j->number < 0 && !refused) lv_offload_lose(o, &e);
    }
    if (j->number >= 0)
        o->n_jobs++;
    else
        LEVER_TRY(multiply_here(s, j));
    o->n++;
    return LEVER_OK;
}

/* Turn the group into jobs of as many rows as the device takes. */
static int start_group(lv_sweep *s)
{
    lv_offload *o = &s->m->offload;
    const size_t step = o->device->config.max_rows;
    const lv_offload_job group = o->group;
    o->group = (lv_offload_job){ 0 };
    if (!group.job.n_products) return LEVER_OK;
    for (size_t t = 0; t < s->n_rows; t += step) {
        lv_offload_job j = group;
        const size_t left = s->n_rows - t;
        j.job.x += t * j.job.k;
        j.job.n_rows = left < step ? left : step;
        for (unsigned i = 0; i < j.job.n_products; i++) j.job.products[i].y += t * j.job.products[i].ldy;
        if (left > step) j.n_slots = 0; /* the last of them frees the slots */
        LEVER_TRY(start(s, &j));
    }
    return LEVER_OK;
}

/* ---- collecting ---- */

static bool fits(const lv_offload *o, const float *x, size_t k, size_t n_out)
{
    const lv_device_job *g = &o->group.job;
    size_t all = n_out;
    for (unsigned i = 0; i < g->n_products; i++) all += g->products[i].n_out;
    return g->n_products == 0 ||
           (g->n_products < LV_DEVICE_PRODUCTS && g->x == x && g->k == k && all <= o->device->config.max_out);
}

/* `rows` rows of W, at byte `at` of a piece; y is that of the first of them. More than fit one job are
 * several products, the last of which frees the slot. */
static int add(lv_sweep *s, float *y, const float *x, const lv_model_weight *w, lv_device_memory *piece,
               size_t at, uint64_t rows, uint32_t n_slots)
{
    lv_offload *o = &s->m->offload;
    const size_t most = o->device->config.max_out, row_bytes = (size_t)(w->bytes / w->rows);
    for (uint64_t r = 0; r < rows; r += most) {
        const size_t n = rows - r < most ? (size_t)(rows - r) : most;
        if (!fits(o, x, (size_t)w->cols, n)) LEVER_TRY(start_group(s));
        lv_device_job *g = &o->group.job;
        o->group.pieces[g->n_products] = piece;
        g->x = x;
        g->k = (size_t)w->cols;
        g->products[g->n_products++] = (lv_device_product){ .w = piece,
                                                            .w_at = at + (size_t)r * row_bytes,
                                                            .type = w->type,
                                                            .n_out = n,
                                                            .y = y + r,
                                                            .ldy = (size_t)w->rows };
        if (r + n == rows) o->group.n_slots += n_slots;
    }
    return LEVER_OK;
}

/* While the next bytes are not there, the device starts on what is, and jobs that end make room for reads. */
static int next_extent(lv_sweep *s, const uint8_t **bytes)
{
    lv_model *m = s->m;
    while (!lv_stream_is_ready(m->stream)) {
        LEVER_TRY(start_group(s));
        if (!m->offload.n) break;
        LEVER_TRY(finish_oldest(s));
    }
    const void *p;
    LEVER_TRY(lv_stream_next(m->stream, &p, s->err));
    *bytes = p;
    return LEVER_OK;
}

bool lv_offload_takes(const lv_sweep *s, size_t at)
{
    const lv_model *m = s->m;
    const lv_place *place = &m->places[at];
    if (place->piece) return true;
    return place->extent_rows && m->offload.slots &&
           lv_model_can_offload(&m->weights[at], m->offload.device) &&
           (m->offload.head || at + 1 < m->n_weights);
}

int lv_offload_mul(lv_sweep *s, float *y, const float *x, size_t at)
{
    lv_model *m = s->m;
    const lv_model_weight *w = &m->weights[at];
    const lv_place *place = &m->places[at];
    LEVER_TRY(s->rc);
    if (place->piece) return add(s, y, x, w, place->piece, place->piece_at, w->rows, 0);
    for (uint64_t r = 0; r < w->rows; r += place->extent_rows) {
        const uint64_t rows = w->rows - r < place->extent_rows ? w->rows - r : place->extent_rows;
        const uint8_t *bytes;
        LEVER_TRY(next_extent(s, &bytes));
        lv_device_memory *slot = m->offload.slots[lv_stream_newest(m->stream)];
        LEVER_TRY(add(s, y + r, x, w, slot, (size_t)(bytes - slot->host), rows, 1));
    }
    return LEVER_OK;
}

/* ---- sweeps ---- */

void lv_offload_begin(lv_sweep *s)
{
    const lv_offload *o = &s->m->offload;
    s->rc = LEVER_OK;
    s->offload = o->device && (!o->reachable || s->n_rows >= o->min_rows);
}

void lv_offload_settle(lv_sweep *s)
{
    if (s->rc >= 0) s->rc = start_group(s);
    while (s->rc >= 0 && s->m->offload.n) s->rc = finish_oldest(s);
}

void lv_offload_abort(lv_model *m)
{
    lv_offload *o = &m->offload;
    lever_error e = { 0 };
    if (!o->device) return;
    for (; o->n; o->n--, o->first = (o->first + 1) % LV_DEVICE_JOBS_MOST) {
        const lv_offload_job *j = &o->jobs[o->first];
        if (j->number >= 0) lv_device_wait(o->device, j->number, NULL);
        trace_job(&m->sweep, j);
    }
    o->group = (lv_offload_job){ 0 };
    for (uint32_t i = 0; i < o->n_slots; i++) {
        if (lv_device_memory_take(o->device, o->slots[i], &e) < 0) lv_offload_lose(o, &e);
        o->slot_host[i] = o->slots[i]->host;
    }
}
