/* Counts of what a target took: rates, chains, and numbers that can not be. SPDX-License-Identifier: MIT */
#include "support/check.h"

#include <math.h>

#include "spec/acceptance.h"

static lv_acceptance a; /* too large for frames */
static lv_acceptance_rates r;

static bool near(double x, double y, double by) { return fabs(x - y) <= by; }

static void classes_cover_every_probability(void)
{
    CHECK_EQ(lv_acceptance_class(0), 0);
    CHECK_EQ(lv_acceptance_class(1), LV_ACC_CLASSES - 1);
    CHECK_EQ(lv_acceptance_class(NAN), 0);
    uint32_t before = 0;
    for (int i = 0; i <= 1000; i++) {
        const uint32_t c = lv_acceptance_class((float)i / 1000);
        CHECK(c >= before && c <= before + 1);
        before = c;
    }
}

static void kinds_are_apart(void)
{
    CHECK(lv_acceptance_kind(1, 0) != lv_acceptance_kind(2, 0));
    CHECK(lv_acceptance_kind(1, 0) != lv_acceptance_kind(1, 0.8f));
    CHECK(lv_acceptance_kind(2, 0.8f) < LV_ACC_KINDS);
}

static void usual_rates_are_probabilities(void)
{
    lv_acceptance_get_rates(&r, NULL);
    double start = 0, best = 0;
    for (uint32_t c = 0; c < LV_ACC_CLASSES; c++) {
        for (uint32_t d = 0; d < LV_ACC_DEPTHS; d++) {
            double sum = 0, next[2] = { 0, 0 };
            for (uint32_t k = 0; k < LV_ACC_RANKS; k++) {
                CHECK(r.hit[d][c][k] >= 0 && (k == 0 || r.hit[d][c][k] <= r.hit[d][c][k - 1]));
                sum += r.hit[d][c][k];
            }
            CHECK(sum <= 1 + 1e-12);
            for (uint32_t n = 0; n < LV_ACC_CLASSES; n++)
                next[0] += r.next[d][c][0][n], next[1] += r.next[d][c][1][n];
            CHECK(near(next[0], 1, 1e-9) && near(next[1], 1, 1e-9));
        }
        start += r.start[c], best += r.start[c] * r.hit[0][c][0];
    }
    CHECK(near(start, 1, 1e-9) && best > 0.6 && best < 0.8);
}

/* Nodes of class 5 only, whose best candidate is right in three of four cases and whose second in one of eight. */
static void counts_become_rates(void)
{
    memset(&a, 0, sizeof a);
    for (int i = 0; i < 4000; i++) {
        lv_acceptance_add_root(&a, 5);
        lv_acceptance_add(&a, 0, 5, 4, i % 8 < 6 ? 0 : i % 8 == 6 ? 1 : 9);
        lv_acceptance_add_next(&a, 0, 5, 0, 5);
    }
    lv_acceptance_get_rates(&r, &a);
    CHECK(lv_acceptance_valid(&a) && near(lv_acceptance_roots(&a), 4000, 1e-9));
    CHECK(near(r.start[5], 1, 0.01) && near(r.hit[0][5][0], 0.75, 0.01) && near(r.hit[0][5][1], 0.125, 0.01));
    CHECK(r.hit[0][5][2] < 0.01 && near(r.next[0][5][0][5], 1, 0.01));
    CHECK(near(r.hit[2][5][0], 0.75, 0.01)); /* nothing was counted there */
    double p[3];
    lv_acceptance_chain(&r, p, 3);
    for (int i = 0; i < 3; i++) CHECK(near(p[i], 0.75, 0.01));
}

