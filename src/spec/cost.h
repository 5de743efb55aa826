/* What a batch of rows costs, learnt from the batches that ran: an online table with a model behind it for sizes
 * not seen yet (METHODS.md section 1.3, C_verify and C_draft). Times are smoothed by exponential forgetting and made
 * monotone: more rows never cost less. Plain data, no allocation. Threading: one owner.
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_SPEC_COST_H
#define LEVER_SPEC_COST_H

#include <stdbool.h>
#include <stdint.h>

enum { LV_COST_BINS = 40 }; /* four for every doubling of rows, up to 1024 */

typedef struct lv_cost_table {
    double rows[LV_COST_BINS], seconds[LV_COST_BINS]; /* running means of what fell into a bin */
    double weight[LV_COST_BINS];                      /* how much they stand for; 0: nothing yet */
    double curve_rows[LV_COST_BINS], curve[LV_COST_BINS]; /* [n_curve] monotone, of the bins that have any */
    uint32_t n_curve;
} lv_cost_table; /* zeroed: nothing seen */

void lv_cost_add(lv_cost_table *c, uint32_t rows, double seconds);
static inline bool lv_cost_known(const lv_cost_table *c) { return c->n_curve > 0; }
/* Seconds of a batch of `rows`. Between sizes that were seen: in proportion. Below: as the smallest seen. Above: as
 * the largest seen, or as `model` says where that is more (seconds of fixed + per_row * rows). 0 when nothing was
 * seen and the model is zero. */
typedef struct lv_cost_model { double fixed, per_row; } lv_cost_model;
double lv_cost_get(const lv_cost_table *c, uint32_t rows, const lv_cost_model *model);
/* Take over a table of an earlier run, whose means then give way to new ones soon. False: it can not be one. */
bool lv_cost_restore(lv_cost_table *c);
/* For a table that knows nothing: seconds [n] that were predicted for batches of rows [n]. They count as half a
 * measurement each, so that the first real one of a size outweighs them, and those of other sizes are
 * forgotten after some 50 batches. Others that are not numbers from 0 to 1e6 are left out. */
void lv_cost_seed_table(lv_cost_table *c, const uint32_t *rows, const double *seconds, uint32_t n);
/* The straight line through the smallest and the largest size seen; one size: through 0. False: nothing seen. */
bool lv_cost_line(const lv_cost_table *c, lv_cost_model *out);

#endif
