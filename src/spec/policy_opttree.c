/* "opttree[:N,DELTA,D]": OPT-Tree (METHODS.md section 3). Level by level; after each, W is the sum of the N
 * largest path products so far, which is the expected accepted length. Drafting stops when W grows by DELTA or
 * less (0.2, the value for a cheap draft), or D levels (10) deep; the N (50) best nodes are verified. Only nodes
 * that are among the best N can have such children, so only they are evaluated. SPDX-License-Identifier: MIT */
#include "spec/pool.h"

typedef struct opttree_state {
    uint32_t n, d;
    float    delta;
    lv_pool  pool;
} opttree_state;

static int parse(lv_policy *p, const char *args, lever_error *err)
{
    opttree_state *s = p->state;
    s->n = 50, s->delta = 0.2f, s->d = 10;
    const lv_policy_param params[] = { { "nodes verified", &s->n, 1, LV_POLICY_MAX_NODES - 1, NULL },
                                       { "least gain of a level", NULL, 0, 8, &s->delta },
                                       { "levels", &s->d, 1, LV_POLICY_MAX_LEVELS, NULL } };
    LEVER_TRY(lv_policy_parse_params(p, args, params, 3, err));
    p->max_nodes = 1 + s->n;
    p->grow_nodes = lv_pool_grow_nodes(s->n, LV_POOL_ROWS, LV_POOL_CHILDREN);
    p->draft_rows = 2 * s->n; /* N are evaluated in the end, some in vain */
    return LEVER_OK;
}

static uint32_t choose(opttree_state *s, const lv_tree *t, int32_t level, uint32_t n, uint32_t most)
{
    uint32_t chosen = 0;
    for (uint32_t i = 0; i < n && i + 1 < t->n && chosen < most; i++) {
        const int32_t id = s->pool.order[i];
        if (t->nodes[id].depth == level && lv_pool_worth(&s->pool, id)) s->pool.ids[chosen++] = id;
    }
    return chosen;
}

static double sum_of_best(const lv_pool *o, const lv_tree *t, uint32_t n)
{
    double w = 0;
    for (uint32_t i = 0; i < n && i + 1 < t->n; i++) w += o->value[o->order[i]];
    return w;
}

/* Evaluate what is worth it of a level. */
static int grow_level(opttree_state *s, lv_tree *t, lv_drafter *d, int32_t level, uint32_t n, lever_error *err)
{
    const uint32_t k = n < LV_POOL_CHILDREN ? n : LV_POOL_CHILDREN;
    for (;;) {
        const uint32_t rows = lv_pool_rows(t, d, n, k, n);
        lv_pool_sort(&s->pool, t, n, rows * k);
        const uint32_t chosen = choose(s, t, level, n, rows);
        if (chosen == 0) return LEVER_OK;
        LEVER_TRY(lv_pool_expand(&s->pool, t, d, chosen, k, err));
    }
}

static int grow(lv_policy *p, lv_tree *t, lv_drafter *d, uint32_t max_nodes, uint32_t max_depth,
                lever_error *err)
{
    opttree_state *s = p->state;
    const uint32_t n = max_nodes - 1, depth = s->d < max_depth ? s->d : max_depth;
    LEVER_TRY(lv_pool_begin(&s->pool, t, d, n, false, err));
    lv_pool_sort(&s->pool, t, n, 0);
    double w = 0, more = sum_of_best(&s->pool, t, n);
    for (uint32_t level = 1; level < depth && more - w > (double)s->delta; level++) {
        w = more;
        LEVER_TRY(grow_level(s, t, d, (int32_t)level, n, err));
        more = sum_of_best(&s->pool, t, n);
    }
    lv_pool_keep(&s->pool, t, n);
    return LEVER_OK;
}

const lv_policy_type lv_policy_opttree = { .name = "opttree",
                                           .usage = "opttree[:N,DELTA,D]",
                                           .state_bytes = sizeof(opttree_state),
                                           .parse = parse,
                                           .grow = grow };
