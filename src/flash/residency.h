/* Which weights stay in memory: a pure function (DESIGN.md section 5, METHODS.md section 5).
 * A cyclic scan never hits a cache smaller than itself, so a fixed subset is pinned and the rest is
 * streamed; pinned bytes are spread evenly over the layers so that each layer's reads can hide under
 * its compute. SPDX-License-Identifier: MIT */
#ifndef LEVER_FLASH_RESIDENCY_H
#define LEVER_FLASH_RESIDENCY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct lv_residency_item {
    uint64_t bytes;
    int32_t  layer;  /* >= 0; items of one layer share it */
    bool     pinned; /* out */
} lv_residency_item;

enum lv_residency_policy { LV_RESIDENCY_SPREAD, LV_RESIDENCY_FIRST_LAYERS };

/* Choose items [n] to pin within budget_bytes. Returns the bytes pinned (<= budget_bytes).
 * SPREAD: pinned bytes of any two layers differ by at most about one item; larger budgets pin at
 * least as many bytes. FIRST_LAYERS: whole layers from layer 0 on, then items of the next. */
uint64_t lv_residency_plan(lv_residency_item *items, size_t n, uint64_t budget_bytes,
                           enum lv_residency_policy policy);
/* In which order [n] items are pinned: a budget pins the first ones, as many as fit. All are pinned afterwards. */
void lv_residency_order(lv_residency_item *items, uint32_t n, enum lv_residency_policy policy, uint32_t *order);

#endif
