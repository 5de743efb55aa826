/* SPDX-License-Identifier: MIT */
#include "support/check.h"

#include "base/mem.h"
#include "spec/policy.h"

enum { MAX_BATCH = 256 };

/* A draft model whose candidates of node n are tokens 10 * token(n) + 1, + 2, ... It enforces what a
 * real one needs: parents first, each node once, candidates only from the last batch. */
typedef struct fake {
    uint32_t n_calls, n_rows, largest, limit;
    uint32_t at_most;   /* candidates a node has */
    long     fail_call; /* this expand call fails; -1 = none */
    int      broken;    /* rules broken by the policy */
    uint8_t  expanded[300];
    uint32_t last[300]; /* number of the call that evaluated a node */
} fake;

static int fake_expand(void *user, const lv_tree *t, const int32_t *ids, uint32_t n, lever_error *err)
{
    fake *f = user;
    if ((long)f->n_calls == f->fail_call) return lv_fail(err, LEVER_EIO, 0, "draft broke");
    f->n_calls++;
    f->n_rows += n;
    if (n > f->largest) f->largest = n;
    if (n == 0 || n > f->limit) f->broken++;
    for (uint32_t i = 0; i < n; i++) {
        if (ids[i] < 0 || (uint32_t)ids[i] >= t->n || f->expanded[ids[i]]) {
            f->broken++;
            continue;
        }
        const int32_t parent = t->nodes[ids[i]].parent;
        if (parent >= 0 && !f->expanded[parent]) f->broken++;
        f->expanded[ids[i]] = 1;
        f->last[ids[i]] = f->n_calls;
    }
    return LEVER_OK;
}

static uint32_t fake_candidates(void *user, const lv_tree *t, int32_t id, uint32_t k, int32_t *tokens,
                                float *probs)
{
    fake *f = user;
    if (!f->expanded[id] || f->last[id] != f->n_calls) f->broken++;
    uint32_t n = 0;
    for (; n < k && n < f->at_most; n++) {
        tokens[n] = (int32_t)((uint32_t)t->nodes[id].token * 10 + n + 1);
        probs[n] = 0.5f / (float)(n + 1);
    }
    return n;
}

typedef struct grown {
    lv_tree t;
    fake    f;
    int     rc;
} grown;

static grown grow_with(const char *spec, uint32_t max_nodes, uint32_t max_depth, uint32_t max_rows,
                       uint32_t at_most, long fail_call)
{
    grown g = { .f = { .limit = max_rows, .at_most = at_most, .fail_call = fail_call } };
    lever_error e = { 0 };
    lv_policy *p = NULL;
    CHECK_OK(lv_tree_init(&g.t, 300, &e), &e);
    lv_tree_reset(&g.t, 0);
    CHECK_OK(lv_policy_open(&p, spec, &e), &e);
    if (!p) return g;
    CHECK_STR(lv_policy_name(p), spec);
    const lv_drafter d = { &g.f, fake_expand, fake_candidates, max_rows };
    g.rc = lv_policy_grow(p, &g.t, &d, max_nodes, max_depth, &e);
    CHECK(g.t.n <= lv_policy_max_nodes(p));
    CHECK_EQ(g.f.broken, 0);
    lv_policy_close(&p);
    CHECK(p == NULL);
    return g;
}

static int32_t deepest(const lv_tree *t)
{
    int32_t d = 0;
    for (uint32_t i = 0; i < t->n; i++)
        if (t->nodes[i].depth > d) d = t->nodes[i].depth;
    return d;
}

static void none_grows_nothing_and_asks_nothing(void)
{
    grown g = grow_with("none", 256, 64, 8, 99, -1);
    CHECK_EQ(g.t.n, 1);
    CHECK_EQ(g.f.n_calls, 0);
    lv_tree_fini(&g.t);
}

