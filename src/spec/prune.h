/* Early-exit pruning of a token tree (arXiv 2605.16786, verification; METHODS.md section 1.4): which nodes go on to
 * the upper layers of the target, from scores that a predictor gives after a middle layer. What is left out can
 * only shorten the accepted path, never change a token. Pure functions; no allocation.
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_SPEC_PRUNE_H
#define LEVER_SPEC_PRUNE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "spec/tree.h"

enum lv_prune_mode {
    LV_PRUNE_OFF,
    LV_PRUNE_AUTO,     /* the policy decides by expected gain per cost; policies that do not keep every node */
    LV_PRUNE_THRESHOLD
};

typedef struct lv_prune_rule {
    enum lv_prune_mode mode;
    float threshold;
    bool  no_shadows;    /* compare a node with its siblings in the tree only, for experiments */
    bool  no_safeguards; /* the threshold alone decides, for experiments */
    bool  dry;           /* decide, count, and keep every node, for experiments */
} lv_prune_rule;

/* "auto", "off", or a threshold such as "0.05"; then any of ",no-shadows", ",no-safeguards", ",dry".
 * LEVER_OK or LEVER_EINVAL naming the bad part. */
int lv_prune_parse(lv_prune_rule *out, const char *text, lever_error *err);

/* p [n] = softmax(scores): shares of the candidates of one node, those in the tree (first n_in_tree)
 * and, unless told otherwise, its shadow candidates. Returned in place. Scores that are no numbers make all shares
 * equal. */
void lv_prune_shares(float *scores, uint32_t n);

/* Nodes whose whole path from the root has shares of at least the threshold; and, as safeguards: the backbone (the
 * child with the largest share at each depth, down to a leaf), the two best children of the root, and every node if
 * fewer than 4 or a tenth of them would be left. share [t->n], of node 0 unused; keep [t->n] is filled:
 * ancestor-closed, the root kept. Returns how many are kept. */
uint32_t lv_prune_by_threshold(const lv_tree *t, const float *share, const lv_prune_rule *r, bool *keep);

/* Add the backbone to what is kept. Returns how many nodes were added. */
uint32_t lv_prune_add_backbone(const lv_tree *t, const float *share, bool *keep);

#endif
