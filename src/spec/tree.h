/* Token tree of one cycle: node 0 is the root, the last token of the text that is not in the KV cache
 * yet; every other node is a proposed token below its parent. Parents stand before children; siblings
 * have different tokens (duplicate prefixes are merged). SPDX-License-Identifier: MIT */
#ifndef LEVER_SPEC_TREE_H
#define LEVER_SPEC_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

typedef struct lv_tree_node {
    int32_t token;
    int32_t parent;       /* -1 for the root */
    int32_t first_child, next_sibling; /* -1: none */
    int32_t depth;        /* root 0 */
    int32_t draft_row;    /* scratch row in the draft's KV cache; -1: not evaluated, or the root */
    int32_t draft_slot;   /* row of logits of the draft's last batch; -1: none, or used up */
    float   draft_prob;   /* p_d(token | parent) as the policy saw it; 1 for the root */
    float   prob;         /* that the token follows its parent, as the policy believes; 0: it does not say */
    uint8_t source;       /* enum lv_source: who proposed it */
} lv_tree_node;

enum lv_source {
    LV_SOURCE_ROOT,
    LV_SOURCE_DRAFT,  /* the draft model */
    LV_SOURCE_LOOKUP, /* what followed the same words earlier in the text; draft_prob is 0 */
    LV_SOURCE_COUNT
};

enum { LV_GROW_MAX = 1024 }; /* nodes a tree may have while it grows; far fewer are verified */

typedef struct lv_tree {
    lv_tree_node *nodes;  /* [cap] */
    uint32_t n, cap;
} lv_tree;

/* cap from 1 to LV_GROW_MAX. LEVER_OK, LEVER_EINVAL, LEVER_ENOMEM. Returned: lv_tree_fini. */
int  lv_tree_init(lv_tree *t, uint32_t cap, lever_error *err);
void lv_tree_fini(lv_tree *t);
void lv_tree_reset(lv_tree *t, int32_t root_token);
/* Child of `parent` with this token: the existing one, or a new one; -1 when the tree is full. */
int32_t lv_tree_add(lv_tree *t, int32_t parent, int32_t token, float draft_prob, uint8_t source);
int32_t lv_tree_find_child(const lv_tree *t, int32_t parent, int32_t token); /* -1: none */
/* Drop the nodes i with keep[i] [t->n] false. The root is kept, and no node without its parent. The others
 * move down in order: node i becomes the (number of kept nodes before i)-th. */
void lv_tree_keep(lv_tree *t, const bool *keep);

#endif