static void chain_follows_the_best_and_skips_the_last_expansion(void)
{
    grown g = grow_with("chain:4", 256, 64, 8, 99, -1);
    CHECK_EQ(g.t.n, 5);
    CHECK_EQ(g.f.n_calls, 4); /* root and the first three: the fourth node is only proposed */
    for (int32_t i = 1; i < 5; i++) CHECK_EQ(g.t.nodes[i].parent, i - 1);
    CHECK_EQ(g.t.nodes[4].token, 1111);
    CHECK_EQ(g.t.nodes[4].source, LV_SOURCE_DRAFT);
    lv_tree_fini(&g.t);
}

static void chain_respects_both_caps(void)
{
    grown g = grow_with("chain:64", 256, 3, 1, 99, -1);
    CHECK_EQ(g.t.n, 4);
    lv_tree_fini(&g.t);
    g = grow_with("chain:64", 6, 64, 1, 99, -1);
    CHECK_EQ(g.t.n, 6);
    CHECK_EQ(g.f.n_calls, 5);
    lv_tree_fini(&g.t);
    g = grow_with("chain:8", 256, 0, 1, 99, -1);
    CHECK_EQ(g.f.n_calls, 0);
    lv_tree_fini(&g.t);
    g = grow_with("chain:8", 256, 64, 1, 0, -1); /* a draft without candidates */
    CHECK_EQ(g.t.n, 1);
    CHECK_EQ(g.rc, LEVER_OK);
    lv_tree_fini(&g.t);
}

static void tree_expands_level_by_level(void)
{
    grown g = grow_with("tree:4,2,1", 256, 64, 64, 99, -1);
    CHECK_EQ(g.t.n, 1 + 4 + 8 + 8);
    CHECK_EQ(g.f.n_calls, 3);
    CHECK_EQ(g.f.n_rows, 1 + 4 + 8);
    CHECK_EQ(deepest(&g.t), 3);
    uint32_t children[3] = { 0 };
    for (uint32_t i = 1; i < g.t.n; i++) children[g.t.nodes[g.t.nodes[i].parent].depth]++;
    CHECK_EQ(children[0], 4);
    CHECK_EQ(children[1], 8);
    CHECK_EQ(children[2], 8);
    lv_tree_fini(&g.t);
}

static void tree_splits_levels_into_batches(void)
{
    grown a = grow_with("tree:5,3,2", 256, 64, 64, 99, -1), b = grow_with("tree:5,3,2", 256, 64, 4, 99, -1);
    CHECK_EQ(b.f.largest, 4);
    CHECK_EQ(b.f.n_calls, 1 + 2 + 4);
    CHECK_EQ(a.t.n, b.t.n);
    for (uint32_t i = 0; i < a.t.n && i < b.t.n; i++) {
        CHECK_EQ(a.t.nodes[i].token, b.t.nodes[i].token);
        CHECK_EQ(a.t.nodes[i].parent, b.t.nodes[i].parent);
    }
    lv_tree_fini(&a.t);
    lv_tree_fini(&b.t);
}

static void tree_stops_at_every_cap_without_wasted_rows(void)
{
    for (uint32_t max_nodes = 1; max_nodes <= 40; max_nodes++) {
        grown g = grow_with("tree:3,3,3", max_nodes, 64, 2, 99, -1);
        CHECK_EQ(g.t.n, max_nodes);
        CHECK(g.f.n_rows <= (max_nodes + 1) / 3 + 1);
        lv_tree_fini(&g.t);
    }
    grown g = grow_with("tree:3,3,3", 256, 2, 64, 99, -1);
    CHECK_EQ(g.t.n, 1 + 3 + 9);
    CHECK_EQ(deepest(&g.t), 2);
    lv_tree_fini(&g.t);
}

static void tree_copes_with_few_candidates(void)
{
    grown g = grow_with("tree:4,4", 256, 64, 64, 2, -1);
    CHECK_EQ(g.t.n, 1 + 2 + 4);
    lv_tree_fini(&g.t);
    g = grow_with("tree:4,4", 256, 64, 64, 0, -1);
    CHECK_EQ(g.t.n, 1);
    CHECK_EQ(g.f.n_calls, 1);
    lv_tree_fini(&g.t);
}

