/* Verification rules for trees of true draws: which path of the tree becomes text, and the token after it.
 *
 * Whatever the draft, the text has exactly the distribution of plain sampling from the target, provided that
 * every child was drawn as its lv_drawn says, by chance of its own, and that whether a draw is made, and
 * kept, depended on earlier draws only. For then any draw added to a tree leaves the distribution as it was:
 * it is drawn from q, and the rule makes up for q (tests/unit/test_verify.c enumerates this).
 *
 * specinfer (2305.09781): children are independent draws. From the root down, in the order of drawing: child
 *   x is accepted with probability min(1, p(x) / q(x)); else p becomes (p - q)+, normalised. When no child is
 *   left the next token is drawn from p.
 * sequoia (2402.12374): the same for draws without replacement: a rejected x also leaves q.
 * traversal (2505.12398): draws without replacement, from the leaves up. The root is worth 1, child x of a
 *   node of worth w is worth min(1, w p(x) / q(x)). The first leaf in order is accepted, path and all, with
 *   a probability of its worth. Else it is cut off, and its parent goes on with p := (w p - q)+ normalised,
 *   w := s / (s + 1 - w) where s is the sum of (w p - q)+, and q without x; when all its children are cut
 *   off it is a leaf itself. The next token is drawn from the p of the accepted node.
 *   Why this is exact: below a node of worth w the rule yields text x... with probability w p(x...), and
 *   with 1 - w it rejects the node. A leaf does so by definition. A node's first child yields min(w p, q) in
 *   all, so (w p - q)+ is still to come, out of the 1 - w + s that is not used up: the new p and w.
 *
 * Sample-and-match, the default, is in engine/cycle.c. SPDX-License-Identifier: MIT */
#ifndef LEVER_SPEC_RULES_H
#define LEVER_SPEC_RULES_H

#include "base/error.h"
#include "spec/draw.h"
#include "spec/tree.h"

enum lv_rule { LV_RULE_MATCH, LV_RULE_SPECINFER, LV_RULE_SEQUOIA, LV_RULE_TRAVERSAL, LV_RULE_COUNT };

const char *lv_rule_name(int rule); /* "match"; static */
/* LEVER_OK, or LEVER_EINVAL, which lists the rules. NULL is "match". */
int lv_rule_from_name(int *rule, const char *name, lever_error *err);
static inline bool lv_rule_draws_again(int rule) { return rule == LV_RULE_SPECINFER; } /* with replacement */

/* What is known of one node on the path being looked at. */
typedef struct lv_level {
    lv_dist  p;      /* the target's, less what earlier children yielded; once loaded */
    double   worth;
    int32_t  node;
    uint32_t n_tried; /* draws of this node that were looked at */
    bool     loaded;
} lv_level;

enum { LV_LEVELS_MAX = 65 }; /* the root, and as deep as a policy goes */

typedef struct lv_verification {
    int rule;                /* not LV_RULE_MATCH */
    const lv_tree *tree;     /* children in the order of drawing; a draw without a node ends them */
    lv_drawn *drawn;         /* of the root, then by draft_row + 1; used up */
    lv_level *levels;        /* [depth of the tree + 1] scratch */
    /* The target's distribution after a node; once per node, its parent's before. LEVER_OK or LEVER_E*. */
    int (*target)(void *user, int32_t node, lv_dist *p, lever_error *err);
    void *user;
    lv_chance chance;
} lv_verification;

/* path [n_path, at most the depth of the tree]: the accepted nodes, from below the root on; next: the token
 * after them. LEVER_OK, or what target returned. */
int lv_verify_tree(const lv_verification *v, int32_t *path, uint32_t *n_path, int32_t *next,
                   lever_error *err);

#endif
