/* How a draft tree is grown: one file per policy behind this interface, one line in the registry
 * (policy.c). A policy proposes; it can change speed, never text. SPDX-License-Identifier: MIT */
#ifndef LEVER_SPEC_POLICY_H
#define LEVER_SPEC_POLICY_H

#include <stddef.h>
#include <stdint.h>

#include "spec/tree.h"

/* What a policy may ask of the draft model. */
typedef struct lv_drafter {
    void *user;
    /* Evaluate tree nodes ids [n] (parents of each already evaluated, not evaluated before) as one
     * row batch of the draft. Returns LEVER_OK or LEVER_E*. */
    int (*expand)(void *user, const lv_tree *t, const int32_t *ids, uint32_t n, lever_error *err);
    /* The k best continuations of an evaluated node of the LAST expand call; returns how many. */
    uint32_t (*candidates)(void *user, const lv_tree *t, int32_t id, uint32_t k, int32_t *tokens,
                           float *probs);
    uint32_t max_rows; /* rows one expand call may have */
} lv_drafter;

typedef struct lv_policy lv_policy;

/* Name of the i-th known policy, "chain"; NULL: there are no more. Static. */
const char *lv_policy_known(size_t i);

/* spec: "none", "chain:8", "tree:4,2,1" (children per node by level). LEVER_OK, LEVER_EINVAL (names the
 * bad part and lists the known policies), LEVER_ENOMEM. Returned: lv_policy_close. */
int  lv_policy_open(lv_policy **out, const char *spec, lever_error *err);
void lv_policy_close(lv_policy **p);
const char *lv_policy_name(const lv_policy *p);    /* the spec as given */
/* Most nodes, root included, a tree of this policy has; 1 for "none". */
uint32_t lv_policy_max_nodes(const lv_policy *p);
/* Grow t, which holds only its root, to at most max_nodes nodes and max_depth levels below the root.
 * The tree is usable whatever is returned. LEVER_OK or the drafter's error. */
int  lv_policy_grow(lv_policy *p, lv_tree *t, const lv_drafter *d, uint32_t max_nodes,
                    uint32_t max_depth, lever_error *err);

#endif