/* The same class, but right more often below the root. */
static void depths_are_apart(void)
{
    memset(&a, 0, sizeof a);
    for (int i = 0; i < 1000; i++) {
        lv_acceptance_add_root(&a, 4);
        for (uint32_t level = 0; level < 6; level++) {
            lv_acceptance_add(&a, level, 4, 1, i % 4 < (level == 0 ? 1 : level < 3 ? 2 : 3) ? 0 : 1);
            lv_acceptance_add_next(&a, level, 4, 0, 4);
        }
    }
    double p[5];
    lv_acceptance_get_rates(&r, &a);
    lv_acceptance_chain(&r, p, 5);
    const double want[5] = { 0.25, 0.5, 0.5, 0.75, 0.75 };
    for (int i = 0; i < 5; i++) CHECK(near(p[i], want[i], 0.01));
}

/* Sure nodes lead to sure nodes: later tokens of a chain are right more often than the first. */
static void a_chain_follows_the_classes(void)
{
    memset(&a, 0, sizeof a);
    for (int i = 0; i < 1000; i++) {
        lv_acceptance_add_root(&a, i % 2 ? 0 : 7);
        for (uint32_t c = 0; c <= 7; c += 7) {
            lv_acceptance_add(&a, 0, c, 1, c || i % 10 == 0 ? 0 : 1);
            lv_acceptance_add_next(&a, 0, c, 0, c);
        }
    }
    double p[2];
    lv_acceptance_get_rates(&r, &a);
    lv_acceptance_chain(&r, p, 2);
    CHECK(near(p[0], 0.55, 0.01)); /* half at 1, half at 0.1 */
    CHECK(near(p[1], (0.5 + 0.005) / 0.55, 0.02));
}

static void old_counts_fade(void)
{
    memset(&a, 0, sizeof a);
    for (int i = 0; i < 40000; i++) {
        lv_acceptance_fade(&a);
        lv_acceptance_add_root(&a, 3);
        lv_acceptance_add(&a, 1, 3, 2, i < 10000 ? 0 : 5);
    }
    lv_acceptance_get_rates(&r, &a);
    CHECK(lv_acceptance_roots(&a) < 5001 && r.hit[1][3][0] < 0.02);
    CHECK(lv_acceptance_valid(&a));
}

static void lookup_and_pruning_count_once_there_is_enough(void)
{
    memset(&a, 0, sizeof a);
    CHECK(lv_acceptance_lookup(&a) == 0 && lv_acceptance_kept(&a, 0.6) == 0.6);
    a.by_draft = 10, a.by_lookup = 10, a.pruned_rows = 20, a.pruned_kept = 1;
    CHECK(lv_acceptance_lookup(&a) == 0 && lv_acceptance_kept(&a, 0.6) == 0.6);
    a.by_draft = 100, a.by_lookup = 25, a.pruned_rows = 200, a.pruned_kept = 50;
    CHECK(near(lv_acceptance_lookup(&a), 0.25, 1e-12) && near(lv_acceptance_kept(&a, 0.6), 0.25, 1e-12));
    CHECK(lv_acceptance_valid(&a));
    a.pruned_kept = 201;
    CHECK(!lv_acceptance_valid(&a));
}

static void impossible_counts_are_refused(void)
{
    memset(&a, 0, sizeof a);
    CHECK(lv_acceptance_valid(&a));
    a.start[2] = NAN;
    CHECK(!lv_acceptance_valid(&a));
    a.start[2] = -1;
    CHECK(!lv_acceptance_valid(&a));
    a.start[2] = 0, a.hits[2][1][1] = 2, a.trials[2][1][1] = 1;
    CHECK(!lv_acceptance_valid(&a));
    a.hits[2][1][1] = 1, a.next[2][7][1][7] = INFINITY;
    CHECK(!lv_acceptance_valid(&a));
}

int main(void)
{
    RUN(classes_cover_every_probability);
    RUN(kinds_are_apart);
    RUN(usual_rates_are_probabilities);
    RUN(counts_become_rates);
    RUN(depths_are_apart);
    RUN(a_chain_follows_the_classes);
    RUN(old_counts_fade);
    RUN(lookup_and_pruning_count_once_there_is_enough);
    RUN(impossible_counts_are_refused);
    return check_done();
}
