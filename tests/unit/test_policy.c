/* SPDX-License-Identifier: MIT */
#include "policy_rig.h"

#include "spec/lookup.h"

static grown grow_with(const char *spec, uint32_t max_nodes, uint32_t max_depth, uint32_t max_rows,
                       uint32_t at_most, long fail_call)
{
    return grow_once(spec, max_nodes, max_depth,
                     (fake){ .max_rows = max_rows, .at_most = at_most, .fail_call = fail_call });
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

static bool no_candidate(const fake *f, const lv_tree *t, int32_t id, uint32_t i, int32_t *token, float *prob)
{
    (void)f, (void)t, (void)id, (void)i, (void)token, (void)prob;
    return false;
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
    g = grow_once("chain:8", 256, 64, (fake){ .fail_call = -1, .candidate = no_candidate });
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
    g = grow_once("tree:4,4", 256, 64, (fake){ .fail_call = -1, .candidate = no_candidate });
    CHECK_EQ(g.t.n, 1);
    CHECK_EQ(g.f.n_calls, 1);
    lv_tree_fini(&g.t);
}

static void sharpness_follows_an_at_sign(void)
{
    static const struct { const char *spec; float want; } cases[] = {
        { "chain", 1 }, { "chain@2", 2 }, { "chain:4@0.5", 0.5f }, { "opttree:9,0.25@1.25", 1.25f },
    };
    for (int i = 0; i < 4; i++) {
        lv_tree t;
        lv_policy *p = open_policy(cases[i].spec, &t);
        CHECK(lv_policy_sharpness(p) == cases[i].want);
        lv_policy_close(&p);
        lv_tree_fini(&t);
    }
    grown g = grow_with("chain:4@2", 256, 64, 8, 99, -1);
    CHECK_EQ(g.t.n, 5);
    lv_tree_fini(&g.t);
}

static void specinfer_is_a_tree_with_a_default(void)
{
    grown a = grow_with("specinfer", 256, 64, 16, 99, -1), b = grow_with("tree:1,1,3,1,1,1,1,1", 256, 64, 16, 99, -1);
    CHECK_EQ(a.t.n, 1 + 2 + 6 * 3);
    CHECK_EQ(a.t.n, b.t.n);
    for (uint32_t i = 0; i < a.t.n && i < b.t.n; i++) {
        CHECK_EQ(a.t.nodes[i].token, b.t.nodes[i].token);
        CHECK_EQ(a.t.nodes[i].parent, b.t.nodes[i].parent);
    }
    lv_tree_fini(&a.t);
    lv_tree_fini(&b.t);
}

static void few_rows_end_a_tree_early(void)
{
    grown g = grow_once("chain:8", 256, 64, (fake){ .fail_call = -1, .rows_left = 3 });
    CHECK_EQ(g.t.n, 1 + 4);
    lv_tree_fini(&g.t);
    g = grow_once("tree:3,3,3", 256, 64, (fake){ .fail_call = -1, .rows_left = 4 });
    CHECK_EQ(g.t.n, 1 + 3 + 9 + 3);
    lv_tree_fini(&g.t);
}

static void the_longest_and_newest_match_is_found(void)
{
    static const int32_t text[] = { 5, 1, 2, 3, 7, 1, 2, 3, 8, 9, 2, 3, 6, 1, 2, 3 };
    uint32_t next = 99;
    CHECK_EQ(lv_lookup_find(text, 16, 3, &next), 3);
    CHECK_EQ(next, 8); /* "1 2 3" at 5, not the older one at 1 */
    CHECK_EQ(lv_lookup_find(text, 16, 2, &next), 2);
    CHECK_EQ(next, 12); /* "2 3" at 10 is newer */
    CHECK_EQ(lv_lookup_find(text, 16, 9, &next), 3);
    CHECK_EQ(lv_lookup_find(text, 10, 3, &next), 0);
    CHECK_EQ(lv_lookup_find(text, 1, 3, &next), 0);
    static const int32_t same[] = { 4, 4, 4, 4 };
    CHECK_EQ(lv_lookup_find(same, 4, 8, &next), 3);
    CHECK_EQ(next, 3);
}

static void lookup_proposes_what_followed(void)
{
    static const int32_t text[] = { 1, 2, 3, 7, 8, 9, 1, 2, 3 };
    static const struct { const char *spec; uint32_t n_text, max_nodes, max_depth, n; int32_t tokens[8]; } cases[] = {
        { "lookup", 9, 256, 64, 10, { 7, 8, 9, 1, 2, 3, 7, 8 } }, /* past the end it goes round */
        { "lookup:2", 9, 256, 64, 2, { 7, 8 } },
        { "lookup:4,1", 9, 256, 64, 4, { 7, 8, 9, 1 } },
        { "lookup", 9, 4, 64, 3, { 7, 8, 9 } },
        { "lookup", 9, 256, 2, 2, { 7, 8 } },
        { "lookup", 6, 256, 64, 0, { 0 } },
        { "lookup", 1, 256, 64, 0, { 0 } },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lv_tree t;
        lv_policy *p = open_policy(cases[i].spec, &t);
        fake none = { .fail_call = 0 };
        CHECK(!lv_policy_needs_draft(p));
        CHECK_EQ(lv_policy_draft_rows(p), 0);
        CHECK_EQ(grow_tree(p, &t, &none, text, cases[i].n_text, cases[i].max_nodes, cases[i].max_depth), 0);
        CHECK_EQ(t.n, 1 + cases[i].n);
        for (uint32_t k = 1; k < t.n; k++) {
            CHECK_EQ(t.nodes[k].parent, k - 1);
            CHECK_EQ(t.nodes[k].source, LV_SOURCE_LOOKUP);
            if (k <= 8) CHECK_EQ(t.nodes[k].token, cases[i].tokens[k - 1]);
        }
        lv_policy_close(&p);
        lv_tree_fini(&t);
    }
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
    if (rc != LEVER_EINVAL || p || !strstr(e.msg, named) || !strstr(e.msg, "known are: none, chain[:K]"))
        fprintf(stderr, "spec '%s': rc %d, '%s'\n", spec, rc, e.msg);
    CHECK_EQ(rc, LEVER_EINVAL);
    CHECK(p == NULL);
    CHECK(strstr(e.msg, named) != NULL);
    CHECK(strstr(e.msg, "known are: none, chain[:K]") != NULL);
}

static void parse_errors_name_the_bad_part(void)
{
    refused("", "''");
    refused("beam:4", "'beam:4'");
    refused("chains:4", "'chains:4'");
    refused("none:1", "'1'");
    refused("chain:", "'' is not a number");
    refused("chain:0", "'0'");
    refused("chain:65", "1 to 64");
    refused("chain:-1", "'-1'");
    refused("chain:99999999999999999999", "'99999999999999999999'");
    refused("chain:4,2", "'2'");
    refused("chain:4x", "'4x'");
    refused("eagle2@", "''");
    refused("eagle2@0", "0.01 to 16");
    refused("eagle2:4@17", "0 to 16");
    refused("eagle2:4@2,1", "one number");
    refused("lookup@2", "no draft");
    refused("chain:@2", "length");
    refused("chain:", "length");
    refused("lookup:0", "1 to 64");
    refused("lookup:4,17", "1 to 16");
    refused("lookup:4,3,2", "'2' is one setting too many");
    refused("specinfer:", "''");
    refused("eagle2:33", "nodes expanded per level");
    refused("eagle2:10,6,256", "1 to 255");
    refused("opttree:10,9", "0 to 8");
    refused("opttree:10,-1", "'-1'");
    refused("opttree:10,.", "'.'");
    refused("opttree:10,0.2.1", "'0.2.1'");
    refused("opttree:10,1e1", "'1e1'");
    refused("specexec:0", "'0'");
    refused("dyspec:4,4,4,4", "'4' is one setting too many");
    refused("edgellm:4,99", "1 to 16");
    refused("sequoia:4,17", "1 to 16");
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

int main(void)
{
    RUN(none_grows_nothing_and_asks_nothing);
    RUN(chain_follows_the_best_and_skips_the_last_expansion);
    RUN(chain_respects_both_caps);
    RUN(tree_expands_level_by_level);
    RUN(tree_splits_levels_into_batches);
    RUN(tree_stops_at_every_cap_without_wasted_rows);
    RUN(tree_copes_with_few_candidates);
    RUN(sharpness_follows_an_at_sign);
    RUN(specinfer_is_a_tree_with_a_default);
    RUN(few_rows_end_a_tree_early);
    RUN(the_longest_and_newest_match_is_found);
    RUN(lookup_proposes_what_followed);
    RUN(failing_draft_leaves_a_usable_tree);
    RUN(largest_trees_fit);
    RUN(parse_errors_name_the_bad_part);
    return check_done();
}
