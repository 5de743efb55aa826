/* How well scores tell the target's choice among a draft's candidates: the softmax temperature that fits
 * best, and what pruning at a threshold keeps. Threading: pure functions. SPDX-License-Identifier: MIT */
#ifndef LEVER_FIT_FIT_QUALITY_H
#define LEVER_FIT_FIT_QUALITY_H

#include "base/error.h"
#include "fit/fit_loss.h"
#include "model/exit_predictor.h"

enum {
    LV_FIT_NODE_CANDIDATES = 8 /* of a node: C(u), what trees take from a draft per node */
};

/* One held-out position as a node of a tree. */
typedef struct lv_fit_node {
    float   z[LV_FIT_NODE_CANDIDATES];    /* the target's logits of the candidates */
    float   s[LV_FIT_NODE_CANDIDATES];    /* the predictor's */
    float   prob[LV_FIT_NODE_CANDIDATES]; /* the draft's probabilities, best first */
    uint8_t n;                            /* candidates */
    int8_t  right;                        /* index of the target's choice; -1: not among them */
} lv_fit_node;

/* The temperature from 1/4 to 16 at which softmax(s / T) over the candidates is nearest to the target's
 * softmax(z), by mean KL. */
float lv_fit_best_temperature(const lv_fit_node *nodes, size_t n);

/* A tree is taken to hold the candidates with a draft probability of at least 2 %, and the first; the others
 * are in the denominator only. Shares of its edges, and of those that are the target's choice, whose score is
 * at least point->threshold; fills the rest of *point. */
void lv_fit_curve_point(const lv_fit_node *nodes, size_t n, float temperature, lv_exit_point *point);

typedef struct lv_fit_ranking {
    double kept;       /* share of edges left when pruning as far as keeps `true_share` of the true ones */
    double draft_kept; /* the same when pruning by the draft's own probability */
} lv_fit_ranking;
/* LEVER_OK, LEVER_ENOMEM, LEVER_EINVAL: no edge is true. */
int lv_fit_rank(const lv_fit_node *nodes, size_t n, float temperature, double true_share, lv_fit_ranking *out,
                lever_error *err);

#endif
