/* "chain:K": the draft's best continuation, K tokens long, one draft row at a time.
 * SPDX-License-Identifier: MIT */
#include "spec/policy_impl.h"

enum { MAX_K = 64 };

static int parse(lv_policy *p, const char *args, lever_error *err)
{
    if (!args) return lv_fail(err, LEVER_EINVAL, 0, "tree policy 'chain' needs a length");
    LEVER_TRY(lv_policy_parse_number(&args, 1, MAX_K, &p->n_levels, p->spec, err));
    if (*args)
        return lv_fail(err, LEVER_EINVAL, 0, "tree policy '%.60s': a chain has one length, not also '%.40s'",
                       p->spec, args + 1);
    p->max_nodes = 1 + p->n_levels;
    return LEVER_OK;
}

static int grow(lv_policy *p, lv_tree *t, const lv_drafter *d, uint32_t max_nodes, uint32_t max_depth,
                lever_error *err)
{
    int32_t at = 0;
    /* The last node is proposed but not evaluated: nothing would be grown below it. */
    for (uint32_t level = 0; level < p->n_levels && level < max_depth && t->n < max_nodes; level++) {
        int32_t token;
        float prob;
        LEVER_TRY(d->expand(d->user, t, &at, 1, err));
        if (d->candidates(d->user, t, at, 1, &token, &prob) < 1) break;
        at = lv_tree_add(t, at, token, prob, LV_SOURCE_DRAFT);
    }
    return LEVER_OK;
}

const lv_policy_type lv_policy_chain = { "chain", "chain:K (K from 1 to 64)", parse, grow };
