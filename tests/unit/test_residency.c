/* SPDX-License-Identifier: MIT */
#include "support/check.h"

#include "flash/residency.h"

enum { LAYERS = 12, KINDS = 7, N = LAYERS * KINDS };
static lv_residency_item items[N];
static uint64_t total, largest;

static void make_items(unsigned seed)
{
    total = largest = 0;
    for (int l = 0; l < LAYERS; l++)
        for (int k = 0; k < KINDS; k++) {
            seed = seed * 1664525u + 1013904223u;
            const uint64_t bytes = 1000 + (uint64_t)k * 900 + (seed >> 8) % 50;
            items[l * KINDS + k] = (lv_residency_item){ .bytes = bytes, .layer = l };
            total += bytes;
            if (bytes > largest) largest = bytes;
        }
}

static uint64_t layer_bytes(int layer)
{
    uint64_t sum = 0;
    for (int i = 0; i < N; i++)
        if (items[i].layer == layer && items[i].pinned) sum += items[i].bytes;
    return sum;
}

static void never_over_budget_and_more_pins_more(void)
{
    for (int policy = 0; policy < 2; policy++)
        for (unsigned seed = 1; seed < 20; seed++) {
            uint64_t before = 0;
            make_items(seed);
            for (uint64_t budget = 0; budget <= total + 1000; budget += total / 37) {
                const uint64_t used = lv_residency_plan(items, N, budget, (enum lv_residency_policy)policy);
                uint64_t sum = 0;
                for (int i = 0; i < N; i++) sum += items[i].pinned ? items[i].bytes : 0;
                CHECK_EQ(used, sum);
                CHECK(used <= budget && used >= before);
                CHECK(used + largest > budget || used == total); /* nothing that would fit is left out */
                before = used;
            }
            CHECK_EQ(lv_residency_plan(items, N, total, (enum lv_residency_policy)policy), total);
            CHECK_EQ(lv_residency_plan(items, N, 0, (enum lv_residency_policy)policy), 0);
        }
}

static void spread_keeps_layers_within_one_item(void)
{
    for (unsigned seed = 1; seed < 20; seed++) {
        make_items(seed);
        for (uint64_t budget = 0; budget <= total; budget += total / 41) {
            lv_residency_plan(items, N, budget, LV_RESIDENCY_SPREAD);
            uint64_t least = UINT64_MAX, most = 0;
            for (int l = 0; l < LAYERS; l++) {
                const uint64_t b = layer_bytes(l);
                if (b < least) least = b;
                if (b > most) most = b;
            }
            CHECK(most - least <= largest);
        }
    }
}

static void first_layers_fills_from_the_front(void)
{
    make_items(3);
    lv_residency_plan(items, N, total / 2, LV_RESIDENCY_FIRST_LAYERS);
    bool open = false; /* once something is left out, nothing later is pinned */
    for (int i = 0; i < N; i++) {
        if (!items[i].pinned) open = true;
        CHECK(!(open && items[i].pinned));
    }
    CHECK(open && items[0].pinned);
}

/* A budget pins a beginning of the order, whatever it is. */
static void every_plan_is_a_beginning_of_the_order(void)
{
    for (int policy = 0; policy < 2; policy++)
        for (unsigned seed = 1; seed < 20; seed++) {
            uint32_t order[N];
            make_items(seed);
            lv_residency_order(items, N, (enum lv_residency_policy)policy, order);
            for (int i = 0; i < N; i++) CHECK(items[i].pinned);
            for (uint64_t budget = 0; budget <= total; budget += total / 23) {
                uint64_t left = lv_residency_plan(items, N, budget, (enum lv_residency_policy)policy);
                int n = 0;
                for (; n < N && items[order[n]].pinned; n++) left -= items[order[n]].bytes;
                CHECK_EQ(left, 0);
                for (; n < N; n++) CHECK(!items[order[n]].pinned);
            }
        }
}

int main(void)
{
    RUN(every_plan_is_a_beginning_of_the_order);
    RUN(never_over_budget_and_more_pins_more);
    RUN(spread_keeps_layers_within_one_item);
    RUN(first_layers_fills_from_the_front);
    return check_done();
}
