/* Weights in memory that somebody else will need later (model.h). They lie in one mapping, one behind the other in the
 * order they come in, so that giving back is cutting off its end. SPDX-License-Identifier: MIT */
#include "model/state.h"

#include <string.h>

enum { HUGE_PAGE = 2 << 20, HUGE_FROM = 32 << 20 }; /* bytes; below the last, pages are small */

/* Beside small pages of 16 or 64 KiB huge ones have other sizes, and are not worth it. */
static bool wants_huge(uint64_t most_bytes) { return most_bytes >= HUGE_FROM && lv_page_bytes() == 4096; }

static uint64_t page_bytes(bool huge) { return huge ? HUGE_PAGE : lv_page_bytes(); }

/* Memory that the first n matrices take. */
static uint64_t bytes_of(const lv_lent *l, uint32_t n)
{
    const uint64_t bytes = n ? lv_round_up(l->end[n - 1], page_bytes(l->huge)) : 0;
    return bytes < l->arena_bytes ? bytes : l->arena_bytes;
}

/* ---- opening ---- */

/* Streamed matrices of the layers in the order they are taken in, into order [n_weights]. Returns how many; -1: no
 * memory. */
static int64_t order_streamed(const lv_model *m, enum lv_residency_policy policy, uint32_t *order)
{
    const uint32_t n = (uint32_t)m->n_weights - 1; /* the head is last */
    lv_residency_item *items = lv_alloc_array(m->n_weights, sizeof *items, 16);
    uint32_t n_streamed = 0;
    if (!items) return -1;
    for (uint32_t i = 0; i < n; i++)
        items[i] = (lv_residency_item){ .bytes = lv_model_resident_bytes(m->weights[i].bytes),
                                        .layer = m->weights[i].layer };
    lv_residency_order(items, n, policy, order);
    lv_free(items);
    for (uint32_t i = 0; i < n; i++)
        if (!m->weights[order[i]].resident) order[n_streamed++] = order[i];
    return n_streamed;
}

/* One behind the other, for as long as they fit into `most` in whole pages: where each ends. Returns how many. */
static uint32_t lay_out(const lv_model *m, const uint32_t *order, uint32_t n, uint64_t most, bool huge, size_t *end)
{
    size_t at = 0;
    for (uint32_t i = 0; i < n; i++) {
        const lv_model_weight *w = &m->weights[order[i]];
        end[i] = lv_model_resident_place(w, at) + (size_t)w->bytes;
        if (lv_round_up(end[i], page_bytes(huge)) > most) return i;
        at = lv_round_up(end[i], 64);
    }
    return n;
}

int lv_model_lend_plan(lv_model *m, uint64_t most_bytes, uint64_t bytes, enum lv_residency_policy policy,
                       lever_error *err)
{
    uint32_t *order = lv_alloc_array(m->n_weights, sizeof *order, 16);
    size_t *end = lv_alloc_array(m->n_weights, sizeof *end, 16);
    const int64_t n = order && end ? order_streamed(m, policy, order) : -1;
    for (size_t i = 0; i < m->n_weights; i++) m->weights[i].lent = false;
    const uint32_t n_lent = n > 0 ? lay_out(m, order, (uint32_t)n, bytes, wants_huge(most_bytes), end) : 0;
    for (uint32_t i = 0; i < n_lent; i++) m->weights[order[i]].lent = true;
    lv_free(order);
    lv_free(end);
    return n >= 0 ? LEVER_OK : lv_fail(err, LEVER_ENOMEM, 0, "memory plan");
}

uint64_t lv_model_lend_planned(const lv_model *m)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < m->n_weights; i++) bytes += m->weights[i].lent ? m->weights[i].bytes : 0;
    return bytes;
}

static uint64_t n_extents(const lv_model *m, size_t i)
{
    const uint64_t step = m->places[i].extent_rows;
    return step ? (m->weights[i].rows + step - 1) / step : 0;
}

