/* Which nodes of a tree go on: thresholds, shares, safeguards. SPDX-License-Identifier: MIT */
#include "support/check.h"

#include <math.h>

#include "spec/prune.h"

static lv_tree tree;

/*        0
 *    1   2   3
 *   4 5  6
 *   7    8        */
static void plant(void)
{
    lever_error e = { 0 };
    CHECK_OK(lv_tree_init(&tree, 64, &e), &e);
    static const int32_t parents[] = { 0, 0, 0, 1, 1, 2, 4, 6 };
    for (int32_t i = 0; i < 8; i++) CHECK_EQ(lv_tree_add(&tree, parents[i], i + 1, 0.5f, LV_SOURCE_DRAFT), i + 1);
}

static void expect_kept(const bool *keep, const char *want)
{
    char got[16] = "";
    for (uint32_t i = 0, n = 0; i < tree.n; i++)
        if (keep[i]) got[n++] = (char)('0' + i);
    if (strcmp(got, want)) fprintf(stderr, "kept %s, expected %s\n", got, want);
    CHECK(!strcmp(got, want));
}

static void rules_are_read_from_text(void)
{
    lever_error e = { 0 };
    lv_prune_rule r;
    CHECK_OK(lv_prune_parse(&r, "auto", &e), &e);
    CHECK(r.mode == LV_PRUNE_AUTO && !r.dry);
    CHECK_OK(lv_prune_parse(&r, "off", &e), &e);
    CHECK(r.mode == LV_PRUNE_OFF);
    CHECK_OK(lv_prune_parse(&r, "0.05,no-shadows,dry", &e), &e);
    CHECK(r.mode == LV_PRUNE_THRESHOLD && fabsf(r.threshold - 0.05f) < 1e-6f);
    CHECK(r.no_shadows && r.dry && !r.no_safeguards);
    CHECK_OK(lv_prune_parse(&r, "1,no-safeguards", &e), &e);
    CHECK(r.threshold == 1.0f && r.no_safeguards);
    static const char *const bad[] = { "", "x", "1.5", "-0.1", "0.05,", "0.05,dri", "0.05 ", ".", "0.12345678", "1e-3",
                                       "off,off", "nan" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_EQ(lv_prune_parse(&r, bad[i], &e), LEVER_EINVAL);
        CHECK(strstr(e.msg, "threshold"));
    }
}

static void shares_are_a_softmax_over_all_candidates(void)
{
    float p[4] = { 2, 6, 4, 4 }, two[2] = { 2, 6 }, one[1] = { -7 };
    lv_prune_shares(p, 4);
    double sum = 0;
    for (int i = 0; i < 4; i++) sum += exp((double[]){ 2, 6, 4, 4 }[i]);
    for (int i = 0; i < 4; i++) CHECK(fabs((double)p[i] - exp((double[]){ 2, 6, 4, 4 }[i]) / sum) < 1e-6);
    lv_prune_shares(two, 2);
    CHECK(two[0] > p[0]); /* shadow candidates take their part */
    lv_prune_shares(one, 1);
    CHECK(one[0] == 1.0f); /* why they are needed: an only child has all of it */
    float bad[3] = { 1, NAN, INFINITY };
    lv_prune_shares(bad, 3);
    for (int i = 0; i < 3; i++) CHECK(fabsf(bad[i] - 1.0f / 3) < 1e-6f);
    float far[2] = { -3e38f, 3e38f };
    lv_prune_shares(far, 2);
    CHECK(far[0] == 0.0f && far[1] == 1.0f);
}

static void a_path_needs_every_share_above_the_threshold(void)
{
    bool keep[9];
    plant();
    const float share[9] = { 0, 0.6f, 0.3f, 0.01f, 0.02f, 0.5f, 0.9f, 0.9f, 0.04f };
    const lv_prune_rule bare = { .mode = LV_PRUNE_THRESHOLD, .threshold = 0.05f, .no_safeguards = true };
    CHECK_EQ(lv_prune_by_threshold(&tree, share, &bare, keep), 5);
    expect_kept(keep, "01256"); /* not 7: its parent 4 is gone */
    lv_tree_fini(&tree);
}

