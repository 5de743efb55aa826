/* "eagle2[:K,D,N]": EAGLE-2 (METHODS.md section 3). The K best nodes of each level, by the product of draft
 * probabilities, get K children each, D levels deep; of all candidates the best N are verified (10, 6, 60).
 * Nodes no child of which can be among the best N any more are not evaluated: the tree is the same for less.
 * SPDX-License-Identifier: MIT */
#include "spec/pool.h"

typedef struct eagle2_state {
    uint32_t k, d, n;
    lv_pool  pool;
} eagle2_state;

static int parse(lv_policy *p, const char *args, lever_error *err)
{
    eagle2_state *s = p->state;
    s->k = 10, s->d = 6, s->n = 60;
    const lv_policy_param params[] = { { "nodes expanded per level", &s->k, 1, LV_POOL_CHILDREN, NULL },
                                       { "levels", &s->d, 1, LV_POLICY_MAX_LEVELS, NULL },
                                       { "nodes verified", &s->n, 1, LV_POLICY_MAX_NODES - 1, NULL } };
    LEVER_TRY(lv_policy_parse_params(p, args, params, 3, err));
    p->max_nodes = 1 + s->n;
    p->grow_nodes = lv_pool_grow_nodes(s->n, s->k, s->k);
    p->draft_rows = s->k * (s->d - 1);
    return LEVER_OK;
}

/* Nodes of this level that are still to be evaluated, at most `most`. */
static uint32_t choose(eagle2_state *s, const lv_tree *t, int32_t level, uint32_t most)
{
    uint32_t n = 0, seen = 0;
    for (uint32_t i = 0; i + 1 < t->n && seen < s->k && n < most; i++) {
        const int32_t id = s->pool.order[i];
        if (t->nodes[id].depth != level) continue;
        seen++;
        if (lv_pool_worth(&s->pool, id)) s->pool.ids[n++] = id;
    }
    return n;
}

static int grow(lv_policy *p, lv_tree *t, lv_drafter *d, uint32_t max_nodes, uint32_t max_depth,
                lever_error *err)
{
    eagle2_state *s = p->state;
    const uint32_t n = max_nodes - 1, depth = s->d < max_depth ? s->d : max_depth;
    LEVER_TRY(lv_pool_begin(&s->pool, t, d, s->k, false, err));
    for (uint32_t level = 1; level < depth;) {
        const uint32_t rows = lv_pool_rows(t, d, n, s->k, s->k);
        lv_pool_sort(&s->pool, t, n, rows * s->k);
        const uint32_t chosen = choose(s, t, (int32_t)level, rows);
        if (chosen) LEVER_TRY(lv_pool_expand(&s->pool, t, d, chosen, s->k, err));
        else level++; /* a level of more nodes than a batch has rows takes several rounds */
    }
    lv_pool_keep(&s->pool, t, n);
    return LEVER_OK;
}

const lv_policy_type lv_policy_eagle2 = { .name = "eagle2",
                                          .usage = "eagle2[:K,D,N]",
                                          .state_bytes = sizeof(eagle2_state),
                                          .parse = parse,
                                          .grow = grow };
