/* Every outcome of drawing a tree and verifying it, on a tiny vocabulary, with its exact probability:
 * decisions are branches, so the distribution of the text is a finite sum. SPDX-License-Identifier: MIT */
#ifndef LEVER_TESTS_UNIT_VERIFY_RIG_H
#define LEVER_TESTS_UNIT_VERIFY_RIG_H

#include "support/check.h"

#include <math.h>

#include "spec/policy.h"
#include "spec/rules.h"

enum { V = 4, DEPTH = 3, LENGTH = 3, N_TEXTS = V * V * V, MOST_NODES = 32, MOST_DECISIONS = 64 };

/* ---- a walk over all outcomes ---- */

/* One run follows choice [n] and takes the first option of every decision behind it. */
typedef struct script {
    uint32_t choice[MOST_DECISIONS], n_options[MOST_DECISIONS], n, at;
    double   prob; /* of this run */
} script;

static uint32_t choose(script *s, uint32_t n_options)
{
    if (s->at == MOST_DECISIONS) exit(1);
    if (s->at == s->n) s->choice[s->n++] = 0;
    s->n_options[s->at] = n_options;
    return s->choice[s->at++];
}

/* Prepare the next run; false after the last one. The first needs a zeroed script and begin_run. */
static bool next_run(script *s)
{
    while (s->n && s->choice[s->n - 1] + 1 == s->n_options[s->n - 1]) s->n--;
    if (s->n == 0) return false;
    s->choice[s->n - 1]++;
    return true;
}

static void begin_run(script *s) { s->at = 0, s->prob = 1; }

static bool script_yes(void *user, double prob)
{
    script *s = user;
    const bool yes = choose(s, 2) == 0;
    CHECK(prob > 0 && prob < 1);
    s->prob *= yes ? prob : 1 - prob;
    return yes;
}

static uint32_t script_pick(void *user, const lv_dist *d)
{
    script *s = user;
    uint32_t n = 0, place = 0;
    double sum = 0;
    for (uint32_t i = 0; i < d->n; i++) n += d->items[i].prob > 0, sum += d->items[i].prob;
    CHECK(n > 0 && fabs(sum - 1) < 1e-12);
    uint32_t skip = choose(s, n);
    while (!(d->items[place].prob > 0) || skip-- > 0) place++;
    s->prob *= d->items[place].prob / sum;
    return place;
}

/* ---- two models ---- */

/* Probability of a token after a text of `depth` new tokens, the last of which is `last`. */
typedef struct world {
    double p[DEPTH + 1][V][V], q[DEPTH + 1][V][V]; /* [depth][last][token] */
} world;

static void fill(lv_dist *d, const double *prob)
{
    d->n = 0;
    for (int32_t t = 0; t < V; t++)
        if (prob[t] > 0) d->items[d->n++] = (lv_prob){ prob[t], t };
    CHECK(lv_dist_normalise(d));
}

/* ---- drawing with a policy, verifying with a rule ---- */

typedef struct rig {
    const world *w;
    script    s;
    lv_chance chance;
    int       rule;
    bool      again; /* draw with replacement */
    lv_tree   tree;
    lv_drawn  drawn[MOST_NODES];
    uint32_t  n_rows;
    lv_level  levels[MOST_NODES];
    /* Something to spoil, for tests that must fail; nullable. */
    void    (*spoil_draws)(struct rig *r, lv_drawn *d);
    bool      forget_residual;
    double    text[N_TEXTS]; /* out: probability of each text of LENGTH tokens */
    double    accepted;      /* out: expected length of the path */
    uint64_t  n_runs;
} rig;

static int rig_expand(void *user, lv_tree *t, const int32_t *ids, uint32_t n, lv_cost *cost, lever_error *err)
{
    rig *r = user;
    (void)err;
    for (uint32_t i = 0; i < n; i++)
        if (ids[i] != 0) t->nodes[ids[i]].draft_row = (int32_t)r->n_rows++;
    *cost = (lv_cost){ .calls = 1, .rows = n };
    return LEVER_OK;
}

