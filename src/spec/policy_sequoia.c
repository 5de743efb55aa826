/* "sequoia:N[,D]": Sequoia (METHODS.md section 3). How often the k-th child of a node is the target's token is
 * counted as the text goes on; the tree of N nodes that is best for these frequencies (spec/sequoia.h) is used
 * until it is computed anew: often at first, later every 64 cycles. The depth is D, or, where D is left out,
 * the one with the least time per token, from the measured times of a level of drafting and of a sweep.
 * SPDX-License-Identifier: MIT */
#include "spec/policy_impl.h"
#include "spec/sequoia.h"

enum { FIRST_DEPTH = 8, EVERY = 64, FORGET_AT = 4096 };
#define PRIOR_TRIALS 8.0 /* a prior of 0.6 / k^2: falling as measured acceptance does, with a sum below 1 */
#define PRIOR_BEST 0.6
#define NEWS 0.1 /* share of the newest measurement in an average time */

typedef struct sequoia_state {
    uint32_t n, d;        /* d 0: to be chosen */
    double   hits[LV_SEQUOIA_CHILDREN], trials[LV_SEQUOIA_CHILDREN];
    double   level_s, sweep_s; /* average times; 0: none yet */
    uint32_t n_seen, n_levels; /* cycles observed; levels of the last tree that were drafted */
    bool draws; /* the text depends on the tree, so the tree may not depend on measured times */
    int32_t  ids[LV_SEQUOIA_NODES]; /* node of the tree by node of the shape; -1: missing */
    int32_t  batch[LV_SEQUOIA_NODES];
    lv_sequoia_shape shape;
    lv_sequoia tables;
} sequoia_state;

static void start_counts(sequoia_state *s)
{
    for (uint32_t k = 0; k < LV_SEQUOIA_CHILDREN; k++) {
        s->trials[k] = PRIOR_TRIALS;
        s->hits[k] = PRIOR_TRIALS * PRIOR_BEST / (double)((k + 1) * (k + 1));
    }
}

/* Levels for the least time per token. Drafting d levels takes d steps, one for the root and each level but
 * the last. */
static uint32_t choose_depth(const sequoia_state *s)
{
    if (s->d) return s->d;
    if (s->draws || s->sweep_s <= 0 || s->level_s <= 0) return FIRST_DEPTH;
    uint32_t best = 1;
    double least = 0;
    for (uint32_t d = 1; d <= LV_SEQUOIA_DEPTH; d++) {
        const double time = (d * s->level_s + s->sweep_s) / s->tables.best[d][s->n + 1];
        if (d == 1 || time < least) least = time, best = d;
    }
    return best;
}

static void plan(sequoia_state *s)
{
    double p[LV_SEQUOIA_CHILDREN];
    for (uint32_t k = 0; k < LV_SEQUOIA_CHILDREN; k++) p[k] = s->hits[k] / s->trials[k];
    lv_sequoia_solve(&s->tables, p, s->n + 1, s->d ? s->d : LV_SEQUOIA_DEPTH);
    lv_sequoia_shape_of(&s->tables, choose_depth(s), &s->shape);
}

static int parse(lv_policy *p, const char *args, lever_error *err)
{
    sequoia_state *s = p->state;
    s->n = 63;
    const lv_policy_param params[] = { { "nodes", &s->n, 1, LV_SEQUOIA_NODES - 1, NULL },
                                       { "levels", &s->d, 1, LV_SEQUOIA_DEPTH, NULL } };
    LEVER_TRY(lv_policy_parse_params(p, args, params, 2, err));
    p->max_nodes = 1 + s->n;
    start_counts(s);
    plan(s);
    return LEVER_OK;
}

