/* Growing a tree by draft probability: what the policies that search have in common. A pool stands beside a
 * tree and keeps for each node the product of draft probabilities from the root on. Nodes are ordered by rank,
 * best first, ties to the lower id, so that the best n of them are a tree. SPDX-License-Identifier: MIT */
#ifndef LEVER_SPEC_POOL_H
#define LEVER_SPEC_POOL_H

#include "spec/policy_impl.h"

enum { LV_POOL_CHILDREN = 32, LV_POOL_ROWS = 64 }; /* most children of a node but the root; rows of a batch */

typedef struct lv_pool {
    double  value[LV_GROW_MAX];  /* of a node: product of draft probabilities on its path; root 1 */
    double  rank[LV_GROW_MAX];   /* what nodes are chosen by; never above the parent's value */
    bool    expanded[LV_GROW_MAX];
    bool    keep[LV_GROW_MAX];   /* scratch */
    int32_t order[LV_GROW_MAX];  /* [t->n - 1] every node but the root, best first; after lv_pool_sort */
    int32_t ids[LV_POOL_ROWS];   /* a batch being chosen */
    int32_t tokens[LV_POLICY_MAX_NODES];
    float   probs[LV_POLICY_MAX_NODES];
    double  floor;               /* rank of the n-th best node, 0 while there are fewer; after lv_pool_sort */
    bool    draws;               /* rank a child by the draw that makes it (policy_dyspec.c), not by value */
} lv_pool;

/* Nodes of a tree that has the best n and k children of each of `rows` more; at most LV_GROW_MAX. */
uint32_t lv_pool_grow_nodes(uint32_t n, uint32_t rows, uint32_t k);
/* t holds only its root: evaluate it and add up to k children. LEVER_OK or the drafter's error. */
int  lv_pool_begin(lv_pool *o, lv_tree *t, lv_drafter *d, uint32_t k, bool draws, lever_error *err);
/* Make room for `room` more nodes, by dropping all but the best n if need be; then sort. Ids may change. */
void lv_pool_sort(lv_pool *o, lv_tree *t, uint32_t n, uint32_t room);
/* May a child of this node be among the best n? Not once n nodes are at least as good as the node. */
static inline bool lv_pool_worth(const lv_pool *o, int32_t id)
{
    return !o->expanded[id] && o->value[id] > o->floor;
}
/* Evaluate o->ids [n] and add up to k children to each, those worse than the floor left out. */
int  lv_pool_expand(lv_pool *o, lv_tree *t, lv_drafter *d, uint32_t n, uint32_t k, lever_error *err);
/* End of the search: only the root and the best n stay. */
void lv_pool_keep(lv_pool *o, lv_tree *t, uint32_t n);
/* Rows the next batch may have: `wanted`, as far as the drafter has room for them, and the tree for k children
 * of each beside the best n. */
uint32_t lv_pool_rows(const lv_tree *t, const lv_drafter *d, uint32_t n, uint32_t k, uint32_t wanted);

#endif
