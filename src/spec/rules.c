/* SPDX-License-Identifier: MIT */
#include "spec/rules.h"

#include <assert.h>
#include <string.h>

static const char *const names[LV_RULE_COUNT] = { "match", "specinfer", "sequoia", "traversal" };

const char *lv_rule_name(int rule) { return names[rule]; }

int lv_rule_from_name(int *rule, const char *name, lever_error *err)
{
    for (*rule = 0; *rule < LV_RULE_COUNT; ++*rule)
        if (!strcmp(name ? name : names[LV_RULE_MATCH], names[*rule])) return LEVER_OK;
    *rule = LV_RULE_MATCH;
    return lv_fail(err, LEVER_EINVAL, 0,
                   "verification rule '%.40s' is not known; known are: match, specinfer, sequoia, traversal",
                   name);
}

/* ---- one level ---- */

static bool decide(const lv_verification *v, double prob)
{
    return prob >= 1 || (prob > 0 && v->chance.yes(v->chance.user, prob));
}

static lv_drawn *drawn_below(const lv_verification *v, int32_t node)
{
    if (node == 0) return &v->drawn[0];
    const int32_t row = v->tree->nodes[node].draft_row;
    return row < 0 ? NULL : &v->drawn[row + 1];
}

/* The child that the next draw of this level made; -1: no draw is left. */
static int32_t next_child(const lv_verification *v, const lv_level *l)
{
    const lv_drawn *d = drawn_below(v, l->node);
    if (!d || l->n_tried == d->n_draws) return -1;
    return lv_tree_find_child(v->tree, l->node, d->q.items[d->draws[l->n_tried]].token);
}

static int load(const lv_verification *v, lv_level *l, lever_error *err)
{
    if (l->loaded) return LEVER_OK;
    l->loaded = true;
    return v->target(v->user, l->node, &l->p, err);
}

/* min(1, w p / q) of the draw at hand. */
static double acceptance(const lv_verification *v, const lv_level *l)
{
    const lv_drawn *d = drawn_below(v, l->node);
    const lv_prob *x = &d->q.items[d->draws[l->n_tried]];
    const double p = l->worth * lv_dist_prob(&l->p, x->token);
    return p >= x->prob ? 1 : p / x->prob;
}

/* The draw at hand is rejected: what is still to come, out of what is not used up. */
static void reject(const lv_verification *v, lv_level *l)
{
    lv_drawn *d = drawn_below(v, l->node);
    double left = 0;
    for (uint32_t i = 0, k = 0; i < l->p.n; i++) { /* both in the order of tokens */
        lv_prob *x = &l->p.items[i];
        while (k < d->q.n && d->q.items[k].token < x->token) k++;
        const double q = k < d->q.n && d->q.items[k].token == x->token ? d->q.items[k].prob : 0;
        const double rest = l->worth * x->prob - q;
        x->prob = rest > 0 ? rest : 0;
        left += x->prob;
    }
    if (left > 0) l->worth = left / (left + (1 - l->worth)); /* 1 stays 1 */
    else if (l->worth < 1) l->worth = 0;
    else l->p = d->q; /* p is q but for rounding, which rejected what is certain */
    lv_dist_normalise(&l->p);
    if (!lv_rule_draws_again(v->rule)) lv_dist_take_out(&d->q, d->draws[l->n_tried]);
    l->n_tried++;
}

/* ---- the walk ---- */

static lv_level *enter(const lv_verification *v, uint32_t depth, int32_t node, double worth)
{
    lv_level *l = &v->levels[depth];
    assert(depth < LV_LEVELS_MAX && (uint32_t)v->tree->nodes[node].depth == depth);
    l->node = node;
    l->worth = worth;
    l->n_tried = 0;
    l->loaded = false;
    return l;
}

/* Depth of the accepted node, whose level has the p to go on with; or LEVER_E*. */
static int walk(const lv_verification *v, lever_error *err)
{
    const bool upwards = v->rule == LV_RULE_TRAVERSAL;
    uint32_t depth = 0;
    lv_level *l = enter(v, 0, 0, 1);
    for (;;) {
        const int32_t child = next_child(v, l);
        if (child < 0) {
            if (decide(v, l->worth)) return (int)depth;
            l = &v->levels[--depth]; /* the root's worth stays 1 */
            reject(v, l);
            continue;
        }
        LEVER_TRY(load(v, l, err));
        const double a = acceptance(v, l);
        if (upwards ? a > 0 : decide(v, a)) l = enter(v, ++depth, child, upwards ? a : 1);
        else reject(v, l);
    }
}

int lv_verify_tree(const lv_verification *v, int32_t *path, uint32_t *n_path, int32_t *next, lever_error *err)
{
    const int depth = walk(v, err);
    if (depth < 0) return depth;
    lv_level *l = &v->levels[depth];
    LEVER_TRY(load(v, l, err));
    for (int i = 1; i <= depth; i++) path[i - 1] = v->levels[i].node;
    *n_path = (uint32_t)depth;
    *next = l->p.items[v->chance.pick(v->chance.user, &l->p)].token;
    return LEVER_OK;
}
