/* Token tree of one cycle: node 0 is the root, the last token of the text that is not in the KV cache
 * yet; every other node is a proposed token below its parent. Parents stand before children; siblings
 * have different tokens (duplicate prefixes are merged). SPDX-License-Identifier: MIT */
#ifndef LEVER_SPEC_TREE_H
#define LEVER_SPEC_TREE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

typedef struct lv_tree_node {
    int32_t token;
    int32_t parent;       /* -1 for the root */
    int32_t first_child, next_sibling; /* -1: none */
    int32_t depth;        /* root 0 */
    int32_t draft_row;    /* scratch row in the draft's KV cache; -1: not evaluated by the draft */
    float   draft_prob;   /* p_d(token | parent) as the policy saw it; 1 for the root */
    uint8_t source;       /* enum lv_source: who proposed it */
} lv_tree_node;

enum lv_source { LV_SOURCE_ROOT, LV_SOURCE_DRAFT, LV_SOURCE_COUNT };

typedef struct lv_tree {
    lv_tree_node *nodes;  /* [cap] */
    uint32_t n, cap;
} lv_tree;

int  lv_tree_init(lv_tree *t, uint32_t cap, lever_error *err); /* cap >= 1; LEVER_OK, LEVER_ENOMEM */
void lv_tree_fini(lv_tree *t);
void lv_tree_reset(lv_tree *t, int32_t root_token);
/* Child of `parent` with this token: the existing one, or a new one; -1 when the tree is full. */
int32_t lv_tree_add(lv_tree *t, int32_t parent, int32_t token, float draft_prob, uint8_t source);
int32_t lv_tree_find_child(const lv_tree *t, int32_t parent, int32_t token); /* -1: none */

#endif
