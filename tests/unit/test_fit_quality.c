/* What pruning keeps, counted by hand on a few nodes, and the blend that fits scores of a known kind.
 * SPDX-License-Identifier: MIT */
#include "support/check.h"

#include <math.h>

#include "fit/fit_quality.h"

/* Scores that give probabilities 0.5, 0.3, 0.2 at temperature 1. */
static const float s3[3] = { 0.0f, -0.5108256f, -0.9162907f };

static lv_fit_node node(int right, float p0, float p1, float p2)
{
    lv_fit_node v = { .n = 3, .right = (int8_t)right, .prob = { p0, p1, p2 } };
    memcpy(v.s, s3, sizeof s3);
    memcpy(v.z, s3, sizeof s3);
    return v;
}

static void test_shares_are_those_counted_by_hand(void)
{
    const lv_fit_blend alone = { 1, 0 };
    /* In the tree: all three; the first two (the third has 1 %); only the first, however unlikely. */
    const lv_fit_node v[] = { node(2, 0.5f, 0.3f, 0.2f), node(0, 0.9f, 0.05f, 0.01f),
                              node(-1, 0.01f, 0.01f, 0) };
    const struct { float threshold, edges, right; } want[] = {
        { 0.0f, 1, 1 }, { 0.1f, 1, 1 }, { 0.25f, 5 / 6.0f, 0.5f }, { 0.4f, 3 / 6.0f, 0.5f }, { 0.6f, 0, 0 }
    };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        float edges, right;
        lv_fit_kept(v, 3, alone, want[i].threshold, &edges, &right);
        CHECK(fabsf(edges - want[i].edges) < 1e-6f && fabsf(right - want[i].right) < 1e-6f);
    }
    double kept;
    lever_error e;
    CHECK_OK(lv_fit_rank(v, 3, alone, 1.0, &kept, &e), &e); /* the lowest true edge has 0.2: all stay */
    CHECK(kept == 1.0);
    CHECK_OK(lv_fit_rank(v, 3, alone, 0.5, &kept, &e), &e); /* 0.5 is enough */
    CHECK(kept == 0.5);
    CHECK_OK(lv_fit_rank(v, 2, lv_fit_draft_alone, 1.0, &kept, &e), &e); /* 0.2, and 0.9 / 0.96 */
    CHECK(kept == 0.8);
    CHECK_EQ(lv_fit_rank(v + 2, 1, alone, 0.9, &kept, &e), LEVER_EINVAL);
    float edges, right;
    lv_fit_kept(v, 0, alone, 0.5f, &edges, &right); /* nothing held out: nothing pruned */
    CHECK(edges == 1 && right == 1);
}

static void test_best_blend_finds_how_scores_were_made(void)
{
    static lv_fit_node v[200];
    uint64_t state = 1;
    for (int b = 0; b < 200; b++) {
        v[b] = (lv_fit_node){ .n = LV_FIT_NODE_CANDIDATES, .right = 0 };
        float sum = 0;
        for (int i = 0; i < LV_FIT_NODE_CANDIDATES; i++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            v[b].s[i] = (float)(state >> 40) / (1 << 22);
            state = state * 6364136223846793005u + 1442695040888963407u;
            sum += v[b].prob[i] = 0.01f + (float)(state >> 40) / (1 << 24);
        }
        for (int i = 0; i < LV_FIT_NODE_CANDIDATES; i++) v[b].prob[i] /= sum;
    }
    for (int b = 0; b < 200; b++) /* the target: scores at temperature 2 */
        for (int i = 0; i < LV_FIT_NODE_CANDIDATES; i++) v[b].z[i] = v[b].s[i] / 2;
    CHECK(fabsf(lv_fit_best_blend(v, 200, false).temperature - 2) < 1e-5f);
    lv_fit_blend best = lv_fit_best_blend(v, 200, true);
    CHECK(fabsf(best.temperature - 2) < 1e-5f && best.draft_weight == 0);
    for (int b = 0; b < 200; b++) /* and three quarters of the draft's logarithm beside */
        for (int i = 0; i < LV_FIT_NODE_CANDIDATES; i++) v[b].z[i] += 0.75f * logf(v[b].prob[i]);
    best = lv_fit_best_blend(v, 200, true);
    CHECK(fabsf(best.temperature - 2) < 1e-5f && best.draft_weight == 0.75f);
    best = lv_fit_best_blend(v, 200, false);
    CHECK(best.draft_weight == 0);
}

int main(void)
{
    RUN(test_shares_are_those_counted_by_hand);
    RUN(test_best_blend_finds_how_scores_were_made);
    return check_done();
}
