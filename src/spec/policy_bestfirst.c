/* Best first, until N nodes are found that no other node can be better than.
 *
 * "specexec:N[,D,B]": SpecExec (METHODS.md section 3), by the product of draft probabilities, D levels deep at
 * most (32). The B (8) best nodes that are not evaluated yet, and among the best N so far, form one batch.
 *
 * "dyspec:N[,D,B]": DySpec. A draw below node x, whose value is V, is worth V times the probability that none
 * of the draws before it hit; what it draws is worth V times its draft probability. Popping the most valuable
 * draw from a heap N times gives the N best nodes by the worth of their draw, and those do not depend on the
 * order in which nodes were evaluated, so batches serve here too. The draft offers its candidates in the order
 * in which draws without replacement with the target's noise come. SPDX-License-Identifier: MIT */
#include "spec/pool.h"

typedef struct best_first_state {
    uint32_t n, d, b;
    bool     draws;
    lv_pool  pool;
} best_first_state;

static int parse_any(lv_policy *p, const char *args, bool draws, lever_error *err)
{
    best_first_state *s = p->state;
    s->n = 64, s->d = LV_POLICY_MAX_LEVELS, s->b = 8, s->draws = draws;
    const lv_policy_param params[] = { { "nodes verified", &s->n, 1, LV_POLICY_MAX_NODES - 1, NULL },
                                       { "levels", &s->d, 1, LV_POLICY_MAX_LEVELS, NULL },
                                       { "nodes in a batch", &s->b, 1, LV_POOL_ROWS, NULL } };
    LEVER_TRY(lv_policy_parse_params(p, args, params, 3, err));
    p->max_nodes = 1 + s->n;
    p->grow_nodes = lv_pool_grow_nodes(s->n, s->b, LV_POOL_CHILDREN);
    p->draft_rows = s->n + s->n / 2 + s->b; /* the best N, and some that looked like it at the time */
    return LEVER_OK;
}

static int parse_specexec(lv_policy *p, const char *args, lever_error *err)
{
    return parse_any(p, args, false, err);
}

static int parse_dyspec(lv_policy *p, const char *args, lever_error *err)
{
    return parse_any(p, args, true, err);
}

static uint32_t choose(best_first_state *s, const lv_tree *t, uint32_t n, uint32_t depth, uint32_t most)
{
    uint32_t chosen = 0;
    for (uint32_t i = 0; i < n && i + 1 < t->n && chosen < most; i++) {
        const int32_t id = s->pool.order[i];
        if (t->nodes[id].depth < (int32_t)depth && lv_pool_worth(&s->pool, id)) s->pool.ids[chosen++] = id;
    }
    return chosen;
}

static int grow(lv_policy *p, lv_tree *t, lv_drafter *d, uint32_t max_nodes, uint32_t max_depth,
                lever_error *err)
{
    best_first_state *s = p->state;
    const uint32_t n = max_nodes - 1, depth = s->d < max_depth ? s->d : max_depth;
    const uint32_t k = n < LV_POOL_CHILDREN ? n : LV_POOL_CHILDREN;
    /* A batch also has nodes that better ones push out later. Where rows run out because of that, the tree
     * would depend on what these were drawn as. One at a time, every node that is evaluated stays. */
    const uint32_t batch = d->draws ? 1 : s->b;
    LEVER_TRY(lv_pool_begin(&s->pool, t, d, n, s->draws, err));
    for (;;) {
        const uint32_t rows = lv_pool_rows(t, d, n, k, batch);
        lv_pool_sort(&s->pool, t, n, rows * k);
        const uint32_t chosen = choose(s, t, n, depth, rows);
        if (chosen == 0) break;
        LEVER_TRY(lv_pool_expand(&s->pool, t, d, chosen, k, err));
    }
    lv_pool_keep(&s->pool, t, n);
    return LEVER_OK;
}

const lv_policy_type lv_policy_specexec = { .name = "specexec",
                                            .usage = "specexec[:N,D,B]",
                                            .state_bytes = sizeof(best_first_state),
                                            .parse = parse_specexec,
                                            .grow = grow };
const lv_policy_type lv_policy_dyspec = { .name = "dyspec",
                                          .usage = "dyspec[:N,D,B]",
                                          .state_bytes = sizeof(best_first_state),
                                          .draws = LV_DRAWS_WITHOUT_REPLACEMENT,
                                          .parse = parse_dyspec,
                                          .grow = grow };
