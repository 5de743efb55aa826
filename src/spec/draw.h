/* Sparse distributions, true draws from them, and where chance comes from: what the verification rules other
 * than sample-and-match are made of (spec/rules.h). Sums are taken in ascending order of tokens, so results
 * are the same on every machine. Pure but for the chance. SPDX-License-Identifier: MIT */
#ifndef LEVER_SPEC_DRAW_H
#define LEVER_SPEC_DRAW_H

#include <stdbool.h>
#include <stdint.h>

enum { LV_DIST_MAX = 256 };

typedef struct lv_prob {
    double  prob;
    int32_t token;
} lv_prob;

/* Probabilities that sum to 1; a token that is not listed has none. */
typedef struct lv_dist {
    lv_prob  items[LV_DIST_MAX]; /* [n], n >= 1, tokens ascending and different */
    uint32_t n;
} lv_dist;

/* Make the probabilities sum to 1. False: their sum is 0, and nothing is changed. */
bool lv_dist_normalise(lv_dist *d);
double lv_dist_prob(const lv_dist *d, int32_t token);

/* What decides. Tests enumerate every outcome through it; lv_dice decides by a seed. */
typedef struct lv_chance {
    void *user;
    bool     (*yes)(void *user, double prob);           /* with this probability, above 0 and below 1 */
    uint32_t (*pick)(void *user, const lv_dist *d);     /* place in d->items, in proportion to the
                                                         * probabilities, whose sum is above 0 */
} lv_chance;

/* A stream of decisions that depends on these numbers only. Different (seed, position, stream) are
 * independent of each other, and of the noise the sampler picks tokens with. */
typedef struct lv_dice {
    uint64_t seed, pos;
    uint32_t stream, n; /* n: decisions taken, at most 4095; streams are below 2^20 */
} lv_dice;

lv_chance lv_dice_chance(lv_dice *d); /* d borrowed */

/* What the draft said below a node of a tree, and which tokens were drawn from it. */
typedef struct lv_drawn {
    lv_dist  q;
    uint8_t  draws[LV_DIST_MAX]; /* [n_draws] places in q.items, in the order of drawing */
    uint32_t n_draws;            /* 0: nothing was drawn here, and q means nothing */
} lv_drawn;

/* Draw k tokens (1 .. LV_DIST_MAX) from d->q into d->draws. with_replacement: independent of each other, so
 * that a token may come twice; else each from what the draws before it left: fewer, when nothing is. */
void lv_draw(lv_drawn *d, uint32_t k, bool with_replacement, const lv_chance *chance);
/* After a draw without replacement the others share what it had. False: there are none, all are 0 now. */
bool lv_dist_take_out(lv_dist *d, uint32_t place);

#endif
