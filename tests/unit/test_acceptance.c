/* The record of what a target took: rates, chains, replaying, and numbers that can not be.
 * SPDX-License-Identifier: MIT */
#include "support/check.h"

#include <math.h>

#include "spec/acceptance.h"

static lv_acceptance a; /* too large for frames */
static lv_acceptance_rates r;
static lv_replay replay;

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

static lv_said known(uint32_t class, uint32_t n, uint32_t rank)
{
    return (lv_said){ .known = 1, .class = class & 7, .n = n & 15, .rank = rank & 15 };
}

static void forget(void) { memset(&a, 0, sizeof a); }

static void add_one(lv_said s, bool begins)
{
    const uint32_t at = a.at;
    lv_acceptance_add(&a, &s, 1);
    a.text[at].begins = begins;
}

/* Tokens of class 5 only; the best candidate is right in three of four cases and the second in one of eight. */
static void a_record_becomes_rates(void)
{
    forget();
    for (int i = 0; i < 4000; i++) add_one(known(5, 4, i % 8 < 6 ? 0 : i % 8 == 6 ? 1 : 4), i == 0);
    lv_acceptance_get_rates(&r, &a);
    CHECK(lv_acceptance_valid(&a));
    CHECK_EQ(lv_acceptance_known(&a), 4000);
    CHECK(near(r.start[5], 1, 0.01) && near(r.hit[5][0], 0.75, 0.01) && near(r.hit[5][1], 0.125, 0.01));
    CHECK(r.hit[5][2] < 0.01 && near(r.next[5][0][5], 1, 0.01) && near(r.next[5][1][5], 1, 0.02));
    double p[3];
    lv_acceptance_chain(&r, p, 3);
    for (int i = 0; i < 3; i++) CHECK(near(p[i], 0.75, 0.01));
}

/* Ranks beyond those that were looked at say nothing of them. */
static void candidates_that_were_not_looked_at_are_no_trials(void)
{
    forget();
    for (int i = 0; i < 2000; i++) add_one(known(3, 1, i % 2), i == 0);
    lv_acceptance_rates usual;
    lv_acceptance_get_rates(&usual, NULL);
    lv_acceptance_get_rates(&r, &a);
    CHECK(near(r.hit[3][0], 0.5, 0.01));
    CHECK(r.hit[3][1] > 0.1 && near(r.hit[3][1] / r.hit[3][2], usual.hit[3][1] / usual.hit[3][2], 0.01));
}

/* What follows a gap in the record does not follow what is before it. */
static void gaps_are_no_neighbours(void)
{
    forget();
    for (int i = 0; i < 1000; i++) add_one(known(i % 2 ? 7 : 0, 8, 0), i % 2 == 0); /* class 0, then 7, then a gap */
    lv_acceptance_get_rates(&r, &a);
    CHECK(r.next[0][0][7] > 0.98 && r.next[7][0][0] < 0.3);
}

/* Sure nodes lead to sure nodes: later tokens of a chain are right more often than the first. */
static void a_chain_follows_the_classes(void)
{
    forget();
    for (int i = 0; i < 4000; i++) { /* 5 of class 7 that are right, 5 of class 0 that are not */
        const bool sure = i % 10 < 5;
        add_one(known(sure ? 7 : 0, 8, sure && i % 10 < 4 ? 0 : 8), i == 0);
    }
    double p[4];
    lv_acceptance_get_rates(&r, &a);
    lv_acceptance_chain(&r, p, 2);
    CHECK(p[1] > 2 * p[0]);
    lv_acceptance_replay(&replay, &a, &r);
    CHECK_EQ(replay.n, 4000);
    lv_replay_chain(&replay, p, 4);
    CHECK(near(p[0], 1.0 / 6, 0.01) && near(p[1], 1, 1e-12) && near(p[2], 1, 1e-12) && near(p[3], 1, 1e-12));
}

static void a_replay_is_the_record_from_its_oldest_token_on(void)
{
    forget();
    for (uint32_t i = 0; i < LV_ACC_TEXT + 100; i++) add_one(known(i % 8, 8, i % 7), i == 0);
    CHECK_EQ(a.n_text, LV_ACC_TEXT);
    CHECK(lv_acceptance_valid(&a));
    lv_acceptance_get_rates(&r, &a);
    lv_acceptance_replay(&replay, &a, &r);
    CHECK_EQ(replay.n, LV_ACC_TEXT);
    for (uint32_t i = 0; i < LV_ACC_TEXT; i++)
        CHECK(replay.at[i].class == (i + 100) % 8 && replay.at[i].rank == (i + 100) % 7);
}