static void safeguards_keep_a_backbone_and_width_at_the_root(void)
{
    bool keep[9];
    plant();
    /* Backbone 1 4 7, although 4 and 7 are below the threshold; 2 is the second best at the root. */
    const float share[9] = { 0, 0.9f, 0.04f, 0.03f, 0.04f, 0.03f, 0.9f, 0.01f, 0.9f };
    const lv_prune_rule r = { .mode = LV_PRUNE_THRESHOLD, .threshold = 0.05f };
    CHECK_EQ(lv_prune_by_threshold(&tree, share, &r, keep), 5);
    expect_kept(keep, "01247");
    lv_tree_fini(&tree);
}

static void too_small_a_rest_means_no_pruning(void)
{
    bool keep[64];
    lever_error e = { 0 };
    CHECK_OK(lv_tree_init(&tree, 64, &e), &e);
    for (int32_t i = 1; i <= 3; i++) lv_tree_add(&tree, 0, i, 0.5f, LV_SOURCE_DRAFT);
    const float low[64] = { 0 };
    const lv_prune_rule r = { .mode = LV_PRUNE_THRESHOLD, .threshold = 0.5f };
    const lv_prune_rule bare = { .mode = LV_PRUNE_THRESHOLD, .threshold = 0.5f, .no_safeguards = true };
    CHECK_EQ(lv_prune_by_threshold(&tree, low, &r, keep), 4); /* 3 would be left */
    CHECK(keep[3]);
    CHECK_EQ(lv_prune_by_threshold(&tree, low, &bare, keep), 1);
    for (int32_t i = 4; i <= 40; i++) lv_tree_add(&tree, 1, i, 0.5f, LV_SOURCE_DRAFT);
    CHECK_EQ(lv_prune_by_threshold(&tree, low, &r, keep), tree.n); /* 4 of 41 are less than a tenth */
    lv_tree_fini(&tree);
}

/* Any tree, shares and rule: the root stays, no node without its parent, the backbone with safeguards. */
static void what_is_kept_is_a_tree_with_its_backbone(void)
{
    lever_error e = { 0 };
    uint32_t x = 1;
    CHECK_OK(lv_tree_init(&tree, 64, &e), &e);
    for (int round = 0; round < 3000; round++) {
        lv_tree_reset(&tree, 1);
        float share[64];
        bool keep[64], spine[64] = { true };
        const uint32_t n = 2 + round % 62;
        for (int32_t i = 1; tree.n < n; i++) {
            x = x * 1664525u + 1013904223u;
            lv_tree_add(&tree, (int32_t)((x >> 8) % tree.n), i, 0.5f, LV_SOURCE_DRAFT);
            share[tree.n - 1] = (float)(x >> 20) / 4096.0f;
        }
        const lv_prune_rule r = { .mode = LV_PRUNE_THRESHOLD, .threshold = (float)(round % 11) / 10.0f,
                                  .no_safeguards = round % 3 == 0 };
        const uint32_t kept = lv_prune_by_threshold(&tree, share, &r, keep);
        lv_prune_add_backbone(&tree, share, spine);
        uint32_t count = 0;
        for (uint32_t i = 0; i < tree.n; i++) {
            count += keep[i];
            if (i == 0) CHECK(keep[0]);
            else CHECK(!keep[i] || keep[tree.nodes[i].parent]);
            if (!r.no_safeguards && spine[i]) CHECK(keep[i]);
        }
        CHECK_EQ(count, kept);
        if (!r.no_safeguards) CHECK(lv_prune_add_backbone(&tree, share, keep) == 0);
    }
    lv_tree_fini(&tree);
}

int main(void)
{
    RUN(rules_are_read_from_text);
    RUN(shares_are_a_softmax_over_all_candidates);
    RUN(a_path_needs_every_share_above_the_threshold);
    RUN(safeguards_keep_a_backbone_and_width_at_the_root);
    RUN(too_small_a_rest_means_no_pruning);
    RUN(what_is_kept_is_a_tree_with_its_backbone);
    return check_done();
}
