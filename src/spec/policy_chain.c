/* "chain[:K]": the draft's best continuation, K tokens long (8 as in the Chain-SD of METHODS.md section 1), one
 * draft row at a time. SPDX-License-Identifier: MIT */
#include "spec/policy_impl.h"

enum { DEFAULT_K = 8, MAX_K = 64 };

typedef struct chain_state {
    uint32_t k;
} chain_state;

static int parse(lv_policy *p, const char *args, lever_error *err)
{
    chain_state *s = p->state;
    s->k = DEFAULT_K;
    LEVER_TRY(lv_policy_parse_params(p, args, &(lv_policy_param){ "length", &s->k, 1, MAX_K, NULL }, 1, err));
    p->max_nodes = 1 + s->k;
    return LEVER_OK;
}

static int grow(lv_policy *p, lv_tree *t, lv_drafter *d, uint32_t max_nodes, uint32_t max_depth,
                lever_error *err)
{
    const chain_state *s = p->state;
    int32_t at = 0;
    /* The last node is proposed but not evaluated: nothing would be grown below it. */
    for (uint32_t level = 0; level < s->k && level < max_depth && t->n < max_nodes; level++) {
        int32_t token;
        float prob;
        if (at > 0 && d->rows_left == 0) break;
        LEVER_TRY(lv_drafter_expand(d, t, &at, 1, err));
        if (d->candidates(d->user, t, at, 1, &token, &prob) < 1) break;
        at = lv_tree_add(t, at, token, prob, LV_SOURCE_DRAFT);
    }
    return LEVER_OK;
}

const lv_policy_type lv_policy_chain = {
    .name = "chain", .usage = "chain[:K]", .state_bytes = sizeof(chain_state), .draws = LV_DRAWS_ANY,
    .parse = parse, .grow = grow
};