static uint32_t rig_candidates(void *user, lv_tree *t, int32_t id, uint32_t k, int32_t *tokens, float *probs)
{
    rig *r = user;
    const lv_tree_node *node = &t->nodes[id];
    lv_drawn *d = &r->drawn[node->draft_row + 1];
    bool seen[V] = { false };
    uint32_t n = 0;
    fill(&d->q, r->w->q[node->depth][node->token]);
    lv_draw(d, k, r->again, &r->chance);
    if (r->spoil_draws) r->spoil_draws(r, d);
    for (uint32_t i = 0; i < d->n_draws; i++) {
        const lv_prob *x = &d->q.items[d->draws[i]];
        if (seen[x->token]) continue;
        seen[x->token] = true;
        tokens[n] = x->token;
        probs[n++] = (float)x->prob;
    }
    return n;
}

static int rig_target(void *user, int32_t node, lv_dist *p, lever_error *err)
{
    const rig *r = user;
    const lv_tree_node *n = &r->tree.nodes[node];
    (void)err;
    fill(p, r->w->p[n->depth][n->token]);
    return LEVER_OK;
}

/* Add prob to every text that begins with text [n], as the target continues it. */
static void add_text(rig *r, int32_t *text, uint32_t n, double prob)
{
    if (n < LENGTH) {
        for (text[n] = 0; text[n] < V; text[n]++)
            add_text(r, text, n + 1, prob * r->w->p[n][n ? text[n - 1] : 0][text[n]]);
        return;
    }
    uint32_t at = 0;
    for (uint32_t i = 0; i < LENGTH; i++) at = at * V + (uint32_t)text[i];
    r->text[at] += prob;
}

static void run_once(rig *r, lv_policy *p, uint32_t depth)
{
    lever_error e = { 0 };
    int32_t path[MOST_NODES], text[MOST_NODES + 1], next = -1;
    uint32_t n = 0;
    lv_drafter d = { .user = r,
                     .expand = rig_expand,
                     .candidates = rig_candidates,
                     .draws = true,
                     .max_rows = 4,
                     .rows_left = lv_policy_draft_rows(p),
                     .n_pending = 1,
                     .target_ratio = 10 };
    const lv_verification v = { .rule = r->rule, .tree = &r->tree, .drawn = r->drawn, .levels = r->levels,
                                .target = rig_target, .user = r, .chance = r->chance };
    r->n_rows = 0;
    for (uint32_t i = 0; i < MOST_NODES; i++) r->drawn[i].n_draws = 0;
    lv_tree_reset(&r->tree, 0);
    CHECK_OK(lv_policy_grow(p, &r->tree, &d, r->tree.cap, depth, &e), &e);
    CHECK_OK(lv_verify_tree(&v, path, &n, &next, &e), &e);
    for (uint32_t i = 0; i < n; i++) {
        CHECK_EQ(r->tree.nodes[path[i]].parent, i ? path[i - 1] : 0);
        text[i] = r->tree.nodes[path[i]].token;
    }
    r->accepted += r->s.prob * n;
    r->n_runs++;
    if (r->forget_residual) {
        add_text(r, text, n < LENGTH ? n : LENGTH, r->s.prob);
        return;
    }
    text[n] = next;
    add_text(r, text, n + 1 < LENGTH ? n + 1 : LENGTH, r->s.prob);
}

/* All outcomes of a policy's tree of at most `depth` levels; r says with what. */
static void enumerate(rig *r, const char *policy, uint32_t depth)
{
    lever_error e = { 0 };
    lv_policy *p;
    r->s = (script){ 0 };
    r->chance = (lv_chance){ .user = &r->s, .yes = script_yes, .pick = script_pick };
    r->accepted = 0;
    r->n_runs = 0;
    memset(r->text, 0, sizeof r->text);
    CHECK_OK(lv_policy_open(&p, policy, &e), &e);
    CHECK_OK(lv_tree_init(&r->tree, lv_policy_grow_nodes(p), &e), &e);
    do {
        begin_run(&r->s);
        run_once(r, p, depth);
    } while (next_run(&r->s));
    lv_tree_fini(&r->tree);
    lv_policy_close(&p);
}

/* The largest difference from what plain sampling gives. */
static double error_of(const rig *r)
{
    rig *plain = calloc(1, sizeof *plain);
    double most = 0;
    int32_t text[LENGTH];
    if (!plain) exit(1);
    plain->w = r->w;
    add_text(plain, text, 0, 1);
    for (uint32_t i = 0; i < N_TEXTS; i++) {
        const double error = fabs(r->text[i] - plain->text[i]);
        if (!(error <= most)) most = error;
    }
    free(plain);
    return most;
}

#endif