int lv_model_lend_open(lv_model *m, uint64_t most_bytes, enum lv_residency_policy policy, lever_error *err)
{
    lv_lent *l = &m->lent;
    size_t n_skip = 0;
    if (!m->stream || m->offload.device || !m->layers_streamed || l->order) return LEVER_OK;
    for (size_t i = 0; i < m->n_weights; i++) n_skip += (size_t)n_extents(m, i);
    l->order = lv_alloc_array(m->n_weights, sizeof *l->order, 16);
    l->end = lv_alloc_array(m->n_weights, sizeof *l->end, 16);
    l->skip = lv_alloc_array(n_skip, sizeof *l->skip, 16);
    l->huge = wants_huge(most_bytes);
    const int64_t n = l->order && l->end && l->skip ? order_streamed(m, policy, l->order) : -1;
    if (n >= 0) l->n_most = lay_out(m, l->order, (uint32_t)n, most_bytes, l->huge, l->end);
    if (n >= 0 && l->n_most == 0) return LEVER_OK;
    l->arena_bytes = l->n_most ? lv_round_up(l->end[l->n_most - 1], page_bytes(l->huge)) : 0;
    if (l->n_most) l->arena = l->huge ? lv_map(l->arena_bytes) : lv_map_small(l->arena_bytes);
    if (l->arena) return LEVER_OK;
    lv_model_lend_close(m);
    return lv_fail(err, LEVER_ENOMEM, 0, "places of weights that may stay in memory");
}

void lv_model_lend_close(lv_model *m)
{
    lv_lent *l = &m->lent;
    lv_unmap(l->arena, l->arena_bytes);
    lv_free(l->order);
    lv_free(l->end);
    lv_free(l->skip);
    *l = (lv_lent){ 0 };
}

/* ---- lending ---- */

static void put_back(lv_model *m)
{
    lv_place *place = &m->places[m->lent.order[--m->lent.n]];
    place->bytes = NULL;
}

/* The next matrix comes into memory. False: it can not be read. */
static bool take_in(lv_model *m)
{
    lv_lent *l = &m->lent;
    const size_t i = l->order[l->n];
    const lv_model_weight *w = &m->weights[i];
    char *bytes = l->arena + (l->end[l->n] - (size_t)w->bytes);
    lever_error ignored;
    if (lv_model_read_weight(m, w, bytes, &ignored) < 0) return false;
    m->places[i].bytes = bytes;
    l->n++;
    return true;
}

/* The stream leaves out what is in memory. Reads that can not be queued now are tried again by the next sweep. */
static void tell_stream(lv_model *m)
{
    lv_lent *l = &m->lent;
    size_t at = 0;
    for (size_t i = 0; i < m->n_weights; i++)
        for (uint64_t k = n_extents(m, i); k > 0; k--) l->skip[at++] = m->places[i].bytes != NULL;
    m->stream_dirty = lv_stream_skip(m->stream, l->skip, NULL) < 0;
    m->at_head = !m->layers_streamed;
}

void lv_model_lend(lv_model *m, uint64_t bytes)
{
    lv_lent *l = &m->lent;
    const uint32_t before = l->n;
    if (!l->arena) return;
    while (l->n && bytes_of(l, l->n) > bytes) put_back(m);
    while (l->n < l->n_most && bytes_of(l, l->n + 1) <= bytes && take_in(m)) {}
    const uint64_t used = bytes_of(l, l->n);
    lv_map_forget(l->arena + used, l->arena_bytes - used);
    if (l->n != before) tell_stream(m);
}

bool lv_model_lends(const lv_model *m) { return m->lent.arena != NULL; }

uint64_t lv_model_lent_bytes(const lv_model *m) { return bytes_of(&m->lent, m->lent.n); }

uint64_t lv_model_lent_weights(const lv_model *m)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < m->lent.n; i++) bytes += m->weights[m->lent.order[i]].bytes;
    return bytes;
}