static void failing_draft_leaves_a_usable_tree(void)
{
    static const char *const specs[] = { "chain:6", "tree:2,2,2" };
    for (int s = 0; s < 2; s++)
        for (long call = 0; call < 3; call++) {
            grown g = grow_with(specs[s], 256, 64, 64, 99, call);
            CHECK_EQ(g.rc, LEVER_EIO);
            CHECK_EQ(g.f.n_calls, call);
            for (uint32_t i = 1; i < g.t.n; i++)
                CHECK_EQ(lv_tree_find_child(&g.t, g.t.nodes[i].parent, g.t.nodes[i].token), i);
            lv_tree_fini(&g.t);
        }
}

static void largest_trees_fit(void)
{
    grown g = grow_with("tree:255", 256, 64, 64, 999, -1);
    CHECK_EQ(g.t.n, 256);
    lv_tree_fini(&g.t);
    char spec[80] = "tree:1";
    for (int i = 1; i < 32; i++) strcat(spec, ",1");
    g = grow_with(spec, 256, 64, 64, 999, -1);
    CHECK_EQ(g.t.n, 33);
    lv_tree_fini(&g.t);
}

static void refused(const char *spec, const char *named)
{
    lever_error e = { 0 };
    lv_policy *p = (lv_policy *)&e;
    const int rc = lv_policy_open(&p, spec, &e);
    if (rc != LEVER_EINVAL || p || !strstr(e.msg, named) || !strstr(e.msg, "known are: none, chain:K"))
        fprintf(stderr, "spec '%s': rc %d, '%s'\n", spec, rc, e.msg);
    CHECK_EQ(rc, LEVER_EINVAL);
    CHECK(p == NULL);
    CHECK(strstr(e.msg, named) != NULL);
    CHECK(strstr(e.msg, "known are: none, chain:K") != NULL);
}

static void parse_errors_name_the_bad_part(void)
{
    refused("", "''");
    refused("beam:4", "'beam:4'");
    refused("chains:4", "'chains:4'");
    refused("none:1", "'1'");
    refused("chain", "length");
    refused("chain:", "'' is not a number");
    refused("chain:0", "'0'");
    refused("chain:65", "1 to 64");
    refused("chain:-1", "'-1'");
    refused("chain:99999999999999999999", "'99999999999999999999'");
    refused("chain:4,2", "'2'");
    refused("chain:4x", "'4x'");
    refused("tree", "children per level");
    refused("tree:", "''");
    refused("tree:4,,2", "''");
    refused("tree:4,", "''");
    refused("tree:4,two,1", "'two'");
    refused("tree:16,16", "273 nodes by level 2");
    refused("tree:255,255", "nodes by level 2");
    char many[80] = "tree:1";
    for (int i = 1; i < 33; i++) strcat(many, ",1");
    refused(many, "32 levels");
    char big[400];
    memset(big, '1', sizeof big);
    memcpy(big, "tree:", 5);
    big[sizeof big - 1] = '\0';
    refused(big, "longer than");
}

static void no_memory_is_an_error(void)
{
    lever_error e = { 0 };
    lv_policy *p = NULL;
    lv_alloc_fault(0, false);
    CHECK_EQ(lv_policy_open(&p, "chain:4", &e), LEVER_ENOMEM);
    lv_alloc_fault(-1, false);
    CHECK(p == NULL);
    lv_policy_close(&p);
    lv_policy_close(NULL);
}

int main(void)
{
    RUN(none_grows_nothing_and_asks_nothing);
    RUN(chain_follows_the_best_and_skips_the_last_expansion);
    RUN(chain_respects_both_caps);
    RUN(tree_expands_level_by_level);
    RUN(tree_splits_levels_into_batches);
    RUN(tree_stops_at_every_cap_without_wasted_rows);
    RUN(tree_copes_with_few_candidates);
    RUN(failing_draft_leaves_a_usable_tree);
    RUN(largest_trees_fit);
    RUN(parse_errors_name_the_bad_part);
    RUN(no_memory_is_an_error);
    return check_done();
}
