/* "tree:k1,k2,...": every node of level i gets its k_(i+1) best children (static expansion,
 * METHODS.md section 3). A level is evaluated as one row batch. SPDX-License-Identifier: MIT */
#include <assert.h>

#include "spec/policy_impl.h"

static int parse(lv_policy *p, const char *args, lever_error *err)
{
    if (!args) return lv_fail(err, LEVER_EINVAL, 0, "tree policy 'tree' needs the children per level");
    uint32_t width = 1;
    p->max_nodes = 1;
    for (;;) {
        if (p->n_levels == LV_POLICY_MAX_LEVELS)
            return lv_fail(err, LEVER_EINVAL, 0, "tree policy '%.100s' has more than %d levels", p->spec,
                           LV_POLICY_MAX_LEVELS);
        uint32_t k = 0;
        LEVER_TRY(lv_policy_parse_number(&args, 1, LV_POLICY_MAX_NODES - 1, &k, p->spec, err));
        width *= k; /* at most 255 * 255: the sum is checked before the next level */
        p->max_nodes += width;
        if (p->max_nodes > LV_POLICY_MAX_NODES)
            return lv_fail(err, LEVER_EINVAL, 0,
                           "tree policy '%.100s' makes %u nodes by level %u, the root included; at most %d "
                           "are allowed", p->spec, p->max_nodes, p->n_levels + 1, LV_POLICY_MAX_NODES);
        p->levels[p->n_levels++] = k;
        if (!*args) return LEVER_OK;
        args++; /* the comma */
    }
}

/* Evaluate nodes [begin, begin + n) and add up to k children to each, in order. */
static int grow_batch(lv_policy *p, lv_tree *t, const lv_drafter *d, uint32_t begin, uint32_t n, uint32_t k,
                      uint32_t max_nodes, lever_error *err)
{
    int32_t tokens[LV_POLICY_MAX_NODES];
    float probs[LV_POLICY_MAX_NODES];
    for (uint32_t i = 0; i < n; i++) p->ids[i] = (int32_t)(begin + i);
    LEVER_TRY(d->expand(d->user, t, p->ids, n, err));
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t room = max_nodes - t->n, want = k < room ? k : room;
        if (want == 0) break;
        const uint32_t got = d->candidates(d->user, t, p->ids[i], want, tokens, probs);
        for (uint32_t c = 0; c < got; c++) lv_tree_add(t, p->ids[i], tokens[c], probs[c], LV_SOURCE_DRAFT);
    }
    return LEVER_OK;
}

static int grow(lv_policy *p, lv_tree *t, const lv_drafter *d, uint32_t max_nodes, uint32_t max_depth,
                lever_error *err)
{
    assert(d->max_rows >= 1 && t->n == 1);
    uint32_t begin = 0, end = t->n; /* nodes of the current level: ids are contiguous */
    for (uint32_t level = 0; level < p->n_levels && level < max_depth && begin < end; level++) {
        const uint32_t k = p->levels[level];
        while (begin < end && t->n < max_nodes) {
            /* No more parents than there is room for children of: the rest would be drafted in vain. */
            const uint32_t room = max_nodes - t->n;
            uint32_t n = end - begin;
            if (n > (room + k - 1) / k) n = (room + k - 1) / k;
            if (n > d->max_rows) n = d->max_rows;
            if (n > LV_POLICY_MAX_NODES) n = LV_POLICY_MAX_NODES;
            LEVER_TRY(grow_batch(p, t, d, begin, n, k, max_nodes, err));
            begin += n;
        }
        if (begin < end) break; /* full */
        end = t->n;
    }
    return LEVER_OK;
}

const lv_policy_type lv_policy_static = {
    "tree", "tree:k1,k2,... (children per node by level, at most 256 nodes)", parse, grow
};
