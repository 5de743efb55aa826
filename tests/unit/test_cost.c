/* The online table of what batches cost. SPDX-License-Identifier: MIT */
#include "support/check.h"

#include <math.h>

#include "spec/cost.h"

static bool near(double a, double b) { return fabs(a - b) <= 1e-9 * (1 + fabs(b)); }

static void nothing_seen_is_the_model(void)
{
    const lv_cost_table c = { 0 };
    const lv_cost_model m = { 0.1, 0.01 };
    lv_cost_model line;
    CHECK(!lv_cost_known(&c));
    CHECK(near(lv_cost_get(&c, 8, &m), 0.18));
    CHECK(lv_cost_get(&c, 8, NULL) == 0);
    CHECK(!lv_cost_line(&c, &line));
}

static void between_sizes_in_proportion_outside_flat_or_by_the_model(void)
{
    lv_cost_table c = { 0 };
    const lv_cost_model m = { 0, 0.02 };
    lv_cost_add(&c, 4, 0.4);
    lv_cost_add(&c, 16, 0.5);
    CHECK(near(lv_cost_get(&c, 1, &m), 0.4));
    CHECK(near(lv_cost_get(&c, 10, &m), 0.45));
    CHECK(near(lv_cost_get(&c, 20, &m), 0.5)); /* what arithmetic takes, 0.4, hides behind it */
    CHECK(near(lv_cost_get(&c, 50, &m), 1.0));
    lv_cost_model line;
    CHECK(lv_cost_line(&c, &line));
    CHECK(near(line.per_row, 0.1 / 12) && near(line.fixed, 0.4 - 4 * 0.1 / 12));
}

static void more_rows_never_cost_less(void)
{
    lv_cost_table c = { 0 };
    uint32_t x = 12345;
    for (int i = 0; i < 500; i++) {
        x = x * 1664525u + 1013904223u;
        lv_cost_add(&c, 1 + (x >> 8) % 300, 0.1 + (double)(x >> 16) / 65536.0);
        double last = 0;
        for (uint32_t n = 1; n < 700; n += 3) {
            const double s = lv_cost_get(&c, n, NULL);
            CHECK(s >= last && s <= 1.1);
            last = s;
        }
    }
}

/* What was predicted serves until it is measured, and then gives way: at once where it was measured, soon elsewhere. */
static void predictions_give_way(void)
{
    const uint32_t rows[] = { 1, 2, 8, 0, 64 };
    const double seconds[] = { 0.1, 0.1, 0.2, 0.3, NAN };
    lv_cost_table c = { 0 };
    lv_cost_seed_table(&c, rows, seconds, 5);
    CHECK(near(lv_cost_get(&c, 1, NULL), 0.1) && near(lv_cost_get(&c, 5, NULL), 0.15));
    CHECK(near(lv_cost_get(&c, 64, NULL), 0.2));
    lv_cost_add(&c, 8, 0.8);
    CHECK(near(lv_cost_get(&c, 8, NULL), 0.6)); /* two parts of three */
    for (int i = 0; i < 60; i++) lv_cost_add(&c, 8, 0.8);
    CHECK(fabs(lv_cost_get(&c, 8, NULL) - 0.8) < 0.02);
    CHECK(lv_cost_get(&c, 1, NULL) > 0.7); /* forgotten: as the smallest seen */
    lv_cost_table known = { 0 };
    lv_cost_add(&known, 4, 0.5);
    lv_cost_seed_table(&known, rows, seconds, 5);
    CHECK(near(lv_cost_get(&known, 1, NULL), 0.5));
    lv_cost_table kept = { 0 };
    lv_cost_seed_table(&kept, rows, seconds, 5);
    CHECK(lv_cost_restore(&kept) && near(lv_cost_get(&kept, 8, NULL), 0.2));
}

/* Whatever was seen, in whatever order, a later run can begin with it. */
static void every_table_can_be_restored(void)
{
    lv_cost_table c = { 0 };
    uint32_t seed = 1;
    for (int i = 0; i < 5000; i++) {
        seed = seed * 1664525u + 1013904223u;
        const uint32_t rows = seed >> 30 ? 40 + (seed >> 8) % 8 : 1 + (seed >> 8) % 300; /* mostly one size */
        lv_cost_add(&c, rows, 0.01 * rows);
        lv_cost_table copy = c;
        if (!lv_cost_restore(&copy)) {
            CHECK(!"restored");
            return;
        }
    }
}

static void means_follow_a_machine_that_slows_down(void)
{
    lv_cost_table c = { 0 };
    for (int i = 0; i < 100; i++) lv_cost_add(&c, 8, 0.2);
    lv_cost_add(&c, 8, 10); /* one accident */
    CHECK(lv_cost_get(&c, 8, NULL) < 0.22);
    for (int i = 0; i < 100; i++) lv_cost_add(&c, 8, 0.3);
    CHECK(fabs(lv_cost_get(&c, 8, NULL) - 0.3) < 0.01);
}

static void a_size_not_seen_again_is_forgotten(void)
{
    lv_cost_table c = { 0 };
    const lv_cost_model m = { 0, 0.01 };
    lv_cost_add(&c, 64, 9); /* a cold start */
    for (int i = 0; i < 200; i++) lv_cost_add(&c, 4, 0.1);
    CHECK(near(lv_cost_get(&c, 64, &m), 0.64));
}

static void nonsense_changes_nothing(void)
{
    lv_cost_table c = { 0 };
    lv_cost_add(&c, 0, 1);
    lv_cost_add(&c, 5, (double)NAN);
    lv_cost_add(&c, 5, -1);
    CHECK(!lv_cost_known(&c));
    lv_cost_add(&c, 1u << 31, 2);
    CHECK(near(lv_cost_get(&c, 3, NULL), 2));
}

int main(void)
{
    RUN(nothing_seen_is_the_model);
    RUN(between_sizes_in_proportion_outside_flat_or_by_the_model);
    RUN(more_rows_never_cost_less);
    RUN(predictions_give_way);
    RUN(every_table_can_be_restored);
    RUN(means_follow_a_machine_that_slows_down);
    RUN(a_size_not_seen_again_is_forgotten);
    RUN(nonsense_changes_nothing);
    return check_done();
}
