/* SPDX-License-Identifier: MIT */
#include "spec/pool.h"

#include <assert.h>

/* ---- order ---- */

static bool before(const lv_pool *o, int32_t a, int32_t b)
{
    return o->rank[a] > o->rank[b] || (o->rank[a] == o->rank[b] && a < b);
}

/* Heap with the last in order on top. */
static void sift_down(const lv_pool *o, int32_t *heap, uint32_t n, uint32_t i)
{
    const int32_t v = heap[i];
    for (uint32_t c; (c = 2 * i + 1) < n; i = c) {
        if (c + 1 < n && before(o, heap[c], heap[c + 1])) c++;
        if (before(o, heap[c], v)) break;
        heap[i] = heap[c];
    }
    heap[i] = v;
}

/* A heap sort: qsort may allocate, and this order is total anyway. */
static void sort(lv_pool *o, uint32_t n)
{
    for (uint32_t i = n / 2; i-- > 0;) sift_down(o, o->order, n, i);
    for (uint32_t m = n; m > 1; m--) {
        const int32_t last = o->order[0];
        o->order[0] = o->order[m - 1];
        o->order[m - 1] = last;
        sift_down(o, o->order, m - 1, 0);
    }
}

static void sort_all(lv_pool *o, const lv_tree *t, uint32_t n)
{
    const uint32_t n_all = t->n - 1;
    for (uint32_t i = 0; i < n_all; i++) o->order[i] = (int32_t)i + 1;
    sort(o, n_all);
    o->floor = n_all >= n ? o->rank[o->order[n - 1]] : 0;
}

void lv_pool_keep(lv_pool *o, lv_tree *t, uint32_t n)
{
    sort_all(o, t, n);
    if (t->n <= n + 1) return;
    for (uint32_t i = 0; i < t->n; i++) o->keep[i] = i == 0;
    for (uint32_t i = 0; i < n; i++) o->keep[o->order[i]] = true;
    for (uint32_t i = 0, to = 0; i < t->n; i++) {
        if (!o->keep[i]) continue;
        o->value[to] = o->value[i];
        o->rank[to] = o->rank[i];
        o->expanded[to++] = o->expanded[i];
    }
    lv_tree_keep(t, o->keep);
}

void lv_pool_sort(lv_pool *o, lv_tree *t, uint32_t n, uint32_t room)
{
    if (t->cap - t->n < room) lv_pool_keep(o, t, n);
    sort_all(o, t, n);
}

/* ---- growth ---- */

uint32_t lv_pool_grow_nodes(uint32_t n, uint32_t rows, uint32_t k)
{
    const uint32_t nodes = 1 + n + rows * k;
    return nodes < LV_GROW_MAX ? nodes : LV_GROW_MAX;
}

uint32_t lv_pool_rows(const lv_tree *t, const lv_drafter *d, uint32_t n, uint32_t k, uint32_t wanted)
{
    if (wanted > (t->cap - 1 - n) / k) wanted = (t->cap - 1 - n) / k;
    if (wanted > LV_POOL_ROWS) wanted = LV_POOL_ROWS;
    if (wanted > d->max_rows) wanted = d->max_rows;
    return wanted < d->rows_left ? wanted : d->rows_left;
}

/* Add up to k children of an evaluated node. */
static void add_children(lv_pool *o, lv_tree *t, lv_drafter *d, int32_t id, uint32_t k)
{
    const uint32_t got = d->candidates(d->user, t, id, k, o->tokens, o->probs);
    double drawn = 0; /* probability of the siblings before */
    o->expanded[id] = true;
    for (uint32_t c = 0; c < got; c++) {
        const double p = o->probs[c] > 0 ? o->probs[c] < 1 ? (double)o->probs[c] : 1 : 0; /* NaN counts as 0 */
        double rank = o->value[id] * (o->draws ? 1 - drawn : p), value = o->value[id] * p;
        if (value > rank) value = rank; /* by rounding: a child of this child may not come first */
        drawn += p;
        if (!(rank > o->floor)) continue;
        const int32_t child = lv_tree_add(t, id, o->tokens[c], o->probs[c], LV_SOURCE_DRAFT);
        if (child < 0) return;
        o->value[child] = value;
        o->rank[child] = rank;
        o->expanded[child] = false;
    }
}

int lv_pool_expand(lv_pool *o, lv_tree *t, lv_drafter *d, uint32_t n, uint32_t k, lever_error *err)
{
    assert(k <= LV_POLICY_MAX_NODES);
    LEVER_TRY(lv_drafter_expand(d, t, o->ids, n, err));
    for (uint32_t i = 0; i < n; i++) add_children(o, t, d, o->ids[i], k);
    return LEVER_OK;
}

int lv_pool_begin(lv_pool *o, lv_tree *t, lv_drafter *d, uint32_t k, bool draws, lever_error *err)
{
    o->value[0] = o->rank[0] = 1;
    o->expanded[0] = false;
    o->floor = 0;
    o->draws = draws;
    o->ids[0] = 0;
    return lv_pool_expand(o, t, d, 1, k, err);
}