/* Filled in as often as the rates say, and always alike. */
static void what_is_not_known_is_filled_in(void)
{
    static lv_replay again;
    forget();
    for (uint32_t i = 0; i < 4000; i++) add_one(i % 2 ? (lv_said){ 0 } : known(6, 1, i % 20 == 0), i == 0);
    CHECK_EQ(lv_acceptance_known(&a), 2000);
    lv_acceptance_get_rates(&r, &a);
    lv_acceptance_replay(&replay, &a, &r);
    lv_acceptance_replay(&again, &a, &r);
    CHECK(again.n == 4000 && !memcmp(replay.at, again.at, 4000 * sizeof *again.at));
    uint32_t later = 0, n[2] = { 0 }, best[2] = { 0 };
    for (uint32_t i = 0; i < 4000; i++) {
        CHECK(replay.at[i].class < LV_ACC_CLASSES && replay.at[i].rank <= LV_ACC_RANKS);
        CHECK(i % 20 || replay.at[i].rank > 0);
        later += i % 20 == 0 && replay.at[i].rank < LV_ACC_RANKS;
        n[i % 2]++, best[i % 2] += replay.at[i].rank == 0;
    }
    CHECK(near((double)best[0] / n[0], 0.9, 1e-9) && best[1] > n[1] / 2 && best[1] < n[1]);
    CHECK(later > 100 && later < 200); /* of 200 that were not the best, some were another */
}

static void text_is_recorded_at_first_and_then_now_and_then(void)
{
    forget();
    uint32_t recorded = 0, last = 0;
    for (uint32_t i = 0; i < 64 * 1024; i++) {
        a.n_seen++;
        last = lv_acceptance_records(&a);
        if (last) add_one(known(1, 1, 0), false);
        recorded += last;
        if (i < 1000) CHECK(last);
    }
    CHECK(recorded > 8 * 1024 && recorded < 10 * 1024);
}

static void old_counts_fade(void)
{
    forget();
    for (int i = 0; i < 40000; i++) {
        lv_acceptance_fade(&a);
        a.by_draft += 1, a.by_lookup += i < 10000;
    }
    CHECK(a.by_draft < 5001 && lv_acceptance_lookup(&a) < 0.02);
}

static void lookup_and_pruning_count_once_there_is_enough(void)
{
    forget();
    CHECK(lv_acceptance_lookup(&a) == 0 && lv_acceptance_kept(&a, 0.6) == 0.6);
    a.by_draft = 10, a.by_lookup = 10, a.pruned_rows = 20, a.pruned_kept = 1;
    CHECK(lv_acceptance_lookup(&a) == 0 && lv_acceptance_kept(&a, 0.6) == 0.6);
    a.by_draft = 100, a.by_lookup = 25, a.pruned_rows = 200, a.pruned_kept = 50;
    CHECK(near(lv_acceptance_lookup(&a), 0.25, 1e-12) && near(lv_acceptance_kept(&a, 0.6), 0.25, 1e-12));
    CHECK(lv_acceptance_valid(&a));
    a.pruned_kept = 201;
    CHECK(!lv_acceptance_valid(&a));
}

static void impossible_records_are_refused(void)
{
    forget();
    CHECK(lv_acceptance_valid(&a));
    add_one(known(2, 8, 8), true);
    CHECK(lv_acceptance_valid(&a));
    a.text[0].rank = 9;
    CHECK(!lv_acceptance_valid(&a));
    a.text[0].rank = 0, a.text[0].n = 0;
    CHECK(!lv_acceptance_valid(&a));
    a.text[0].n = 15;
    CHECK(!lv_acceptance_valid(&a));
    a.text[0].n = 1, a.at = 2;
    CHECK(!lv_acceptance_valid(&a));
    a.at = 1, a.n_text = LV_ACC_TEXT + 1;
    CHECK(!lv_acceptance_valid(&a));
    a.n_text = LV_ACC_TEXT, a.at = LV_ACC_TEXT;
    CHECK(!lv_acceptance_valid(&a));
    a.at = 0, a.by_draft = NAN;
    CHECK(!lv_acceptance_valid(&a));
    a.by_draft = -1;
    CHECK(!lv_acceptance_valid(&a));
    a.by_draft = 0, a.pruned_kept = INFINITY;
    CHECK(!lv_acceptance_valid(&a));
}

int main(void)
{
    RUN(classes_cover_every_probability);
    RUN(kinds_are_apart);
    RUN(usual_rates_are_probabilities);
    RUN(a_record_becomes_rates);
    RUN(candidates_that_were_not_looked_at_are_no_trials);
    RUN(gaps_are_no_neighbours);
    RUN(a_chain_follows_the_classes);
    RUN(a_replay_is_the_record_from_its_oldest_token_on);
    RUN(what_is_not_known_is_filled_in);
    RUN(text_is_recorded_at_first_and_then_now_and_then);
    RUN(old_counts_fade);
    RUN(lookup_and_pruning_count_once_there_is_enough);
    RUN(impossible_records_are_refused);
    return check_done();
}
