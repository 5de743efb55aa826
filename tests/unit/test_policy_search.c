/* Policies that search by draft probability, against plain versions of what their papers describe: whole trees
 * written out, no batches, nothing skipped. SPDX-License-Identifier: MIT */
#include "policy_rig.h"

enum { CHILDREN = 3 };

/* ---- the reference: every node of the draft's tree down to a depth ---- */

typedef struct ref_node {
    int32_t parent, depth, rank; /* rank among its siblings */
    double  p, value;
    bool    taken;
} ref_node;

typedef struct reference {
    lv_tree  t;
    ref_node v[LV_GROW_MAX];
} reference;

static void write_out(reference *r, const fake *f, int32_t depth)
{
    lever_error e = { 0 };
    CHECK_OK(lv_tree_init(&r->t, LV_GROW_MAX, &e), &e);
    r->v[0] = (ref_node){ .parent = -1, .value = 1 };
    for (int32_t i = 0; i < (int32_t)r->t.n; i++)
        for (uint32_t c = 0; c < CHILDREN && r->t.nodes[i].depth < depth; c++) {
            int32_t token;
            float p;
            if (!random_candidate(f, &r->t, i, c, &token, &p)) break;
            const int32_t id = lv_tree_add(&r->t, i, token, p, LV_SOURCE_DRAFT);
            CHECK(id > 0);
            r->v[id] = (ref_node){ .parent = i, .depth = r->t.nodes[i].depth + 1, .rank = (int32_t)c,
                                   .p = (double)p, .value = r->v[i].value * (double)p };
        }
}

