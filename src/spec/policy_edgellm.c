/* "edgellm[:N,W,ALPHA,MOST]": after EdgeLLM (METHODS.md section 3). The confidence of a branch is the product of
 * draft probabilities along it. Only branches of at least the fallback threshold go on (pace), at most W (4) at
 * once, and a node gets as many children as keep their branch above it, at least one (width). Drafting ends when
 * no branch is left above the threshold, or with N (64) nodes. The threshold begins at ALPHA (0.01), is halved
 * when the target followed the tree down to a leaf, and doubled when it did not, up to MOST (0.1): where a sweep
 * costs as much as many draft steps, stopping early for long is the dearer mistake.
 * The paper also drafts while it verifies. That is left out: it wants an idle processor during verification,
 * and here the same few cores do both. SPDX-License-Identifier: MIT */
#include "spec/pool.h"

enum { MOST_WIDTH = 16, MOST_CHILDREN = 4, MOST_LEVELS = LV_POLICY_MAX_LEVELS };
static const double least_threshold = 1e-4;

typedef struct edgellm_state {
    uint32_t n, w;
    float    alpha, most;
    double   threshold; /* of now */
    lv_pool  pool;
} edgellm_state;

static int parse(lv_policy *p, const char *args, lever_error *err)
{
    edgellm_state *s = p->state;
    s->n = 64, s->w = 4, s->alpha = 0.01f, s->most = 0.1f;
    const lv_policy_param params[] = { { "nodes verified", &s->n, 1, LV_POLICY_MAX_NODES - 1, NULL },
                                       { "branches at once", &s->w, 1, MOST_WIDTH, NULL },
                                       { "first threshold", NULL, 0, 1, &s->alpha },
                                       { "largest threshold", NULL, 0, 1, &s->most } };
    LEVER_TRY(lv_policy_parse_params(p, args, params, 4, err));
    s->threshold = (double)s->alpha;
    p->max_nodes = 1 + s->n;
    return LEVER_OK;
}

/* Add to an evaluated node its best child, and the next ones while they are confident enough. */
static void add_children(edgellm_state *s, lv_tree *t, lv_drafter *d, int32_t id, uint32_t max_nodes)
{
    lv_pool *o = &s->pool;
    const uint32_t got = d->candidates(d->user, t, id, MOST_CHILDREN, o->tokens, o->probs);
    o->expanded[id] = true;
    for (uint32_t c = 0; c < got && t->n < max_nodes; c++) {
        const double value = o->value[id] * (o->probs[c] > 0 ? (double)o->probs[c] : 0);
        if (c > 0 && value < s->threshold) continue; /* with noise in the order, a later one may be better */
        const int32_t child = lv_tree_add(t, id, o->tokens[c], o->probs[c], LV_SOURCE_DRAFT);
        o->value[child] = o->rank[child] = value;
        o->expanded[child] = false;
    }
}

static uint32_t choose(edgellm_state *s, const lv_tree *t, uint32_t depth, uint32_t most)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i + 1 < t->n && n < most; i++) {
        const int32_t id = s->pool.order[i];
        if (!s->pool.expanded[id] && s->pool.value[id] >= s->threshold && t->nodes[id].depth < (int32_t)depth)
            s->pool.ids[n++] = id;
    }
    return n;
}

static int grow(lv_policy *p, lv_tree *t, lv_drafter *d, uint32_t max_nodes, uint32_t max_depth,
                lever_error *err)
{
    edgellm_state *s = p->state;
    const uint32_t depth = max_depth < MOST_LEVELS ? max_depth : MOST_LEVELS;
    s->pool.value[0] = 1;
    s->pool.ids[0] = 0;
    for (uint32_t n = 1; n > 0 && t->n < max_nodes;) {
        LEVER_TRY(lv_drafter_expand(d, t, s->pool.ids, n, err));
        for (uint32_t i = 0; i < n; i++) add_children(s, t, d, s->pool.ids[i], max_nodes);
        lv_pool_sort(&s->pool, t, max_nodes, 0);
        uint32_t rows = s->w < d->max_rows ? s->w : d->max_rows;
        if (rows > d->rows_left) rows = d->rows_left;
        n = choose(s, t, depth, rows);
    }
    return LEVER_OK;
}

static void observe(lv_policy *p, const lv_outcome *o)
{
    edgellm_state *s = p->state;
    if (o->tree->n < 2) return;
    int32_t at = o->n_path ? o->path[o->n_path - 1] : 0;
    const int32_t next = lv_tree_find_child(o->tree, at, o->next);
    if (next >= 0) at = next;
    s->threshold *= o->tree->nodes[at].first_child < 0 ? 0.5 : 2;
    if (s->threshold > (double)s->most) s->threshold = (double)s->most;
    if (s->threshold < least_threshold) s->threshold = least_threshold;
}

/* The threshold says how hard the text is as much as how good the draft. */
static void reset(lv_policy *p)
{
    edgellm_state *s = p->state;
    s->threshold = (double)s->alpha;
}

const lv_policy_type lv_policy_edgellm = { .name = "edgellm",
                                           .usage = "edgellm[:N,W,ALPHA,MOST]",
                                           .state_bytes = sizeof(edgellm_state),
                                           .parse = parse,
                                           .grow = grow,
                                           .observe = observe,
                                           .reset = reset };
