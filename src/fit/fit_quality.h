/* How well scores tell the target's choice among a draft's candidates: the softmax temperature that fits
 * best, and what pruning at a threshold keeps. Threading: pure functions. SPDX-License-Identifier: MIT */
#ifndef LEVER_FIT_FIT_QUALITY_H
#define LEVER_FIT_FIT_QUALITY_H

#include <stdbool.h>

#include "base/error.h"
#include "fit/fit_loss.h"

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

/* How scores become probabilities: softmax over a node's candidates of s / temperature + draft_weight * ln p.
 */
typedef struct lv_fit_blend {
    float temperature;  /* 0: the scores take no part */
    float draft_weight; /* 0: the draft's probabilities p take no part */
} lv_fit_blend;
static const lv_fit_blend lv_fit_draft_alone = { 0.0f, 1.0f };

/* The blend that is nearest to the target's softmax(z) over the candidates, by mean KL: temperatures from 1/4
 * to 16, and with_draft weights from 0 to 2. */
lv_fit_blend lv_fit_best_blend(const lv_fit_node *nodes, size_t n, bool with_draft);

/* A tree is taken to hold the candidates with a draft probability of at least 2 %, and the first; the others
 * are in the denominator only. *edges, *right: shares of its edges, and of those that are the target's
 * choice, whose probability is at least threshold. */
void lv_fit_kept(const lv_fit_node *nodes, size_t n, lv_fit_blend blend, float threshold, float *edges,
                 float *right);

/* Share of edges left in *kept when pruning as far as keeps `true_share` of the true ones. LEVER_OK,
 * LEVER_ENOMEM, LEVER_EINVAL: no edge is true. */
int lv_fit_rank(const lv_fit_node *nodes, size_t n, lv_fit_blend blend, double true_share, double *kept,
                lever_error *err);

#endif
