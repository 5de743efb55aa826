/* Counts of what a target took: rates, chains, and numbers that can not be. SPDX-License-Identifier: MIT */
#include "support/check.h"

#include <math.h>

#include "spec/acceptance.h"

static bool near(double a, double b, double by) { return fabs(a - b) <= by; }

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
    lv_acceptance_rates r;
    lv_acceptance_get_rates(&r, NULL);
    double start = 0, best = 0;
    for (uint32_t c = 0; c < LV_ACC_CLASSES; c++) {
        double sum = 0, next[2] = { 0, 0 };
        for (uint32_t k = 0; k < LV_ACC_RANKS; k++) {
            CHECK(r.hit[c][k] >= 0 && (k == 0 || r.hit[c][k] <= r.hit[c][k - 1]));
            sum += r.hit[c][k];
        }
        CHECK(sum <= 1 + 1e-12);
        for (uint32_t n = 0; n < LV_ACC_CLASSES; n++) next[0] += r.next[c][0][n], next[1] += r.next[c][1][n];
        CHECK(near(next[0], 1, 1e-9) && near(next[1], 1, 1e-9));
        start += r.start[c], best += r.start[c] * r.hit[c][0];
    }
    CHECK(near(start, 1, 1e-9) && best > 0.6 && best < 0.8);
}

/* Nodes of class 5 only, whose best candidate is right in three of four cases and whose second in one of eight. */
static void counts_become_rates(void)
{
    lv_acceptance a = { 0 };
    for (int i = 0; i < 4000; i++) {
        lv_acceptance_add_root(&a, 5);
        lv_acceptance_add(&a, 5, 4, i % 8 < 6 ? 0 : i % 8 == 6 ? 1 : 9);
        lv_acceptance_add_next(&a, 5, 0, 5);
    }
    lv_acceptance_rates r;
    lv_acceptance_get_rates(&r, &a);
    CHECK(lv_acceptance_valid(&a) && near(lv_acceptance_roots(&a), 4000, 1e-9));
    CHECK(near(r.start[5], 1, 0.01) && near(r.hit[5][0], 0.75, 0.01) && near(r.hit[5][1], 0.125, 0.01));
    CHECK(r.hit[5][2] < 0.01 && near(r.next[5][0][5], 1, 0.01));
    double p[3];
    lv_acceptance_chain(&r, p, 3);
    for (int i = 0; i < 3; i++) CHECK(near(p[i], 0.75, 0.01));
}

/* Sure nodes lead to sure nodes: later tokens of a chain are right more often than the first. */
static void a_chain_follows_the_classes(void)
{
    lv_acceptance a = { 0 };
    for (int i = 0; i < 1000; i++) {
        lv_acceptance_add_root(&a, i % 2 ? 0 : 7);
        for (uint32_t c = 0; c <= 7; c += 7) {
            lv_acceptance_add(&a, c, 1, c || i % 10 == 0 ? 0 : 1);
            lv_acceptance_add_next(&a, c, 0, c);
        }
    }
    lv_acceptance_rates r;
    double p[2];
    lv_acceptance_get_rates(&r, &a);
    lv_acceptance_chain(&r, p, 2);
    CHECK(near(p[0], 0.55, 0.01)); /* half at 1, half at 0.1 */
    CHECK(near(p[1], (0.5 + 0.005) / 0.55, 0.02));
}

static void old_counts_fade(void)
{
    lv_acceptance a = { 0 };
    for (int i = 0; i < 20000; i++) {
        lv_acceptance_fade(&a);
        lv_acceptance_add_root(&a, 3);
        lv_acceptance_add(&a, 3, 2, i < 10000 ? 0 : 5);
    }
    lv_acceptance_rates r;
    lv_acceptance_get_rates(&r, &a);
    CHECK(lv_acceptance_roots(&a) < 1001 && r.hit[3][0] < 0.02);
    CHECK(lv_acceptance_valid(&a));
}

static void impossible_counts_are_refused(void)
{
    lv_acceptance a = { 0 };
    CHECK(lv_acceptance_valid(&a));
    a.start[2] = NAN;
    CHECK(!lv_acceptance_valid(&a));
    a.start[2] = -1;
    CHECK(!lv_acceptance_valid(&a));
    a.start[2] = 0, a.hits[1][1] = 2, a.trials[1][1] = 1;
    CHECK(!lv_acceptance_valid(&a));
    a.hits[1][1] = 1, a.next[7][1][7] = INFINITY;
    CHECK(!lv_acceptance_valid(&a));
}

int main(void)
{
    RUN(classes_cover_every_probability);
    RUN(kinds_are_apart);
    RUN(usual_rates_are_probabilities);
    RUN(counts_become_rates);
    RUN(a_chain_follows_the_classes);
    RUN(old_counts_fade);
    RUN(impossible_counts_are_refused);
    return check_done();
}
