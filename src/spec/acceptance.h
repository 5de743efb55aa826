/* How often a target takes what a draft proposes: counts that say how long trees of any shape will be accepted, before
 * one is tried (plan/speed_policy.h).
 *
 * A node is of a class, by the probability of its best candidate. Counted are, at nodes that the text reached and
 * the draft had evaluated: their class; which of their candidates, in order, the text went on with; and the class of
 * the node that this led to; each by depth, as deep nodes are reached where the text is easy. Classes of nodes do not
 * depend on whether a policy went on to evaluate them, so counts of one policy hold for others, as long as
 * probabilities are sharpened alike: kinds are told apart by that and by temperature. Old counts are forgotten slowly.
 * Plain data, no allocation. Threading: one owner.
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_SPEC_ACCEPTANCE_H
#define LEVER_SPEC_ACCEPTANCE_H

#include <stdbool.h>
#include <stdint.h>

enum { LV_ACC_CLASSES = 8, LV_ACC_RANKS = 8, LV_ACC_KINDS = 4, LV_ACC_DEPTHS = 3 }; /* the root; 1 and 2; below */

typedef struct lv_acceptance {
    float start[LV_ACC_CLASSES];                /* nodes that were roots of trees */
    float trials[LV_ACC_DEPTHS][LV_ACC_CLASSES][LV_ACC_RANKS]; /* nodes with a candidate of this rank */
    float hits[LV_ACC_DEPTHS][LV_ACC_CLASSES][LV_ACC_RANKS];   /* the text went on with it */
    float next[LV_ACC_DEPTHS][LV_ACC_CLASSES][2][LV_ACC_CLASSES]; /* class of the node behind: of the best candidate;
                                                                    * of another */
    float by_draft, by_lookup; /* proposed tokens that became text: by the draft, or only by what the text has */
    float pruned_rows, pruned_kept; /* rows of sweeps that were pruned; of them, those that went on */
} lv_acceptance; /* zeroed: nothing seen */

/* Of a pair of models, by kind. */
typedef struct lv_acceptances {
    lv_acceptance kind[LV_ACC_KINDS];
} lv_acceptances;

/* Index into kind. */
static inline uint32_t lv_acceptance_kind(float sharpness, float temperature)
{
    return (sharpness > 1.4f) + 2 * (temperature > 0);
}
/* Index of nodes so many levels below the root. */
static inline uint32_t lv_acceptance_depth(uint32_t levels) { return levels == 0 ? 0 : levels < 3 ? 1 : 2; }
/* Class of a node whose best candidate has this probability. */
uint32_t lv_acceptance_class(float best);
/* A cycle begins to count: old counts fade. */
void lv_acceptance_fade(lv_acceptance *a);
/* A reached node of class `of`, `levels` below the root, with n candidates; the text went on with candidate `rank`; n
 * or more: with none. */
void lv_acceptance_add(lv_acceptance *a, uint32_t levels, uint32_t of, uint32_t n, uint32_t rank);
static inline void lv_acceptance_add_root(lv_acceptance *a, uint32_t of) { a->start[of] += 1; }
/* The node behind candidate `rank` of such a node is of class `then`. */
static inline void lv_acceptance_add_next(lv_acceptance *a, uint32_t levels, uint32_t of, uint32_t rank, uint32_t then)
{
    a->next[lv_acceptance_depth(levels)][of][rank > 0][then] += 1;
}
/* Tokens that lookup adds to each of the draft's, 0 where little is known; share of rows that pruning leaves,
 * `otherwise` where little is known. */
double lv_acceptance_lookup(const lv_acceptance *a);
double lv_acceptance_kept(const lv_acceptance *a, double otherwise);
double lv_acceptance_roots(const lv_acceptance *a); /* cycles it stands for */
/* Counts of an earlier run: false if they can not be ones. */
bool lv_acceptance_valid(const lv_acceptance *a);

/* Probabilities, with what is usual where little was counted. */
typedef struct lv_acceptance_rates {
    double start[LV_ACC_CLASSES];                /* sum 1 */
    double hit[LV_ACC_DEPTHS][LV_ACC_CLASSES][LV_ACC_RANKS]; /* falling with the rank; sum <= 1 */
    double next[LV_ACC_DEPTHS][LV_ACC_CLASSES][2][LV_ACC_CLASSES]; /* sums 1 */
} lv_acceptance_rates;
/* a NULL or zeroed: of a usual pair, where the best candidate is right about seven times in ten. */
void lv_acceptance_get_rates(lv_acceptance_rates *r, const lv_acceptance *a);
/* That the i-th token of a chain is right when those before it are; p [k]. */
void lv_acceptance_chain(const lv_acceptance_rates *r, double *p, uint32_t k);

#endif
