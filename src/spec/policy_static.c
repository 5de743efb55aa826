/* "tree:k1,k2,...": every node of level i gets its k_(i+1) best children (static expansion, METHODS.md
 * section 3). "specinfer" is the same with the expansion of that paper as its default. A level is evaluated as
 * one row batch. SPDX-License-Identifier: MIT */
#include "spec/policy_impl.h"

typedef struct static_state {
    uint32_t n_levels;                     /* depth below the root */
    uint32_t levels[LV_POLICY_MAX_LEVELS]; /* children per node by level */
    int32_t  ids[LV_POLICY_MAX_NODES];     /* one expand batch */
} static_state;

static int parse(lv_policy *p, const char *args, lever_error *err)
{
    static_state *s = p->state;
    if (!args) return lv_fail(err, LEVER_EINVAL, 0, "tree policy 'tree' needs the children per level");
    uint32_t width = 1;
    p->max_nodes = 1;
    for (;;) {
        if (s->n_levels == LV_POLICY_MAX_LEVELS)
            return lv_fail(err, LEVER_EINVAL, 0, "tree policy '%.100s' has more than %d levels", p->spec,
                           LV_POLICY_MAX_LEVELS);
        uint32_t k = 0;
        LEVER_TRY(lv_policy_parse_number(&args, 1, LV_POLICY_MAX_NODES - 1, &k, p->spec, err));
        width *= k; /* at most 255 * 255: the sum is checked before the next level */
        p->max_nodes += width;
        if (p->max_nodes > LV_POLICY_MAX_NODES)
            return lv_fail(err, LEVER_EINVAL, 0,
                           "tree policy '%.100s' makes %u nodes by level %u, the root included; at most %d "
                           "are allowed", p->spec, p->max_nodes, s->n_levels + 1, LV_POLICY_MAX_NODES);
        s->levels[s->n_levels++] = k;
        if (!*args) return LEVER_OK;
        args++; /* the comma */
    }
}

static int parse_specinfer(lv_policy *p, const char *args, lever_error *err)
{
    return parse(p, args ? args : "1,1,3,1,1,1,1,1", err);
}

/* Evaluate nodes [begin, begin + n) and add up to k children to each, in order. */
static int grow_batch(static_state *s, lv_tree *t, lv_drafter *d, uint32_t begin, uint32_t n, uint32_t k,
                      uint32_t max_nodes, lever_error *err)
{
    int32_t tokens[LV_POLICY_MAX_NODES];
    float probs[LV_POLICY_MAX_NODES];
    for (uint32_t i = 0; i < n; i++) s->ids[i] = (int32_t)(begin + i);
    LEVER_TRY(lv_drafter_expand(d, t, s->ids, n, err));
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t room = max_nodes - t->n, want = k < room ? k : room;
        if (want == 0) break;
        const uint32_t got = d->candidates(d->user, t, s->ids[i], want, tokens, probs);
        for (uint32_t c = 0; c < got; c++) lv_tree_add(t, s->ids[i], tokens[c], probs[c], LV_SOURCE_DRAFT);
    }
    return LEVER_OK;
}

static int grow(lv_policy *p, lv_tree *t, lv_drafter *d, uint32_t max_nodes, uint32_t max_depth,
                lever_error *err)
{
    static_state *s = p->state;
    uint32_t begin = 0, end = t->n; /* nodes of the current level: ids are contiguous */
    for (uint32_t level = 0; level < s->n_levels && level < max_depth && begin < end; level++) {
        const uint32_t k = s->levels[level];
        while (begin < end && t->n < max_nodes) {
            /* No more parents than there is room for children of: the rest would be drafted in vain. */
            const uint32_t room = max_nodes - t->n;
            uint32_t n = end - begin;
            if (n > (room + k - 1) / k) n = (room + k - 1) / k;
            if (n > d->max_rows) n = d->max_rows;
            if (begin > 0 && n > d->rows_left) n = d->rows_left;
            if (n == 0) return LEVER_OK;
            LEVER_TRY(grow_batch(s, t, d, begin, n, k, max_nodes, err));
            begin += n;
        }
        if (begin < end) break; /* full */
        end = t->n;
    }
    return LEVER_OK;
}

const lv_policy_type lv_policy_static = {
    .name = "tree", .usage = "tree:K1,K2,...", .state_bytes = sizeof(static_state), .draws = LV_DRAWS_ANY,
    .parse = parse, .grow = grow
};
const lv_policy_type lv_policy_specinfer = { .name = "specinfer",
                                             .usage = "specinfer[:K1,K2,...]",
                                             .state_bytes = sizeof(static_state),
                                             .draws = LV_DRAWS_ANY,
                                             .parse = parse_specinfer,
                                             .grow = grow };
