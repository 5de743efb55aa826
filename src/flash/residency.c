/* SPDX-License-Identifier: MIT */
#include "flash/residency.h"

/* order, in both: indices of what is pinned, nullable. */
static uint64_t pin_first(lv_residency_item *items, size_t n, uint64_t budget, uint32_t *order)
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
            if (order) *order++ = (uint32_t)i;
        }
        done = layer;
    }
}

enum { N_LAYERS = 512 };

static uint32_t place(const lv_residency_item *item) { return (uint32_t)item->layer % N_LAYERS; }

/* Next item of the layer that has the fewest pinned bytes; ends at the first that does not fit, so a
 * larger budget pins a superset. The plan asks many times, so the bytes of each layer are kept; layers
 * beyond the table share places, which only makes the spread less even. */
static uint64_t pin_spread(lv_residency_item *items, size_t n, uint64_t budget, uint32_t *order)
{
    uint64_t used = 0, have[N_LAYERS] = { 0 };
    for (;;) {
        size_t best = n;
        for (size_t i = 0; i < n; i++)
            if (!items[i].pinned &&
                (best == n || have[place(&items[i])] < have[place(&items[best])]))
                best = i;
        if (best == n || items[best].bytes > budget - used) return used;
        items[best].pinned = true;
        have[place(&items[best])] += items[best].bytes;
        used += items[best].bytes;
        if (order) *order++ = (uint32_t)best;
    }
}

static uint64_t pin(lv_residency_item *items, size_t n, uint64_t budget, enum lv_residency_policy policy,
                    uint32_t *order)
{
    for (size_t i = 0; i < n; i++) items[i].pinned = false;
    return policy == LV_RESIDENCY_FIRST_LAYERS ? pin_first(items, n, budget, order)
                                               : pin_spread(items, n, budget, order);
}

uint64_t lv_residency_plan(lv_residency_item *items, size_t n, uint64_t budget_bytes,
                           enum lv_residency_policy policy)
{
    return pin(items, n, budget_bytes, policy, NULL);
}

void lv_residency_order(lv_residency_item *items, uint32_t n, enum lv_residency_policy policy, uint32_t *order)
{
    pin(items, n, UINT64_MAX, policy, order);
}
