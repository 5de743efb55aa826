/* SPDX-License-Identifier: MIT */
#include "flash/residency.h"

/* Bytes pinned so far in a layer. Layers are few (tens), so a scan is cheap enough for a plan. */
static uint64_t layer_bytes(const lv_residency_item *items, size_t n, int32_t layer)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++)
        if (items[i].layer == layer && items[i].pinned) sum += items[i].bytes;
    return sum;
}

static uint64_t pin_first(lv_residency_item *items, size_t n, uint64_t budget)
{
    uint64_t used = 0;
    int64_t done = -1;
    for (;;) { /* the lowest layer above the last one */
        int64_t layer = INT64_MAX;
        for (size_t i = 0; i < n; i++)
            if (items[i].layer > done && items[i].layer < layer) layer = items[i].layer;
        if (layer == INT64_MAX) return used;
        for (size_t i = 0; i < n; i++) {
            if (items[i].layer != layer) continue;
            if (items[i].bytes > budget - used) return used;
            items[i].pinned = true;
            used += items[i].bytes;
        }
        done = layer;
    }
}

/* Next item of the layer that has the fewest pinned bytes; ends at the first that does not fit, so a
 * larger budget pins a superset. */
static uint64_t pin_spread(lv_residency_item *items, size_t n, uint64_t budget)
{
    uint64_t used = 0;
    for (;;) {
        size_t best = n;
        uint64_t best_bytes = UINT64_MAX;
        for (size_t i = 0; i < n; i++) {
            if (items[i].pinned || (best < n && items[best].layer == items[i].layer)) continue;
            const uint64_t have = layer_bytes(items, n, items[i].layer);
            if (have < best_bytes) best = i, best_bytes = have;
        }
        if (best == n || items[best].bytes > budget - used) return used;
        items[best].pinned = true;
        used += items[best].bytes;
    }
}

uint64_t lv_residency_plan(lv_residency_item *items, size_t n, uint64_t budget_bytes,
                           enum lv_residency_policy policy)
{
    for (size_t i = 0; i < n; i++) items[i].pinned = false;
    return policy == LV_RESIDENCY_FIRST_LAYERS ? pin_first(items, n, budget_bytes)
                                               : pin_spread(items, n, budget_bytes);
}