/* Evaluate nodes of the shape [begin, end) that are in the tree and have children, and add these. */
static int grow_level(sequoia_state *s, lv_tree *t, lv_drafter *d, uint32_t begin, uint32_t end,
                      uint32_t child, uint32_t max_nodes, lever_error *err)
{
    int32_t tokens[LV_SEQUOIA_CHILDREN];
    float probs[LV_SEQUOIA_CHILDREN];
    while (begin < end) {
        uint32_t rows = begin == 0 || d->max_rows < d->rows_left ? d->max_rows : d->rows_left, n = 0, to = begin;
        for (; to < end && n < rows; to++)
            if (s->ids[to] >= 0 && s->shape.n_children[to]) s->batch[n++] = s->ids[to];
        if (n == 0 || t->n == max_nodes) return LEVER_OK;
        LEVER_TRY(lv_drafter_expand(d, t, s->batch, n, err));
        for (; begin < to; child += s->shape.n_children[begin++]) {
            const uint32_t room = max_nodes - t->n, k = s->shape.n_children[begin];
            if (s->ids[begin] < 0 || !k) continue;
            const uint32_t got = d->candidates(d->user, t, s->ids[begin], k < room ? k : room, tokens, probs);
            for (uint32_t c = 0; c < got; c++)
                s->ids[child + c] = lv_tree_add(t, s->ids[begin], tokens[c], probs[c], LV_SOURCE_DRAFT);
        }
    }
    return LEVER_OK;
}

static int grow(lv_policy *p, lv_tree *t, lv_drafter *d, uint32_t max_nodes, uint32_t max_depth,
                lever_error *err)
{
    sequoia_state *s = p->state;
    const lv_sequoia_shape *shape = &s->shape;
    for (uint32_t i = 0; i < shape->n; i++) s->ids[i] = i == 0 ? 0 : -1;
    s->n_levels = 0;
    s->draws = d->draws;
    for (uint32_t begin = 0, end = 1; begin < end && s->n_levels < max_depth && t->n < max_nodes;) {
        uint32_t next = end;
        for (uint32_t i = begin; i < end; i++) next += shape->n_children[i];
        if (next == end) break; /* the last level */
        LEVER_TRY(grow_level(s, t, d, begin, end, end, max_nodes, err));
        begin = end;
        end = next;
        s->n_levels++;
    }
    return LEVER_OK;
}

static void count_children(sequoia_state *s, const lv_tree *t, int32_t node, int32_t chosen)
{
    uint32_t k = 0;
    for (int32_t c = t->nodes[node].first_child; c >= 0 && k < LV_SEQUOIA_CHILDREN; k++) {
        s->trials[k] += 1;
        s->hits[k] += c == chosen;
        if (s->trials[k] > FORGET_AT) s->trials[k] /= 2, s->hits[k] /= 2;
        c = t->nodes[c].next_sibling;
    }
}

static void average(double *of, double now) { *of = *of > 0 ? *of + NEWS * (now - *of) : now; }

static void observe(lv_policy *p, const lv_outcome *o)
{
    sequoia_state *s = p->state;
    for (uint32_t i = 0; i <= o->n_path; i++) {
        const int32_t node = i ? o->path[i - 1] : 0;
        count_children(s, o->tree, node,
                       i < o->n_path ? o->path[i] : lv_tree_find_child(o->tree, node, o->next));
    }
    if (s->n_levels) average(&s->level_s, o->draft_s / s->n_levels);
    if (o->sweep.seconds >= 0) average(&s->sweep_s, o->sweep.seconds + o->project_s);
    s->n_seen++;
    if (s->n_seen % EVERY == 0 || (s->n_seen < EVERY && s->n_seen >= 4 && (s->n_seen & (s->n_seen - 1)) == 0))
        plan(s);
}

const lv_policy_type lv_policy_sequoia = { .name = "sequoia",
                                           .usage = "sequoia[:N,D]",
                                           .state_bytes = sizeof(sequoia_state),
                                           .draws = LV_DRAWS_ANY,
                                           .parse = parse,
                                           .grow = grow,
                                           .observe = observe };