/* The node of the highest score above 0 that is not taken yet; -1: none. */
static int32_t take_best(reference *r, const double *score)
{
    int32_t best = -1;
    for (int32_t i = 1; i < (int32_t)r->t.n; i++)
        if (!r->v[i].taken && score[i] > 0 && (best < 0 || score[i] > score[best])) best = i;
    if (best >= 0) r->v[best].taken = true;
    return best;
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* Equal worth node by node; which of equals was taken may differ. */
static void same_values(const lv_tree *t, double *want, uint32_t n_want, bool draws)
{
    static double value[LV_GROW_MAX], got[LV_GROW_MAX], drawn[LV_GROW_MAX];
    value[0] = 1;
    memset(drawn, 0, sizeof drawn);
    for (uint32_t i = 1; i < t->n; i++) {
        const int32_t up = t->nodes[i].parent;
        value[i] = value[up] * (double)t->nodes[i].draft_prob;
        got[i - 1] = draws ? value[up] * (1 - drawn[up]) : value[i];
        drawn[up] += (double)t->nodes[i].draft_prob;
    }
    CHECK_EQ(t->n - 1, n_want);
    qsort(got, t->n - 1, sizeof *got, by_size);
    qsort(want, n_want, sizeof *want, by_size);
    for (uint32_t i = 0; i < n_want && i + 1 < t->n; i++) {
        if (got[i] < want[i] - 1e-12 || got[i] > want[i] + 1e-12)
            fprintf(stderr, "  place %u: got %.9g, want %.9g\n", i, got[i], want[i]);
        CHECK(got[i] >= want[i] - 1e-12 && got[i] <= want[i] + 1e-12);
    }
}

static grown grow_random(const char *spec, uint64_t seed, uint32_t max_rows)
{
    return grow_once(spec, 256, 64, (fake){ .fail_call = -1, .candidate = random_candidate, .seed = seed,
                                            .max_rows = max_rows, .at_most = CHILDREN });
}

static reference r;

static void best_first_finds_the_best_nodes(void)
{
    static const char *const specs[] = { "specexec:25,5,1", "specexec:25,5,8", "opttree:25,0,5" };
    for (uint64_t seed = 1; seed <= 200; seed++) {
        write_out(&r, &(fake){ .seed = seed }, 5);
        static double score[LV_GROW_MAX];
        double want[64];
        uint32_t n = 0;
        for (uint32_t i = 0; i < r.t.n; i++) score[i] = r.v[i].value;
        for (int32_t at; n < 25 && (at = take_best(&r, score)) >= 0;) want[n++] = score[at];
        for (int s = 0; s < 3; s++) {
            grown g = grow_random(specs[s], seed, 1 + (uint32_t)(seed % 16));
            same_values(&g.t, want, n, false);
            lv_tree_fini(&g.t);
        }
        lv_tree_fini(&r.t);
    }
}

/* The heap of the paper: a popped draw puts up the first draw below what it drew and the next beside it. */
static void dyspec_takes_draws_by_value(void)
{
    for (uint64_t seed = 1; seed <= 200; seed++) {
        write_out(&r, &(fake){ .seed = seed }, 4);
        static double draw[LV_GROW_MAX], left[LV_GROW_MAX];
        double want[64];
        memset(draw, 0, sizeof draw);
        uint32_t n = 0;
        for (uint32_t i = 0; i < r.t.n; i++) left[i] = 1;
        for (int32_t up = 0, next = -2; n < 20;) {
            /* Put up: the first child of `up`, and `next`, the sibling behind it. */
            for (int32_t i = 1; i < (int32_t)r.t.n; i++)
                if ((r.v[i].parent == up && r.v[i].rank == 0) || i == next)
                    draw[i] = r.v[r.v[i].parent].value * left[r.v[i].parent];
            const int32_t at = take_best(&r, draw);
            if (at < 0) break;
            want[n++] = draw[at];
            left[r.v[at].parent] -= r.v[at].p;
            up = at;
            next = at + 1 < (int32_t)r.t.n && r.v[at + 1].parent == r.v[at].parent ? at + 1 : -2;
        }
        for (int b = 0; b < 2; b++) {
            grown g = grow_random(b ? "dyspec:20,4,8" : "dyspec:20,4,1", seed, 16);
            same_values(&g.t, want, n, true);
            lv_tree_fini(&g.t);
        }
        lv_tree_fini(&r.t);
    }
}

/* Every level: the K best nodes get children. Of all candidates the N best. */
static void eagle2_reranks_every_candidate(void)
{
    enum { K = 4, D = 5, N = 15 };
    for (uint64_t seed = 1; seed <= 200; seed++) {
        write_out(&r, &(fake){ .seed = seed }, D);
        bool candidate[LV_GROW_MAX] = { [0] = true }, open[LV_GROW_MAX] = { [0] = true };
        static double score[LV_GROW_MAX];
        double want[N];
        for (int32_t level = 0; level < D; level++) {
            for (int32_t i = 1; i < (int32_t)r.t.n; i++)
                if (r.v[i].depth == level + 1 && open[r.v[i].parent]) candidate[i] = true;
            for (uint32_t i = 0; i < r.t.n; i++)
                score[i] = candidate[i] && r.v[i].depth == level + 1 ? r.v[i].value : 0;
            for (int k = 0, at; k < K && (at = take_best(&r, score)) >= 0; k++) open[at] = true;
        }
        uint32_t n = 0;
        for (uint32_t i = 0; i < r.t.n; i++) r.v[i].taken = false, score[i] = candidate[i] ? r.v[i].value : 0;
        for (int32_t at; n < N && (at = take_best(&r, score)) >= 0;) want[n++] = score[at];
        grown g = grow_random("eagle2:4,5,15", seed, 1 + (uint32_t)(seed % 6));
        same_values(&g.t, want, n, false);
        CHECK(g.f.n_rows <= 1 + K * (D - 1));
        lv_tree_fini(&g.t);
        lv_tree_fini(&r.t);
    }
}

/* ---- by hand ---- */

/* A chain: one candidate, of this probability. */
static float sure;
static bool chain_candidate(const fake *f, const lv_tree *t, int32_t id, uint32_t i, int32_t *token, float *prob)
{
    (void)f;
    *token = t->nodes[id].token + 1;
    *prob = sure;
    return i == 0;
}

static grown grow_chain(const char *spec, float p)
{
    sure = p;
    return grow_once(spec, 256, 64, (fake){ .fail_call = -1, .candidate = chain_candidate });
}

static void opttree_stops_when_a_level_gains_little(void)
{
    /* Level l gains 0.9^l; 0.9^6 = 0.53, 0.9^7 = 0.48: the seventh is the last. */
    grown g = grow_chain("opttree:50,0.5,20", 0.9f);
    CHECK_EQ(g.t.n, 1 + 7);
    CHECK_EQ(g.f.n_calls, 7);
    lv_tree_fini(&g.t);
    g = grow_chain("opttree", 0.9f); /* 0.9^10 = 0.35: the depth ends it */
    CHECK_EQ(g.t.n, 1 + 10);
    lv_tree_fini(&g.t);
    g = grow_chain("opttree", 0.1f); /* not even the first level is worth a second */
    CHECK_EQ(g.f.n_calls, 1);
    CHECK_EQ(g.t.n, 2);
    lv_tree_fini(&g.t);
}

static void depth_limits_hold(void)
{
    static const struct { const char *spec; uint32_t n; } cases[] = {
        { "eagle2", 6 }, { "specexec", 32 }, { "specexec:40,3", 3 }, { "dyspec:10", 10 }, { "edgellm:64,4,0.5", 32 },
    };
    for (int i = 0; i < 5; i++) {
        grown g = grow_chain(cases[i].spec, 1.0f);
        CHECK_EQ(g.t.n, 1 + cases[i].n);
        CHECK_EQ(g.f.n_calls, cases[i].n); /* the last one is not evaluated */
        lv_tree_fini(&g.t);
    }
}

/* Two levels: 0.6 0.3 0.05 below the root, 0.5 0.4 0.1 below every other node. */
static bool two_levels(const fake *f, const lv_tree *t, int32_t id, uint32_t i, int32_t *token, float *prob)
{
    static const float p[2][3] = { { 0.6f, 0.3f, 0.05f }, { 0.5f, 0.4f, 0.1f } };
    (void)f;
    if (i == 3) return false;
    *token = t->nodes[id].token * 10 + (int32_t)i + 1;
    *prob = p[t->nodes[id].depth > 0][i];
    return true;
}

static void expect_tokens(const char *spec, uint32_t max_depth, uint32_t n, const int32_t *tokens)
{
    grown g = grow_once(spec, 256, max_depth, (fake){ .fail_call = -1, .candidate = two_levels });
    CHECK_EQ(g.t.n, n + 1);
    for (uint32_t i = 0; i < n; i++) {
        bool found = false;
        for (uint32_t k = 1; k < g.t.n; k++) found |= g.t.nodes[k].token == tokens[i];
        if (!found) fprintf(stderr, "%s: token %d is missing\n", spec, tokens[i]);
        CHECK(found);
    }
    lv_tree_fini(&g.t);
}

static void small_trees_by_hand(void)
{
    /* 1: .6, 2: .3, 11: .3, 12: .24, 21: .15, 111: .15, 112: .12, 121: .12, 22: .12, 122: .096, ... */
    expect_tokens("specexec:3", 64, 3, (int32_t[]){ 1, 2, 11 });
    expect_tokens("specexec:6", 64, 6, (int32_t[]){ 1, 2, 11, 12, 21, 111 });
    expect_tokens("specexec:6", 2, 6, (int32_t[]){ 1, 2, 11, 12, 21, 22 });
    expect_tokens("eagle2:1,3,5", 64, 3, (int32_t[]){ 1, 11, 111 });
    expect_tokens("eagle2:2,2,4", 64, 4, (int32_t[]){ 1, 2, 11, 12 });
    /* Draws: 1 is worth 1, 2: 1 - .6 = .4, 11: .6, 12: .3, 21: .3, 111: .3, 13: .06, 3: .1, 112: .15, 22: .15 */
    expect_tokens("dyspec:3", 64, 3, (int32_t[]){ 1, 11, 2 });
    expect_tokens("dyspec:6", 64, 6, (int32_t[]){ 1, 11, 2, 12, 21, 111 });
    /* Threshold .25: 1, 2 and 11 are on or above it; 1, 2, 11 are evaluated, each gets its best child. */
    expect_tokens("edgellm:64,4,0.25,1", 64, 5, (int32_t[]){ 1, 2, 11, 21, 111 });
    expect_tokens("edgellm:64,4,0.7,1", 64, 1, (int32_t[]){ 1 });
    expect_tokens("edgellm:3,4,0.01,1", 64, 3, (int32_t[]){ 1, 2, 3 });
}

static uint32_t edgellm_length(lv_policy *p, lv_tree *t, bool all_accepted)
{
    int32_t path[64];
    fake f = { .fail_call = -1, .candidate = chain_candidate, .max_rows = 16, .rows_left = 64, .at_most = 9 };
    CHECK_EQ(grow_tree(p, t, &f, NULL, 0, 256, 64), LEVER_OK);
    const uint32_t n = t->n - 1, accepted = all_accepted ? n : n / 2;
    for (uint32_t i = 0; i < accepted; i++) path[i] = (int32_t)i + 1;
    lv_policy_observe(p, &(lv_outcome){ .tree = t, .path = path, .n_path = accepted, .next = -7 });
    return n;
}

static void edgellm_adapts_its_threshold(void)
{
    lv_tree t;
    lv_policy *p = open_policy("edgellm", &t);
    sure = 0.5f;
    /* A node of 0.5^k is evaluated while that is at least the threshold: 0.01, 0.005, 0.01, 0.02, ... 0.1. */
    CHECK_EQ(edgellm_length(p, &t, true), 7);
    CHECK_EQ(edgellm_length(p, &t, false), 8);
    CHECK_EQ(edgellm_length(p, &t, false), 7);
    CHECK_EQ(edgellm_length(p, &t, false), 6);
    CHECK_EQ(edgellm_length(p, &t, false), 5);
    CHECK_EQ(edgellm_length(p, &t, false), 4);
    CHECK_EQ(edgellm_length(p, &t, false), 4);
    CHECK_EQ(edgellm_length(p, &t, false), 4); /* as high as it gets */
    lv_policy_reset(p);
    for (int i = 0; i < 20; i++) edgellm_length(p, &t, true);
    CHECK_EQ(edgellm_length(p, &t, true), 14); /* 0.5^13 = 0.00012: as low as it gets */
    lv_policy_close(&p);
    lv_tree_fini(&t);
}

int main(void)
{
    RUN(best_first_finds_the_best_nodes);
    RUN(dyspec_takes_draws_by_value);
    RUN(eagle2_reranks_every_candidate);
    RUN(opttree_stops_when_a_level_gains_little);
    RUN(depth_limits_hold);
    RUN(small_trees_by_hand);
    RUN(edgellm_adapts_its_threshold);
    return check_done();
}
